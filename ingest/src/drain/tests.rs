//! What draining makes of a spool that cannot be read. With a log, it is seen from outside.

use std::{fs, num::NonZeroUsize};

use control::Registry;
use schema::{LogId, Record, Topic};
use stream::{LogConfig, LogIdentity};

use super::*;
use crate::{Behind, Config};

/// Longer than what is held in memory of a file, over a few records.
const VALUE_BYTES: usize = 1 << 20;
const N_RECORDS: usize = 16;

/// A log that cannot be reached.
fn away() -> Appender {
    let config = LogConfig {
        brokers: "127.0.0.1:1".to_owned(),
        prefix: "door".to_owned(),
        single_broker: true,
        properties: Vec::new(),
    };
    let log = LogIdentity {
        log_id: LogId::new("0000000a").expect("an id"),
        partitions: 4,
    };
    Appender::to_log(&config, log, Duration::from_millis(100)).expect("a client is made")
}

fn record(n: usize) -> Spooled {
    Spooled {
        topic: Topic::Readings,
        received: Micros::from_micros(1_000_000).expect("an instant"),
        record: Record {
            key: format!("device-{n}"),
            headers: Vec::new(),
            value: vec![0xA5; VALUE_BYTES],
        },
    }
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_does_not_let_the_log_seem_to_be_back() {
    let folder = std::env::temp_dir().join(format!("drain-{}", uuid::Uuid::new_v4().simple()));
    let spool = Spool::open(&folder, 1 << 30).expect("the spool can be opened");
    spool
        .belongs_to(&LogId::new("0000000a").expect("an id"))
        .await
        .expect("it is empty");
    for n in 0..N_RECORDS {
        spool.put(vec![record(n)]).await.expect("it is spooled");
    }
    let file = folder.join("00000001.redb");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(file)
        .expect("its first file");
    file.set_len(4096).expect("it can be cut");
    let (log, registry) = (away().into(), Registry::fixed([]));
    let behind = Behind {
        registry,
        log,
        spool: Some(spool.clone()),
    };
    let door = Door::new(Config::usual("door", NonZeroUsize::MIN), behind);
    assert!(door.breaker.is_open(), "what is spooled comes first");

    let appender = door.log.appender().expect("it is known");
    assert_eq!(
        door.pass(&spool, appender, BATCH_RECORDS).await,
        Pass::Nothing,
        "nothing can be read"
    );
    assert_eq!(door.drain_once(&spool, BATCH_RECORDS).await, Pass::Away);
    assert!(door.breaker.is_open(), "nothing of the log has been heard");
    assert_eq!(spool.level().n_records, N_RECORDS as u64);
    let next = spool.put(vec![record(N_RECORDS)]).await;
    next.expect("what comes next goes to another file");
    let front = spool.front(None, 1, 1).await.expect("it answers");
    assert_eq!(front[0].1, record(N_RECORDS));
    spool.close().await;
    assert_eq!(
        door.pass(&spool, appender, BATCH_RECORDS).await,
        Pass::Nothing,
        "a spool that is closed is no outage either"
    );
    drop(fs::remove_dir_all(&folder));
}
