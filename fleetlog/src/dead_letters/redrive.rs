//! `fleetlog dead-letters redrive`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal as _, Write as _},
};

use clap::Args;
use indicatif::ProgressBar;
use projector::{dead_letters::Redriven, rebuild::Access};
use secrecy::SecretString;
use stream::Position;

use super::{
    deliveries::Deliveries,
    filters::Filters,
    letters::{self, Kind, Letter, Letters},
    report::{Outcome, Report},
};
use crate::{
    clock,
    config::{self, AuthorArgs, KafkaArgs, ReaderDatabase},
    failure::Failure,
    output, projector_role,
};

/// Events that are folded in one transaction: the projectors of their partitions wait that long.
const EVENTS_AT_ONCE: usize = 100;

/// Tries dead letters again: makes events of deliveries, folds events into rows
///
/// A delivery is read by this version and under its integration as it is set up now, as of its original receipt: its
/// events and their ids are those that it would have made then. An event is folded again in the generation that readers
/// see. To try one twice is harmless. What fails again is counted in the letter, and makes no second one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog dead-letters redrive 6f9619ff-8b86-4d01-b42d-00cf4fc964ff
  fleetlog dead-letters redrive --all-matching --reason unknown_type --since 7d --dry-run
  fleetlog dead-letters redrive --all-matching --kind event --yes

Ends with 1 if any letter failed again.")]
pub(crate) struct Redrive {
    /// The letters, as `fleetlog dead-letters list` shows them
    #[arg(
        value_name = "LETTER",
        required_unless_present = "all_matching",
        conflicts_with = "all_matching"
    )]
    letters: Vec<String>,
    /// All that wait and that the filters leave
    #[arg(long)]
    all_matching: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    caution: Caution,
    /// Print a JSON object a letter, and one with the count
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    others: OtherDatabases,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Whether to look first.
#[derive(Args)]
struct Caution {
    /// Only show what would come of it
    #[arg(long)]
    dry_run: bool,
    /// With --all-matching: do not ask
    #[arg(long)]
    yes: bool,
}

/// The database in the roles that trying again needs, each only for its kind of letter.
#[derive(Args)]
#[command(next_help_heading = "PostgreSQL")]
struct OtherDatabases {
    /// For deliveries: the database of integrations, as role fleetlog_ingest
    #[arg(
        long,
        env = "FLEETLOG_CONTROL_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    control_database_url: Option<SecretString>,
    /// For events: the database, as role fleetlog_projector or as whoever may act as it
    #[arg(
        long,
        env = "FLEETLOG_PROJECTOR_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    projector_database_url: Option<SecretString>,
}

impl Redrive {
    /// Tries them.
    pub(super) async fn run(self) -> Result<(), Failure> {
        if !self.all_matching && self.filters.any() {
            return Err(Failure::usage(
                "filters choose among all: give them with --all-matching",
            ));
        }
        let topic = Letters::open(self.kafka.log()?).await?;
        let chosen = self.choose(&topic).await?;
        if chosen.is_empty() {
            return if self.json {
                Report::new(true, self.caution.dry_run).end()
            } else {
                output::line("no dead letter that waits matches")
            };
        }
        if self.all_matching && !self.caution.yes && !self.caution.dry_run {
            confirm(&chosen)?;
        }
        let mut report = Report::new(self.json, self.caution.dry_run);
        let (deliveries, events): (Vec<Letter>, Vec<Letter>) = chosen
            .into_iter()
            .partition(|letter| letter.kind == Kind::Delivery);
        if !deliveries.is_empty() {
            let url = self.others.control_database_url.as_ref().ok_or_else(|| {
                Failure::usage("to read deliveries again --control-database-url or FLEETLOG_CONTROL_DATABASE_URL is needed")
            })?;
            let pool = config::pool(url, "fleetlog", 2)?;
            let kafka = (!self.caution.dry_run).then_some(&self.kafka);
            let deliveries = Deliveries::new(&topic, pool, kafka, self.author.author(), deliveries).await?;
            deliveries.redrive(&mut report).await?;
        }
        if !events.is_empty() {
            self.fold(&events, &mut report).await?;
        }
        report.end()
    }

