//! `fleetlog conflicts resolve`: a person decides.

mod events;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal as _, Write as _},
};

use clap::Args;
use indicatif::ProgressBar;
use schema::{DeviceId, ProviderDevice, Topic};
use sqlx::PgPool;
use stream::Position;

use self::events::{Decided, Deciding};
use super::{
    decision::{Decision, DecisionArgs},
    pending::{Filters, Pending, Wanted},
    show, sql,
};
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    decided,
    device::edit::editable,
    failure::Failure,
    output,
    waiting::Waiting,
};

/// Most conflicts that one command decides.
const MOST: i64 = 100_000;
/// Conflicts that are decided before their events are appended.
const BATCH: usize = 500;

/// Decides conflicts, one or many, and waits until that shows
///
/// A decision about a field is an edit that saw both sides. It decides what was shown here and nothing else: if either
/// side changes before it arrives, that is a new conflict. Deciding a conflict that was decided already is refused and
/// changes nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog conflicts resolve 4b1f… --keep-local --note 'asked the customer'
  fleetlog conflicts resolve --all-matching --organization ID --field metadata --keep-remote --yes
  fleetlog conflicts resolve 90cc… --create-duplicate --provider-device INTEGRATION/id:ID")]
pub(crate) struct Resolve {
    /// The conflicts, as `fleetlog conflicts list` shows them
    #[arg(
        value_name = "CONFLICT",
        required_unless_present = "all_matching",
        conflicts_with = "all_matching"
    )]
    conflicts: Vec<String>,
    #[command(flatten)]
    decision: DecisionArgs,
    /// All that wait and that the filters leave
    #[arg(long)]
    all_matching: bool,
    #[command(flatten)]
    filters: Filters,
    /// With --same-device: the device that they are
    #[arg(long, value_name = "ID", requires = "same_device")]
    to: Option<DeviceId>,
    /// With --create-duplicate: the one that is a device of its own, as `fleetlog conflicts show` writes it
    #[arg(long, value_name = "PROVIDER_DEVICE", requires = "create_duplicate")]
    provider_device: Option<ProviderDevice>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// With --all-matching: do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
    /// Print a JSON object a conflict
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Resolve {
    /// Appends the decisions, and waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let decision = self.decision.decision();
        let pool = self.database.pool()?;
        let pending = if self.all_matching {
            self.matching(&pool, &decision).await?
        } else {
            self.named(&pool).await?
        };
        for pending in &pending {
            decision.check(pending)?;
            if let (Decision::Value(value), Some(field)) = (&decision, &pending.field) {
                editable(field, value)?;
            }
        }
        if pending.is_empty() {
            return self.nothing();
        }
        if self.all_matching && !self.yes {
            confirm(&decision, &pending)?;
        }
        let (decided, positions) = self.append(&pool, &decision, &pending).await?;
        if self.waiting.waits() {
            self.waiting.until_all_folded(&pool, &positions).await?;
        }
        report::report(&pool, &decision, &decided, self.waiting.waits(), self.json).await
    }

    fn nothing(&self) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        output::line("no conflict that this could decide matches")
    }

    /// The conflicts that are named; each must wait.
    async fn named(&self, pool: &PgPool) -> Result<Vec<Pending>, Failure> {
        if self.filters.any() {
            return Err(Failure::usage(
                "filters choose among all: give them with --all-matching",
            ));
        }
        let ids: BTreeSet<&String> = self.conflicts.iter().collect();
        let ids: Vec<String> = ids.into_iter().cloned().collect();
        let wanted = Wanted {
            ids: Some(ids.clone()),
            ..Wanted::default()
        };
        let pending = sql::pending(pool, &wanted, MOST).await?;
        let waits: BTreeSet<&str> = pending.iter().map(|pending| pending.conflict.as_str()).collect();
        let others: Vec<String> = ids
            .into_iter()
            .filter(|id| !waits.contains(id.as_str()))
            .collect();
        let Some(first) = others.first() else {
            return Ok(pending);
        };
        match sql::decided(pool, &others).await?.pop() {
            Some(decided) => Err(Failure::refused(format!(
                "conflict {} was decided already: {} by {} at {}",
                decided.conflict,
                decided.decision,
                decided.author,
                schema::Micros::from(decided.at)
            ))),
            None => Err(show::not_pending(first)),
        }
    }

    /// All that wait and that the decision fits.
    async fn matching(&self, pool: &PgPool, decision: &Decision) -> Result<Vec<Pending>, Failure> {
        if matches!(decision, Decision::Value(_)) && !self.filters.names_a_field() {
            return Err(Failure::usage("one value for all: --field says of which field"));
        }
        let mut wanted = self.filters.wanted(clock::now());
        wanted.of_fields = Some(decision.is_of_fields());
        Ok(sql::pending(pool, &wanted, MOST).await?)
    }

    async fn append(
        &self,
        pool: &PgPool,
        decision: &Decision,
        pending: &[Pending],
    ) -> Result<(Vec<Decided>, Vec<Position>), Failure> {
        let appender = decided::appender(&self.kafka).await?;
        let mut deciding = Deciding::new(self, pool, decision);
        let progress = ProgressBar::new(pending.len() as u64);
        let mut all = Vec::with_capacity(pending.len());
        let mut last: BTreeMap<(Topic, i32), Position> = BTreeMap::new();
        for some in pending.chunks(BATCH) {
            let (events, mut decided) = deciding.events(some).await?;
            let outcome = appender.append_all(&events).await;
            let positions = outcome.map_err(|error| {
                Failure::unavailable(format!(
                    "{error}. {} conflicts are decided, some of the next {} may be: give the command again",
                    all.len(),
                    some.len()
                ))
            })?;
            for decided in &mut decided {
                decided.position = decided.event.and_then(|event| {
                    let place = events.iter().position(|appended| appended.id == event)?;
                    positions.get(place).copied()
                });
            }
            for position in positions {
                let held = last
                    .entry((position.topic, position.partition))
                    .or_insert(position);
                *held = position.max(*held);
            }
            all.append(&mut decided);
            progress.set_position(all.len() as u64);
        }
        progress.finish_and_clear();
        Ok((all, last.into_values().collect()))
    }
}

/// Asks whoever sits at the terminal.
fn confirm(decision: &Decision, pending: &[Pending]) -> Result<(), Failure> {
    let serials: BTreeSet<&str> = pending.iter().map(|pending| pending.serial.as_str()).collect();
    let n = pending.len();
    let what = format!("{n} conflicts of {} devices: {}", serials.len(), decision.told());
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{what}. That is decided with --yes only")));
    }
    let mut errors = io::stderr().lock();
    write!(errors, "{what}.\nType {n} to decide them: ")?;
    errors.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() == n.to_string() {
        Ok(())
    } else {
        Err(Failure::refused("nothing was decided"))
    }
}
