//! Latest readings per path and shape.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::value::{At, column};
use crate::fold::{
    MAX_SHAPES,
    rows::{LatestKey, LatestRow},
};

/// Joins latest readings, and drops shapes that are no longer among the newest of their path.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<LatestKey, LatestRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    // Only a shape that was not there can be one too many.
    let grown: Vec<(Uuid, String)> = sqlx::query_as(
        "WITH written AS (
         INSERT INTO readings_latest AS held
                (provider_device, organization, path, shape, at, sequence, id, recorded_at, content_type, data, bytes)
         SELECT device, organization, path, shape, at, sequence, id, recorded_at, content_type, data::jsonb, bytes
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bigint[], $7::uuid[],
                       $8::timestamptz[], $9::text[], $10::text[], $11::bytea[])
                AS row (device, organization, path, shape, at, sequence, id, recorded_at, content_type, data, bytes)
             ON CONFLICT (provider_device, path, shape) DO UPDATE
            SET at = EXCLUDED.at, sequence = EXCLUDED.sequence, id = EXCLUDED.id, recorded_at = EXCLUDED.recorded_at,
                content_type = EXCLUDED.content_type, data = EXCLUDED.data, bytes = EXCLUDED.bytes
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)
             OR ((EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) = (held.at, held.sequence, held.id)
                 AND EXCLUDED.recorded_at < held.recorded_at)
         RETURNING provider_device, path, xmax = 0 AS is_new)
         SELECT DISTINCT provider_device, path FROM written WHERE is_new",
    )
    .bind(column(rows, |key, _| key.device))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |key, _| key.path.to_string()))
    .bind(column(rows, |key, _| key.shape))
    .bind(column(rows, |_, row| At(row.key.at)))
    .bind(column(rows, |_, row| row.key.sequence))
    .bind(column(rows, |_, row| row.key.id.0))
    .bind(column(rows, |_, row| At(row.recorded_at)))
    .bind(column(rows, |_, row| row.payload.content_type.as_deref()))
    .bind(column(rows, |_, row| row.payload.data.as_deref()))
    .bind(column(rows, |_, row| row.payload.bytes.as_deref()))
    .fetch_all(&mut *connection)
    .await?;
    drop_oldest(connection, grown).await
}

async fn drop_oldest(connection: &mut PgConnection, paths: Vec<(Uuid, String)>) -> sqlx::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let (devices, paths): (Vec<Uuid>, Vec<String>) = paths.into_iter().unzip();
    sqlx::query(
        "DELETE FROM readings_latest AS held
          USING unnest($1::uuid[], $2::text[]) AS grown (device, path),
                LATERAL (
                    SELECT kept.at, kept.sequence, kept.id
                      FROM readings_latest AS kept
                     WHERE kept.provider_device = grown.device AND kept.path = grown.path
                     ORDER BY kept.at DESC, kept.sequence DESC, kept.id DESC
                    OFFSET $3 LIMIT 1
                ) AS last
          WHERE held.provider_device = grown.device AND held.path = grown.path
            AND (held.at, held.sequence, held.id) < (last.at, last.sequence, last.id)",
    )
    .bind(devices)
    .bind(paths)
    .bind(i64::try_from(MAX_SHAPES - 1).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}
