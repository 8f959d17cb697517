//! One file of the spool: records in the order they came.
//!
//! The store commits with checksums and one fsync. A write that was torn is not part of any commit; a file whose
//! commits cannot be read is refused as a whole.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, StorageError,
    TableDefinition,
};
use schema::{LogId, Micros, Record, Topic};

use super::Spooled;

/// Receipt in microseconds, topic, key, headers, value.
type Row<'r> = (i64, &'r str, &'r str, Vec<(&'r str, &'r str)>, &'r [u8]);

/// What waits for the log.
const RECORDS: TableDefinition<u64, Row<'static>> = TableDefinition::new("records.v1");
/// What the log refused for its own fault.
const REFUSED: TableDefinition<u64, Row<'static>> = TableDefinition::new("refused.v1");
/// Whose it is: one row.
const LOG: TableDefinition<&str, &str> = TableDefinition::new("log.v1");
const LOG_ID: &str = "id";

/// Pages held in memory for each file.
const CACHE_BYTES: usize = 4 << 20;
/// What files are multiples of.
const PAGE_BYTES: u64 = 4096;

/// A failure of the store or of the disk beneath it.
pub(super) type Fault = redb::Error;

/// Whether a file cannot be read for what is in it, rather than for a disk that does not read it now.
pub(super) fn is_corrupt(error: &Fault) -> bool {
    let of_content = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
    matches!(error, Fault::Corrupted(_))
        || matches!(error, Fault::Io(error) if of_content.contains(&error.kind()))
}

/// One file.
pub(super) struct Segment {
    path: PathBuf,
    log: LogId,
    /// None while the file cannot be used.
    database: Option<Database>,
    next_key: u64,
    n_records: u64,
    n_refused: u64,
    n_bytes: u64,
    oldest: Option<Micros>,
    /// A write or sync of it failed: it is only read since.
    has_failed: bool,
    /// What is settled, though the file may not know it: it was told and the disk failed, which leaves open whether it
    /// has the rows. Kept for as long as the process lives, as rows may come back when the file is opened again.
    passed: HashSet<u64>,
}

fn fault(error: impl Into<redb::Error>) -> Fault {
    error.into()
}

impl Segment {
    /// Makes a new file, durably.
    pub(super) fn create(path: &Path, log: &LogId) -> Result<Self, Fault> {
        let segment = Self::found(builder().create(path).map_err(fault)?, path, log)?;
        // The file's name is durable only once its folder is.
        path.parent().map_or(Ok(()), sync_folder).map_err(fault)?;
        Ok(segment)
    }

    /// Writes into a new file whose it is.
    fn found(database: Database, path: &Path, log: &LogId) -> Result<Self, Fault> {
        let write = database.begin_write().map_err(fault)?;
        write
            .open_table(LOG)
            .map_err(fault)?
            .insert(LOG_ID, log.as_str())
            .map_err(fault)?;
        drop(write.open_table(RECORDS).map_err(fault)?);
        drop(write.open_table(REFUSED).map_err(fault)?);
        write.commit().map_err(fault)?;
        Ok(Self::of(database, path, log.clone()))
    }

    fn of(database: Database, path: &Path, log: LogId) -> Self {
        Self {
            path: path.to_owned(),
            log,
            database: Some(database),
            next_key: 0,
            n_records: 0,
            n_refused: 0,
            n_bytes: 0,
            oldest: None,
            has_failed: false,
            passed: HashSet::new(),
        }
    }

