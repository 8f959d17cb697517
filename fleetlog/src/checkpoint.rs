//! `fleetlog checkpoint`: what readings made of registers, into the log, so that readings may expire.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use projector::checkpoint::{self, CheckpointError, Counts, Taken};
use schema::Topic;
use serde_json::json;
use service::{CancellationToken, shutdown};
use stream::LogConfig;

use crate::{
    config::{KafkaArgs, ProjectorDatabase},
    failure::Failure,
    output,
};

/// How often what is shown is renewed.
const TICK: Duration = Duration::from_millis(250);

/// Writes what readings made of each provider device to the log's compacted topic, so that readings may expire
///
/// A rebuild then ends with the same last reports, latest readings and names, whether the readings they came from are
/// still in the log or not. Only what changed since the last checkpoint is written. Projectors do this by themselves
/// (--checkpoint-interval); it may be done at any time, and only one at a time does it.
#[derive(Args)]
#[command(after_help = "\
Prints for each partition the offset up to which readings are covered: with `retention.ms` or
`kafka-delete-records.sh` they may go up to there, never beyond. See docs/retention.md.")]
pub(crate) struct Checkpoint {
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Checkpoint {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool(2)?;
        let config = self.kafka.log()?;
        let log = stream::topics::check(&config).await?;
        let counts = Counts::default();
        let stop = CancellationToken::new();
        let taking = checkpoint::take(&config, &log, &pool, &counts, &stop);
        let taken = watched(taking, &counts, &stop).await?;
        let beginnings = stream::beginnings(&config, &log, &[Topic::Readings]).await?;
        let beginnings: BTreeMap<_, _> = beginnings
            .into_iter()
            .map(|position| (position.partition, position.offset))
            .collect();
        self.print(&config, &taken, &beginnings)
    }

    fn print(
        &self,
        config: &LogConfig,
        taken: &Taken,
        beginnings: &BTreeMap<i32, i64>,
    ) -> Result<(), Failure> {
        let Taken {
            at,
            covered,
            devices,
            written,
            unchanged,
            took,
        } = taken;
        let beginning = |partition| beginnings.get(partition).copied().unwrap_or(0);
        if self.json {
            let partitions: Vec<_> = covered
                .iter()
                .map(|(partition, covered)| {
                    json!({ "partition": partition, "covered": covered, "beginning": beginning(partition) })
                })
                .collect();
            return output::json(&json!({
                "at": at,
                "provider_devices": devices,
                "written": written,
                "unchanged": unchanged,
                "seconds": took.as_secs_f64(),
                "topic": config.topic(Topic::Readings),
                "partitions": partitions,
            }));
        }
        let took = humantime::format_duration(Duration::from_millis(
            u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        ));
        output::line(format!(
            "checkpoint of {at}: {devices} provider devices, {written} records written, {unchanged} unchanged, {took}"
        ))?;
        let rows: Vec<_> = covered
            .iter()
            .map(|(partition, covered)| {
                let expired = beginning(partition);
                [partition.to_string(), expired.to_string(), covered.to_string()]
            })
            .collect();
        output::table(["partition", "first reading", "covered up to"], &rows)
    }
}

/// Shows how far it is, and lets it be interrupted.
async fn watched(
    taking: impl Future<Output = Result<Taken, CheckpointError>>,
    counts: &Counts,
    stop: &CancellationToken,
) -> Result<Taken, Failure> {
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is well-formed");
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(TICK);
    let mut tick = tokio::time::interval(TICK);
    tokio::pin!(taking);
    let interrupted = shutdown::signal();
    tokio::pin!(interrupted);
    let taken = loop {
        tokio::select! {
            taken = &mut taking => break taken,
            () = &mut interrupted, if !stop.is_cancelled() => stop.cancel(),
            _ = tick.tick() => bar.set_message(format!(
                "{} records of earlier checkpoints, {} provider devices, {} records written",
                counts.held(), counts.devices(), counts.written()
            )),
        }
    };
    bar.finish_and_clear();
    Ok(taken?)
}
