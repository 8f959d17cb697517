//! From statements to events: what is ours is added here, and never taken from a sender.

use std::collections::BTreeMap;

use schema::{
    Body, Event, EventId, Identity, Origin, RawJson, Reading, ReadingReceived, Subject, Timing, believe,
};
use sha2::{Digest, Sha256};

use crate::{
    delivery::{Trust, Verified},
    dialect::Statement,
    error::{Doubt, Rejection},
    trace,
};

/// Makes events of statements, in their order, and says which of them, by their places, have a random id.
///
/// Refuses what could be replayed for ever if the integration wants that.
pub(crate) fn stamp(
    delivery: &Verified<'_>,
    statements: Vec<Statement>,
) -> Result<(Vec<Event>, Vec<usize>), Rejection> {
    let integration = delivery.integration();
    let can_be_replayed = match delivery.trust() {
        Trust::Request => false,
        Trust::Body { message_id, timed } => message_id.is_none() && !timed,
    };
    let traceparent = trace::traceparent(delivery.headers());
    let mut events = Vec::with_capacity(statements.len());
    let mut random = Vec::new();
    let mut n_parts_before = 0;
    for statement in statements {
        let n_parts = n_parts(&statement.body);
        let event = Stamped::of(delivery, statement, n_parts_before);
        if event.is_random && can_be_replayed && integration.refuse_replayable {
            return Err(Doubt::ReplayableRefused.into());
        }
        if event.is_random {
            random.push(events.len());
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
            extensions: BTreeMap::new(),
            body: event.statement.body,
        });
        n_parts_before += n_parts;
    }
    Ok((events, random))
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
    if let Body::ReadingReceived(reading) = body {
        return reading_hash(reading);
    }
    let hash = |data: Vec<u8>| RawJson::from_slice(&data).map(|data| data.content_hash());
    // A body of ours is always written as JSON. If one were not, appending it fails, whatever its id.
    body.encode().and_then(hash).unwrap_or_default()
}

/// The same for readings, which are the bulk: only what is JSON is brought to canonical form.
fn reading_hash(reading: &ReadingReceived) -> [u8; 32] {
    // A field that is added has to be part of it.
    let ReadingReceived {
        path,
        content_type,
        device_name,
        readings,
        extensions,
        extra,
    } = reading;
    let mut parts = Parts(Sha256::new());
    parts.add(path.as_bytes());
    parts.add_optional(content_type.as_deref().map(str::as_bytes));
    parts.add_optional(device_name.as_deref().map(str::as_bytes));
    parts.add_count(readings.len());
    for Reading {
        at,
        claimed_at,
        data,
        data_base64,
    } in readings
    {
        for instant in [at, claimed_at] {
            let micros = instant.map(|instant| instant.as_micros().to_be_bytes());
            parts.add_optional(micros.as_ref().map(<[u8; 8]>::as_slice));
        }
        parts.add_optional(
            data.as_ref()
                .map(RawJson::canonical)
                .as_deref()
                .map(str::as_bytes),
        );
        parts.add_optional(data_base64.as_ref().map(|bytes| bytes.0.as_slice()));
    }
    parts.add_count(extensions.0.len());
    for (name, value) in &extensions.0 {
        parts.add(name.as_bytes());
        parts.add(value.canonical().as_bytes());
    }
    parts.add_count(extra.len());
    for (name, value) in extra {
        parts.add(name.as_bytes());
        parts.add(value.to_string().as_bytes());
    }
    parts.0.finalize().into()
}

/// A hash of parts: lengths go first, so that no two lists of parts read the same.
struct Parts(Sha256);

impl Parts {
    fn add_count(&mut self, n: usize) {
        self.0.update((n as u64).to_be_bytes());
    }

    fn add(&mut self, bytes: &[u8]) {
        self.add_count(bytes.len());
        self.0.update(bytes);
    }

    fn add_optional(&mut self, bytes: Option<&[u8]>) {
        self.add_count(usize::from(bytes.is_some()));
        self.add(bytes.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use schema::{Base64, Extra, Fields};

    use super::*;

    fn reading() -> ReadingReceived {
        let data = RawJson::parse(r#"{"b":1,"a":2.50}"#).unwrap();
        let reading = Reading {
            at: None,
            claimed_at: None,
            data: Some(data),
            data_base64: None,
        };
        ReadingReceived {
            path: "/x".to_owned(),
            content_type: None,
            device_name: None,
            readings: vec![reading],
            extensions: Fields::default(),
            extra: Extra::new(),
        }
    }

    #[test]
    fn spacing_and_order_are_no_content() {
        let mut other = reading();
        other.readings[0].data = Some(RawJson::parse(r#" { "a" : 2.50, "b" : 1 } "#).unwrap());
        assert_eq!(reading_hash(&reading()), reading_hash(&other));
    }

    #[test]
    fn everything_that_is_said_is_content() {
        let now: schema::Micros = "2026-06-01T00:00:00Z".parse().unwrap();
        let changes: [fn(&mut ReadingReceived, schema::Micros); 10] = [
            |reading, _| reading.path = "/y".to_owned(),
            |reading, _| reading.content_type = Some(String::new()),
            |reading, _| reading.device_name = Some(String::new()),
            |reading, now| reading.readings[0].at = Some(now),
            |reading, now| reading.readings[0].claimed_at = Some(now),
            |reading, _| reading.readings[0].data = Some(RawJson::parse("2.5").unwrap()),
            |reading, _| reading.readings[0].data_base64 = Some(Base64(Vec::new())),
            |reading, _| reading.readings.push(reading.readings[0].clone()),
            |reading, _| {
                let extensions = [("a".to_owned(), RawJson::parse("1").unwrap())];
                reading.extensions.0.extend(extensions);
            },
            |reading, _| reading.extra.extend([("a".to_owned(), 1.into())]),
        ];
        let mut hashes = std::collections::BTreeSet::from([reading_hash(&reading())]);
        for change in changes {
            let mut other = reading();
            change(&mut other, now);
            assert!(hashes.insert(reading_hash(&other)), "{other:?}");
        }
    }
}
