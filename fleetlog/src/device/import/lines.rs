//! Lines of a file, each within bounds, however long the file is.

use std::io::{self, BufRead, Read as _};

/// Longest line, and longest record of several lines, in bytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// A line of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// Without its break.
    pub(super) text: Result<String, Unreadable>,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Longer than a line may be.
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    n_bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            number: 0,
            n_bytes: 0,
        }
    }

    /// How many bytes were read so far.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The next line, if there is one.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        // With its break, which may have two bytes.
        let most = MAX_BYTES as u64 + 2;
        self.n_bytes += self.reader.by_ref().take(most).read_until(b'\n', &mut bytes)? as u64;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        } else if bytes.len() > MAX_BYTES {
            self.n_bytes += skip_line(&mut self.reader)?;
        }
        if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            // What some programs begin a file with, to say that it is UTF-8.
            bytes.drain(..3);
        }
        let text = if bytes.len() > MAX_BYTES {
            Err(Unreadable::TooLong)
        } else {
            String::from_utf8(bytes).map_err(|_| Unreadable::NotText)
        };
        Ok(Some(Line {
            number: self.number,
            text,
        }))
    }
}

/// Passes over the rest of a line; returns its bytes.
fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let held = reader.fill_buf()?;
        let end = held.iter().position(|&byte| byte == b'\n');
        let n = end.map_or(held.len(), |end| end + 1);
        let ends = end.is_some() || held.is_empty();
        reader.consume(n);
        skipped += n as u64;
        if ends {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<(u64, Result<String, Unreadable>)> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.number, line.text));
        }
        assert_eq!(lines.n_bytes(), bytes.len() as u64);
        all
    }

    #[test]
    fn lines_end_with_either_break_or_the_file() {
        let ok = |number, text: &str| (number, Ok(text.to_owned()));
        assert_eq!(
            all(b"\xef\xbb\xbfa\r\n\nb\nc"),
            [ok(1, "a"), ok(2, ""), ok(3, "b"), ok(4, "c")]
        );
        assert_eq!(all(b""), []);
    }

    #[test]
    fn what_is_too_long_or_no_text_stops_nothing() {
        let mut bytes = vec![b'x'; 3 * MAX_BYTES];
        bytes.extend(b"\n\xff\nb\n");
        bytes.extend(vec![b'y'; MAX_BYTES]);
        let read = all(&bytes);
        assert_eq!(read[0], (1, Err(Unreadable::TooLong)));
        assert_eq!(read[1], (2, Err(Unreadable::NotText)));
        assert_eq!(read[2], (3, Ok("b".to_owned())));
        assert_eq!(read[3].1.as_ref().map(String::len), Ok(MAX_BYTES));
    }
}
