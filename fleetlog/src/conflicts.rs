//! `fleetlog conflicts`: what waits for a person to decide, and deciding it.
//!
//! - `pending`: what waits, and which of it is meant
//! - `show`: one of them, with what each decision would do
//! - `decision`: what can be decided about what; `resolve` appends it
//! - `replay`: what other strategies would have decided

mod decision;
mod pending;
mod replay;
mod resolve;
mod show;
mod sql;

use clap::{Args, Subcommand};
use schema::RawJson;

use self::pending::{Filters, Pending};
use crate::{clock, config::ReaderDatabase, device::named, failure::Failure, output};

/// Lists, shows, resolves and replays conflicts: what waits for a person to decide
#[derive(Subcommand)]
pub(crate) enum Conflicts {
    List(List),
    Show(show::Show),
    Resolve(Box<resolve::Resolve>),
    Replay(replay::Replay),
}

/// Lists what waits for a person to decide, the oldest first
///
/// A field is in conflict if a cloud and somebody here both changed it and the strategy of the edit leaves it to a
/// person; until then the cloud's value shows. Conflicts of identity are doubts about which device is which.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog conflicts list --organization ID --older-than 7d
  fleetlog conflicts list --kind field --field metadata --json")]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Most that are listed
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: u32,
    /// Print a JSON object a line: the columns of fleet.conflicts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
}

impl Conflicts {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Resolve(command) => command.run().await,
            Self::Replay(command) => command.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let wanted = self.filters.wanted(clock::now());
        let all = sql::pending(&pool, &wanted, i64::from(self.limit) + 1).await?;
        if let (true, Some(device)) = (all.is_empty(), &wanted.device) {
            named::any(&pool, device, wanted.organization).await?;
        }
        let listed = all.get(..self.limit as usize).unwrap_or(&all);
        if self.json {
            for pending in listed {
                output::line(&pending.row)?;
            }
        } else {
            let rows: Vec<_> = listed.iter().map(row).collect();
            output::table(
                ["conflict", "kind", "serial", "field", "here", "cloud", "since"],
                &rows,
            )?;
        }
        if listed.len() < all.len() {
            eprintln!("fleetlog: there are more than {}: see --limit", self.limit);
        }
        Ok(())
    }
}

fn row(pending: &Pending) -> [String; 7] {
    let side = |value: Option<&RawJson>| {
        if pending.is_of_field() {
            shortened(value)
        } else {
            "-".to_owned()
        }
    };
    [
        pending.conflict.clone(),
        pending.kind.clone(),
        pending.serial.clone(),
        output::or_dash(pending.field.as_ref()),
        side(pending.local.as_ref()),
        side(pending.remote.as_ref()),
        output::or_dash(pending.opened_at),
    ]
}

/// A value in a table; a missing one is `null`.
fn shortened(value: Option<&RawJson>) -> String {
    const MOST: usize = 40;
    let text = value.map_or("null", RawJson::get);
    let mut chars = text.chars();
    let begin: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() {
        format!("{begin}…")
    } else {
        begin
    }
}
