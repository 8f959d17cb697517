//! The directory: which process has it, which of its files is written to, which are only read.
//!
//! Records are added only to a file that this run has made, and taken out of any once the log holds them. After a write
//! or fsync of a file failed neither is done to it again, since what the disk made of it is unknown: it is opened anew
//! and read, for which the store may have to mend it as after a crash, and the process remembers what the log holds of
//! it. A file is removed as a whole once the log holds all of it, which needs no room on the disk.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use schema::{LogId, Micros};

use super::{
    Level, SpoolError, Spooled,
    segment::{Fault, Segment, is_corrupt},
};

/// About how many bytes a file gets before the next is begun.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Files are begun anew when they are empty and this many records went through them: they keep what they once needed.
const WORN_RECORDS: u64 = 10_000;

const LOCK: &str = "lock";
const ENDING: &str = "redb";
/// Added to the name of a file that cannot be read. People may know what to do with it.
const BROKEN: &str = "broken";

/// A record's place: the file's number, and its own within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    file: u64,
    record: u64,
}

/// The files of a spool.
pub(super) struct Store {
    dir: PathBuf,
    /// Held, and with it the directory, until this is dropped.
    _lock: File,
    log: Option<LogId>,
    /// By number, oldest first.
    segments: Vec<(u64, Segment)>,
    /// Whether the last of them is written to.
    is_open: bool,
    next_number: u64,
    n_broken: usize,
}

/// Tries twice: `fleetlog doctor` looks whether the folder is held by holding it for an instant.
fn lock_soon(file: &fs::File) -> Result<(), TryLockError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            thread::sleep(Duration::from_millis(50));
            file.try_lock()
        }
        decided => decided,
    }
}

impl Store {
    /// Locks the directory and reads what is there.
    pub(super) fn open(dir: &Path) -> Result<Self, SpoolError> {
        let disk = |error: io::Error| SpoolError::Disk {
            dir: dir.display().to_string(),
            reason: error.to_string(),
        };
        fs::create_dir_all(dir).map_err(disk)?;
        let lock = lock(dir)?;
        let mut store = Self {
            dir: dir.to_owned(),
            _lock: lock,
            log: None,
            segments: Vec::new(),
            is_open: false,
            next_number: 1,
            n_broken: 0,
        };
        let files = store.files().map_err(disk)?;
        for (number, path) in files {
            store.next_number = number + 1;
            store.take_in(number, &path)?;
        }
        store.log = store.segments.last().map(|(_, segment)| segment.log().clone());
        let level = store.level();
        if level.n_records > 0 {
            let (n, dir) = (level.n_records, dir.display());
            tracing::info!(
                n_records = n,
                "the spool in {dir} holds {n} records of an earlier run"
            );
        }
        Ok(store)
    }

