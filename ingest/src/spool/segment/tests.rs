//! What a crash leaves of a file: everything synced, and any part of what was not.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use redb::StorageBackend;

use super::*;
use crate::spool::tests::{log, record};

/// Disks write sectors whole, and in any order.
const SECTOR: usize = 512;

/// A disk with a cache that a crash empties.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Content,
    /// Operations that change something, so far.
    n_done: usize,
    /// The crash comes before this one.
    crash_at: Option<usize>,
    at_crash: Option<Content>,
    /// Writes and syncs fail.
    broken: bool,
    /// Syncs alone fail: what was written before is read all the same.
    syncs_fail: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What is read.
    cached: Vec<u8>,
    /// What a crash leaves for sure.
    synced: Vec<u8>,
    /// Places written since.
    unsynced: Vec<(usize, usize)>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Content)) -> io::Result<()> {
        let mut state = self.state();
        if state.broken {
            return Err(io::Error::other("the disk is broken"));
        }
        if state.crash_at == Some(state.n_done) {
            state.at_crash = Some(state.now.clone());
        }
        state.n_done += 1;
        change(&mut state.now);
        Ok(())
    }

    /// The disk after the crash, or after a crash now: of what was not synced, these sectors survive and the others do
    /// not.
    fn crashed(&self, mut survives: impl FnMut() -> bool) -> Self {
        let state = self.state();
        let content = state.at_crash.as_ref().unwrap_or(&state.now);
        let mut left = content.synced.clone();
        // The length is the file system's, which keeps it whole: the old or the new.
        if survives() {
            left.resize(content.cached.len(), 0);
        }
        for (from, to) in &content.unsynced {
            for sector in (*from..*to).step_by(SECTOR) {
                let end = (sector + SECTOR).min(*to).min(left.len());
                if sector < end && survives() {
                    left[sector..end].copy_from_slice(&content.cached[sector..end]);
                }
            }
        }
        let now = Content {
            cached: left.clone(),
            synced: left,
            unsynced: Vec::new(),
        };
        Self(Arc::new(Mutex::new(State {
            now,
            ..State::default()
        })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let state = self.state();
        let read = state.now.cached.get(from..from + out.len());
        out.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(|content| content.cached.resize(usize::try_from(length).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.state().syncs_fail {
            return Err(io::Error::other("the disk does not sync"));
        }
        self.change(|content| {
            content.synced.clone_from(&content.cached);
            content.unsynced.clear();
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.change(|content| {
            content.cached[from..from + data.len()].copy_from_slice(data);
            content.unsynced.push((from, from + data.len()));
        })
    }
}

fn database(disk: &Disk) -> Result<Database, Fault> {
    let mut checking = builder();
    checking.set_check_integrity_on_open(true);
    checking.create_with_backend(disk.clone()).map_err(fault)
}

fn segment(disk: &Disk) -> Segment {
    Segment::found(database(disk).unwrap(), Path::new("in memory"), &log("0000000a")).unwrap()
}

/// All there is after a restart.
fn after_restart(disk: &Disk) -> Vec<Spooled> {
    let database = database(disk).expect("the file can be opened");
    let segment = Segment::read(database, Path::new("in memory"));
    let segment = segment.expect("it can be read").expect("it was finished");
    let found = segment.front(None, usize::MAX, u64::MAX).expect("it can be read");
    assert_eq!(segment.n_records(), found.len() as u64);
    found.into_iter().map(|(_, spooled)| spooled).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_committed_survives_any_crash_and_any_torn_write(
        groups in prop::collection::vec(1..40_u32, 1..8),
        n_settled in 0..40_u32,
        crash_at in 0..200_usize,
        seed in any::<u64>(),
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::default();
        let mut segment = segment(&disk);
        let begun = disk.state().n_done;
        disk.state().crash_at = Some(begun + crash_at);
        // What there was after each commit, and whether it had ended before the crash.
        let mut promised = vec![(Vec::new(), true)];
        let mut all = Vec::new();
        for n in groups {
            let first = u32::try_from(all.len()).unwrap();
            all.extend((first..first + n).map(record));
            segment.add(all[first as usize..].iter()).unwrap();
            promised.push((all.clone(), disk.state().at_crash.is_none()));
        }
        let n_settled = n_settled.min(u32::try_from(all.len()).unwrap());
        let keys: Vec<u64> = (0..n_settled).map(u64::from).collect();
        segment.settle(&keys, &[]).unwrap();
        promised.push((all[n_settled as usize..].to_vec(), disk.state().at_crash.is_none()));

        let found = after_restart(&disk.crashed(|| random.random()));
        let n_ended = promised.iter().take_while(|(_, ended)| *ended).count();
        // All of the commit that the crash came into, or nothing of it.
        let possible = &promised[n_ended - 1..promised.len().min(n_ended + 1)];
        prop_assert!(possible.iter().any(|(held, _)| *held == found), "{} of {n_ended}", found.len());
    }
}

#[test]
fn after_a_failed_sync_what_was_acknowledged_before_is_there() {
    let disk = Disk::default();
    let mut segment = segment(&disk);
    let before = [record(1), record(2)];
    segment.add(before.iter()).unwrap();
    disk.state().broken = true;
    assert!(segment.add([record(3)].iter()).is_err());
    disk.state().broken = false;
    let again = segment.add([record(4)].iter());
    assert!(again.is_err(), "after a failed write none is tried");
    assert_eq!(segment.n_records(), 2);
    let crashed = disk.crashed(|| false);
    drop(segment);
    assert_eq!(after_restart(&crashed), before);
}

/// The keys of all that waits.
fn waiting(segment: &Segment) -> Vec<u64> {
    let front = segment.front(None, usize::MAX, u64::MAX);
    front
        .expect("it can be read")
        .into_iter()
        .map(|(key, _)| key)
        .collect()
}

#[test]
fn what_is_settled_under_a_failing_sync_is_not_taken_off_twice() {
    let disk = Disk::default();
    let mut segment = segment(&disk);
    segment
        .add((0..20).map(record).collect::<Vec<_>>().iter())
        .unwrap();
    disk.state().syncs_fail = true;
    let settled: Vec<u64> = (0..10).collect();
    assert!(segment.settle(&settled[..9], &settled[9..]).is_err());
    assert_eq!((segment.n_records(), segment.n_refused()), (10, 1));
    disk.state().syncs_fail = false;

    // Whether the file has the rows, or has them again after the disk forgot what it did not sync.
    let crashed = disk.crashed(|| false);
    for disk in [disk, crashed] {
        segment.close();
        segment.go_on(database(&disk).unwrap()).unwrap();
        assert_eq!((segment.n_records(), segment.n_refused()), (10, 1));
        assert_eq!(waiting(&segment), (10..20).collect::<Vec<_>>());
        assert_eq!(segment.oldest(), Some(record(10).received));
    }
    assert!(!segment.is_empty(), "what still waits keeps the file");
}

#[test]
fn a_file_whose_write_failed_is_only_read_until_all_of_it_is_settled() {
    let disk = Disk::default();
    let mut segment = segment(&disk);
    segment
        .add((0..20).map(record).collect::<Vec<_>>().iter())
        .unwrap();
    disk.state().syncs_fail = true;
    assert!(segment.add([record(20)].iter()).is_err());
    disk.state().syncs_fail = false;
    segment.close();
    segment.go_on(database(&disk).unwrap()).unwrap();
    let n_left = segment.n_records();
    assert!(
        (20..=21).contains(&n_left),
        "{n_left} of 20 that were acknowledged"
    );

    let n_done = disk.state().n_done;
    for key in waiting(&segment) {
        segment.settle(&[key], &[]).expect("it is remembered");
    }
    assert_eq!(disk.state().n_done, n_done, "the disk is left alone");
    assert!(waiting(&segment).is_empty());
    assert!(segment.is_empty(), "now it can go");
}
