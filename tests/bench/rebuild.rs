//! The command `rebuild`, beside a bare read of the same log and a bare COPY of the history rows it writes.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use schema::{
    Body, Event, ExternalId, Extra, Fields, IntegrationId, Micros, ProviderDevice, ProviderDeviceObserved,
    RawJson, Reading, ReadingReceived, Subject, Topic,
};
use sqlx::Connection as _;
use stream::{LogConfig, LogIdentity, Position, Range, Scan, ScanOptions};
use tests::{Stack, told};
use uuid::Uuid;

use crate::{Line, ROUNDS};

/// A fleet, and how it is folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    /// Events in the log: each device is observed once, and then they send readings in turn.
    pub(crate) events: u32,
    pub(crate) devices: u32,
    /// Bytes that a rebuild may take.
    pub(crate) memory: usize,
}

/// Partitions of the log, as a fleet of this size would have.
const PARTITIONS: i32 = 12;
/// Time from one event to the next: five million of them fill three days.
const STEP: Duration = Duration::from_millis(50);
/// Rows of a bare COPY at a time.
const ROWS: u32 = 100_000;

impl Fleet {
    /// What happens as so manieth.
    fn event(self, number: u32) -> Event {
        let device = number % self.devices;
        let began = Micros::from_seconds_nanos(1_790_000_000, 0).expect("in range");
        let integration = IntegrationId(Uuid::from_u128(2));
        let id = ExternalId::new(&format!("dev-{device}")).expect("an id");
        told(
            Subject::ProviderDevice(ProviderDevice::by_id(integration, id)),
            began.plus(STEP * number),
            if number < self.devices {
                observed(device)
            } else {
                reading(number)
            },
        )
    }
}

