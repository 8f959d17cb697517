//! The thread that polls Kafka and fills an [`Inbox`].
//!
//! It has a thread of its own so that the group hears of us, and we of it, however long a batch takes to be worked on.

mod ears;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use metrics::counter;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Message as _},
    types::RDKafkaErrorCode,
};
use schema::{LogId, Topic};

use crate::{
    Delivery, KafkaFault, LogConfig, Position, ReadError,
    client::Watch,
    inbox::{Inbox, Place, Room, Step},
    metrics as names,
    pulse::Pulse,
    read::read,
};
use ears::Ears;

/// How long a poll waits; also how late the thread may notice that it shall stop.
const POLL: Duration = Duration::from_millis(100);

/// So long the thread waits for room before it gives back what it has fetched, so that it can listen to the group.
const STALL: Duration = Duration::from_secs(1);

/// How long Kafka may take to say what a partition holds.
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long leaving the group may take before it is left to its session timeout.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer, its thread, and the inbox between it and the task.
pub(crate) struct Pump {
    /// None once closed: the thread holds the last one, since dropping it takes a while.
    consumer: Option<Arc<BaseConsumer<Ears>>>,
    inbox: Arc<Inbox>,
    pulse: Arc<Pulse>,
    names: Names,
    /// When the batch at hand is handed out at the latest. Kept here so that cancelling does not put it off.
    due: Option<Instant>,
}

/// Topics by name.
#[derive(Clone)]
pub(crate) struct Names(Arc<BTreeMap<String, Topic>>);

impl Pump {
    /// Starts the thread. It reads nothing until it is given partitions.
    pub(crate) fn start(
        client: &'static str,
        config: &ClientConfig,
        names: Names,
        log: &LogId,
    ) -> Result<Self, ReadError> {
        let topics: Vec<_> = names.0.values().copied().collect();
        let inbox = Arc::new(Inbox::new(&topics));
        let pulse = Arc::new(Pulse::default());
        let watch = Watch {
            client,
            pulse: pulse.clone(),
        };
        let ears = Ears {
            watch,
            inbox: inbox.clone(),
            names: names.clone(),
        };
        let consumer: BaseConsumer<Ears> = config.create_with_context(ears).map_err(KafkaFault::from)?;
        let consumer = Arc::new(consumer);
        let work = Work {
            consumer: consumer.clone(),
            inbox: inbox.clone(),
            pulse: pulse.clone(),
            names: names.clone(),
            log: log.clone(),
        };
        thread::Builder::new()
            .name(format!("log-{client}"))
            .spawn(move || work.run())
            .map_err(|_| KafkaFault::NoThread)?;
        Ok(Self {
            consumer: Some(consumer),
            inbox,
            pulse,
            names,
            due: None,
        })
    }

    fn consumer(&self) -> Result<&BaseConsumer<Ears>, ReadError> {
        self.consumer.as_deref().ok_or(ReadError::Ended)
    }

    /// Joins the group for all topics.
    pub(crate) fn subscribe(&self) -> Result<(), ReadError> {
        let topics: Vec<_> = self.names.0.keys().map(String::as_str).collect();
        Ok(self.consumer()?.subscribe(&topics).map_err(KafkaFault::from)?)
    }

    /// Starts what the group assigned last at these positions.
    pub(crate) fn start_assigned(&self, positions: &[Position]) -> Result<(), ReadError> {
        let consumer = self.consumer()?;
        self.inbox
            .start_assigned(positions, |positions| assign(consumer, &self.names, positions))
    }

    /// Starts reading at these positions, without a group.
    pub(crate) fn start_at(&self, positions: &[Position]) -> Result<(), ReadError> {
        let consumer = self.consumer()?;
        self.inbox
            .start_at(positions, |positions| assign(consumer, &self.names, positions))
    }

    /// The next delivery. Cancel-safe.
    pub(crate) async fn next(
        &mut self,
        max_records: usize,
        max_wait: Duration,
    ) -> Result<Delivery, ReadError> {
        loop {
            match self.inbox.step(max_records, max_wait, &mut self.due) {
                Step::Now(delivery) => return delivery,
                Step::Wait(None) => self.inbox.filled().await,
                Step::Wait(Some(due)) => {
                    // Whether it was filled or is due makes no difference: the next step says.
                    let filled = tokio::time::timeout_at(due.into(), self.inbox.filled()).await;
                    drop(filled);
                }
            }
        }
    }

    /// Commits positions to the group, without waiting and without consequence.
    pub(crate) fn commit(&self, next: &[Position]) {
        let positions = next
            .iter()
            .map(|position| ((position.topic, position.partition), position.offset))
            .collect();
        let committed = self.consumer().and_then(|consumer| {
            let list = self.names.list(&positions)?;
            Ok(consumer
                .commit(&list, CommitMode::Async)
                .map_err(KafkaFault::from)?)
        });
        if let Err(error) = committed {
            tracing::debug!(%error, "positions were not committed to the group");
        }
    }

    /// For each partition read: the position to be handed out next, and the offset after the last record.
    pub(crate) fn lags(&self) -> Vec<(Position, i64)> {
        self.inbox.lags()
    }

