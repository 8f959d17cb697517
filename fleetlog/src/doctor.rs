//! `fleetlog doctor`: everything that can be looked at from outside, looked at once.

mod finding;
mod kafka;
mod lag;
mod postgres;
mod registry;
mod spool;
mod sql;

use std::{path::PathBuf, time::Duration};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use futures_util::future::join4;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sqlx::PgPool;
use stream::LogConfig;

use self::finding::{Finding, Verdict};
use crate::{
    clock,
    config::{KafkaArgs, OwnerDatabase},
    failure::Failure,
    output,
};

/// Looks at everything that fleetlog needs, and says what is wrong and what to do
///
/// Kafka and the settings of its topics, how far projections are behind, dead letters, retention against checkpoints;
/// PostgreSQL, its migrations, the rights of each role, generations; clocks; organizations, integrations and their
/// credentials; the spool. Everything is looked at, also when something fails, and nothing is changed.
#[derive(Args)]
#[command(after_help = "\
Each finding is `ok`, `warning` (it works, and somebody should look), `failed` (it does not work, or loses
events) or `skipped`. The exit code is 1 if anything failed, with --strict also at a warning; else 0.")]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// A warning fails, too
    #[arg(long)]
    strict: bool,
    /// Warn of credentials that expire within this time
    #[arg(long, value_name = "D", default_value = "14days", value_parser = humantime::parse_duration)]
    expiring: Duration,
    /// How long each look may take
    #[arg(long, value_name = "D", default_value = "15s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Compare clocks with the brokers', too. That takes a topic PREFIX.doctor, made for the moment and removed
    #[arg(long)]
    broker_clock: bool,
    /// The folder that `ingest` spools to while Kafka is away
    #[arg(long, env = "FLEETLOG_SPOOL_DIR", value_name = "FOLDER", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    spool_dir: Option<PathBuf>,
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What is looked at, and how.
struct Look {
    log: LogConfig,
    pool: PgPool,
    timeout: Duration,
    expiring: Duration,
    broker_clock: bool,
    spool_dir: Option<PathBuf>,
    bar: ProgressBar,
}

impl Doctor {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let look = Look {
            log: self.kafka.log()?,
            pool: self.database.pool()?,
            timeout: self.timeout,
            expiring: self.expiring,
            broker_clock: self.broker_clock,
            spool_dir: self.spool_dir.clone().filter(|dir| !dir.as_os_str().is_empty()),
            bar: bar(),
        };
        // Side by side: what waits for one that is away does not keep the others.
        let (kafka, postgres, registry, spool) = join4(
            kafka::look(&look),
            postgres::look(&look),
            registry::look(&look, clock::now()),
            spool::look(&look),
        )
        .await;
        look.bar.finish_and_clear();
        let findings: Vec<Finding> = [kafka, postgres, registry, spool].into_iter().flatten().collect();
        self.print(&findings)?;
        let n = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
        let (failed, warned) = (n(Verdict::Failed), n(Verdict::Warning));
        if failed > 0 || self.strict && warned > 0 {
            let what = format!("{failed} of {} looks failed, {warned} warn", findings.len());
            return Err(Failure::Failed(anyhow::anyhow!(what)));
        }
        Ok(())
    }

    fn print(&self, findings: &[Finding]) -> Result<(), Failure> {
        if self.json {
            let failed = findings.iter().any(|one| one.verdict == Verdict::Failed);
            return output::json(&json!({ "ok": !failed, "findings": findings }));
        }
        for finding in findings {
            let Finding {
                check,
                verdict,
                found,
                remedy,
            } = finding;
            output::line(format!("{:<8} {check:<20} {found}", verdict.as_str()))?;
            if let Some(remedy) = remedy {
                output::line(format!("{:30}→ {remedy}", ""))?;
            }
        }
        Ok(())
    }
}

impl Look {
    /// One look, which may take so long and no longer.
    async fn within<T>(
        &self,
        check: &'static str,
        looking: impl Future<Output = Result<T, Finding>>,
    ) -> Result<T, Finding> {
        self.bar.set_message(check);
        let looked = tokio::time::timeout(self.timeout, looking).await;
        self.bar.inc(1);
        looked.unwrap_or_else(|_| {
            Err(Finding::failed(
                check,
                format!("no answer within {:?}", self.timeout),
                "see whether what is asked runs and can be reached from here; --timeout waits longer",
            ))
        })
    }
}

/// What is being looked at, on a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {pos} looked at, now {msg} … {elapsed}");
    let bar =
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
