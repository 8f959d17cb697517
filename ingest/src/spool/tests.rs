//! The spool as its users see it, on a real disk.

use std::fs;

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("spool-{}", uuid::Uuid::new_v4().simple())))
    }

    fn open(&self) -> Spool {
        Spool::open(&self.0, 1 << 20).expect("the spool can be opened")
    }

    /// The files of the store.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "redb"))
            .collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn log(id: &str) -> LogId {
    LogId::new(id).expect("an id")
}

pub(super) fn record(n: u32) -> Spooled {
    let headers = [("ce_id", format!("id-{n}")), ("ce_type", "a type".to_owned())];
    Spooled {
        topic: Topic::Readings,
        received: Micros::from_micros(1_000_000 + i64::from(n)).unwrap(),
        record: Record {
            key: format!("device-{}", n % 7),
            headers: headers.map(|(name, value)| (name.into(), value)).to_vec(),
            value: n.to_be_bytes().repeat(100),
        },
    }
}

async fn all(spool: &Spool) -> Vec<(Key, Spooled)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let some = spool.front(after, 10, 1 << 20).await.unwrap();
        let Some((last, _)) = some.last() else {
            return all;
        };
        after = Some(*last);
        all.extend(some);
    }
}

async fn records(spool: &Spool) -> Vec<Spooled> {
    all(spool).await.into_iter().map(|(_, spooled)| spooled).collect()
}

/// A spool with so many records, closed again.
async fn left_behind(folder: &Folder, n: u32) {
    let spool = folder.open();
    spool.belongs_to(&log("0000000a")).await.unwrap();
    for n in 0..n {
        spool.put(vec![record(n)]).await.unwrap();
    }
    spool.close().await;
}

#[tokio::test]
async fn what_is_spooled_is_there_after_a_restart_in_the_order_it_came() {
    let folder = Folder::new();
    let spool = folder.open();
    assert_eq!(spool.put(vec![record(0)]).await, Err(NotSpooled::NoLog));
    spool.belongs_to(&log("0000000a")).await.unwrap();
    let puts = (0..100).map(|n| spool.put(vec![record(2 * n), record(2 * n + 1)]));
    let settled = futures_util::future::join_all(puts).await;
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    let expected: Vec<Spooled> = (0..200).map(record).collect();
    assert_eq!(records(&spool).await, expected);
    let before = spool.level();
    assert_eq!((before.n_records, before.oldest), (200, Some(record(0).received)));
    spool.close().await;

    let spool = folder.open();
    assert_eq!(
        spool.log(),
        Some(log("0000000a")),
        "it is known without Kafka whose it is"
    );
    assert_eq!(spool.level(), before);
    assert_eq!(records(&spool).await, expected);
    spool.put(vec![record(200)]).await.expect("it goes on");
    assert_eq!(spool.level().n_records, 201);
}

#[tokio::test]
async fn what_the_log_holds_is_forgotten_and_its_files_go() {
    let folder = Folder::new();
    left_behind(&folder, 30).await;
    let spool = folder.open();
    let keys: Vec<Key> = all(&spool).await.into_iter().map(|(key, _)| key).collect();
    spool.settle(keys[..10].to_vec(), Vec::new()).await;
    assert_eq!(spool.level().n_records, 20);
    assert_eq!(spool.level().oldest, Some(record(10).received));
    spool.settle(keys[10..].to_vec(), Vec::new()).await;
    let level = spool.level();
    assert_eq!((level.n_records, level.n_bytes, level.oldest), (0, 0, None));
    assert_eq!(folder.files().len(), 1, "only the one that is written to");
    spool.close().await;
    assert_eq!(folder.open().level(), level);
}

#[tokio::test]
async fn what_the_log_refuses_is_kept_and_tried_again_at_the_next_start() {
    let folder = Folder::new();
    left_behind(&folder, 3).await;
    let spool = folder.open();
    let keys: Vec<Key> = all(&spool).await.into_iter().map(|(key, _)| key).collect();
    spool.settle(vec![keys[0], keys[2]], vec![keys[1]]).await;
    assert_eq!(records(&spool).await, []);
    assert_eq!((spool.level().n_records, spool.level().n_refused), (0, 1));
    spool.close().await;

    let spool = folder.open();
    assert_eq!(records(&spool).await, [record(1)]);
    assert_eq!((spool.level().n_records, spool.level().n_refused), (1, 0));
}

#[tokio::test]
async fn it_keeps_no_more_bytes_than_it_may() {
    let folder = Folder::new();
    let most = 10 * record(0).n_bytes();
    let spool = Spool::open(&folder.0, most).unwrap();
    spool.belongs_to(&log("0000000a")).await.unwrap();
    for n in 0..10 {
        spool.put(vec![record(n)]).await.unwrap();
    }
    assert_eq!(spool.put(vec![record(10)]).await, Err(NotSpooled::Full));
    assert_eq!((spool.level().n_bytes, spool.level().is_full), (most, true));
    let (key, _) = all(&spool).await.swap_remove(0);
    spool.settle(vec![key], Vec::new()).await;
    assert!(!spool.level().is_full);
    let two = vec![record(11), record(12)];
    assert_eq!(spool.put(two).await, Err(NotSpooled::Full), "all or nothing");
    assert!(
        spool.level().is_full,
        "half of the room is none for who needs more"
    );
    spool.put(vec![record(3)]).await.expect("there is room for one");
    assert!(!spool.level().is_full);
}

