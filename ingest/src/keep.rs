//! Keeping a delivery: nothing is answered before the log holds it, or the spool has it on disk.

use schema::{Event, LogId, Micros, Topic, WireError};
use stream::{AppendError, Appender, MAX_RECORD_BYTES, Position};

use crate::{
    breaker::Attempt,
    dead_letters::letter,
    delivery::Verified,
    dialect::{Unread, UnreadReason},
    door::Door,
    error::Rejection,
    kept::{Kept, Place},
    metrics,
    normalize::Normalized,
    spool::Spooled,
};

/// Why a delivery was not kept.
enum NotKept {
    /// For its own fault: it can be kept as a dead letter only.
    Unkeepable(Unread),
    /// For ours.
    Unavailable,
}

impl Door {
    /// Keeps all that a delivery comes to.
    ///
    /// If it fails, any part may be in the log all the same: sending it again is harmless where it has an id or a
    /// time, and never loses anything.
    pub(crate) async fn keep(
        &self,
        delivery: &Verified<'_>,
        normalized: Normalized,
    ) -> Result<Kept, Rejection> {
        let received = delivery.received();
        let unread = match self.try_to_keep(&normalized, received).await {
            Ok(kept) => return Ok(kept),
            Err(NotKept::Unavailable) => return Err(Rejection::LogUnavailable),
            Err(NotKept::Unkeepable(unread)) => unread,
        };
        let whole = Normalized {
            dialect: None,
            events: Vec::new(),
            random: Vec::new(),
            letters: vec![letter(delivery, unread)],
            n_bytes_unpacked: 0,
        };
        let kept = self.try_to_keep(&whole, received).await;
        kept.map_err(|_| Rejection::LogUnavailable)
    }

    async fn try_to_keep(&self, normalized: &Normalized, received: Micros) -> Result<Kept, NotKept> {
        let log = self.log_id().ok_or(NotKept::Unavailable)?;
        let records = encode(normalized, &log, received)?;
        let topics: Vec<Topic> = records.iter().map(|spooled| spooled.topic).collect();
        let places = match self.append_or_spool(records).await? {
            Some(positions) => positions
                .into_iter()
                .map(|position| self.in_log(position))
                .collect(),
            None => topics.into_iter().map(|topic| self.spooled(topic)).collect(),
        };
        count(normalized);
        Ok(Kept::new(normalized, places))
    }

    /// Which log events belong to, if that is known: from the log, or from what was spooled for it.
    fn log_id(&self) -> Option<LogId> {
        let of_log = self.log.appender().map(|appender| appender.log().log_id.clone());
        of_log.or_else(|| self.spool.as_ref()?.log())
    }

    /// Where the log has the records; none if they are spooled.
    async fn append_or_spool(&self, records: Vec<Spooled>) -> Result<Option<Vec<Position>>, NotKept> {
        // Whoever drains the spool finds out by itself when the log is back.
        let seems_back = || self.spool.is_none() && self.log.health().is_ok();
        let outage = self.breaker.found_out();
        if let Some(appender) = self.log.appender()
            && let Some(attempt) = self.breaker.attempt(seems_back)
        {
            let settled = tokio::select! {
                biased;
                settled = self.append(appender, attempt, &records) => settled,
                // Another delivery has found out that the log is away. What is in flight may get there all the same,
                // as it may after a timeout: a copy with the same id.
                () = outage, if self.spool.is_some() => Err(NotKept::Unavailable),
            };
            match settled {
                Err(NotKept::Unavailable) => {}
                settled => return settled.map(Some),
            }
        }
        self.spool(records).await.map(|()| None)
    }

    async fn append(
        &self,
        appender: &Appender,
        attempt: Attempt<'_>,
        records: &[Spooled],
    ) -> Result<Vec<Position>, NotKept> {
        let each = records.iter().map(|spooled| (spooled.topic, &spooled.record));
        let outcome = tokio::time::timeout(self.config.append_deadline, appender.append_each(each)).await;
        let detail = match outcome.map(|outcomes| outcomes.into_iter().collect::<Result<_, _>>()) {
            Ok(Ok(positions)) => {
                attempt.succeeded();
                return Ok(positions);
            }
            Ok(Err(AppendError::TooLarge { .. })) => return Err(too_large()),
            Ok(Err(AppendError::Unwritable(error))) => return Err(unwritable(&error)),
            Ok(Err(error @ AppendError::Unavailable(_))) => error.to_string(),
            Err(_) => format!("nothing was heard within {:?}", self.config.append_deadline),
        };
        if attempt.failed() {
            self.tell_outage(&detail);
        }
        Err(NotKept::Unavailable)
    }

    fn tell_outage(&self, detail: &str) {
        let instead = if self.spool.is_some() {
            "spooled"
        } else {
            "refused"
        };
        tracing::error!(
            detail,
            "the event log is unavailable, deliveries are {instead}: {detail}"
        );
    }

    async fn spool(&self, records: Vec<Spooled>) -> Result<(), NotKept> {
        let Some(spool) = &self.spool else {
            return Err(NotKept::Unavailable);
        };
        // Also where nothing was tried: what is spooled has to be drained.
        self.breaker.trip();
        spool.put(records).await.map_err(|error| {
            ::metrics::counter!(metrics::NOT_SPOOLED, "reason" => error.reason()).increment(1);
            tracing::debug!(%error, "a delivery is not spooled: {error}");
            NotKept::Unavailable
        })
    }

    fn in_log(&self, position: Position) -> Place {
        Place::InLog {
            topic: position.topic.name(&self.config.topic_prefix),
            partition: position.partition,
            offset: position.offset,
        }
    }

    fn spooled(&self, topic: Topic) -> Place {
        Place::Spooled {
            topic: topic.name(&self.config.topic_prefix),
            spooled: true,
        }
    }
}

/// The records of all events, then those of all letters.
fn encode(normalized: &Normalized, log: &LogId, received: Micros) -> Result<Vec<Spooled>, NotKept> {
    let spooled = |topic, record| Spooled {
        topic,
        received,
        record,
    };
    let event = |event: &Event| match schema::encode(event, log) {
        Ok(record) if record.n_bytes() > MAX_RECORD_BYTES => Err(too_large()),
        Ok(record) => Ok(spooled(event.topic(), record)),
        Err(error) => Err(unwritable(&error)),
    };
    let letters = normalized
        .letters
        .iter()
        .map(|letter| Ok(spooled(Topic::DeadLetters, letter.encode(log))));
    normalized.events.iter().map(event).chain(letters).collect()
}

fn too_large() -> NotKept {
    NotKept::Unkeepable(Unread::whole(
        UnreadReason::TooLargeForLog,
        "an event is longer than any record of the log may be",
    ))
}

fn unwritable(error: &WireError) -> NotKept {
    tracing::error!(%error, "an event has no wire form, the delivery becomes a dead letter: {error}");
    NotKept::Unkeepable(Unread::whole(
        UnreadReason::Unwritable,
        "an event has no wire form",
    ))
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
