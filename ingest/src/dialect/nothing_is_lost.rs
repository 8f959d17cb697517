//! Property tests: whatever is sent, nothing breaks and nothing is lost.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::reading;
use crate::example::Sent;

/// All scalars of a JSON text, and the names of its members.
pub(super) fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| leaves(value, into)),
        Value::Object(members) => members.iter().for_each(|(_, value)| leaves(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => into.push(value.to_string()),
    }
}

/// Any JSON whose scalars can be told from one another.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let name =
            "event|type|device|data|device_id|deviceId|id|name|status|firmware|metadata|telemetry|[a-z]{1,4}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Checks that all that a JSON body says is somewhere in what it comes to.
pub(super) fn check_nothing_is_lost(sent: &Sent) -> Result<(), TestCaseError> {
    let normalized = match sent.normalized() {
        Ok(normalized) => normalized,
        Err(rejection) => return Err(TestCaseError::fail(rejection.to_string())),
    };
    if let [letter] = normalized.letters.as_slice() {
        prop_assert_eq!(&letter.body, &sent.body);
        return Ok(());
    }
    let mut kept = Vec::new();
    for event in &normalized.events {
        let body: Value = serde_json::from_slice(&event.body.encode().unwrap()).unwrap();
        leaves(&body, &mut kept);
        kept.push(Value::from(event.subject.to_string().split_once(':').unwrap().1).to_string());
    }
    let mut said = Vec::new();
    leaves(&serde_json::from_slice(&sent.body).unwrap(), &mut said);
    for leaf in said {
        prop_assert!(kept.contains(&leaf), "{leaf} is lost");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_delivery_from_golioth_breaks_the_door_or_loses_a_byte(
        path in "(/[a-z.~]{0,8}){0,3}",
        media_type in prop::option::of(prop::sample::select(&["application/json", "application/octet-stream"][..])),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut sent = Sent::from_golioth(&path, &bytes);
        if let Some(media_type) = media_type {
            sent = sent.header("content-type", media_type);
        }
        let event = sent.event();
        let kept = &reading(&event).readings[0];
        let kept = match (&kept.data, &kept.data_base64) {
            (Some(data), None) => data.get().as_bytes(),
            (None, Some(bytes)) => bytes.0.as_slice(),
            _ => panic!("a reading holds exactly one of JSON and bytes"),
        };
        prop_assert!(kept == bytes || kept == bytes.trim_ascii());
    }

    #[test]
    fn no_bytes_break_the_recognition(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for sent in [Sent::signed(&bytes), Sent::with_secret(&bytes)] {
            prop_assert_eq!(&sent.letter().body, &bytes);
        }
    }

    #[test]
    fn no_json_from_golioth_loses_a_leaf(path in "/x|/logs|", body in any_json()) {
        check_nothing_is_lost(&Sent::from_golioth(&path, body.to_string()))?;
    }

    #[test]
    fn no_wrapped_payload_loses_a_leaf(data in any_json(), more in any_json(), project in any_json()) {
        let mut body = json!({
            "data": data, "device_id": "d1", "project_id": project,
            "timestamp": "2026-05-31T23:59:50.000000Z", "more": more,
        });
        let sent = Sent::signed(body.to_string());
        // The time is in the event's own, not in its data.
        prop_assert_eq!(sent.event().at.to_string(), "2026-05-31T23:59:50.000000Z");
        body["timestamp"] = Value::Null;
        check_nothing_is_lost(&Sent::signed(body.to_string()))?;
    }

    #[test]
    fn no_cloudevent_loses_a_leaf(data in any_json(), extension in any_json(), id in ".{0,6}") {
        let body = json!({
            "specversion": "1.0", "id": id, "source": "d1", "type": "io.golioth.data.v1/.s/x",
            "subject": "my-project", "data": data, "extension": extension,
        });
        let normalized = Sent::signed(body.to_string()).normalized().unwrap();
        let [event] = normalized.events.as_slice() else {
            return Err(TestCaseError::fail("one event was sent"));
        };
        let kept = &reading(event).extensions.0;
        prop_assert_eq!(kept["extension"].value().unwrap(), extension);
        prop_assert_eq!(kept.get("id").map(|id| id.value().unwrap()), Some(id).filter(|id| !id.is_empty()).map(Value::from));
        let whole: Vec<Value> = reading(event)
            .readings
            .iter()
            .map(|reading| reading.data.as_ref().unwrap().value().unwrap())
            .collect();
        prop_assert!(whole == [data.clone()] || Value::from(whole) == data);
    }
}
