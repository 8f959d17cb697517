//! Events as tests write them.

use std::collections::BTreeMap;

use schema::{Body, Event, EventId, Micros, OrganizationId, Origin, Subject};
use uuid::Uuid;

/// What a cloud pushed to the first organization, as soon as it was so: tests say what is otherwise.
#[must_use]
pub fn told(subject: Subject, at: Micros, body: Body) -> Event {
    Event {
        id: EventId::random(),
        at,
        sequence: 0,
        recorded_at: at,
        claimed_at: None,
        receipt_timed: false,
        organization: OrganizationId(Uuid::from_u128(1)),
        integration: subject.provider_device().map(|device| device.integration),
        origin: Origin::Push,
        credential: None,
        replayable: false,
        traceparent: None,
        source: "/test".to_owned(),
        extensions: BTreeMap::new(),
        body,
        subject,
    }
}

/// What an event of a name says.
#[must_use]
pub fn said(name: &str, data: &serde_json::Value) -> Body {
    Body::decode(name, data.to_string().as_bytes())
        .expect("a known name")
        .expect("valid data")
}
