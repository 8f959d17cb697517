//! From statements to events: what is ours is added here, and never taken from a sender.

use schema::{Body, Event, EventId, Identity, Origin, RawJson, Subject, Timing, believe};

use crate::{
    delivery::{Trust, Verified},
    dialect::Statement,
    error::{Doubt, Rejection},
    trace,
};

/// Makes events of statements, in their order.
///
/// Refuses what could be replayed for ever if the integration wants that.
pub(crate) fn stamp(delivery: &Verified<'_>, statements: Vec<Statement>) -> Result<Vec<Event>, Rejection> {
    let integration = delivery.integration();
    let can_be_replayed = match delivery.trust() {
        Trust::Request => false,
        Trust::Body { message_id, timed } => message_id.is_none() && !timed,
    };
    let traceparent = trace::traceparent(delivery.headers());
    let mut events = Vec::with_capacity(statements.len());
    let mut n_parts_before = 0;
    for statement in statements {
        let n_parts = n_parts(&statement.body);
        let event = Stamped::of(delivery, statement, n_parts_before);
        if event.is_random && can_be_replayed && integration.refuse_replayable {
            return Err(Doubt::ReplayableRefused.into());
        }
        events.push(Event {
            id: event.id,
            subject: Subject::ProviderDevice(event.statement.device),
            at: event.timing.at,
            sequence: event.sequence,
            recorded_at: delivery.received(),
            claimed_at: event.timing.disbelieved,
            receipt_timed: event.is_receipt_timed,
            organization: integration.organization,
            integration: Some(integration.id),
            origin: Origin::Push,
            credential: Some(delivery.credential()),
            replayable: event.is_random && can_be_replayed,
            traceparent: Some(traceparent.clone()),
            source: format!("/integrations/{}", integration.id),
            extensions: std::collections::BTreeMap::new(),
            body: event.statement.body,
        });
        n_parts_before += n_parts;
    }
    Ok(events)
}

/// A statement with its identity and place in time.
struct Stamped {
    id: EventId,
    is_random: bool,
    is_receipt_timed: bool,
    timing: Timing,
    sequence: i64,
    statement: Statement,
}

impl Stamped {
    fn of(delivery: &Verified<'_>, statement: Statement, n_parts_before: i64) -> Self {
        let timing = believe(statement.claimed, statement.claimant, delivery.received());
        let is_believed = statement.claimed.is_some() && timing.disbelieved.is_none();
        let has_identity =
            statement.sender_id.is_some() || statement.claimed.is_some() || statement.self_timed;
        if !has_identity {
            return Self {
                id: EventId::random(),
                is_random: true,
                is_receipt_timed: false,
                timing,
                // Nobody will recognize a copy, so the place in this delivery may count.
                sequence: n_parts_before,
                statement,
            };
        }
        let identity = Identity {
            integration: delivery.integration().id,
            source: &statement.source,
            sender_id: statement.sender_id.as_deref(),
            subject: &statement.device.to_string(),
            name: statement.body.name(),
            time: statement.claimed,
            believed: is_believed,
            index: statement.position.into(),
            content: content_hash(&statement.body),
        };
        Self {
            id: EventId::derive(&identity),
            is_random: false,
            is_receipt_timed: !is_believed,
            timing,
            sequence: statement.position.into(),
            statement,
        }
    }
}

/// How many order keys an event takes up.
fn n_parts(body: &Body) -> i64 {
    let n = if let Body::ReadingReceived(body) = body {
        body.readings.len()
    } else if let Body::LogReceived(body) = body {
        body.entries.len()
    } else {
        1
    };
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Hashes all that an event says, times of its parts included: one id never means two contents.
fn content_hash(body: &Body) -> [u8; 32] {
    let hash = |data: Vec<u8>| RawJson::from_slice(&data).map(|data| data.content_hash());
    // A body of ours is always written as JSON. If one were not, appending it fails, whatever its id.
    body.encode().and_then(hash).unwrap_or_default()
}
