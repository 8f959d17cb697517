//! The thread that fetches for a [`Scan`](super::Scan).

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use metrics::counter;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _, base_consumer::PartitionQueue},
    error::KafkaError,
    message::{BorrowedMessage, Message as _},
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::{KeyFilter, Range, RawBatch, ScanOptions};
use crate::{KafkaFault, LogConfig, ReadError, client::Watch, metrics as names, pump::Names};

/// How long Kafka may take to say what a partition holds.
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(10);

/// Records taken of one partition before it is the next one's turn.
const TURN: usize = 1024;

/// Records after which is told how far reading went, even if none of them was wanted.
const MOST_PASSED: usize = 32 * 1024;

/// How long to wait when nothing is there; the arrival of something ends it.
const PAUSE: Duration = Duration::from_millis(20);

/// A partition that ended before the last offset wanted of it is believed to end there when nothing more came for so
/// long: right after a change of leaders, the end that brokers tell may lie before the end there is.
const GRACE: Duration = Duration::from_millis(300);

/// Starts the thread. It ends when all is read, after an error, or when nobody takes what it reads.
pub(super) fn start(
    config: &LogConfig,
    ranges: &[Range],
    options: ScanOptions,
    out: Sender<Result<RawBatch, ReadError>>,
) -> Result<(), ReadError> {
    let ranges: Vec<_> = ranges
        .iter()
        .copied()
        .filter(|range| range.from < range.to)
        .collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let topics: Vec<_> = ranges.iter().map(|range| range.topic).collect();
    // A quarter is for the batch being filled, the one that waits and the one being worked on; the rest for what was
    // fetched but not yet taken.
    let batch_bytes = (options.memory / 16).max(16 * 1024);
    let fetched_bytes = options.memory / 4 * 3;
    let client: ClientConfig = config.scanning(fetched_bytes, ranges.len());
    let watch = Watch {
        client: "scan",
        pulse: Arc::default(),
    };
    let consumer: BaseConsumer<Watch> = client.create_with_context(watch).map_err(KafkaFault::from)?;
    let fetch = Fetch {
        consumer: Arc::new(consumer),
        names: Names::new(config, &topics),
        keys: options.keys,
        max_records: options.max_records.max(1),
        batch_bytes,
        patience: options.patience,
        out,
        batch: RawBatch::default(),
        n_passed: 0,
    };
    thread::Builder::new()
        .name("log-scan".to_owned())
        .spawn(move || fetch.run(&ranges))
        .map(drop)
        .map_err(|_| KafkaFault::NoThread.into())
}

/// What the thread has.
struct Fetch {
    consumer: Arc<BaseConsumer<Watch>>,
    names: Names,
    keys: Option<KeyFilter>,
    max_records: usize,
    batch_bytes: usize,
    patience: Duration,
    out: Sender<Result<RawBatch, ReadError>>,
    /// What was taken but not handed over yet.
    batch: RawBatch,
    /// Records taken since something was handed over, passed over or not.
    n_passed: usize,
}

/// A range being read.
struct Lane {
    range: Range,
    queue: PartitionQueue<Watch>,
    next: i64,
    /// When the partition was said to end, if nothing came since.
    ended: Option<Instant>,
}

/// Why the thread ends early.
enum Stop {
    Failed(ReadError),
    /// Nobody takes what it reads.
    Unwanted,
}

impl<E: Into<ReadError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Fetch {
    fn run(mut self, ranges: &[Range]) {
        if let Err(Stop::Failed(error)) = self.read(ranges) {
            // What was read before is handed over first; whoever is gone needs no error.
            let batch = std::mem::take(&mut self.batch);
            let handed = self.out.blocking_send(Ok(batch)).is_ok();
            let told = handed && self.out.blocking_send(Err(error)).is_ok();
            tracing::trace!(told, "a scan of the log ended with an error");
        }
    }

    fn read(&mut self, ranges: &[Range]) -> Result<(), Stop> {
        for range in ranges {
            self.refuse_out_of_range(range, range.from, range.to)?;
        }
        let mut lanes = self.lanes(ranges)?;
        let mut heard = Instant::now();
        self.batch = RawBatch::with_capacity(self.batch_bytes);
        while !lanes.is_empty() {
            let mut n_taken = 0;
            for lane in &mut lanes {
                n_taken += self.take_turn(lane)?;
            }
            self.listen(&lanes)?;
            self.n_passed += n_taken;
            if n_taken > 0 {
                heard = Instant::now();
                if self.n_passed > MOST_PASSED {
                    // However few records are wanted, how far reading went is worth telling.
                    self.offer()?;
                }
            } else {
                self.offer()?;
                if heard.elapsed() > self.patience {
                    return Err(KafkaFault::NoAnswer(self.patience).into());
                }
                self.end_early(&mut lanes);
                thread::park_timeout(PAUSE);
            }
            self.close(&mut lanes)?;
        }
        self.hand_over()
    }

    /// Assigns the ranges, each with a queue of its own: only that tells of which one an end is.
    fn lanes(&self, ranges: &[Range]) -> Result<Vec<Lane>, Stop> {
        let mut lanes = Vec::with_capacity(ranges.len());
        for range in ranges {
            let Some(name) = self.names.of(range.topic) else {
                continue;
            };
            // Before it is assigned, so that nothing arrives elsewhere.
            let queue = self.consumer.split_partition_queue(name, range.partition);
            let mut queue = queue.ok_or(KafkaFault::NoThread)?;
            let reader = thread::current();
            queue.set_nonempty_callback(move || reader.unpark());
            lanes.push(Lane {
                range: *range,
                queue,
                next: range.from,
                ended: None,
            });
        }
        let starts = ranges.iter().map(|range| (range.place(), range.from)).collect();
        let list = self.names.list(&starts)?;
        self.consumer.assign(&list).map_err(KafkaFault::from)?;
        Ok(lanes)
    }

