//! Signs of life, one register a statement: nearly all rows raise the last report alone.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};

use super::value::{Keys, column, newer};
use crate::fold::rows::{ActivityRow, Connected, DeviceKey, Disconnected, LastReport};

/// Joins signs of life. Of provider devices that are `new` there are none yet.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<DeviceKey, Box<ActivityRow>>,
    new: &BTreeSet<DeviceKey>,
) -> sqlx::Result<()> {
    let (first, again) = having(rows, |row| row.last_report.value())
        .into_iter()
        .partition(|(device, _)| new.contains(device));
    insert_reported(connection, &first).await?;
    join_reported(connection, &again).await?;
    join_connected(connection, &having(rows, |row| row.connected.value())).await?;
    join_disconnected(connection, &having(rows, |row| row.disconnected.value())).await
}

/// A row, and one of its registers.
type Having<'a, T> = BTreeMap<DeviceKey, (&'a ActivityRow, &'a T)>;

fn having<'a, T>(
    rows: &'a BTreeMap<DeviceKey, Box<ActivityRow>>,
    of: impl Fn(&'a ActivityRow) -> Option<&'a T>,
) -> Having<'a, T> {
    let rows = rows.iter();
    rows.filter_map(|(key, row)| Some((*key, (row.as_ref(), of(row)?))))
        .collect()
}

macro_rules! insert_reported {
    () => {
        "INSERT INTO activity AS held
                (provider_device, organization, integration, last_report_by, last_report_origin,
                 last_report_at, last_report_sequence, last_report_id)
         SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::text[]), unnest($5::text[]),
                unnest($6::timestamptz[]), unnest($7::bigint[]), unnest($8::uuid[])"
    };
}

async fn insert_reported(connection: &mut PgConnection, rows: &Having<'_, LastReport>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    bind_reported(sqlx::query(insert_reported!()), rows)
        .execute(connection)
        .await?;
    Ok(())
}

async fn join_reported(connection: &mut PgConnection, rows: &Having<'_, LastReport>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let statement = sqlx::query(concat!(
        insert_reported!(),
        "    ON CONFLICT (provider_device) DO UPDATE
            SET last_report_by = EXCLUDED.last_report_by, last_report_origin = EXCLUDED.last_report_origin,
                last_report_at = EXCLUDED.last_report_at, last_report_sequence = EXCLUDED.last_report_sequence,
                last_report_id = EXCLUDED.last_report_id
          WHERE ",
        newer!("EXCLUDED", "last_report")
    ));
    bind_reported(statement, rows).execute(connection).await?;
    Ok(())
}

fn bind_reported<'q>(
    statement: Query<'q, Postgres, PgArguments>,
    rows: &Having<'_, LastReport>,
) -> Query<'q, Postgres, PgArguments> {
    let keys = Keys::of(rows, |(row, _)| row.last_report.key());
    statement
        .bind(column(rows, |key, _| *key))
        .bind(column(rows, |_, (row, _)| row.organization.0))
        .bind(column(rows, |_, (row, _)| row.integration.0))
        .bind(column(rows, |_, (_, report)| -> &'static str {
            report.by.into()
        }))
        .bind(column(rows, |_, (_, report)| -> &'static str {
            report.origin.into()
        }))
        .bind(keys.at)
        .bind(keys.sequence)
        .bind(keys.id)
}

async fn join_connected(connection: &mut PgConnection, rows: &Having<'_, Connected>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(rows, |(row, _)| row.connected.key());
    sqlx::query(concat!(
        "INSERT INTO activity AS held
                (provider_device, organization, integration, connected_session, connected_evidence,
                 connected_at, connected_sequence, connected_id)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],
                              $6::timestamptz[], $7::bigint[], $8::uuid[])
             ON CONFLICT (provider_device) DO UPDATE
            SET connected_session = EXCLUDED.connected_session, connected_evidence = EXCLUDED.connected_evidence,
                connected_at = EXCLUDED.connected_at, connected_sequence = EXCLUDED.connected_sequence,
                connected_id = EXCLUDED.connected_id
          WHERE ",
        newer!("EXCLUDED", "connected")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, (row, _)| row.organization.0))
    .bind(column(rows, |_, (row, _)| row.integration.0))
    .bind(column(rows, |_, (_, session)| session.session.as_deref()))
    .bind(column(rows, |_, (_, session)| session.evidence.as_str()))
    .bind(keys.at)
    .bind(keys.sequence)
    .bind(keys.id)
    .execute(connection)
    .await?;
    Ok(())
}

async fn join_disconnected(
    connection: &mut PgConnection,
    rows: &Having<'_, Disconnected>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(rows, |(row, _)| row.disconnected.key());
    sqlx::query(concat!(
        "INSERT INTO activity AS held
                (provider_device, organization, integration,
                 disconnected_session, disconnected_evidence, disconnected_reason,
                 disconnected_at, disconnected_sequence, disconnected_id)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[],
                              $7::timestamptz[], $8::bigint[], $9::uuid[])
             ON CONFLICT (provider_device) DO UPDATE
            SET disconnected_session = EXCLUDED.disconnected_session,
                disconnected_evidence = EXCLUDED.disconnected_evidence,
                disconnected_reason = EXCLUDED.disconnected_reason,
                disconnected_at = EXCLUDED.disconnected_at, disconnected_sequence = EXCLUDED.disconnected_sequence,
                disconnected_id = EXCLUDED.disconnected_id
          WHERE ",
        newer!("EXCLUDED", "disconnected")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, (row, _)| row.organization.0))
    .bind(column(rows, |_, (row, _)| row.integration.0))
    .bind(column(rows, |_, (_, session)| session.session.as_deref()))
    .bind(column(rows, |_, (_, session)| session.evidence.as_str()))
    .bind(column(rows, |_, (_, session)| session.reason.as_deref()))
    .bind(keys.at)
    .bind(keys.sequence)
    .bind(keys.id)
    .execute(connection)
    .await?;
    Ok(())
}
