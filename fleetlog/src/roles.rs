//! What starts every role alike.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use service::{Health, Metrics, Supervisor, shutdown, telemetry};
use stream::{Appender, KafkaFault, LogConfig, topics::TopicsError};
use tokio::time::{Instant, sleep};

use crate::failure::Failure;

/// How long a role waits at start for Kafka to come up, asking again each time it says no.
const KAFKA_PATIENCE: Duration = Duration::from_mins(1);
/// How long it waits before it asks again.
const KAFKA_PAUSE: Duration = Duration::from_secs(1);

/// What every role is told.
#[derive(Args, Clone)]
#[command(next_help_heading = "Process")]
pub(crate) struct RoleArgs {
    /// What is logged, e.g. `info,ingest=debug`; text on a terminal, JSON otherwise
    #[arg(long = "log", env = "RUST_LOG", value_name = "FILTER", default_value = telemetry::DEFAULT_FILTER)]
    filter: String,
    /// How long the role may take to stop after SIGTERM
    #[arg(
        long,
        env = "FLEETLOG_STOP_TIMEOUT",
        value_name = "D",
        default_value = "20s",
        value_parser = humantime::parse_duration
    )]
    stop_timeout: Duration,
}

/// A role about to start: its telemetry runs, its tasks are still to be given.
pub(crate) struct Role {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) tasks: Supervisor,
}

impl RoleArgs {
    /// Begins to log and measure.
    pub(crate) fn begin(&self, name: &str) -> Result<Role, Failure> {
        let metrics = telemetry::init(name, Some(&self.filter)).map_err(Failure::usage)?;
        stream::metrics::describe();
        Ok(Role {
            metrics,
            health: Health::default(),
            tasks: Supervisor::new(self.stop_timeout),
        })
    }
}

impl Role {
    /// Runs until told to stop, or until a task ends.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let ended = self.tasks.run_until(shutdown::signal()).await;
        if ended.is_ok() {
            tracing::info!("stopped");
        }
        Ok(ended.map_err(anyhow::Error::from)?)
    }
}

/// The listener of a role. A taken port is named in the error.
pub(crate) fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(%listen, "listening on {listen}");
    Ok(listener)
}

/// Checks the topics, and asks again while Kafka cannot be reached: it may be starting as well.
pub(crate) async fn checked_log(config: &LogConfig) -> Result<stream::LogIdentity, Failure> {
    let patient_until = Instant::now() + KAFKA_PATIENCE;
    loop {
        let error = match stream::topics::check(config).await {
            Ok(log) => return Ok(log),
            // A setting that the client refuses today it refuses tomorrow.
            Err(error @ TopicsError::Kafka(KafkaFault::Setting(_))) => return Err(error.into()),
            Err(error @ (TopicsError::Kafka(_) | TopicsError::NotThere)) => error,
            Err(error) => return Err(error.into()),
        };
        if Instant::now() >= patient_until {
            return Err(error.into());
        }
        tracing::warn!(%error, "waiting for Kafka: {error}");
        sleep(KAFKA_PAUSE).await;
    }
}

/// Connects to a log whose topics are in order.
pub(crate) async fn appender(config: &LogConfig, append_timeout: Duration) -> Result<Appender, Failure> {
    let log = checked_log(config).await?;
    Ok(Appender::to_log(config, log, append_timeout)?)
}
