//! Rows on their way into a table by `COPY`, in Postgres' binary form: no text in between, and nothing to escape.
//!
//! - [`Row`]: one row, column by column, each by its name; `rows` has one function a table
//! - [`Sheet`]: rows of one table, ready to be sent
//! - [`Sheets`]: one sheet a table being filled, within a bound, handed over when full

mod rows;
mod sheets;

use std::fmt::Write as _;

use schema::{Micros, OrderKey};
use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

pub(super) use rows::*;
pub(super) use sheets::{Gone, Sheets};

/// What a binary `COPY` begins with: the signature, no flags, no further header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of -1 columns.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// 1970-01-01 as a Julian day.
const JULIAN_1970: i64 = 2_440_588;

/// A table that rows are copied into. Histories are written into the partition of each row's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Into {
    /// A table by its name.
    Table(&'static str),
    /// One day of a history, in days since 1970; it has to be made before.
    Day(&'static str, i32),
    /// The rows of a history that no day can have.
    Default(&'static str),
}

impl Into {
    /// Where rows of a history go that happened on a day.
    pub(super) fn history(history: &'static str, at: Micros) -> Self {
        let day = at.day();
        match i32::try_from(day) {
            Ok(number) if crate::commit::DAYS.contains(&day) => Self::Day(history, number),
            Ok(_) | Err(_) => Self::Default(history),
        }
    }

    /// The table whose rows they are, whatever partition they lie in.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Table(name) | Self::Day(name, _) | Self::Default(name) => name,
        }
    }

    /// The table or partition that is written.
    fn name(self) -> String {
        match self {
            Self::Table(name) => name.to_owned(),
            Self::Default(history) => format!("{history}_default"),
            Self::Day(history, day) => {
                let julian = i32::try_from(i64::from(day) + JULIAN_1970).unwrap_or_default();
                // A day that has a partition is a date.
                let date = Date::from_julian_day(julian).unwrap_or(Date::MIN);
                let (year, month, day) = date.to_calendar_date();
                format!("{history}_{year:04}{:02}{day:02}", u8::from(month))
            }
        }
    }
}

/// Rows of one table, as `COPY` takes them.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) into: Into,
    /// Names of the columns, learned from the first row.
    columns: Vec<&'static str>,
    bytes: Vec<u8>,
    n_rows: u64,
}

impl Sheet {
    pub(super) fn new(into: Into, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(HEADER);
        Self {
            into,
            columns: Vec::new(),
            bytes,
            n_rows: 0,
        }
    }

    /// Adds a row: `write` says all its columns, always the same in the same order.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Row<'_>)) {
        let start = self.bytes.len();
        // The number of columns goes first, and is known last.
        self.bytes.extend_from_slice(&[0; 2]);
        let mut row = Row {
            sheet: self,
            n_columns: 0,
        };
        write(&mut row);
        let n_columns = row.n_columns;
        self.n_rows += 1;
        if let Some(header) = self.bytes.get_mut(start..start + 2) {
            header.copy_from_slice(&n_columns.to_be_bytes());
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Names of the columns.
    #[cfg(test)]
    pub(super) fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    /// Writes the rows into their table. Names without a schema mean the pinned generation's.
    pub(super) async fn copy(mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.n_rows == 0 {
            return Ok(());
        }
        self.bytes.extend_from_slice(&TRAILER);
        let mut statement = format!("COPY {} (", self.into.name());
        for (column, number) in self.columns.iter().zip(0..) {
            let comma = if number == 0 { "" } else { ", " };
            // A string grows.
            _ = write!(statement, "{comma}{column}");
        }
        statement.push_str(") FROM STDIN (FORMAT binary)");
        let mut copy = connection.copy_in_raw(&statement).await?;
        copy.send(self.bytes).await?;
        copy.finish().await?;
        Ok(())
    }
}

/// A row being written, column by column.
pub(super) struct Row<'a> {
    sheet: &'a mut Sheet,
    n_columns: i16,
}

/// Microseconds from 1970 to 2000, where Postgres counts from.
const EPOCH: i64 = 946_684_800_000_000;

