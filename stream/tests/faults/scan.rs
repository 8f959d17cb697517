//! Reading ranges: what is read, what is passed over, and when it ends.

use std::sync::Arc;

use schema::ExternalId;
use stream::{Range, Raw, Scan, ScanOptions};

use super::*;

fn range(partition: i32, from: i64, to: i64) -> Range {
    Range {
        topic: Topic::Events,
        partition,
        from,
        to,
    }
}

fn device(number: u32) -> Subject {
    let id = ExternalId::new(&number.to_string()).expect("an id");
    Subject::ProviderDevice(schema::ProviderDevice::by_id(IntegrationId(Uuid::nil()), id))
}

/// An event of a device, the first of which are of the devices 0, 1, 2, 0, …
fn of_device(number: u32) -> Event {
    Event {
        subject: device(number % 3),
        ..event(&number.to_string())
    }
}

/// Reads to the end.
async fn all(mut scan: Scan) -> Result<Vec<Read>, ReadError> {
    let mut records = Vec::new();
    while let Some(read) = scan.next().await? {
        assert!(!read.is_empty());
        records.extend(read);
    }
    assert_eq!(
        scan.next()
            .await
            .expect("it stays at its end")
            .map(|read| read.len()),
        None
    );
    Ok(records)
}

fn positions(records: &[Read], partition: i32) -> Vec<i64> {
    let positions = records.iter().map(|read| read.position);
    let of_partition = positions.filter(|position| position.partition == partition);
    of_partition.map(|position| position.offset).collect()
}

#[tokio::test]
async fn a_scan_reads_its_ranges_and_nothing_beyond() {
    let cluster = Cluster::new(3);
    let appender = cluster.appender();
    for partition in 0..3 {
        for number in 0..20 {
            let outcome = appender.append_to(partition, &event(&number.to_string())).await;
            assert_eq!(outcome.expect("the broker is up").partition, partition);
        }
    }
    let ranges = [range(0, 0, 20), range(1, 5, 12), range(2, 7, 7)];
    let few = ScanOptions {
        max_records: 4,
        ..ScanOptions::default()
    };
    for options in [ScanOptions::default(), few] {
        let max_records = options.max_records;
        let mut scan =
            Scan::open(&cluster.config, &cluster.log, &ranges, options).expect("a consumer is made");
        let mut records = Vec::new();
        while let Some(read) = scan.next().await.expect("reading goes on") {
            assert!(read.len() <= max_records);
            records.extend(read);
        }
        assert_eq!(positions(&records, 0), (0..20).collect::<Vec<_>>());
        assert_eq!(positions(&records, 1), (5..12).collect::<Vec<_>>());
        assert_eq!(records.len(), 27);
        assert!(
            records
                .iter()
                .all(|read| name(read) == read.position.offset.to_string())
        );
        let ends: Vec<_> = scan.positions().iter().map(|position| position.offset).collect();
        assert_eq!(ends, [20, 12, 7]);
    }
}

#[tokio::test]
async fn a_scan_of_nothing_ends_at_once() {
    let config = config("127.0.0.1:9");
    let ranges = [range(0, 3, 3)];
    let scan = Scan::open(&config, &log("0badcafe", 1), &ranges, ScanOptions::default());
    let records = all(scan.expect("no broker is needed")).await;
    assert_eq!(records.expect("nothing can fail").len(), 0);
}

#[tokio::test]
async fn records_of_other_keys_are_passed_over_but_count_as_read() {
    let cluster = Cluster::new(1);
    let appender = cluster.appender();
    let events: Vec<_> = (0..30).map(of_device).collect();
    appender.append_all(&events).await.expect("the broker is up");
    let wanted = device(1).to_string();
    let options = ScanOptions {
        keys: Some(Arc::new(move |key| key == wanted.as_bytes())),
        ..ScanOptions::default()
    };
    let mut scan =
        Scan::open(&cluster.config, &cluster.log, &[range(0, 0, 30)], options).expect("a consumer is made");
    let mut records = Vec::new();
    while let Some(batch) = scan.next_raw().await.expect("reading goes on") {
        records.extend(
            batch
                .iter()
                .map(|raw: Raw<'_>| (raw.position().offset, raw.timestamp())),
        );
    }
    let offsets: Vec<_> = records.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (0..30).filter(|n| n % 3 == 1).collect::<Vec<_>>());
    assert!(records.iter().all(|(_, timestamp)| timestamp.is_some()));
    assert_eq!(scan.positions(), [at(30)]);
}

#[tokio::test]
async fn a_thread_of_its_own_reads_the_same() {
    let cluster = Cluster::new(1);
    let events: Vec<_> = (0..30).map(of_device).collect();
    cluster
        .appender()
        .append_all(&events)
        .await
        .expect("the broker is up");
    let (config, log) = (cluster.config.clone(), cluster.log.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut scan = Scan::open(&config, &log, &[range(0, 0, 30)], ScanOptions::default())?;
        let mut read = Vec::new();
        while let Some(batch) = scan.next_raw_blocking()? {
            read.extend(batch.decode(&log)?);
        }
        Ok::<_, ReadError>(read)
    });
    let read = read.await.expect("no panic").expect("the broker is up");
    let ids = |event: &Event| event.id;
    let read: Vec<_> = read
        .iter()
        .filter_map(|read| read.event.as_ref().ok().map(ids))
        .collect();
    assert_eq!(read, events.iter().map(ids).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_range_that_is_not_there_is_refused() {
    let cluster = Cluster::new(1);
    let events: Vec<_> = (0..5).map(of_device).collect();
    cluster
        .appender()
        .append_all(&events)
        .await
        .expect("the broker is up");
    let scan = Scan::open(
        &cluster.config,
        &cluster.log,
        &[range(0, 2, 6)],
        ScanOptions::default(),
    );
    let refused = all(scan.expect("a consumer is made")).await;
    let expected = ReadError::OutOfRange {
        wanted: at(6),
        beginning: 0,
        end: 5,
    };
    assert_eq!(refused.expect_err("there are five"), expected);
}

#[tokio::test]
async fn a_scan_gives_up_when_its_patience_ends() {
    let config = config("127.0.0.1:9");
    let options = ScanOptions {
        patience: Duration::from_millis(300),
        ..ScanOptions::default()
    };
    let began = Instant::now();
    let scan = Scan::open(&config, &log("0badcafe", 1), &[range(0, 0, 1)], options);
    let refused = all(scan.expect("a consumer is made")).await;
    assert!(matches!(refused, Err(ReadError::Kafka(_))), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_scan_outlives_an_outage_shorter_than_its_patience() {
    let cluster = Cluster::new(1);
    let events: Vec<_> = (0..5).map(of_device).collect();
    cluster
        .appender()
        .append_all(&events)
        .await
        .expect("the broker is up");
    cluster.mock.request_errors(
        RDKafkaApiKey::Fetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3],
    );
    let scan = Scan::open(
        &cluster.config,
        &cluster.log,
        &[range(0, 0, 5)],
        ScanOptions::default(),
    );
    let records = all(scan.expect("a consumer is made")).await;
    assert_eq!(records.expect("the broker is back").len(), 5);
}
