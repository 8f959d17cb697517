//! What a projector says when a partition stands still, and when events are set aside.

use std::collections::BTreeMap;

use schema::Topic;
use stream::{Position, Read};

use super::Projection;
use crate::{dead_letters::DeadLetter, ownership::Halt, sql::remedy};

/// How many of the events that one transaction sets aside have a log line each.
const MAX_NAMED: usize = 5;

impl Projection {
    /// Halts the partition of these records at the first that is due.
    pub(super) fn halt_refused(&mut self, records: &[Read], error: &sqlx::Error) {
        let due = |read: &&Read| self.owned.place_of(read.position).is_some();
        let Some(position) = records.iter().find(due).map(|read| read.position) else {
            return;
        };
        let remedy = remedy(error);
        let why = format!(
            "{position} and what follows in its partition is not projected: PostgreSQL refuses what a projector needs \
             ({error}); {remedy}. Nothing is lost, and the projector goes on by itself once that is mended"
        );
        self.halt(position, error.to_string(), why);
    }

    /// Halts the partitions of which too many events seem to be at fault, each at the first.
    pub(super) fn halt_at_fault(&mut self, letters: &[DeadLetter]) {
        let mut first: BTreeMap<(Topic, i32), &DeadLetter> = BTreeMap::new();
        for letter in letters {
            let held = first
                .entry((letter.position.topic, letter.position.partition))
                .or_insert(letter);
            if letter.position < held.position {
                *held = letter;
            }
        }
        let percent = self.config.max_set_aside_percent;
        let firsts: Vec<DeadLetter> = first.into_values().cloned().collect();
        for letter in firsts {
            let DeadLetter { position, detail, .. } = &letter;
            let n = letters.len();
            let why = format!(
                "{position} and what follows in its partition is not projected: {n} events or more cannot be folded, \
                 which is more than {percent} % of the recent ones, so it is hardly their own fault. The first is \
                 {}: {detail}. If somebody has changed the tables, take that back (or `fleetlog migrate`, `fleetlog \
                 rebuild`); if all of these are to be set aside, start the projector with --max-set-aside-percent 100",
                letter.name()
            );
            self.halt(*position, detail.clone(), why);
        }
    }

    fn halt(&mut self, position: Position, reason: String, why: String) {
        let place = (position.topic, position.partition);
        let halt = Halt {
            position,
            reason,
            why,
        };
        let is_news = self
            .said
            .get(&place)
            .is_none_or(|said| (said.position, &said.reason) != (halt.position, &halt.reason));
        if is_news {
            tracing::error!(
                topic = position.topic.suffix(),
                partition = position.partition,
                offset = position.offset,
                reason = halt.reason,
                "halted: {}",
                halt.why
            );
            self.said.insert(place, halt.clone());
        }
        self.owned.halt(halt);
    }
}

/// Somebody has to look at what was set aside.
pub(super) fn alarm(aside: &[DeadLetter]) {
    for letter in aside.iter().take(MAX_NAMED) {
        let DeadLetter {
            position,
            reason,
            detail,
            said,
            ..
        } = letter;
        let reason: &'static str = (*reason).into();
        tracing::error!(
            topic = position.topic.suffix(),
            partition = position.partition,
            offset = position.offset,
            event.id = said.id.map(tracing::field::display),
            event.name = said.name,
            reason,
            detail,
            sqlstate = letter.sqlstate,
            "{} cannot be folded and is set aside: {detail}. See `fleetlog dead-letters`",
            letter.name()
        );
    }
    if aside.len() > MAX_NAMED {
        tracing::error!(
            n_letters = aside.len(),
            "{} events of one transaction are set aside. See `fleetlog dead-letters`",
            aside.len()
        );
    }
}