fn observed(device: u32) -> Body {
    Body::ProviderDeviceObserved(ProviderDeviceObserved {
        complete: true,
        name: Some(Some(format!("SN-{device}"))),
        enabled: Some(Some(true)),
        cohort: Some(Some("stable".to_owned())),
        metadata: Some(Some(RawJson::parse(r#"{"site":"north"}"#).expect("JSON"))),
        ..ProviderDeviceObserved::default()
    })
}

fn reading(number: u32) -> Body {
    Body::ReadingReceived(ReadingReceived {
        path: "/sensor".to_owned(),
        content_type: Some("application/json".to_owned()),
        device_name: None,
        readings: vec![Reading {
            at: None,
            claimed_at: None,
            data: Some(RawJson::parse(&data(number)).expect("JSON")),
            data_base64: None,
        }],
        extensions: Fields::default(),
        extra: Extra::default(),
    })
}

/// Lines of a table, and the most memory in MiB that a rebuild took.
pub(crate) async fn measure(stack: &Stack, fleet: Fleet) -> (Vec<Line>, u64) {
    let log = LogConfig {
        prefix: format!("{}-rebuild", stack.log.prefix),
        ..stack.log.clone()
    };
    let identity = stream::topics::create(&log, PARTITIONS).await.expect("a log");
    append(&log, &identity, fleet);
    let measured = measure_log(stack, &log, &identity, fleet).await;
    stream::topics::delete(&log).await.expect("deleted");
    measured
}

async fn measure_log(
    stack: &Stack,
    log: &LogConfig,
    identity: &LogIdentity,
    fleet: Fleet,
) -> (Vec<Line>, u64) {
    let mut lines = [
        "bare COPY of the history rows",
        "bare read of the same log",
        "a rebuild up to its proof",
        "  of which folded and copied",
        "  of which indexed",
        "  of which derived",
        "its proof, beside a generation that is empty",
    ]
    .map(Line::new);
    let mut most_memory = 0;
    // What takes minutes is measured once.
    let rounds = if fleet.events > 2_000_000 { 1 } else { ROUNDS };
    for _ in 0..rounds {
        let mut measured = vec![bare_copy(stack, fleet).await, bare_read(log, identity).await];
        let took = rebuild(stack, log, fleet.memory).await;
        measured.extend(took.phases);
        most_memory = most_memory.max(took.most_memory);
        for (line, took) in lines.iter_mut().zip(measured) {
            line.per_second.push(f64::from(fleet.events) / took.as_secs_f64());
        }
    }
    (lines.into(), most_memory / 1024 / 1024)
}

/// Appends everything as fast as the broker takes it.
fn append(log: &LogConfig, identity: &LogIdentity, fleet: Fleet) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &log.brokers)
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("batch.size", "500000")
        .set("queue.buffering.max.messages", "20000")
        .create()
        .expect("a producer");
    let topics = [Topic::Events, Topic::Readings].map(|topic| log.topic(topic));
    for number in 0..fleet.events {
        let event = fleet.event(number);
        let record = schema::encode(&event, &identity.log_id).expect("an event");
        let [events, readings] = &topics;
        let topic = if event.topic() == Topic::Events {
            events
        } else {
            readings
        };
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let mut waiting = BaseRecord::to(topic)
            .key(&record.key)
            .payload(&record.value)
            .headers(headers);
        while let Err((_, returned)) = producer.send(waiting) {
            // The queue is full.
            producer.poll(Duration::from_millis(10));
            waiting = returned;
        }
    }
    producer.flush(Duration::from_mins(5)).expect("all are appended");
}

/// About a hundred bytes.
fn data(number: u32) -> String {
    format!(
        r#"{{"temp":21.5,"hum":48,"battery":87,"signal":-71,"n":{number},"state":"running","ok":true,"co2":417.25}}"#
    )
}

async fn positions(log: &LogConfig, identity: &LogIdentity) -> (Vec<Position>, Vec<Position>) {
    let topics = [Topic::Events, Topic::Readings];
    let from = stream::beginnings(log, identity, &topics)
        .await
        .expect("the beginnings");
    (
        from,
        stream::ends(log, identity, &topics).await.expect("the ends"),
    )
}

async fn bare_read(log: &LogConfig, identity: &LogIdentity) -> Duration {
    let (from, to) = positions(log, identity).await;
    let begun = Instant::now();
    let ranges = Range::between(&from, &to);
    let mut scan = Scan::open(log, identity, &ranges, ScanOptions::default()).expect("a scan");
    while scan.next_raw().await.expect("records").is_some() {}
    begun.elapsed()
}

/// Copies as many history rows into a table of the same shape, without key.
async fn bare_copy(stack: &Stack, fleet: Fleet) -> Duration {
    let mut connection = stack.admin.acquire().await.expect("a connection");
    let mut transaction = connection.begin().await.expect("a transaction");
    sqlx::raw_sql("CREATE TABLE bare (LIKE gen_1.readings)")
        .execute(&mut *transaction)
        .await
        .expect("a table");
    let mut took = Duration::ZERO;
    for first in (0..fleet.events).step_by(ROWS as usize) {
        let mut rows = String::new();
        for number in first..fleet.events.min(first + ROWS) {
            let (device, id) = (
                Uuid::from_u128(u128::from(number % fleet.devices) << 64),
                Uuid::new_v4(),
            );
            let at = fleet.event(number).at;
            writeln!(
                rows,
                "{device}\t{device}\t/sensor\t{at}\t0\t{id}\t{at}\tapplication/json\t{}\t\\N\t\\N\t\\N\t\\N",
                data(number)
            )
            .expect("a string grows");
        }
        let begun = Instant::now();
        let mut copy = transaction
            .copy_in_raw("COPY bare FROM STDIN")
            .await
            .expect("COPY begins");
        copy.send(rows.into_bytes()).await.expect("rows are sent");
        copy.finish().await.expect("rows are taken");
        took += begun.elapsed();
    }
    transaction.rollback().await.expect("rolled back");
    took
}

/// What one rebuild took.
struct Took {
    /// Up to its proof, and of that loading, indexing, deriving; then proving.
    phases: [Duration; 5],
    /// Bytes of memory at the most.
    most_memory: u64,
}

/// Folds everything again, by the command itself, into a generation that is thrown away.
async fn rebuild(stack: &Stack, log: &LogConfig, memory: usize) -> Took {
    let (memory, prefix) = (format!("{memory}B"), [("FLEETLOG_TOPIC_PREFIX", &*log.prefix)]);
    let args = ["rebuild", "--no-promote", "--memory", &memory, "--json"];
    let report = stack.fleetlog_json_with(&args, &prefix).await;
    let phase = |name: &str| {
        let phases = report["phases"].as_array().into_iter().flatten();
        let took = phases.filter(|phase| phase[0] == name);
        Duration::from_secs_f64(took.filter_map(|phase| phase[1].as_f64()).sum())
    };
    let generation = report["generation"].as_str().unwrap_or_default();
    let args = ["generations", "drop", generation, "--json"];
    stack.fleetlog_json_with(&args, &prefix).await;
    let before = ["plan", "load", "index", "derive", "catch-up"].map(phase);
    Took {
        phases: [
            before.iter().sum(),
            phase("load"),
            phase("index"),
            phase("derive"),
            phase("prove"),
        ],
        most_memory: report["most_memory"].as_u64().unwrap_or_default(),
    }
}
