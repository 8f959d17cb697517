//! `fleetlog events`: the log, readable.

mod select;
mod show;

use std::{str::FromStr, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use schema::{IntegrationId, Micros, Topic};
use stream::{Tail, TailFrom};

use self::select::Select;
use crate::{clock, config::KafkaArgs, failure::Failure, output};

/// How many records are taken at once, and how long more are waited for.
const BATCH: (usize, Duration) = (500, Duration::from_millis(50));

/// Reads the event log
#[derive(Subcommand)]
pub(crate) enum Events {
    Tail(TailCommand),
}

/// Prints events as they are appended, or those that are there
///
/// Events of one device come in order, those of several as they arrive. Reading leaves no trace: no consumer group is
/// joined, no offset is kept.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog events tail                                  # what is appended from now on
  fleetlog events tail --from 15m --device C252400001
  fleetlog events tail --until-end --type firmware.reported --json | jq .data
  fleetlog events tail --topic dead-letters --from beginning

With --json each line is a CloudEvent in JSON with its `topic`, `partition` and `offset`.")]
pub(crate) struct TailCommand {
    /// Topics to read; may be repeated [default: events and readings]
    #[arg(long, value_enum, value_name = "TOPIC")]
    topic: Vec<TopicName>,
    /// Only events of this device: its serial number, its id here, its id in a cloud, or INTEGRATION/id:…
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Only events of this integration
    #[arg(long, value_name = "ID")]
    integration: Option<IntegrationId>,
    /// Only events whose name begins so, e.g. connection.changed or device; may be repeated
    #[arg(long = "type", value_name = "NAME")]
    types: Vec<String>,
    /// Where to begin: beginning, end, a time (RFC 3339), or how long ago, e.g. 15m
    /// [default: end; with --until-end the beginning]
    #[arg(long, value_name = "FROM")]
    from: Option<Begin>,
    /// Go on with what is appended, until interrupted; the default
    #[arg(long, conflicts_with = "until_end")]
    follow: bool,
    /// Stop where the log ends now
    #[arg(long)]
    until_end: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// A topic, by a short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TopicName {
    /// Registry, connection, firmware, edits
    Events,
    /// Telemetry and device logs
    Readings,
    /// Deliveries that could not be understood
    DeadLetters,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Beginning,
    End,
    Time(Micros),
    Ago(Duration),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ => text
                .parse()
                .map(Self::Time)
                .or_else(|_| humantime::parse_duration(text).map(Self::Ago))
                .map_err(|_| "it is beginning, end, a time like 2026-01-31T12:00:00Z, or 15m".to_owned()),
        }
    }
}

impl Events {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Tail(command) => command.run().await,
        }
    }
}

impl TailCommand {
    async fn run(self) -> Result<(), Failure> {
        let config = self.kafka.log()?;
        let log = stream::topics::identify(&config).await?;
        let select = Select {
            device: self.device.clone(),
            integration: self.integration,
            types: self.types.clone(),
        };
        let tail = Tail::open(&config, &log, &self.topics(), self.begin(), self.until_end).await?;
        tokio::select! {
            ended = self.print(tail, &select) => ended,
            // An interrupted tail is a finished one.
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn print(&self, mut tail: Tail, select: &Select) -> Result<(), Failure> {
        let (most, wait) = BATCH;
        while let Some(records) = tail.next(most, wait).await? {
            for read in records.iter().filter(|read| select.wants(read)) {
                if self.json {
                    output::json(&show::json(read))?;
                } else {
                    output::line(show::text(read))?;
                }
            }
        }
        Ok(())
    }

    fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<_> = self.topic.iter().map(|name| name.topic()).collect();
        if topics.is_empty() {
            topics = vec![Topic::Events, Topic::Readings];
        }
        topics.sort();
        topics.dedup();
        topics
    }

    fn begin(&self) -> TailFrom {
        let usual = if self.until_end {
            Begin::Beginning
        } else {
            Begin::End
        };
        match self.from.unwrap_or(usual) {
            Begin::Beginning => TailFrom::Beginning,
            Begin::End => TailFrom::End,
            Begin::Time(time) => TailFrom::Time(time),
            Begin::Ago(ago) => TailFrom::Time(clock::now().minus(ago)),
        }
    }
}

impl TopicName {
    fn topic(self) -> Topic {
        match self {
            Self::Events => Topic::Events,
            Self::Readings => Topic::Readings,
            Self::DeadLetters => Topic::DeadLetters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_word_a_time_or_a_while_ago() {
        assert_eq!("beginning".parse(), Ok(Begin::Beginning));
        assert_eq!("15m".parse(), Ok(Begin::Ago(Duration::from_mins(15))));
        let time = "2026-01-31T12:00:00Z";
        assert_eq!(time.parse(), Ok(Begin::Time(time.parse().unwrap())));
        assert!("yesterday".parse::<Begin>().is_err());
    }
}
