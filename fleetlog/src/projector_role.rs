//! `fleetlog projector`: the fold.

use std::{convert::Infallible, fs, net::SocketAddr, num::NonZeroUsize, process, time::Duration};

use clap::Args;
use projector::Config;
use secrecy::SecretString;
use service::{Health, Traces, http};
use stream::LogConfig;

use crate::{
    config::{self, KafkaArgs},
    failure::Failure,
    roles::{self, Role, RoleArgs},
};

/// How many connections a projector has beside those that write: one looks.
const CONNECTIONS: u32 = 4;

/// Folds the event log into PostgreSQL, the only writer of what readers see there
///
/// Rows and positions commit together: killing it doubles nothing and loses nothing. Start several to share the
/// partitions; when one ends, the others take over what it had.
///
/// Serves /health/live, /health/ready and /metrics (Prometheus). Stops cleanly on SIGTERM.
#[derive(Args)]
pub(crate) struct Projector {
    /// Where to listen, for health and metrics alone
    #[arg(
        long,
        env = "FLEETLOG_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8081"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    fold: ProjectorArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What the fold is told, whichever process it is in.
#[derive(Args)]
#[command(next_help_heading = "Projector")]
pub(crate) struct ProjectorArgs {
    /// The database, as role fleetlog_projector
    #[arg(
        long,
        env = "FLEETLOG_PROJECTOR_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    projector_database_url: SecretString,
    /// Consumer group, whose members share the partitions [default: PREFIX.projector]
    #[arg(long, env = "FLEETLOG_PROJECTOR_GROUP", value_name = "GROUP")]
    group: Option<String>,
    /// How many write at once, each with a share of the partitions and a connection of its own. One keeps up with most
    /// fleets; a second is worth it where PostgreSQL has a core to spare, as after a long outage
    #[arg(long, env = "FLEETLOG_WRITERS", value_name = "N", default_value_t = Config::DEFAULT_WRITERS)]
    writers: NonZeroUsize,
    /// Most records of one transaction
    #[arg(long, env = "FLEETLOG_BATCH_RECORDS", value_name = "N", default_value_t = Config::DEFAULT_MAX_RECORDS)]
    batch_records: usize,
    /// Longest wait for more records after the first
    #[arg(long, env = "FLEETLOG_BATCH_WAIT", value_name = "D", default_value = "20ms", value_parser = humantime::parse_duration)]
    batch_wait: Duration,
    /// Longest pause between two tries while PostgreSQL or Kafka is away
    #[arg(long, env = "FLEETLOG_MAX_PAUSE", value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    max_pause: Duration,
    /// How often to take a checkpoint of what readings made of registers, so that readings may expire; 0s: never. One
    /// projector at a time does it
    #[arg(long, env = "FLEETLOG_CHECKPOINT_INTERVAL", value_name = "D", default_value = "1h", value_parser = humantime::parse_duration)]
    checkpoint_interval: Duration,
    /// How many of a hundred recent events may be set aside as dead letters before their partition is halted instead;
    /// 100 sets aside whatever cannot be folded
    #[arg(long, env = "FLEETLOG_MAX_SET_ASIDE_PERCENT", value_name = "N", default_value_t = Config::DEFAULT_MAX_SET_ASIDE_PERCENT, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_set_aside_percent: u8,
    /// From how many devices on fleet.summary shows what the newest survey of the fleet found, instead of looking for
    /// itself. One projector at a time makes surveys, every ten seconds, or ten times as long as one takes
    #[arg(
        long,
        env = "FLEETLOG_SURVEY_FROM",
        value_name = "DEVICES",
        default_value_t = 20_000
    )]
    survey_from: u64,
    /// How long the transaction in flight may take when told to stop
    #[arg(long, env = "FLEETLOG_STOP_WITHIN", value_name = "D", default_value = "10s", value_parser = humantime::parse_duration)]
    stop_within: Duration,
}

impl Projector {
    /// Runs until told to stop.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut role = self.role.begin("projector")?;
        let listener = roles::bind(self.listen)?;
        let health = role.health.clone();
        self.fold.start(&mut role, &self.kafka, health)?;
        let (health, metrics) = (role.health.clone(), role.metrics.clone());
        role.tasks.start("health", |stop| {
            http::serve(listener, health, metrics, stop.cancelled_owned())
        });
        role.run().await
    }
}

impl ProjectorArgs {
    /// Starts the fold as a task of a role. It waits for Kafka and PostgreSQL, and says so in `health`.
    pub(crate) fn start(&self, role: &mut Role, kafka: &KafkaArgs, health: Health) -> Result<(), Failure> {
        let log = kafka.log()?;
        let pool = config::pool(&self.projector_database_url, "fleetlog projector", CONNECTIONS)?;
        let config = self.config(&log, role.traces.clone());
        let (every, upkept, looking) = (self.checkpoint_interval, log.clone(), pool.clone());
        role.tasks.start("upkeep", |stop| async move {
            projector::upkeep(upkept, looking, every, stop).await;
            Ok::<_, Infallible>(())
        });
        let (surveyed, large) = (pool.clone(), self.survey_from);
        role.tasks.start("survey", |stop| async move {
            projector::survey::keep(surveyed, large, stop).await;
            Ok::<_, Infallible>(())
        });
        let cause = role.cause();
        role.tasks.start("projector", |stop| async move {
            let ended = Box::pin(projector::run(config, log, pool, health, stop)).await;
            ended.map_err(|error| cause.is(error.into()))
        });
        Ok(())
    }

    fn config(&self, log: &LogConfig, traces: Traces) -> Config {
        let group = self.group.clone();
        Config {
            group: group.unwrap_or_else(|| format!("{}.projector", log.prefix)),
            owner: owner(),
            writers: self.writers,
            max_records: self.batch_records,
            max_wait: self.batch_wait,
            max_pause: self.max_pause,
            stop_within: self.stop_within,
            max_set_aside_percent: self.max_set_aside_percent,
            traces,
        }
    }
}

/// Host and process, for people.
pub(crate) fn owner() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "unknown" } else { host };
    format!("{host}/{}", process::id())
}
