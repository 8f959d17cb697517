//! Where deliveries are kept while the log cannot be reached: on disk, with fsync, before they are answered.
//!
//! Whatever is spooled is in its final form, with its ids and the instant of its receipt, so that moving it to the log
//! later appends exactly what would have been appended at once. Order is not promised: whoever folds does not need it.
//!
//! [`Store`] is the directory and the rules of its files, each of which is a [`segment`]; the [`writer`] is the one
//! thread that works on it, and this handle is how deliveries reach that thread.

mod segment;
mod store;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use schema::{LogId, Micros, Record, Topic};
use tokio::sync::{Notify, oneshot};

use self::{store::Store, writer::Work};

pub(crate) use self::store::Key;

/// How long a delivery waits for the disk.
const DISK_DEADLINE: Duration = Duration::from_secs(2);

/// Most deliveries that wait for the disk; their bytes are bounded by what may be in flight.
const MOST_WAITING: usize = 16_384;

/// Counted for each record beside its own bytes: what the store needs for it.
const OVERHEAD_BYTES: u64 = 128;

/// Why a directory cannot be used as a spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it.
    #[error("{dir} is the spool of another process{of}: each needs a directory of its own")]
    Taken {
        /// The directory.
        dir: String,
        /// Which process, if it says so, as the end of a phrase.
        of: String,
    },
    /// It holds what belongs to another log.
    #[error(
        "the spool in {dir} holds records of log {spooled}, but the topics are those of log {log}: give the door the \
         topics of that log until they are drained, or another --spool-dir"
    )]
    OtherLog {
        /// The directory.
        dir: String,
        /// The log of what is spooled.
        spooled: String,
        /// The log to append to.
        log: String,
    },
    /// The disk or the file system says no.
    #[error("the spool in {dir} cannot be used: {reason}")]
    Disk {
        /// The directory.
        dir: String,
        /// What it says.
        reason: String,
    },
}

/// Why a delivery was not spooled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSpooled {
    /// There is no room.
    #[error("the spool is full")]
    Full,
    /// It takes no writes since one failed.
    #[error("the spool is closed: {0}")]
    Closed(String),
    /// The disk did not answer in time. It may have the delivery all the same.
    #[error("the disk did not answer in time")]
    Late,
    /// Neither Kafka nor an earlier run has said which log it is.
    #[error("it is not known yet which log this is")]
    NoLog,
}

impl NotSpooled {
    /// A stable, low-cardinality name: metric label, log field.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Closed(_) => "closed",
            Self::Late => "late",
            Self::NoLog => "no_log",
        }
    }
}

/// A record that is to be appended, in its final form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spooled {
    pub(crate) topic: Topic,
    /// The receipt of the delivery that it is of.
    pub(crate) received: Micros,
    pub(crate) record: Record,
}

impl Spooled {
    /// What it counts for.
    fn n_bytes(&self) -> u64 {
        self.record.n_bytes() as u64 + OVERHEAD_BYTES
    }
}

/// What is in the spool, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level {
    /// Records that wait for the log.
    pub(crate) n_records: u64,
    /// Bytes of all that is kept.
    pub(crate) n_bytes: u64,
    /// The earliest receipt among those that wait, as far as is known without reading all of them.
    pub(crate) oldest: Option<Micros>,
    /// Records that the log refused for their own fault; they are tried again at the next start.
    pub(crate) n_refused: u64,
    /// Files that could not be read, and were set aside.
    pub(crate) n_broken_files: usize,
    /// What was brought last found no room.
    pub(crate) is_full: bool,
    /// Why it takes no writes, if it does not.
    pub(crate) closed: Option<String>,
}

/// A spool on disk. Copies share it; its files are closed when the last is gone, or told to.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    max_bytes: u64,
    work: SyncSender<Work>,
    state: Arc<State>,
}

/// What the writer tells the others.
struct State {
    level: Mutex<Level>,
    log: Mutex<Option<LogId>>,
    is_closed: AtomicBool,
    epoch: Instant,
    /// Since when the disk is at work on the same writes, in milliseconds after the epoch, plus one; 0 if it is not.
    busy_since: AtomicU64,
    /// Something was spooled.
    arrived: Notify,
}

impl Spool {
    /// Most bytes kept, unless it is said otherwise: an hour of 200 deliveries a second.
    pub const USUAL_MAX_BYTES: u64 = 1 << 30;

