//! The door while Kafka is away: how fast the spool takes deliveries, beside its store alone, and how long answers take.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redb::{Database, TableDefinition};
use tests::{Delivery, Proxy, Role, Stack};

use crate::{
    Line, ROUNDS,
    answers::{Answers, ask},
    door::{address, body, known},
    load, table,
};

/// More than is spooled in any measurement.
const ROOM: &str = "8589934592";

/// Devices that the deliveries speak of.
const DEVICES: usize = 500;

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) async fn measure(stack: &Stack, connections: usize, time: Duration) {
    let dir = stack.folder.join("spool");
    let dir = dir.to_str().expect("a path of ours");
    let spooling = [("FLEETLOG_SPOOL_DIR", dir), ("FLEETLOG_SPOOL_MAX_BYTES", ROOM)];
    let with = Away::start(stack, &spooling).await;
    let without = Away::start(stack, &[]).await;

    let first_with = with.first_failure(connections);
    let mut into_spool = Line::new(format!("the door into the spool, {connections} connections"));
    let mut alone = Line::new(format!("redb alone, {connections} records a commit"));
    let mut loaded = Vec::new();
    for _ in 0..ROUNDS {
        let answers = ask(address(&with.door), &with.requests, connections, Some(time));
        into_spool.per_second.push(answers.per_second(202));
        loaded.push(answers);
        let bytes = with.bytes_of_a_record().await;
        let store = stack.folder.join("alone.redb");
        alone
            .per_second
            .push(commit_alone(&store, connections, bytes, time));
        std::fs::remove_file(&store).expect("it was made here");
    }
    let calm_with = ask(address(&with.door), &with.requests, 1, Some(time));
    let first_without = without.first_failure(connections);
    let calm_without = ask(address(&without.door), &without.requests, 1, Some(time));

    table(
        "the spool while Kafka is away, 512-byte bodies",
        "records",
        &[alone, into_spool],
    );
    println!("\nanswers while Kafka is away");
    let mut lines = vec![
        (
            format!("with a spool, at the first failure, {connections} at once"),
            &first_with,
        ),
        ("with a spool, one at a time".to_owned(), &calm_with),
    ];
    lines.extend(
        loaded
            .iter()
            .map(|one| (format!("with a spool, {connections} at once"), one)),
    );
    lines.extend([
        (
            format!("without, at the first failure, {connections} at once"),
            &first_without,
        ),
        ("without, one at a time".to_owned(), &calm_without),
    ]);
    for (name, answers) in lines {
        println!("  {name:<52} {}", answers.summary());
    }
}

/// A door whose Kafka can be taken away.
struct Away {
    kafka: Proxy,
    door: Role,
    requests: Arc<Vec<Vec<u8>>>,
}

impl Away {
    async fn start(stack: &Stack, variables: &[(&str, &str)]) -> Self {
        let broker = stack.log.brokers.parse().expect("one broker, by its address");
        let kafka = Proxy::to_kafka(broker).expect("a port is free");
        let brokers = kafka.address.to_string();
        let mut all = vec![("KAFKA_BROKERS", &*brokers)];
        all.extend(variables);
        let door = stack.role_with(&["ingest"], &all).await.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        let delivery =
            |n: usize| Delivery::golioth(&integration, &format!("dev-{n}"), "/sensor", body(n).to_string());
        known(&delivery(0)).await;
        let requests = (0..DEVICES).map(|n| load::request(&delivery(n))).collect();
        Self {
            kafka,
            door,
            requests: Arc::new(requests),
        }
    }

    /// Takes Kafka away, and asks at once: nobody knows yet.
    fn first_failure(&self, connections: usize) -> Answers {
        let at = address(&self.door);
        let before = ask(at, &self.requests, connections, None);
        assert!(before.per_second(202) > 0.0, "{}", before.summary());
        self.kafka.cut();
        ask(at, &self.requests, connections, None)
    }

    /// What a record in the spool takes, on the average.
    async fn bytes_of_a_record(&self) -> usize {
        let of = async |name: &str| {
            let lines = self.door.metric(name).await;
            let number = lines
                .first()
                .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            number.expect("it is measured")
        };
        let (bytes, records) = (
            of("fleetlog_ingest_spool_bytes").await,
            of("fleetlog_ingest_spool_records ").await,
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a record has some hundred bytes"
        )]
        let average = (bytes / records.max(1.0)) as usize;
        average
    }
}

/// Writes records of a length to a store of its own, so many a commit; returns how many a second.
fn commit_alone(file: &std::path::Path, at_once: usize, bytes: usize, time: Duration) -> f64 {
    const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
    let store = Database::create(file).expect("a store can be made");
    let record = vec![b'x'; bytes];
    let begun = Instant::now();
    let mut n = 0_u64;
    while begun.elapsed() < time {
        let write = store.begin_write().expect("a transaction");
        {
            let mut records = write.open_table(RECORDS).expect("a table");
            for _ in 0..at_once {
                records.insert(n, &*record).expect("it is written");
                n += 1;
            }
        }
        write.commit().expect("it is on disk");
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are small")]
    let n = n as f64;
    n / begun.elapsed().as_secs_f64()
}
