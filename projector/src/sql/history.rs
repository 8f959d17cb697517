//! Histories, in daily partitions: the days, and log entries. Readings have a module of their own.

use std::collections::BTreeMap;

use schema::Origin;
use sqlx::PgConnection;

use super::value::{At, column};
use crate::fold::rows::{HistoryKey, LogRow, Said};

/// Makes the partition of a day, unless it is there. `day` counts from 1970-01-01, UTC.
pub(crate) async fn make_day(connection: &mut PgConnection, history: &str, day: i32) -> sqlx::Result<()> {
    sqlx::query("SELECT make_day($1, date '1970-01-01' + $2)")
        .bind(history)
        .bind(day)
        .execute(connection)
        .await?;
    Ok(())
}

/// Joins log entries. Returns how many are new.
pub(crate) async fn join_logs(
    connection: &mut PgConnection,
    rows: &BTreeMap<HistoryKey, LogRow>,
) -> sqlx::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let written = sqlx::query(
        "INSERT INTO logs AS held
                (provider_device, organization, at, sequence, id, recorded_at, level, module, message, metadata,
                 origin, device_name, name_at)
         SELECT device, organization, at, sequence, id, recorded_at, level, module, message, metadata::jsonb,
                origin, device_name, name_at
           FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::uuid[], $6::timestamptz[],
                       $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[])
                AS row (device, organization, at, sequence, id, recorded_at, level, module, message, metadata,
                        origin, device_name, name_at)
             ON CONFLICT (provider_device, at, sequence, id) DO UPDATE
            SET recorded_at = EXCLUDED.recorded_at
          WHERE EXCLUDED.recorded_at < held.recorded_at",
    )
    .bind(column(rows, |key, _| key.device))
    .bind(column(rows, |_, row| row.said.organization.0))
    .bind(column(rows, |key, _| At(key.key.at)))
    .bind(column(rows, |key, _| key.key.sequence))
    .bind(column(rows, |key, _| key.key.id.0))
    .bind(column(rows, |_, row| At(row.said.recorded_at)))
    .bind(column(rows, |_, row| row.level.as_deref()))
    .bind(column(rows, |_, row| row.module.as_deref()))
    .bind(column(rows, |_, row| row.message.as_str()))
    .bind(column(rows, |_, row| row.metadata.as_deref()))
    .bind(column(rows, |_, row| origin(&row.said)))
    .bind(column(rows, |_, row| row.said.device_name.as_deref()))
    .bind(column(rows, |_, row| row.said.name_at.map(At)))
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}

/// As stored: nearly all are pushed, so that is what null stands for.
pub(super) fn origin(said: &Said) -> Option<&'static str> {
    (said.origin != Origin::Push).then(|| said.origin.into())
}

/// Reads an origin as stored.
pub(super) fn read_origin(text: Option<&str>) -> Origin {
    text.and_then(|text| text.parse().ok()).unwrap_or(Origin::Push)
}