    pub(crate) fn health(&self) -> Result<String, String> {
        if self.pulse.is_fatal() {
            return Err("the Kafka client failed for good".to_owned());
        }
        self.pulse.health()
    }

    /// Leaves the group, so that others take over at once.
    pub(crate) async fn close(mut self) {
        let inbox = self.inbox.clone();
        self.release();
        let ended = async {
            while !inbox.has_ended() {
                inbox.filled().await;
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::warn!("the group was not left within {CLOSE_TIMEOUT:?}");
        }
    }

    fn release(&mut self) {
        // First let go of the consumer, so that the thread drops it last.
        drop(self.consumer.take());
        self.inbox.close();
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.release();
    }
}

/// What the thread has.
struct Work {
    consumer: Arc<BaseConsumer<Ears>>,
    inbox: Arc<Inbox>,
    pulse: Arc<Pulse>,
    names: Names,
    log: LogId,
}

/// Says that the thread has ended, however it ends.
struct Ending(Arc<Inbox>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Work {
    fn run(self) {
        // Dropped last: it has ended only when the group is left.
        let _ending = Ending(self.inbox.clone());
        let work = self;
        loop {
            work.inbox
                .start_over(|positions| assign(&work.consumer, &work.names, positions));
            match work.inbox.room(STALL) {
                Room::Closing => break,
                Room::Free => work
                    .inbox
                    .unpark(|positions| assign(&work.consumer, &work.names, positions)),
                Room::Crowded => work.inbox.park(|| assign_nothing(&work.consumer)),
            }
            if work.pulse.is_cut_off() {
                work.inbox.fail(ReadError::CutOff);
            }
            match work.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => work.take(&message),
                Some(Err(error)) => work.hear(error),
            }
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let Some(topic) = self.names.0.get(message.topic()).copied() else {
            return;
        };
        let position = Position {
            topic,
            partition: message.partition(),
            offset: message.offset(),
        };
        if !self.inbox.expects(position) {
            return;
        }
        match read(message, topic, &self.log) {
            Ok(read) => {
                if read.event.is_err() {
                    counter!(names::RECORDS_UNDECODABLE, "topic" => topic.suffix()).increment(1);
                }
                counter!(names::RECORDS_READ, "topic" => topic.suffix()).increment(1);
                self.inbox.put(read, message.payload_len() + message.key_len());
            }
            Err(error) => self.stop(error),
        }
    }

    fn stop(&self, error: ReadError) {
        self.inbox.fail(error);
        // Nothing more is handed out, so nothing more need be fetched.
        if let Err(error) = assign_nothing(&self.consumer) {
            tracing::debug!(%error, "a reader that failed goes on fetching until it is dropped");
        }
    }

    fn hear(&self, error: KafkaError) {
        let fault = KafkaFault::from(error);
        match fault.code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.stop(self.out_of_range(fault));
            }
            Some(
                RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::InconsistentGroupProtocol,
            ) => self.stop(fault.into()),
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::AllBrokersDown,
            ) => self.pulse.failure(fault.to_string()),
            // librdkafka goes on by itself; if it does not succeed, the statistics show it.
            _ => tracing::debug!(error = %fault, "the log cannot be read at the moment: {fault}"),
        }
    }

    /// Finds out which position it was: librdkafka does not say.
    fn out_of_range(&self, fault: KafkaFault) -> ReadError {
        for (place, offset) in self.inbox.expected() {
            let Some(name) = self.names.of(place.0) else {
                continue;
            };
            let held = self.consumer.fetch_watermarks(name, place.1, WATERMARKS_TIMEOUT);
            if let Ok((beginning, end)) = held
                && !(beginning..=end).contains(&offset)
            {
                let wanted = Position {
                    topic: place.0,
                    partition: place.1,
                    offset,
                };
                return ReadError::OutOfRange {
                    wanted,
                    beginning,
                    end,
                };
            }
        }
        fault.into()
    }
}

impl Names {
    pub(crate) fn new(config: &LogConfig, topics: &[Topic]) -> Self {
        let named = topics.iter().map(|topic| (config.topic(*topic), *topic));
        Self(Arc::new(named.collect()))
    }

    pub(crate) fn of(&self, topic: Topic) -> Option<&str> {
        let (name, _) = self.0.iter().find(|(_, of)| **of == topic)?;
        Some(name)
    }

    pub(crate) fn list(&self, positions: &BTreeMap<Place, i64>) -> Result<TopicPartitionList, ReadError> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for ((topic, partition), offset) in positions {
            if let Some(name) = self.of(*topic) {
                list.add_partition_offset(name, *partition, Offset::Offset(*offset))
                    .map_err(KafkaFault::from)?;
            }
        }
        Ok(list)
    }
}

fn assign(
    consumer: &BaseConsumer<Ears>,
    names: &Names,
    positions: &BTreeMap<Place, i64>,
) -> Result<(), ReadError> {
    let list = names.list(positions)?;
    Ok(consumer.assign(&list).map_err(KafkaFault::from)?)
}

/// Stays in the group without reading.
fn assign_nothing(consumer: &BaseConsumer<Ears>) -> Result<(), ReadError> {
    Ok(consumer
        .assign(&TopicPartitionList::new())
        .map_err(KafkaFault::from)?)
}
