//! What came of trying dead letters again.

use schema::EventId;
use serde_json::json;

use super::letters::{Kind, Letter};
use crate::{failure::Failure, output};

/// What came of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is understood: these are its events. Of an event, its rows are there.
    Understood(Vec<EventId>),
    /// It failed again, which was counted.
    Failed { reason: String, detail: String },
    /// It was not tried, and why.
    Passed(String),
}

/// Prints what comes of each, and counts.
pub(super) struct Report {
    json: bool,
    dry_run: bool,
    n_understood: u64,
    n_failed: u64,
    n_passed: u64,
}

impl Report {
    pub(super) fn new(json: bool, dry_run: bool) -> Self {
        Self {
            json,
            dry_run,
            n_understood: 0,
            n_failed: 0,
            n_passed: 0,
        }
    }

    /// Prints what came of a letter.
    pub(super) fn add(&mut self, letter: &Letter, outcome: Outcome) -> Result<(), Failure> {
        let (told, line) = match outcome {
            Outcome::Understood(events) => {
                self.n_understood += 1;
                let told = match (letter.kind, self.dry_run) {
                    (Kind::Delivery, true) => format!("would make {} events", events.len()),
                    (Kind::Delivery, false) => format!("made {} events", events.len()),
                    (Kind::Event, true) => "would be folded".to_owned(),
                    (Kind::Event, false) => "folded".to_owned(),
                };
                (told, json!({ "outcome": "understood", "events": events }))
            }
            Outcome::Failed { reason, detail } => {
                self.n_failed += 1;
                let told = format!("still {reason}: {detail}");
                (
                    told,
                    json!({ "outcome": "failed", "reason": reason, "detail": detail }),
                )
            }
            Outcome::Passed(why) => {
                self.n_passed += 1;
                let line = json!({ "outcome": "passed", "detail": why });
                (format!("not tried: {why}"), line)
            }
        };
        if !self.json {
            return output::line(format!("{}  {told}", letter.id));
        }
        let mut line = line;
        line["id"] = json!(letter.id);
        output::json(&line)
    }

    /// Prints the count. Fails if any letter did.
    pub(super) fn end(self) -> Result<(), Failure> {
        let Self {
            n_understood,
            n_failed,
            n_passed,
            ..
        } = self;
        if self.json {
            output::json(&json!({
                "understood": n_understood, "failed": n_failed, "passed": n_passed, "dry_run": self.dry_run,
            }))?;
        } else {
            let tried = if self.dry_run {
                "would be understood"
            } else {
                "understood"
            };
            output::line(format!(
                "{n_understood} {tried}, {n_failed} failed again, {n_passed} not tried"
            ))?;
        }
        if n_failed + n_passed == 0 {
            return Ok(());
        }
        Err(Failure::Failed(anyhow::anyhow!(
            "{} dead letters are still not understood",
            n_failed + n_passed
        )))
    }
}
