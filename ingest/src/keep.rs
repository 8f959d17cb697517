//! Keeping a delivery: nothing is answered before the log holds it.

use std::time::Instant;

use schema::{DeadLetter, Event, EventId};
use serde::Serialize;
use stream::{AppendError, Position};

use crate::{
    dead_letters::letter,
    delivery::Verified,
    dialect::{Unread, UnreadReason},
    door::Door,
    error::Rejection,
    metrics,
    normalize::Normalized,
};

/// Where all of a delivery is: the body of a `202`.
#[derive(Debug, Serialize)]
pub(crate) struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<KeptEvent>>,
    /// All of the delivery, where none of it is understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<KeptLetter>,
    /// The parts that are not understood, where others are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dead_letters: Vec<KeptLetter>,
}

#[derive(Debug, Serialize)]
struct KeptEvent {
    id: EventId,
    #[serde(flatten)]
    place: Place,
}

#[derive(Debug, Serialize)]
struct KeptLetter {
    id: EventId,
    reason: String,
    /// What a person needs to know, and what to do.
    detail: String,
    #[serde(flatten)]
    place: Place,
}

#[derive(Debug, Serialize)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Door {
    /// Appends all that a delivery comes to.
    ///
    /// If it fails, any part may be in the log all the same: sending it again is harmless where it has an id or a
    /// time, and never loses anything.
    pub(crate) async fn keep(
        &self,
        delivery: &Verified<'_>,
        normalized: Normalized,
    ) -> Result<Kept, Rejection> {
        if !self
            .breaker
            .lets_pass(Instant::now(), || self.appender.health().is_ok())
        {
            return Err(Rejection::LogUnavailable);
        }
        let appended = self.append_or_set_aside(delivery, normalized);
        let detail = match tokio::time::timeout(self.config.append_deadline, appended).await {
            Ok(Ok(kept)) => {
                self.breaker.close();
                return Ok(kept);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing was heard within {:?}", self.config.append_deadline),
        };
        if self.breaker.open(Instant::now()) {
            tracing::error!(
                detail,
                "the event log is unavailable, deliveries are refused: {detail}"
            );
        }
        Err(Rejection::LogUnavailable)
    }

    /// Appends it; what the log can never take becomes a dead letter as a whole.
    async fn append_or_set_aside(
        &self,
        delivery: &Verified<'_>,
        normalized: Normalized,
    ) -> Result<Kept, AppendError> {
        let unread = match self.append(&normalized).await {
            Err(AppendError::TooLarge { .. }) => Unread::whole(
                UnreadReason::TooLargeForLog,
                "an event is longer than any record of the log may be",
            ),
            Err(AppendError::Unwritable(_)) => {
                Unread::whole(UnreadReason::Unwritable, "an event has no wire form")
            }
            settled @ (Ok(_) | Err(AppendError::Unavailable(_))) => return settled,
        };
        let whole = Normalized {
            dialect: None,
            events: Vec::new(),
            random: Vec::new(),
            letters: vec![letter(delivery, unread)],
            n_bytes_unpacked: 0,
        };
        self.append(&whole).await
    }

    async fn append(&self, normalized: &Normalized) -> Result<Kept, AppendError> {
        let Normalized { events, letters, .. } = normalized;
        let positions = match events.as_slice() {
            [] => Vec::new(),
            [event] => vec![self.appender.append(event).await?],
            events => self.appender.append_all(events).await?,
        };
        let mut kept_letters = Vec::with_capacity(letters.len());
        for letter in letters {
            let position = self.appender.append_dead_letter(letter).await?;
            kept_letters.push(self.kept_letter(letter, position));
        }
        count(normalized);

        let place = |(event, position): (&Event, Position)| KeptEvent {
            id: event.id,
            place: self.place(position),
        };
        let kept_events: Vec<KeptEvent> = events.iter().zip(positions).map(place).collect();
        let is_whole = kept_events.is_empty() && kept_letters.len() == 1;
        Ok(Kept {
            events: Some(kept_events).filter(|_| !is_whole),
            dead_letter: if is_whole { kept_letters.pop() } else { None },
            dead_letters: kept_letters,
        })
    }

    fn kept_letter(&self, letter: &DeadLetter, position: Position) -> KeptLetter {
        KeptLetter {
            id: letter.id,
            reason: letter.reason.clone(),
            detail: letter.detail.clone(),
            place: self.place(position),
        }
    }

    fn place(&self, position: Position) -> Place {
        Place {
            topic: position.topic.name(&self.config.topic_prefix),
            partition: position.partition,
            offset: position.offset,
        }
    }
}

fn count(normalized: &Normalized) {
    let dialect: &'static str = normalized.dialect.map_or("none", Into::into);
    for event in &normalized.events {
        // The name of an event of ours is one of a few; making it static saves a copy of each.
        let name = event.body.name();
        let known = schema::Body::NAMES.iter().find(|known| **known == name);
        let name = known.copied().unwrap_or("other");
        ::metrics::counter!(metrics::EVENTS, "dialect" => dialect, "event" => name).increment(1);
        if event.replayable {
            ::metrics::counter!(metrics::REPLAYABLE).increment(1);
        }
    }
    for letter in &normalized.letters {
        ::metrics::counter!(metrics::DEAD_LETTERS, "reason" => letter.reason.clone()).increment(1);
    }
}
