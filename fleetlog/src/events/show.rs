//! Records as lines: for people, and as JSON.

use schema::{Base64, Event, RawJson, TYPE_PREFIX};
use serde::Serialize;
use serde_json::{Map, Value, json};
use stream::{RawRecord, Read};

/// Most of an event's data that a line for people shows, in characters.
const MOST_SHOWN: usize = 160;

/// A record as a line for people: when, what, of whom, the data, where it lies.
pub(crate) fn text(read: &Read) -> String {
    let position = read.position;
    match &read.event {
        Ok(event) => {
            let data = data(event).map_or_else(|error| error.to_string(), |data| shortened(data.get()));
            let name = event.body.name();
            format!("{}  {name:<24}  {}  {data}  {position}", event.at, event.subject)
        }
        Err(undecodable) => {
            let said = |name: &str| header(&undecodable.record, name).unwrap_or_default();
            match header(&undecodable.record, "ce_reason") {
                Some(reason) => format!(
                    "{}  {:<24}  {}  {reason}: {}  {position}",
                    said("ce_time"),
                    "dead-letter",
                    said("ce_integration"),
                    said("ce_detail"),
                ),
                None => format!("(cannot be read: {undecodable})  {position}"),
            }
        }
    }
}

/// A record as one JSON object.
pub(crate) fn json(read: &Read) -> Value {
    let mut line = Map::new();
    let position = read.position;
    line.insert("topic".to_owned(), position.topic.suffix().into());
    line.insert("partition".to_owned(), position.partition.into());
    line.insert("offset".to_owned(), position.offset.into());
    match &read.event {
        Ok(event) => line.extend(attributes(event)),
        Err(undecodable) => line.extend(raw(&undecodable.record, &undecodable.reason)),
    }
    Value::Object(line)
}

/// An event in CloudEvents' JSON format.
fn attributes(event: &Event) -> Map<String, Value> {
    let mut attributes = Map::new();
    let mut put = |name: &str, value: Value| attributes.insert(name.to_owned(), value);
    put("specversion", json!("1.0"));
    put("id", json!(event.id));
    put(
        "type",
        format!("{TYPE_PREFIX}{}", event.body.versioned_name()).into(),
    );
    put("source", json!(event.source));
    put("subject", event.subject.to_string().into());
    put("time", json!(event.at));
    put("sequence", json!(event.sequence));
    put("recordedtime", json!(event.recorded_at));
    put("origin", event.origin.to_string().into());
    if !event.organization.0.is_nil() {
        put("organization", json!(event.organization));
    }
    let optional: [(&str, Option<Value>); 4] = [
        ("integration", written(event.integration.as_ref())),
        ("credential", written(event.credential.as_ref())),
        ("claimedtime", written(event.claimed_at.as_ref())),
        ("traceparent", written(event.traceparent.as_ref())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, value);
        }
    }
    for (name, is) in [
        ("receipttimed", event.receipt_timed),
        ("replayable", event.replayable),
    ] {
        if is {
            put(name, true.into());
        }
    }
    for (name, value) in &event.extensions {
        put(name, json!(value));
    }
    let data = data(event).and_then(|data| data.value());
    put("data", data.unwrap_or_else(|error| error.to_string().into()));
    attributes
}

fn written(value: Option<&impl Serialize>) -> Option<Value> {
    value.map(|value| json!(value))
}

/// A record that is no event of ours, e.g. a dead letter.
fn raw(record: &RawRecord, reason: &str) -> Map<String, Value> {
    let text = |bytes: &Option<Vec<u8>>| {
        let bytes = bytes.as_deref().unwrap_or_default();
        Value::from(String::from_utf8_lossy(bytes).into_owned())
    };
    let headers: Map<_, _> = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    let value = record.value.clone().map(|bytes| String::from(Base64(bytes)));
    Map::from_iter([
        ("undecodable".to_owned(), reason.into()),
        ("key".to_owned(), text(&record.key)),
        ("headers".to_owned(), headers.into()),
        ("value_base64".to_owned(), value.into()),
    ])
}

fn data(event: &Event) -> Result<RawJson, serde_json::Error> {
    RawJson::from_slice(&event.body.encode()?)
}

