//! What is needed to fold whole provider devices again.

use std::collections::BTreeSet;

use schema::ProviderDevice;
use sqlx::{AssertSqlSafe, PgConnection, error::BoxDynError};
use uuid::Uuid;

use super::candidates::provider_device;
use crate::fold::rows::DeviceKey;

/// The tables that hold what events say of a provider device, and how they name it. `receipt_timed` keeps what it
/// knows.
const TABLES: [(&str, &str); 9] = [
    ("provider_devices", "id"),
    ("field_registers", "provider_device"),
    ("activity", "provider_device"),
    ("connections", "provider_device"),
    ("firmware_reports", "provider_device"),
    ("readings_latest", "provider_device"),
    ("readings", "provider_device"),
    ("logs", "provider_device"),
    ("registry_facts", "provider_device"),
];

/// Provider devices of whom an event was folded as of different times.
pub(crate) async fn of_two_times(connection: &mut PgConnection) -> sqlx::Result<Vec<ProviderDevice>> {
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT integration, known_by, external_id
           FROM provider_devices
          WHERE id IN (SELECT provider_device FROM receipt_timed
                        GROUP BY provider_device, id HAVING min(at) < max(at))",
    )
    .fetch_all(connection)
    .await?;
    let device = |(integration, known_by, external_id): (Uuid, String, String)| {
        provider_device(integration, &known_by, &external_id)
    };
    let devices = rows.into_iter().map(device).collect::<Result<_, BoxDynError>>();
    devices.map_err(sqlx::Error::Decode)
}

/// Removes all that events said of provider devices.
pub(crate) async fn forget(connection: &mut PgConnection, devices: &[DeviceKey]) -> sqlx::Result<()> {
    for (table, column) in TABLES {
        sqlx::query(AssertSqlSafe(format!(
            "DELETE FROM {table} WHERE {column} = ANY ($1)"
        )))
        .bind(devices)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Those of these provider devices that are there.
pub(crate) async fn there(
    connection: &mut PgConnection,
    devices: Vec<DeviceKey>,
) -> sqlx::Result<BTreeSet<DeviceKey>> {
    let there: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM provider_devices WHERE id = ANY ($1)")
        .bind(devices)
        .fetch_all(connection)
        .await?;
    Ok(there.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::{TRUTH, columns_of};

    #[test]
    fn no_table_about_provider_devices_is_forgotten() {
        let about = columns_of(TRUTH)
            .into_iter()
            .filter(|(table, columns)| {
                columns.contains(&"provider_device") && !["receipt_timed", "links"].contains(table)
            })
            .map(|(table, _)| table);
        let about: BTreeSet<_> = about.chain(["provider_devices"]).collect();
        assert_eq!(about, TABLES.iter().map(|(table, _)| *table).collect());
    }
}
