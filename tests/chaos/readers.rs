//! Readers, who notice nothing of all this unless PostgreSQL itself is gone.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::PgPool;
use tokio::time::{interval, timeout};

/// How long a reader waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read, in turn.
const QUERIES: [&str; 6] = [
    "SELECT count(*) FROM fleet.devices WHERE connectivity IS NOT NULL",
    "SELECT count(*) FROM fleet.device_fields",
    "SELECT count(*) FROM fleet.conflicts",
    "SELECT count(*) FROM fleet.summary",
    "SELECT count(*) FROM fleet.sessions",
    "SELECT count(*) FROM fleet.firmware_history",
];
/// What was read once is there for good.
const GROWING: &str = "SELECT count(*) FROM fleet.readings";

/// What readers saw.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Queries that were answered.
    pub(crate) answered: u64,
    /// Queries that failed, though PostgreSQL was there.
    pub(crate) failed: Vec<String>,
    /// Times that readings which had been there were gone.
    pub(crate) shrunk: Vec<String>,
}

/// Reads until told to stop. `postgres_fails` says that PostgreSQL itself is disturbed in this schedule: then it may
/// be away, and commits that it had not written may be made again.
pub(crate) async fn read(pool: PgPool, postgres_fails: bool, stop: Arc<AtomicBool>, seen: Arc<Mutex<Read>>) {
    let mut turn = interval(Duration::from_millis(60));
    let mut most: i64 = 0;
    let queries = QUERIES.iter().flat_map(|query| [*query, GROWING]).cycle();
    for query in queries {
        turn.tick().await;
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let query_one = sqlx::query_scalar::<_, i64>(query).fetch_one(&pool);
        let outcome = timeout(PATIENCE, query_one).await;
        let outcome = outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(n) => {
                seen.answered += 1;
                if query == GROWING && n < most && !postgres_fails {
                    seen.shrunk.push(format!("{most} readings, then {n}"));
                }
                if query == GROWING {
                    most = n;
                }
            }
            Err(error) if postgres_fails && is_outage(&error) => {}
            Err(error) => seen.failed.push(format!("{query}: {error}")),
        }
    }
}

fn is_outage(error: &sqlx::Error) -> bool {
    let Some(code) = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
    else {
        return true;
    };
    // Connections that break, and a server that shuts down, starts or recovers.
    code.starts_with("08") || code.starts_with("57P")
}
