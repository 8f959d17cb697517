//! What follows from what, by example.

use rstest::rstest;
use schema::{DeviceId, Event, Micros, ProviderDevice};
use serde_json::json;

use super::{ORGANIZATION, by_id, by_name, event, event_of, instant, named, reading, registered, serial};
use crate::fold::{Tables, identity::Via, rows::ReportedBy, whole};

fn fold(events: &[Event]) -> Tables {
    whole(events.iter().map(|event| (0, event)))
}

fn device(name: &str) -> DeviceId {
    DeviceId::of_serial(ORGANIZATION, &serial(name))
}

fn linked(tables: &Tables, to: &ProviderDevice) -> Option<(DeviceId, Via)> {
    tables.links.get(&to.uuid()).map(|link| (link.device, link.via))
}

fn shown(tables: &Tables, name: &str) -> Option<String> {
    tables
        .devices
        .get(&device(name))
        .map(|device| device.serial.clone())
}

fn gone(device: &ProviderDevice, at: i64) -> Event {
    let data = json!({ "how": "reported" });
    event(device, "provider-device.disappeared", at, &data)
}

fn connection(device: &ProviderDevice, at: i64, state: &str) -> Event {
    let data = json!({ "state": state, "evidence": "reported" });
    event(device, "connection.changed", at, &data)
}

fn bound(to: &ProviderDevice, at: i64, name: &str) -> Event {
    let data = json!({ "device": device(name), "author": "ann" });
    event(to, "provider-device.bound", at, &data)
}

#[test]
fn a_device_without_a_name_is_nobodys() {
    let tables = fold(&[reading(&by_id("1"), 1, &json!({ "t": 1 }))]);
    assert_eq!(tables.truth.provider_devices.len(), 1);
    assert!(tables.links.is_empty() && tables.devices.is_empty());
}

#[test]
fn a_renamed_device_keeps_its_id_and_shows_its_new_name() {
    let one = by_id("1");
    let tables = fold(&[named(&one, 1, "A"), named(&one, 2, "B")]);
    assert_eq!(linked(&tables, &one), Some((device("A"), Via::FirstName)));
    assert_eq!(shown(&tables, "A").as_deref(), Some("B"));
    assert_eq!(shown(&tables, "B"), None);
}

#[test]
fn a_name_that_was_registered_here_takes_the_device_over() {
    let one = by_id("1");
    let tables = fold(&[named(&one, 1, "A"), named(&one, 2, "B"), registered("B", 3)]);
    assert_eq!(linked(&tables, &one), Some((device("B"), Via::CurrentName)));
    assert_eq!(shown(&tables, "A"), None);
    let shown = tables.devices.get(&device("B")).unwrap();
    assert_eq!(shown.name.as_deref(), Some("our B"));
    assert_eq!(shown.registered_at, Some(instant(3)));
}

#[test]
fn a_registered_device_that_nothing_is_linked_to_is_there_and_shows_its_serial() {
    assert_eq!(shown(&fold(&[registered("A", 1)]), "A").as_deref(), Some("A"));
}

#[test]
fn the_newest_binding_beats_every_name() {
    let one = by_id("1");
    let tables = fold(&[named(&one, 9, "A"), bound(&one, 2, "C"), bound(&one, 1, "B")]);
    assert_eq!(linked(&tables, &one), Some((device("C"), Via::Bound)));
    assert_eq!(
        shown(&tables, "C").as_deref(),
        Some("A"),
        "it shows what the cloud calls it"
    );
}

#[test]
fn one_machine_heard_through_two_doors_is_one_device_also_after_a_rename() {
    let (one, door) = (by_id("1"), by_name("B"));
    let heard = reading(&door, 3, &json!({ "t": 1 }));
    let tables = fold(&[named(&one, 1, "A"), named(&one, 2, "B"), heard]);
    assert_eq!(linked(&tables, &door), Some((device("A"), Via::SameName)));
    assert_eq!(shown(&tables, "A").as_deref(), Some("B"));
}

#[test]
fn a_name_is_not_taken_for_that_of_a_device_that_is_gone() {
    let (one, door) = (by_id("1"), by_name("A"));
    let events = [
        named(&one, 1, "Z"),
        named(&one, 2, "A"),
        gone(&one, 3),
        reading(&door, 3, &json!(1)),
    ];
    let tables = fold(&events);
    assert_eq!(linked(&tables, &door), Some((device("A"), Via::Name)));
}

