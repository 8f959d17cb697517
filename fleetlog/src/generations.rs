//! `fleetlog generations`: which generation of projections readers see.

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use projector::{
    FOLD_VERSION,
    rebuild::{self, Overview, Progress, Promotion},
};
use schema::Topic;
use service::CancellationToken;
use stream::{LogIdentity, Position};

use crate::{
    config::{KafkaArgs, ProjectorDatabase},
    failure::Failure,
    output,
    rebuild::{access, seconds},
    watch::stoppable,
};

/// Shows the generations of projections, and decides which one readers see
#[derive(Subcommand)]
pub(crate) enum Generations {
    List(List),
    Promote(Promote),
    Rollback(Rollback),
    Drop(Drop),
}

/// Lists all generations: what each was filled from and by, how far behind it is, and what rebuilds left
#[derive(Args)]
pub(crate) struct List {
    /// Print a JSON object a line, with the report of the newest comparison
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Lets readers see a generation that `fleetlog rebuild` has filled and compared
#[derive(Args)]
pub(crate) struct Promote {
    /// Which one; the one there is, unless named
    #[arg(value_name = "GENERATION")]
    generation: Option<String>,
    /// What differs is as it should be: the digest of the difference, from the report
    #[arg(long, value_name = "DIGEST")]
    accept: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Goes back to the generation that readers saw before. It folds what it has missed first
#[derive(Args)]
pub(crate) struct Rollback {
    /// Which one; the last that readers saw, unless named
    #[arg(value_name = "GENERATION")]
    generation: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Throws away a generation that readers do not see
#[derive(Args)]
pub(crate) struct Drop {
    /// Which one
    #[arg(value_name = "GENERATION")]
    generation: String,
    #[command(flatten)]
    change: Change,
}

/// Where it is changed.
#[derive(Args)]
pub(crate) struct Change {
    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Generations {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run().await,
            Self::Promote(command) => command.run().await,
            Self::Rollback(command) => command.run().await,
            Self::Drop(command) => command.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool(2)?;
        let all = rebuild::overview(&pool).await?;
        let ends = self.ends(&all).await;
        if let Err(failure) = &ends {
            eprintln!("fleetlog: how far they are behind is not known: {failure}");
        }
        let (log_id, ends) = ends.unwrap_or_default();
        let behind = |one: &Overview| (one.log == log_id).then(|| behind(one, &ends));
        if self.json {
            for one in &all {
                let mut value = serde_json::to_value(one).map_err(anyhow::Error::from)?;
                value["behind"] = behind(one).into();
                output::json(&value)?;
            }
            return Ok(());
        }
        let mut active = all.iter().filter(|one| one.state == "active");
        let log = active.next().and_then(|one| one.log.clone());
        let rows: Vec<_> = all
            .iter()
            .map(|one| row(one, behind(one), log.as_deref()))
            .collect();
        output::table(
            [
                "generation",
                "state",
                "fold",
                "log",
                "rows",
                "size",
                "behind",
                "since",
                "note",
            ],
            &rows,
        )
    }

