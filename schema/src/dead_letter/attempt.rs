//! That a dead letter was tried again: written behind it, so that it is known as long as the letter is kept.

use serde::{Deserialize, Serialize};

use super::Headers;
use crate::{EventId, Extra, IntegrationId, LogId, Micros, OrganizationId, Record, WireError, attribute};

/// The type of its record.
const TYPE: &str = "io.fleetlog.dead-letter.attempted.v1";

/// An attempt to make events of a dead letter after all. It follows the letter in the same partition of the same topic,
/// and is kept as long.
#[derive(Clone, Debug, PartialEq)]
pub struct LetterAttempt {
    /// Names it; random.
    pub id: EventId,
    /// Whose the letter is.
    pub organization: OrganizationId,
    /// Who sent it; also the Kafka key.
    pub integration: IntegrationId,
    /// When it was tried.
    pub at: Micros,
    /// What came of it.
    pub outcome: LetterOutcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LetterOutcome {
    /// The letter.
    pub letter: EventId,
    /// The events that were appended, all that the letter says; none if it failed.
    #[serde(default)]
    pub events: Vec<EventId>,
    /// Why it failed: stable and few. Missing if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who tried it.
    pub author: String,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl LetterAttempt {
    /// Writes it as a record of the log `log`.
    pub fn encode(&self, log: &LogId) -> Result<Record, WireError> {
        let value = serde_json::to_vec(&self.outcome).map_err(WireError::Unwritable)?;
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_source", format!("/integrations/{}", self.integration)),
            ("ce_type", TYPE.to_owned()),
            ("ce_subject", self.outcome.letter.to_string()),
            ("ce_time", self.at.to_string()),
            ("ce_recordedtime", self.at.to_string()),
            ("ce_organization", self.organization.to_string()),
            ("ce_integration", self.integration.to_string()),
            ("ce_partitionkey", self.integration.to_string()),
            ("ce_logid", log.to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        let written = |(name, value): (&'static str, String)| (name.into(), attribute::text(value));
        Ok(Record {
            key: self.integration.to_string(),
            headers: headers.into_iter().map(written).collect(),
            value,
        })
    }

    /// Reads a record's headers and value.
    pub fn decode<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
        value: &[u8],
    ) -> Result<Self, WireError> {
        let headers = Headers::read(headers);
        headers.expect_type(TYPE)?;
        let outcome = serde_json::from_slice(value).map_err(|source| WireError::Data {
            name: "dead-letter.attempted".to_owned(),
            source,
        })?;
        Ok(Self {
            id: headers.parsed("ce_id")?,
            organization: headers.parsed("ce_organization")?,
            integration: headers.parsed("ce_integration")?,
            at: headers.parsed("ce_recordedtime")?,
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_attempt_is_read_as_it_was_written() {
        for (events, reason) in [
            (vec![EventId(Uuid::from_u128(5))], None),
            (Vec::new(), Some("no_device")),
        ] {
            let attempt = LetterAttempt {
                id: EventId(Uuid::from_u128(1)),
                organization: OrganizationId(Uuid::from_u128(2)),
                integration: IntegrationId(Uuid::from_u128(3)),
                at: "2026-01-02T03:04:05Z".parse().expect("an instant"),
                outcome: LetterOutcome {
                    letter: EventId(Uuid::from_u128(4)),
                    events,
                    reason: reason.map(str::to_owned),
                    detail: reason.map(|_| "in words".to_owned()),
                    author: "ann".to_owned(),
                    extra: Extra::new(),
                },
            };
            let record = attempt.encode(&LogId::random()).expect("it can be written");
            let headers = record.headers.iter();
            let headers = headers.map(|(name, value)| (&**name, Some(value.as_bytes())));
            assert_eq!(
                LetterAttempt::decode(headers, &record.value).expect("an attempt"),
                attempt
            );
        }
    }
}
