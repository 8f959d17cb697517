//! Signs of life.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::value::{Keys, column, keep_newer, newer};
use crate::fold::rows::{ActivityRow, DeviceKey};

/// Joins signs of life.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<DeviceKey, ActivityRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let reported = Keys::of(rows, |row| row.last_report.key());
    let connected = Keys::of(rows, |row| row.connected.key());
    let disconnected = Keys::of(rows, |row| row.disconnected.key());
    sqlx::query(concat!(
        "INSERT INTO activity AS held
                (provider_device, organization, integration,
                 last_report_by, last_report_origin, last_report_at, last_report_sequence, last_report_id,
                 connected_session, connected_evidence, connected_at, connected_sequence, connected_id,
                 disconnected_session, disconnected_evidence, disconnected_reason,
                 disconnected_at, disconnected_sequence, disconnected_id)
         SELECT * FROM unnest(
                $1::uuid[], $2::uuid[], $3::uuid[],
                $4::text[], $5::text[], $6::timestamptz[], $7::bigint[], $8::uuid[],
                $9::text[], $10::text[], $11::timestamptz[], $12::bigint[], $13::uuid[],
                $14::text[], $15::text[], $16::text[], $17::timestamptz[], $18::bigint[], $19::uuid[])
             ON CONFLICT (provider_device) DO UPDATE
            SET ",
        keep_newer!("last_report", "last_report_by", "last_report_origin"),
        ", ",
        keep_newer!("connected", "connected_session", "connected_evidence"),
        ", ",
        keep_newer!(
            "disconnected",
            "disconnected_session",
            "disconnected_evidence",
            "disconnected_reason"
        ),
        "
          WHERE ",
        newer!("last_report"),
        " OR ",
        newer!("connected"),
        " OR ",
        newer!("disconnected")
    ))
    .bind(column(rows, |key, _| *key))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |_, row| row.integration.0))
    .bind(column(rows, |_, row| {
        row.last_report
            .value()
            .map(|report| -> &'static str { report.by.into() })
    }))
    .bind(column(rows, |_, row| {
        row.last_report
            .value()
            .map(|report| -> &'static str { report.origin.into() })
    }))
    .bind(reported.at)
    .bind(reported.sequence)
    .bind(reported.id)
    .bind(column(rows, |_, row| row.connected.value()?.session.as_deref()))
    .bind(column(rows, |_, row| {
        row.connected.value().map(|session| session.evidence.as_str())
    }))
    .bind(connected.at)
    .bind(connected.sequence)
    .bind(connected.id)
    .bind(column(rows, |_, row| {
        row.disconnected.value()?.session.as_deref()
    }))
    .bind(column(rows, |_, row| {
        row.disconnected.value().map(|session| session.evidence.as_str())
    }))
    .bind(column(rows, |_, row| row.disconnected.value()?.reason.as_deref()))
    .bind(disconnected.at)
    .bind(disconnected.sequence)
    .bind(disconnected.id)
    .execute(connection)
    .await?;
    Ok(())
}
