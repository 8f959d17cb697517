//! Appending events.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use metrics::{counter, histogram};
use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _, future_producer::DeliveryFuture},
    types::RDKafkaErrorCode,
};
use schema::{Event, LetterAttempt, Record, Topic, WireError};
use tokio::time::Instant;

use crate::{
    KafkaFault, LogConfig, LogIdentity, MAX_RECORD_BYTES, Position,
    client::Watch,
    metrics as names,
    pulse::Pulse,
    topics::{self, TopicsError},
};

/// How long a broker may take to say where a topic's partitions are.
const ACQUAINT_TIMEOUT: Duration = Duration::from_secs(5);

/// Appends events. Copies share one connection, and what is known of its health.
#[derive(Clone)]
pub struct Appender(Arc<Shared>);

struct Shared {
    config: LogConfig,
    log: LogIdentity,
    append_timeout: Duration,
    live: RwLock<Live>,
}

/// A producer and what is known of it; both are replaced when it fails for good.
struct Live {
    producer: FutureProducer<Watch>,
    pulse: Arc<Pulse>,
}

/// Why an append did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The event can never be appended: it is longer than any record may be.
    #[error("a record has at most {MAX_RECORD_BYTES} bytes; this one has {n_bytes}, not counting headers")]
    TooLarge {
        /// Bytes of key and value.
        n_bytes: usize,
    },
    /// Whether the log has the event is not known. Appending it again, with the same id, is harmless.
    #[error("the log is unavailable: {0}")]
    Unavailable(#[source] Outage),
    /// The event has no wire form: a defect of ours.
    #[error("the event cannot be written: {0}")]
    Unwritable(#[source] WireError),
}

/// How the log is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    /// More is waiting than may wait.
    #[error("too many appends are waiting")]
    QueueFull,
    /// Nothing was heard in time.
    #[error("no acknowledgement within {0:?}")]
    Late(Duration),
    /// The client or a broker says no.
    #[error(transparent)]
    Refused(KafkaFault),
}

impl AppendError {
    /// A stable, low-cardinality name: metric label, log field.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable(Outage::QueueFull) => "queue_full",
            Self::Unavailable(Outage::Late(_)) => "late",
            Self::Unavailable(Outage::Refused(_)) => "refused",
            Self::Unwritable(_) => "unwritable",
        }
    }

    pub(crate) fn refused(error: KafkaError, n_bytes: usize) -> Self {
        let fault = KafkaFault::from(error);
        match fault.code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge) => {
                Self::TooLarge { n_bytes }
            }
            Some(RDKafkaErrorCode::QueueFull) => Self::Unavailable(Outage::QueueFull),
            _ => Self::Unavailable(Outage::Refused(fault)),
        }
    }
}

/// A record on its way.
struct Sent {
    topic: Topic,
    n_bytes: usize,
    delivery: DeliveryFuture,
}

impl Appender {
    /// Checks the topics, learns which log it is, and connects.
    ///
    /// Every append resolves within `append_timeout`, 2 s by default.
    pub async fn connect(config: &LogConfig, append_timeout: Duration) -> Result<Self, TopicsError> {
        let log = topics::check(config).await?;
        Ok(Self::to_log(config, log, append_timeout)?)
    }

    /// Connects to a log whose topics have been checked.
    pub fn to_log(
        config: &LogConfig,
        log: LogIdentity,
        append_timeout: Duration,
    ) -> Result<Self, KafkaFault> {
        let live = Live::new(config, append_timeout)?;
        Ok(Self(Arc::new(Shared {
            config: config.clone(),
            log,
            append_timeout,
            live: RwLock::new(live),
        })))
    }

    /// The log appended to.
    pub fn log(&self) -> &LogIdentity {
        &self.0.log
    }

    /// Resolves once every in-sync replica holds the event.
    ///
    /// Events of one subject share a partition, and so an order.
    pub async fn append(&self, event: &Event) -> Result<Position, AppendError> {
        let record = self.encode(event)?;
        let deadline = self.deadline();
        let sent = self.send(event.topic(), None, &record)?;
        self.settle(sent, deadline).await
    }

