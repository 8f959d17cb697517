//! Where partitions begin and end, and where they were at a time.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use schema::{Micros, Topic};

use crate::{KafkaFault, LogConfig, LogIdentity, Position, Range, inbox::Place};

/// How long Kafka may take to answer one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The first position of every partition of these topics that still holds a record, or is to hold the next.
pub async fn beginnings(
    config: &LogConfig,
    log: &LogIdentity,
    topics: &[Topic],
) -> Result<Vec<Position>, KafkaFault> {
    let bounds = bounds(config, log, topics).await?;
    Ok(bounds.into_iter().map(|(beginning, _)| beginning).collect())
}

/// The position after the last record of every partition of these topics.
pub async fn ends(
    config: &LogConfig,
    log: &LogIdentity,
    topics: &[Topic],
) -> Result<Vec<Position>, KafkaFault> {
    let bounds = bounds(config, log, topics).await?;
    Ok(bounds.into_iter().map(|(_, end)| end).collect())
}

async fn bounds(
    config: &LogConfig,
    log: &LogIdentity,
    topics: &[Topic],
) -> Result<Vec<(Position, Position)>, KafkaFault> {
    let (config, places) = (config.clone(), places(log, topics));
    let ask = move || {
        let consumer: BaseConsumer = config.asking().create()?;
        let mut bounds = Vec::with_capacity(places.len());
        for (topic, partition) in places {
            let (beginning, end) = consumer.fetch_watermarks(&config.topic(topic), partition, TIMEOUT)?;
            let at = |offset| Position {
                topic,
                partition,
                offset,
            };
            bounds.push((at(beginning), at(end)));
        }
        Ok::<_, KafkaError>(bounds)
    };
    Ok(tokio::task::spawn_blocking(ask).await??)
}

/// The position of every partition's first record appended at `time` or later, or its end.
pub(crate) async fn at_time(
    config: &LogConfig,
    log: &LogIdentity,
    topics: &[Topic],
    time: Micros,
) -> Result<Vec<Position>, KafkaFault> {
    let ends = ends(config, log, topics).await?;
    let config = config.clone();
    let ask = move || {
        let consumer: BaseConsumer = config.asking().create()?;
        let mut times = TopicPartitionList::with_capacity(ends.len());
        for end in &ends {
            let time = Offset::Offset(millis(time));
            times.add_partition_offset(&config.topic(end.topic), end.partition, time)?;
        }
        let found = consumer.offsets_for_times(times, TIMEOUT)?;
        let position = |end: Position| {
            let element = found.find_partition(&config.topic(end.topic), end.partition);
            match element.map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => Position { offset, ..end },
                _ => end,
            }
        };
        Ok::<_, KafkaError>(ends.into_iter().map(position).collect())
    };
    Ok(tokio::task::spawn_blocking(ask).await??)
}

/// What was appended to a partition at `time` or later.
pub(crate) async fn since(
    config: &LogConfig,
    (topic, partition): Place,
    time: Micros,
) -> Result<Range, KafkaFault> {
    let config = config.clone();
    let ask = move || {
        let consumer: BaseConsumer = config.asking().create()?;
        let name = config.topic(topic);
        let (_, end) = consumer.fetch_watermarks(&name, partition, TIMEOUT)?;
        let mut times = TopicPartitionList::with_capacity(1);
        times.add_partition_offset(&name, partition, Offset::Offset(millis(time)))?;
        let found = consumer.offsets_for_times(times, TIMEOUT)?;
        let from = found.find_partition(&name, partition).map(|found| found.offset());
        Ok::<_, KafkaError>(Range {
            topic,
            partition,
            from: match from {
                Some(Offset::Offset(offset)) => offset.min(end),
                _ => end,
            },
            to: end,
        })
    };
    Ok(tokio::task::spawn_blocking(ask).await??)
}

/// Kafka's times are milliseconds since 1970.
fn millis(time: Micros) -> i64 {
    time.as_micros().div_euclid(1_000).max(0)
}

fn places(log: &LogIdentity, topics: &[Topic]) -> Vec<(Topic, i32)> {
    topics
        .iter()
        .flat_map(|topic| (0..log.partitions).map(|partition| (*topic, partition)))
        .collect()
}
