//! Registers of provider devices.
//!
//! A provider device that is not there is inserted whole; of one that is, each register is joined by a statement of its
//! own, since most events say one or two. Nobody else writes these rows: should someone have inserted one meanwhile,
//! the key is violated and the batch repeated.

use std::collections::BTreeMap;

use schema::{DeviceId, KnownBy, Serial};
use sqlx::PgConnection;

use super::value::{At, Keys, column, newer};
use crate::fold::rows::{DeviceKey, FirstName, ProviderDeviceRow};

/// Rows by key.
type Rows<'a> = BTreeMap<DeviceKey, &'a ProviderDeviceRow>;

/// Rows that hold a register, with what it holds.
type Having<'a, T> = BTreeMap<DeviceKey, (&'a ProviderDeviceRow, &'a T)>;

fn having<'a, T>(rows: &Rows<'a>, of: impl Fn(&'a ProviderDeviceRow) -> Option<&'a T>) -> Having<'a, T> {
    let rows = rows.iter();
    rows.filter_map(|(key, row)| Some((*key, (*row, of(row)?))))
        .collect()
}

/// Inserts provider devices that are not there.
pub(crate) async fn insert(connection: &mut PgConnection, rows: &Rows<'_>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let name = Keys::of(rows, |row| row.name.key());
    let bound = Keys::of(rows, |row| row.bound.key());
    let gone = Keys::of(rows, |row| row.gone.key());
    let seen = Keys::of(rows, |row| row.seen.key());
    sqlx::query(
        "INSERT INTO provider_devices
                (id, organization, integration, known_by, external_id, name, name_at, name_sequence, name_id,
                 first_name, first_name_recorded_at, first_name_id, bound_device, bound_at, bound_sequence, bound_id,
                 gone_how, gone_at, gone_sequence, gone_id, seen_at, seen_sequence, seen_id)
         SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::text[]), unnest($5::text[]),
                unnest($6::text[]), unnest($7::timestamptz[]), unnest($8::bigint[]), unnest($9::uuid[]),
                unnest($10::text[]), unnest($11::timestamptz[]), unnest($12::uuid[]),
                unnest($13::uuid[]), unnest($14::timestamptz[]), unnest($15::bigint[]), unnest($16::uuid[]),
                unnest($17::text[]), unnest($18::timestamptz[]), unnest($19::bigint[]), unnest($20::uuid[]),
                unnest($21::timestamptz[]), unnest($22::bigint[]), unnest($23::uuid[])",
    )
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |_, row| row.device.integration.0))
    .bind(column(rows, |_, row| known_by(row).0))
    .bind(column(rows, |_, row| known_by(row).1))
    .bind(column(rows, |_, row| {
        row.name.value()?.as_ref().map(Serial::as_str)
    }))
    .bind(name.at)
    .bind(name.sequence)
    .bind(name.id)
    .bind(column(rows, |_, row| Some(row.first_name.as_ref()?.name.as_str())))
    .bind(column(rows, |_, row| Some(At(row.first_name.as_ref()?.recorded_at))))
    .bind(column(rows, |_, row| Some(row.first_name.as_ref()?.id.0)))
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

/// Joins registers of provider devices that are there.
pub(crate) async fn join(connection: &mut PgConnection, rows: &Rows<'_>) -> sqlx::Result<()> {
    join_names(connection, &having(rows, |row| row.name.value())).await?;
    join_first_names(connection, &having(rows, |row| row.first_name.as_ref())).await?;
    join_bound(connection, &having(rows, |row| row.bound.value())).await?;
    join_gone(connection, &having(rows, |row| row.gone.value())).await?;
    join_seen(connection, &having(rows, |row| row.seen.value())).await
}

async fn join_names(connection: &mut PgConnection, rows: &Having<'_, Option<Serial>>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(rows, |(row, _)| row.name.key());
    sqlx::query(concat!(
        "UPDATE provider_devices AS held
            SET name = row.name, name_at = row.name_at, name_sequence = row.name_sequence, name_id = row.name_id
           FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[], $5::uuid[])
                AS row (id, name, name_at, name_sequence, name_id)
          WHERE held.id = row.id AND ",
        newer!("row", "name")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, (_, name)| name.as_ref().map(Serial::as_str)))
    .bind(keys.at)
    .bind(keys.sequence)
    .bind(keys.id)
    .execute(connection)
    .await?;
    Ok(())
}

async fn join_first_names(connection: &mut PgConnection, rows: &Having<'_, FirstName>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE provider_devices AS held
            SET first_name = row.name, first_name_recorded_at = row.recorded_at, first_name_id = row.event
           FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::uuid[]) AS row (id, name, recorded_at, event)
          WHERE held.id = row.id
            AND (held.first_name_id IS NULL
                 OR (row.recorded_at, row.event) < (held.first_name_recorded_at, held.first_name_id))",
    )
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, (_, first)| first.name.as_str()))
    .bind(column(rows, |_, (_, first)| At(first.recorded_at)))
    .bind(column(rows, |_, (_, first)| first.id.0))
    .execute(connection)
    .await?;
    Ok(())
}

async fn join_bound(connection: &mut PgConnection, rows: &Having<'_, DeviceId>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(rows, |(row, _)| row.bound.key());
    sqlx::query(concat!(
        "UPDATE provider_devices AS held
            SET bound_device = row.device, bound_at = row.bound_at, bound_sequence = row.bound_sequence,
                bound_id = row.bound_id
           FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::uuid[])
                AS row (id, device, bound_at, bound_sequence, bound_id)
          WHERE held.id = row.id AND ",
        newer!("row", "bound")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, (_, device)| device.0))
    .bind(keys.at)
    .bind(keys.sequence)
    .bind(keys.id)
    .execute(connection)
    .await?;
    Ok(())
}

async fn join_gone(connection: &mut PgConnection, rows: &Having<'_, String>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(rows, |(row, _)| row.gone.key());
    sqlx::query(concat!(
        "UPDATE provider_devices AS held
            SET gone_how = row.how, gone_at = row.gone_at, gone_sequence = row.gone_sequence, gone_id = row.gone_id
           FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[], $5::uuid[])
                AS row (id, how, gone_at, gone_sequence, gone_id)
          WHERE held.id = row.id AND ",
        newer!("row", "gone")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, (_, how)| how.as_str()))
    .bind(keys.at)
    .bind(keys.sequence)
    .bind(keys.id)
    .execute(connection)
    .await?;
    Ok(())
}

async fn join_seen(connection: &mut PgConnection, rows: &Having<'_, ()>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(rows, |(row, ())| row.seen.key());
    sqlx::query(concat!(
        "UPDATE provider_devices AS held
            SET seen_at = row.seen_at, seen_sequence = row.seen_sequence, seen_id = row.seen_id
           FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::uuid[])
                AS row (id, seen_at, seen_sequence, seen_id)
          WHERE held.id = row.id AND ",
        newer!("row", "seen")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(keys.at)
    .bind(keys.sequence)
    .bind(keys.id)
    .execute(connection)
    .await?;
    Ok(())
}
