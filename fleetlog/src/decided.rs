//! Events that say what people decided here.

use std::collections::BTreeMap;

use schema::{Body, Event, EventId, IntegrationId, Micros, OrganizationId, Origin, Subject};

/// Whose a decision is, and whom it concerns.
pub(crate) struct Concern {
    pub(crate) organization: OrganizationId,
    pub(crate) integration: Option<IntegrationId>,
    pub(crate) subject: Subject,
}

/// An event that says what somebody decided at this time.
pub(crate) fn event(concern: Concern, body: Body, at: Micros) -> Event {
    Event {
        id: EventId::random(),
        subject: concern.subject,
        at,
        sequence: 0,
        recorded_at: at,
        claimed_at: None,
        receipt_timed: false,
        organization: concern.organization,
        integration: concern.integration,
        origin: Origin::User,
        credential: None,
        replayable: false,
        traceparent: None,
        source: format!("/organizations/{}", concern.organization),
        extensions: BTreeMap::new(),
        body,
    }
}
