//! What our Kafka clients do with what librdkafka tells them: log lines, errors, statistics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use rdkafka::{
    Statistics, client::ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError,
    statistics::Broker, types::RDKafkaErrorCode,
};

use crate::{
    metrics as names,
    pulse::{Connections, Pulse},
};

/// Listens to one client.
pub(crate) struct Watch {
    pub(crate) client: &'static str,
    pub(crate) pulse: Arc<Pulse>,
}

impl Watch {
    /// For clients that only ask, and whose health nobody wants to know.
    pub(crate) fn unheard() -> Self {
        Self {
            client: "asking",
            pulse: Arc::default(),
        }
    }
}

impl ConsumerContext for Watch {}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = self.client;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(client, facility, "librdkafka: {message}");
            }
            // An outage calls for a person where it hits, in readiness and errors; here it would only be noise.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(client, facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(client, facility, "librdkafka: {message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let client = self.client;
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            tracing::warn!(client, reason, "the Kafka client failed for good: {reason}");
            self.pulse.fatal();
        } else {
            tracing::debug!(client, %error, reason, "the Kafka client reports: {reason}");
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.pulse.connections(connections(&statistics));
        record(self.client, &statistics);
    }
}

fn connections(statistics: &Statistics) -> Connections {
    let partitions: Vec<_> = statistics
        .topics
        .values()
        .flat_map(|topic| topic.partitions.values())
        // -1 is where records wait that have no partition yet.
        .filter(|partition| partition.partition >= 0 && !partition.unknown)
        .collect();
    let n_up = nodes(statistics).filter(|broker| is_up(broker)).count();
    // The brokers we begin with have no id yet, and are the same as those that have.
    let bootstrap_up = statistics
        .brokers
        .values()
        .any(|broker| broker.nodeid < 0 && is_up(broker));
    let addresses = statistics
        .brokers
        .values()
        .filter(|broker| broker.source != "logical");
    Connections {
        seen: Instant::now(),
        n_addresses: addresses.count(),
        n_up: n_up.max(usize::from(bootstrap_up)),
        n_known: nodes(statistics).count().max(1),
        n_partitions: partitions.len(),
        n_leaderless: partitions.iter().filter(|partition| partition.leader < 0).count(),
    }
}

/// The brokers, without the second connection to one of them that coordinates a group.
fn nodes(statistics: &Statistics) -> impl Iterator<Item = &Broker> {
    statistics
        .brokers
        .values()
        .filter(|broker| broker.nodeid >= 0 && broker.source != "logical")
}

fn is_up(broker: &Broker) -> bool {
    matches!(broker.state.as_str(), "UP" | "UPDATE")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point, and counts far below 2^53"
)]
fn record(client: &'static str, statistics: &Statistics) {
    gauge!(names::QUEUE_RECORDS, "client" => client).set(statistics.msg_cnt as f64);
    gauge!(names::QUEUE_BYTES, "client" => client).set(statistics.msg_size as f64);
    for broker in nodes(statistics) {
        let labels = [
            ("client", client.to_owned()),
            ("broker", broker.nodeid.to_string()),
        ];
        gauge!(names::BROKER_UP, &labels).set(f64::from(u8::from(is_up(broker))));
        gauge!(names::BROKER_OUTBUF_REQUESTS, &labels).set(broker.outbuf_cnt as f64);
        gauge!(names::BROKER_INFLIGHT_REQUESTS, &labels).set(broker.waitresp_cnt as f64);
        counter!(names::BROKER_TX_ERRORS, &labels).absolute(broker.txerrs);
        counter!(names::BROKER_RX_ERRORS, &labels).absolute(broker.rxerrs);
        counter!(names::BROKER_TIMEOUTS, &labels).absolute(broker.req_timeouts);
        if let Some(waited) = &broker.int_latency {
            gauge!(names::BROKER_QUEUE_SECONDS, &labels).set(seconds(waited.p99));
        }
        let Some(rtt) = &broker.rtt else { continue };
        for (quantile, micros) in [("0.5", rtt.p50), ("0.99", rtt.p99)] {
            let [client, broker] = labels.clone();
            let labels = [client, broker, ("quantile", quantile.to_owned())];
            gauge!(names::BROKER_RTT_SECONDS, &labels).set(seconds(micros));
        }
    }
}

/// librdkafka measures in microseconds.
fn seconds(micros: i64) -> f64 {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}
