//! The log against what was acknowledged, and the rows against a fold of the log that shares no rule with the product.

use std::collections::{BTreeMap, BTreeSet};

use ::tests::{Expected, Stack, read_log, read_raw};
use schema::{Body, Event, Topic};
use stream::Position;

use crate::ledger::Ledger;

/// Lines of each kind that are told.
const SOME: usize = 12;

/// What was found at the end of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Events and dead letters in the log, each counted once.
    pub(crate) events: u64,
    /// Records beyond the first of an event: harmless copies.
    pub(crate) copies: u64,
    /// In the log, though nobody was told so.
    pub(crate) unacknowledged: u64,
    /// Acknowledged, and not in the log.
    pub(crate) lost: Vec<String>,
    /// Ids under which the log holds two contents.
    pub(crate) contradicted: Vec<String>,
    /// Rows that stand twice, or more rows of an event than it has.
    pub(crate) doubled: Vec<String>,
    /// Rows that should be there and are not, or the other way round.
    pub(crate) differing: Vec<String>,
    /// Rows that were compared.
    pub(crate) rows: u64,
}

impl Verdict {
    /// Everything is as it must be.
    pub(crate) fn is_well(&self) -> bool {
        let wrong = [&self.lost, &self.contradicted, &self.doubled, &self.differing];
        wrong.iter().all(|found| found.is_empty())
    }

    /// What is wrong, some of each.
    pub(crate) fn findings(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.lost),
            ("two contents under one id", &self.contradicted),
            ("doubled", &self.doubled),
            ("differing", &self.differing),
        ];
        let told = kinds.iter().flat_map(|(kind, found)| {
            let some = found.iter().take(SOME).map(move |line| format!("{kind}: {line}"));
            let more = found.len().saturating_sub(SOME);
            let more = (more > 0).then(|| format!("{kind}: and {more} more"));
            some.chain(more)
        });
        told.collect()
    }
}

/// Reads the log and the rows that readers see, and compares.
pub(crate) async fn judge(stack: &Stack, ledger: &Ledger) -> anyhow::Result<Verdict> {
    let log = read_log(&stack.log).await;
    let letters: Vec<String> = read_raw(&stack.log, Topic::DeadLetters)
        .await
        .into_iter()
        .filter_map(|raw| raw.headers.into_iter().find(|(name, _)| name == "ce_id"))
        .map(|(_, id)| id)
        .collect();
    let mut verdict = held(&log, &letters, ledger);

    let generation: String =
        sqlx::query_scalar("SELECT generation FROM projection_meta.generations WHERE state = 'active'")
            .fetch_one(&stack.admin)
            .await?;
    let expected = Expected::of(&log);
    let (rows, doubled) = Expected::try_rows(&stack.admin, &generation).await?;
    verdict.doubled = doubled;
    verdict.rows = rows.0.len() as u64;
    let compared = [(&expected, &rows, "missing"), (&rows, &expected, "too many")];
    for (these, those, what) in compared {
        let lines = these.0.difference(&those.0);
        verdict
            .differing
            .extend(lines.map(|line| format!("{what}: {line}")));
    }
    Ok(verdict)
}