    /// Opens and checks a file of an earlier run. None: it was never finished, and holds nothing.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Fault> {
        match open(path) {
            Err(error) if is_corrupt(&error) => Self::read(open_lengthened(path, error)?, path),
            opened => Self::read(opened?, path),
        }
    }

    fn read(database: Database, path: &Path) -> Result<Option<Self>, Fault> {
        let Some(log) = log_of(&database)? else {
            return Ok(None);
        };
        let mut segment = Self::of(database, path, log);
        segment.try_refused_again()?;
        segment.count()?;
        Ok(Some(segment))
    }

    /// What was refused may be taken now: settings change, and so do we.
    fn try_refused_again(&mut self) -> Result<(), Fault> {
        let database = self.database()?;
        let read = database.begin_read().map_err(fault)?;
        if read
            .open_table(REFUSED)
            .map_err(fault)?
            .is_empty()
            .map_err(fault)?
        {
            return Ok(());
        }
        let write = database.begin_write().map_err(fault)?;
        {
            let mut refused = write.open_table(REFUSED).map_err(fault)?;
            let mut records = write.open_table(RECORDS).map_err(fault)?;
            while let Some((key, row)) = refused.pop_first().map_err(fault)? {
                records.insert(key.value(), row.value()).map_err(fault)?;
            }
        }
        write.commit().map_err(fault)
    }

    /// Counts what waits.
    fn count(&mut self) -> Result<(), Fault> {
        let read = self.database()?.begin_read().map_err(fault)?;
        let records = read.open_table(RECORDS).map_err(fault)?;
        let (mut n_records, mut n_bytes, mut oldest) = (0, 0, None::<Micros>);
        for row in records.iter().map_err(fault)? {
            let (key, row) = row.map_err(fault)?;
            let spooled = spooled(row.value())?;
            n_bytes += spooled.n_bytes();
            if self.passed.contains(&key.value()) {
                continue;
            }
            n_records += 1;
            oldest = Some(oldest.map_or(spooled.received, |oldest| oldest.min(spooled.received)));
        }
        let last = records.last().map_err(fault)?;
        self.next_key = last.map_or(0, |(key, _)| key.value() + 1);
        (self.n_records, self.n_bytes, self.oldest) = (n_records, n_bytes, oldest);
        Ok(())
    }

    fn database(&self) -> Result<&Database, Fault> {
        let closed = || fault(StorageError::DatabaseClosed);
        self.database.as_ref().ok_or_else(closed)
    }

    /// Adds records, durably: all of them or none. After a failure the file is not to be written to.
    pub(super) fn add<'r>(&mut self, records: impl Iterator<Item = &'r Spooled>) -> Result<(), Fault> {
        let added = self.add_to_file(records);
        self.has_failed |= added.is_err();
        added
    }

    fn add_to_file<'r>(&mut self, records: impl Iterator<Item = &'r Spooled>) -> Result<(), Fault> {
        let write = self.database()?.begin_write().map_err(fault)?;
        let (mut next_key, mut n_bytes, mut oldest) = (self.next_key, 0, self.oldest);
        {
            let mut table = write.open_table(RECORDS).map_err(fault)?;
            for spooled in records {
                let record = &spooled.record;
                let headers = record.headers.iter().map(|(name, value)| (&**name, &**value));
                let row = (
                    spooled.received.as_micros(),
                    spooled.topic.suffix(),
                    &*record.key,
                    headers.collect(),
                    &*record.value,
                );
                table.insert(next_key, row).map_err(fault)?;
                next_key += 1;
                n_bytes += spooled.n_bytes();
                oldest = Some(oldest.map_or(spooled.received, |oldest| oldest.min(spooled.received)));
            }
        }
        write.commit().map_err(fault)?;
        self.n_records += next_key - self.next_key;
        self.n_bytes += n_bytes;
        self.next_key = next_key;
        self.oldest = oldest;
        Ok(())
    }

    /// The records after a key: at most so many and about so many bytes, but at least one.
    pub(super) fn front(
        &self,
        after: Option<u64>,
        most: usize,
        most_bytes: u64,
    ) -> Result<Vec<(u64, Spooled)>, Fault> {
        let from = after.map_or(0, |after| after + 1);
        let read = self.database()?.begin_read().map_err(fault)?;
        let table = read.open_table(RECORDS).map_err(fault)?;
        let mut found = Vec::new();
        let mut n_bytes = 0;
        for row in table.range(from..).map_err(fault)? {
            if found.len() >= most || (n_bytes >= most_bytes && !found.is_empty()) {
                break;
            }
            let (key, row) = row.map_err(fault)?;
            if self.passed.contains(&key.value()) {
                continue;
            }
            let spooled = spooled(row.value())?;
            n_bytes += spooled.n_bytes();
            found.push((key.value(), spooled));
        }
        Ok(found)
    }

    /// Forgets what the log holds, and sets aside what it refused. If the file cannot be told, this process remembers;
    /// a file that once could not be is not told again.
    pub(super) fn settle(&mut self, appended: &[u64], refused: &[u64]) -> Result<(), Fault> {
        let settled = if self.has_failed {
            Ok(())
        } else {
            self.settle_in_file(appended, refused)
        };
        self.has_failed |= settled.is_err();
        if self.has_failed {
            for key in appended {
                self.pass(*key);
            }
            for key in refused {
                self.n_refused += u64::from(self.pass(*key));
            }
        }
        if self.n_records == 0 {
            self.oldest = None;
        }
        settled
    }

    /// Remembers that a record is settled. Says whether that is news.
    fn pass(&mut self, key: u64) -> bool {
        let is_new = self.passed.insert(key);
        self.n_records = self.n_records.saturating_sub(u64::from(is_new));
        is_new
    }

    fn settle_in_file(&mut self, appended: &[u64], refused: &[u64]) -> Result<(), Fault> {
        let write = self.database()?.begin_write().map_err(fault)?;
        let (mut n_gone, mut n_bytes_gone, mut n_refused) = (0, 0, 0);
        {
            let mut records = write.open_table(RECORDS).map_err(fault)?;
            for key in appended {
                if let Some(row) = records.remove(key).map_err(fault)? {
                    n_gone += 1;
                    n_bytes_gone += spooled(row.value())?.n_bytes();
                }
            }
            let mut aside = write.open_table(REFUSED).map_err(fault)?;
            for key in refused {
                if let Some(row) = records.remove(key).map_err(fault)? {
                    n_gone += 1;
                    n_refused += 1;
                    aside.insert(key, row.value()).map_err(fault)?;
                }
            }
        }
        write.commit().map_err(fault)?;
        self.n_records = self.n_records.saturating_sub(n_gone);
        self.n_bytes = self.n_bytes.saturating_sub(n_bytes_gone);
        self.n_refused += n_refused;
        // It is committed, and remains so if this look fails: then the age is that of what was the oldest.
        let first = self
            .front(None, 1, 0)
            .ok()
            .and_then(|front| front.into_iter().next());
        self.oldest = first.map(|(_, first)| first.received).or(self.oldest);
        Ok(())
    }

    /// Uses the file no more until it is opened again.
    pub(super) fn close(&mut self) {
        self.database = None;
    }

    /// Opens a file again that was closed.
    pub(super) fn reopen(&mut self) -> Result<(), Fault> {
        if self.database.is_none() {
            self.go_on(open(&self.path)?)?;
        }
        Ok(())
    }

    fn go_on(&mut self, database: Database) -> Result<(), Fault> {
        self.database = Some(database);
        self.count()
    }

    /// Removes a file that holds nothing any more.
    pub(super) fn remove(mut self) -> io::Result<()> {
        self.close();
        fs::remove_file(&self.path)
    }

    /// Whether nothing in it is still needed.
    pub(super) fn is_empty(&self) -> bool {
        self.n_records == 0 && self.n_refused == 0
    }

    pub(super) fn log(&self) -> &LogId {
        &self.log
    }

    pub(super) fn n_records(&self) -> u64 {
        self.n_records
    }

    pub(super) fn n_refused(&self) -> u64 {
        self.n_refused
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// How many records were ever added.
    pub(super) fn n_added(&self) -> u64 {
        self.next_key
    }

    pub(super) fn oldest(&self) -> Option<Micros> {
        self.oldest
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens a file, and checks every page that a commit reaches.
fn open(path: &Path) -> Result<Database, Fault> {
    let mut checking = builder();
    checking.set_check_integrity_on_open(true);
    checking.open(path).map_err(fault)
}

/// A file system that lost the end of the file may have lost nothing that was ever committed: the store can tell, once
/// the file has a length that it knows. If it cannot, the file keeps the length it had.
fn open_lengthened(path: &Path, error: Fault) -> Result<Database, Fault> {
    let file = OpenOptions::new().write(true).open(path).map_err(fault)?;
    let n_bytes = file.metadata().map_err(fault)?.len();
    if n_bytes == 0 {
        return Err(error);
    }
    tracing::warn!(%error, "{} was not written to its end, looking at what there is", path.display());
    file.set_len(n_bytes.next_multiple_of(PAGE_BYTES) * 2)
        .map_err(fault)?;
    let opened = open(path);
    if opened.is_err() {
        file.set_len(n_bytes).map_err(fault)?;
    }
    opened
}

fn log_of(database: &Database) -> Result<Option<LogId>, Fault> {
    let read = database.begin_read().map_err(fault)?;
    let table = match read.open_table(LOG) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let Some(id) = table.get(LOG_ID).map_err(fault)? else {
        return Ok(None);
    };
    let id = LogId::new(id.value()).map_err(|error| foreign(&error.to_string()))?;
    Ok(Some(id))
}

fn spooled(row: Row<'_>) -> Result<Spooled, Fault> {
    let (received, topic, key, headers, value) = row;
    let headers = headers.into_iter();
    Ok(Spooled {
        topic: Topic::from_suffix(topic).ok_or_else(|| foreign("a topic that is not known"))?,
        received: Micros::from_micros(received).map_err(|error| foreign(&error.to_string()))?,
        record: Record {
            key: key.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned().into(), value.to_owned()))
                .collect(),
            value: value.to_owned(),
        },
    })
}

/// What is whole, but not of our making.
fn foreign(what: &str) -> Fault {
    fault(StorageError::Corrupted(what.to_owned()))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
