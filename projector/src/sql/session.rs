//! A connection that writes one generation.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// Takes a connection for good and pins the generation that it writes.
///
/// A commit need not wait for the disk: rows and positions commit together, so a crash of Postgres takes both back,
/// and the log still has the events.
pub(crate) async fn open(pool: &PgPool, generation: &str) -> sqlx::Result<PgConnection> {
    let mut connection = pool.acquire().await?.detach();
    // Every statement finds rows by key, however many it is given: a plan made for one batch is right for the next.
    // A generation's name is `gen_` and digits: see `generations`.
    let settings = format!(
        "SET search_path = {generation}; SET synchronous_commit = off;
         SET jit = off; SET plan_cache_mode = force_generic_plan;
         SET lock_timeout = '10s'; SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'"
    );
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut connection)
        .await?;
    Ok(connection)
}
