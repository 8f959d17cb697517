//! The answer to what was kept.

use schema::EventId;
use serde::Serialize;

use crate::normalize::Normalized;

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

/// Where a record is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Place {
    /// Every in-sync replica of the log holds it.
    InLog {
        topic: String,
        partition: i32,
        offset: i64,
    },
    /// It is on disk here, and will be appended to the topic.
    Spooled { topic: String, spooled: bool },
}

impl Kept {
    /// Whether any of it waits for the log.
    pub(crate) fn is_spooled(&self) -> bool {
        let events = self.events.iter().flatten().map(|event| &event.place);
        let letters = self.dead_letter.iter().chain(&self.dead_letters);
        let mut places = events.chain(letters.map(|letter| &letter.place));
        places.any(|place| matches!(place, Place::Spooled { .. }))
    }

    /// What a delivery came to, with the places of its events and then of its letters.
    pub(crate) fn new(normalized: &Normalized, places: Vec<Place>) -> Self {
        let mut places = places.into_iter();
        let events = normalized.events.iter().zip(places.by_ref());
        let events: Vec<_> = events
            .map(|(event, place)| KeptEvent { id: event.id, place })
            .collect();
        let letters = normalized.letters.iter().zip(places);
        let mut letters: Vec<_> = letters
            .map(|(letter, place)| KeptLetter {
                id: letter.id,
                reason: letter.reason.clone(),
                detail: letter.detail.clone(),
                place,
            })
            .collect();
        let is_whole = events.is_empty() && letters.len() == 1;
        Self {
            events: Some(events).filter(|_| !is_whole),
            dead_letter: if is_whole { letters.pop() } else { None },
            dead_letters: letters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Sent;

    #[test]
    fn a_delivery_is_spooled_if_any_of_it_is() {
        let event = Sent::from_golioth("/s", "{}").normalized().unwrap();
        let letter = Sent::with_secret("no dialect has this").normalized().unwrap();
        let topic = || "t".to_owned();
        for normalized in [event, letter] {
            let in_log = Place::InLog {
                topic: topic(),
                partition: 0,
                offset: 7,
            };
            let on_disk = Place::Spooled {
                topic: topic(),
                spooled: true,
            };
            assert!(!Kept::new(&normalized, vec![in_log]).is_spooled());
            assert!(Kept::new(&normalized, vec![on_disk]).is_spooled());
        }
    }
}
