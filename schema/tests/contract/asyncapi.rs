use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use schema::{Body, CredentialId, DeadLetter, EventId, IntegrationId, LogId, Micros, OrganizationId, Topic};

use crate::{fixtures, path};

/// The keys and scalars of a YAML file in block style, by their JSON pointers; items of a list share the key `-`.
struct Outline(Vec<(String, String)>);

impl Outline {
    fn of_asyncapi() -> Self {
        let text = fs::read_to_string(path("asyncapi.yaml")).expect("a readable file");
        let mut open: Vec<(usize, String)> = Vec::new();
        let mut outline = Vec::new();
        for line in text.lines() {
            let content = line.trim_start();
            let (indent, content) = match content.strip_prefix("- ") {
                Some(item) => {
                    let indent = line.len() - content.len();
                    open.retain(|(other, _)| *other < indent);
                    open.push((indent, "-".to_owned()));
                    (indent + 2, item)
                }
                None => (line.len() - content.len(), content),
            };
            let Some((key, value)) = content.split_once(':') else {
                continue;
            };
            open.retain(|(other, _)| *other < indent);
            open.push((indent, key.to_owned()));
            let pointer: String = open.iter().flat_map(|(_, key)| ["/", key]).collect();
            let value = value.trim().trim_matches('\'');
            outline.push((pointer, value.to_owned()));
        }
        Self(outline)
    }

    fn scalar(&self, pointer: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == pointer);
        found.map(|(_, value)| value.as_str())
    }

    /// The keys of a mapping.
    fn keys(&self, pointer: &str) -> BTreeSet<&str> {
        let prefix = format!("{pointer}/");
        self.0
            .iter()
            .filter_map(|(other, _)| other.strip_prefix(&prefix))
            .filter(|key| !key.contains('/'))
            .collect()
    }

    /// The items of a list written on one line.
    fn items(&self, pointer: &str) -> BTreeSet<&str> {
        let list = self.scalar(pointer).expect("a list");
        list.trim_matches(['[', ']']).split(", ").collect()
    }
}

#[test]
fn every_event_has_a_message_with_its_json_schema() {
    let asyncapi = Outline::of_asyncapi();
    for name in Body::NAMES {
        let message = format!("/components/messages/{name}.v1");
        assert_eq!(
            asyncapi.scalar(&format!("{message}/name")),
            Some(format!("io.fleetlog.{name}.v1").as_str())
        );
        assert_eq!(
            asyncapi.scalar(&format!("{message}/payload/$ref")),
            Some(format!("./json/{name}.v1.json").as_str())
        );
    }
    let n_messages = asyncapi.keys("/components/messages").len();
    assert_eq!(
        n_messages,
        Body::NAMES.len() + 2,
        "two more: the dead letter and what came of it"
    );
}

#[test]
fn every_event_is_on_the_topic_that_holds_it() {
    let asyncapi = Outline::of_asyncapi();
    let channels: BTreeMap<&str, &str> = asyncapi
        .keys("/channels")
        .into_iter()
        .map(|channel| {
            let address = asyncapi.scalar(&format!("/channels/{channel}/address"));
            (address.expect("a channel has an address"), channel)
        })
        .collect();
    for (file, fixture) in fixtures::all() {
        let (_, event) = fixture.decode();
        let topic = event.topic().name(Topic::DEFAULT_PREFIX);
        let channel = channels.get(topic.as_str()).expect("every topic is a channel");
        if !matches!(event.body, Body::Unknown { .. }) {
            let message = event.body.versioned_name();
            let listed = format!("/channels/{channel}/messages/{message}");
            assert!(asyncapi.scalar(&listed).is_some(), "{file}: not on {topic}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let asyncapi = Outline::of_asyncapi();
    let references = asyncapi
        .0
        .iter()
        .filter(|(pointer, _)| pointer.ends_with("/$ref"));
    for (pointer, target) in references {
        let exists = match target.strip_prefix('#') {
            Some(local) => asyncapi.scalar(local).is_some(),
            None => path(target).is_file(),
        };
        assert!(exists, "{pointer} refers to {target}");
    }
}

#[test]
fn the_headers_of_events_are_those_described() {
    let asyncapi = Outline::of_asyncapi();
    let described = asyncapi.keys("/components/schemas/eventHeaders/properties");
    let required = asyncapi.items("/components/schemas/eventHeaders/required");
    let fixtures = fixtures::all();

    let known = fixtures
        .values()
        .filter(|fixture| fixture.decode().1.extensions.is_empty());
    let written: BTreeSet<&str> = known
        .flat_map(|fixture| fixture.headers.keys().map(String::as_str))
        .collect();
    assert_eq!(written, described);
    for (file, fixture) in &fixtures {
        let headers: BTreeSet<&str> = fixture.headers.keys().map(String::as_str).collect();
        let missing: Vec<_> = required.difference(&headers).collect();
        assert!(missing.is_empty(), "{file} has no {missing:?}");
    }
}

#[test]
fn the_headers_of_dead_letters_are_those_described() {
    let letter = DeadLetter {
        id: EventId::random(),
        organization: OrganizationId(uuid::Uuid::from_u128(1)),
        integration: IntegrationId(uuid::Uuid::from_u128(2)),
        credential: Some(CredentialId(uuid::Uuid::from_u128(3))),
        received_at: Micros::from_micros(0).expect("1970"),
        reason: "unrecognized".to_owned(),
        detail: "no dialect has such a body".to_owned(),
        part: Some(0),
        headers: vec![(
            "content-type".to_owned(),
            "Application/CloudEvents+json".to_owned(),
        )],
        body: b"{}".to_vec(),
    };
    let record = letter.encode(&LogId::random());
    let written: BTreeSet<&str> = record.headers.iter().map(|(name, _)| &**name).collect();

    let asyncapi = Outline::of_asyncapi();
    let described = asyncapi.keys("/components/schemas/deadLetterHeaders/properties");
    assert_eq!(written, described);
    let required = asyncapi.items("/components/schemas/deadLetterHeaders/required");
    let optional: Vec<_> = written.difference(&required).copied().collect();
    assert_eq!(optional, ["ce_credential", "ce_part"]);

    let content_type = record.headers.iter().find(|(name, _)| name == "content-type");
    assert_eq!(
        content_type.map(|(_, value)| value.as_str()),
        Some("application/octet-stream"),
        "the media type of a CloudEvent would make this the sender's event"
    );
}
