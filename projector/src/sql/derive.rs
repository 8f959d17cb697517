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

/// Devices that a link or a fact of ours speaks of, by id, beginning after one.
pub(crate) async fn devices_after(
    connection: &mut PgConnection,
    last: DeviceId,
    most: i64,
) -> sqlx::Result<Vec<DeviceId>> {
    let devices: Vec<Uuid> = sqlx::query_scalar(
        "(SELECT DISTINCT device FROM links WHERE device > $1 ORDER BY device LIMIT $2)
          UNION
         (SELECT DISTINCT device FROM local_facts WHERE device > $1 ORDER BY device LIMIT $2)
          UNION
         (SELECT DISTINCT device FROM field_edits WHERE device > $1 ORDER BY device LIMIT $2)
          ORDER BY device LIMIT $2",
    )
    .bind(last.0)
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(devices.into_iter().map(DeviceId).collect())
}
