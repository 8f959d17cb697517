//! Reading the log from end to end: what is there, where it ends, and what is gone.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use schema::{
    Body, CheckpointCompleted, Event, EventId, ExternalId, Extra, IntegrationId, Micros, ProviderDevice,
    Subject, Topic,
};
use serde_json::json;
use stream::{Appender, Range, ReadError, Scan, ScanOptions, Sought};
use tests::{Stack, on_stack, told};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A reading of a device, received now.
fn reading(device: &str, number: i64) -> Event {
    let id = ExternalId::new(device).expect("an id");
    let said = json!({ "path": "/s", "readings": [{ "data": { "n": number } }] });
    let now = tests::now_seconds();
    let at = Micros::from_seconds_nanos(i64::try_from(now).expect("small"), 0).expect("in range");
    Event {
        sequence: number,
        ..told(
            Subject::ProviderDevice(ProviderDevice::by_id(IntegrationId(Uuid::nil()), id)),
            at,
            tests::said("reading.received", &said),
        )
    }
}

async fn appender(stack: &Stack) -> Appender {
    Appender::connect(&stack.log, TIMEOUT)
        .await
        .expect("the log is in order")
}

async fn ranges(stack: &Stack, topics: &[Topic]) -> Vec<Range> {
    let log = stream::topics::identify(&stack.log).await.expect("a log");
    let from = stream::beginnings(&stack.log, &log, topics)
        .await
        .expect("beginnings");
    let to = stream::ends(&stack.log, &log, topics).await.expect("ends");
    Range::between(&from, &to)
}

#[test]
fn a_scan_of_the_whole_log_reads_each_record_once() {
    on_stack(|stack| async move {
        let appender = appender(&stack).await;
        let events: Vec<_> = (0..500).map(|n| reading(&format!("d{}", n % 7), n)).collect();
        appender.append_all(&events).await.expect("Kafka is up");
        let ranges = ranges(&stack, &[Topic::Events, Topic::Readings, Topic::Checkpoints]).await;
        let mut scan =
            Scan::open(&stack.log, appender.log(), &ranges, ScanOptions::default()).expect("a consumer");
        let mut read = Vec::new();
        let mut last = BTreeMap::new();
        while let Some(records) = scan.next().await.expect("Kafka is up") {
            for record in records {
                let place = (record.position.topic, record.position.partition);
                let before = last.insert(place, record.position.offset);
                assert!(before < Some(record.position.offset), "in order");
                read.push(record.event.expect("an event"));
            }
        }
        let readings = read.iter().filter(|event| event.topic() == Topic::Readings);
        let mut numbers: Vec<_> = readings.map(|event| event.sequence).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
        let opened = read
            .iter()
            .filter(|event| matches!(event.body, Body::LogOpened(_)));
        assert_eq!(opened.count(), 3);
    });
}

#[test]
fn a_scan_ends_where_the_last_offsets_hold_no_record() {
    on_stack(|stack| async move {
        let appender = appender(&stack).await;
        let position = appender.append(&reading("d", 1)).await.expect("Kafka is up");
        // What a transaction takes back leaves offsets without records, as compaction does.
        let (brokers, name) = (stack.log.brokers.clone(), stack.log.topic(Topic::Readings));
        let taken_back = tokio::task::spawn_blocking(move || {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .set("transactional.id", Uuid::new_v4().to_string())
                .create()
                .expect("a producer");
            producer.init_transactions(TIMEOUT).expect("transactions");
            producer.begin_transaction().expect("begun");
            for _ in 0..3 {
                let record = BaseRecord::<(), _>::to(&name)
                    .partition(position.partition)
                    .payload("{}");
                producer.send(record).expect("room");
            }
            producer.flush(TIMEOUT).expect("flushed");
            producer.abort_transaction(TIMEOUT).expect("taken back");
        });
        taken_back.await.expect("no panic");
        let ranges = ranges(&stack, &[Topic::Readings]).await;
        let longest = ranges.iter().map(|range| range.to).max();
        assert!(longest > Some(position.offset + 3), "{ranges:?}");
        let mut scan =
            Scan::open(&stack.log, appender.log(), &ranges, ScanOptions::default()).expect("a consumer");
        let mut n_read = 0;
        while let Some(records) = scan.next().await.expect("Kafka is up") {
            n_read += records.len();
        }
        assert_eq!(n_read, 1);
        let ends: Vec<_> = scan.positions().iter().map(|position| position.offset).collect();
        assert_eq!(ends, ranges.iter().map(|range| range.to).collect::<Vec<_>>());
    });
}

