//! What commands print: lines, JSON objects, tables.

use std::{
    fmt::Display,
    io::{self, Write as _},
    time::Duration,
};

use serde::Serialize;

use crate::failure::Failure;

/// Prints a line.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints a JSON value on a line of its own.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(anyhow::Error::from)?;
    line(text)
}

/// Prints bytes as they are, and a line break.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Prints bytes as they are, and nothing else.
pub(crate) fn bytes_alone(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// A long time, as people set it: in whole days where it is some, and never in months, which are of no one length.
pub(crate) fn long(time: Duration) -> String {
    const DAY: u64 = 86_400;
    let (days, rest) = (time.as_secs() / DAY, Duration::from_secs(time.as_secs() % DAY));
    let told = match days {
        0 => return humantime::format_duration(time).to_string(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if rest.is_zero() {
        return told;
    }
    format!("{told} {}", humantime::format_duration(rest))
}

/// Prints rows below their headings, aligned. An empty table is its headings.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for text in align(headings, rows) {
        writeln!(out, "{text}")?;
    }
    out.flush()?;
    Ok(())
}

/// Lines of rows below their headings.
pub(crate) fn align<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(headings[column].chars().count())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let headings = headings.map(str::to_owned);
    let written = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&headings).chain(rows).map(written).collect()
}

/// What is absent, in a table.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_told_in_days() {
        for (seconds, told) in [
            (90, "1m 30s"),
            (86_400, "1 day"),
            (7_776_000, "90 days"),
            (90_000, "1 day 1h"),
        ] {
            assert_eq!(long(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "1".to_owned()],
            ["längere".to_owned(), "-".to_owned()],
        ];
        assert_eq!(
            align(["name", "n"], &rows),
            ["name     n", "a        1", "längere  -"]
        );
    }
}