    /// The files there are, oldest first.
    fn files(&mut self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(BROKEN) => self.n_broken += 1,
                Some(ENDING) => {
                    let name = path.file_stem().and_then(|name| name.to_str());
                    if let Some(number) = name.and_then(|name| name.parse().ok()) {
                        files.push((number, path));
                    }
                }
                Some(_) | None => {}
            }
        }
        files.sort();
        Ok(files)
    }

    fn take_in(&mut self, number: u64, path: &Path) -> Result<(), SpoolError> {
        match Segment::open(path) {
            Ok(Some(segment)) => {
                let known = self.segments.last().map(|(_, segment)| segment.log());
                if let Some(known) = known.filter(|known| *known != segment.log()) {
                    return Err(self.other_log(segment.log(), known));
                }
                self.segments.push((number, segment));
            }
            // It was being made when the process ended.
            Ok(None) => drop(fs::remove_file(path)),
            // Nobody knows what is in it, and it may be read the next time.
            Err(error) if !is_corrupt(&error) => {
                return Err(SpoolError::Disk {
                    dir: self.dir.display().to_string(),
                    reason: format!("{}: {error}", path.display()),
                });
            }
            Err(error) => {
                let aside = path.with_extension(format!("{ENDING}.{BROKEN}"));
                tracing::error!(
                    %error,
                    "the spool's file {} cannot be read and is kept as {}: {error}",
                    path.display(),
                    aside.display()
                );
                fs::rename(path, &aside).map_err(|error| SpoolError::Disk {
                    dir: self.dir.display().to_string(),
                    reason: error.to_string(),
                })?;
                self.n_broken += 1;
            }
        }
        Ok(())
    }

    fn other_log(&self, spooled: &LogId, log: &LogId) -> SpoolError {
        SpoolError::OtherLog {
            dir: self.dir.display().to_string(),
            spooled: spooled.to_string(),
            log: log.to_string(),
        }
    }

    /// Says which log it is.
    pub(super) fn belongs_to(&mut self, log: &LogId) -> Result<(), SpoolError> {
        let other = self.segments.iter().find(|(_, segment)| segment.log() != log);
        if let Some((_, segment)) = other {
            if !self.segments.iter().all(|(_, segment)| segment.is_empty()) {
                return Err(self.other_log(segment.log(), log));
            }
            self.is_open = false;
        }
        self.log = Some(log.clone());
        Ok(())
    }

    /// Begins a new file to write to, and removes those that hold nothing.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        let Some(log) = self.log.clone() else {
            return Ok(());
        };
        self.is_open = false;
        let number = self.next_number;
        self.next_number += 1;
        let segment = Segment::create(&self.dir.join(format!("{number:08}.{ENDING}")), &log)?;
        self.segments.push((number, segment));
        self.is_open = true;
        self.sweep();
        Ok(())
    }

    /// Adds records, durably: all of them or none. After a failure nothing can be added until [begun](Self::begin) anew.
    pub(super) fn add<'r>(&mut self, records: impl Iterator<Item = &'r Spooled>) -> Result<(), Fault> {
        if !self.is_open {
            self.begin()?;
        }
        let Some((_, segment)) = self.segments.last_mut() else {
            return Ok(());
        };
        if let Err(error) = segment.add(records) {
            self.is_open = false;
            segment.close();
            return Err(error);
        }
        if segment.n_bytes() >= SEGMENT_BYTES {
            self.is_open = false;
        }
        Ok(())
    }

    /// The records after a key. Files that cannot be read now are passed over, and opened anew by the next pass.
    pub(super) fn front(&mut self, after: Option<Key>, most: usize, most_bytes: u64) -> Vec<(Key, Spooled)> {
        let last = self.segments.last().map(|(number, _)| *number);
        for (number, segment) in &mut self.segments {
            let within = match after {
                Some(after) if after.file > *number => continue,
                Some(after) if after.file == *number => Some(after.record),
                Some(_) | None => None,
            };
            let found = segment
                .reopen()
                .and_then(|()| segment.front(within, most, most_bytes));
            match found {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    let file = *number;
                    let keyed = found.into_iter();
                    return keyed
                        .map(|(record, spooled)| (Key { file, record }, spooled))
                        .collect();
                }
                Err(error) => {
                    let path = segment.path().display();
                    tracing::warn!(%error, "the spool's file {path} cannot be read now: {error}");
                    segment.close();
                    // What comes next goes to a new one rather than nowhere.
                    self.is_open &= Some(*number) != last;
                }
            }
        }
        Vec::new()
    }

    /// Forgets what the log holds, and sets aside what it refused.
    pub(super) fn settle(&mut self, appended: &[Key], refused: &[Key]) {
        let last = self.segments.last().map(|(number, _)| *number);
        for (number, segment) in &mut self.segments {
            let of = |keys: &[Key]| -> Vec<u64> {
                let within = keys.iter().filter(|key| key.file == *number);
                within.map(|key| key.record).collect()
            };
            let (appended, refused) = (of(appended), of(refused));
            if appended.is_empty() && refused.is_empty() {
                continue;
            }
            if let Err(error) = segment.settle(&appended, &refused) {
                tracing::warn!(
                    %error,
                    "the spool's file {} cannot be told what the log holds; a restart may append it again: {error}",
                    segment.path().display()
                );
                segment.close();
                if Some(*number) == last {
                    self.is_open = false;
                }
            }
        }
        let is_worn = |(_, segment): &(u64, Segment)| segment.is_empty() && segment.n_added() >= WORN_RECORDS;
        if self.is_open && self.segments.last().is_some_and(is_worn) {
            // If there is no new one, the old one does.
            drop(self.begin());
        }
        self.sweep();
    }

    /// Removes files that hold nothing, but for the last: it is written to, and tells the next run which log it is.
    fn sweep(&mut self) {
        let last = self.segments.len().saturating_sub(1);
        let all = std::mem::take(&mut self.segments);
        for (place, (number, segment)) in all.into_iter().enumerate() {
            if place == last || !segment.is_empty() {
                self.segments.push((number, segment));
                continue;
            }
            let path = segment.path().to_owned();
            if let Err(error) = segment.remove() {
                tracing::warn!(%error, "the spool's empty file {} cannot be removed: {error}", path.display());
            }
        }
    }

    /// What is in it. Why it takes no writes, and whether there is room, is the writer's to say.
    pub(super) fn level(&self) -> Level {
        let segments = || self.segments.iter().map(|(_, segment)| segment);
        let oldest: Option<Micros> = segments().filter_map(Segment::oldest).min();
        Level {
            n_records: segments().map(Segment::n_records).sum(),
            n_bytes: segments().map(Segment::n_bytes).sum(),
            oldest,
            n_refused: segments().map(Segment::n_refused).sum(),
            n_broken_files: self.n_broken,
            is_full: false,
            closed: None,
        }
    }

    pub(super) fn log(&self) -> Option<&LogId> {
        self.log.as_ref()
    }

    /// Whether records can be added without beginning a new file.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }
}

/// Takes the directory for this process, for as long as the file is held.
fn lock(dir: &Path) -> Result<File, SpoolError> {
    let disk = |error: io::Error| SpoolError::Disk {
        dir: dir.display().to_string(),
        reason: error.to_string(),
    };
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(dir.join(LOCK)).map_err(disk)?;
    match lock_soon(&file) {
        Ok(()) => {
            // For people, and for the message of whoever comes second.
            let noted = file
                .set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()));
            noted.map_err(disk)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let said = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let of = if said {
                format!(", {}", pid.trim())
            } else {
                String::new()
            };
            let dir = dir.display().to_string();
            Err(SpoolError::Taken { dir, of })
        }
        Err(TryLockError::Error(error)) => Err(disk(error)),
    }
}
