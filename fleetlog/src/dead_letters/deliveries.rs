//! Deliveries read again: by the door's own reader, under their integrations as they are set up now.

use std::collections::HashMap;

use control::{ControlError, IntegrationEntry, Scheme};
use futures_util::future::try_join_all;
use schema::{CredentialId, DeadLetter, Event, EventId, Extra, IntegrationId, LetterAttempt, LetterOutcome};
use sqlx::PgPool;
use stream::{AppendError, Appender, MAX_RECORD_BYTES, RawBatch};

use super::{
    letters::{Held, Letter, Letters, held},
    report::{Outcome, Report},
};
use crate::{clock, config::KafkaArgs, decided, failure::Failure};

/// Letters whose events are appended together.
const AT_ONCE: usize = 100;

/// An integration, and how each of its credentials verifies, those that are over included.
struct Sender {
    entry: IntegrationEntry,
    schemes: HashMap<CredentialId, Scheme>,
}

/// Deliveries that are to be read again.
pub(super) struct Deliveries<'a> {
    topic: &'a Letters,
    pool: PgPool,
    /// None in a dry run.
    appender: Option<Appender>,
    author: &'a str,
    chosen: HashMap<EventId, Letter>,
    senders: HashMap<IntegrationId, Option<Sender>>,
}

/// What is read of some letters.
#[derive(Default)]
struct Reading {
    understood: Vec<(DeadLetter, Vec<Event>)>,
    failed: Vec<(DeadLetter, String, String)>,
}

impl<'a> Deliveries<'a> {
    /// Connects; without `kafka` nothing is appended.
    pub(super) async fn new(
        topic: &'a Letters,
        pool: PgPool,
        kafka: Option<&KafkaArgs>,
        author: &'a str,
        chosen: Vec<Letter>,
    ) -> Result<Self, Failure> {
        let appender = match kafka {
            Some(kafka) => Some(decided::appender(kafka).await?),
            None => None,
        };
        let chosen = chosen
            .into_iter()
            .filter_map(|letter| Some((letter.id.parse().ok()?, letter)));
        Ok(Self {
            topic,
            pool,
            appender,
            author,
            chosen: chosen.collect(),
            senders: HashMap::new(),
        })
    }

    /// Reads them again, appends what they say, and writes behind each letter what came of it.
    pub(super) async fn redrive(mut self, report: &mut Report) -> Result<(), Failure> {
        let topic = self.topic;
        topic
            .read(async |batch| self.redrive_some(&batch, report).await)
            .await?;
        for letter in self.chosen.values() {
            report.add(letter, Outcome::Passed("it has expired meanwhile".to_owned()))?;
        }
        Ok(())
    }

    async fn redrive_some(&mut self, batch: &RawBatch, report: &mut Report) -> Result<(), Failure> {
        let mut reading = Reading::default();
        for raw in batch.iter() {
            let Held::Letter(letter) = held(&raw) else {
                continue;
            };
            if !self.chosen.contains_key(&letter.id) {
                continue;
            }
            self.read(*letter, &mut reading, report).await?;
            if reading.understood.len() + reading.failed.len() >= AT_ONCE {
                self.settle(std::mem::take(&mut reading), report).await?;
            }
        }
        self.settle(reading, report).await
    }

    async fn read(
        &mut self,
        letter: DeadLetter,
        reading: &mut Reading,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let sender = self.sender(letter.integration).await?;
        let scheme = sender.and_then(|sender| {
            let credential = letter.credential?;
            Some((sender, (credential, sender.schemes.get(&credential)?)))
        });
        let Some((sender, credential)) = scheme else {
            let why = if sender.is_some() {
                "the credential that verified it is not known any more, so what of it may be believed is not"
            } else {
                "its integration is gone"
            };
            let why = format!(
                "{why}. `fleetlog dead-letters show {} --body` gives its bytes: what they say can be delivered to \
                 another integration with `fleetlog send`",
                letter.id
            );
            return match self.chosen.remove(&letter.id) {
                Some(letter) => report.add(&letter, Outcome::Passed(why)),
                None => Ok(()),
            };
        };
        match ingest::redrive(&sender.entry, &letter, credential, MAX_RECORD_BYTES) {
            Ok(events) => reading.understood.push((letter, events)),
            Err(still) => reading.failed.push((letter, still.reason, still.detail)),
        }
        Ok(())
    }

