//! What draining makes of a spool that cannot be read, and of a log that is away in part. What it does with a whole one
//! is seen from outside.

use std::{fs, num::NonZeroUsize, path::PathBuf};

use control::Registry;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use schema::{LogId, Record, Topic};
use stream::{LogConfig, LogIdentity};

use super::*;
use crate::{Behind, Config};

/// Longer than what is held in memory of a file, over a few records.
const VALUE_BYTES: usize = 1 << 20;
const N_RECORDS: usize = 16;

type Broker = MockCluster<'static, DefaultProducerContext>;

/// A log that cannot be reached.
fn away() -> Appender {
    appender("127.0.0.1:1".to_owned(), Duration::from_millis(100))
}

fn appender(brokers: String, append_timeout: Duration) -> Appender {
    let config = LogConfig {
        brokers,
        prefix: "door".to_owned(),
        single_broker: true,
        properties: Vec::new(),
    };
    let log = LogIdentity {
        log_id: LogId::new("0000000a").expect("an id"),
        partitions: 4,
    };
    Appender::to_log(&config, log, append_timeout).expect("a client is made")
}

fn record(n: usize, n_bytes: usize) -> Spooled {
    Spooled {
        topic: Topic::Readings,
        received: Micros::from_micros(1_000_000).expect("an instant"),
        record: Record {
            key: format!("device-{n}"),
            headers: Vec::new(),
            value: vec![0xA5; n_bytes],
        },
    }
}

async fn spool(records: impl IntoIterator<Item = Spooled>) -> (PathBuf, Spool) {
    let folder = std::env::temp_dir().join(format!("drain-{}", uuid::Uuid::new_v4().simple()));
    let spool = Spool::open(&folder, 1 << 30).expect("the spool can be opened");
    let log = LogId::new("0000000a").expect("an id");
    spool.belongs_to(&log).await.expect("it is empty");
    for record in records {
        spool.put(vec![record]).await.expect("it is spooled");
    }
    (folder, spool)
}

fn door(appender: Appender, spool: &Spool) -> Door {
    let behind = Behind {
        registry: Registry::fixed([]),
        log: appender.into(),
        spool: Some(spool.clone()),
    };
    Door::new(Config::usual("door", NonZeroUsize::MIN), behind)
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_does_not_let_the_log_seem_to_be_back() {
    let (folder, spool) = spool((0..N_RECORDS).map(|n| record(n, VALUE_BYTES))).await;
    let file = folder.join("00000001.redb");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(file)
        .expect("its first file");
    file.set_len(4096).expect("it can be cut");
    let door = door(away(), &spool);
    assert!(door.breaker.is_open(), "what is spooled comes first");

    let appender = door.log.appender().expect("it is known");
    let mut next = Next::FROM_THE_FRONT;
    assert_eq!(
        door.pass(&spool, appender, &mut next).await,
        Pass::Nothing,
        "nothing can be read"
    );
    assert_eq!(door.drain_once(&spool, &mut next).await, Pass::Away);
    assert!(door.breaker.is_open(), "nothing of the log has been heard");
    assert_eq!(spool.level().n_records, N_RECORDS as u64);
    let later = spool.put(vec![record(N_RECORDS, VALUE_BYTES)]).await;
    later.expect("what comes next goes to another file");
    let front = spool.front(None, 1, 1).await.expect("it answers");
    assert_eq!(front[0].1, record(N_RECORDS, VALUE_BYTES));
    spool.close().await;
    assert_eq!(
        door.pass(&spool, appender, &mut next).await,
        Pass::Nothing,
        "a spool that is closed is no outage either"
    );
    drop(fs::remove_dir_all(&folder));
}

#[tokio::test]
async fn a_record_whose_partition_alone_is_away_holds_up_no_other() {
    let brokers: Broker = MockCluster::new(2).expect("simulated brokers start");
    let topic = Topic::Readings.name("door");
    brokers.create_topic(&topic, 2, 1).expect("a topic is made");
    for (partition, broker) in [(0, 1), (1, 2)] {
        let led = brokers.partition_leader(&topic, partition, Some(broker));
        led.expect("it gets a leader");
    }
    let appender = appender(brokers.bootstrap_servers(), Duration::from_secs(2));
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let record = record(n, 10);
        let places = appender.append_each([(record.topic, &record.record)]).await;
        match places[0].as_ref().expect("it is taken").partition {
            0 => of_first.push(record),
            _ => of_second.push(record),
        }
    }
    assert!(!of_first.is_empty(), "keys are spread");
    let stuck = of_second.swap_remove(0);
    brokers.broker_down(2).expect("the mock can do that");

    let (folder, spool) = spool([stuck.clone()].into_iter().chain(of_first)).await;
    let door = door(appender, &spool);
    // As after an outage: one record finds out.
    let mut next = Next {
        after: None,
        n_most: 1,
    };
    for _ in 0..2 {
        assert_eq!(door.drain_once(&spool, &mut next).await, Pass::Away);
    }
    let left = spool.front(None, 100, 1 << 20).await.expect("it answers");
    let left: Vec<Spooled> = left.into_iter().map(|(_, left)| left).collect();
    assert_eq!(left, [stuck], "all others have been moved");
    spool.close().await;
    drop(fs::remove_dir_all(&folder));
}
