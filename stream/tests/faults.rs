//! What happens when brokers fail: outages are known in time, and so is their end.
//!
//! Hermetic: the brokers are librdkafka's own mock. [Scans](scan) are tested beside, with the same mock.

#[path = "faults/forgetful.rs"]
mod forgetful;
#[path = "faults/scan.rs"]
mod scan;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use schema::{
    Body, DeadLetter, Event, EventId, IntegrationId, LogId, LogOpened, Micros, OrganizationId, Origin,
    Subject, Topic,
};
use stream::{
    AppendError, Appender, Delivery, LogConfig, LogIdentity, Outage, Position, Read, ReadError, Reader, Tail,
    TailFrom,
};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(2);
/// What the answer to a sender is promised within.
const PROMISED: Duration = Duration::from_millis(2500);

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    config: LogConfig,
    log: LogIdentity,
}

impl Cluster {
    fn new(partitions: i32) -> Self {
        let mock = MockCluster::new(1).expect("a mock cluster starts");
        let config = config(&mock.bootstrap_servers());
        for topic in stream::topics::TOPICS {
            mock.create_topic(&config.topic(topic), partitions, 1)
                .expect("a topic is made");
        }
        let log = log("0badcafe", partitions);
        Self { mock, config, log }
    }

    fn appender(&self) -> Appender {
        Appender::to_log(&self.config, self.log.clone(), TIMEOUT).expect("a producer is made")
    }

    fn reader(&self, group: &str) -> Reader {
        Reader::subscribe(&self.config, group, &self.log, &[Topic::Events], 1).expect("a consumer is made")
    }
}

fn config(brokers: &str) -> LogConfig {
    LogConfig {
        brokers: brokers.to_owned(),
        prefix: "test".to_owned(),
        single_broker: true,
        properties: Vec::new(),
    }
}

fn log(id: &str, partitions: i32) -> LogIdentity {
    LogIdentity {
        log_id: LogId::new(id).expect("a log id"),
        partitions,
    }
}

/// An event whose source is `name`.
fn event(name: &str) -> Event {
    let at = Micros::from_micros(0).expect("1970");
    Event {
        id: EventId::random(),
        subject: Subject::Log,
        at,
        sequence: 0,
        recorded_at: at,
        claimed_at: None,
        receipt_timed: false,
        organization: OrganizationId(Uuid::nil()),
        integration: None,
        origin: Origin::System,
        credential: None,
        replayable: false,
        traceparent: None,
        source: name.to_owned(),
        extensions: BTreeMap::new(),
        body: Body::LogOpened(LogOpened {
            log_id: LogId::new("0badcafe").expect("a log id"),
            partitions: 1,
            partitioner: "murmur2_random".to_owned(),
            extra: BTreeMap::new(),
        }),
    }
}

fn dead_letter(body: Vec<u8>) -> DeadLetter {
    DeadLetter {
        id: EventId::random(),
        organization: OrganizationId(Uuid::nil()),
        integration: IntegrationId(Uuid::nil()),
        credential: None,
        received_at: Micros::from_micros(0).expect("1970"),
        reason: "test".to_owned(),
        detail: String::new(),
        part: None,
        headers: Vec::new(),
        body,
    }
}

async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut turn = tokio::time::interval(Duration::from_millis(20));
    loop {
        turn.tick().await;
        match ask() {
            Ok(answer) => return answer,
            Err(reason) => assert!(Instant::now() < deadline, "{what}: {reason}"),
        }
    }
}

/// The names of the events read until there are `n`.
async fn names(reader: &mut Reader, n: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < n {
        match reader.next(100, Duration::ZERO).await.expect("reading goes on") {
            Delivery::Batch(batch) => names.extend(batch.records.iter().map(name)),
            Delivery::Assigned(partitions) => panic!("assigned {partitions:?}"),
            Delivery::Revoked(partitions) => panic!("revoked {partitions:?}"),
        }
    }
    names
}

fn name(read: &Read) -> String {
    match &read.event {
        Ok(event) => event.source.clone(),
        Err(_) => "undecodable".to_owned(),
    }
}

async fn assigned(reader: &mut Reader) -> Vec<i32> {
    match reader.next(1, Duration::ZERO).await.expect("the group is joined") {
        Delivery::Assigned(partitions) => partitions,
        other @ (Delivery::Revoked(_) | Delivery::Batch(_)) => panic!("{other:?}"),
    }
}

fn at(offset: i64) -> Position {
    Position {
        topic: Topic::Events,
        partition: 0,
        offset,
    }
}

