//! What the consumer tells us beside records: assignments and statistics.

use std::sync::Arc;

use metrics::{counter, gauge};
use rdkafka::{
    Statistics, TopicPartitionList,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};

use super::{Names, assign_nothing};
use crate::{
    KafkaFault,
    client::Watch,
    inbox::{Inbox, Place},
    metrics as names,
};

/// What the consumer tells us beside records.
pub(super) struct Ears {
    pub(super) watch: Watch,
    pub(super) inbox: Arc<Inbox>,
    pub(super) names: Names,
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "metrics are floating point, and counts far below 2^53"
    )]
    fn stats(&self, statistics: Statistics) {
        for topic in statistics.topics.values() {
            let Some(known) = self.names.0.get(&topic.topic).copied() else {
                continue;
            };
            for partition in topic.partitions.values().filter(|p| p.hi_offset >= 0) {
                self.inbox.end((known, partition.partition), partition.hi_offset);
            }
        }
        gauge!(names::READER_BUFFER_BYTES, "client" => self.watch.client).set(self.inbox.n_bytes() as f64);
        for (position, end) in self.inbox.lags() {
            set_lag(
                self.watch.client,
                (position.topic, position.partition),
                (end - position.offset) as f64,
            );
        }
        self.watch.stats(statistics);
    }
}

impl ConsumerContext for Ears {
    /// Takes note of an assignment but reads nothing of it yet; lets go of a revoked one at once.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        change: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let client = self.watch.client;
        if change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // The group waits for an answer; an empty one keeps nobody waiting for the caller's positions.
            if let Err(error) = assign_nothing(consumer) {
                self.inbox.fail(error);
            }
            let elements = list.elements();
            let places: Vec<Place> = elements
                .iter()
                .filter_map(|element| {
                    Some((self.names.0.get(element.topic()).copied()?, element.partition()))
                })
                .collect();
            counter!(names::READER_ASSIGNMENTS, "client" => client).increment(1);
            self.inbox.assigned(&places);
        } else {
            if let Err(error) = consumer.unassign() {
                self.inbox.fail(KafkaFault::from(error).into());
            }
            for place in self.inbox.revoked() {
                // Whoever owns it now reports its lag.
                set_lag(client, place, 0.0);
            }
        }
    }
}

fn set_lag(client: &'static str, (topic, partition): Place, n_records: f64) {
    let labels = [
        ("client", client.to_owned()),
        ("topic", topic.suffix().to_owned()),
        ("partition", partition.to_string()),
    ];
    gauge!(names::READER_LAG, &labels).set(n_records);
}
