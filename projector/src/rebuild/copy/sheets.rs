//! Sheets being filled, one a table.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::{Into, Row, Sheet};

/// A sheet is handed over when it is this large: then what a statement costs is little beside its rows.
const FULL: usize = 1024 * 1024;

/// What a sheet begins with, while nobody knows whether more comes.
const LITTLE: usize = 16 * 1024;

/// Nobody takes sheets any more.
#[derive(Debug)]
pub(in crate::rebuild) struct Gone;

/// One sheet a table being filled. Full ones are handed over; if all of them together grow beyond a bound, the largest
/// are.
#[derive(Debug)]
pub(in crate::rebuild) struct Sheets {
    open: BTreeMap<Into, Sheet>,
    out: mpsc::Sender<Sheet>,
    full: usize,
    bound: usize,
    waiting: usize,
    n_rows: BTreeMap<&'static str, u64>,
    /// Tables of which a sheet was full: the next one will be as well, and need not grow up to it.
    busy: BTreeSet<&'static str>,
}

impl Sheets {
    /// Up to `bound` bytes wait here. One full sheet more may be on its way through `out`, and one at its end.
    pub(in crate::rebuild) fn new(out: mpsc::Sender<Sheet>, bound: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            out,
            full: FULL.min(bound / 4),
            bound,
            waiting: 0,
            n_rows: BTreeMap::new(),
            busy: BTreeSet::new(),
        }
    }

    /// Adds a row. Blocks while sheets are handed over: not for asynchronous tasks.
    pub(in crate::rebuild) fn add(
        &mut self,
        into: Into,
        write: impl FnOnce(&mut Row<'_>),
    ) -> Result<(), Gone> {
        let sheet = self.open.entry(into).or_insert_with(|| {
            let is_busy = self.busy.contains(into.table());
            // A row more goes on it than makes it full.
            Sheet::new(into, if is_busy { self.full + LITTLE } else { LITTLE })
        });
        let before = sheet.len();
        sheet.add(write);
        let after = sheet.len();
        self.waiting += after - before;
        if after >= self.full {
            self.busy.insert(into.table());
            self.hand_over(into)?;
        }
        while self.waiting > self.bound {
            let largest = self.open.iter().max_by_key(|(_, sheet)| sheet.len());
            let Some((&into, _)) = largest else { break };
            self.hand_over(into)?;
        }
        Ok(())
    }

    /// Hands over whatever waits.
    pub(in crate::rebuild) fn flush(&mut self) -> Result<(), Gone> {
        while let Some((&into, _)) = self.open.first_key_value() {
            self.hand_over(into)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, into: Into) -> Result<(), Gone> {
        let Some(sheet) = self.open.remove(&into) else {
            return Ok(());
        };
        self.waiting = if self.open.is_empty() {
            0
        } else {
            self.open.values().map(Sheet::len).sum()
        };
        *self.n_rows.entry(into.table()).or_default() += sheet.n_rows();
        self.out.blocking_send(sheet).map_err(|_| Gone)
    }

    /// Bytes of rows that wait.
    pub(in crate::rebuild) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Rows handed over, by table.
    pub(in crate::rebuild) fn n_rows(&self) -> &BTreeMap<&'static str, u64> {
        &self.n_rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bound: usize, n_rows: i64, tables: &[&'static str]) -> (Vec<Sheet>, usize) {
        let (out, mut sheets) = mpsc::channel(1000);
        let mut open = Sheets::new(out, bound);
        let mut most = 0;
        for number in 0..n_rows {
            for table in tables {
                open.add(Into::Table(table), |row| row.bigint("n", number))
                    .expect("taken");
                most = most.max(open.waiting());
            }
        }
        open.flush().expect("taken");
        assert_eq!(open.waiting(), 0);
        drop(open);
        let taken = std::iter::from_fn(|| sheets.try_recv().ok()).collect();
        (taken, most)
    }

    #[test]
    fn what_waits_is_bounded_however_many_tables_there_are() {
        let tables = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let (sheets, most) = filled(400, 100, &tables);
        assert!(most <= 400, "{most}");
        let rows: u64 = sheets.iter().map(Sheet::n_rows).sum();
        assert_eq!(rows, 800);
    }

    #[test]
    fn a_sheet_is_handed_over_when_it_is_full() {
        let (sheets, _) = filled(4_000, 1_000, &["a"]);
        assert!(sheets.len() > 10, "{}", sheets.len());
        assert!(sheets.iter().all(|sheet| sheet.len() < 1_100));
    }

    #[test]
    fn nobody_takes_sheets_of_a_load_that_has_ended() {
        let (out, sheets) = mpsc::channel(1);
        drop(sheets);
        let mut open = Sheets::new(out, 4_000);
        open.add(Into::Table("a"), |row| row.bigint("n", 1))
            .expect("it waits");
        assert!(open.flush().is_err());
    }
}