    /// Opens the spool in a directory, which is made if it is not there, and locks it. Blocks while what an earlier run
    /// left is read and checked, and says so in the log.
    ///
    /// It keeps at most `max_bytes` of records; on disk they take about a tenth more.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        let store = Store::open(dir)?;
        let state = Arc::new(State {
            level: Mutex::new(store.level()),
            log: Mutex::new(store.log().cloned()),
            is_closed: AtomicBool::new(false),
            epoch: Instant::now(),
            busy_since: AtomicU64::new(0),
            arrived: Notify::new(),
        });
        let (work, waiting) = sync_channel(MOST_WAITING);
        let told = Arc::clone(&state);
        thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer::run(store, max_bytes, &waiting, &told))
            .map_err(|error| SpoolError::Disk {
                dir: dir.display().to_string(),
                reason: error.to_string(),
            })?;
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            max_bytes,
            work,
            state,
        })))
    }

    /// Resolves once all of the records are on disk with fsync, together: all or none of them are.
    pub(crate) async fn put(&self, records: Vec<Spooled>) -> Result<(), NotSpooled> {
        let state = &self.0.state;
        if state.is_closed.load(Ordering::Acquire) {
            let reason = state.level().closed.clone();
            return Err(NotSpooled::Closed(reason.unwrap_or_default()));
        }
        if state.is_stuck() {
            return Err(NotSpooled::Late);
        }
        let (done, answer) = oneshot::channel();
        self.send(Work::Put { records, done })?;
        match tokio::time::timeout(DISK_DEADLINE, answer).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) => Err(NotSpooled::Closed("it is shutting down".to_owned())),
            Err(_) => Err(NotSpooled::Late),
        }
    }

    /// The records after `after`, oldest first, at most so many and about so many bytes.
    pub(crate) async fn front(
        &self,
        after: Option<Key>,
        most: usize,
        most_bytes: u64,
    ) -> Result<Vec<(Key, Spooled)>, NotSpooled> {
        let (done, answer) = oneshot::channel();
        self.send(Work::Front {
            after,
            most,
            most_bytes,
            done,
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(NotSpooled::Closed("it is shutting down".to_owned())))
    }

    /// Forgets records that the log holds, and sets those aside that it can never take.
    pub(crate) async fn settle(&self, appended: Vec<Key>, refused: Vec<Key>) {
        let (done, answer) = oneshot::channel();
        let sent = self.send(Work::Settle {
            appended,
            refused,
            done,
        });
        if sent.is_ok() {
            // An error, as nobody ever sends. If it was not done they stay, and the next run appends them once more.
            drop(answer.await);
        }
    }

    /// Says which log it is. What is spooled of another, if anything is, keeps it from being used.
    pub async fn belongs_to(&self, log: &LogId) -> Result<(), SpoolError> {
        let (done, answer) = oneshot::channel();
        let sent = self.send(Work::BelongsTo {
            log: log.clone(),
            done,
        });
        let settled = match sent {
            Ok(()) => answer.await.map_err(|_| "it is shutting down".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        settled.unwrap_or_else(|reason| {
            Err(SpoolError::Disk {
                dir: self.0.dir.display().to_string(),
                reason,
            })
        })
    }

    /// Closes its files. What is in it stays for the next start.
    pub(crate) async fn close(&self) {
        let (done, answer) = oneshot::channel();
        if self.send(Work::Close { done }).is_ok() {
            drop(answer.await);
        }
    }

    /// Resolves when something was spooled since it last did.
    pub(crate) async fn arrived(&self) {
        self.0.state.arrived.notified().await;
    }

    /// What is in it, and how it is.
    pub(crate) fn level(&self) -> Level {
        let state = &self.0.state;
        let mut level = state.level().clone();
        if level.closed.is_none() && state.is_stuck() {
            level.closed = Some(format!("the disk has not answered for {DISK_DEADLINE:?}"));
        }
        level
    }

    /// Most bytes that it keeps.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    /// The log of what is in it, if an earlier run or this one has learnt that.
    pub(crate) fn log(&self) -> Option<LogId> {
        self.0.state.log().clone()
    }

    fn send(&self, work: Work) -> Result<(), NotSpooled> {
        self.0.work.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => NotSpooled::Late,
            TrySendError::Disconnected(_) => NotSpooled::Closed("it is shutting down".to_owned()),
        })
    }
}

impl State {
    // What is swapped under these locks is whole whoever panicked meanwhile.
    fn level(&self) -> MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Option<LogId>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is left who could write.
    fn close_for_good(&self, reason: &str) {
        self.is_closed.store(true, Ordering::Release);
        self.level().closed = Some(reason.to_owned());
    }

    fn is_stuck(&self) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        since > 0 && self.millis().saturating_sub(since - 1) > to_millis(DISK_DEADLINE)
    }

    fn millis(&self) -> u64 {
        to_millis(self.epoch.elapsed())
    }

    fn busy(&self) {
        self.busy_since.store(self.millis() + 1, Ordering::Relaxed);
    }

    fn idle(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }
}

fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
