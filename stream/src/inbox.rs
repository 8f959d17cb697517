//! Between the thread that polls Kafka and the task that takes batches: what is assigned, and what was read of it.
//!
//! Knows nothing of Kafka. Holds the promises about assignments: nothing of a partition is handed out before its start
//! was given, and nothing after its end was told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schema::Topic;
use tokio::sync::Notify;

use crate::{Position, Read, ReadError};

/// From here on the thread stops polling, in bytes.
const FULL_BYTES: usize = 32 * 1024 * 1024;

/// What a record costs in memory beside its own bytes, roughly.
const RECORD_OVERHEAD_BYTES: usize = 1024;

/// What a [`Reader`](crate::Reader) has to say.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// These partitions, of every topic read, are this reader's now. Empty if others have them all.
    Assigned(Vec<i32>),
    /// These partitions are someone else's now, or will be.
    Revoked(Vec<i32>),
    /// Records to work on.
    Batch(Batch),
}

/// Records, in order per partition of a topic; never empty.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The records.
    pub records: Vec<Read>,
}

/// A partition of a topic.
pub(crate) type Place = (Topic, i32);

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Wakes the task: there is something to hand out.
    filled: Notify,
    /// Wakes the thread: there is room, or it shall stop.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    topics: Vec<Topic>,
    /// Counts assignments, so that a start given for one is not taken for the next.
    turn: u64,
    /// The newest assignment that was handed out.
    told: u64,
    assigned: Option<Vec<i32>>,
    news: VecDeque<Delivery>,
    /// What is read, and the offset expected next from Kafka.
    next: BTreeMap<Place, i64>,
    /// Where the thread shall start over.
    restart: Option<BTreeMap<Place, i64>>,
    /// The offset to be handed out next.
    handed: BTreeMap<Place, i64>,
    /// The offset after the last record there is, as far as is known.
    ends: BTreeMap<Place, i64>,
    records: VecDeque<(usize, Read)>,
    n_bytes: usize,
    /// As many records are worth waking the task.
    wanted: usize,
    parked: bool,
    failure: Failure,
    closing: bool,
    ended: bool,
}

/// What ended the reading, if anything did.
#[derive(Debug, Default)]
enum Failure {
    #[default]
    None,
    ToTell(ReadError),
    Told,
}

/// What the thread may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    Crowded,
    Closing,
}

/// What the task does next.
pub(crate) enum Step {
    Now(Result<Delivery, ReadError>),
    Wait(Option<Instant>),
}

