//! The log as any Kafka client sees it, without the product's own reader.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    producer::{FutureProducer, FutureRecord},
};
use schema::{Event, Topic};
use stream::{LogConfig, Position};

use crate::{Proxy, eventually, stack::required};

const TIMEOUT: Duration = Duration::from_secs(20);

/// One record: where it is, its headers, its value.
pub struct Raw {
    /// Partition and offset.
    pub position: Position,
    /// Header names and values, which must be UTF-8.
    pub headers: Vec<(String, String)>,
    /// The value.
    pub value: Vec<u8>,
}

/// Everything that is in a topic now.
pub async fn read_raw(log: &LogConfig, topic: Topic) -> Vec<Raw> {
    let log = log.clone();
    tokio::task::spawn_blocking(move || read_to_the_end(&log, topic))
        .await
        .expect("no panic")
}

fn read_to_the_end(log: &LogConfig, topic: Topic) -> Vec<Raw> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &log.brokers)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let name = topic.name(&log.prefix);
    let metadata = consumer
        .fetch_metadata(Some(&name), TIMEOUT)
        .expect("the broker answers");
    let partitions = metadata
        .topics()
        .first()
        .expect("the topic asked for")
        .partitions();
    let deadline = Instant::now() + TIMEOUT;
    let mut assignment = TopicPartitionList::new();
    let mut n_missing = 0;
    for partition in partitions {
        let (first, end) = loop {
            match consumer.fetch_watermarks(&name, partition.id(), TIMEOUT) {
                Ok(watermarks) => break watermarks,
                // A broker that has just come back leads again soon.
                Err(error) => {
                    assert!(Instant::now() < deadline, "no watermarks of {name}: {error}");
                    consumer.poll(Duration::from_millis(100));
                }
            }
        };
        n_missing += end - first;
        assignment
            .add_partition_offset(&name, partition.id(), Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&assignment).expect("assigned");

    let deadline = Instant::now() + TIMEOUT;
    let mut records = Vec::new();
    let mut fault = None;
    while n_missing > 0 {
        assert!(
            Instant::now() < deadline,
            "{n_missing} records of {name} are missing; last fault: {fault:?}"
        );
        let message = match consumer.poll(Duration::from_millis(200)) {
            None => continue,
            // The client mends a connection that broke by itself.
            Some(Err(error)) => {
                fault = Some(error);
                continue;
            }
            Some(Ok(message)) => message,
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("headers are UTF-8");
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        records.push(Raw {
            position: Position {
                topic,
                partition: message.partition(),
                offset: message.offset(),
            },
            headers: headers
                .map(|h| (h.key.to_owned(), h.value.map(text).unwrap_or_default()))
                .collect(),
            value: message.payload().expect("a value is never null").to_vec(),
        });
        n_missing -= 1;
    }
    records
}

/// Everything in the two event topics, decoded.
pub async fn read_log(log: &LogConfig) -> Vec<(Position, Event)> {
    let mut events = Vec::new();
    for topic in [Topic::Events, Topic::Readings] {
        for raw in read_raw(log, topic).await {
            let headers = raw
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
            let (_, event) = schema::decode(headers, &raw.value).expect("an event of ours");
            events.push((raw.position, event));
        }
    }
    events
}

/// Appends a record as any Kafka client could; returns where it is.
pub async fn produce(log: &LogConfig, topic: Topic, key: &str, value: &str) -> Position {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &log.brokers)
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    let name = topic.name(&log.prefix);
    let record = FutureRecord::to(&name).key(key).payload(value);
    let delivered = producer.send(record, TIMEOUT).await.expect("acknowledged");
    Position {
        topic,
        partition: delivered.partition,
        offset: delivered.offset,
    }
}

/// Changes one setting of a topic.
pub async fn alter_topic(log: &LogConfig, topic: Topic, setting: &str, value: &str) {
    let admin = admin(log);
    let name = topic.name(&log.prefix);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(setting, value);
    let outcome = admin
        .alter_configs([&change], &AdminOptions::new())
        .await
        .expect("the broker answers");
    assert!(outcome.iter().all(Result::is_ok), "{outcome:?}");
}

/// Deletes the records of a partition before an offset, as retention does.
pub async fn delete_records(log: &LogConfig, topic: Topic, partition: i32, before: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(&topic.name(&log.prefix), partition, Offset::Offset(before))
        .expect("an offset");
    let outcome = admin(log)
        .delete_records(&offsets, &AdminOptions::new())
        .await
        .expect("the broker answers");
    for element in outcome.elements() {
        element.error().expect("the records are deleted");
    }
}

/// Deletes one topic of a log, and waits until it is gone.
pub async fn delete_topic(log: &LogConfig, topic: Topic) {
    let name = topic.name(&log.prefix);
    let outcome = admin(log).delete_topics(&[&name], &AdminOptions::new()).await;
    let outcome = outcome.expect("the broker answers");
    assert!(outcome.iter().all(Result::is_ok), "{outcome:?}");
    eventually("the topic is gone", || async {
        let found = stream::topics::check(log).await;
        match found {
            Err(error) if error.to_string().contains("is missing") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn admin(log: &LogConfig) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", &log.brokers)
        .create()
        .expect("a client")
}

/// A proxy in front of the broker's listener that is advertised under the proxy's own address, and that address.
///
/// Waits while the tests of another checkout have it.
pub async fn kafka_proxy() -> (Proxy, String) {
    let server: SocketAddr = required("FLEETLOG_TEST_KAFKA_PROXIED")
        .parse()
        .expect("an address");
    let advertised: SocketAddr = required("FLEETLOG_TEST_KAFKA_PROXY").parse().expect("an address");
    let proxy = eventually("the proxy's port is free", || async {
        Proxy::start(advertised.port(), server).map_err(|error| error.to_string())
    })
    .await;
    (proxy, advertised.to_string())
}
