//! What links and devices are derived from, chunk by chunk.

use std::collections::BTreeSet;

use schema::DeviceId;
use sqlx::PgConnection;
use uuid::Uuid;

/// How many provider devices there are.
pub(crate) async fn n_provider_devices(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM provider_devices")
        .fetch_one(connection)
        .await
}

/// Of these devices, those that someone registered or edited here.
pub(crate) async fn claimed(
    connection: &mut PgConnection,
    devices: BTreeSet<DeviceId>,
) -> sqlx::Result<BTreeSet<DeviceId>> {
    let devices: Vec<Uuid> = devices.into_iter().map(|device| device.0).collect();
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT device FROM local_facts
          WHERE device = ANY ($1) AND name IN ('device.registered', 'device.edited')",
    )
    .bind(devices)
    .fetch_all(connection)
    .await?;
    Ok(claimed.into_iter().map(DeviceId).collect())
}

/// Forgets what was derived before, in a generation that nobody else writes; and looks at what it is derived from, so
/// that statements over all of it are planned by what there is.
pub(crate) async fn begin(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("TRUNCATE links, devices; ANALYZE provider_devices, activity, local_facts, field_edits")
        .execute(connection)
        .await?;
    Ok(())
}

/// Looks at the links, once they are there.
pub(crate) async fn are_linked(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("ANALYZE links").execute(connection).await?;
    Ok(())
}

/// Devices that facts of ours speak of, but no link, by id, beginning after one.
pub(crate) async fn told_after(
    connection: &mut PgConnection,
    last: DeviceId,
    most: usize,
) -> sqlx::Result<Vec<DeviceId>> {
    let devices: Vec<Uuid> = sqlx::query_scalar(
        "SELECT device FROM (
                (SELECT DISTINCT device FROM local_facts f
                  WHERE device > $1 AND NOT EXISTS (SELECT FROM links l WHERE l.device = f.device)
                  ORDER BY device LIMIT $2)
                 UNION
                (SELECT DISTINCT device FROM field_edits e
                  WHERE device > $1 AND NOT EXISTS (SELECT FROM links l WHERE l.device = e.device)
                  ORDER BY device LIMIT $2)
                ) AS told
          ORDER BY device LIMIT $2",
    )
    .bind(last.0)
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    Ok(devices.into_iter().map(DeviceId).collect())
}
