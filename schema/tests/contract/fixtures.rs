use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use schema::{Body, Event, LogId, RawJson, decode, encode};
use serde::Deserialize;

use crate::{HOW_TO_UPDATE, is_checked_in, path};

/// A record as it lies in somebody's log.
#[derive(Deserialize)]
pub(crate) struct Fixture {
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) value: RawJson,
}

impl Fixture {
    pub(crate) fn decode(&self) -> (LogId, Event) {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
        decode(headers, self.value.get().as_bytes()).expect("a fixture is an event of ours")
    }
}

/// All fixtures by name.
pub(crate) fn all() -> BTreeMap<String, Fixture> {
    fs::read_dir(path("fixtures/v1"))
        .expect("fixtures are checked in")
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let text = fs::read_to_string(&path).expect("a readable file");
            let fixture = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{} is no record: {error}", path.display()));
            (name.expect("plain names").to_owned(), fixture)
        })
        .collect()
}

/// Events already in someone's log must decode for ever, so fixtures are added, never edited.
#[test]
fn every_event_ever_published_still_decodes_to_the_same() {
    let stale: Vec<String> = all()
        .iter()
        .map(|(name, fixture)| {
            let (log, event) = fixture.decode();
            (
                format!("tests/contract/decoded/{name}.txt"),
                format!("{log:?} {event:#?}\n"),
            )
        })
        .filter(|(file, text)| !is_checked_in(file, text))
        .map(|(file, _)| file)
        .collect();
    assert!(
        stale.is_empty(),
        "not what is decoded now: {stale:?}; {HOW_TO_UPDATE}"
    );
}

#[test]
fn what_was_decoded_encodes_to_an_equivalent_record() {
    for (name, fixture) in all() {
        let (log, event) = fixture.decode();
        let record = encode(&event, &log).expect("an event can be written");
        assert_eq!(record.key, fixture.key, "{name}");
        let n_headers = record.headers.len();
        let headers = record.headers.into_iter();
        let headers: BTreeMap<String, String> =
            headers.map(|(name, value)| (name.into_owned(), value)).collect();
        assert_eq!(headers.len(), n_headers, "{name}: a header is repeated");
        assert_eq!(headers, fixture.headers, "{name}");
        let value = RawJson::from_slice(&record.value).expect("the value is JSON");
        assert_eq!(value, fixture.value, "{name}");
    }
}

#[test]
fn every_event_type_has_a_fixture() {
    let shown: BTreeSet<String> = all()
        .values()
        .map(|fixture| fixture.decode().1.body.name().to_owned())
        .collect();
    let without: Vec<_> = Body::NAMES
        .iter()
        .filter(|name| !shown.contains(**name))
        .collect();
    assert!(without.is_empty(), "no fixture shows {without:?}");
}

#[test]
fn what_this_version_does_not_know_is_carried() {
    let fixtures = all();
    let event = |name: &str| fixtures.get(name).expect("a fixture").decode().1;

    let later = event("provider-device.observed.later");
    assert_eq!(later.extensions.get("region").map(String::as_str), Some("eu-1"));
    let Body::ProviderDeviceObserved(body) = later.body else {
        panic!("a known type")
    };
    let gateway = body.extra.get("gateway").expect("carried");
    assert_eq!(
        gateway.get("rssi").map(ToString::to_string),
        Some("-71.50".to_owned())
    );
    assert_eq!(body.extra.get("certificate"), Some(&serde_json::Value::Null));

    for (name, versioned) in [
        ("unknown.type", "device.annotated.v1"),
        ("unknown.version", "reading.received.v2"),
        ("unknown.scalar", "weather.observed.v1"),
    ] {
        let body = event(name).body;
        assert!(matches!(body, Body::Unknown { .. }), "{name}");
        assert_eq!(body.versioned_name(), versioned);
    }
}
