//! How events travel: CloudEvents 1.0 over Kafka in binary mode.
//!
//! Context attributes are headers named `ce_…`, the data is the value as JSON, the subject is the key. Attribute
//! values are plain UTF-8: percent-encoding is a rule of the HTTP binding alone. A value is never null, since a null
//! is a tombstone on a compacted topic.
//!
//! A reader takes the last of a repeated header, as Kafka's own clients do, takes a null header for a missing one,
//! and passes over headers that are no attributes.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{Body, Event, IntegrationId, LogId, Micros, OrganizationId, Origin, RawJson, Subject, attribute};

/// What the type of every event of ours begins with.
pub const TYPE_PREFIX: &str = "io.fleetlog.";

/// Declares the attributes that fleetlog itself writes or that CloudEvents defines: no extension has their names.
macro_rules! ours {
    ($($variant:ident = $name:literal,)*) => {
        /// An attribute of ours.
        #[derive(Clone, Copy)]
        enum Ours {
            $($variant,)*
        }

        /// How many there are.
        const N_OURS: usize = [$($name),*].len();

        impl Ours {
            /// Which of ours a name is. A record has eighteen, and a rebuild reads millions of records.
            fn of(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

ours! {
    ClaimedTime = "claimedtime",
    Credential = "credential",
    DataContentType = "datacontenttype",
    DataSchema = "dataschema",
    Id = "id",
    Integration = "integration",
    LogId = "logid",
    Organization = "organization",
    Origin = "origin",
    PartitionKey = "partitionkey",
    ReceiptTimed = "receipttimed",
    RecordedTime = "recordedtime",
    Replayable = "replayable",
    Sequence = "sequence",
    Source = "source",
    SpecVersion = "specversion",
    Subject = "subject",
    Time = "time",
    TraceParent = "traceparent",
    Type = "type",
}

/// A Kafka record: what producers hand to the client and subscribers read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: String,
    /// Header names and values, in a fixed order. Nearly all names are known to begin with.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The data.
    pub value: Vec<u8>,
}

impl Record {
    /// Bytes of key, headers and value.
    pub fn n_bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.key.len() + self.value.len() + headers.sum::<usize>()
    }
}

/// Why a record is no event of ours.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A header that every event has is not there.
    #[error("the record has no header {0}")]
    Missing(&'static str),
    /// A header holds what it cannot.
    #[error("the header {name} is malformed: {reason}")]
    Malformed {
        /// The header's name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The type is not one of ours.
    #[error("the type {0:?} does not begin with io.fleetlog. and end with a version")]
    ForeignType(String),
    /// The data is not what the type says.
    #[error("the data is no {name}: {source}")]
    Data {
        /// The event's name.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Data of ours that cannot be written: never seen, but not fatal.
    #[error("the data cannot be written: {0}")]
    Unwritable(serde_json::Error),
}

/// Writes an event as a record of the log `log`.
///
/// Characters that CloudEvents forbids in attributes become U+FFFD. Extensions named like an attribute of ours, or
/// as no attribute may be, are refused.
pub fn encode(event: &Event, log: &LogId) -> Result<Record, WireError> {
    let value = event.body.encode().map_err(WireError::Unwritable)?;
    let name = event.body.versioned_name();
    let key = attribute::text(event.partition_key());

    let mut headers = Vec::with_capacity(20);
    let mut header =
        |name: &'static str, value: String| headers.push((Cow::Borrowed(name), attribute::text(value)));
    header("ce_specversion", "1.0".to_owned());
    header("ce_id", event.id.to_string());
    header("ce_source", event.source.clone());
    header("ce_type", [TYPE_PREFIX, &name].concat());
    header("ce_subject", event.subject.to_string());
    header("ce_time", event.at.to_string());
    header("ce_dataschema", ["urn:fleetlog:schema:", &name].concat());
    // CloudEvents wants sequences that sort as text: nineteen digits hold every number that is not negative.
    header("ce_sequence", format!("{:019}", event.sequence));
    header("ce_recordedtime", event.recorded_at.to_string());
    if let Some(claimed) = event.claimed_at {
        header("ce_claimedtime", claimed.to_string());
    }
    if event.receipt_timed {
        header("ce_receipttimed", "true".to_owned());
    }
    if !event.organization.0.is_nil() {
        header("ce_organization", event.organization.to_string());
    }
    if let Some(integration) = event.integration {
        header("ce_integration", integration.to_string());
    }
    let origin: &str = event.origin.into();
    header("ce_origin", origin.to_owned());
    if let Some(credential) = event.credential {
        header("ce_credential", credential.to_string());
    }
    if event.replayable {
        header("ce_replayable", "true".to_owned());
    }
    header("ce_partitionkey", key.clone());
    if let Some(traceparent) = &event.traceparent {
        header("ce_traceparent", traceparent.clone());
    }
    header("ce_logid", log.to_string());
    for (name, value) in &event.extensions {
        if !attribute::is_name(name) || Ours::of(name).is_some() {
            return Err(WireError::Malformed {
                name: "ce_*",
                reason: format!("{name:?} is no name for an extension"),
            });
        }
        headers.push((["ce_", name].concat().into(), attribute::text(value.clone())));
    }
    headers.push(("content-type".into(), "application/json".to_owned()));
    Ok(Record { key, headers, value })
}

/// Reads an event, and the log it belongs to, from a record's headers and value.
pub fn decode<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    value: &[u8],
) -> Result<(LogId, Event), WireError> {
    let mut attributes = Attributes::read(headers)?;
    let kind = attributes.required(Ours::Type, "ce_type")?;
    let (name, body) = decode_body(kind, value)?;
    let log = attributes.parsed(Ours::LogId, "ce_logid")?;
    let event = Event {
        id: attributes.parsed(Ours::Id, "ce_id")?,
        subject: Subject::parse(name, attributes.required(Ours::Subject, "ce_subject")?),
        at: attributes.parsed::<Micros>(Ours::Time, "ce_time")?,
        sequence: attributes.parsed(Ours::Sequence, "ce_sequence")?,
        recorded_at: attributes.parsed::<Micros>(Ours::RecordedTime, "ce_recordedtime")?,
        claimed_at: attributes.optional(Ours::ClaimedTime, "ce_claimedtime")?,
        receipt_timed: attributes
            .optional(Ours::ReceiptTimed, "ce_receipttimed")?
            .unwrap_or(false),
        organization: attributes
            .optional(Ours::Organization, "ce_organization")?
            .unwrap_or(OrganizationId(uuid::Uuid::nil())),
        integration: attributes.optional::<IntegrationId>(Ours::Integration, "ce_integration")?,
        origin: attributes.parsed::<Origin>(Ours::Origin, "ce_origin")?,
        credential: attributes.optional(Ours::Credential, "ce_credential")?,
        replayable: attributes
            .optional(Ours::Replayable, "ce_replayable")?
            .unwrap_or(false),
        traceparent: attributes.take(Ours::TraceParent).map(str::to_owned),
        source: attributes.required(Ours::Source, "ce_source")?.to_owned(),
        extensions: attributes.extensions,
        body,
    };
    Ok((log, event))
}

/// Reads the data of the type `kind`, and gives the name without prefix and version.
fn decode_body<'a>(kind: &'a str, value: &[u8]) -> Result<(&'a str, Body), WireError> {
    let (name, version) = kind
        .strip_prefix(TYPE_PREFIX)
        .and_then(|name| name.rsplit_once(".v"))
        .filter(|(name, version)| !name.is_empty() && is_version(version))
        .ok_or_else(|| WireError::ForeignType(kind.to_owned()))?;
    let known = (version == "1").then(|| Body::decode(name, value)).flatten();
    let body = known.unwrap_or_else(|| {
        // An event without data has an empty value; those that this version knows all have some.
        let text = if value.is_empty() { b"null" } else { value };
        RawJson::from_slice(text).map(|data| Body::Unknown {
            name: format!("{name}.v{version}"),
            data,
        })
    });
    body.map(|body| (name, body)).map_err(|source| WireError::Data {
        name: name.to_owned(),
        source,
    })
}

/// A positive number without leading zeros.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| matches!(c, '1'..='9')) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Attributes not yet read. Those of ours are borrowed.
struct Attributes<'a> {
    ours: [Option<&'a str>; N_OURS],
    extensions: BTreeMap<String, String>,
}

impl<'a> Attributes<'a> {
    fn read(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Result<Self, WireError> {
        let mut attributes = Self {
            ours: [None; N_OURS],
            extensions: BTreeMap::new(),
        };
        for (name, value) in headers {
            let Some(value) = value else {
                continue;
            };
            if name.eq_ignore_ascii_case("content-type") {
                refuse_structured(value)?;
            }
            let Some(name) = name.strip_prefix("ce_") else {
                continue;
            };
            let ours = Ours::of(name);
            if ours.is_none() && !attribute::is_name(name) {
                continue;
            }
            let text = std::str::from_utf8(value).map_err(|error| WireError::Malformed {
                name: "ce_*",
                reason: format!("{name} is not UTF-8: {error}"),
            })?;
            match ours.and_then(|ours| attributes.ours.get_mut(ours as usize)) {
                Some(held) => *held = Some(text),
                None => drop(attributes.extensions.insert(name.to_owned(), text.to_owned())),
            }
        }
        Ok(attributes)
    }

    fn take(&mut self, ours: Ours) -> Option<&'a str> {
        self.ours.get_mut(ours as usize)?.take()
    }

    fn required(&mut self, ours: Ours, header: &'static str) -> Result<&'a str, WireError> {
        self.take(ours).ok_or(WireError::Missing(header))
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        ours: Ours,
        header: &'static str,
    ) -> Result<T, WireError> {
        let text = self.required(ours, header)?;
        parse(text, header)
    }

    fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        ours: Ours,
        header: &'static str,
    ) -> Result<Option<T>, WireError> {
        let text = self.take(ours);
        text.map(|text| parse(text, header)).transpose()
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
    header: &'static str,
) -> Result<T, WireError> {
    text.parse().map_err(|error: T::Err| WireError::Malformed {
        name: header,
        reason: error.to_string(),
    })
}

/// In structured mode the value would be the whole event, and its headers would prove nothing.
fn refuse_structured(content_type: &[u8]) -> Result<(), WireError> {
    const STRUCTURED: &[u8] = b"application/cloudevents";
    let structured = content_type
        .trim_ascii_start()
        .get(..STRUCTURED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(STRUCTURED));
    if structured {
        Err(WireError::Malformed {
            name: "content-type",
            reason: "events of a log travel in binary mode".to_owned(),
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, ExternalId, ProviderDevice};

    const OPENED: &str = r#"{"log_id":"1f7a39c4","partitions":12,"partitioner":"murmur2_random"}"#;

    fn opened() -> Vec<(&'static str, Option<&'static [u8]>)> {
        vec![
            ("ce_id", Some(b"9762ba23-d027-5809-8318-3e4db7d1844f")),
            ("ce_source", Some(b"/fleetlog")),
            ("ce_type", Some(b"io.fleetlog.log.opened.v1")),
            ("ce_subject", Some(b"log")),
            ("ce_time", Some(b"2026-04-30T12:00:00+02:00")),
            ("ce_sequence", Some(b"7")),
            ("ce_recordedtime", Some(b"2026-04-30T10:00:00Z")),
            ("ce_origin", Some(b"system")),
            ("ce_logid", Some(b"1f7a39c4")),
        ]
    }

    fn with(name: &'static str, value: Option<&'static [u8]>) -> Result<Event, WireError> {
        let mut headers = opened();
        headers.push((name, value));
        decode(headers, OPENED.as_bytes()).map(|(_, event)| event)
    }

    #[test]
    fn the_fewest_headers_make_an_event() {
        let (log, event) = decode(opened(), OPENED.as_bytes()).expect("an event");
        assert_eq!(log.as_str(), "1f7a39c4");
        assert_eq!(event.sequence, 7);
        assert_eq!(event.at.to_string(), "2026-04-30T10:00:00.000000Z");
        assert!(!event.receipt_timed && !event.replayable);
        for missing in opened() {
            let headers = opened().into_iter().filter(|header| *header != missing);
            let error = decode(headers, OPENED.as_bytes()).expect_err("it is required");
            assert!(
                matches!(error, WireError::Missing(name) if name == missing.0),
                "{error}"
            );
        }
    }

    #[test]
    fn a_null_header_is_missing_and_the_last_of_a_repeated_one_counts() {
        assert_eq!(with("ce_claimedtime", None).expect("an event").claimed_at, None);
        assert_eq!(with("ce_sequence", None).expect("an event").sequence, 7);
        assert_eq!(with("ce_sequence", Some(b"8")).expect("an event").sequence, 8);
    }

    #[test]
    fn what_a_header_cannot_hold_is_refused() {
        for (name, value) in [
            ("ce_receipttimed", "True"),
            ("ce_replayable", ""),
            ("ce_time", "yesterday"),
            ("ce_logid", "1F7A39C4"),
            ("ce_origin", "rumour"),
            ("Content-Type", "Application/CloudEvents+json"),
        ] {
            let error = with(name, Some(value.as_bytes())).expect_err("malformed");
            assert!(matches!(error, WireError::Malformed { .. }), "{name}: {error}");
        }
        assert!(with("ce_later", Some(b"\xff")).is_err());
        assert!(with("x-trace", Some(b"\xff")).is_ok());
        assert!(with("content-type", Some(b"APPLICATION/JSON; charset=utf-8")).is_ok());
    }

    #[test]
    fn a_type_is_ours_if_it_has_our_prefix_and_a_version() {
        for foreign in [
            "com.example.thing.v1",
            "io.fleetlog.valve",
            "io.fleetlog.reading.received",
            "io.fleetlog.reading.received.v01",
            "io.fleetlog..v1",
        ] {
            let error = with("ce_type", Some(foreign.as_bytes())).expect_err("foreign");
            assert!(matches!(error, WireError::ForeignType(_)), "{foreign}: {error}");
        }
    }

    #[test]
    fn an_unknown_event_without_data_is_carried_and_a_known_one_is_none() {
        let mut headers = opened();
        headers.push(("ce_type", Some(b"io.fleetlog.log.closed.v1")));
        let (_, event) = decode(headers, b"").expect("carried");
        assert!(matches!(event.body, Body::Unknown { data, .. } if data.get() == "null"));
        assert!(matches!(decode(opened(), b""), Err(WireError::Data { .. })));
    }

    #[test]
    fn an_extension_takes_no_name_of_ours() {
        let event = with("ce_region", Some(b"eu-1")).expect("an event");
        let log = LogId::random();
        assert!(encode(&event, &log).is_ok());
        for name in ["organization", "logid", "data", "Region", ""] {
            let mut event = event.clone();
            event.extensions.insert(name.to_owned(), "x".to_owned());
            assert!(encode(&event, &log).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_erased_subject_is_a_provider_device_or_a_device() {
        let integration = IntegrationId(uuid::Uuid::from_u128(7));
        let external_id = ExternalId::new("a/b:c").expect("valid");
        let provider_device = Subject::ProviderDevice(ProviderDevice::by_id(integration, external_id));
        let device = Subject::Device(crate::DeviceId(EventId::random().0));
        for subject in [provider_device, device, Subject::Other("somebody".to_owned())] {
            assert_eq!(Subject::parse("subject.erased", &subject.to_string()), subject);
        }
    }
}
