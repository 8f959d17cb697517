//! Where the log is, and how its clients are set up.

use std::{fmt, time::Duration};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use schema::Topic;

/// Longest record, in bytes of key, headers and value: 4 MiB. Every topic's `max.message.bytes` is at least this.
pub const MAX_RECORD_BYTES: usize = 4 * 1024 * 1024;

/// Where the log is. Read once, from arguments.
#[derive(Clone)]
pub struct LogConfig {
    /// Brokers to begin with, `host:port,…`.
    pub brokers: String,
    /// What the names of the topics begin with, [`Topic::DEFAULT_PREFIX`] by default.
    pub prefix: String,
    /// One replica of everything is meant, e.g. on a developer's machine.
    pub single_broker: bool,
    /// Properties of librdkafka for TLS and SASL. They hold secrets: nothing prints their values.
    pub properties: Vec<(String, String)>,
}

impl fmt::Debug for LogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("LogConfig")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("single_broker", &self.single_broker)
            .field("properties", &names)
            .finish()
    }
}

impl LogConfig {
    /// A topic's full name.
    pub fn topic(&self, topic: Topic) -> String {
        topic.name(&self.prefix)
    }

    /// For asking about topics and for making them.
    pub(crate) fn asking(&self) -> ClientConfig {
        self.client("asking")
    }

    /// For asking about topics and reading single records.
    pub(crate) fn peeking(&self) -> ClientConfig {
        let mut config = self.client("asking");
        // Kafka wants a group's name even of those who do not join it.
        config.set("group.id", format!("{}.asking", self.prefix));
        config.set("enable.auto.commit", "false");
        // One record is wanted, not as many as fit.
        config.set("queued.min.messages", "1");
        // With one at hand the next partition would else be asked for a second later.
        config.set("fetch.queue.backoff.ms", "10");
        config
    }

    /// For appending: durable before fast, and an outage is known within `append_timeout`.
    pub(crate) fn appending(&self, append_timeout: Duration) -> ClientConfig {
        let mut config = self.client("appender");
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "0"),
            ("statistics.interval.ms", "1000"),
            ("compression.type", "lz4"),
            ("request.timeout.ms", "1000"),
            ("partitioner", "murmur2_random"),
            ("queue.buffering.max.kbytes", "65536"),
            ("queue.buffering.max.messages", "100000"),
            // Without traffic nothing else would notice a broker that is connected but silent.
            ("topic.metadata.refresh.interval.ms", "1000"),
            ("socket.timeout.ms", "2000"),
        ] {
            config.set(name, value);
        }
        config.set("message.max.bytes", MAX_RECORD_BYTES.to_string());
        config.set(
            "message.timeout.ms",
            append_timeout.as_millis().max(1).to_string(),
        );
        config
    }

    /// For copying whole logs: as durable as appending, in larger batches.
    pub(crate) fn copying(&self, timeout: Duration) -> ClientConfig {
        let mut config = self.appending(timeout);
        for (name, value) in [
            ("client.id", "fleetlog-copier"),
            ("linger.ms", "5"),
            ("request.timeout.ms", "10000"),
        ] {
            config.set(name, value);
        }
        config
    }

    /// For reading: offsets are the caller's, memory is bounded, and a dead member is noticed within seconds.
    pub(crate) fn reading(&self, group: &str) -> ClientConfig {
        let mut config = self.client("reader");
        for (name, value) in [
            ("group.id", group),
            // Partition n of every topic goes to one owner.
            ("partition.assignment.strategy", "range"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("statistics.interval.ms", "1000"),
            ("fetch.min.bytes", "1"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "100"),
            ("queued.max.messages.kbytes", "65536"),
            // Heartbeats have a thread of their own, so only a dead or unreachable process misses three of them.
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
            ("max.poll.interval.ms", "60000"),
            ("topic.metadata.refresh.interval.ms", "2000"),
            ("socket.timeout.ms", "5000"),
        ] {
            config.set(name, value);
        }
        config
    }

    /// For reading so many ranges from end to end, with so many bytes fetched ahead.
    pub(crate) fn scanning(&self, fetched_bytes: usize, n_ranges: usize) -> ClientConfig {
        const LEAST: usize = 16 * 1024;
        const MOST: usize = 8 * 1024 * 1024;
        // What is fetched is compressed, and what waits is counted without headers: both take some four times as much.
        const TAKEN: usize = 4;
        let mut config = self.client("scan");
        // Half waits to be taken, half is on its way.
        let share = (fetched_bytes / 2 / n_ranges.max(1) / TAKEN).clamp(LEAST, MOST);
        let response = (fetched_bytes / 2 / TAKEN).clamp(1024 * 1024, 4 * MOST);
        for (name, value) in [
            // Kafka wants a group's name even of those who do not join it.
            ("group.id", format!("{}.scan", self.prefix)),
            ("queued.max.messages.kbytes", (share / 1024).to_string()),
            ("fetch.message.max.bytes", share.to_string()),
            ("fetch.max.bytes", response.to_string()),
        ] {
            config.set(name, value);
        }
        for (name, value) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            // The last offsets of a partition need not hold a record.
            ("enable.partition.eof", "true"),
            ("fetch.min.bytes", "1"),
            ("fetch.wait.max.ms", "50"),
            ("fetch.error.backoff.ms", "100"),
            // Bytes bound what is fetched ahead. With enough at hand, the next fetch is put off no longer than this.
            ("queued.min.messages", "1000000"),
            ("fetch.queue.backoff.ms", "2"),
            ("topic.metadata.refresh.interval.ms", "2000"),
            ("socket.timeout.ms", "10000"),
        ] {
            config.set(name, value);
        }
        config
    }

    /// Settings common to all clients. Ours win over the given properties, since promises rest on them.
    fn client(&self, id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in [
            ("client.id", format!("fleetlog-{id}").as_str()),
            ("bootstrap.servers", &self.brokers),
            // A topic that appears by itself has neither our settings nor a beginning.
            ("allow.auto.create.topics", "false"),
            // Connects to every broker at once, not when the first request for it has waited for half a second.
            ("enable.sparse.connections", "false"),
            ("reconnect.backoff.ms", "50"),
            ("reconnect.backoff.max.ms", "500"),
        ] {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::KafkaFault;

    #[test]
    fn secrets_show_neither_in_debug_nor_in_the_error_about_them() {
        let config = LogConfig {
            brokers: "localhost:1".to_owned(),
            prefix: "p".to_owned(),
            single_broker: true,
            properties: vec![("sasl.pasword".to_owned(), "hunter2".to_owned())],
        };
        assert!(!format!("{config:?}").contains("hunter2"));
        let refused = config.asking().create::<BaseConsumer>().map_err(KafkaFault::from);
        let refused = refused.err().expect("there is no such setting");
        assert_eq!(refused, KafkaFault::Setting("sasl.pasword".to_owned()));
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}