#[tokio::test]
async fn one_process_has_it_and_it_is_of_one_log() {
    let folder = Folder::new();
    left_behind(&folder, 1).await;
    let spool = folder.open();
    let refused = Spool::open(&folder.0, 1).err().expect("it is taken");
    let pid = std::process::id().to_string();
    assert!(
        matches!(&refused, SpoolError::Taken { of, .. } if of.contains(&pid)),
        "{refused}"
    );

    let refused = spool.belongs_to(&log("0000000b")).await.unwrap_err();
    assert!(matches!(refused, SpoolError::OtherLog { .. }), "{refused}");
    let (key, _) = all(&spool).await.swap_remove(0);
    spool.settle(vec![key], Vec::new()).await;
    spool
        .belongs_to(&log("0000000b"))
        .await
        .expect("nothing is left of the first");
    spool.put(vec![record(1)]).await.unwrap();
    spool.close().await;
    assert_eq!(folder.open().log(), Some(log("0000000b")));
}

#[tokio::test]
async fn a_file_whose_end_the_disk_lost_has_all_commits_but_at_most_the_newest() {
    for torn in [1, 100, 4096, 5000] {
        let folder = Folder::new();
        let spool = folder.open();
        spool.belongs_to(&log("0000000a")).await.unwrap();
        for n in 0..20 {
            spool.put(vec![record(n)]).await.unwrap();
        }
        // As a crash leaves it.
        let path = folder.files().pop().unwrap();
        let crashed = fs::read(&path).unwrap();
        spool.close().await;
        let (whole, shorter) = (crashed.len(), crashed.len() - torn);
        let mut garbled = crashed.clone();
        garbled[shorter..].fill(0xA5);
        let mut longer = crashed.clone();
        longer.resize(whole + torn, 0xA5);
        for (what, bytes) in [
            ("cut", &crashed[..shorter]),
            ("garbled", &garbled),
            ("grown", &longer),
        ] {
            fs::write(&path, bytes).unwrap();
            let spool = folder.open();
            let level = spool.level();
            // The disk has lost what it had synced, which no crash does: the commit that needs it is gone, no other.
            let least = if what == "grown" { 20 } else { 19 };
            assert!(
                (least..=20).contains(&level.n_records),
                "{what} by {torn}: {level:?}"
            );
            spool.close().await;
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_kept_aside_and_the_spool_goes_on() {
    let folder = Folder::new();
    left_behind(&folder, 20).await;
    let path = folder.files().pop().unwrap();
    fs::write(&path, [0xA5; 10_000]).unwrap();
    let spool = folder.open();
    assert_eq!((spool.level().n_records, spool.level().n_broken_files), (0, 1));
    spool.belongs_to(&log("0000000a")).await.unwrap();
    spool.put(vec![record(1)]).await.expect("it goes on");
    assert!(path.with_extension("redb.broken").exists());
    spool.close().await;
    assert_eq!(folder.open().level().n_broken_files, 1, "it is not forgotten");
}

#[test]
fn a_file_that_the_disk_does_not_read_now_is_left_where_it_is() {
    let folder = Folder::new();
    // The disk's answer is an error that says nothing about what is in it.
    let path = folder.0.join("00000001.redb");
    fs::create_dir_all(&path).unwrap();
    let refused = Spool::open(&folder.0, 1).err().expect("it cannot be opened");
    assert!(
        matches!(&refused, SpoolError::Disk { reason, .. } if reason.contains("00000001.redb")),
        "{refused}"
    );
    assert!(path.exists(), "it is not set aside");
}

#[test]
fn a_file_that_is_cut_while_it_is_used_is_not_made_longer() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("00000001.redb");
    let mut segment = segment::Segment::create(&path, &log("0000000a")).unwrap();
    segment.add([record(1)].iter()).unwrap();
    segment.close();
    let whole = fs::read(&path).unwrap();
    for n in [0, 10, 5000] {
        fs::write(&path, &whole[..n]).unwrap();
        for _ in 0..3 {
            assert!(segment.reopen().is_err(), "its first {n} bytes are not all");
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), n as u64);
    }
    fs::write(&path, &whole).unwrap();
    segment.reopen().expect("it is there again");
    assert_eq!(segment.n_records(), 1);
}

#[tokio::test]
async fn a_disk_that_hangs_shows_and_nobody_waits_for_it() {
    let long_ago = Instant::now().checked_sub(2 * DISK_DEADLINE).unwrap();
    // A thread that has been at work on the same write since then.
    let state = Arc::new(state(long_ago, 1));
    let (work, _waiting) = sync_channel(1);
    let spool = Spool(Arc::new(Shared {
        dir: PathBuf::new(),
        max_bytes: 1 << 20,
        work,
        state: Arc::clone(&state),
    }));
    assert!(spool.level().closed.is_some(), "it takes nothing now");
    assert_eq!(spool.put(vec![record(1)]).await, Err(NotSpooled::Late));
    state.idle();
    assert_eq!(spool.level().closed, None, "the disk answered");
}

#[test]
fn a_thread_that_fails_closes_the_spool() {
    let state = Arc::new(state(Instant::now(), 0));
    for fails in [false, true] {
        let told = Arc::clone(&state);
        let ended = thread::spawn(move || {
            let _ending = writer::Ending(&told);
            assert!(!fails, "as a defect would");
        });
        assert_eq!(ended.join().is_err(), fails);
        assert_eq!(state.level().closed.is_some(), fails);
        assert_eq!(state.is_closed.load(Ordering::Acquire), fails);
    }
}

fn state(epoch: Instant, busy_since: u64) -> State {
    State {
        level: Mutex::default(),
        log: Mutex::default(),
        is_closed: AtomicBool::new(false),
        epoch,
        busy_since: AtomicU64::new(busy_since),
        arrived: Notify::new(),
    }
}
