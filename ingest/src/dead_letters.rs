//! What is authentic but not understood, kept raw.

use actix_web::http::header::HeaderMap;
use control::IntegrationEntry;
use schema::{DeadLetter, EventId};

use crate::{authenticate::carrier, delivery::Verified, dialect::Unread};

/// Headers that another attempt needs, or that tell a person who sent it; besides these, all of the envelope.
const KEPT: [&str; 8] = [
    "content-type",
    "content-encoding",
    "content-length",
    "traceparent",
    "tracestate",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
];

/// The letter for a delivery, or for a part of it.
pub(crate) fn letter(delivery: &Verified<'_>, unread: Unread) -> DeadLetter {
    let integration = delivery.integration();
    let mut headers = kept_headers(delivery.headers(), integration);
    let detail = unread.told();
    let index = unread.part.as_ref().map(|part| part.index);
    let body = match unread.part {
        None => delivery.body().to_vec(),
        Some(part) => {
            // A part is a structured CloudEvent, which needs nothing beside it.
            headers.retain(|(name, _)| !name.starts_with("content-"));
            headers.push((
                "content-type".to_owned(),
                "application/cloudevents+json".to_owned(),
            ));
            part.text.into_bytes()
        }
    };
    let reason: &'static str = unread.reason.into();
    DeadLetter {
        id: EventId::random(),
        organization: integration.organization,
        integration: integration.id,
        credential: Some(delivery.credential()),
        received_at: delivery.received(),
        reason: reason.to_owned(),
        detail,
        part: index,
        headers,
        body,
    }
}

/// The allow-list, and never a header that any credential of the integration travels in.
fn kept_headers(headers: &HeaderMap, integration: &IntegrationEntry) -> Vec<(String, String)> {
    let carries_proof = |name: &str| {
        let credentials = integration.credentials.iter();
        credentials
            .map(|credential| carrier(&credential.scheme))
            .any(|carrier| carrier.eq_ignore_ascii_case(name))
    };
    headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            (KEPT.contains(&name) || name.starts_with("ce-")) && !carries_proof(name)
        })
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        })
        .collect()
}