    /// Takes what is there of one range, up to its end and not more than others get.
    fn take_turn(&mut self, lane: &mut Lane) -> Result<usize, Stop> {
        let mut n_taken = 0;
        while n_taken < TURN && lane.next < lane.range.to {
            match lane.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    n_taken += 1;
                    self.keep(&message, &lane.range);
                    lane.next = (message.offset() + 1).min(lane.range.to);
                    lane.ended = None;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    lane.ended.get_or_insert_with(Instant::now);
                }
                Some(Err(error)) => self.hear(error, std::slice::from_ref(lane))?,
            }
            if self.batch.len() >= self.max_records || self.batch.n_bytes() >= self.batch_bytes {
                self.batch.reach(lane.range.at(lane.next));
                self.hand_over()?;
            }
        }
        if n_taken > 0 {
            self.batch.reach(lane.range.at(lane.next));
        }
        Ok(n_taken)
    }

    fn keep(&mut self, message: &BorrowedMessage<'_>, range: &Range) {
        let wanted = |filter: &KeyFilter| filter(message.key().unwrap_or_default());
        if message.offset() < range.to && self.keys.as_ref().is_none_or(wanted) {
            self.batch.push(range.at(message.offset()), message);
        }
    }

    /// Hears what Kafka says beside records.
    fn listen(&self, lanes: &[Lane]) -> Result<(), Stop> {
        while let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            self.hear(error, lanes)?;
        }
        Ok(())
    }

    fn hear(&self, error: KafkaError, lanes: &[Lane]) -> Result<(), Stop> {
        let fault = KafkaFault::from(error);
        match fault.code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                for lane in lanes {
                    self.refuse_out_of_range(&lane.range, lane.next, lane.next)?;
                }
                Err(fault.into())
            }
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::TopicAuthorizationFailed) => Err(fault.into()),
            // librdkafka goes on by itself; if it does not succeed, patience ends.
            _ => {
                tracing::debug!(error = %fault, "the log cannot be read at the moment: {fault}");
                Ok(())
            }
        }
    }

    fn refuse_out_of_range(&self, range: &Range, from: i64, to: i64) -> Result<(), Stop> {
        let (beginning, end) = self.watermarks(range)?;
        let beyond = if from < beginning { from } else { to };
        if from < beginning || to > end {
            return Err(ReadError::OutOfRange {
                wanted: range.at(beyond),
                beginning,
                end,
            }
            .into());
        }
        Ok(())
    }

    fn watermarks(&self, range: &Range) -> Result<(i64, i64), KafkaFault> {
        let name = self.names.of(range.topic).unwrap_or_default();
        let timeout = self.patience.min(WATERMARKS_TIMEOUT);
        Ok(self.consumer.fetch_watermarks(name, range.partition, timeout)?)
    }

    /// Ends the ranges whose last offsets hold no record: the partition ends, and nothing more comes.
    fn end_early(&mut self, lanes: &mut [Lane]) {
        for lane in lanes {
            let is_due = lane.ended.is_some_and(|ended| ended.elapsed() > GRACE);
            if is_due && lane.next < lane.range.to {
                match self.watermarks(&lane.range) {
                    Ok((_, end)) if end < lane.range.to => {}
                    Ok(_) => {
                        lane.next = lane.range.to;
                        self.batch.reach(lane.range.at(lane.next));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the partition's end cannot be asked at the moment");
                    }
                }
            }
        }
    }

    /// Lets go of the ranges that were read.
    fn close(&self, lanes: &mut Vec<Lane>) -> Result<(), Stop> {
        let is_read = |lane: &Lane| lane.next >= lane.range.to;
        if !lanes.iter().any(is_read) {
            return Ok(());
        }
        let read = lanes.iter().filter(|lane| is_read(lane));
        let places = read.map(|lane| (lane.range.place(), lane.range.to)).collect();
        let list = self.names.list(&places)?;
        // What comes after the end need not be fetched.
        self.consumer.pause(&list).map_err(KafkaFault::from)?;
        lanes.retain(|lane| !is_read(lane));
        Ok(())
    }

    /// Hands over what there is if somebody waits for it; otherwise it may grow.
    fn offer(&mut self) -> Result<(), Stop> {
        if self.out.is_closed() {
            return Err(Stop::Unwanted);
        }
        if self.batch.after().is_empty() {
            return Ok(());
        }
        match self.out.try_reserve() {
            Ok(place) => {
                let new = RawBatch::with_capacity(self.batch_bytes);
                let batch = std::mem::replace(&mut self.batch, new);
                count(&batch);
                self.n_passed = 0;
                place.send(Ok(batch));
                Ok(())
            }
            Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Closed(())) => Err(Stop::Unwanted),
        }
    }

    /// Hands over what there is, and waits until there is room for it.
    fn hand_over(&mut self) -> Result<(), Stop> {
        let new = RawBatch::with_capacity(self.batch_bytes);
        let batch = std::mem::replace(&mut self.batch, new);
        count(&batch);
        self.out.blocking_send(Ok(batch)).map_err(|_| Stop::Unwanted)
    }
}

fn count(batch: &RawBatch) {
    let mut topics: Vec<_> = batch.after().iter().map(|position| position.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    for topic in topics {
        let n_records = batch.iter().filter(|raw| raw.position().topic == topic).count();
        let counted = counter!(names::RECORDS_READ, "topic" => topic.suffix());
        counted.increment(u64::try_from(n_records).unwrap_or(u64::MAX));
    }
}
