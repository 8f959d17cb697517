//! The fold beside the rows that it writes, written bare.

use std::time::Duration;

use schema::{
    Body, Event, ExternalId, Extra, Fields, IntegrationId, Micros, ProviderDevice, RawJson, Reading,
    ReadingReceived, Subject, Topic,
};
use tests::{Stack, eventually_within, now_seconds, told};
use uuid::Uuid;

use crate::{
    Line, ROUNDS, bare_rows,
    cpu::{Measured, measured},
};

/// Longest that folding may take.
const LIMIT: Duration = Duration::from_mins(5);
/// Readings folded each time.
const READINGS: u32 = 100_000;

pub(crate) async fn measure(stack: &Stack) -> Vec<Line> {
    let appender = stream::Appender::connect(&stack.log, Duration::from_secs(10))
        .await
        .expect("the log");
    let mut lines = [
        "bare COPY of the three rows of each",
        "bare upsert of the three rows, 5,000 readings a transaction",
        "all devices distinct",
        "10,000 devices",
        "all devices distinct, two writers",
        "10,000 devices, two writers",
    ]
    .map(Line::new);
    for round in 0..ROUNDS {
        let [copied, upserted, folded @ ..] = &mut lines;
        copied.note(bare_rows::copy(stack, READINGS, data).await);
        upserted.note(bare_rows::upsert(stack, READINGS, data).await);
        let fleets = [(READINGS, 1), (10_000, 1), (READINGS, 2), (10_000, 2)];
        for (fleet, (line, (devices, writers))) in folded.iter_mut().zip(fleets).enumerate() {
            append(&appender, (round, fleet), devices).await;
            line.note(fold(stack, writers, Topic::Readings, READINGS).await);
        }
    }
    lines.into()
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
pub(crate) async fn fold(stack: &Stack, writers: i64, topic: Topic, n_events: u32) -> Measured {
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
    let left = u32::try_from(target - first).expect("less than all");
    let done = eventually_within(LIMIT, "it is done", || async {
        let now = folded(stack, topic).await;
        if now >= target {
            Ok(())
        } else {
            Err(format!("{now} of {target}"))
        }
    });
    let measured = measured(process, left, done).await;
    projector.stop().await.expect("it stops");
    measured
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
