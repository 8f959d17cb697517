//! Dead letters read again: what this version makes of them, under the integration as it is set up now, as of their
//! original receipt.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use control::{IntegrationEntry, Scheme};
use schema::{CredentialId, DeadLetter, Event, EventId};
use uuid::Uuid;

use crate::{
    delivery::Verified,
    normalize::{Normalized, normalize},
};

/// Why a letter is still not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StillDead {
    /// Stable, few: that of a dead letter, or of a refusal at the door.
    pub reason: String,
    /// What a person needs to know, without any content of the delivery.
    pub detail: String,
}

/// The events that a dead letter makes now: all that it says, or none.
///
/// Their ids are those that they would have had, had the delivery been understood at its receipt. Where that would have
/// been a random one, it follows from the letter's id, so that reading a letter twice makes the same events. `limit`: how
/// long an unpacked body may be, in bytes. Pure.
pub fn redrive(
    integration: &IntegrationEntry,
    letter: &DeadLetter,
    credential: (CredentialId, &Scheme),
    limit: usize,
) -> Result<Vec<Event>, StillDead> {
    let headers = headers(letter);
    let delivery = Verified::of_letter(integration, letter, credential, &headers);
    let normalized = normalize(&delivery, limit).map_err(|rejection| StillDead {
        reason: rejection.reason().to_owned(),
        detail: rejection.to_string(),
    })?;
    let Normalized {
        mut events,
        letters,
        random,
        ..
    } = normalized;
    if let Some(unread) = letters.into_iter().next() {
        return Err(StillDead {
            reason: unread.reason,
            detail: unread.detail,
        });
    }
    for place in random {
        if let Some(event) = events.get_mut(place) {
            event.id = of_letter(letter.id, place);
        }
    }
    Ok(events)
}

/// The id of what has neither an id nor a time.
fn of_letter(letter: EventId, place: usize) -> EventId {
    EventId(Uuid::new_v5(&letter.0, place.to_string().as_bytes()))
}

/// The headers that were kept. What could be none is left out.
fn headers(letter: &DeadLetter) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &letter.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use control::{Parameters, SchemeKind};
    use serde_json::json;

    use super::*;
    use crate::example::{LIMIT, Sent};

    fn scheme(kind: SchemeKind) -> Scheme {
        Scheme::new(kind, Parameters::default()).unwrap()
    }

    /// A letter as an earlier version would have written it of a delivery.
    fn letter_of(sent: &Sent) -> DeadLetter {
        let kept = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_proof =
                ["x-api-key", "x-golioth-signature", "x-fleetlog-signature"].contains(&name.as_str());
            (!is_proof).then(|| (name.to_string(), value.to_str().unwrap().to_owned()))
        };
        DeadLetter {
            id: EventId::random(),
            organization: sent.integration.organization,
            integration: sent.integration.id,
            credential: Some(sent.integration.credentials[0].id),
            received_at: sent.received,
            reason: "unknown_type".to_owned(),
            detail: "nobody knew it yet".to_owned(),
            part: None,
            headers: sent.headers.iter().filter_map(kept).collect(),
            body: sent.body.to_vec(),
        }
    }

    fn redriven(sent: &Sent, kind: SchemeKind) -> Result<Vec<Event>, StillDead> {
        let letter = letter_of(sent);
        let credential = (letter.credential.unwrap(), &scheme(kind));
        let mut events = redrive(&sent.integration, &letter, credential, LIMIT)?;
        // Which trace it belongs to is nobody's business but the trace's.
        for event in &mut events {
            event.traceparent = None;
        }
        Ok(events)
    }

    fn direct(sent: &Sent) -> Vec<Event> {
        let mut events = sent.normalized().unwrap().events;
        for event in &mut events {
            event.traceparent = None;
        }
        events
    }

    #[test]
    fn what_is_understood_now_makes_the_events_it_would_have_made_then() {
        let created = json!({"event": "device.created", "device": {"id": "d1", "name": "SN-1", "lastSeen": "2026-05-01T00:00:00Z"}, "timestamp": "2026-05-31T00:00:00Z"});
        let golioth = Sent::from_golioth("/sensor", r#"{"temp": 1}"#)
            .header("ce-id", "once")
            .received("2026-03-04T05:06:07.000008Z");
        assert_eq!(
            redriven(&golioth, SchemeKind::SharedSecret).unwrap(),
            direct(&golioth)
        );
        let signed = Sent::signed(created.to_string());
        assert_eq!(
            redriven(&signed, SchemeKind::HmacSha256).unwrap(),
            direct(&signed)
        );
        let timestamped = Sent::timestamped(created.to_string());
        assert_eq!(
            redriven(&timestamped, SchemeKind::TimestampedHmac).unwrap(),
            direct(&timestamped)
        );
    }

    #[test]
    fn what_has_neither_id_nor_time_has_the_same_id_each_time() {
        let sent = Sent::from_golioth("/sensor", r#"{"temp": 1}"#);
        let letter = letter_of(&sent);
        let credential = (letter.credential.unwrap(), &scheme(SchemeKind::SharedSecret));
        let ids = || {
            let events = redrive(&sent.integration, &letter, credential, LIMIT).unwrap();
            events.iter().map(|event| event.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(), ids());
        assert_eq!(ids().len(), 1);
    }

    #[test]
    fn an_event_of_a_batch_is_the_one_it_was_in_the_batch() {
        let event = |device: &str| {
            json!({"specversion": "1.0", "source": device, "type": "device.created",
                "data": {"event": "device.created", "id": device, "name": "SN"}})
        };
        let batch = json!([event("a"), event("b")]);
        let whole = Sent::with_secret(batch.to_string()).header("webhook-id", "m1");
        let expected = direct(&whole).pop().unwrap();

        let part = Sent::with_secret(event("b").to_string()).header("webhook-id", "m1");
        let letter = DeadLetter {
            part: Some(1),
            ..letter_of(&part)
        };
        let credential = (letter.credential.unwrap(), &scheme(SchemeKind::SharedSecret));
        let events = redrive(&part.integration, &letter, credential, LIMIT).unwrap();
        assert_eq!(events.last().map(|event| event.id), Some(expected.id));
    }

    #[test]
    fn what_is_still_not_understood_says_why() {
        let sent = Sent::from_golioth("/sensor", "{}").to(|integration| {
            integration.project = Some("another".to_owned());
        });
        assert_eq!(
            redriven(&sent, SchemeKind::SharedSecret).unwrap_err().reason,
            "other_project"
        );
        let nothing = Sent::with_secret("no dialect has this");
        let still = redriven(&nothing, SchemeKind::SharedSecret).unwrap_err();
        assert_eq!(
            (still.reason.as_str(), still.detail.is_empty()),
            ("unrecognized", false)
        );
    }
}
