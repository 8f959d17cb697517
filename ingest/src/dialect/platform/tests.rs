use proptest::prelude::*;
use rstest::rstest;
use schema::{Event, FirmwareReported, KnownBy, ProviderDeviceObserved};
use serde_json::{Value, json};

use super::*;
use crate::{
    dialect::nothing_is_lost::{any_json, check_nothing_is_lost},
    example::{Sent, received},
};

fn events(body: &str) -> Vec<Event> {
    let normalized = Sent::with_secret(body).normalized().unwrap();
    assert_eq!(normalized.letters, []);
    normalized.events
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.body.name()).collect()
}

fn observed(events: &[Event]) -> &ProviderDeviceObserved {
    let bodies = events.iter().map(|event| &event.body);
    let mut bodies = bodies;
    bodies
        .find_map(|body| {
            if let Body::ProviderDeviceObserved(body) = body {
                Some(body)
            } else {
                None
            }
        })
        .unwrap()
}

fn firmware(events: &[Event]) -> Vec<&FirmwareReported> {
    let bodies = events.iter().map(|event| &event.body);
    bodies
        .filter_map(|body| {
            if let Body::FirmwareReported(body) = body {
                Some(body)
            } else {
                None
            }
        })
        .collect()
}

#[rstest]
#[case::device(r#"{"event":"device.online","device":{"id":"d1","name":"M26"}}"#)]
#[case::data(r#"{"event_type":"device.online","data":{"deviceId":"d1","deviceName":"M26"}}"#)]
#[case::flat(r#"{"type":"device.online","device_id":"d1","device_name":"M26"}"#)]
#[case::flat_plain(r#"{"event":"DEVICE.ONLINE","id":"d1","name":"M26"}"#)]
#[case::event_with_an_id(
    r#"{"event":"device.online","id":"evt_1","device":{"deviceId":"d1","device_name":"M26"}}"#
)]
#[case::kind_beside_a_type(
    r#"{"type":"notification","event":"device.online","device_id":"d1","name":"M26"}"#
)]
fn the_three_shapes_say_the_same(#[case] body: &str) {
    let events = events(body);
    assert_eq!(names(&events), ["connection.changed", "provider-device.observed"]);
    let Body::ConnectionChanged(connection) = &events[0].body else {
        panic!("the connection comes first")
    };
    assert_eq!(connection.state, ConnectionState::Connected);
    assert_eq!(connection.device_name.as_deref(), Some("M26"));
    assert!(events[0].subject.to_string().ends_with("/id:d1"));
    assert_eq!(observed(&events).name, Some(Some("M26".to_owned())));
    assert_eq!(
        connection.extra["payload"],
        serde_json::from_str::<Value>(body).unwrap()
    );
}

#[test]
fn a_device_known_by_name_only_is_known_by_it() {
    let events = events(r#"{"event":"device.offline","device_name":"M260600008"}"#);
    assert_eq!(names(&events), ["connection.changed"]);
    let device = events[0].subject.provider_device().unwrap();
    assert!(matches!(&device.known_by, KnownBy::Name(name) if name.as_str() == "M260600008"));
}

/// As captured from a real sender.
#[test]
fn telemetry_is_a_reading_at_its_own_time() {
    let events = events(
        r#"{"event": "device.telemetry",
            "telemetry": {"type": 2, "units": 3, "value": 78.30228122377356, "sensor": "SHT40", "timestamp": "2026-02-15T17:00:00Z"},
            "device_name": "M260600008"}"#,
    );
    assert_eq!(names(&events), ["reading.received"]);
    let Body::ReadingReceived(reading) = &events[0].body else {
        panic!("a reading was sent")
    };
    assert_eq!(reading.path, "/telemetry");
    assert_eq!(reading.device_name.as_deref(), Some("M260600008"));
    assert!(
        reading.readings[0]
            .data
            .as_ref()
            .unwrap()
            .get()
            .contains("78.30228122377356")
    );
    assert_eq!(events[0].at.to_string(), "2026-02-15T17:00:00.000000Z");
    assert!(!events[0].receipt_timed);
    assert_eq!(
        reading.extra["payload"],
        json!({ "event": "device.telemetry", "device_name": "M260600008" })
    );
}

#[test]
fn what_a_device_measures_does_not_name_it() {
    let body = r#"{"event":"device.data","device_id":"d1","data":{"id":5,"name":"left door","open":true}}"#;
    let events = events(body);
    assert!(events[0].subject.to_string().ends_with("/id:d1"));
    let Body::ReadingReceived(reading) = &events[0].body else {
        panic!("a reading was sent")
    };
    assert_eq!(reading.path, "/data");
    assert_eq!(reading.device_name, None);
    assert_eq!(
        reading.readings[0].data.as_ref().unwrap().get(),
        r#"{"id":5,"name":"left door","open":true}"#
    );
}

