//! `fleetlog topics`: the topics of the log.

use clap::{Args, Subcommand};
use stream::LogIdentity;

use crate::{config::KafkaArgs, failure::Failure, output};

/// Creates the topics of a log, and checks that their settings lose nothing
#[derive(Subcommand)]
pub(crate) enum Topics {
    Create(Create),
    Check(Check),
}

/// Creates the topics and writes `log.opened` first into every partition. Doing it twice changes nothing
///
/// Topics are made with three replicas, two of which must be in sync (with --single-broker one), and events are kept
/// for ever.
#[derive(Args)]
pub(crate) struct Create {
    /// Partitions of each topic, fixed for the life of the log: the most projectors that can share it
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Says which log it is, or which settings would lose events and the commands that mend them
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Topics {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (config, log, hints) = match self {
            Self::Create(Create { partitions, kafka }) => {
                let config = kafka.log()?;
                let log = stream::topics::create(&config, partitions).await?;
                (config, log, Vec::new())
            }
            Self::Check(Check { kafka }) => {
                let config = kafka.log()?;
                let (log, hints) = stream::topics::examine(&config).await?;
                (config, log, hints)
            }
        };
        let LogIdentity { log_id, partitions } = log;
        let names = stream::topics::TOPICS.map(|topic| config.topic(topic));
        output::line(format!(
            "log {log_id}, {partitions} partitions: {}",
            names.join(", ")
        ))?;
        for hint in hints {
            output::line(format!("note: {hint}"))?;
        }
        Ok(())
    }
}
