//! The fold of edits and conflicts, beside a bare read of the same log and a bare COPY of the facts it writes.

use std::time::{Duration, Instant};

use schema::{
    DeviceId, Event, ExternalId, IntegrationId, Micros, OrganizationId, Origin, ProviderDevice, Serial,
    Subject, Topic,
};
use serde_json::{Value, json};
use sqlx::Connection as _;
use stream::{Tail, TailFrom};
use tests::{Stack, now_seconds, told};
use uuid::Uuid;

use crate::{Line, ROUNDS, fold::fold};

/// Devices that conflict each time.
const DEVICES: u32 = 10_000;
/// Events a device: the cloud speaks, someone edits, the cloud contradicts, someone decides.
const EVENTS: u32 = 4 * DEVICES;
/// Events appended at a time.
const CHUNK: usize = 2_000;

pub(crate) async fn measure(stack: &Stack) -> Vec<Line> {
    let appender = stream::Appender::connect(&stack.log, Duration::from_secs(10))
        .await
        .expect("the log");
    let mut lines = [
        "bare COPY of the facts",
        "bare read of the same log",
        "observed, edited, contradicted, decided",
    ]
    .map(Line::new);
    for round in 0..ROUNDS {
        lines[0].per_second.push(bare_copy(stack).await);
        let events: Vec<Event> = (0..DEVICES).flat_map(|n| story(round, n)).collect();
        for chunk in events.chunks(CHUNK) {
            appender.append_all(chunk).await.expect("appended");
        }
        lines[1].per_second.push(bare_read(stack, &appender).await);
        lines[2].note(fold(stack, 1, Topic::Events, EVENTS).await);
    }
    lines.into()
}

/// What happens to one device.
fn story(round: usize, n: u32) -> [Event; 4] {
    let serial = Serial::new(&format!("C-{round}-{n}")).expect("a serial");
    let id = ExternalId::new(&format!("conflicting-{round}-{n}")).expect("an id");
    let provider_device = ProviderDevice::by_id(IntegrationId(Uuid::from_u128(2)), id);
    let device = DeviceId::of_serial(organization(), &serial);
    let began = Micros::from_seconds_nanos(i64::try_from(now_seconds()).expect("this century"), 0);
    let began = began.expect("in range").plus(Duration::from_micros(u64::from(n)));
    let at = |second| began.plus(Duration::from_secs(second));

    let cloud = |second, version| {
        let said =
            json!({"complete": true, "name": serial, "metadata": {"site": "north", "version": version}});
        let subject = Subject::ProviderDevice(provider_device.clone());
        event(subject, "provider-device.observed", at(second), &said)
    };
    let edit = |second, version, seen| {
        let seen = json!({"remote": {"site": "north", "version": seen}, "remote_at": at(second - 1)});
        let change = json!({"field": "metadata", "value": {"site": "north", "version": version},
                            "seen": seen, "strategy": "manual"});
        let said = json!({"serial": serial, "author": "bench", "changes": [change]});
        event(Subject::Device(device), "device.edited", at(second), &said)
    };
    [cloud(0, 1), edit(1, 2, 1), cloud(2, 3), edit(3, 2, 3)]
}

fn organization() -> OrganizationId {
    OrganizationId(Uuid::from_u128(1))
}

fn event(subject: Subject, name: &str, at: Micros, said: &Value) -> Event {
    Event {
        origin: Origin::User,
        ..told(subject, at, tests::said(name, said))
    }
}

/// Reads everything there is, and decodes it. Returns events per second.
async fn bare_read(stack: &Stack, appender: &stream::Appender) -> f64 {
    let begun = Instant::now();
    let mut tail = Tail::open(
        &stack.log,
        appender.log(),
        &[Topic::Events],
        TailFrom::Beginning,
        true,
    )
    .await
    .expect("the log is read");
    let mut n = 0;
    while let Some(records) = tail
        .next(5_000, Duration::from_millis(20))
        .await
        .expect("records")
    {
        n += u32::try_from(records.len()).expect("few");
    }
    f64::from(n) / begun.elapsed().as_secs_f64()
}

/// Copies as many facts into a table of the same shape.
async fn bare_copy(stack: &Stack) -> f64 {
    use std::fmt::Write as _;

    let mut connection = stack.admin.acquire().await.expect("a connection");
    let mut transaction = connection.begin().await.expect("a transaction");
    sqlx::query(
        "CREATE TABLE bare (provider_device uuid, organization uuid, id uuid, name text, at timestamptz,
                            sequence bigint, recorded_at timestamptz, origin text, body jsonb,
                            PRIMARY KEY (provider_device, id))",
    )
    .execute(&mut *transaction)
    .await
    .expect("a table");
    let said = json!({"complete": true, "name": "C-0-1", "metadata": {"site": "north", "version": 1}});
    let at = "2026-11-21T00:00:00Z";
    let mut rows = String::new();
    for _ in 0..EVENTS {
        let (device, id) = (Uuid::new_v4(), Uuid::new_v4());
        writeln!(
            rows,
            "{device}\t{id}\t{id}\tprovider-device.observed\t{at}\t0\t{at}\tuser\t{said}"
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
    f64::from(EVENTS) / taken
}
