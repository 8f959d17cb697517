//! The records of a file, one after the other, with what is wrong with those that cannot be read.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    io::{self, BufRead},
};

use clap::ValueEnum;
use schema::Serial;

use super::{
    csv::Record,
    lines::{Line, Lines, MAX_BYTES},
    refusal::Refusal,
    wish::{self, Column, Wish},
};

/// Most records of one file: their serial numbers are remembered, to tell doubled ones.
pub(super) const MAX_RECORDS: usize = 1_000_000;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated values, whose first line names the columns
    Csv,
    /// One JSON object a line
    JsonLines,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The names of its columns make no sense.
    #[error("{0}")]
    Header(String),
    /// It has more records than one import takes.
    #[error("it has more than {MAX_RECORDS} records: cut it into several files")]
    TooMany,
}

/// What was read, with the line it begins in, or why it is none; nothing at the end.
type Read<T> = Option<Result<(u64, T), Refusal>>;

/// Reads the records of a file.
pub(super) struct Wishes<R> {
    lines: Lines<R>,
    /// The names of the columns, if it has such.
    columns: Option<Vec<Column>>,
    ignored: BTreeSet<String>,
    /// In which line each serial number was.
    seen: HashMap<Serial, u64>,
}

impl<R: BufRead> Wishes<R> {
    /// Reads the header, if there is one.
    pub(super) fn open(reader: R, format: Format, ignored: BTreeSet<String>) -> Result<Self, Unusable> {
        let mut wishes = Self {
            lines: Lines::new(reader),
            columns: None,
            ignored,
            seen: HashMap::new(),
        };
        if format == Format::Csv {
            let header = match wishes.record()? {
                None => {
                    return Err(Unusable::Header(
                        "it is empty: the first line names the columns".to_owned(),
                    ));
                }
                Some(Err(refusal)) => return Err(Unusable::Header(refusal.reason)),
                Some(Ok((_, cells))) => cells,
            };
            let columns = wish::header(&header, &wishes.ignored).map_err(Unusable::Header)?;
            wishes.columns = Some(columns);
        }
        Ok(wishes)
    }

    /// How many bytes of the file were read.
    pub(super) fn n_bytes(&self) -> u64 {
        self.lines.n_bytes()
    }

    /// The next record, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Result<Wish, Refusal>>, Unusable> {
        let read = match self.columns.take() {
            Some(columns) => {
                let record = self.record()?;
                let read = record
                    .map(|record| record.and_then(|(line, cells)| wish::of_cells(line, &columns, &cells)));
                self.columns = Some(columns);
                read
            }
            None => self.object()?,
        };
        let Some(read) = read else {
            return Ok(None);
        };
        let read = read.and_then(|wish| self.first_of_its_serial(wish));
        if self.seen.len() > MAX_RECORDS {
            return Err(Unusable::TooMany);
        }
        Ok(Some(read))
    }

    fn first_of_its_serial(&mut self, wish: Wish) -> Result<Wish, Refusal> {
        match self.seen.entry(wish.serial.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(wish.line);
                Ok(wish)
            }
            Entry::Occupied(entry) => {
                let first = entry.get();
                let reason = format!("{} was in line {first} already", wish.serial);
                Err(Refusal::new(wish.line, reason, "keep one line of each device").of(&wish.serial))
            }
        }
    }

    /// The next line that is not blank.
    fn line(&mut self) -> io::Result<Read<String>> {
        while let Some(Line { number, text }) = self.lines.next()? {
            let text = match text {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => Ok((number, text)),
                Err(error) => {
                    let advice = "write a record in at most 1 MiB of UTF-8";
                    Err(Refusal::new(number, error.to_string(), advice))
                }
            };
            return Ok(Some(text));
        }
        Ok(None)
    }

    fn object(&mut self) -> io::Result<Option<Result<Wish, Refusal>>> {
        let line = self.line()?;
        Ok(line.map(|line| line.and_then(|(number, text)| wish::of_json(number, &text, &self.ignored))))
    }

    /// The next record of cells, with the line it begins in.
    fn record(&mut self) -> io::Result<Read<Vec<String>>> {
        let (begins, mut text) = match self.line()? {
            None => return Ok(None),
            Some(Err(refusal)) => return Ok(Some(Err(refusal))),
            Some(Ok(line)) => line,
        };
        let mut record = Record::default();
        loop {
            match record.take(&text) {
                Ok(true) => return Ok(Some(Ok((begins, record.into_cells())))),
                Ok(false) => {}
                Err(error) => {
                    let advice = "put quotes around the whole cell, and write a quote within as two";
                    return Ok(Some(Err(Refusal::new(begins, error.to_string(), advice))));
                }
            }
            let next = if record.n_bytes() > MAX_BYTES {
                None
            } else {
                self.lines.next()?
            };
            let Some(Ok(more)) = next.map(|line| line.text) else {
                let reason = "a quote is opened and not closed within 1 MiB".to_owned();
                let advice = "close the quote; the lines after it were taken for part of the cell";
                return Ok(Some(Err(Refusal::new(begins, reason, advice))));
            };
            text = more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: Format) -> Vec<Result<(u64, String), (u64, String)>> {
        let mut wishes = Wishes::open(text.as_bytes(), format, BTreeSet::new()).unwrap();
        let mut all = Vec::new();
        while let Some(read) = wishes.next().unwrap() {
            all.push(match read {
                Ok(wish) => Ok((wish.line, wish.serial.to_string())),
                Err(refusal) => Err((refusal.line, refusal.reason)),
            });
        }
        assert_eq!(wishes.n_bytes(), text.len() as u64);
        all
    }

    #[test]
    fn records_are_counted_by_the_line_they_begin_in_and_a_bad_one_stops_nothing() {
        let text = "serial,notes\nA,\"two\nlines\"\n\nB,5\" pipe\nC,x\nA,again\nD,\"never closed\nE,y\n";
        let read = read(text, Format::Csv);
        assert_eq!(read[0], Ok((2, "A".to_owned())));
        assert!(
            matches!(&read[1], Err((5, reason)) if reason.contains("quote")),
            "{read:?}"
        );
        assert_eq!(read[2], Ok((6, "C".to_owned())));
        assert!(
            matches!(&read[3], Err((7, reason)) if reason.contains("line 2 already")),
            "{read:?}"
        );
        assert!(
            matches!(&read[4], Err((8, reason)) if reason.contains("not closed")),
            "{read:?}"
        );
        assert_eq!(read.len(), 5);
    }

    #[test]
    fn json_lines_have_no_header_and_blank_ones_are_passed_over() {
        let read = read(
            "{\"serial\":\"A\"}\n\n{\n{\"serial\":\" A\"}\n{\"serial\":\"B\"}",
            Format::JsonLines,
        );
        assert_eq!(read[0], Ok((1, "A".to_owned())));
        assert!(matches!(&read[1], Err((3, _))), "{read:?}");
        assert!(
            matches!(&read[2], Err((4, reason)) if reason.contains("line 1 already")),
            "{read:?}"
        );
        assert_eq!(read[3], Ok((5, "B".to_owned())));
    }

    #[test]
    fn a_file_without_columns_is_unusable() {
        for text in ["", "name\n", "serial,cohort\n"] {
            assert!(
                Wishes::open(text.as_bytes(), Format::Csv, BTreeSet::new()).is_err(),
                "{text:?}"
            );
        }
    }
}
