//! The one thread that works on the spool's files.
//!
//! Deliveries that wait while the disk is busy are committed together: one fsync for all of them.

use std::{
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use ::metrics::counter;
use schema::LogId;
use tokio::sync::oneshot;

use super::{Key, NotSpooled, SpoolError, Spooled, State, segment::Fault, store::Store};
use crate::metrics;

/// Most bytes of one commit: so long nobody who comes meanwhile waits.
const GROUP_BYTES: u64 = 8 << 20;
/// How long after a failure it is tried to begin a new file.
const REOPEN_INTERVAL: Duration = Duration::from_secs(5);

/// What the thread is asked to do.
pub(super) enum Work {
    Put {
        records: Vec<Spooled>,
        done: oneshot::Sender<Result<(), NotSpooled>>,
    },
    Front {
        after: Option<Key>,
        most: usize,
        most_bytes: u64,
        done: oneshot::Sender<Result<Vec<(Key, Spooled)>, NotSpooled>>,
    },
    Settle {
        appended: Vec<Key>,
        refused: Vec<Key>,
        /// Dropped when it is done.
        done: oneshot::Sender<()>,
    },
    BelongsTo {
        log: LogId,
        done: oneshot::Sender<Result<(), SpoolError>>,
    },
    Close {
        /// Dropped when it is done.
        done: oneshot::Sender<()>,
    },
}

/// Records that wait for a commit, and who waits.
type Waiting = (Vec<Spooled>, oneshot::Sender<Result<(), NotSpooled>>);

struct Writer<'s> {
    store: Store,
    max_bytes: u64,
    state: &'s State,
    /// Since when and why nothing is written.
    closed: Option<(Instant, String)>,
    /// What was brought last found no room.
    is_full: bool,
}

/// Says so if the thread ends otherwise than it was told to: nothing is spooled then, nor drained.
pub(super) struct Ending<'s>(pub(super) &'s State);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "its thread has failed: restart the door";
            tracing::error!("the spool takes nothing any more, {reason}");
            self.0.close_for_good(reason);
        }
    }
}

/// Works until it is told to close, or nobody is left who could ask.
pub(super) fn run(store: Store, max_bytes: u64, work: &Receiver<Work>, state: &State) {
    let _ending = Ending(state);
    let mut writer = Writer {
        store,
        max_bytes,
        state,
        closed: None,
        is_full: false,
    };
    state.busy();
    writer.begin();
    writer.tell();
    state.idle();
    loop {
        writer.open_again();
        let first = match work.recv_timeout(REOPEN_INTERVAL) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        state.busy();
        if let Some(done) = writer.step(first, work) {
            drop(writer);
            drop(done);
            return;
        }
        state.idle();
    }
}

impl Writer<'_> {
    /// Does one thing, and with a put all that wait beside it. Returns who asked to close.
    fn step(&mut self, first: Work, work: &Receiver<Work>) -> Option<oneshot::Sender<()>> {
        let mut group = Vec::new();
        let mut n_bytes = 0;
        let mut next = Some(first);
        // Whoever asked is gone if nobody takes the answer, which is as well.
        while let Some(one) = next.take() {
            match one {
                Work::Put { records, done } => {
                    n_bytes += records.iter().map(Spooled::n_bytes).sum::<u64>();
                    group.push((records, done));
                    if n_bytes < GROUP_BYTES {
                        next = work.try_recv().ok();
                    }
                }
                other @ (Work::Front { .. }
                | Work::Settle { .. }
                | Work::BelongsTo { .. }
                | Work::Close { .. }) => {
                    self.commit(std::mem::take(&mut group));
                    if let Some(closing) = self.answer(other) {
                        return Some(closing);
                    }
                }
            }
        }
        self.commit(group);
        None
    }

    fn answer(&mut self, work: Work) -> Option<oneshot::Sender<()>> {
        match work {
            Work::Put { records, done } => self.commit(vec![(records, done)]),
            Work::Front {
                after,
                most,
                most_bytes,
                done,
            } => drop(done.send(Ok(self.store.front(after, most, most_bytes)))),
            Work::Settle {
                appended,
                refused,
                done,
            } => {
                self.store.settle(&appended, &refused);
                self.is_full = false;
                self.tell();
                drop(done);
            }
            Work::BelongsTo { log, done } => {
                let settled = self.store.belongs_to(&log);
                if settled.is_ok() && !self.store.is_open() {
                    self.begin();
                }
                self.tell();
                drop(done.send(settled));
            }
            Work::Close { done } => return Some(done),
        }
        None
    }

    /// Commits all that wait, together, and answers them.
    fn commit(&mut self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let mut room = self.max_bytes.saturating_sub(self.store.level().n_bytes);
        let mut committed = Vec::with_capacity(group.len());
        for (records, done) in group {
            let n_bytes: u64 = records.iter().map(Spooled::n_bytes).sum();
            let refused = if let Some((_, reason)) = &self.closed {
                Some(NotSpooled::Closed(reason.clone()))
            } else if self.store.log().is_none() {
                Some(NotSpooled::NoLog)
            } else if n_bytes > room {
                Some(NotSpooled::Full)
            } else {
                None
            };
            self.is_full = refused == Some(NotSpooled::Full);
            self.state.level().is_full = self.is_full;
            if let Some(refused) = refused {
                drop(done.send(Err(refused)));
            } else {
                room -= n_bytes;
                committed.push((records, done));
            }
        }
        if committed.is_empty() {
            return;
        }
        let records = committed.iter().flat_map(|(records, _)| records);
        let settled = self.store.add(records).map_err(|error| self.close(&error));
        self.tell();
        if settled.is_ok() {
            let n: usize = committed.iter().map(|(records, _)| records.len()).sum();
            counter!(metrics::SPOOLED).increment(n as u64);
            self.state.arrived.notify_one();
        }
        for (_, done) in committed {
            drop(done.send(settled.clone()));
        }
    }

    fn begin(&mut self) {
        if let Err(error) = self.store.begin() {
            self.close(&error);
        }
    }

    /// Writes nothing more for a while. What the disk holds of a failed write is unknown, so it is not repeated.
    fn close(&mut self, error: &Fault) -> NotSpooled {
        let reason = error.to_string();
        tracing::error!(
            error = reason,
            "the spool cannot be written to and takes nothing until it can: {reason}"
        );
        counter!(metrics::SPOOL_FAILURES).increment(1);
        self.closed = Some((Instant::now(), reason.clone()));
        NotSpooled::Closed(reason)
    }

    /// Begins a new file, if it is time to see whether the disk works again.
    fn open_again(&mut self) {
        let is_due = |(since, _): &(Instant, String)| since.elapsed() >= REOPEN_INTERVAL;
        if !self.closed.as_ref().is_some_and(is_due) {
            return;
        }
        match self.store.begin() {
            Ok(()) => {
                self.closed = None;
                tracing::info!("the spool can be written to again");
            }
            Err(error) => self.closed = Some((Instant::now(), error.to_string())),
        }
        self.tell();
    }

    fn tell(&self) {
        let mut level = self.store.level();
        level.closed = self.closed.as_ref().map(|(_, reason)| reason.clone());
        level.is_full = self.is_full;
        self.state
            .is_closed
            .store(level.closed.is_some(), Ordering::Release);
        *self.state.level() = level;
        *self.state.log() = self.store.log().cloned();
    }
}