#[test]
fn a_flat_reading_is_the_payload_itself() {
    let body = r#"{"event":"device.data","device_id":"d1","temp":21.50}"#;
    let events = events(body);
    let Body::ReadingReceived(reading) = &events[0].body else {
        panic!("a reading was sent")
    };
    assert_eq!(reading.readings[0].data.as_ref().unwrap().get(), body);
    assert!(reading.extra.is_empty());
}

#[test]
fn a_device_is_shown_in_part() {
    let events = events(
        r#"{"event":"device.updated","timestamp":"2026-05-31T12:00:00Z","device":{"id":"d1","name":" M26 ",
            "enabled":true,"status":"-","hardwareIds":["imei-1",7],"tagIds":["t1"],"cohortId":null,
            "blueprintId":"b1","metadata":{"site": "north","n":1.50},"extra":1}}"#,
    );
    assert_eq!(names(&events), ["provider-device.observed"]);
    let observed = observed(&events);
    assert!(!observed.complete);
    assert_eq!(observed.name, Some(Some(" M26 ".to_owned())));
    assert_eq!(observed.enabled, Some(Some(true)));
    assert_eq!(
        observed.hardware_ids,
        Some(Some(vec!["imei-1".to_owned(), "7".to_owned()]))
    );
    assert_eq!(observed.tags.clone().unwrap().unwrap()[0].id, "t1");
    assert_eq!(observed.cohort, Some(None));
    assert_eq!(observed.blueprint, Some(Some("b1".to_owned())));
    assert_eq!(
        observed.metadata.clone().unwrap().unwrap().get(),
        r#"{"site": "north","n":1.50}"#
    );
    assert_eq!(events[0].at.to_string(), "2026-05-31T12:00:00.000000Z");
}

#[test]
fn a_status_of_online_or_offline_is_a_connection_too() {
    let changed = events(
        r#"{"event":"device.status_changed","device_id":"d1","status":"Offline","previous_status":"online","reason":"timeout"}"#,
    );
    assert_eq!(
        names(&changed),
        ["provider-device.observed", "connection.changed"]
    );
    let Body::ConnectionChanged(connection) = &changed[1].body else {
        panic!("the connection comes second")
    };
    assert_eq!(connection.state, ConnectionState::Disconnected);
    assert_eq!(connection.reason.as_deref(), Some("timeout"));
    let unknown = events(r#"{"event":"device.status_changed","device_id":"d1","status":"-"}"#);
    assert_eq!(names(&unknown), ["provider-device.observed"]);
}

#[test]
fn an_old_last_report_stays_old() {
    let events = events(r#"{"event":"device.updated","device_id":"d1","lastSeen":"2025-04-01T00:00:00Z"}"#);
    assert_eq!(names(&events), ["provider-device.observed", "activity.observed"]);
    let Body::ActivityObserved(activity) = &events[1].body else {
        panic!("the activity comes second")
    };
    assert_eq!(events[1].at.to_string(), "2025-04-01T00:00:00.000000Z");
    assert_eq!(activity.last_report, Some(Some(events[1].at)));
    assert!(!events[1].receipt_timed);
    assert_eq!(events[0].at, received());
}

#[test]
fn a_last_report_from_the_future_was_one_until_now() {
    let events = events(r#"{"event":"device.online","device_id":"d1","last_seen":"2031-01-01T00:00:00Z"}"#);
    let Body::ActivityObserved(activity) = &events[1].body else {
        panic!("the activity comes second")
    };
    assert_eq!(activity.last_report, Some(Some(received())));
    assert_eq!(events[1].at, received());
    assert!(events[1].claimed_at.is_some() && events[1].receipt_timed);
}

#[test]
fn a_device_that_is_gone_is_not_brought_back() {
    let events = events(
        r#"{"event":"device.deleted","device":{"id":"d1","name":"M26","status":"online","lastSeen":"2026-05-31T00:00:00Z","firmwareVersion":"1.0"}}"#,
    );
    assert_eq!(names(&events), ["provider-device.disappeared"]);
    let Body::ProviderDeviceDisappeared(gone) = &events[0].body else {
        panic!("it disappeared")
    };
    assert_eq!(gone.name.as_deref(), Some("M26"));
}

#[test]
fn firmware_is_reported_in_three_ways() {
    let object = events(
        r#"{"event":"device.updated","device_id":"d1","firmware":{"version":"1.2.3","target":"1.2.4","state":"UPDATING","reason":"ready state","time":"2024-01-01T00:00:00Z"}}"#,
    );
    let [report] = firmware(&object)[..] else {
        panic!("one report was sent")
    };
    assert_eq!(report.package, "main");
    assert_eq!(report.version.as_deref(), Some("1.2.3"));
    assert_eq!(report.state.as_deref(), Some("updating"));
    assert_eq!(object[1].at.to_string(), "2024-01-01T00:00:00.000000Z");

    for version in [
        r#""firmwareVersion":"1.2.3""#,
        r#""firmware_version":"1.2.3""#,
        r#""firmware":"1.2.3""#,
    ] {
        let alone = events(&format!(
            r#"{{"event":"device.created","device_id":"d1",{version}}}"#
        ));
        assert_eq!(firmware(&alone)[0].version.as_deref(), Some("1.2.3"));
    }

    let update = events(
        r#"{"event":"device.updated","device":{"id":"d1","metadata":{"update":{
            "main":{"package":"main","version":"1.0","target":"","state":"IDLE","stateCode":"0","reason":"ready state","reasonCode":"0","time":"2025-11-01T00:00:00Z"},
            "modem":{"version":"2.0","stateCode":2}}}}}"#,
    );
    let reports = firmware(&update);
    assert_eq!(reports[0].target.as_deref(), Some(""));
    assert_eq!(
        (reports[0].state_code, reports[0].reason_code),
        (Some(0), Some(0))
    );
    assert_eq!(
        (reports[1].package.as_str(), reports[1].state_code),
        ("modem", Some(2))
    );
    let empty = events(r#"{"event":"device.updated","device":{"id":"d1","metadata":{"update":{}}}}"#);
    assert!(firmware(&empty).is_empty());
}

