//! Records of comma-separated values, as RFC 4180 has them: strictly, so that a stray quote is said rather than guessed.

/// A record that is being read, line by line.
#[derive(Debug, Default)]
pub(super) struct Record {
    cells: Vec<String>,
    cell: String,
    state: State,
    n_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first character of a cell.
    #[default]
    Start,
    /// In a cell without quotes.
    Plain,
    /// In a quoted cell.
    Quoted,
    /// After a quote within a quoted cell: its end, or half of a quote that is meant.
    QuoteInQuoted,
}

/// Why a line is no part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// E.g. `5" pipe`.
    #[error("there is a quote within column {0}, which does not begin with one")]
    StrayQuote(usize),
    /// E.g. `"5" pipe"`.
    #[error("column {0} goes on after its closing quote")]
    AfterQuote(usize),
}

impl Record {
    /// Takes the next line; says whether the record ends with it.
    pub(super) fn take(&mut self, line: &str) -> Result<bool, Malformed> {
        if self.state == State::Quoted {
            self.cell.push('\n');
        }
        self.n_bytes += line.len() + 1;
        for character in line.chars() {
            self.character(character)?;
        }
        if self.state == State::Quoted {
            return Ok(false);
        }
        self.end_cell();
        Ok(true)
    }

    /// How many bytes it has so far.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Its cells.
    pub(super) fn into_cells(self) -> Vec<String> {
        self.cells
    }

    fn character(&mut self, character: char) -> Result<(), Malformed> {
        match (self.state, character) {
            (State::Start, '"') => self.state = State::Quoted,
            (State::Quoted, '"') => self.state = State::QuoteInQuoted,
            (State::QuoteInQuoted, '"') => {
                self.cell.push('"');
                self.state = State::Quoted;
            }
            (State::Start | State::Plain | State::QuoteInQuoted, ',') => self.end_cell(),
            (State::Plain, '"') => return Err(Malformed::StrayQuote(self.cells.len() + 1)),
            (State::QuoteInQuoted, _) => return Err(Malformed::AfterQuote(self.cells.len() + 1)),
            (State::Start | State::Plain, other) => {
                self.state = State::Plain;
                self.cell.push(other);
            }
            (State::Quoted, other) => self.cell.push(other),
        }
        Ok(())
    }

    fn end_cell(&mut self) {
        self.cells.push(std::mem::take(&mut self.cell));
        self.state = State::Start;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<String>>, Malformed> {
        let mut records = Vec::new();
        let mut record = Record::default();
        for line in text.split('\n') {
            if record.take(line)? {
                records.push(std::mem::take(&mut record).into_cells());
            }
        }
        Ok(records)
    }

    #[rstest]
    #[case("a,b", vec![vec!["a", "b"]])]
    #[case("a,", vec![vec!["a", ""]])]
    #[case("", vec![vec![""]])]
    #[case(r#""a,b","c ""d""""#, vec![vec!["a,b", "c \"d\""]])]
    #[case("\"a\nb\",c\nd,e", vec![vec!["a\nb", "c"], vec!["d", "e"]])]
    #[case(r#""",x"#, vec![vec!["", "x"]])]
    fn cells_are_what_was_written(#[case] text: &str, #[case] expected: Vec<Vec<&str>>) {
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn a_quote_out_of_place_is_said() {
        assert_eq!(read(r#"a,5" pipe"#), Err(Malformed::StrayQuote(2)));
        assert_eq!(read(r#""5" pipe",b"#), Err(Malformed::AfterQuote(1)));
    }

    #[test]
    fn a_quote_that_is_never_closed_leaves_the_record_open() {
        let mut record = Record::default();
        assert_eq!(record.take(r#"a,"b"#), Ok(false));
        assert_eq!(record.take("c,d"), Ok(false));
        assert_eq!(record.n_bytes(), 9);
    }

    #[test]
    fn what_is_written_reads_back() {
        let cells = ["", "a", "b,c", "\"", "\"\"", "x\ny", " z ", "é\"é"];
        for one in cells {
            for other in cells {
                let quoted = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
                let text = format!("{},{}", quoted(one), quoted(other));
                assert_eq!(read(&text).unwrap(), [[one, other]]);
            }
        }
    }
}
