//! When integrations were last heard.

use std::collections::BTreeMap;

use schema::IntegrationId;
use sqlx::PgConnection;

use super::value::{At, column};
use crate::fold::rows::ListeningRow;

/// Joins when integrations were last heard.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<(IntegrationId, i32), ListeningRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    // `greatest` passes over nulls.
    sqlx::query(
        "INSERT INTO listening AS held (integration, organization, partition, last_push_at, last_scan_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::timestamptz[], $5::timestamptz[])
             ON CONFLICT (integration, partition) DO UPDATE
            SET last_push_at = greatest(held.last_push_at, EXCLUDED.last_push_at),
                last_scan_at = greatest(held.last_scan_at, EXCLUDED.last_scan_at)",
    )
    .bind(column(rows, |(integration, _), _| integration.0))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |(_, partition), _| *partition))
    .bind(column(rows, |_, row| row.last_push_at.map(At)))
    .bind(column(rows, |_, row| row.last_scan_at.map(At)))
    .execute(connection)
    .await?;
    Ok(())
}
