//! How deliveries are written: the dialects that `ingest` reads, from the sender's side.
//!
//! Pure. What proves who sent a delivery is added afterwards, see [`crate::sender`].

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use schema::Micros;
use serde_json::{Map, Value, json};

/// What CloudEvents' HTTP binding wants encoded in a header, beside all that is not ASCII.
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What the type of Golioth's stream data begins with, before the path.
const STREAM_TYPE: &str = "io.golioth.data.v1/.s";

/// A request without its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Names in the case their senders use.
    pub(crate) headers: Vec<(String, String)>,
    /// Byte for byte.
    pub(crate) body: Vec<u8>,
}

/// Of whom a delivery speaks, and what identifies it. What is absent is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The cloud's id of the device.
    pub(crate) device_id: Option<String>,
    /// The device's name, which is its serial number.
    pub(crate) device_name: Option<String>,
    /// The Golioth project.
    pub(crate) project: Option<String>,
    /// When it happened.
    pub(crate) time: Option<Micros>,
    /// The delivery's own id.
    pub(crate) id: Option<String>,
}

/// What a device sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    /// A JSON value.
    Json(Value),
    /// Anything else.
    Bytes {
        /// What the sender says it is.
        content_type: String,
        /// Byte for byte.
        bytes: Vec<u8>,
    },
}

impl Payload {
    /// A value as CBOR, as most devices send it.
    pub(crate) fn cbor(value: &Value) -> Self {
        let mut bytes = Vec::new();
        ciborium::into_writer(&to_cbor(value), &mut bytes).expect("writing to memory does not fail");
        Self::Bytes {
            content_type: "application/cbor".to_owned(),
            bytes,
        }
    }

    fn content_type(&self) -> &str {
        match self {
            Self::Json(_) => "application/json",
            Self::Bytes { content_type, .. } => content_type,
        }
    }
}

/// The three shapes in which platform events were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// `{"event": …, "device": {"id", "name", …}}`
    Device,
    /// `{"type": …, "data": {"deviceId", "deviceName", …}}`
    Data,
    /// `{"event_type": …, "device_id", "device_name", …}`
    Flat,
}

/// Golioth Pipelines as the `webhook` destination sends: the payload as it is, everything else in `Ce-*` headers.
pub(crate) fn pipelines(envelope: &Envelope, path: &str, payload: &Payload) -> Written {
    let mut headers = ce_headers(envelope, path);
    headers.push(header("Content-Type", payload.content_type()));
    let body = match payload {
        Payload::Json(value) => value.to_string().into_bytes(),
        Payload::Bytes { bytes, .. } => bytes.clone(),
    };
    Written { headers, body }
}

/// Golioth Pipelines behind the `inject-metadata` transformer: the body names device, project and time.
///
/// With a `path` the `Ce-*` headers are there too; a relay that signs the body leaves them out.
pub(crate) fn injected(envelope: &Envelope, path: Option<&str>, data: &Value) -> Written {
    let mut body = Map::new();
    body.insert("data".to_owned(), data.clone());
    put(&mut body, "device_id", envelope.device_id.as_deref());
    put(&mut body, "project_id", envelope.project.as_deref());
    if let Some(time) = envelope.time {
        let micros = time.as_micros();
        let seconds = micros.div_euclid(1_000_000);
        let nanos = micros.rem_euclid(1_000_000) * 1_000;
        body.insert(
            "timestamp".to_owned(),
            json!({ "seconds": seconds, "nanos": nanos }),
        );
    }
    let mut headers = path.map_or_else(Vec::new, |path| ce_headers(envelope, path));
    headers.push(header("Content-Type", "application/json"));
    Written {
        headers,
        body: Value::Object(body).to_string().into_bytes(),
    }
}

