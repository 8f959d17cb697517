//! `fleetlog horizon`: how far back histories go.

use std::{str::FromStr, time::Duration};

use clap::{Args, Subcommand};
use projector::horizon::{self, Dropped, HISTORIES, Horizon as Shown};
use schema::{Body, Extra, HorizonAdvanced, Micros, OrganizationId, Origin, Subject};
use serde_json::json;
use uuid::Uuid;

use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ProjectorDatabase},
    confirmed::Confirmation,
    decided::{self, Concern},
    failure::Failure,
    output,
    waiting::Waiting,
};

/// Shows how far back histories go, and cuts them
#[derive(Subcommand)]
pub(crate) enum Horizon {
    Show(Show),
    Advance(Box<Advance>),
}

/// Shows where histories were cut, the days they have, and those that are still to be dropped
#[derive(Args)]
pub(crate) struct Show {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
}

/// Cuts a history: rows before an instant are no longer part of it, for good
///
/// Views hide them at once, for all organizations; whole days are dropped, now and by projectors later. What was cut is
/// an event, so a rebuild leaves out the same. Registers stay: the latest readings, the last report. The log keeps its
/// readings: they expire by the retention of their topic.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog horizon advance readings --before 400d
  fleetlog horizon advance logs --before 2026-06-01T00:00:00Z --yes")]
pub(crate) struct Advance {
    /// The history: readings or logs
    #[arg(value_parser = HISTORIES)]
    history: String,
    /// The instant (RFC 3339), or how long ago it was, e.g. 90d. It only ever moves forward
    #[arg(long, value_name = "T")]
    before: Before,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    waiting: Waiting,
    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// An instant, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Time(Micros),
    Ago(Duration),
}

impl FromStr for Before {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self::Time)
            .or_else(|_| humantime::parse_duration(text).map(Self::Ago))
            .map_err(|_| {
                "it is a time like 2026-01-31T00:00:00Z, or how long ago it was, like 90d".to_owned()
            })
    }
}

impl Horizon {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show(command) => command.run().await,
            Self::Advance(command) => command.run().await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let shown = horizon::show(&self.database.pool(2)?).await?;
        if self.json {
            return shown.iter().try_for_each(|shown| output::json(&as_json(shown)));
        }
        let rows: Vec<_> = shown
            .iter()
            .map(|shown| {
                [
                    shown.history.clone(),
                    output::or_dash(shown.before),
                    shown.days.to_string(),
                    output::or_dash(shown.first_day.as_ref()),
                    shown.to_drop.to_string(),
                ]
            })
            .collect();
        output::table(["history", "cut before", "days", "first day", "to drop"], &rows)
    }
}

fn as_json(shown: &Shown) -> serde_json::Value {
    json!({
        "history": shown.history,
        "before": shown.before,
        "days": shown.days,
        "first_day": shown.first_day,
        "to_drop": shown.to_drop,
    })
}

impl Advance {
    async fn run(self) -> Result<(), Failure> {
        let now = clock::now();
        let before = match self.before {
            Before::Time(time) => time,
            Before::Ago(ago) => now.minus(ago),
        };
        if before > now {
            return Err(Failure::usage(format!(
                "{before} is in the future: what is still to come cannot be cut"
            )));
        }
        let pool = self.database.pool(2)?;
        let history = &self.history;
        let shown = horizon::show(&pool).await?;
        let held = shown.iter().find(|shown| shown.history == *history);
        if let Some(held) = held.and_then(|held| held.before)
            && held >= before
        {
            return Err(Failure::refused(format!(
                "{history} are cut before {held} already; a horizon only moves forward"
            )));
        }
        let days = horizon::days_before(&pool, history, before).await?;
        self.confirmation.of(&format!(
            "all {history} before {before} go, of every organization: what is on {days} days, of which whole ones are \
             dropped"
        ))?;
        let mut event = decided::event(concern(), self.body(before), now);
        event.origin = Origin::System;
        "/log".clone_into(&mut event.source);
        let position = decided::append(&self.kafka, &event).await?;
        if !self.waiting.until_folded(&pool, position, self.json).await? {
            return Ok(());
        }
        let dropped = horizon::drop_behind(&pool).await?;
        self.print(before, &dropped)
    }

    fn body(&self, before: Micros) -> Body {
        let author = serde_json::Value::from(self.author.author());
        Body::HorizonAdvanced(HorizonAdvanced {
            history: self.history.clone(),
            before,
            extra: Extra::from([("author".to_owned(), author)]),
        })
    }

    fn print(&self, before: Micros, dropped: &Dropped) -> Result<(), Failure> {
        let (history, busy) = (&self.history, dropped.busy);
        let days = dropped.days.get(history).copied().unwrap_or(0);
        if self.json {
            return output::json(&json!({
                "history": history, "before": before, "days_dropped": days, "days_busy": busy,
            }));
        }
        output::line(format!("{history} are cut before {before}; {days} days dropped"))?;
        if busy > 0 {
            output::line(format!("{busy} days are in use; projectors drop them later"))?;
        }
        Ok(())
    }
}

/// Of the log itself: a history is cut for all.
fn concern() -> Concern {
    Concern {
        organization: OrganizationId(Uuid::nil()),
        integration: None,
        subject: Subject::Log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_is_an_instant_or_an_age() {
        assert_eq!("90d".parse(), Ok(Before::Ago(Duration::from_hours(90 * 24))));
        assert!(matches!("2026-01-31T00:00:00Z".parse(), Ok(Before::Time(_))));
        assert!("yesterday".parse::<Before>().is_err());
    }
}
