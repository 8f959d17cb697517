//! What time it is at the brokers.
//!
//! Kafka tells its time nowhere but in the timestamps that it stamps records with itself, and topics of the log carry
//! the producers'. So a topic is made for one record, and removed again.

use std::time::Duration;

use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
    util::Timeout,
};

use crate::{KafkaFault, LogConfig, client::Watch};

/// How long brokers may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// One comparison, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Our time before the record was sent.
    pub sent_at: i64,
    /// The broker's when it was written, to the millisecond.
    pub broker_at: i64,
    /// Ours when that was answered.
    pub answered_at: i64,
}

/// Compares clocks by a record in topic `PREFIX.doctor`, which is made for that and removed. `now` tells our time.
pub async fn probe(config: &LogConfig, now: impl Fn() -> i64) -> Result<Probed, KafkaFault> {
    let topic = format!("{}.doctor", config.prefix);
    let admin: rdkafka::admin::AdminClient<Watch> = config.asking().create_with_context(Watch::unheard())?;
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let new =
        NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    for made in admin.create_topics(&[new], &options).await? {
        match made {
            // One that was left by a look that was killed serves as well.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code).into()),
        }
    }
    let probed = compare(config, &topic, now).await;
    let removed = admin.delete_topics(&[&topic], &options).await;
    let probed = probed?;
    removed?;
    Ok(probed)
}

async fn compare(config: &LogConfig, topic: &str, now: impl Fn() -> i64) -> Result<Probed, KafkaError> {
    let producer: FutureProducer<Watch> = config
        .asking()
        .set("message.timeout.ms", PATIENCE.as_millis().to_string())
        .create_with_context(Watch::unheard())?;
    let mut sent_at = now();
    let mut answered = None;
    // The first connects and learns who leads; the second is timed.
    for _ in 0..2 {
        sent_at = now();
        let record = FutureRecord::<(), [u8]>::to(topic).payload(b"what time is it?");
        let sent = producer.send(record, Timeout::After(PATIENCE)).await;
        let delivery = sent.map_err(|(error, _)| error)?;
        answered = delivery.timestamp.to_millis();
    }
    Ok(Probed {
        sent_at,
        broker_at: answered.unwrap_or(0) * 1_000,
        answered_at: now(),
    })
}