/// A structured `CloudEvent`, as relays forward Golioth's stream data.
pub(crate) fn structured(envelope: &Envelope, path: &str, payload: &Payload) -> Written {
    let time = envelope.time.map(|time| time.to_string());
    let mut event = Map::new();
    put(&mut event, "specversion", Some("1.0"));
    put(&mut event, "type", Some(&stream_type(path)));
    put(&mut event, "source", envelope.device_id.as_deref());
    put(&mut event, "subject", envelope.project.as_deref());
    put(&mut event, "id", envelope.id.as_deref());
    put(&mut event, "time", time.as_deref());
    put(&mut event, "datacontenttype", Some(payload.content_type()));
    let (key, data) = match payload {
        Payload::Json(value) => ("data", value.clone()),
        Payload::Bytes { bytes, .. } => ("data_base64", STANDARD.encode(bytes).into()),
    };
    event.insert(key.to_owned(), data);
    Written {
        headers: vec![header("Content-Type", "application/cloudevents+json")],
        body: Value::Object(event).to_string().into_bytes(),
    }
}

/// A platform event: `name` is e.g. `device.online`, `fields` are what is to be said of the device.
pub(crate) fn platform(envelope: &Envelope, shape: Shape, name: &str, fields: Map<String, Value>) -> Written {
    let time = envelope.time.map(|time| time.to_string());
    let id = envelope.device_id.as_deref();
    let device_name = envelope.device_name.as_deref();
    let mut body = Map::new();
    put(&mut body, "project_id", envelope.project.as_deref());
    put(&mut body, "timestamp", time.as_deref());
    put(&mut body, "event_id", envelope.id.as_deref());
    match shape {
        Shape::Device => {
            put(&mut body, "event", Some(name));
            let mut device = Map::new();
            put(&mut device, "id", id);
            put(&mut device, "name", device_name);
            for (key, value) in fields {
                // What was measured stands beside the device, not in it.
                let place = if key == "telemetry" {
                    &mut body
                } else {
                    &mut device
                };
                place.insert(key, value);
            }
            body.insert("device".to_owned(), device.into());
        }
        Shape::Data => {
            put(&mut body, "type", Some(name));
            let mut data = fields;
            put(&mut data, "deviceId", id);
            put(&mut data, "deviceName", device_name);
            body.insert("data".to_owned(), data.into());
        }
        Shape::Flat => {
            put(&mut body, "event_type", Some(name));
            put(&mut body, "device_id", id);
            put(&mut body, "device_name", device_name);
            body.extend(fields);
        }
    }
    Written {
        headers: vec![header("Content-Type", "application/json")],
        body: Value::Object(body).to_string().into_bytes(),
    }
}

fn ce_headers(envelope: &Envelope, path: &str) -> Vec<(String, String)> {
    let time = envelope.time.map(|time| time.to_string());
    let mut headers = vec![header("Ce-Specversion", "1.0")];
    let mut attribute = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            let encoded = utf8_percent_encode(value, HEADER_VALUE).to_string();
            headers.push(header(name, &encoded));
        }
    };
    attribute("Ce-Type", Some(&stream_type(path)));
    attribute("Ce-Source", envelope.device_id.as_deref());
    attribute("Ce-Subject", envelope.project.as_deref());
    attribute("Ce-Id", envelope.id.as_deref());
    attribute("Ce-Time", time.as_deref());
    headers
}

