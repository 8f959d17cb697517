//! Registers of provider devices and of their fields.

use std::collections::BTreeMap;

use schema::{KnownBy, Serial};
use sqlx::PgConnection;

use super::value::{At, Keys, column, keep_newer, newer};
use crate::fold::rows::{DeviceKey, FieldRow, ProviderDeviceRow};

/// SQL: whether the proposed first name was recorded earlier.
macro_rules! earlier {
    () => {
        "coalesce((EXCLUDED.first_name_recorded_at, EXCLUDED.first_name_id) < \
         (held.first_name_recorded_at, held.first_name_id), \
         EXCLUDED.first_name_id IS NOT NULL AND held.first_name_id IS NULL)"
    };
}

/// Joins registers of provider devices.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<DeviceKey, &ProviderDeviceRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let name = Keys::of(rows, |row| row.name.key());
    let bound = Keys::of(rows, |row| row.bound.key());
    let gone = Keys::of(rows, |row| row.gone.key());
    let seen = Keys::of(rows, |row| row.seen.key());
    let first = |row: &ProviderDeviceRow| row.first_name.clone();
    sqlx::query(concat!(
        "INSERT INTO provider_devices AS held
                (id, organization, integration, known_by, external_id, name, name_at, name_sequence, name_id,
                 first_name, first_name_recorded_at, first_name_id, bound_device, bound_at, bound_sequence, bound_id,
                 gone_how, gone_at, gone_sequence, gone_id, seen_at, seen_sequence, seen_id)
         SELECT * FROM unnest(
                $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],
                $6::text[], $7::timestamptz[], $8::bigint[], $9::uuid[],
                $10::text[], $11::timestamptz[], $12::uuid[],
                $13::uuid[], $14::timestamptz[], $15::bigint[], $16::uuid[],
                $17::text[], $18::timestamptz[], $19::bigint[], $20::uuid[],
                $21::timestamptz[], $22::bigint[], $23::uuid[])
             ON CONFLICT (id) DO UPDATE
            SET ", keep_newer!("name", "name"), ", ",
        keep_newer!("bound", "bound_device"), ", ",
        keep_newer!("gone", "gone_how"), ", ",
        keep_newer!("seen"), ",
                first_name = CASE WHEN ", earlier!(), " THEN EXCLUDED.first_name ELSE held.first_name END,
                first_name_recorded_at = CASE WHEN ", earlier!(),
        " THEN EXCLUDED.first_name_recorded_at ELSE held.first_name_recorded_at END,
                first_name_id = CASE WHEN ", earlier!(), " THEN EXCLUDED.first_name_id ELSE held.first_name_id END
          WHERE ", newer!("name"), " OR ", newer!("bound"), " OR ", newer!("gone"), " OR ", newer!("seen"),
        " OR ", earlier!()
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |_, row| row.device.integration.0))
    .bind(column(rows, |_, row| known_by(row).0))
    .bind(column(rows, |_, row| known_by(row).1))
    .bind(column(rows, |_, row| row.name.value()?.as_ref().map(Serial::as_str)))
    .bind(name.at)
    .bind(name.sequence)
    .bind(name.id)
    .bind(column(rows, |_, row| first(row).map(|first| first.name.to_string())))
    .bind(column(rows, |_, row| first(row).map(|first| At(first.recorded_at))))
    .bind(column(rows, |_, row| first(row).map(|first| first.id.0)))
    .bind(column(rows, |_, row| row.bound.value().map(|device| device.0)))
    .bind(bound.at)
    .bind(bound.sequence)
    .bind(bound.id)
    .bind(column(rows, |_, row| row.gone.value().map(String::as_str)))
    .bind(gone.at)
    .bind(gone.sequence)
    .bind(gone.id)
    .bind(seen.at)
    .bind(seen.sequence)
    .bind(seen.id)
    .execute(connection)
    .await?;
    Ok(())
}

fn known_by(row: &ProviderDeviceRow) -> (&'static str, &str) {
    match &row.device.known_by {
        KnownBy::Id(id) => ("id", id.as_str()),
        KnownBy::Name(name) => ("name", name.as_str()),
    }
}

/// Joins registers of fields.
pub(crate) async fn join_fields(
    connection: &mut PgConnection,
    rows: &BTreeMap<(DeviceKey, String), FieldRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO field_registers AS held (provider_device, organization, field, value, at, sequence, id)
         SELECT device, organization, field, value::jsonb, at, sequence, id
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::uuid[])
                AS row (device, organization, field, value, at, sequence, id)
             ON CONFLICT (provider_device, field) DO UPDATE
            SET value = EXCLUDED.value, at = EXCLUDED.at, sequence = EXCLUDED.sequence, id = EXCLUDED.id
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)",
    )
    .bind(column(rows, |(device, _), _| *device))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |(_, field), _| field.as_str()))
    .bind(column(rows, |_, row| row.value.as_str()))
    .bind(column(rows, |_, row| At(row.key.at)))
    .bind(column(rows, |_, row| row.key.sequence))
    .bind(column(rows, |_, row| row.key.id.0))
    .execute(connection)
    .await?;
    Ok(())
}
