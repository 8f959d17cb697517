//! `fleetlog ingest`: the door.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use control::Registry;
use ingest::{Behind, Config, Log, Spool};
use secrecy::SecretString;
use service::Traces;
use stream::{Appender, LogConfig};

use crate::{
    config::{self, KafkaArgs, SealingArgs},
    failure::Failure,
    roles::{self, Role, RoleArgs},
};

/// How many connections follow the registry.
const REGISTRY_CONNECTIONS: u32 = 4;

/// Receives webhooks and appends what they say to the event log
///
/// Answers 202 only when every in-sync replica holds the event, or the spool has it on disk. Who may send is kept in
/// memory: changes are followed within two seconds, and an outage of PostgreSQL stops nothing. Starts without Kafka and
/// PostgreSQL too, says what it waits for, and goes on by itself.
///
/// Serves POST /v1/webhooks/ID, /health/live, /health/ready and /metrics (Prometheus). Ends where the settings of the
/// topics would lose events. Stops cleanly on SIGTERM: what is open is answered first, and what is spooled moved to the
/// log as far as time allows. A second SIGTERM ends it at once.
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
    spool: SpoolArgs,
    #[command(flatten)]
    limits: Limits,
}

/// Where deliveries wait while the log is away.
#[derive(Args)]
#[command(next_help_heading = "Spool")]
struct SpoolArgs {
    /// Folder on a persistent disk where deliveries are kept while Kafka is away, with fsync before they are answered
    /// 202; of this process alone. Without it they are answered 503
    #[arg(long, env = "FLEETLOG_SPOOL_DIR", value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    spool_dir: Option<PathBuf>,
    /// Most bytes of records kept there; on disk they take about a tenth more
    #[arg(long, env = "FLEETLOG_SPOOL_MAX_BYTES", value_name = "N", default_value_t = Spool::USUAL_MAX_BYTES)]
    spool_max_bytes: u64,
}

impl SpoolArgs {
    fn open(&self) -> Result<Option<Spool>, Failure> {
        let open = |dir: &PathBuf| Spool::open(dir, self.spool_max_bytes);
        let spool = self.spool_dir.as_ref().filter(|dir| !dir.as_os_str().is_empty());
        Ok(spool.map(open).transpose()?)
    }
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
        self.door.start(&mut role, &self.kafka, self.listen)?;
        role.run().await
    }
}

impl IngestArgs {
    /// Starts the door as tasks of a role, and with it the role's health and metrics.
    pub(crate) fn start(
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
        let listener: TcpListener = roles::bind(listen)?;
        let spool = self.spool.open()?;

        let (registry, follower) = Registry::new(pool, keyring);
        role.tasks.start("registry", |stop| follower.run(stop));
        let config = self.limits.config(log.prefix.clone(), role.traces.clone());
        let behind = Behind {
            registry,
            log: Log::awaited(),
            spool,
        };
        let (found, cause) = (behind.log.clone(), role.cause());
        let (append_timeout, spool) = (self.limits.append_timeout, behind.spool.clone());
        role.tasks.start("log", |stop| async move {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                settled = find(&log, append_timeout, &found, spool.as_ref()) => {
                    settled.map_err(|failure| cause.is(failure))?;
                }
            }
            stop.cancelled().await;
            Ok::<_, String>(())
        });
        let (health, metrics) = (role.health.clone(), role.metrics.clone());
        role.tasks.start("ingest", |stop| {
            ingest::run(listener, config, behind, health, metrics, stop.cancelled_owned())
        });
        Ok(())
    }
}

/// Waits for the log, and lets deliveries go there.
async fn find(
    config: &LogConfig,
    append_timeout: Duration,
    log: &Log,
    spool: Option<&Spool>,
) -> Result<(), Failure> {
    let identity = roles::checked_log(config, |why| log.waits(why.to_string())).await?;
    if let Some(spool) = spool {
        spool.belongs_to(&identity.log_id).await?;
    }
    log.found(Appender::to_log(config, identity, append_timeout)?);
    Ok(())
}

impl Limits {
    fn config(&self, topic_prefix: String, traces: Traces) -> Config {
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
            traces,
        }
    }
}