/// Appends a record that is none of ours.
async fn append_raw(cluster: &Cluster, headers: rdkafka::message::OwnedHeaders) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.config.brokers)
        .create()
        .expect("a producer is made");
    let name = cluster.config.topic(Topic::Events);
    let record = FutureRecord::<(), _>::to(&name).payload("{}").headers(headers);
    producer.send(record, TIMEOUT).await.expect("the mock takes it");
}

#[tokio::test]
async fn an_unreachable_log_is_unavailable_in_time() {
    let config = config("127.0.0.1:9");
    let appender = Appender::to_log(&config, log("0badcafe", 1), TIMEOUT).expect("a producer is made");
    let began = Instant::now();
    let refused = appender.append(&event("a")).await.expect_err("nobody listens");
    assert!(matches!(refused, AppendError::Unavailable(_)), "{refused}");
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    assert!(appender.health().is_err());
}

#[tokio::test]
async fn an_outage_and_its_end_are_noticed_without_traffic() {
    let cluster = Cluster::new(1);
    let appender = cluster.appender();
    eventually("connected", || appender.health()).await;
    appender.append(&event("before")).await.expect("the broker is up");

    cluster.mock.broker_down(1).expect("the mock can do that");
    let began = Instant::now();
    eventually("an outage", || appender.health().map_or_else(Ok, Err)).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let began = Instant::now();
    let refused = appender
        .append(&event("during"))
        .await
        .expect_err("the broker is down");
    assert!(matches!(refused, AppendError::Unavailable(_)), "{refused}");
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());

    cluster.mock.broker_up(1).expect("the mock can do that");
    let began = Instant::now();
    eventually("recovery", || appender.health()).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    appender
        .append(&event("after"))
        .await
        .expect("the broker is up again");
}

/// Appends a letter as a door does.
async fn append_letter(appender: &Appender, letter: &DeadLetter) -> Result<Position, AppendError> {
    let record = letter.encode(&appender.log().log_id);
    let outcomes = appender.append_each([(Topic::DeadLetters, &record)]).await;
    outcomes.into_iter().next().expect("an outcome for each")
}

#[tokio::test]
async fn a_full_queue_is_an_outage_at_once() {
    let config = config("127.0.0.1:9");
    let appender = Appender::to_log(&config, log("0badcafe", 1), TIMEOUT).expect("a producer is made");
    let letter = dead_letter(vec![0; 3 << 20]);
    let began = Instant::now();
    let appends = (0..30).map(|_| {
        let (appender, letter) = (appender.clone(), &letter);
        async move {
            let outcome = append_letter(&appender, letter).await;
            (outcome.expect_err("nobody listens"), began.elapsed())
        }
    });
    let outcomes = futures_util::future::join_all(appends).await;
    let (full, late): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .partition(|(error, _)| matches!(error, AppendError::Unavailable(Outage::QueueFull)));
    assert_eq!((full.len(), late.len()), (9, 21));
    assert!(full.iter().all(|(_, waited)| *waited < Duration::from_secs(1)));
    assert!(late.iter().all(|(_, waited)| *waited < PROMISED));
}

#[tokio::test]
async fn a_producer_that_failed_for_good_is_replaced() {
    let cluster = Cluster::new(1);
    cluster.mock.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let appender = cluster.appender();
    appender
        .append(&event("a"))
        .await
        .expect_err("the producer is refused");
    appender.append(&event("b")).await.expect("a new producer is not");
}

#[tokio::test]
async fn what_is_too_large_is_no_outage() {
    let cluster = Cluster::new(1);
    let appender = cluster.appender();
    let n_bytes = stream::MAX_RECORD_BYTES;
    let refused = append_letter(&appender, &dead_letter(vec![0; n_bytes])).await;
    let refused = refused.expect_err("it is larger than any record");
    assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");
    append_letter(&appender, &dead_letter(vec![0; n_bytes - 1024]))
        .await
        .expect("it fits");
    assert!(!appender.health().is_err_and(|detail| detail.contains("bytes")));
}

