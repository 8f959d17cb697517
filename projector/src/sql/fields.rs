//! Registers of fields.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::value::{At, column};
use crate::fold::rows::{DeviceKey, FieldRow};

/// Joins registers of fields.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<(DeviceKey, String), FieldRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO field_registers AS held
                (provider_device, organization, field, value, value_hash, at, sequence, id)
         SELECT device, organization, field, value::jsonb, value_hash, at, sequence, id
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::bigint[],
                       $8::uuid[])
                AS row (device, organization, field, value, value_hash, at, sequence, id)
             ON CONFLICT (provider_device, field) DO UPDATE
            SET value = EXCLUDED.value, value_hash = EXCLUDED.value_hash, at = EXCLUDED.at, sequence = EXCLUDED.sequence, id = EXCLUDED.id
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)",
    )
    .bind(column(rows, |(device, _), _| *device))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |(_, field), _| field.as_str()))
    .bind(column(rows, |_, row| row.value.as_str()))
    .bind(column(rows, |_, row| row.hash))
    .bind(column(rows, |_, row| At(row.key.at)))
    .bind(column(rows, |_, row| row.key.sequence))
    .bind(column(rows, |_, row| row.key.id.0))
    .execute(connection)
    .await?;
    Ok(())
}