fn stream_type(path: &str) -> String {
    let slash = if path.is_empty() || path.starts_with('/') {
        ""
    } else {
        "/"
    };
    format!("{STREAM_TYPE}{slash}{path}")
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

/// By hand: a number that `serde_json` serializes would show how it keeps the number's text.
fn to_cbor(value: &Value) -> ciborium::Value {
    match value {
        Value::Null => ciborium::Value::Null,
        Value::Bool(is) => ciborium::Value::Bool(*is),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ciborium::Value::Integer(whole.into()),
            (None, Some(float)) => ciborium::Value::Float(float),
            (None, None) => ciborium::Value::Text(number.to_string()),
        },
        Value::String(text) => ciborium::Value::Text(text.clone()),
        Value::Array(items) => ciborium::Value::Array(items.iter().map(to_cbor).collect()),
        Value::Object(fields) => {
            let entry = |(key, item): (&String, &Value)| (ciborium::Value::Text(key.clone()), to_cbor(item));
            ciborium::Value::Map(fields.iter().map(entry).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            device_id: Some("12345678987654321".to_owned()),
            device_name: Some("C252400001".to_owned()),
            project: Some("my-first-project".to_owned()),
            time: Some("2022-03-19T00:05:08.346519Z".parse().unwrap()),
            id: Some("aa12dc4c".to_owned()),
        }
    }

    fn parsed(written: &Written) -> Value {
        serde_json::from_slice(&written.body).unwrap()
    }

    fn value_of<'a>(written: &'a Written, name: &str) -> Option<&'a str> {
        let found = written.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn pipelines_send_the_payload_as_it_is() {
        let written = pipelines(&envelope(), "/sensor", &Payload::Json(json!({ "temp": 32 })));
        assert_eq!(written.body, br#"{"temp":32}"#);
        assert_eq!(value_of(&written, "Ce-Source"), Some("12345678987654321"));
        assert_eq!(value_of(&written, "Ce-Subject"), Some("my-first-project"));
        assert_eq!(
            value_of(&written, "Ce-Type"),
            Some("io.golioth.data.v1/.s/sensor")
        );
        assert_eq!(value_of(&written, "Content-Type"), Some("application/json"));
    }

    #[test]
    fn what_a_header_cannot_hold_is_encoded() {
        let envelope = Envelope {
            project: Some("Euro \u{20ac} \u{1f600}".to_owned()),
            ..Envelope::default()
        };
        let written = pipelines(&envelope, "sensor", &Payload::Json(Value::Null));
        assert_eq!(
            value_of(&written, "Ce-Subject"),
            Some("Euro%20%E2%82%AC%20%F0%9F%98%80")
        );
        assert_eq!(value_of(&written, "Ce-Source"), None);
    }

    #[test]
    fn inject_metadata_wraps_the_payload_as_golioth_does() {
        let written = injected(&envelope(), None, &json!({ "temp": 32 }));
        let expected = json!({
            "data": { "temp": 32 },
            "device_id": "12345678987654321",
            "project_id": "my-first-project",
            "timestamp": { "nanos": 346_519_000, "seconds": 1_647_648_308 },
        });
        assert_eq!(parsed(&written), expected);
        assert_eq!(written.headers.len(), 1, "a signed body stands alone");
        assert!(value_of(&injected(&envelope(), Some("/a"), &Value::Null), "Ce-Source").is_some());
    }

    #[test]
    fn bytes_travel_in_a_structured_event_as_base64() {
        let bytes = Payload::Bytes {
            content_type: "application/octet-stream".to_owned(),
            bytes: b"https://golioth.io/careers\n".to_vec(),
        };
        let event = parsed(&structured(&envelope(), "/sensor", &bytes));
        assert_eq!(event["data_base64"], "aHR0cHM6Ly9nb2xpb3RoLmlvL2NhcmVlcnMK");
        assert_eq!(event["type"], "io.golioth.data.v1/.s/sensor");
        assert!(event.get("data").is_none());
    }

    #[test]
    fn platform_events_come_in_three_shapes() {
        let say = |shape| {
            let fields = Map::from_iter([("cohortId".to_owned(), "beta".into())]);
            parsed(&platform(&envelope(), shape, "device.created", fields))
        };
        let device = say(Shape::Device);
        assert_eq!(device["event"], "device.created");
        assert_eq!(device["device"]["name"], "C252400001");
        assert_eq!(device["device"]["cohortId"], "beta");

        let data = say(Shape::Data);
        assert_eq!(data["type"], "device.created");
        assert_eq!(data["data"]["deviceId"], "12345678987654321");
        assert_eq!(data["data"]["cohortId"], "beta");

        let flat = say(Shape::Flat);
        assert_eq!(flat["event_type"], "device.created");
        assert_eq!(flat["device_name"], "C252400001");
        assert_eq!(flat["cohortId"], "beta");
    }

    #[test]
    fn cbor_holds_plain_numbers() {
        let Payload::Bytes { bytes, .. } = Payload::cbor(&json!({ "t": 21.5, "n": -70 })) else {
            panic!("CBOR is bytes");
        };
        let read: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
        let text = |text: &str| ciborium::Value::Text(text.to_owned());
        let expected = ciborium::Value::Map(vec![
            (text("n"), ciborium::Value::Integer((-70).into())),
            (text("t"), ciborium::Value::Float(21.5)),
        ]);
        assert_eq!(read, expected);
    }
}
