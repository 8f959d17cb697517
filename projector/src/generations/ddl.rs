//! The statements that make, activate and list generations. All run within a turn: see [`begin`].

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row, Transaction, postgres::PgRow, raw_sql};

use super::{Generation, GenerationError, Name, State, views};
use crate::fold::FOLD_VERSION;

const META: &str = include_str!("../../../migrations/projection/meta.sql");
pub(crate) const TRUTH: &str = include_str!("../../../migrations/projection/truth.sql");
pub(crate) const KEYS: &str = include_str!("../../../migrations/projection/keys.sql");
pub(crate) const POLICIES: &str = include_str!("../../../migrations/projection/policies.sql");

/// A transaction in which nobody else changes generations. The key is ours alone within a database.
pub(super) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, GenerationError> {
    let mut turn = pool.begin().await?;
    take_turn(&mut turn).await?;
    Ok(turn)
}

pub(super) async fn take_turn(connection: &mut PgConnection) -> Result<(), GenerationError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('fleetlog generations', 0))")
        .execute(&mut *connection)
        .await?;
    // `IF NOT EXISTS` would be announced each time.
    raw_sql("SET LOCAL client_min_messages = warning")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn set_lock_timeout(connection: &mut PgConnection) -> Result<(), GenerationError> {
    raw_sql("SET LOCAL lock_timeout = '5s'")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn install_within(connection: &mut PgConnection) -> Result<(), GenerationError> {
    raw_sql(ADMIT).execute(&mut *connection).await?;
    act_as_projector(connection).await?;
    raw_sql(META).execute(&mut *connection).await?;
    raw_sql("CREATE SCHEMA IF NOT EXISTS fleet")
        .execute(connection)
        .await?;
    Ok(())
}

/// Whoever may not act as the projector, or find room for its schemas, grants that to itself if it may.
/// Before Postgres 16, to be a member was to be able to act; since then it is a right of its own.
const ADMIT: &str = "
DO $$
BEGIN
    IF NOT (CASE WHEN current_setting('server_version_num')::integer < 160000
                 THEN pg_has_role('fleetlog_projector', 'MEMBER')
                 ELSE pg_has_role('fleetlog_projector', 'SET') END)
    THEN
        GRANT fleetlog_projector TO CURRENT_USER;
    END IF;
    IF NOT has_database_privilege('fleetlog_projector', current_database(), 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO fleetlog_projector', current_database());
    END IF;
    -- Rows that differ are compared in temporary tables.
    IF NOT has_database_privilege('fleetlog_projector', current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO fleetlog_projector', current_database());
    END IF;
END
$$";

/// What is made from here to the end of the transaction belongs to the projector.
pub(super) async fn act_as_projector(connection: &mut PgConnection) -> Result<(), GenerationError> {
    raw_sql("SET LOCAL ROLE fleetlog_projector")
        .execute(connection)
        .await?;
    Ok(())
}

/// Names without a schema mean this generation's; temporary tables come last, so that none can stand in for them.
pub(super) async fn pin(connection: &mut PgConnection, name: &Name) -> Result<(), GenerationError> {
    sqlx::query("SELECT set_config('search_path', $1, true)")
        .bind(format!("{name}, pg_temp"))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn create_within(
    connection: &mut PgConnection,
    name: &Name,
    state: State,
) -> Result<(), GenerationError> {
    begin_within(connection, name, state).await?;
    raw_sql(KEYS).execute(&mut *connection).await?;
    raw_sql(POLICIES).execute(connection).await?;
    Ok(())
}

/// Registers a generation and makes its tables, without keys and policies.
pub(super) async fn begin_within(
    connection: &mut PgConnection,
    name: &Name,
    state: State,
) -> Result<(), GenerationError> {
    let inserted = sqlx::query(
        "
        INSERT INTO projection_meta.generations (generation, state, fold_version)
        VALUES ($1, $2, $3)
        ON CONFLICT (generation) DO NOTHING
        ",
    )
    .bind(name.to_string())
    .bind(<&str>::from(state))
    .bind(FOLD_VERSION)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(GenerationError::Exists(name.to_string()));
    }
    raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {name}")))
        .execute(&mut *connection)
        .await?;
    pin(connection, name).await?;
    raw_sql(TRUTH).execute(connection).await?;
    Ok(())
}

pub(super) async fn activate_within(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<(), GenerationError> {
    // First, since only one may be active.
    sqlx::query(
        "UPDATE projection_meta.generations SET state = 'retired', changed_at = now()
          WHERE state = 'active' AND generation <> $1",
    )
    .bind(name.to_string())
    .execute(&mut *connection)
    .await?;
    let activated = sqlx::query(
        "UPDATE projection_meta.generations SET state = 'active', changed_at = now() WHERE generation = $1",
    )
    .bind(name.to_string())
    .execute(&mut *connection)
    .await?;
    if activated.rows_affected() == 0 {
        return Err(GenerationError::NoSuchGeneration(name.to_string()));
    }
    // What a survey found was of another generation.
    sqlx::query("UPDATE projection_meta.surveys SET good_until = '-infinity'")
        .execute(&mut *connection)
        .await?;
    views::replace(connection, name).await
}

/// Views outside a generation that were made on its tables; nobody but the views of `fleet` is expected to.
pub(super) async fn dependants(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<Option<String>, GenerationError> {
    let dependants = sqlx::query_scalar(
        "
        SELECT string_agg(DISTINCT v.oid::regclass::text, ', ')
          FROM pg_catalog.pg_class t
          JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
                                     AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
          JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
         WHERE t.relnamespace = to_regnamespace($1) AND v.relnamespace <> t.relnamespace
        ",
    )
    .bind(name.to_string())
    .fetch_one(connection)
    .await?;
    Ok(dependants)
}

/// Drops some of the daily partitions of a generation; says whether there were any.
pub(super) async fn drop_some_days(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<bool, GenerationError> {
    let days: Option<String> = sqlx::query_scalar(
        "
        SELECT string_agg(format('%I.%I', $1::text, day.relname), ', ')
          FROM (SELECT c.relname FROM pg_catalog.pg_class c
                 WHERE c.relnamespace = to_regnamespace($1) AND c.relispartition AND c.relkind = 'r'
                 ORDER BY c.relname LIMIT 100) AS day
        ",
    )
    .bind(name.to_string())
    .fetch_one(&mut *connection)
    .await?;
    let Some(days) = days else {
        return Ok(false);
    };
    raw_sql(AssertSqlSafe(format!("DROP TABLE {days}")))
        .execute(connection)
        .await?;
    Ok(true)
}

/// Drops what is left of a generation, and forgets it.
pub(super) async fn drop_rest(connection: &mut PgConnection, name: &Name) -> Result<(), GenerationError> {
    raw_sql(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {name} CASCADE")))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM projection_meta.generations WHERE generation = $1")
        .bind(name.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn select_generations(
    connection: &mut PgConnection,
) -> Result<Vec<Generation>, GenerationError> {
    let rows = sqlx::query(
        "
        SELECT generation, state, fold_version, log_id, partitions, created_at, changed_at
          FROM projection_meta.generations
         ORDER BY length(generation), generation
        ",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(generation_of).collect()
}

fn generation_of(row: &PgRow) -> Result<Generation, GenerationError> {
    let generation: String = row.try_get("generation")?;
    let state: String = row.try_get("state")?;
    let Ok(known) = state.parse() else {
        return Err(GenerationError::Unreadable { generation, state });
    };
    Ok(Generation {
        generation,
        state: known,
        fold_version: row.try_get("fold_version")?,
        log_id: row.try_get("log_id")?,
        partitions: row.try_get("partitions")?,
        created_at: row.try_get("created_at")?,
        changed_at: row.try_get("changed_at")?,
    })
}

/// The columns of each table that a script makes, in its words.
#[cfg(test)]
pub(crate) fn columns_of(
    script: &'static str,
) -> std::collections::BTreeMap<&'static str, Vec<&'static str>> {
    let mut tables = std::collections::BTreeMap::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        let Some(table) = line
            .strip_prefix("CREATE TABLE ")
            .and_then(|rest| rest.strip_suffix(" ("))
        else {
            continue;
        };
        let columns = lines.by_ref().take_while(|line| !line.starts_with(')'));
        let columns = columns.filter_map(|line| line.split_whitespace().next());
        tables.insert(table, columns.filter(|word| *word != "--").collect());
    }
    tables
}
