//! The fold beside a bare COPY of the history rows it writes.

use std::time::{Duration, Instant};

use schema::{
    Body, Event, ExternalId, Extra, Fields, IntegrationId, Micros, ProviderDevice, RawJson, Reading,
    ReadingReceived, Subject, Topic,
};
use sqlx::Connection as _;
use tests::{Stack, eventually_within, now_seconds, told};
use uuid::Uuid;

use crate::{Line, ROUNDS};

/// Longest that folding may take.
const LIMIT: Duration = Duration::from_mins(5);
/// Readings folded each time.
const READINGS: u32 = 100_000;

pub(crate) async fn measure(stack: &Stack) -> Vec<Line> {
    let appender = stream::Appender::connect(&stack.log, Duration::from_secs(10))
        .await
        .expect("the log");
    let mut lines: Vec<Line> = [
        "bare COPY of the history rows",
        "all devices distinct",
        "10,000 devices",
        "all devices distinct, two writers",
        "10,000 devices, two writers",
    ]
    .map(|name| Line {
        name: name.to_owned(),
        per_second: Vec::new(),
    })
    .into();
    for round in 0..ROUNDS {
        lines[0].per_second.push(bare_copy(stack).await);
        let fleets = [(READINGS, 1), (10_000, 1), (READINGS, 2), (10_000, 2)];
        for (fleet, (line, (devices, writers))) in lines[1..].iter_mut().zip(fleets).enumerate() {
            append(&appender, (round, fleet), devices).await;
            line.per_second
                .push(fold(stack, writers, Topic::Readings, READINGS).await);
        }
    }
    lines
}

/// Appends readings that nobody folds yet.
async fn append(appender: &stream::Appender, (round, fleet): (usize, usize), devices: u32) {
    let integration = IntegrationId(Uuid::from_u128(2));
    let now =
        Micros::from_seconds_nanos(i64::try_from(now_seconds()).expect("this century"), 0).expect("in range");
    let reading = |n: u32| {
        let device = ExternalId::new(&format!("dev-{round}-{fleet}-{}", n % devices)).expect("an id");
        let data = RawJson::parse(&data(n)).expect("JSON");
        Event {
            recorded_at: now,
            ..told(
                Subject::ProviderDevice(ProviderDevice::by_id(integration, device)),
                now.plus(Duration::from_micros(u64::from(n))),
                Body::ReadingReceived(ReadingReceived {
                    path: "/sensor".to_owned(),
                    content_type: Some("application/json".to_owned()),
                    device_name: None,
                    readings: vec![Reading {
                        at: None,
                        claimed_at: None,
                        data: Some(data),
                        data_base64: None,
                    }],
                    extensions: Fields::default(),
                    extra: Extra::default(),
                }),
            )
        }
    };
    for chunk in (0..READINGS).collect::<Vec<_>>().chunks(2_000) {
        let events: Vec<Event> = chunk.iter().map(|n| reading(*n)).collect();
        appender.append_all(&events).await.expect("appended");
    }
}

/// About 512 bytes.
fn data(n: u32) -> String {
    format!(
        r#"{{"temp":21.5,"battery":87,"signal":-71,"n":{n},"note":"{}"}}"#,
        "x".repeat(440)
    )
}

/// Starts a projector and returns events of a topic per second, of so many that nobody has folded yet, from the first
/// transaction after its writers have shared the partitions to the last.
pub(crate) async fn fold(stack: &Stack, writers: i64, topic: Topic, n_events: u32) -> f64 {
    let before = folded(stack, topic).await;
    let target = before + i64::from(n_events);
    let projector = stack
        .role(&["projector", "--writers", &writers.to_string()])
        .await;
    let process = projector.id();
    let first = eventually_within(LIMIT, "it has begun", || async {
        let now = folded(stack, topic).await;
        if now > before && owners(stack, process).await == writers {
            Ok(now)
        } else {
            Err("nothing yet".to_owned())
        }
    })
    .await;
    assert!(
        first < target,
        "nothing is left to measure: more readings are needed"
    );
    let begun = Instant::now();
    eventually_within(LIMIT, "it is done", || async {
        let now = folded(stack, topic).await;
        if now >= target {
            Ok(())
        } else {
            Err(format!("{now} of {target}"))
        }
    })
    .await;
    let taken = begun.elapsed().as_secs_f64();
    projector.stop().await.expect("it stops");
    #[expect(clippy::cast_precision_loss, reason = "counts of one run are small")]
    let folded = (target - first) as f64;
    folded / taken
}

/// How many share the partitions, all of which changed hands since a process of that number started.
async fn owners(stack: &Stack, process: u32) -> i64 {
    sqlx::query_scalar(
        "SELECT CASE WHEN bool_and(owner ~ $1) THEN count(DISTINCT owner) ELSE 0 END FROM projection_meta.offsets",
    )
    .bind(format!("/{process}(#|$)"))
        .fetch_one(&stack.admin)
        .await
        .expect("readable")
}

/// Events of a topic that are folded, from the positions: counting rows would disturb the measurement.
async fn folded(stack: &Stack, topic: Topic) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM projection_meta.offsets WHERE topic = $1",
    )
    .bind(topic.suffix())
    .fetch_one(&stack.admin)
    .await
    .expect("readable")
}

/// Copies as many history rows into a table of the same shape.
async fn bare_copy(stack: &Stack) -> f64 {
    use std::fmt::Write as _;

    let mut connection = stack.admin.acquire().await.expect("a connection");
    let mut transaction = connection.begin().await.expect("a transaction");
    sqlx::query(
        "CREATE TABLE bare (provider_device uuid, organization uuid, path text, at timestamptz, sequence bigint,
                            id uuid, recorded_at timestamptz, content_type text, data jsonb, bytes bytea,
                            PRIMARY KEY (provider_device, at, sequence, id))",
    )
    .execute(&mut *transaction)
    .await
    .expect("a table");
    let mut rows = String::new();
    for n in 0..READINGS {
        let (device, id) = (Uuid::new_v4(), Uuid::new_v4());
        let at = "2026-11-21T00:00:00Z";
        writeln!(
            rows,
            "{device}\t{id}\t/sensor\t{at}\t{n}\t{id}\t{at}\tapplication/json\t{}\t\\N",
            data(n)
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
    let taken = begun.elapsed().as_secs_f64();
    transaction.rollback().await.expect("rolled back");
    f64::from(READINGS) / taken
}
