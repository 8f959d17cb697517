//! One list for both kinds: deliveries from the topic of dead letters, events from what the projector has set aside.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use projector::dead_letters::SetAside;
use schema::{DeadLetter, EventId, IntegrationId, LetterAttempt, Micros, OrganizationId, Topic};
use serde_json::{Value, json};
use sqlx::PgPool;
use stream::{LogConfig, LogIdentity, Position, Range, RawBatch, Scan, ScanOptions};

use crate::failure::Failure;

/// Most letters that one command looks at.
const MOST: usize = 1_000_000;

/// Memory for records that wait to be read, in bytes.
const SCAN: usize = 16 * 1024 * 1024;

/// What a letter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A delivery of which no event could be made.
    Delivery,
    /// An event that could not be folded.
    Event,
}

/// What is known of a letter without what it contains.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) kind: Kind,
    /// Of a delivery a UUID, of an event its position in the log.
    pub(super) id: String,
    pub(super) position: Position,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) organization: Option<OrganizationId>,
    pub(super) integration: Option<IntegrationId>,
    /// When the delivery was received; of what is no event of ours, when it was set aside.
    pub(super) received_at: Micros,
    pub(super) attempts: u32,
    pub(super) failed_at: Micros,
    /// Since when it is understood, and who saw to that.
    pub(super) redriven: Option<(Micros, String)>,
    /// What else is known of an event.
    pub(super) event: Option<Box<SetAside>>,
}

/// The topic of dead letters as it is now.
pub(super) struct Letters {
    config: LogConfig,
    log: LogIdentity,
    ranges: Vec<Range>,
}

impl Letters {
    /// Looks where the topic begins and ends.
    pub(super) async fn open(config: LogConfig) -> Result<Self, Failure> {
        let log = stream::topics::identify(&config).await?;
        let topics = [Topic::DeadLetters];
        let from = stream::beginnings(&config, &log, &topics).await?;
        let to = stream::ends(&config, &log, &topics).await?;
        let ranges = Range::between(&from, &to).into_iter();
        Ok(Self {
            ranges: ranges.filter(|range| range.n_offsets() > 0).collect(),
            config,
            log,
        })
    }

