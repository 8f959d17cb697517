//! Waiting at the start: for Kafka, for Postgres, and for what is to be made there first.
//!
//! What may come by itself, or by the next command of whoever installs, is waited for: it is said in the log at once and
//! every few seconds, with where it is looked for, and in readiness, which strangers may read, without. What nobody but an operator can mend ends it.

use std::{fmt::Display, future::Future, pin::pin, time::Duration};

use service::{CancellationToken, Check, Health};
use sqlx::{PgPool, error::DatabaseError};
use stream::{KafkaFault, LogConfig, LogIdentity, topics::TopicsError};
use tokio::time::{Instant, sleep};

use crate::{
    Config, FOLD_VERSION, ProjectorError,
    generations::{self, GenerationError},
    pause::Pause,
    sql::{Verdict, verdict},
};

/// How often it is said what is waited for.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// How long the first question may take before that is said: clients try for a while before they give up.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// Learns which log it is; waits while Kafka is away. None if told to stop meanwhile.
pub(crate) async fn log(
    config: &Config,
    log: &LogConfig,
    health: &Health,
    shutdown: &CancellationToken,
) -> Result<Option<LogIdentity>, ProjectorError> {
    let mut waiting = Waiting::new(config, "kafka", "Kafka", log.brokers.clone());
    loop {
        let Some(answer) = waiting.answer(stream::topics::check(log), health, shutdown).await else {
            return Ok(None);
        };
        let error = match answer {
            Ok(identity) => {
                health.set("kafka", Check::passing("found the log"));
                return Ok(Some(identity));
            }
            Err(error @ TopicsError::Kafka(KafkaFault::Setting(_))) => return Err(error.into()),
            Err(error @ (TopicsError::Kafka(_) | TopicsError::NotThere)) => error,
            Err(error @ (TopicsError::Unsafe(_) | TopicsError::Refused { .. } | TopicsError::Opening(_))) => {
                return Err(error.into());
            }
        };
        if waiting.goes_on(&error, health, shutdown).await.is_none() {
            return Ok(None);
        }
    }
}

/// The generation to fill; waits while Postgres is away, or not prepared yet. None if told to stop meanwhile.
pub(crate) async fn active_generation(
    config: &Config,
    pool: &PgPool,
    health: &Health,
    shutdown: &CancellationToken,
) -> Result<Option<String>, ProjectorError> {
    let mut waiting = Waiting::new(config, "postgres", "PostgreSQL", place(pool));
    loop {
        let Some(answer) = waiting.answer(generations::active(pool), health, shutdown).await else {
            return Ok(None);
        };
        let error = match answer {
            Ok(active) if active.fold_version == FOLD_VERSION => {
                let detail = format!("{} is what readers see", active.generation);
                health.set("postgres", Check::passing(detail));
                return Ok(Some(active.generation));
            }
            Ok(active) => {
                return Err(ProjectorError::FoldVersion {
                    generation: active.generation,
                    held: active.fold_version,
                    own: FOLD_VERSION,
                });
            }
            Err(GenerationError::Database(sqlx::Error::PoolTimedOut)) => {
                "it cannot be reached, or has no connection to spare".to_owned()
            }
            Err(error) if may_come(&error) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if waiting.goes_on(&error, health, shutdown).await.is_none() {
            return Ok(None);
        }
    }
}

/// Whether it may be there a moment later: the server, or what `fleetlog migrate` makes in it.
fn may_come(error: &GenerationError) -> bool {
    match error {
        GenerationError::NoneActive | GenerationError::NotMigrated => true,
        GenerationError::Database(error) => {
            let refused = error.as_database_error().and_then(DatabaseError::code);
            // The database, the role, its password, its rights.
            let not_made = matches!(refused.as_deref(), Some("3D000" | "28000" | "28P01" | "42501"));
            not_made || verdict(error) == Verdict::Reconnect
        }
        GenerationError::InvalidName(_)
        | GenerationError::NoSuchGeneration(_)
        | GenerationError::Exists(_)
        | GenerationError::BuiltOn(_)
        | GenerationError::Unreadable { .. } => false,
    }
}

/// Host, port and database, for people.
fn place(pool: &PgPool) -> String {
    let options = pool.connect_options();
    let database = options.get_database().unwrap_or("(unnamed)");
    format!(
        "{}:{}, database {database}",
        options.get_host(),
        options.get_port()
    )
}

/// Says what is waited for, and paces the asking.
struct Waiting {
    check: &'static str,
    what: &'static str,
    at: String,
    pause: Pause,
    told: Option<Instant>,
}

impl Waiting {
    fn new(config: &Config, check: &'static str, what: &'static str, at: String) -> Self {
        Self {
            check,
            what,
            at,
            pause: Pause::new(config),
            told: None,
        }
    }

    /// Asks. Says so if the answer takes long; none if told to stop before it comes.
    async fn answer<T>(
        &mut self,
        question: impl Future<Output = T>,
        health: &Health,
        shutdown: &CancellationToken,
    ) -> Option<T> {
        let mut question = pin!(question);
        if self.told.is_none() {
            tokio::select! {
                answer = &mut question => return Some(answer),
                () = shutdown.cancelled() => return None,
                () = sleep(FIRST_PATIENCE) => self.tell(&"no answer so far", health),
            }
        }
        shutdown.run_until_cancelled(question).await
    }

    /// Says why it is waited, and returns when it is time to ask again; none if told to stop.
    async fn goes_on(
        &mut self,
        why: &impl Display,
        health: &Health,
        shutdown: &CancellationToken,
    ) -> Option<()> {
        self.tell(why, health);
        shutdown.run_until_cancelled(sleep(self.pause.next())).await
    }

    fn tell(&mut self, why: &impl Display, health: &Health) {
        let Self { what, at, .. } = self;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            tracing::warn!(error = %why, "waiting for {what} at {at}: {why}");
            self.told = Some(Instant::now());
        }
        health.set(self.check, Check::failing(format!("waiting for {what}: {why}")));
    }
}
