//! What starts every role alike.

use std::{
    fmt::Display,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use service::{Health, Metrics, Supervisor, Traces, shutdown, telemetry};
use stream::{KafkaFault, LogConfig, LogIdentity, topics::TopicsError};
use tokio::time::{Instant, sleep};

use crate::{failure::Failure, trace_args::TraceArgs};

/// How long a role that waits for Kafka waits before it asks again.
const KAFKA_PAUSE: Duration = Duration::from_secs(1);
/// How long its first question may take before it says so: clients try for a while before they give up.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// How often it says so in the log.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

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
    #[command(flatten)]
    traces: TraceArgs,
}

/// A role about to start: its telemetry runs, its tasks are still to be given.
pub(crate) struct Role {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) tasks: Supervisor,
    pub(crate) traces: Traces,
    cause: Cause,
}

/// Why a task of a role failed, where the exit code is to say more than that one did.
#[derive(Clone, Default)]
pub(crate) struct Cause(Arc<Mutex<Option<Failure>>>);

impl Cause {
    /// Keeps the first one, and returns it as a task returns it.
    pub(crate) fn is(&self, failure: Failure) -> String {
        let text = failure.to_string();
        self.lock().get_or_insert(failure);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoleArgs {
    /// Begins to log and measure.
    pub(crate) fn begin(&self, name: &str) -> Result<Role, Failure> {
        let metrics = telemetry::init(name, Some(&self.filter)).map_err(Failure::usage)?;
        stream::metrics::describe();
        let traces = self.traces.traces(name)?;
        Ok(Role {
            metrics,
            health: Health::default(),
            tasks: Supervisor::new(self.stop_timeout),
            traces,
            cause: Cause::default(),
        })
    }
}

impl Role {
    /// Runs until told to stop, or until a task ends.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let ended = self.tasks.run_until(shutdown::signal()).await;
        self.traces.stop().await;
        if ended.is_ok() {
            tracing::info!("stopped");
        }
        match self.cause.lock().take() {
            Some(cause) => Err(cause),
            None => Ok(ended.map_err(anyhow::Error::from)?),
        }
    }

    /// Where a task says why it failed.
    pub(crate) fn cause(&self) -> Cause {
        self.cause.clone()
    }
}

/// The listener of a role. A taken port is named in the error.
pub(crate) fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(%listen, "listening on {listen}");
    Ok(listener)
}

/// Checks the topics, and asks again while Kafka cannot be reached: it may be starting as well. Each answer other than
/// the log goes to `waits`.
///
/// What would lose events, and what the client refuses, it refuses tomorrow as well: then waiting ends.
pub(crate) async fn checked_log(
    config: &LogConfig,
    waits: impl Fn(&dyn Display),
) -> Result<LogIdentity, TopicsError> {
    let brokers = &config.brokers;
    let mut told = None::<Instant>;
    loop {
        let mut asking = pin!(stream::topics::check(config));
        let asked = if told.is_none() {
            tokio::select! {
                answer = &mut asking => answer,
                () = sleep(FIRST_PATIENCE) => {
                    let why = "no answer so far";
                    waits(&why);
                    tracing::warn!(brokers, "waiting for Kafka at {brokers}: {why}");
                    told = Some(Instant::now());
                    asking.await
                }
            }
        } else {
            asking.await
        };
        let error = match asked {
            Ok(log) => return Ok(log),
            Err(error @ TopicsError::Kafka(KafkaFault::Setting(_))) => return Err(error),
            Err(error @ (TopicsError::Kafka(_) | TopicsError::NotThere)) => error,
            Err(error @ (TopicsError::Unsafe(_) | TopicsError::Refused { .. } | TopicsError::Opening(_))) => {
                return Err(error);
            }
        };
        waits(&error);
        if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            tracing::warn!(%error, brokers, "waiting for Kafka at {brokers}: {error}");
            told = Some(Instant::now());
        }
        sleep(KAFKA_PAUSE).await;
    }
}
