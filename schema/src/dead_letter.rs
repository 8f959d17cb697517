//! Authentic deliveries that could not be understood: kept raw, so that they can be tried again after a fix.

mod attempt;

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use crate::{
    CredentialId, EventId, IntegrationId, LogId, Micros, OrganizationId, Record, WireError, attribute,
};
pub use attempt::{LetterAttempt, LetterOutcome};

/// The type of a dead letter's record.
const TYPE: &str = "io.fleetlog.dead-letter.v1";

/// A delivery that was authentic and durable, but made no event.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it for people; random.
    pub id: EventId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Who sent it; also the Kafka key.
    pub integration: IntegrationId,
    /// The credential that verified it.
    pub credential: Option<CredentialId>,
    /// When it was received: what a later attempt uses as receipt.
    pub received_at: Micros,
    /// A stable, low-cardinality name: metric label, log field, column.
    pub reason: String,
    /// What a person needs to know, without any content of the delivery.
    pub detail: String,
    /// Which event of a batch it is, from 0, where others of the same delivery were understood.
    pub part: Option<u32>,
    /// Request headers on the allow-list; never a credential.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl DeadLetter {
    /// Writes it as a record of the log `log`: a `CloudEvent` of type `io.fleetlog.dead-letter.v1` whose value is the
    /// raw body.
    pub fn encode(&self, log: &LogId) -> Record {
        let request_headers = serde_json::Value::Object(
            self.headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into()))
                .collect(),
        );
        let content_type = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            // The media type of a CloudEvent would make this record one in structured mode: the sender's own.
            .filter(|(_, value)| {
                !value
                    .trim_start()
                    .to_ascii_lowercase()
                    .starts_with("application/cloudevents")
            })
            .map_or("application/octet-stream", |(_, value)| value);
        let mut headers: Vec<_> = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_source", format!("/integrations/{}", self.integration)),
            ("ce_type", TYPE.to_owned()),
            ("ce_time", self.received_at.to_string()),
            ("ce_recordedtime", self.received_at.to_string()),
            ("ce_organization", self.organization.to_string()),
            ("ce_integration", self.integration.to_string()),
            ("ce_partitionkey", self.integration.to_string()),
            ("ce_reason", attribute::text(self.reason.clone())),
            ("ce_detail", attribute::text(self.detail.clone())),
            ("ce_requestheaders", attribute::json(&request_headers.to_string())),
            ("ce_logid", log.to_string()),
            ("content-type", attribute::text(content_type.to_owned())),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
        if let Some(credential) = self.credential {
            headers.push(("ce_credential".into(), credential.to_string()));
        }
        if let Some(part) = self.part {
            headers.push(("ce_part".into(), part.to_string()));
        }
        Record {
            key: self.integration.to_string(),
            headers,
            value: self.body.clone(),
        }
    }

    /// Reads a record's headers and value.
    pub fn decode<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
        value: &[u8],
    ) -> Result<Self, WireError> {
        let headers = Headers::read(headers);
        headers.expect_type(TYPE)?;
        let request: BTreeMap<String, String> = serde_json::from_str(headers.text("ce_requestheaders")?)
            .map_err(|error| WireError::Malformed {
                name: "ce_requestheaders",
                reason: error.to_string(),
            })?;
        Ok(Self {
            id: headers.parsed("ce_id")?,
            organization: headers.parsed("ce_organization")?,
            integration: headers.parsed("ce_integration")?,
            credential: headers.optional("ce_credential")?,
            received_at: headers.parsed("ce_recordedtime")?,
            reason: headers.text("ce_reason")?.to_owned(),
            detail: headers.text("ce_detail")?.to_owned(),
            part: headers.optional("ce_part")?,
            headers: request.into_iter().collect(),
            body: value.to_vec(),
        })
    }
}

/// Headers of a record that is no event: of one that is repeated the last counts.
struct Headers<'a>(BTreeMap<&'a str, &'a [u8]>);

impl<'a> Headers<'a> {
    fn read(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let said = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Self(said.collect())
    }

    fn expect_type(&self, expected: &str) -> Result<(), WireError> {
        match self.text("ce_type")? {
            found if found == expected => Ok(()),
            found => Err(WireError::ForeignType(found.to_owned())),
        }
    }

    fn text(&self, name: &'static str) -> Result<&'a str, WireError> {
        let value = self.0.get(name).ok_or(WireError::Missing(name))?;
        std::str::from_utf8(value).map_err(|error| malformed(name, error))
    }

    fn parsed<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<T, WireError> {
        self.text(name)?.parse().map_err(|error| malformed(name, error))
    }

    fn optional<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<Option<T>, WireError> {
        if self.0.contains_key(name) {
            self.parsed(name).map(Some)
        } else {
            Ok(None)
        }
    }
}

fn malformed(name: &'static str, error: impl Display) -> WireError {
    WireError::Malformed {
        name,
        reason: error.to_string(),
    }
}

impl std::fmt::Debug for DeadLetter {
    /// Without body and headers: they are somebody's data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("integration", &self.integration)
            .field("reason", &self.reason)
            .field("n_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: EventId(Uuid::from_u128(1)),
            organization: OrganizationId(Uuid::from_u128(2)),
            integration: IntegrationId(Uuid::from_u128(3)),
            credential: Some(CredentialId(Uuid::from_u128(4))),
            received_at: "2026-01-02T03:04:05.678901Z".parse().expect("an instant"),
            reason: "unrecognized".to_owned(),
            detail: "of no dialect".to_owned(),
            part: Some(7),
            headers: vec![
                ("ce-source".to_owned(), "d\u{85}é".to_owned()),
                (
                    "content-type".to_owned(),
                    "application/cloudevents+json".to_owned(),
                ),
            ],
            body: vec![0, 159, 146, 150],
        }
    }

    fn headers(record: &Record) -> Vec<(&str, Option<&[u8]>)> {
        let headers = record.headers.iter();
        headers
            .map(|(name, value)| (&**name, Some(value.as_bytes())))
            .collect()
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        for letter in [
            letter(),
            DeadLetter {
                credential: None,
                part: None,
                headers: Vec::new(),
                body: Vec::new(),
                ..letter()
            },
        ] {
            let record = letter.encode(&LogId::random());
            let read = DeadLetter::decode(headers(&record), &record.value);
            assert_eq!(read.expect("a letter"), letter);
        }
    }

    #[test]
    fn what_is_no_letter_is_none() {
        let record = letter().encode(&LogId::random());
        for missing in [
            "ce_type",
            "ce_id",
            "ce_reason",
            "ce_requestheaders",
            "ce_recordedtime",
        ] {
            let mut headers = headers(&record);
            headers.retain(|(name, _)| *name != missing);
            let read = DeadLetter::decode(headers, &record.value);
            assert!(matches!(read, Err(WireError::Missing(name)) if name == missing));
        }
        let mut headers = headers(&record);
        headers.push(("ce_type", Some(b"io.fleetlog.device.edited.v1")));
        let read = DeadLetter::decode(headers, &record.value);
        assert!(matches!(read, Err(WireError::ForeignType(_))));
    }
}
