//! Some devices folded apart from all others, into temporary tables that are called like the truth tables: statements
//! that name no schema write those.

use std::collections::BTreeSet;

use schema::DeviceId;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{compare::quoted, truth_tables::Table};

/// How the rows of a table belong to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// To a provider device, by this column.
    ToProviderDevice(&'static str),
    /// To a device, by this column.
    ToDevice(&'static str),
}

/// How the rows of a table belong to somebody; nothing for those that belong to all.
pub(crate) fn belongs(table: &Table) -> Option<Belongs> {
    let has = |column: &str| table.columns.iter().any(|(name, _)| name == column);
    match table.name.as_str() {
        "provider_devices" => Some(Belongs::ToProviderDevice("id")),
        "devices" => Some(Belongs::ToDevice("id")),
        _ if has("provider_device") => Some(Belongs::ToProviderDevice("provider_device")),
        _ if has("device") => Some(Belongs::ToDevice("device")),
        _ => None,
    }
}

/// Makes empty temporary tables like those of a generation. They are gone when the session ends.
pub(crate) async fn make_tables(
    connection: &mut PgConnection,
    generation: &str,
    tables: &[Table],
) -> sqlx::Result<()> {
    sqlx::raw_sql("SET client_min_messages = warning")
        .execute(&mut *connection)
        .await?;
    let names = tables.iter().map(|table| table.name.as_str());
    for name in names.chain(["device_anchor"]) {
        let name = quoted(name);
        let make = format!(
            "DROP TABLE IF EXISTS pg_temp.{name};
             CREATE TEMPORARY TABLE {name} (LIKE {generation}.{name} INCLUDING ALL)"
        );
        sqlx::raw_sql(AssertSqlSafe(make))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Names without a schema mean the temporary tables from here on.
pub(crate) async fn turn_to_temporary(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("SET search_path = pg_temp")
        .execute(connection)
        .await?;
    Ok(())
}

/// Names without a schema mean a generation's tables from here on, and never temporary ones.
pub(crate) async fn turn_to(connection: &mut PgConnection, generation: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(format!("SET search_path = {generation}, pg_temp")))
        .execute(connection)
        .await?;
    Ok(())
}

/// Devices that are called so, by id or serial, here or in a registration.
pub(crate) async fn called(connection: &mut PgConnection, text: &str) -> sqlx::Result<Vec<DeviceId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM devices WHERE id::text = $1 OR serial = $1
          UNION
         SELECT device FROM local_facts WHERE device::text = $1 OR serial = $1
          UNION
         SELECT device FROM links WHERE device::text = $1",
    )
    .bind(text)
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(DeviceId).collect())
}

/// Provider devices that are or were called so.
pub(crate) async fn named(connection: &mut PgConnection, text: &str) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT id FROM provider_devices WHERE name = $1 OR first_name = $1 OR external_id = $1",
    )
    .bind(text)
    .fetch_all(connection)
    .await
}

/// Devices drawn at random; the same for the same seed.
pub(crate) async fn sample(connection: &mut PgConnection, n: i64, seed: i64) -> sqlx::Result<Vec<DeviceId>> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM devices ORDER BY hashtextextended(id::text, $2), id LIMIT $1")
            .bind(n)
            .bind(seed)
            .fetch_all(connection)
            .await?;
    Ok(ids.into_iter().map(DeviceId).collect())
}

/// The days of a history for which there are temporary rows, counted from 1970-01-01.
pub(crate) async fn days(connection: &mut PgConnection, history: &str) -> sqlx::Result<BTreeSet<i32>> {
    let days: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT DISTINCT (at AT TIME ZONE 'UTC')::date - date '1970-01-01' FROM pg_temp.{}",
        quoted(history)
    )))
    .fetch_all(connection)
    .await?;
    Ok(days.into_iter().collect())
}

/// Puts the temporary rows in the place of a generation's. With `keep` only rows of equal keys are replaced, and what
/// only the generation has stays.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    generation: &str,
    table: &Table,
    (column, keys): (&str, &[Uuid]),
    keep: bool,
) -> sqlx::Result<()> {
    let name = quoted(&table.name);
    let column = quoted(column);
    let equal = |key: &String| format!("t.{0} = folded.{0}", quoted(key));
    let replaced = if keep {
        let equal: Vec<_> = table.key.iter().map(equal).collect();
        format!(
            "AND EXISTS (SELECT FROM pg_temp.{name} folded WHERE {})",
            equal.join(" AND ")
        )
    } else {
        String::new()
    };
    sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM {generation}.{name} t WHERE t.{column} = ANY ($1) {replaced}"
    )))
    .bind(keys)
    .execute(&mut *connection)
    .await?;
    let columns: Vec<_> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
    let columns = columns.join(", ");
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO {generation}.{name} ({columns})
         SELECT {columns} FROM pg_temp.{name} folded WHERE folded.{column} = ANY ($1)"
    )))
    .bind(keys)
    .execute(connection)
    .await?;
    Ok(())
}
