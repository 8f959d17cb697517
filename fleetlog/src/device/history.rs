//! `fleetlog device history`: what was told of a device, and what was true at a moment.

mod show;
mod timeline;

use std::time::Duration;

use clap::Args;
use futures_util::TryStreamExt as _;
use projector::fold::as_of::{Moment, View};
use schema::{Micros, OrganizationId};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use self::timeline::Timeline;
use super::{
    facts, gather,
    named::{self, Known},
    sql,
};
use crate::{config::ReaderDatabase, failure::Failure, output};

/// Shows what was told of a device, the newest first; or what was true at a moment
///
/// Told is what clouds, devices and people said: registry, connections, firmware, bindings, edits and the answers to
/// them; each fact with what it changed. Readings and log entries are not listed.
///
/// With --at the facts of then are folded again. With --known-by only as far as we had been told by then: what happened
/// early may have been told late.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device history C252400001 --field metadata
  fleetlog device history C252400001 --at 2026-06-01T12:00:00Z
  fleetlog device history C252400001 --at 2026-06-01T12:00:00Z --known-by 2026-06-01T12:05:00Z")]
pub(crate) struct History {
    /// Its serial number, or its id here
    #[arg(value_name = "SERIAL|ID")]
    device: String,
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Show what was true then
    #[arg(long, value_name = "RFC3339")]
    at: Option<Micros>,
    /// As far as we had been told by then
    #[arg(long, value_name = "RFC3339", requires = "at")]
    known_by: Option<Micros>,
    /// Only this field, e.g. metadata, tag:ID, serial, connection
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// How many facts to list
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "at",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print a JSON object a fact; with --at one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
}

/// How long one question may take: everything ever told of a device may be much.
const PATIENCE: Duration = Duration::from_mins(2);

impl History {
    /// Reads and shows.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let known = named::one(&pool, &self.device, self.organization).await?;
        let mut snapshot = snapshot(&pool).await?;
        match self.at {
            Some(at) => {
                let known_by = self.known_by.unwrap_or(Micros::MAX);
                self.as_of(&mut snapshot, &known, Moment { at, known_by }).await
            }
            None => self.timeline(&mut snapshot, &known).await,
        }
    }

    async fn timeline(&self, snapshot: &mut PgConnection, known: &Known) -> Result<(), Failure> {
        let mut timeline = Timeline::new(self.field.clone(), self.limit as usize);
        let mut facts = facts::of_device(snapshot, known.id);
        while let Some(fact) = facts.try_next().await? {
            timeline.take(&fact);
        }
        if self.json {
            for entry in timeline.newest_first() {
                output::json(entry)?;
            }
        } else {
            drop(facts);
            show::timeline(
                &timeline,
                &sql::integration_names(snapshot, known.organization).await?,
            )?;
        }
        if timeline.n_left_out() > 0 {
            eprintln!("{} older facts are left out: --limit", timeline.n_left_out());
        }
        Ok(())
    }

    async fn as_of(&self, snapshot: &mut PgConnection, known: &Known, moment: Moment) -> Result<(), Failure> {
        let tables = gather::as_of(snapshot, known, moment).await?.tables();
        let Some(mut view) = View::of(&tables, known.id) else {
            let told = match self.known_by {
                Some(known_by) => format!(", by {known_by}"),
                None => String::new(),
            };
            let (serial, at) = (&known.serial, moment.at);
            return Err(Failure::not_found(format!(
                "nothing was known{told} of {serial} at {at}"
            )));
        };
        if let Some(field) = &self.field {
            view.fields.retain(|name, _| name == field);
        }
        if self.json {
            output::json(&show::view_json(known.id, self.at, self.known_by, &view))
        } else {
            show::view(known.id, moment.at, self.known_by, &view)
        }
    }
}

/// A transaction in which everything is seen as of one instant, and nothing written.
pub(super) async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Failure> {
    let mut snapshot = pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await?;
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(format!("{}ms", PATIENCE.as_millis()))
        .execute(&mut *snapshot)
        .await?;
    Ok(snapshot)
}

/// Most of a value that a table shows, in characters.
const MOST_SHOWN: usize = 60;

/// A text that fits a table.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