    /// Those that are meant.
    async fn choose(&self, topic: &Letters) -> Result<Vec<Letter>, Failure> {
        let named: BTreeSet<&str> = self.letters.iter().map(String::as_str).collect();
        let is_event = |id: &&str| id.contains('@');
        let want_deliveries = if self.all_matching {
            self.filters.want_deliveries()
        } else {
            !named.iter().all(is_event)
        };
        let want_events = if self.all_matching {
            self.filters.want_events()
        } else {
            named.iter().any(is_event)
        };
        let mut all = Vec::new();
        if want_deliveries {
            all = topic.deliveries().await?;
        }
        if want_events {
            all.extend(letters::events(&self.database.pool()?).await?);
        }
        if self.all_matching {
            let now = clock::now();
            all.retain(|letter| letter.redriven.is_none() && self.filters.want(letter, now));
            return Ok(all);
        }
        all.retain(|letter| named.contains(letter.id.as_str()));
        let found: BTreeMap<&str, &Letter> = all.iter().map(|letter| (letter.id.as_str(), letter)).collect();
        for id in named {
            match found.get(id) {
                None => {
                    return Err(Failure::not_found(format!(
                        "there is no dead letter {id}: `fleetlog dead-letters list --all` lists them"
                    )));
                }
                Some(Letter {
                    redriven: Some((at, author)),
                    ..
                }) => {
                    return Err(Failure::refused(format!(
                        "dead letter {id} was understood already, when {author} tried it at {at}"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(all)
    }

    /// Folds events again.
    async fn fold(&self, events: &[Letter], report: &mut Report) -> Result<(), Failure> {
        let url = self.others.projector_database_url.as_ref().ok_or_else(|| {
            Failure::usage(
                "to fold events --projector-database-url or FLEETLOG_PROJECTOR_DATABASE_URL is needed",
            )
        })?;
        let access = Access {
            log: self.kafka.log()?,
            pool: config::projector_pool(url, 2)?,
            owner: projector_role::owner(),
        };
        let progress = ProgressBar::new(events.len() as u64);
        for some in events.chunks(EVENTS_AT_ONCE) {
            let positions: Vec<Position> = some.iter().map(|letter| letter.position).collect();
            let by = (self.author.author(), self.caution.dry_run);
            let outcomes = projector::dead_letters::redrive(&access, &positions, by).await?;
            for (letter, outcome) in some.iter().zip(outcomes) {
                progress.suspend(|| report.add(letter, of_event(outcome)))?;
            }
            progress.inc(some.len() as u64);
        }
        progress.finish_and_clear();
        Ok(())
    }
}

fn of_event(outcome: Redriven) -> Outcome {
    match outcome {
        Redriven::Folded => Outcome::Understood(Vec::new()),
        Redriven::Failed { reason, detail } => {
            let reason: &'static str = reason.into();
            Outcome::Failed {
                reason: reason.to_owned(),
                detail,
            }
        }
        Redriven::NotWaiting => Outcome::Passed("it waits no more: somebody else has tried it".to_owned()),
        Redriven::Expired => Outcome::Passed(
            "its record has expired in the log and was too long to be kept beside it: nothing is left to be folded"
                .to_owned(),
        ),
    }
}

/// Asks whoever sits at the terminal.
fn confirm(chosen: &[Letter]) -> Result<(), Failure> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for letter in chosen {
        *counts.entry(letter.reason.as_str()).or_default() += 1;
    }
    let counts: Vec<_> = counts
        .into_iter()
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    let n = chosen.len();
    let what = format!("{n} dead letters are to be tried again: {}", counts.join(", "));
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{what}. That is done with --yes only; --dry-run shows what would come of it"
        )));
    }
    let mut errors = io::stderr().lock();
    write!(errors, "{what}.\nType {n} to try them: ")?;
    errors.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() == n.to_string() {
        Ok(())
    } else {
        Err(Failure::refused("nothing was tried"))
    }
}