    /// Reads all of it once, a batch at a time.
    pub(super) async fn read(
        &self,
        mut take: impl AsyncFnMut(RawBatch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.ranges.is_empty() {
            return Ok(());
        }
        let options = ScanOptions {
            memory: SCAN,
            max_records: 500,
            ..ScanOptions::default()
        };
        let progress = ProgressBar::new(self.ranges.iter().map(Range::n_offsets).sum());
        let mut scan = Scan::open(&self.config, &self.log, &self.ranges, options)?;
        while let Some(batch) = scan.next_raw().await? {
            let n_records = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            take(batch).await?;
            progress.inc(n_records);
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// All deliveries, oldest first, and what came of trying them again.
    pub(super) async fn deliveries(&self) -> Result<Vec<Letter>, Failure> {
        let mut gathered = Gathered::default();
        self.read(async |batch| gathered.take(&batch)).await?;
        let mut letters: Vec<Letter> = gathered.letters.into_values().collect();
        letters.sort_by(|one, other| (one.received_at, &one.id).cmp(&(other.received_at, &other.id)));
        Ok(letters)
    }
}

/// What a record of the topic is.
pub(super) enum Held {
    Letter(Box<DeadLetter>),
    Attempt(LetterAttempt),
    /// Somebody else's, or of a later version.
    Other,
}

/// Reads a record of the topic.
pub(super) fn held(raw: &stream::Raw<'_>) -> Held {
    let value = raw.value().unwrap_or_default();
    if let Ok(letter) = DeadLetter::decode(raw.headers(), value) {
        return Held::Letter(Box::new(letter));
    }
    LetterAttempt::decode(raw.headers(), value).map_or(Held::Other, Held::Attempt)
}

/// Letters, and attempts at them, in whatever order.
#[derive(Default)]
struct Gathered {
    letters: BTreeMap<EventId, Letter>,
}

impl Gathered {
    fn take(&mut self, batch: &RawBatch) -> Result<(), Failure> {
        for raw in batch.iter() {
            match held(&raw) {
                Held::Letter(letter) => {
                    // A letter whose append was answered late may be there twice.
                    self.letters
                        .entry(letter.id)
                        .or_insert_with(|| Letter::of_delivery(&letter, raw.position()));
                }
                // Attempts follow their letter in its partition; of one that has expired nothing is left to be said.
                Held::Attempt(attempt) => {
                    if let Some(letter) = self.letters.get_mut(&attempt.outcome.letter) {
                        letter.attempted(attempt);
                    }
                }
                Held::Other => {}
            }
        }
        if self.letters.len() > MOST {
            return Err(Failure::refused(format!(
                "there are more than {MOST} dead letters: that is no matter of single ones. Find out what sends them \
                 with `fleetlog events tail --topic dead-letters`"
            )));
        }
        Ok(())
    }
}

/// All events that are set aside in the generation that readers see, oldest first.
pub(super) async fn events(pool: &PgPool) -> Result<Vec<Letter>, Failure> {
    let all = projector::dead_letters::list(pool, true).await?;
    Ok(all.into_iter().map(Letter::of_event).collect())
}

impl Letter {
    fn of_delivery(letter: &DeadLetter, position: Position) -> Self {
        Self {
            kind: Kind::Delivery,
            id: letter.id.to_string(),
            position,
            reason: letter.reason.clone(),
            detail: letter.detail.clone(),
            organization: Some(letter.organization),
            integration: Some(letter.integration),
            received_at: letter.received_at,
            attempts: 1,
            failed_at: letter.received_at,
            redriven: None,
            event: None,
        }
    }

    fn of_event(event: SetAside) -> Self {
        let redriven_by = event.redriven_by.clone().unwrap_or_default();
        Self {
            kind: Kind::Event,
            id: event.position.to_string(),
            position: event.position,
            reason: event.reason.clone(),
            detail: event.detail.clone(),
            organization: event.organization,
            integration: event.integration,
            received_at: event.recorded_at.unwrap_or(event.set_aside_at),
            attempts: u32::try_from(event.attempts).unwrap_or(0),
            failed_at: event.failed_at,
            redriven: event.redriven_at.map(|at| (at, redriven_by)),
            event: Some(Box::new(event)),
        }
    }

    /// It was tried again. What was understood once stays understood.
    fn attempted(&mut self, attempt: LetterAttempt) {
        self.attempts = self.attempts.saturating_add(1);
        let outcome = attempt.outcome;
        match outcome.reason {
            None => {
                self.redriven.get_or_insert((attempt.at, outcome.author));
            }
            Some(reason) => {
                self.reason = reason;
                self.detail = outcome.detail.unwrap_or_default();
                self.failed_at = attempt.at;
            }
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        let mut line = json!({
            "id": self.id,
            "kind": match self.kind {
                Kind::Delivery => "delivery",
                Kind::Event => "event",
            },
            "reason": self.reason,
            "detail": self.detail,
            "organization": self.organization,
            "integration": self.integration,
            "received_at": self.received_at,
            "attempts": self.attempts,
            "failed_at": self.failed_at,
            "redriven_at": self.redriven.as_ref().map(|(at, _)| at),
            "redriven_by": self.redriven.as_ref().map(|(_, author)| author),
            "topic": self.position.topic.suffix(),
            "partition": self.position.partition,
            "offset": self.position.offset,
        });
        if let Some(event) = &self.event {
            line["event_id"] = json!(event.event_id);
            line["event"] = json!(event.event_name);
            line["subject"] = json!(event.subject);
            line["sqlstate"] = json!(event.sqlstate);
            line["generation"] = json!(event.generation);
            line["set_aside_at"] = json!(event.set_aside_at);
        }
        line
    }

    #[cfg(test)]
    pub(super) fn example() -> Self {
        let at: Micros = "2026-01-02T00:00:00Z".parse().unwrap();
        Self {
            kind: Kind::Delivery,
            id: "a".to_owned(),
            position: Position {
                topic: Topic::DeadLetters,
                partition: 0,
                offset: 0,
            },
            reason: "unknown_type".to_owned(),
            detail: String::new(),
            organization: None,
            integration: None,
            received_at: at,
            attempts: 1,
            failed_at: at,
            redriven: None,
            event: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::LetterOutcome;
    use uuid::Uuid;

    use super::*;

    fn attempt(at: &str, reason: Option<&str>) -> LetterAttempt {
        LetterAttempt {
            id: EventId::random(),
            organization: OrganizationId(Uuid::nil()),
            integration: IntegrationId(Uuid::nil()),
            at: at.parse().unwrap(),
            outcome: LetterOutcome {
                letter: EventId(Uuid::nil()),
                events: Vec::new(),
                reason: reason.map(str::to_owned),
                detail: None,
                author: "ann".to_owned(),
                extra: BTreeMap::new(),
            },
        }
    }

    #[test]
    fn a_failure_is_counted_and_a_success_stays() {
        let mut letter = Letter::example();
        letter.attempted(attempt("2026-01-03T00:00:00Z", Some("no_device")));
        assert_eq!((letter.attempts, letter.reason.as_str()), (2, "no_device"));
        assert_eq!(
            letter.failed_at,
            "2026-01-03T00:00:00Z".parse::<Micros>().unwrap()
        );
        assert!(letter.redriven.is_none());
        letter.attempted(attempt("2026-01-04T00:00:00Z", None));
        letter.attempted(attempt("2026-01-05T00:00:00Z", Some("no_device")));
        let (at, author) = letter.redriven.unwrap();
        assert_eq!(at, "2026-01-04T00:00:00Z".parse::<Micros>().unwrap());
        assert_eq!(author, "ann");
        assert_eq!(letter.attempts, 4);
    }
}