#[tokio::test]
async fn a_reader_begins_where_it_is_told_and_keeps_the_order() {
    let cluster = Cluster::new(1);
    let appender = cluster.appender();
    let events: Vec<_> = (0..50).map(|n| event(&n.to_string())).collect();
    let positions = appender.append_all(&events).await.expect("the broker is up");
    assert_eq!(positions.first().map(|position| position.offset), Some(0));
    assert_eq!(positions.last().map(|position| position.offset), Some(49));

    let mut reader = cluster.reader("order");
    assert_eq!(assigned(&mut reader).await, [0]);
    reader.start_at(&[at(10)]).expect("it is assigned");
    let expected: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    assert_eq!(names(&mut reader, 40).await, expected);
    reader.start_at(&[at(10)]).expect("it is still assigned");
    assert_eq!(names(&mut reader, 40).await, expected);
    eventually("the end is known", || match reader.lags().as_slice() {
        [(next, 50)] if next.offset == 50 => Ok(()),
        lags => Err(format!("{lags:?}")),
    })
    .await;
    reader.close().await;
}

#[tokio::test]
async fn a_record_of_another_log_halts_the_reader() {
    let cluster = Cluster::new(1);
    cluster
        .appender()
        .append(&event("ours"))
        .await
        .expect("the broker is up");
    let letter_of_other = dead_letter(Vec::new()).encode(&log("deadbeef", 1).log_id);
    let headers = letter_of_other.headers.iter().fold(
        rdkafka::message::OwnedHeaders::new(),
        |headers, (key, value)| {
            headers.insert(rdkafka::message::Header {
                key,
                value: Some(value),
            })
        },
    );
    append_raw(&cluster, headers).await;

    let mut reader = cluster.reader("other");
    assigned(&mut reader).await;
    reader.start_at(&[at(0)]).expect("it is assigned");
    assert_eq!(names(&mut reader, 1).await, ["ours"]);
    let halted = reader
        .next(1, Duration::ZERO)
        .await
        .expect_err("it is another log");
    let expected = ReadError::OtherLog {
        position: at(1),
        found: log("deadbeef", 1).log_id,
        expected: cluster.log.log_id.clone(),
    };
    assert_eq!(halted, expected);
}

#[tokio::test]
async fn a_record_that_is_no_event_is_handed_on_with_its_place() {
    let cluster = Cluster::new(1);
    append_raw(&cluster, rdkafka::message::OwnedHeaders::new()).await;
    cluster
        .appender()
        .append(&event("ours"))
        .await
        .expect("the broker is up");

    let mut tail = Tail::open(
        &cluster.config,
        &cluster.log,
        &[Topic::Events],
        TailFrom::Beginning,
        true,
    )
    .await
    .expect("the topics are there");
    let mut read = Vec::new();
    while let Some(records) = tail.next(1, Duration::ZERO).await.expect("reading goes on") {
        read.extend(
            records
                .iter()
                .map(|read| format!("{} {}", read.position, name(read))),
        );
    }
    assert_eq!(
        read,
        ["device-events.v1/0@0 undecodable", "device-events.v1/0@1 ours"]
    );
}

#[tokio::test]
async fn a_position_the_log_does_not_have_is_an_error_that_says_so() {
    let cluster = Cluster::new(1);
    cluster
        .appender()
        .append(&event("only"))
        .await
        .expect("the broker is up");
    let mut reader = cluster.reader("range");
    assigned(&mut reader).await;
    reader.start_at(&[at(9)]).expect("it is assigned");
    let halted = reader.next(1, Duration::ZERO).await.expect_err("there is no 9");
    let expected = ReadError::OutOfRange {
        wanted: at(9),
        beginning: 0,
        end: 1,
    };
    assert_eq!(halted, expected);
}

#[tokio::test]
async fn members_share_the_partitions_and_take_over_from_who_leaves() {
    let cluster = Cluster::new(2);
    let mut first = cluster.reader("handover");
    assert_eq!(assigned(&mut first).await, [0, 1]);
    let mut second = cluster.reader("handover");
    // The first learns of the second, and both share.
    let mut shared = Vec::new();
    while shared.len() < 2 {
        match first.next(1, Duration::ZERO).await.expect("the group goes on") {
            Delivery::Revoked(partitions) => assert_eq!(partitions, [0, 1]),
            Delivery::Assigned(partitions) if partitions.len() == 2 => {}
            Delivery::Assigned(partitions) => {
                shared.extend(partitions);
                shared.extend(assigned(&mut second).await);
            }
            Delivery::Batch(batch) => panic!("{batch:?}"),
        }
    }
    shared.sort_unstable();
    assert_eq!(shared, [0, 1]);

    second.close().await;
    loop {
        if let Delivery::Assigned(partitions) =
            first.next(1, Duration::ZERO).await.expect("the group goes on")
            && partitions == [0, 1]
        {
            break;
        }
    }
}
