//! Reading ranges of the log from their beginning to their end, alone and fast.
//!
//! A thread of its own fetches, and hands over batches of records as they are; decoding happens where the caller takes
//! them, so that fetching, decoding and what is done with the events can each have a processor.

mod batch;
mod fetch;

use std::{collections::BTreeMap, fmt, ops::ControlFlow, sync::Arc, time::Duration};

use schema::Topic;
use tokio::sync::mpsc;

use crate::{LogConfig, LogIdentity, Position, Read, ReadError, inbox::Place};
pub use batch::{Raw, RawBatch};

/// Batches that wait to be taken: one is worked on, one is ready.
const BATCHES_AHEAD: usize = 1;

/// A part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

impl Range {
    /// What lies between these positions: a range for each partition of `to` that `from` has too. One that ends
    /// before it begins is empty.
    pub fn between(from: &[Position], to: &[Position]) -> Vec<Self> {
        let range = |to: &Position| {
            let same_place = |from: &&Position| (from.topic, from.partition) == (to.topic, to.partition);
            let from = from.iter().find(same_place)?;
            Some(Self {
                topic: to.topic,
                partition: to.partition,
                from: from.offset,
                to: to.offset.max(from.offset),
            })
        };
        to.iter().filter_map(range).collect()
    }

    pub(crate) fn place(&self) -> Place {
        (self.topic, self.partition)
    }

    fn at(&self, offset: i64) -> Position {
        Position {
            topic: self.topic,
            partition: self.partition,
            offset,
        }
    }

    /// How many offsets it has. Where the log was compacted there are fewer records.
    pub fn n_offsets(&self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }
}

/// Which records are wanted, by their key. A record without a key is asked for with an empty one.
pub type KeyFilter = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// How to read.
#[derive(Clone)]
pub struct ScanOptions {
    /// Bytes of records that may be at hand before they are taken, roughly.
    pub memory: usize,
    /// Records of one batch, at most.
    pub max_records: usize,
    /// The records wanted: all, if nothing is said. Others are passed over before they are copied or decoded.
    pub keys: Option<KeyFilter>,
    /// How long Kafka may have nothing to say before reading is given up.
    pub patience: Duration,
}

impl Default for ScanOptions {
    /// 32 MiB, 8192 records a batch, every key, one minute.
    fn default() -> Self {
        Self {
            memory: 32 * 1024 * 1024,
            max_records: 8192,
            keys: None,
            patience: Duration::from_mins(1),
        }
    }
}

/// Reads ranges once, in order within each partition, those of several partitions as they arrive.
///
/// It belongs to no group and leaves no trace. Dropping it stops its thread.
pub struct Scan {
    log: LogIdentity,
    batches: mpsc::Receiver<Result<RawBatch, ReadError>>,
    next: BTreeMap<Place, i64>,
    ends: BTreeMap<Place, i64>,
    failed: bool,
}

impl Scan {
    /// Begins to read. Answers at once: that a beginning is gone, or an end not there yet, is said by the first
    /// [`next`](Self::next), as [`ReadError::OutOfRange`].
    pub fn open(
        config: &LogConfig,
        log: &LogIdentity,
        ranges: &[Range],
        options: ScanOptions,
    ) -> Result<Self, ReadError> {
        let (out, batches) = mpsc::channel(BATCHES_AHEAD);
        fetch::start(config, ranges, options, out)?;
        Ok(Self {
            log: log.clone(),
            batches,
            next: ranges.iter().map(|range| (range.place(), range.from)).collect(),
            ends: ranges.iter().map(|range| (range.place(), range.to)).collect(),
            failed: false,
        })
    }

    /// The next events, as many as are at hand, at least one; none when every range was read to its end, whether or not
    /// its last offsets hold a record. Cancel-safe.
    ///
    /// Decodes on the caller's thread: for speed, take [raw batches](Self::next_raw) and decode them elsewhere.
    pub async fn next(&mut self) -> Result<Option<Vec<Read>>, ReadError> {
        let Some(batch) = self.next_raw().await? else {
            return Ok(None);
        };
        let events = batch.decode(&self.log).inspect_err(|_| self.failed = true)?;
        Ok(Some(events))
    }

    /// The next records as they are, at least one; none when every range was read to its end. Cancel-safe.
    pub async fn next_raw(&mut self) -> Result<Option<RawBatch>, ReadError> {
        loop {
            let received = self.batches.recv().await;
            if let ControlFlow::Break(batch) = self.take(received)? {
                return Ok(batch);
            }
        }
    }

    /// [`next_raw`](Self::next_raw) for a thread of its own. Panics within an asynchronous task.
    pub fn next_raw_blocking(&mut self) -> Result<Option<RawBatch>, ReadError> {
        loop {
            let received = self.batches.blocking_recv();
            if let ControlFlow::Break(batch) = self.take(received)? {
                return Ok(batch);
            }
        }
    }

    /// Takes note of what the thread said. Goes on where it only passed over records.
    fn take(
        &mut self,
        received: Option<Result<RawBatch, ReadError>>,
    ) -> Result<ControlFlow<Option<RawBatch>>, ReadError> {
        match received {
            Some(Ok(batch)) => {
                for position in batch.after() {
                    let place = (position.topic, position.partition);
                    self.next.insert(place, position.offset);
                }
                Ok(if batch.is_empty() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(Some(batch))
                })
            }
            Some(Err(error)) => {
                self.failed = true;
                Err(error)
            }
            None if !self.failed && self.is_complete() => Ok(ControlFlow::Break(None)),
            None => Err(ReadError::Ended),
        }
    }

    fn is_complete(&self) -> bool {
        self.ends
            .iter()
            .all(|(place, end)| self.next.get(place).is_some_and(|next| next >= end))
    }

    /// For each range: where what was handed out goes on, which is its end once it was read.
    pub fn positions(&self) -> Vec<Position> {
        let position = |((topic, partition), offset): (&Place, &i64)| Position {
            topic: *topic,
            partition: *partition,
            offset: *offset,
        };
        self.next.iter().map(position).collect()
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("next", &self.next)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
