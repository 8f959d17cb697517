//! How events travel: CloudEvents 1.0 over Kafka in binary mode.
//!
//! Context attributes are headers named `ce_…`, the data is the value as JSON, the subject is the key. Attribute
//! values are plain UTF-8: percent-encoding is a rule of the HTTP binding alone. A value is never null, since a null
//! is a tombstone on a compacted topic.

use std::collections::BTreeMap;

use crate::{Body, Event, IntegrationId, LogId, Micros, OrganizationId, Origin, Subject};

/// What the type of every event of ours begins with.
pub const TYPE_PREFIX: &str = "io.fleetlog.";

/// A Kafka record: what producers hand to the client and subscribers read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The subject's text.
    pub key: String,
    /// Header names and values, in a fixed order.
    pub headers: Vec<(String, String)>,
    /// The data.
    pub value: Vec<u8>,
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
pub fn encode(event: &Event, log: &LogId) -> Result<Record, WireError> {
    let value = event.body.encode().map_err(WireError::Unwritable)?;
    let name = event.body.versioned_name();
    let subject = event.subject.to_string();

    let mut headers = Vec::with_capacity(20);
    let mut header = |name: &str, value: String| headers.push((format!("ce_{name}"), value));
    header("specversion", "1.0".to_owned());
    header("id", event.id.to_string());
    header("source", event.source.clone());
    header("type", format!("{TYPE_PREFIX}{name}"));
    header("subject", subject.clone());
    header("time", event.at.to_string());
    header("dataschema", format!("urn:fleetlog:schema:{name}"));
    header("sequence", event.sequence.to_string());
    header("recordedtime", event.recorded_at.to_string());
    if let Some(claimed) = event.claimed_at {
        header("claimedtime", claimed.to_string());
    }
    if event.receipt_timed {
        header("receipttimed", "true".to_owned());
    }
    if !event.organization.0.is_nil() {
        header("organization", event.organization.to_string());
    }
    if let Some(integration) = event.integration {
        header("integration", integration.to_string());
    }
    header("origin", event.origin.to_string());
    if let Some(credential) = event.credential {
        header("credential", credential.to_string());
    }
    if event.replayable {
        header("replayable", "true".to_owned());
    }
    header("partitionkey", subject.clone());
    if let Some(traceparent) = &event.traceparent {
        header("traceparent", traceparent.clone());
    }
    header("logid", log.to_string());
    for (name, value) in &event.extensions {
        header(name, value.clone());
    }
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    Ok(Record {
        key: subject,
        headers,
        value,
    })
}

/// Reads an event, and the log it belongs to, from a record's headers and value.
pub fn decode<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    value: &[u8],
) -> Result<(LogId, Event), WireError> {
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(name) = name.strip_prefix("ce_") else {
            continue;
        };
        let text = std::str::from_utf8(value.unwrap_or_default()).map_err(|error| WireError::Malformed {
            name: "ce_*",
            reason: format!("{name} is not UTF-8: {error}"),
        })?;
        attributes.0.insert(name.to_owned(), text.to_owned());
    }

    let kind = attributes.required("type", "ce_type")?;
    let (name, version) = kind
        .strip_prefix(TYPE_PREFIX)
        .and_then(|name| name.rsplit_once(".v"))
        .ok_or_else(|| WireError::ForeignType(kind.clone()))?;
    let data_error = |source| WireError::Data {
        name: name.to_owned(),
        source,
    };
    let body = if version == "1" {
        Body::decode(name, value).map_err(data_error)?
    } else {
        let data = crate::RawJson::from_slice(value).map_err(data_error)?;
        Body::Unknown {
            name: format!("{name}.v{version}"),
            data,
        }
    };

    let log = attributes.parsed("logid", "ce_logid")?;
    let event = Event {
        id: attributes.parsed("id", "ce_id")?,
        subject: Subject::parse(name, &attributes.required("subject", "ce_subject")?),
        at: attributes.parsed::<Micros>("time", "ce_time")?,
        sequence: attributes.parsed("sequence", "ce_sequence")?,
        recorded_at: attributes.parsed::<Micros>("recordedtime", "ce_recordedtime")?,
        claimed_at: attributes.optional("claimedtime", "ce_claimedtime")?,
        receipt_timed: attributes.flag("receipttimed"),
        organization: attributes
            .optional("organization", "ce_organization")?
            .unwrap_or(OrganizationId(uuid::Uuid::nil())),
        integration: attributes.optional::<IntegrationId>("integration", "ce_integration")?,
        origin: attributes.parsed::<Origin>("origin", "ce_origin")?,
        credential: attributes.optional("credential", "ce_credential")?,
        replayable: attributes.flag("replayable"),
        traceparent: attributes.0.remove("traceparent"),
        source: attributes.required("source", "ce_source")?,
        extensions: {
            for ours in ["specversion", "dataschema", "partitionkey"] {
                attributes.0.remove(ours);
            }
            attributes.0
        },
        body,
    };
    Ok((log, event))
}

/// Attributes not yet read.
#[derive(Default)]
struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn required(&mut self, name: &str, header: &'static str) -> Result<String, WireError> {
        self.0.remove(name).ok_or(WireError::Missing(header))
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
        header: &'static str,
    ) -> Result<T, WireError> {
        let text = self.required(name, header)?;
        text.parse().map_err(|error: T::Err| WireError::Malformed {
            name: header,
            reason: error.to_string(),
        })
    }

    fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
        header: &'static str,
    ) -> Result<Option<T>, WireError> {
        if self.0.contains_key(name) {
            self.parsed(name, header).map(Some)
        } else {
            Ok(None)
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some_and(|text| text == "true")
    }
}