#[test]
fn of_two_names_the_newer_is_shown_unless_its_device_is_gone() {
    let (one, two) = (by_id("1"), by_id("2"));
    let mut events = vec![named(&one, 1, "A"), named(&two, 2, "B"), bound(&two, 3, "A")];
    assert_eq!(shown(&fold(&events), "A").as_deref(), Some("B"));
    events.push(gone(&two, 4));
    assert_eq!(shown(&fold(&events), "A").as_deref(), Some("A"));
    events.push(reading(&two, 5, &json!(1)));
    assert_eq!(shown(&fold(&events), "A").as_deref(), Some("B"), "it is back");
}

#[test]
fn a_name_that_is_no_serial_is_kept_but_names_nothing() {
    let data = json!({ "path": "/s", "device_name": "  ", "readings": [{ "data": 1 }] });
    let tables = fold(&[event(&by_id("1"), "reading.received", 1, &data)]);
    assert!(tables.links.is_empty());
    let row = tables.truth.readings.values().next().unwrap();
    assert_eq!(row.said.device_name.as_deref(), Some("  "));
}

#[rstest]
#[case::a_reading(reading(&by_id("1"), 5, &json!(1)), Some((ReportedBy::Reading, instant(5))))]
#[case::a_disconnect(connection(&by_id("1"), 5, "disconnected"), None)]
#[case::a_connect(connection(&by_id("1"), 5, "connected"), None)]
#[case::a_name(named(&by_id("1"), 5, "A"), None)]
#[case::the_providers_word(
    event(&by_id("1"), "activity.observed", 5, &json!({ "last_report": instant(-9_000_000) })),
    Some((ReportedBy::Provider, instant(-9_000_000)))
)]
fn this_raises_the_last_report(#[case] event: Event, #[case] expected: Option<(ReportedBy, Micros)>) {
    let tables = fold(&[event]);
    let held = tables.truth.activity.values().next();
    let held = held.and_then(|row| row.last_report.held());
    assert_eq!(held.map(|(key, report)| (report.by, key.at)), expected);
}

#[test]
fn a_disconnect_proves_no_presence_and_a_connect_does() {
    let one = by_id("1");
    let live = |tables: &Tables| linked(tables, &by_name("B")) == Some((device("A"), Via::SameName));
    let mut events = vec![
        named(&one, 1, "A"),
        named(&one, 2, "B"),
        gone(&one, 3),
        reading(&by_name("B"), 3, &json!(1)),
        connection(&one, 4, "disconnected"),
    ];
    assert!(!live(&fold(&events)));
    events.push(connection(&one, 5, "connected"));
    assert!(live(&fold(&events)));
}

#[test]
fn elements_of_a_delivery_have_their_own_keys() {
    let own = instant(1).to_string();
    let data =
        json!({ "path": "/s", "readings": [{ "data": { "a": 1 } }, { "data": { "b": 1 }, "at": own }] });
    let tables = fold(&[event(&by_id("1"), "reading.received", 5, &data)]);
    let keys: Vec<_> = tables
        .truth
        .readings
        .keys()
        .map(|key| (key.key.at, key.key.sequence))
        .collect();
    assert_eq!(keys, [(instant(1), 1), (instant(5), 0)]);
    assert_eq!(tables.truth.latest.len(), 2, "each shape has its newest");
}

#[test]
fn what_is_bounded_is_still_data() {
    let long = "p".repeat(5_000);
    let data = json!({ "path": long, "readings": [{ "data": { "x": "a\u{0}b" } }] });
    let tables = fold(&[event(&by_id("1"), "reading.received", 5, &data)]);
    let row = tables.truth.readings.values().next().unwrap();
    assert_eq!(row.path.len(), crate::fold::MAX_KEY_BYTES);
    assert_eq!(row.payload.data.as_deref(), Some("{\"x\":\"a\u{fffd}b\"}"));
}

#[test]
fn an_integration_is_heard_by_every_push_and_every_complete_scan() {
    let mut push = reading(&by_id("1"), 1, &json!(1));
    push.recorded_at = instant(7);
    let scan = |at, complete, scope| {
        let data = json!({"scope": scope, "started_at": instant(at), "complete": complete, "n_read": 1, "n_appended": 0});
        let mut event = event_of(
            schema::Subject::Integration(super::INTEGRATION),
            "sync.completed",
            20,
            &data,
        );
        event.origin = schema::Origin::System;
        event
    };
    let events = [
        push,
        scan(9, true, "devices"),
        scan(10, false, "devices"),
        scan(11, true, "ota-events"),
    ];
    let tables = fold(&events);
    let row = tables.truth.listening.get(&(super::INTEGRATION, 0)).unwrap();
    assert_eq!(row.last_push_at, Some(instant(7)));
    assert_eq!(row.last_scan_at, Some(instant(9)));
}
