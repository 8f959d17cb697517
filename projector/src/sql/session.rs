//! A connection that writes one generation.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// Takes a connection for good and pins the generation that it writes.
///
/// A commit need not wait for the disk: rows and positions commit together, so a crash of Postgres takes both back,
/// and the log still has the events.
pub(crate) async fn open(pool: &PgPool, generation: &str) -> sqlx::Result<PgConnection> {
    let mut connection = pool.acquire().await?.detach();
    // Every statement finds rows by key, however many it is given: a plan made for one batch is right for the next,
    // and for a fleet of any size. So no plan may come from how few rows there are yet. The memory holds the rows of
    // a batch.
    // A generation's name is `gen_` and digits: see `generations`.
    let settings = format!(
        "SET search_path = {generation}; SET synchronous_commit = off; SET work_mem = '16MB';
         SET jit = off; SET plan_cache_mode = force_generic_plan;
         SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
         SET lock_timeout = '10s'; SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'"
    );
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Takes a connection for good that fills a generation which nobody else writes, as its owner.
///
/// Commits need not wait for the disk for the reason above. A statement may take as long as the largest index does;
/// that nobody waits for it any more Postgres notices by itself.
pub(crate) async fn open_to_load(pool: &PgPool, generation: &str) -> sqlx::Result<PgConnection> {
    let mut connection = pool.acquire().await?.detach();
    let settings = format!(
        "SET ROLE fleetlog_projector; SET search_path = {generation}; SET timezone = 'UTC';
         SET synchronous_commit = off; SET jit = off;
         SET work_mem = '64MB'; SET maintenance_work_mem = '256MB';
         SET lock_timeout = '60s'; SET statement_timeout = '12h';
         SET idle_in_transaction_session_timeout = '15min';
         SET client_connection_check_interval = '2s'"
    );
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut connection)
        .await?;
    Ok(connection)
}
