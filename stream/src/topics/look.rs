//! What is there: topics, partitions, and the first record of each partition of the events topic.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers as _, Message as _},
    metadata::MetadataBroker,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use schema::{Body, LogId, Topic};

use super::{LOOK_INTERVAL, TOPICS};
use crate::{KafkaFault, LogConfig, client::Watch};

/// How long Kafka may take to answer one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first records may take to arrive.
const FIRST_RECORDS_TIMEOUT: Duration = Duration::from_secs(20);

/// What is there of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) brokers: Vec<i32>,
    /// Partitions in order, by topic; a topic that does not exist is missing.
    pub(super) partitions: BTreeMap<Topic, Vec<Partition>>,
    /// What each partition of the events topic begins with. Empty if that was not looked at.
    pub(super) openings: Vec<Opening>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// -1 if there is none at the moment.
    pub(super) leader: i32,
    pub(super) replicas: Vec<i32>,
}

/// What a partition of the events topic begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing was ever appended.
    Empty,
    /// The log was opened here.
    Opened { log_id: LogId, partitions: i32 },
    /// The beginning is gone: the first record has this offset.
    Cut(i64),
    /// Something else, which is said here.
    Foreign(String),
}

/// Asks the brokers. One connection for all questions: making one takes longer than the answers.
#[derive(Clone)]
pub(super) struct Asking {
    config: LogConfig,
    consumer: Arc<BaseConsumer<Watch>>,
}

impl Asking {
    pub(super) fn new(config: &LogConfig) -> Result<Self, KafkaFault> {
        let consumer = config.peeking().create_with_context(Watch::unheard())?;
        Ok(Self {
            config: config.clone(),
            consumer: Arc::new(consumer),
        })
    }

    /// Which topics are there.
    pub(super) async fn topics(&self) -> Result<Seen, KafkaFault> {
        let Self { config, consumer } = self.clone();
        let look = move || see_topics(&consumer, &config);
        Ok(tokio::task::spawn_blocking(look).await??)
    }

    /// Which topics are there, and what the events topic begins with.
    pub(super) async fn topics_and_openings(&self) -> Result<Seen, KafkaFault> {
        let Self { config, consumer } = self.clone();
        let look = move || {
            let mut seen = see_topics(&consumer, &config)?;
            if let Some(partitions) = seen.partitions.get(&Topic::Events) {
                let name = config.topic(Topic::Events);
                seen.openings = see_openings(&consumer, &name, partitions.len())?;
            }
            Ok::<_, KafkaFault>(seen)
        };
        tokio::task::spawn_blocking(look).await?
    }
}

fn see_topics(asking: &BaseConsumer<Watch>, config: &LogConfig) -> KafkaResult<Seen> {
    let mut seen = Seen::default();
    for topic in TOPICS {
        let metadata = asking.fetch_metadata(Some(&config.topic(topic)), TIMEOUT)?;
        seen.brokers = metadata.brokers().iter().map(MetadataBroker::id).collect();
        seen.brokers.sort_unstable();
        let Some(described) = metadata.topics().first() else {
            continue;
        };
        match described.error() {
            // Without a leader it is there all the same.
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {}
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            ) => continue,
            Some(error) => return Err(KafkaError::MetadataFetch(error.into())),
        }
        let mut partitions: Vec<_> = described.partitions().iter().collect();
        partitions.sort_unstable_by_key(|partition| partition.id());
        let partitions: Vec<_> = partitions
            .into_iter()
            .map(|partition| Partition {
                leader: partition.leader(),
                replicas: partition.replicas().to_vec(),
            })
            .collect();
        if !partitions.is_empty() {
            seen.partitions.insert(topic, partitions);
        }
    }
    Ok(seen)
}

fn see_openings(
    asking: &BaseConsumer<Watch>,
    name: &str,
    n_partitions: usize,
) -> Result<Vec<Opening>, KafkaFault> {
    let mut openings = vec![Opening::Empty; n_partitions];
    let mut to_read = TopicPartitionList::new();
    for (partition, opening) in (0_i32..).zip(&mut openings) {
        let (beginning, end) = watermarks(asking, name, partition)?;
        if beginning > 0 {
            *opening = Opening::Cut(beginning);
        } else if end > 0 {
            to_read.add_partition_offset(name, partition, Offset::Offset(beginning))?;
        }
    }
    if to_read.count() > 0 {
        asking.assign(&to_read)?;
        let read = read_first(asking, &to_read, &mut openings);
        asking.unassign()?;
        read?;
    }
    Ok(openings)
}

/// Where a partition begins and ends. One that was just made may not have a leader that knows of it.
fn watermarks(asking: &BaseConsumer<Watch>, name: &str, partition: i32) -> Result<(i64, i64), KafkaFault> {
    let deadline = Instant::now() + FIRST_RECORDS_TIMEOUT;
    loop {
        let error = match asking.fetch_watermarks(name, partition, TIMEOUT) {
            Ok(watermarks) => return Ok(watermarks),
            Err(error) => error,
        };
        let passes = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::UnknownTopicOrPartition
            )
        );
        if !passes || Instant::now() > deadline {
            return Err(error.into());
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Reads the first record of each of these partitions, which are assigned.
fn read_first(
    asking: &BaseConsumer<Watch>,
    to_read: &TopicPartitionList,
    openings: &mut [Opening],
) -> Result<(), KafkaFault> {
    let mut n_left = to_read.count();
    let deadline = Instant::now() + FIRST_RECORDS_TIMEOUT;
    while n_left > 0 {
        if Instant::now() > deadline {
            return Err(KafkaFault::NoAnswer(FIRST_RECORDS_TIMEOUT));
        }
        match asking.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let opening = usize::try_from(message.partition())
                    .ok()
                    .and_then(|partition| openings.get_mut(partition));
                if let Some(opening) = opening
                    && *opening == Opening::Empty
                {
                    *opening = opening_of(&message);
                    n_left -= 1;
                }
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                // These pass, or the deadline does.
                Some(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable,
                ) => {}
                _ => return Err(error.into()),
            },
        }
    }
    Ok(())
}

fn opening_of(message: &BorrowedMessage<'_>) -> Opening {
    if message.offset() > 0 {
        return Opening::Cut(message.offset());
    }
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.map(|header| (header.key, header.value));
    match schema::decode(headers, message.payload().unwrap_or_default()) {
        Ok((log_id, event)) => {
            if let Body::LogOpened(opened) = event.body {
                let partitions = opened.partitions;
                Opening::Opened { log_id, partitions }
            } else {
                Opening::Foreign(format!("{} of log {log_id}", event.body.name()))
            }
        }
        Err(error) => Opening::Foreign(format!("no event of fleetlog: {error}")),
    }
}
