//! Checkpoints: readings may expire behind them, and the registers end the same.

use proptest::{collection::vec, prelude::*};
use schema::{
    Body, CheckpointCompleted, Event, EventId, Extra, MaxRegister, Subject, Topic, arbitrary::World,
};
use serde_json::{Value, json};

use super::{by_id, event, instant, named, reading, receipt_timed, received};
use crate::fold::{
    Tables, Truth,
    checkpoint::{self, Registers},
    rows::ListeningRow,
    whole,
};

type Log = Vec<(i32, Event)>;

/// The checkpoints of what these events made, as they would be read.
fn checkpoints(truth: &Truth) -> Log {
    let mut log = Log::new();
    let system = |subject, body| {
        let event = event(
            &by_id("1"),
            "reading.received",
            0,
            &json!({"path": "", "readings": []}),
        );
        Event {
            subject,
            body,
            origin: schema::Origin::System,
            integration: None,
            ..event
        }
    };
    for (key, row) in &truth.provider_devices {
        let latest = truth.latest.iter().filter(|(latest, _)| latest.device == *key);
        let receipts = truth
            .receipt_timed
            .iter()
            .filter(|((device, _), _)| device == key);
        let receipts = receipts.map(|((_, id), (_, at))| (*id, *at)).collect();
        for (registers, part) in Registers::of(row, truth.activity_of(key), latest, receipts)
            .iter()
            .zip(0..)
        {
            let taken = checkpoint::taken(&row.device, part, registers).unwrap();
            let mut event = system(
                Subject::ProviderDevice(row.device.clone()),
                Body::CheckpointTaken(taken),
            );
            event.organization = row.organization;
            log.push((0, through_the_wire(&event)));
        }
    }
    let partitions: std::collections::BTreeSet<i32> = truth.listening.keys().map(|key| key.1).collect();
    for partition in partitions {
        let of_partition = truth.listening.iter().filter(|(key, _)| key.1 == partition);
        let completed = CheckpointCompleted {
            partition,
            covered: 7,
            listening: of_partition
                .map(|((integration, _), row): (_, &ListeningRow)| checkpoint::heard(*integration, row))
                .collect(),
            extra: Extra::new(),
        };
        let event = system(Subject::Log, Body::CheckpointCompleted(completed));
        log.push((partition, through_the_wire(&event)));
    }
    log
}

fn through_the_wire(event: &Event) -> Event {
    let log = schema::LogId::random();
    let record = schema::encode(event, &log).unwrap();
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| (&**name, Some(value.as_bytes())));
    schema::decode(headers, &record.value).unwrap().1
}

fn fold(log: &Log) -> Tables {
    whole(log.iter().map(|(partition, event)| (*partition, event)))
}

/// The tables without those that hold readings themselves.
fn without_readings(tables: &Tables) -> Tables {
    let mut tables = tables.clone();
    tables.truth.readings.clear();
    tables.truth.logs.clear();
    tables
}

fn is_reading(event: &Event) -> bool {
    event.topic() == Topic::Readings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn readings_may_expire_behind_a_checkpoint(
        covered in vec((0..2_i32, World::small().event()), 0..40),
        rest in vec((0..2_i32, World::small().event()), 0..20),
        overlap in 0..40_usize,
    ) {
        let checkpoints = checkpoints(&fold(&covered).truth);
        let all: Log = covered.iter().chain(&rest).cloned().collect();
        let n_expired = overlap.min(covered.len());
        let kept = covered.iter().enumerate().filter(|(number, (_, event))| !is_reading(event) || *number >= n_expired);
        let kept = kept.map(|(_, event)| event.clone());
        let after: Log = checkpoints.iter().cloned().chain(kept).chain(rest.iter().cloned()).collect();
        prop_assert_eq!(without_readings(&fold(&after)), without_readings(&fold(&all)));
        let backwards: Log = after.into_iter().rev().collect();
        prop_assert_eq!(without_readings(&fold(&backwards)), without_readings(&fold(&all)));
    }

    #[test]
    fn a_checkpoint_says_nothing_new_to_who_has_the_readings(
        events in vec((0..2_i32, World::small().event()), 0..40),
    ) {
        let all = fold(&events);
        let twice: Log = checkpoints(&all.truth).into_iter().chain(events).collect();
        prop_assert_eq!(fold(&twice), all);
    }
}

#[test]
fn a_later_copy_of_an_expired_reading_changes_nothing() {
    let said = receipt_timed(reading(&by_id("1"), 5, &json!({"a": 1})));
    let first: Log = vec![(0, received(said.clone(), 5)), (0, named(&by_id("1"), 1, "A"))];
    let later: Log = vec![(0, received(said, 500))];
    let checkpoints = checkpoints(&fold(&first).truth);
    let all: Log = first.iter().chain(&later).cloned().collect();
    let expired = first.into_iter().filter(|(_, event)| !is_reading(event));
    let after: Log = expired.chain(checkpoints).chain(later).collect();
    assert_eq!(without_readings(&fold(&after)), without_readings(&fold(&all)));
}

#[test]
fn registers_too_long_for_one_record_travel_in_parts() {
    let long = "x".repeat(60_000);
    let readings: Log = (0..40)
        .map(|n| {
            let data = json!({"path": format!("/{n}"), "readings": [{"data": {"text": long}}]});
            (0, event(&by_id("1"), "reading.received", n, &data))
        })
        .collect();
    let all = fold(&readings);
    let checkpoints = checkpoints(&all.truth);
    let keys: std::collections::BTreeSet<_> = checkpoints
        .iter()
        .map(|(_, event)| event.partition_key())
        .collect();
    assert_eq!(keys.len(), checkpoints.len(), "{keys:?}");
    assert!(checkpoints.len() > 3, "{} parts", checkpoints.len());
    for (_, event) in &checkpoints {
        let n_bytes = event.body.encode().unwrap().len();
        assert!(n_bytes < 2 * 1024 * 1024, "{n_bytes}");
    }
    assert_eq!(without_readings(&fold(&checkpoints)), without_readings(&all));
}

#[test]
fn registers_are_written_the_same_each_time_and_read_back() {
    let events: Log = [json!(null), json!({"t": 1.50}), json!("\u{fffd}")]
        .iter()
        .map(|data: &Value| (0, reading(&by_id("1"), 3, data)))
        .chain([(0, named(&by_id("1"), 1, "A"))])
        .collect();
    let truth = fold(&events).truth;
    let (key, row) = truth.provider_devices.first_key_value().unwrap();
    let receipts = vec![(EventId::random(), instant(7))];
    let first = || {
        let parts = Registers::of(row, truth.activity_of(key), &truth.latest, receipts.clone());
        parts.into_iter().next().unwrap()
    };
    let written = first().write().unwrap();
    assert_eq!(written.get(), first().write().unwrap().get());
    assert_eq!(Registers::read(&written).unwrap(), first());
    let empty = Registers::of(
        &crate::fold::rows::ProviderDeviceRow {
            name: MaxRegister::default(),
            ..row.as_ref().clone()
        },
        None,
        [],
        Vec::new(),
    );
    assert_eq!(empty.len(), 1);
}
