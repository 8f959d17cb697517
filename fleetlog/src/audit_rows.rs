//! `fleetlog audit`: whether some devices are what the log says.

mod metrics;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use projector::rebuild::Progress;
use service::CancellationToken;
use tokio::time::Instant;

use crate::{
    clock,
    config::{KafkaArgs, ProjectorDatabase},
    failure::Failure,
    output,
    rebuild::{access, audit as show},
    watch::stoppable,
};

/// Folds some devices again from the log and compares them with their rows: for a cron job
///
/// Devices are drawn at random and folded up to exactly where the live generation stands at one instant; nothing is
/// changed and nobody waits. `fleetlog rebuild --device` puts one right, `fleetlog rebuild` all.
#[derive(Args)]
#[command(after_help = "\
Exit codes: 0 if no row differs, 1 if one does, 5 if something cannot be reached.

The metrics are for the textfile collector of Prometheus' node_exporter; docs/metrics.md has them.")]
pub(crate) struct AuditRows {
    /// How many devices are drawn
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sample: u32,
    /// Draws the same devices again; the report says what they were drawn by [default: chance]
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u32))]
    seed: Option<u32>,
    /// Write metrics to this file, which is replaced as a whole
    #[arg(long, env = "FLEETLOG_AUDIT_METRICS_FILE", value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl AuditRows {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let access = access(&self.kafka, &self.database)?;
        let progress = Progress::default();
        let seed = self.seed.unwrap_or_else(rand::random);
        let began = Instant::now();
        let work = Box::pin(projector::rebuild::audit(
            &access,
            self.sample,
            seed.into(),
            &progress,
        ));
        let audit = stoppable(&progress, &CancellationToken::new(), work).await?;
        if let Some(file) = &self.metrics_file {
            write(
                file,
                &metrics::text(&audit, began.elapsed().as_secs_f64(), clock::now()),
            )?;
        }
        if self.json {
            output::json(&audit)?;
        } else {
            show(&audit)?;
        }
        let n_differing = audit.n_differing();
        if n_differing == 0 {
            return Ok(());
        }
        Err(Failure::Failed(anyhow::anyhow!(
            "{n_differing} rows are not what the log says (drawn by --seed {seed}). Look at who else writes these \
             tables; `fleetlog rebuild --device` puts one device right, `fleetlog rebuild` all"
        )))
    }
}

/// Writes a file beside it first, so that a collector never sees half of it.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let beside = file.with_extension("tmp");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, file))
        .with_context(|| format!("cannot write {}", file.display()))
        .map_err(Failure::Failed)
}