    /// Resolves once every in-sync replica holds all of the events; positions are in the order given.
    ///
    /// If it fails, any of them may be in the log.
    pub async fn append_all(&self, events: &[Event]) -> Result<Vec<Position>, AppendError> {
        let records = events
            .iter()
            .map(|event| Ok((event.topic(), self.encode(event)?)))
            .collect::<Result<Vec<_>, _>>()?;
        let deadline = self.deadline();
        let sent = records
            .iter()
            .map(|(topic, record)| self.send(*topic, None, record))
            .collect::<Result<Vec<_>, _>>()?;
        try_join_all(sent.into_iter().map(|sent| self.settle(sent, deadline))).await
    }

    /// Resolves once every in-sync replica holds what came of trying a dead letter again.
    pub async fn append_attempt(&self, attempt: &LetterAttempt) -> Result<Position, AppendError> {
        let record = attempt
            .encode(&self.0.log.log_id)
            .map_err(|error| self.failed(Topic::DeadLetters, AppendError::Unwritable(error)))?;
        let deadline = self.deadline();
        let sent = self.send(Topic::DeadLetters, None, &record)?;
        self.settle(sent, deadline).await
    }

    /// Appends records that were [encoded](schema::encode) for this log, each by itself. Resolves once each is held by
    /// every in-sync replica or has failed; outcomes are in the order given.
    pub async fn append_each<'r>(
        &self,
        records: impl IntoIterator<Item = (Topic, &'r Record)>,
    ) -> Vec<Result<Position, AppendError>> {
        let deadline = self.deadline();
        let sent: Vec<_> = records
            .into_iter()
            .map(|(topic, record)| self.send(topic, None, record))
            .collect();
        let settled = sent
            .into_iter()
            .map(async |sent| self.settle(sent?, deadline).await);
        join_all(settled).await
    }

    /// Appends what the log says of one of its partitions to that partition, whatever the key says. Without a key, except
    /// where the newest of each key is kept.
    pub async fn append_to(&self, partition: i32, event: &Event) -> Result<Position, AppendError> {
        let record = self.encode(event)?;
        let deadline = self.deadline();
        let sent = self.send(event.topic(), Some(partition), &record)?;
        self.settle(sent, deadline).await
    }

    /// Whether the log can be reached, with a detail for people. Answers at once; an outage shows within 2 s or so,
    /// and so does its end, with or without traffic.
    pub fn health(&self) -> Result<String, String> {
        let live = self
            .working()
            .map_err(|fault| format!("the Kafka client cannot be made anew: {fault}"))?;
        live.pulse.health()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.0.append_timeout
    }

    fn encode(&self, event: &Event) -> Result<Record, AppendError> {
        schema::encode(event, &self.0.log.log_id)
            .map_err(|error| self.failed(event.topic(), AppendError::Unwritable(error)))
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.0.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer to use now: a new one, if the last failed for good.
    fn working(&self) -> Result<RwLockReadGuard<'_, Live>, KafkaFault> {
        let live = self.live();
        if !live.pulse.is_fatal() {
            return Ok(live);
        }
        drop(live);
        self.replace_failed()?;
        Ok(self.live())
    }

    fn replace_failed(&self) -> Result<(), KafkaFault> {
        let mut live = self.0.live.write().unwrap_or_else(PoisonError::into_inner);
        if !live.pulse.is_fatal() {
            return Ok(());
        }
        let new = Live::new(&self.0.config, self.0.append_timeout)?;
        let failed = std::mem::replace(&mut *live, new);
        drop(live);
        tracing::warn!("the Kafka producer failed for good and was replaced");
        counter!(names::PRODUCER_REBUILDS).increment(1);
        // A producer gives up what it still holds when it is dropped, which takes up to half a second.
        let dropping = thread::Builder::new().name("failed-producer".to_owned());
        if let Err(error) = dropping.spawn(move || drop(failed)) {
            tracing::warn!(%error, "no thread to drop the failed Kafka producer in");
        }
        Ok(())
    }

    /// Hands a record to the producer. Never waits: a full queue is an outage.
    fn send(&self, topic: Topic, partition: Option<i32>, record: &Record) -> Result<Sent, AppendError> {
        self.enqueue(topic, partition, record)
            .map_err(|error| self.failed(topic, error))
    }

