//! `fleetlog ingest`: the door.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    time::Duration,
};

use clap::Args;
use control::Registry;
use ingest::Config;
use secrecy::SecretString;

use crate::{
    config::{self, KafkaArgs, SealingArgs},
    failure::Failure,
    roles::{self, Role, RoleArgs},
};

/// How many connections follow the registry.
const REGISTRY_CONNECTIONS: u32 = 4;

/// Receives webhooks and appends what they say to the event log
///
/// Answers 202 only when every in-sync replica holds the event. Who may send is kept in memory: changes are followed
/// within two seconds, and an outage of PostgreSQL stops nothing.
///
/// Serves POST /v1/webhooks/ID, /health/live, /health/ready and /metrics (Prometheus). Refuses to start on topics whose
/// settings would lose events. Stops cleanly on SIGTERM: what is open is answered first.
#[derive(Args)]
pub(crate) struct Ingest {
    /// Where to listen
    #[arg(
        long,
        env = "FLEETLOG_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    pub(crate) door: IngestArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What the door is told, whichever process it is in.
#[derive(Args)]
pub(crate) struct IngestArgs {
    /// The database of integrations and credentials, as role fleetlog_ingest
    #[arg(
        long,
        env = "FLEETLOG_CONTROL_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    control_database_url: SecretString,
    #[command(flatten)]
    sealing: SealingArgs,
    #[command(flatten)]
    limits: Limits,
}

/// Limits and deadlines of the door.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Longest body in bytes, as sent and unpacked; this long it still passes
    #[arg(long, env = "FLEETLOG_MAX_BODY_BYTES", value_name = "N", default_value_t = Config::USUAL_MAX_BODY_BYTES)]
    max_body_bytes: usize,
    /// Most bytes of bodies in flight over the whole process; half of it unverified, an eighth for one integration
    #[arg(
        long,
        env = "FLEETLOG_MAX_BYTES_IN_FLIGHT",
        value_name = "N",
        default_value_t = Config::USUAL_MAX_BYTES_IN_FLIGHT
    )]
    max_bytes_in_flight: usize,
    /// How long a body may take to arrive
    #[arg(long, env = "FLEETLOG_BODY_TIMEOUT", value_name = "D", default_value = "10s", value_parser = humantime::parse_duration)]
    body_timeout: Duration,
    /// How long the brokers may take to acknowledge an event
    #[arg(long, env = "FLEETLOG_APPEND_TIMEOUT", value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
    append_timeout: Duration,
    /// How long a delivery may wait for the log before it is answered 503
    #[arg(long, env = "FLEETLOG_APPEND_DEADLINE", value_name = "D", default_value = "2400ms", value_parser = humantime::parse_duration)]
    append_deadline: Duration,
    /// How long a connection may stay idle
    #[arg(long, env = "FLEETLOG_KEEP_ALIVE", value_name = "D", default_value = "75s", value_parser = humantime::parse_duration)]
    keep_alive: Duration,
    /// How long requests that are open at shutdown may take
    #[arg(long, env = "FLEETLOG_SHUTDOWN_TIMEOUT", value_name = "D", default_value = "10s", value_parser = humantime::parse_duration)]
    shutdown_timeout: Duration,
    /// Threads that serve requests [default: one per core]
    #[arg(long, env = "FLEETLOG_WORKERS", value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Most connections at once over the whole process
    #[arg(long, env = "FLEETLOG_MAX_CONNECTIONS", value_name = "N", default_value_t = Config::USUAL_MAX_CONNECTIONS)]
    max_connections: usize,
}

impl Ingest {
    /// Runs until told to stop.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut role = self.role.begin("ingest")?;
        self.door.start(&mut role, &self.kafka, self.listen).await?;
        role.run().await
    }
}

impl IngestArgs {
    /// Starts the door as tasks of a role, and with it the role's health and metrics.
    pub(crate) async fn start(
        &self,
        role: &mut Role,
        kafka: &KafkaArgs,
        listen: SocketAddr,
    ) -> Result<(), Failure> {
        let log = kafka.log()?;
        let keyring = self.sealing.keyring()?;
        let pool = config::pool(
            &self.control_database_url,
            "fleetlog ingest",
            REGISTRY_CONNECTIONS,
        )?;
        let appender = roles::appender(&log, self.limits.append_timeout).await?;
        let listener: TcpListener = roles::bind(listen)?;

        let (registry, follower) = Registry::new(pool, keyring);
        role.tasks.start("registry", |stop| follower.run(stop));
        let config = self.limits.config(log.prefix);
        let (health, metrics) = (role.health.clone(), role.metrics.clone());
        role.tasks.start("ingest", |stop| {
            ingest::run(
                listener,
                config,
                registry,
                appender,
                health,
                metrics,
                stop.cancelled_owned(),
            )
        });
        Ok(())
    }
}

impl Limits {
    fn config(&self, topic_prefix: String) -> Config {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Config {
            topic_prefix,
            max_body_bytes: self.max_body_bytes,
            max_bytes_in_flight: self.max_bytes_in_flight,
            body_timeout: self.body_timeout,
            append_deadline: self.append_deadline,
            keep_alive: self.keep_alive,
            shutdown_timeout: self.shutdown_timeout,
            workers: self.workers.unwrap_or(cores),
            max_connections: self.max_connections,
        }
    }
}