    /// Appends events first, then that they are there: killed in between, they are appended again under the same ids.
    async fn settle(&mut self, reading: Reading, report: &mut Report) -> Result<(), Failure> {
        let understood = reading.understood.into_iter();
        let appending = understood.map(|(letter, events)| self.append(letter, events));
        let mut outcomes = try_join_all(appending).await?;
        for (letter, reason, detail) in reading.failed {
            outcomes.push((letter, Outcome::Failed { reason, detail }));
        }
        if let Some(appender) = &self.appender {
            for (letter, outcome) in &outcomes {
                let appended = appender.append_attempt(&self.attempt(letter, outcome)).await;
                appended.map_err(|error| again(&error))?;
            }
        }
        for (letter, outcome) in outcomes {
            if let Some(letter) = self.chosen.remove(&letter.id) {
                report.add(&letter, outcome)?;
            }
        }
        Ok(())
    }

    /// Appends the events of one letter, all or none of which the log takes.
    async fn append(&self, letter: DeadLetter, events: Vec<Event>) -> Result<(DeadLetter, Outcome), Failure> {
        let ids = events.iter().map(|event| event.id).collect();
        let understood = Outcome::Understood(ids);
        let Some(appender) = &self.appender else {
            return Ok((letter, understood));
        };
        let outcome = match appender.append_all(&events).await {
            Ok(_) => understood,
            Err(error @ AppendError::Unavailable(_)) => return Err(again(&error)),
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Unwritable(_))) => Outcome::Failed {
                reason: error.reason().to_owned(),
                detail: error.to_string(),
            },
        };
        Ok((letter, outcome))
    }

    fn attempt(&self, letter: &DeadLetter, outcome: &Outcome) -> LetterAttempt {
        let (events, reason, detail) = match outcome {
            Outcome::Understood(events) => (events.clone(), None, None),
            Outcome::Failed { reason, detail } => (Vec::new(), Some(reason.clone()), Some(detail.clone())),
            Outcome::Passed(why) => (Vec::new(), Some("passed".to_owned()), Some(why.clone())),
        };
        LetterAttempt {
            id: EventId::random(),
            organization: letter.organization,
            integration: letter.integration,
            at: clock::now(),
            outcome: LetterOutcome {
                letter: letter.id,
                events,
                reason,
                detail,
                author: self.author.to_owned(),
                extra: Extra::new(),
            },
        }
    }

    /// Who sent it, as set up now; none if that integration is gone.
    async fn sender(&mut self, id: IntegrationId) -> Result<Option<&Sender>, Failure> {
        if !self.senders.contains_key(&id) {
            let sender = look_up(&self.pool, id).await?;
            self.senders.insert(id, sender);
        }
        Ok(self.senders.get(&id).and_then(Option::as_ref))
    }
}

/// Nothing is lost by an append whose end is not known.
fn again(error: &AppendError) -> Failure {
    Failure::unavailable(format!(
        "{error}. Give the command again: whatever was appended already is recognized"
    ))
}

async fn look_up(pool: &PgPool, id: IntegrationId) -> Result<Option<Sender>, Failure> {
    let integration = match control::integration::find(pool, id).await {
        Ok(integration) => integration,
        Err(ControlError::NoSuchIntegration(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let credentials = control::credential::list(pool, id).await?;
    let schemes = credentials
        .into_iter()
        .map(|credential| (credential.id, credential.scheme));
    let mut entry = IntegrationEntry::new(id, integration.organization);
    entry.provider = integration.provider;
    entry.project = integration.policy.project;
    entry.refuse_replayable = integration.policy.refuse_replayable;
    entry.reading_time_field = integration.policy.reading_time_field;
    Ok(Some(Sender {
        entry,
        schemes: schemes.collect(),
    }))
}