/// The log against what was acknowledged.
fn held(log: &[(Position, Event)], letters: &[String], ledger: &Ledger) -> Verdict {
    let mut verdict = Verdict::default();
    let mut contents: BTreeMap<String, String> = BTreeMap::new();
    let mut marks = BTreeSet::new();
    for (position, event) in log {
        if event.subject == schema::Subject::Log {
            continue;
        }
        let id = event.id.to_string();
        let content = content(event);
        if let Some(held) = contents.get(&id) {
            verdict.copies += 1;
            if *held != content {
                let what = format!("{id} at {position}: {content}, elsewhere {held}");
                verdict.contradicted.push(what);
            }
            continue;
        }
        let mark = mark(event);
        let is_acknowledged =
            ledger.events.contains_key(&id) || mark.as_ref().is_some_and(|mark| ledger.marks.contains(mark));
        // The command's own records of what it set up are not among what is told.
        if !is_acknowledged && !matches!(event.body, Body::IntegrationChanged(_)) {
            verdict.unacknowledged += 1;
        }
        marks.extend(mark);
        contents.insert(id, content);
    }
    let distinct: BTreeSet<&String> = letters.iter().collect();
    verdict.copies += (letters.len() - distinct.len()) as u64;
    verdict.events = (contents.len() + distinct.len()) as u64;
    let unacknowledged = distinct.iter().filter(|id| !ledger.letters.contains_key(**id));
    verdict.unacknowledged += unacknowledged.count() as u64;

    let lost_event = |(id, by): (&String, &String)| {
        let is_held = contents.contains_key(id);
        (!is_held).then(|| format!("event {id}, acknowledged to {by}"))
    };
    let lost_letter = |(id, by): (&String, &String)| {
        let is_held = distinct.contains(id);
        (!is_held).then(|| format!("dead letter {id}, acknowledged to {by}"))
    };
    let lost_mark = |mark: &String| {
        let is_held = marks.contains(mark);
        (!is_held).then(|| format!("the decision with {mark}"))
    };
    let lost = ledger.events.iter().filter_map(lost_event);
    let lost = lost.chain(ledger.letters.iter().filter_map(lost_letter));
    verdict.lost = lost.chain(ledger.marks.iter().filter_map(lost_mark)).collect();
    verdict
}

/// What copies of an event have in common.
fn content(event: &Event) -> String {
    let body = event.body.encode().expect("it was decoded");
    let at = if event.receipt_timed {
        "receipt".to_owned()
    } else {
        event.at.to_string()
    };
    format!(
        "{} {} {at} {} {}",
        event.subject,
        event.body.name(),
        event.sequence,
        String::from_utf8_lossy(&body)
    )
}

/// What a decision was marked with when it was given to the command.
fn mark(event: &Event) -> Option<String> {
    let body = event.body.encode().ok()?;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let reason = body["reason"].as_str()?;
    reason.starts_with("mark ").then(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use schema::{Event, Micros, Origin, Subject};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn event(id: u128, said: &serde_json::Value) -> (Position, Event) {
        let event = Event {
            id: schema::EventId(Uuid::from_u128(id)),
            origin: Origin::User,
            ..::tests::told(
                Subject::Device(schema::DeviceId(Uuid::from_u128(9))),
                Micros::from_micros(0).unwrap(),
                ::tests::said("device.retired", said),
            )
        };
        let position = Position {
            topic: Topic::Events,
            partition: 0,
            offset: 0,
        };
        (position, event)
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_is_lost() {
        let said = |reason: &str| json!({"serial": "S", "author": "a", "reason": reason});
        let log = [
            event(1, &said("mark 1")),
            event(1, &said("mark 1")),
            event(2, &said("x")),
        ];
        let mut ledger = Ledger::default();
        let id = |id| Uuid::from_u128(id).to_string();
        ledger.marks.insert("mark 1".to_owned());
        let letters = [id(7), id(7), id(8)];
        ledger.letters.insert(id(7), "a".to_owned());
        let verdict = held(&log, &letters, &ledger);
        assert!(verdict.is_well(), "{verdict:?}");
        assert_eq!(
            (verdict.events, verdict.copies, verdict.unacknowledged),
            (4, 2, 2)
        );

        ledger.marks.insert("mark 2".to_owned());
        ledger.events.insert(id(2), "b".to_owned());
        ledger.events.insert(id(3), "b".to_owned());
        ledger.letters.insert(id(9), "c".to_owned());
        let verdict = held(&log, &letters, &ledger);
        assert_eq!(verdict.lost.len(), 3, "{verdict:?}");
        assert_eq!(verdict.unacknowledged, 1);
        assert!(!verdict.is_well());
    }

    #[test]
    fn one_id_never_means_two_contents() {
        let said = |reason: &str| json!({"serial": "S", "author": "a", "reason": reason});
        let verdict = held(
            &[event(1, &said("a")), event(1, &said("b"))],
            &[],
            &Ledger::default(),
        );
        assert_eq!(verdict.contradicted.len(), 1);
        assert!(!verdict.is_well());
    }
}
