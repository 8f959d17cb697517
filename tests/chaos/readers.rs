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
const PATIENCE: Duration = Duration::from_secs(25);

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
pub(crate) async fn read(
    [pool, admin]: [PgPool; 2],
    postgres_fails: bool,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Read>>,
) {
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
        let in_the_way = if outcome.is_err() && !postgres_fails {
            waiting(&admin).await
        } else {
            String::new()
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(outcome) = outcome else {
            if !postgres_fails {
                let what = format!("{query}: no answer within {PATIENCE:?}; {in_the_way}");
                seen.failed.push(what);
            }
            continue;
        };
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

/// What PostgreSQL's processes wait for, for whoever has to understand it.
async fn waiting(admin: &PgPool) -> String {
    let asked = sqlx::query_scalar::<_, String>(
        "SELECT coalesce(string_agg(format('%s %s %s %s by %s since %s: %s', pid, application_name, state,
                coalesce(wait_event, '-'), pg_blocking_pids(pid), now() - state_change, left(query, 90)), '; '), '-')
           FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(admin);
    match timeout(PATIENCE, asked).await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => error.to_string(),
        Err(late) => late.to_string(),
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