impl Inbox {
    pub(crate) fn new(topics: &[Topic]) -> Self {
        let state = State {
            topics: topics.to_vec(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            ..Self::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Partitions were assigned, by topic: the same of every topic, or the group is split.
    pub(crate) fn assigned(&self, places: &[Place]) {
        let mut state = self.state();
        let of = |topic: &Topic| {
            let mut partitions: Vec<_> = places
                .iter()
                .filter(|(of, _)| of == topic)
                .map(|(_, partition)| *partition)
                .collect();
            partitions.sort_unstable();
            partitions
        };
        let partitions = state.topics.first().map(of).unwrap_or_default();
        if state.topics.iter().any(|topic| of(topic) != partitions) {
            state.fail(ReadError::Split);
        } else {
            state.turn += 1;
            state.assigned = Some(partitions.clone());
            state.news.push_back(Delivery::Assigned(partitions));
        }
        self.filled.notify_one();
    }

    /// What was assigned is not ours any more. Returns the places that were read.
    pub(crate) fn revoked(&self) -> Vec<Place> {
        let mut state = self.state();
        let read = std::mem::take(&mut state.handed).into_keys().collect();
        state.ends.clear();
        state.forget();
        if let Some(partitions) = state.assigned.take() {
            if let Some(Delivery::Assigned(_)) = state.news.back() {
                // Nobody has heard of it yet.
                state.news.pop_back();
            } else {
                state.news.push_back(Delivery::Revoked(partitions));
            }
        }
        self.filled.notify_one();
        self.drained.notify_one();
        read
    }

    /// Starts what was assigned last, by `assign` with the positions to start at, unless it was revoked meanwhile. What
    /// was started already is left to the thread to start over.
    pub(crate) fn start_assigned(
        &self,
        given: &[Position],
        assign: impl FnOnce(&BTreeMap<Place, i64>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut state = self.state();
        let Some(partitions) = state.assigned.clone().filter(|_| state.told == state.turn) else {
            return Ok(());
        };
        let mut positions = BTreeMap::new();
        for topic in state.topics.clone() {
            for partition in &partitions {
                let at = |position: &&Position| position.topic == topic && position.partition == *partition;
                let Some(position) = given.iter().find(at) else {
                    return Err(ReadError::NoPosition {
                        topic,
                        partition: *partition,
                    });
                };
                positions.insert((topic, *partition), position.offset);
            }
        }
        if state.next.is_empty() && state.restart.is_none() {
            return state.start(positions, assign);
        }
        // The thread may hold a record of the earlier start at this moment; it must not be taken for one of the later.
        state.forget();
        state.handed.clone_from(&positions);
        state.restart = Some(positions);
        self.drained.notify_one();
        Ok(())
    }

    /// Starts over, by `assign`, if that was asked for.
    pub(crate) fn start_over(&self, assign: impl FnOnce(&BTreeMap<Place, i64>) -> Result<(), ReadError>) {
        let mut state = self.state();
        if let Some(positions) = state.restart.take()
            && let Err(error) = state.start(positions, assign)
        {
            state.fail(error);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Starts reading at these positions, without an assignment.
    pub(crate) fn start_at(
        &self,
        positions: &[Position],
        assign: impl FnOnce(&BTreeMap<Place, i64>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let positions = positions
            .iter()
            .map(|position| ((position.topic, position.partition), position.offset))
            .collect();
        self.state().start(positions, assign)
    }

    /// Whether a record is the next expected, or beyond; others are left over from an earlier start.
    pub(crate) fn expects(&self, position: Position) -> bool {
        let state = self.state();
        let place = (position.topic, position.partition);
        matches!(state.failure, Failure::None)
            && state
                .next
                .get(&place)
                .is_some_and(|next| position.offset >= *next)
    }

    /// Takes a record, if it is still expected.
    pub(crate) fn put(&self, read: Read, n_bytes: usize) {
        let mut state = self.state();
        let place = (read.position.topic, read.position.partition);
        let after = read.position.offset + 1;
        match state.next.get_mut(&place) {
            Some(next) if after > *next => *next = after,
            _ => return,
        }
        let end = state.ends.entry(place).or_insert(after);
        *end = after.max(*end);
        let n_bytes = n_bytes + RECORD_OVERHEAD_BYTES;
        state.n_bytes += n_bytes;
        state.records.push_back((n_bytes, read));
        let n_records = state.records.len();
        if n_records == 1 || n_records >= state.wanted || state.is_full() {
            self.filled.notify_one();
        }
    }

    /// Reading cannot go on; what was put before is still handed out.
    pub(crate) fn fail(&self, error: ReadError) {
        self.state().fail(error);
        self.filled.notify_one();
    }

    /// The offset after the last record of a place.
    pub(crate) fn end(&self, place: Place, end: i64) {
        let mut state = self.state();
        if state.next.contains_key(&place) {
            let known = state.ends.entry(place).or_insert(end);
            *known = end.max(*known);
        }
    }

    /// For each place read: the offset to be handed out next, and the end.
    pub(crate) fn lags(&self) -> Vec<(Position, i64)> {
        let state = self.state();
        let lag = |(place, offset): (&Place, &i64)| {
            let position = Position {
                topic: place.0,
                partition: place.1,
                offset: *offset,
            };
            Some((position, *state.ends.get(place)?))
        };
        state.handed.iter().filter_map(lag).collect()
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.state().n_bytes
    }

    /// What the task does next. `due` is when the batch at hand is handed out at the latest; the caller keeps it.
    pub(crate) fn step(&self, max_records: usize, max_wait: Duration, due: &mut Option<Instant>) -> Step {
        let mut state = self.state();
        if let Some(news) = state.news.pop_front() {
            if let Delivery::Assigned(_) = news {
                state.told = state.turn;
            }
            return Step::Now(Ok(news));
        }
        if state.records.is_empty() {
            *due = None;
            return match std::mem::replace(&mut state.failure, Failure::Told) {
                Failure::ToTell(error) => Step::Now(Err(error)),
                Failure::Told => Step::Now(Err(ReadError::Ended)),
                Failure::None if state.ended => Step::Now(Err(ReadError::Ended)),
                Failure::None => {
                    state.failure = Failure::None;
                    Step::Wait(None)
                }
            };
        }
        let max_records = max_records.max(1);
        let now = Instant::now();
        let due_at = *due.get_or_insert(now + max_wait);
        let enough = state.records.len() >= max_records
            || state.is_full()
            || matches!(state.failure, Failure::ToTell(_));
        if !enough && now < due_at {
            state.wanted = max_records;
            return Step::Wait(Some(due_at));
        }
        *due = None;
        let records = state.drain(max_records);
        self.drained.notify_one();
        Step::Now(Ok(Delivery::Batch(Batch { records })))
    }

    /// Resolves when there may be something new to hand out.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits for room, as long as `patience`. Where there was none for so long, there is room again only when half of
    /// the inbox is empty.
    pub(crate) fn room(&self, patience: Duration) -> Room {
        let state = self.state();
        let patience = if state.parked { Duration::ZERO } else { patience };
        let crowded = |state: &mut State| {
            let full = if state.parked {
                state.n_bytes >= FULL_BYTES / 2
            } else {
                state.is_full()
            };
            full && !state.closing
        };
        let (state, waited) = self
            .drained
            .wait_timeout_while(state, patience, crowded)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closing {
            Room::Closing
        } else if waited.timed_out() {
            Room::Crowded
        } else {
            Room::Free
        }
    }

    /// Stops reading for a while, by `unassign`, if it is not stopped already.
    pub(crate) fn park(&self, unassign: impl FnOnce() -> Result<(), ReadError>) {
        let mut state = self.state();
        if state.parked || state.next.is_empty() {
            return;
        }
        state.parked = true;
        if let Err(error) = unassign() {
            state.fail(error);
        }
    }

    /// Goes on after [`park`](Self::park), by `assign`.
    pub(crate) fn unpark(&self, assign: impl FnOnce(&BTreeMap<Place, i64>) -> Result<(), ReadError>) {
        let mut state = self.state();
        if !std::mem::take(&mut state.parked) {
            return;
        }
        if let Err(error) = assign(&state.next) {
            state.fail(error);
        }
    }

    /// What is read, and the offsets expected next.
    pub(crate) fn expected(&self) -> BTreeMap<Place, i64> {
        self.state().next.clone()
    }

    /// Tells the thread to stop.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.drained.notify_one();
    }

    /// The thread has stopped.
    pub(crate) fn ended(&self) {
        self.state().ended = true;
        self.filled.notify_one();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }
}

impl State {
    fn start(
        &mut self,
        positions: BTreeMap<Place, i64>,
        assign: impl FnOnce(&BTreeMap<Place, i64>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        assign(&positions)?;
        self.forget();
        self.handed.clone_from(&positions);
        self.next = positions;
        Ok(())
    }

    /// Nothing is read, and nothing that was is handed out.
    fn forget(&mut self) {
        self.next.clear();
        self.restart = None;
        self.records.clear();
        self.n_bytes = 0;
        self.parked = false;
    }

    fn fail(&mut self, error: ReadError) {
        // The first says why; what follows are consequences.
        if let Failure::None = self.failure {
            self.failure = Failure::ToTell(error);
        }
    }

    fn is_full(&self) -> bool {
        self.n_bytes >= FULL_BYTES
    }

    fn drain(&mut self, max_records: usize) -> Vec<Read> {
        let n_records = max_records.min(self.records.len());
        let drained: Vec<_> = self.records.drain(..n_records).collect();
        self.n_bytes -= drained.iter().map(|(n_bytes, _)| n_bytes).sum::<usize>();
        for (_, read) in &drained {
            let place = (read.position.topic, read.position.partition);
            self.handed.insert(place, read.position.offset + 1);
        }
        drained.into_iter().map(|(_, read)| read).collect()
    }
}

#[cfg(test)]
mod tests;
