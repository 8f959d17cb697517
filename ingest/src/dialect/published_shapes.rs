//! Every shape that Golioth's public documentation shows is understood, or kept with a reason that says what to do.
//!
//! One file a shape under `fixtures/shapes`: where it is published, what is sent, and what that becomes.

use std::{collections::BTreeMap, fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::example::Sent;

const HOW_TO_UPDATE: &str =
    "if that is meant, run `FLEETLOG_UPDATE_SHAPES=1 cargo test -p ingest` and look at the difference";

/// A shape as it is checked in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    /// Where it is published.
    source: String,
    /// The body is signed and nothing else; otherwise a shared secret vouches for the request.
    #[serde(default)]
    signed: bool,
    /// The headers beside the proof.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: SentBody,
    /// Events and dead letters, in their order.
    #[serde(default)]
    becomes: Vec<Value>,
}

/// A body as people can read it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SentBody {
    Json(Value),
    Text(String),
    Base64(String),
}

impl Shape {
    fn sent(&self) -> Sent {
        let body = match &self.body {
            SentBody::Json(value) => value.to_string().into_bytes(),
            SentBody::Text(text) => text.clone().into_bytes(),
            SentBody::Base64(text) => STANDARD.decode(text).unwrap(),
        };
        let sent = if self.signed {
            Sent::signed(body)
        } else {
            Sent::with_secret(body)
        };
        let headers = self.headers.iter();
        headers.fold(sent, |sent, (name, value)| sent.header(name, value))
    }

    fn outcome(&self) -> Vec<Value> {
        let normalized = self.sent().normalized().unwrap();
        let events = normalized.events.iter().map(|event| {
            let said: Value = serde_json::from_slice(&event.body.encode().unwrap()).unwrap();
            let device = event.subject.to_string();
            let (_, device) = device.split_once('/').unwrap();
            json!({
                "event": event.body.name(), "device": device, "at": event.at, "claimed_at": event.claimed_at,
                "data": said,
            })
        });
        let letters = normalized.letters.iter();
        let letters = letters.map(|letter| json!({ "dead_letter": letter.reason, "detail": letter.detail }));
        events.chain(letters).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "a choice of whoever runs the test")]
fn is_update() -> bool {
    std::env::var("FLEETLOG_UPDATE_SHAPES").is_ok()
}

fn all() -> BTreeMap<PathBuf, Shape> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/shapes");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let shape = serde_json::from_str(&fs::read_to_string(&path).unwrap());
            let shape = shape.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, shape)
        })
        .collect()
}

#[test]
fn every_published_shape_becomes_what_is_written_down() {
    let mut differing = Vec::new();
    for (path, shape) in all() {
        let outcome = shape.outcome();
        if outcome == shape.becomes {
            continue;
        }
        differing.push(format!(
            "{}:\n{}",
            path.display(),
            serde_json::to_string_pretty(&outcome).unwrap()
        ));
        if is_update() {
            let shape = Shape {
                becomes: outcome,
                ..shape
            };
            fs::write(path, serde_json::to_string_pretty(&shape).unwrap() + "\n").unwrap();
        }
    }
    assert!(differing.is_empty(), "{}\n{HOW_TO_UPDATE}", differing.join("\n"));
}

#[test]
fn every_shape_says_where_it_is_published_and_comes_to_something() {
    let shapes = all();
    assert!(shapes.len() > 40, "{}", shapes.len());
    for (path, shape) in shapes {
        assert!(shape.source.contains("golioth"), "{}", path.display());
        assert!(!shape.becomes.is_empty(), "{}", path.display());
        for said in &shape.becomes {
            let detail = said.get("detail").and_then(Value::as_str);
            assert!(
                detail.is_none_or(|detail| detail.contains("; ")),
                "{}",
                path.display()
            );
        }
    }
}

/// Nobody's copy is taken for news: where a shape has an id or a time, its events are recognized again.
#[test]
fn a_published_shape_that_is_sent_twice_is_recognized_where_it_can_be() {
    for (path, shape) in all() {
        let ids = || {
            let normalized = shape.sent().normalized().unwrap();
            let identified = normalized
                .events
                .into_iter()
                .filter(|event| event.receipt_timed || event.at != event.recorded_at);
            identified.map(|event| event.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(), ids(), "{}", path.display());
    }
}
