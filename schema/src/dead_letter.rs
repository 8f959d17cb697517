//! Authentic deliveries that could not be understood: kept raw, so that they can be tried again after a fix.

use crate::{CredentialId, EventId, IntegrationId, LogId, Micros, OrganizationId, Record, attribute};

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
        let mut headers: Vec<(String, String)> = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_source", format!("/integrations/{}", self.integration)),
            ("ce_type", "io.fleetlog.dead-letter.v1".to_owned()),
            ("ce_time", self.received_at.to_string()),
            ("ce_recordedtime", self.received_at.to_string()),
            ("ce_organization", self.organization.to_string()),
            ("ce_integration", self.integration.to_string()),
            ("ce_partitionkey", self.integration.to_string()),
            ("ce_reason", attribute::text(&self.reason)),
            ("ce_detail", attribute::text(&self.detail)),
            ("ce_requestheaders", attribute::json(&request_headers.to_string())),
            ("ce_logid", log.to_string()),
            ("content-type", attribute::text(content_type)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if let Some(credential) = self.credential {
            headers.push(("ce_credential".to_owned(), credential.to_string()));
        }
        Record {
            key: self.integration.to_string(),
            headers,
            value: self.body.clone(),
        }
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