fn header<'a>(record: &'a RawRecord, name: &str) -> Option<&'a str> {
    let mut headers = record.headers.iter();
    let (_, value) = headers.find(|(header, _)| header == name)?;
    std::str::from_utf8(value.as_deref()?).ok()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schema::{
        Body, EventId, ExternalId, Fields, IntegrationId, OrganizationId, Origin, ProviderDevice, Reading,
        ReadingReceived, Subject, Topic,
    };
    use stream::{Position, Undecodable};
    use uuid::Uuid;

    use super::*;
    use crate::events::select::Select;

    fn reading() -> Read {
        let integration = IntegrationId(Uuid::from_u128(1));
        let device = ProviderDevice::by_id(integration, ExternalId::new("abc").unwrap());
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let event = Event {
            id: EventId(Uuid::from_u128(2)),
            subject: Subject::ProviderDevice(device),
            at,
            sequence: 0,
            recorded_at: at,
            claimed_at: None,
            receipt_timed: false,
            organization: OrganizationId(Uuid::from_u128(3)),
            integration: Some(integration),
            origin: Origin::Push,
            credential: None,
            replayable: true,
            traceparent: None,
            source: "/s".to_owned(),
            extensions: BTreeMap::new(),
            body: Body::ReadingReceived(ReadingReceived {
                path: "/sensor".to_owned(),
                content_type: None,
                device_name: Some("SN-1".to_owned()),
                readings: vec![Reading {
                    at: None,
                    claimed_at: None,
                    data: Some(RawJson::parse(r#"{"t": 1.50}"#).unwrap()),
                    data_base64: None,
                }],
                extensions: Fields::default(),
                extra: BTreeMap::new(),
            }),
        };
        Read {
            position: Position {
                topic: Topic::Readings,
                partition: 3,
                offset: 17,
            },
            event: Ok(event),
        }
    }

    fn dead_letter() -> Read {
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let record = RawRecord {
            key: None,
            headers: vec![
                header("ce_type", "io.fleetlog.dead-letter.v1"),
                header("ce_time", "2026-01-02T03:04:05.000000Z"),
                header("ce_integration", "00000000-0000-0000-0000-000000000001"),
                header("ce_reason", "unknown_type"),
                header("ce_detail", "nobody knows it"),
            ],
            value: Some(vec![0xff]),
        };
        Read {
            event: Err(Undecodable {
                reason: "no sequence".to_owned(),
                record: Box::new(record),
            }),
            ..reading()
        }
    }

    #[test]
    fn an_event_is_a_line_with_its_place() {
        let line = text(&reading());
        assert!(
            line.starts_with("2026-01-02T03:04:05.000000Z  reading.received"),
            "{line}"
        );
        assert!(line.ends_with("device-readings.v1/3@17"), "{line}");

        let line = json(&reading());
        assert_eq!(line["type"], "io.fleetlog.reading.received.v1");
        assert_eq!(line["replayable"], true);
        assert_eq!(line["offset"], 17);
        assert_eq!(line["data"]["readings"][0]["data"]["t"].to_string(), "1.50");
    }

    #[test]
    fn a_dead_letter_says_why_it_is_one() {
        let line = text(&dead_letter());
        assert!(line.contains("unknown_type: nobody knows it"), "{line}");
        assert_eq!(json(&dead_letter())["value_base64"], "/w==");
    }

    #[test]
    fn a_device_is_selected_by_any_of_its_names() {
        let wants = |device: &str| {
            let select = Select {
                device: Some(device.to_owned()),
                ..Select::default()
            };
            select.wants(&reading())
        };
        for name in ["abc", "SN-1", "00000000-0000-0000-0000-000000000001/id:abc"] {
            assert!(wants(name), "{name}");
        }
        assert!(!wants("ab"));
    }

    #[test]
    fn a_type_is_selected_by_how_it_begins() {
        let wants = |read: &Read, name: &str| {
            let select = Select {
                types: vec![name.to_owned()],
                ..Select::default()
            };
            select.wants(read)
        };
        assert!(wants(&reading(), "reading"));
        assert!(wants(&reading(), "io.fleetlog.reading.received.v1"));
        assert!(!wants(&reading(), "log"));
        assert!(wants(&dead_letter(), "dead-letter"));
    }

    #[test]
    fn long_data_is_cut_at_a_character() {
        assert_eq!(shortened("ä"), "ä");
        assert_eq!(shortened(&"ä".repeat(200)).chars().count(), MOST_SHOWN + 1);
    }
}