    fn enqueue(&self, topic: Topic, partition: Option<i32>, record: &Record) -> Result<Sent, AppendError> {
        let n_bytes = record.key.len() + record.value.len();
        let name = self.0.config.topic(topic);
        let message = || {
            let mut message = FutureRecord::to(&name)
                .payload(&record.value)
                .headers(headers(record));
            message.partition = partition;
            // Kafka takes no record without a key on a compacted topic.
            if partition.is_none() || topic == Topic::Checkpoints {
                message = message.key(&record.key);
            }
            message
        };
        let try_once = || {
            let live = self
                .working()
                .map_err(|fault| AppendError::Unavailable(Outage::Refused(fault)))?;
            let enqueued = live.producer.send_result(message());
            enqueued.map_err(|(error, _)| {
                live.note_fatal();
                AppendError::refused(error, n_bytes)
            })
        };
        let mut enqueued = try_once();
        if enqueued.is_err() && self.live().pulse.is_fatal() {
            // A producer that failed for good took nothing; its successor may.
            enqueued = try_once();
        }
        enqueued.map(|delivery| Sent {
            topic,
            n_bytes,
            delivery,
        })
    }

    /// Waits for the acknowledgement, until the deadline.
    async fn settle(&self, sent: Sent, deadline: Instant) -> Result<Position, AppendError> {
        let Sent {
            topic,
            n_bytes,
            delivery,
        } = sent;
        let delivered = tokio::time::timeout_at(deadline, delivery).await;
        let waited = (Instant::now() + self.0.append_timeout).saturating_duration_since(deadline);
        histogram!(names::APPEND_SECONDS, "topic" => topic.suffix()).record(waited.as_secs_f64());
        let error = match delivered {
            Ok(Ok(Ok(delivery))) => {
                count(topic, "appended");
                self.live().pulse.success();
                return Ok(Position {
                    topic,
                    partition: delivery.partition,
                    offset: delivery.offset,
                });
            }
            Ok(Ok(Err((error, _)))) => AppendError::refused(error, n_bytes),
            // The producer was replaced meanwhile, without a word about this record.
            Ok(Err(_)) => AppendError::Unavailable(Outage::Refused(KafkaFault::NoThread)),
            Err(_) => AppendError::Unavailable(Outage::Late(self.0.append_timeout)),
        };
        Err(self.failed(topic, error))
    }

    fn failed(&self, topic: Topic, error: AppendError) -> AppendError {
        count(topic, error.reason());
        if matches!(error, AppendError::Unavailable(_)) {
            let live = self.live();
            live.note_fatal();
            live.pulse.failure(error.to_string());
        }
        error
    }
}

impl Live {
    fn new(config: &LogConfig, append_timeout: Duration) -> Result<Self, KafkaFault> {
        let pulse = Arc::new(Pulse::default());
        let watch = Watch {
            client: "appender",
            pulse: pulse.clone(),
        };
        let producer: FutureProducer<_> = config.appending(append_timeout).create_with_context(watch)?;
        acquaint(producer.clone(), config)?;
        Ok(Self { producer, pulse })
    }

    /// Does not wait to be told: an error may be seen before the event that says it is fatal.
    fn note_fatal(&self) {
        if self.producer.client().fatal_error().is_some() {
            self.pulse.fatal();
        }
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender")
            .field("log", &self.0.log)
            .field("n_in_flight", &self.live().producer.in_flight_count())
            .finish_non_exhaustive()
    }
}

/// Makes the topics known to the producer, in the background.
///
/// It keeps asking about topics it knows, which is how a broker that is connected but silent is noticed without
/// traffic; and the first append need not wait to learn where its partition is.
fn acquaint(producer: FutureProducer<Watch>, config: &LogConfig) -> Result<(), KafkaFault> {
    let names = topics::TOPICS.map(|topic| config.topic(topic));
    let ask = move || {
        for name in names {
            if let Err(error) = producer.client().fetch_metadata(Some(&name), ACQUAINT_TIMEOUT) {
                tracing::debug!(%error, "the topic {name} is not known to the producer");
            }
        }
    };
    let thread = thread::Builder::new().name("log-acquaint".to_owned());
    thread.spawn(ask).map(drop).map_err(|_| KafkaFault::NoThread)
}

fn headers(record: &Record) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    record.headers.iter().fold(headers, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}

fn count(topic: Topic, outcome: &'static str) {
    counter!(names::APPENDS, "topic" => topic.suffix(), "outcome" => outcome).increment(1);
}