    /// Where the log ends.
    async fn ends(&self, all: &[Overview]) -> Result<(Option<String>, Vec<Position>), Failure> {
        let log = self.kafka.log()?;
        let identity: LogIdentity = stream::topics::identify(&log).await?;
        let ends = stream::ends(&log, &identity, &[Topic::Events, Topic::Readings]).await?;
        let known = all
            .iter()
            .any(|one| one.log.as_deref() == Some(identity.log_id.as_str()));
        Ok((known.then(|| identity.log_id.to_string()), ends))
    }
}

/// Events that are in the log and not in the generation.
fn behind(one: &Overview, ends: &[Position]) -> u64 {
    let stands = |end: &Position| {
        let mut positions = one.positions.iter();
        let found = positions
            .find(|(topic, partition, _)| topic == end.topic.suffix() && *partition == end.partition);
        found.map_or(0, |(_, _, offset)| *offset)
    };
    ends.iter()
        .map(|end| u64::try_from(end.offset - stands(end)).unwrap_or(0))
        .sum()
}

fn row(one: &Overview, behind: Option<u64>, active: Option<&str>) -> [String; 9] {
    [
        one.generation.clone(),
        one.state.to_owned(),
        one.fold_version.to_string(),
        output::or_dash(one.log.as_deref()),
        format!("~{}", one.rows),
        HumanBytes(one.bytes.unsigned_abs()).to_string(),
        output::or_dash(behind),
        one.since.date().to_string(),
        note(one, active),
    ]
}

/// What is to be known of it, or done about it. `active` is the log that readers see the events of.
fn note(one: &Overview, active: Option<&str>) -> String {
    let mut notes = Vec::new();
    if one.fold_version != FOLD_VERSION && one.state == "active" {
        notes.push(format!(
            "this is version {FOLD_VERSION} of the fold: a rebuild is due"
        ));
    }
    if one.litter {
        notes.push(format!(
            "left half done; `fleetlog generations drop {}` or the next rebuild removes it",
            one.generation
        ));
    }
    let of_other_log = match (one.log.as_deref(), active) {
        (Some(log), Some(active)) => log != active,
        (Some(_) | None, _) => false,
    };
    if one.fold_version != FOLD_VERSION && one.state == "retired" {
        notes.push(format!(
            "this is version {FOLD_VERSION} of the fold: only the version that filled it rolls back to it"
        ));
    }
    if of_other_log && one.state == "retired" {
        notes.push("of another log than the active one: cannot be rolled back to".to_owned());
    }
    if let Some(rebuild) = one.rebuild.as_ref().filter(|_| one.state == "building") {
        notes.push(match (&rebuild.proof, &rebuild.difference) {
            (Some(_), _) if of_other_log => {
                "of another log: `fleetlog log rewrite --promote` lets readers see it".to_owned()
            }
            _ if one.at_work => format!("being rebuilt: {}, by {}", rebuild.phase, rebuild.owner),
            (None, _) => format!(
                "stopped or killed in phase {}; `fleetlog rebuild` goes on with it",
                rebuild.phase
            ),
            (Some(_), None) => "proved; can be promoted".to_owned(),
            (Some(_), Some(difference)) => format!("differs; can be promoted with --accept {difference}"),
        });
    }
    notes.join("; ")
}

impl Promote {
    async fn run(self) -> Result<(), Failure> {
        let access = access(&self.change.kafka, &self.change.database)?;
        let progress = Progress::default();
        let (generation, accept) = (self.generation.as_deref(), self.accept.as_deref());
        let work = Box::pin(rebuild::promote_built(&access, generation, accept, &progress));
        let promotion = stoppable(&progress, &CancellationToken::new(), work).await?;
        told(&promotion, self.change.json)
    }
}

impl Rollback {
    async fn run(self) -> Result<(), Failure> {
        let access = access(&self.change.kafka, &self.change.database)?;
        let progress = Progress::default();
        let work = Box::pin(rebuild::roll_back(&access, self.generation.as_deref(), &progress));
        let promotion = stoppable(&progress, &CancellationToken::new(), work).await?;
        told(&promotion, self.change.json)
    }
}

impl Drop {
    async fn run(self) -> Result<(), Failure> {
        let access = access(&self.change.kafka, &self.change.database)?;
        rebuild::drop_one(&access, &self.generation).await?;
        if self.change.json {
            output::json(&serde_json::json!({"dropped": self.generation}))
        } else {
            output::line(format!("{} is gone", self.generation))
        }
    }
}

fn told(promotion: &Promotion, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(promotion);
    }
    output::line(format!(
        "readers see {} now instead of {}; projectors waited {} for it",
        promotion.to,
        promotion.from,
        seconds(promotion.held)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_is_what_lies_between_a_generation_and_the_end_of_the_log() {
        let end = |partition, offset| Position {
            topic: Topic::Events,
            partition,
            offset,
        };
        let one = Overview {
            generation: "gen_1".to_owned(),
            state: "active",
            fold_version: FOLD_VERSION,
            log: None,
            since: time::OffsetDateTime::UNIX_EPOCH,
            rows: 0,
            bytes: 0,
            positions: vec![(Topic::Events.suffix().to_owned(), 0, 3)],
            rebuild: None,
            at_work: false,
            litter: false,
        };
        assert_eq!(behind(&one, &[end(0, 5), end(1, 4)]), 6);
        assert_eq!(note(&one, None), "");
        let copied = Overview {
            state: "retired",
            log: Some("5b1c02aa".to_owned()),
            ..one.clone()
        };
        assert_eq!(note(&copied, Some("5b1c02aa")), "");
        assert!(note(&copied, Some("37e7e3c6")).contains("another log"));
        let other = Overview {
            fold_version: 0,
            ..one
        };
        assert!(note(&other, None).contains("a rebuild is due"));
    }
}
