//! `fleetlog log`: the log as a whole.

use clap::{Args, Subcommand};
use projector::{
    rebuild::Progress,
    rewrite::{self, Missing, Order, Rewritten},
};
use service::CancellationToken;

use crate::{
    config::{KafkaArgs, ProjectorDatabase},
    failure::Failure,
    output, parse, projector_role,
    rebuild::Size,
    watch::watched,
};

/// How many connections a rewriting has: as a rebuild.
const CONNECTIONS: u32 = 16;

/// Rewrites the log
#[derive(Subcommand)]
pub(crate) enum Log {
    Rewrite(Box<Rewrite>),
}

/// Copies the log to a new one without the subjects that were erased, and proves that only they are missing
///
/// All topics are copied record by record under another prefix, with the same keys, times and partitions and a log id of
/// its own. Then the new log is folded into a new generation beside the live one, and both are compared at the same
/// moment. Nothing of the old log is changed; told to stop, or killed, it goes on where it was when it is run again.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device erase C252400001
  fleetlog log rewrite --to acme2 --dry-run
  fleetlog log rewrite --to acme2              # while everything runs
  fleetlog log rewrite --to acme2 --promote    # once ingest is stopped; then start all roles with the new prefix

Exit codes: 0 if only the erased subjects are missing, 1 if anything else differs. See docs/retention.md.")]
pub(crate) struct Rewrite {
    /// What the names of the new log's topics begin with
    #[arg(long, value_name = "PREFIX", value_parser = parse::prefix)]
    to: String,
    #[command(flatten)]
    extent: Extent,
    /// Memory that the process may take, e.g. 512MB or 2GiB
    #[arg(
        long,
        env = "FLEETLOG_REBUILD_MEMORY",
        value_name = "SIZE",
        default_value = "512MB"
    )]
    memory: Size,
    /// Partitions that are folded at the same time; they share the memory
    #[arg(long, env = "FLEETLOG_REBUILD_WORKERS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// How far to go.
#[derive(Args)]
struct Extent {
    /// Only count what would be copied and left out
    #[arg(long)]
    dry_run: bool,
    /// Only copy: fold nothing, compare nothing
    #[arg(long, conflicts_with_all = ["dry_run", "promote"])]
    no_proof: bool,
    /// Let readers see the new generation, if only the erased subjects are missing and nothing was appended meanwhile
    #[arg(long, conflicts_with = "dry_run")]
    promote: bool,
}

impl Log {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Rewrite(command) => command.run().await,
        }
    }
}

impl Rewrite {
    async fn run(self) -> Result<(), Failure> {
        let source = self.kafka.log()?;
        let mut target = source.clone();
        target.prefix.clone_from(&self.to);
        let stop = CancellationToken::new();
        let order = Order {
            source,
            target,
            pool: self.database.pool(CONNECTIONS)?,
            owner: projector_role::owner(),
            memory: self.memory.enough_for(self.workers)?,
            workers: self.workers.into(),
            dry_run: self.extent.dry_run,
            prove: !self.extent.no_proof,
            promote: self.extent.promote,
            stop: stop.clone(),
        };
        let progress = Progress::default();
        let work = Box::pin(rewrite::rewrite(&order, &progress));
        let rewritten = watched(&progress, &stop, work).await?;
        if self.json {
            output::json(&rewritten)?;
        } else {
            self.print(&rewritten)?;
        }
        self.ended(&rewritten)
    }

    fn print(&self, rewritten: &Rewritten) -> Result<(), Failure> {
        let n_erased = rewritten.erased.len();
        match &rewritten.target {
            None => output::line(format!(
                "log {}: {n_erased} subjects would be left out",
                rewritten.source
            ))?,
            Some(target) => output::line(format!(
                "log {} was copied to log {target} under {} without {n_erased} subjects",
                rewritten.source, self.to
            ))?,
        }
        let topics: Vec<_> = rewritten
            .topics
            .iter()
            .map(|(topic, counts)| {
                [
                    (*topic).to_owned(),
                    counts.copied.to_string(),
                    counts.left_out.to_string(),
                    counts.there.to_string(),
                ]
            })
            .collect();
        output::table(["topic", "copied", "left out", "there before"], &topics)?;
        if let Some(missing) = &rewritten.missing {
            print_missing(missing)?;
        }
        if let Some(missing) = rewritten.missing.as_ref().filter(|_| rewritten.promoted) {
            output::line(format!(
                "readers see {} now. Start all roles with FLEETLOG_TOPIC_PREFIX={}: projectors of the old log end by \
                 themselves",
                missing.generation, self.to
            ))?;
        }
        if rewritten.target.is_some() && rewritten.beyond > 0 {
            output::line(format!(
                "{} records were appended to the old log since: stop ingest and whoever else appends, and run again",
                rewritten.beyond
            ))?;
        }
        Ok(())
    }

    /// What differs beside the erased subjects is told by the exit code, too.
    fn ended(&self, rewritten: &Rewritten) -> Result<(), Failure> {
        let Some(missing) = &rewritten.missing else {
            return Ok(());
        };
        let generation = &missing.generation;
        if !missing.only_erased {
            return Err(Failure::Failed(anyhow::anyhow!(
                "{generation} lacks more than the erased subjects, or has something otherwise: readers go on as before"
            )));
        }
        if self.extent.promote && !rewritten.promoted {
            return Err(Failure::unavailable(format!(
                "{generation} is proved, but {} records were appended to the old log since, so readers go on as before",
                rewritten.beyond
            )));
        }
        Ok(())
    }
}

fn print_missing(missing: &Missing) -> Result<(), Failure> {
    let rows: Vec<_> = missing
        .tables
        .iter()
        .map(|table| {
            [
                table.table.clone(),
                table.erased.to_string(),
                table.missing.to_string(),
                table.otherwise.to_string(),
                if table.as_expected { "yes" } else { "NO" }.to_owned(),
            ]
        })
        .collect();
    output::table(
        ["table", "of the erased", "missing", "otherwise", "as expected"],
        &rows,
    )?;
    let generation = &missing.generation;
    output::line(if missing.only_erased {
        format!("{generation}: only the erased subjects are missing")
    } else {
        format!("{generation}: more differs than the erased subjects")
    })
}