#[test]
fn what_expired_is_not_passed_over_in_silence() {
    on_stack(|stack| async move {
        let appender = appender(&stack).await;
        let events: Vec<_> = (0..9).map(|n| reading("d", n)).collect();
        let positions = appender.append_all(&events).await.expect("Kafka is up");
        let whole = ranges(&stack, &[Topic::Readings]).await;
        let cut = positions[4];
        tests::delete_records(&stack.log, cut.topic, cut.partition, cut.offset).await;
        let mut scan =
            Scan::open(&stack.log, appender.log(), &whole, ScanOptions::default()).expect("a consumer");
        let refused = scan.next().await.expect_err("the first records are gone");
        assert!(
            matches!(&refused, ReadError::OutOfRange { wanted, beginning, .. }
                if wanted.partition == cut.partition && *beginning == cut.offset),
            "{refused}"
        );
        let rest = ranges(&stack, &[Topic::Readings]).await;
        let mut scan =
            Scan::open(&stack.log, appender.log(), &rest, ScanOptions::default()).expect("a consumer");
        let mut numbers = Vec::new();
        while let Some(records) = scan.next().await.expect("Kafka is up") {
            numbers.extend(
                records
                    .into_iter()
                    .map(|record| record.event.expect("an event").sequence),
            );
        }
        assert_eq!(numbers, [4, 5, 6, 7, 8]);
    });
}

#[test]
fn a_copy_of_an_event_is_found_by_its_key_and_id() {
    on_stack(|stack| async move {
        let appender = appender(&stack).await;
        let events: Vec<_> = (0..30).map(|n| reading(&format!("d{}", n % 4), n)).collect();
        let positions = appender.append_all(&events).await.expect("Kafka is up");
        for (event, position) in events.iter().zip(positions).step_by(7) {
            let key = event.partition_key();
            let sought = Sought {
                topic: Topic::Readings,
                key: &key,
                id: event.id,
                recorded_at: event.recorded_at,
            };
            let found = stream::find(&stack.log, appender.log(), &sought, TIMEOUT).await;
            assert_eq!(found.expect("Kafka is up"), Some(position));
            let unknown = Sought {
                id: EventId::random(),
                ..sought
            };
            let found = stream::find(&stack.log, appender.log(), &unknown, TIMEOUT).await;
            assert_eq!(found.expect("Kafka is up"), None);
        }
    });
}

#[test]
fn a_log_without_checkpoints_gets_them_by_the_command_it_is_told() {
    on_stack(|stack| async move {
        tests::delete_topic(&stack.log, Topic::Checkpoints).await;
        let (code, output, errors) = stack.try_fleetlog(&["topics", "check"]).await;
        assert_eq!(code, 4, "{output}{errors}");
        assert!(
            errors.contains("checkpoints.v1: the topic is missing"),
            "{errors}"
        );
        assert!(errors.contains("fleetlog topics create"), "{errors}");
        let output = stack.fleetlog(&["topics", "create", "--partitions", "3"]).await;
        assert!(output.contains("checkpoints.v1"), "{output}");
        stack.fleetlog(&["topics", "check"]).await;

        let appender = appender(&stack).await;
        let completed = Event {
            subject: Subject::Log,
            body: Body::CheckpointCompleted(CheckpointCompleted {
                partition: 2,
                covered: 7,
                listening: Vec::new(),
                extra: Extra::new(),
            }),
            ..reading("d", 0)
        };
        let position = appender
            .append_to(2, &completed)
            .await
            .expect("Kafka takes its key");
        assert_eq!((position.topic, position.partition), (Topic::Checkpoints, 2));

        tests::alter_topic(&stack.log, Topic::Readings, "retention.ms", "86400000").await;
        let output = stack.fleetlog(&["topics", "check"]).await;
        assert!(
            output.contains("retention.ms=86400000") && output.contains("fleetlog checkpoint"),
            "{output}"
        );
    });
}