#[test]
fn what_is_no_name_is_not_repeated_beside_every_package() {
    let name = "n".repeat(300);
    let body = json!({"event": "device.updated", "device": {"id": "d1", "name": name,
        "metadata": {"update": {"main": {"version": "1"}, "modem": {"version": "2"}}}}});
    let events = events(&body.to_string());
    assert_eq!(observed(&events).name, Some(Some(name)));
    assert!(
        firmware(&events)
            .iter()
            .all(|report| report.device_name.is_none())
    );
}

#[test]
fn an_event_id_or_a_time_makes_a_copy_recognizable() {
    let id = |body: &str| events(body)[0].id;
    let with_id = r#"{"event":"device.online","device_id":"d1","event_id":"e1"}"#;
    assert_eq!(id(with_id), id(with_id));
    let with_time = r#"{"event":"device.online","device_id":"d1","timestamp":1780271990}"#;
    assert_eq!(id(with_time), id(with_time));
    let with_neither = r#"{"event":"device.online","device_id":"d1"}"#;
    assert_ne!(id(with_neither), id(with_neither));
}

#[test]
fn the_parts_of_one_payload_have_ids_of_their_own() {
    let events = events(
        r#"{"event":"device.status_changed","event_id":"e1","device_id":"d1","name":"M26","status":"online","lastSeen":"2026-05-31T00:00:00Z","firmware":"1"}"#,
    );
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!((events.len(), ids.len()), (4, 4));
    let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3]);
}

#[test]
fn platform_events_may_come_as_cloudevents() {
    let structured = r#"{"specversion":"1.0","id":"7","source":"urn:platform","type":"device.online","time":"2026-05-31T12:00:00Z","data":{"device_id":"d1"}}"#;
    let structured = Sent::signed(structured).event();
    let binary = Sent::with_secret(r#"{"device_id":"d1"}"#)
        .header("ce-type", "device.online")
        .header("ce-source", "urn:platform")
        .header("ce-id", "7")
        .header("ce-time", "2026-05-31T12:00:00Z")
        .event();
    assert_eq!(structured.at, binary.at);
    assert_eq!(structured.id, binary.id);
    let Body::ConnectionChanged(connection) = &binary.body else {
        panic!("it connected")
    };
    assert_eq!(
        connection.extra["extensions"],
        json!({ "id": "7", "source": "urn:platform" })
    );
}

#[rstest]
#[case("ce-source", "d1", "accepted")]
#[case("ce-source", "M26", "accepted")]
#[case("ce-source", "d2", "unsigned_envelope")]
#[case("ce-type", "device.online", "accepted")]
#[case("ce-type", "device.offline", "unsigned_envelope")]
#[case("ce-subject", "my-project", "unsigned_envelope")]
fn unsigned_headers_may_only_repeat_what_is_signed(
    #[case] name: &str,
    #[case] value: &str,
    #[case] outcome: &str,
) {
    let body = r#"{"event":"device.online","device":{"id":"d1","name":"M26"}}"#;
    assert_eq!(Sent::signed(body).header(name, value).refusal(), outcome);
}

proptest! {
    #[test]
    fn no_platform_event_breaks_the_door_or_loses_a_leaf(
        kind in "device\\.(created|updated|deleted|status_changed|online|offline|telemetry|data)",
        body in any_json(),
    ) {
        let mut members = serde_json::Map::from_iter([("event".to_owned(), Value::from(kind)), ("device_id".to_owned(), Value::from("d1"))]);
        if let Value::Object(more) = body {
            for (name, value) in more {
                members.entry(name).or_insert(value);
            }
        }
        check_nothing_is_lost(&Sent::signed(Value::Object(members).to_string()))?;
    }
}