impl Row<'_> {
    fn value(&mut self, column: &'static str, parts: &[&[u8]]) {
        self.named(column);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // No record, and so no value, comes near 2 GiB.
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        self.sheet.bytes.extend_from_slice(&length.to_be_bytes());
        for part in parts {
            self.sheet.bytes.extend_from_slice(part);
        }
    }

    fn named(&mut self, column: &'static str) {
        self.n_columns += 1;
        if self.sheet.n_rows == 0 {
            self.sheet.columns.push(column);
        }
    }

    /// `null`.
    pub(super) fn null(&mut self, column: &'static str) {
        self.named(column);
        self.sheet.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// A value, or `null`.
    pub(super) fn opt<T>(
        &mut self,
        column: &'static str,
        value: Option<T>,
        write: impl FnOnce(&mut Self, &'static str, T),
    ) {
        match value {
            Some(value) => write(self, column, value),
            None => self.null(column),
        }
    }

    pub(super) fn uuid(&mut self, column: &'static str, value: Uuid) {
        self.value(column, &[value.as_bytes()]);
    }

    pub(super) fn text(&mut self, column: &'static str, value: &str) {
        self.value(column, &[value.as_bytes()]);
    }

    pub(super) fn bytes(&mut self, column: &'static str, value: &[u8]) {
        self.value(column, &[value]);
    }

    pub(super) fn boolean(&mut self, column: &'static str, value: bool) {
        self.value(column, &[&[u8::from(value)]]);
    }

    pub(super) fn integer(&mut self, column: &'static str, value: i32) {
        self.value(column, &[&value.to_be_bytes()]);
    }

    pub(super) fn bigint(&mut self, column: &'static str, value: i64) {
        self.value(column, &[&value.to_be_bytes()]);
    }

    /// `timestamptz`.
    pub(super) fn at(&mut self, column: &'static str, value: Micros) {
        self.bigint(column, value.as_micros() - EPOCH);
    }

    /// `jsonb`, from a JSON text.
    pub(super) fn json(&mut self, column: &'static str, value: &str) {
        /// The version of the binary form: a text follows.
        const VERSION: &[u8] = &[1];
        self.value(column, &[VERSION, value.as_bytes()]);
    }

    /// `text[]`.
    pub(super) fn texts(&mut self, column: &'static str, values: &[String]) {
        /// The type of the elements.
        const TEXT: i32 = 25;
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes();
        // Dimensions, whether there are nulls, the type; then of the one dimension its length and first index.
        let mut array = [i32::from(!values.is_empty()), 0, TEXT]
            .map(i32::to_be_bytes)
            .concat();
        if !values.is_empty() {
            array.extend([count(values.len()), 1_i32.to_be_bytes()].concat());
        }
        for value in values {
            array.extend_from_slice(&count(value.len()));
            array.extend_from_slice(value.as_bytes());
        }
        self.value(column, &[&array]);
    }

    /// The three columns of an order key; all are null where there is none.
    pub(super) fn key(&mut self, [at, sequence, id]: [&'static str; 3], key: Option<OrderKey>) {
        self.opt(at, key.map(|key| key.at), Self::at);
        self.opt(sequence, key.map(|key| key.sequence), Self::bigint);
        self.opt(id, key.map(|key| key.id.0), Self::uuid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_columns_with_their_lengths() {
        let mut sheet = Sheet::new(Into::Table("things"), 64);
        for named in [Some("é"), None] {
            sheet.add(|row| {
                row.integer("number", -2);
                row.opt("name", named, Row::text);
                row.json("body", "{}");
            });
        }
        let rows = [
            &[0, 3, 0, 0, 0, 4, 255, 255, 255, 254, 0, 0, 0, 2, 0xc3, 0xa9][..],
            &[0, 0, 0, 3, 1, b'{', b'}'],
            &[0, 3, 0, 0, 0, 4, 255, 255, 255, 254, 255, 255, 255, 255],
            &[0, 0, 0, 3, 1, b'{', b'}'],
        ];
        assert_eq!(sheet.bytes, [HEADER, &rows.concat()].concat());
        assert_eq!(sheet.columns(), ["number", "name", "body"]);
        assert_eq!(HEADER.len(), 19);
    }

    #[test]
    fn a_row_of_a_history_goes_to_its_day_if_that_can_have_a_partition() {
        let on = |text: &str| Into::history("logs", text.parse().expect("an instant")).name();
        assert_eq!(on("2026-02-28T23:59:59.999999Z"), "logs_20260228");
        assert_eq!(on("2020-01-01T00:00:00Z"), "logs_20200101");
        assert_eq!(on("2099-12-31T12:00:00Z"), "logs_20991231");
        for outside in [
            "2019-12-31T23:59:59.999999Z",
            "2100-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(on(outside), "logs_default");
        }
    }
}
