//! Facts: connections, firmware reports, what providers and people said.

use std::collections::BTreeMap;

use schema::{DeviceId, EventId, Serial};
use sqlx::PgConnection;
use uuid::Uuid;

use super::value::{At, column};
use crate::fold::rows::{
    ConnectionKey, ConnectionRow, DeviceKey, FirmwareKey, FirmwareRow, LocalFact, RegistryFact,
};

/// Joins connects and disconnects: the least copy tells, the least receipt counts.
pub(crate) async fn join_connections(
    connection: &mut PgConnection,
    rows: &BTreeMap<ConnectionKey, ConnectionRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO connections AS held
                (provider_device, organization, at, connected, session_id, sequence, id, reason, evidence, recorded_at)
         SELECT * FROM unnest(
                $1::uuid[], $2::uuid[], $3::timestamptz[], $4::boolean[], $5::text[],
                $6::bigint[], $7::uuid[], $8::text[], $9::text[], $10::timestamptz[])
             ON CONFLICT (provider_device, at, connected, session_id) DO UPDATE
            SET (sequence, id, reason, evidence) = (
                    SELECT least.* FROM (VALUES
                        (held.sequence, held.id, held.reason, held.evidence),
                        (EXCLUDED.sequence, EXCLUDED.id, EXCLUDED.reason, EXCLUDED.evidence)
                    ) AS least (sequence, id, reason, evidence) ORDER BY sequence, id LIMIT 1),
                recorded_at = least(held.recorded_at, EXCLUDED.recorded_at)
          WHERE (EXCLUDED.sequence, EXCLUDED.id) < (held.sequence, held.id)
             OR EXCLUDED.recorded_at < held.recorded_at",
    )
    .bind(column(rows, |key, _| key.device))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |key, _| At(key.at)))
    .bind(column(rows, |key, _| key.connected))
    .bind(column(rows, |key, _| key.session.as_str()))
    .bind(column(rows, |_, row| row.copy.sequence))
    .bind(column(rows, |_, row| row.copy.id.0))
    .bind(column(rows, |_, row| row.reason.as_deref()))
    .bind(column(rows, |_, row| row.evidence.as_str()))
    .bind(column(rows, |_, row| At(row.recorded_at)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Joins firmware reports: the least copy tells, the least receipt counts.
pub(crate) async fn join_firmware(
    connection: &mut PgConnection,
    rows: &BTreeMap<FirmwareKey, FirmwareRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO firmware_reports AS held
                (provider_device, organization, package, at, fact, version, target, state, reason,
                 sequence, id, state_code, reason_code, via, recorded_at)
         SELECT * FROM unnest(
                $1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[],
                $6::text[], $7::text[], $8::text[], $9::text[],
                $10::bigint[], $11::uuid[], $12::integer[], $13::integer[], $14::text[], $15::timestamptz[])
             ON CONFLICT (provider_device, package, at, fact) DO UPDATE
            SET (sequence, id, state_code, reason_code, via) = (
                    SELECT least.* FROM (VALUES
                        (held.sequence, held.id, held.state_code, held.reason_code, held.via),
                        (EXCLUDED.sequence, EXCLUDED.id, EXCLUDED.state_code, EXCLUDED.reason_code, EXCLUDED.via)
                    ) AS least (sequence, id, state_code, reason_code, via) ORDER BY sequence, id LIMIT 1),
                recorded_at = least(held.recorded_at, EXCLUDED.recorded_at)
          WHERE (EXCLUDED.sequence, EXCLUDED.id) < (held.sequence, held.id)
             OR EXCLUDED.recorded_at < held.recorded_at",
    )
    .bind(column(rows, |key, _| key.device))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |key, _| key.package.as_str()))
    .bind(column(rows, |key, _| At(key.at)))
    .bind(column(rows, |key, _| key.fact))
    .bind(column(rows, |_, row| row.version.as_str()))
    .bind(column(rows, |_, row| row.target.as_str()))
    .bind(column(rows, |_, row| row.state.as_str()))
    .bind(column(rows, |_, row| row.reason.as_str()))
    .bind(column(rows, |_, row| row.copy.sequence))
    .bind(column(rows, |_, row| row.copy.id.0))
    .bind(column(rows, |_, row| row.state_code))
    .bind(column(rows, |_, row| row.reason_code))
    .bind(column(rows, |_, row| row.via.as_deref()))
    .bind(column(rows, |_, row| At(row.recorded_at)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Joins events about provider devices: the least `at` and the least receipt count.
pub(crate) async fn join_registry(
    connection: &mut PgConnection,
    rows: &BTreeMap<(DeviceKey, EventId), RegistryFact>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO registry_facts AS held
                (provider_device, organization, id, name, at, sequence, recorded_at, origin, body)
         SELECT device, organization, id, name, at, sequence, recorded_at, origin, body::jsonb
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bigint[],
                       $7::timestamptz[], $8::text[], $9::text[])
                AS row (device, organization, id, name, at, sequence, recorded_at, origin, body)
             ON CONFLICT (provider_device, id) DO UPDATE
            SET at = least(held.at, EXCLUDED.at), recorded_at = least(held.recorded_at, EXCLUDED.recorded_at)
          WHERE EXCLUDED.at < held.at OR EXCLUDED.recorded_at < held.recorded_at",
    )
    .bind(column(rows, |(device, _), _| *device))
    .bind(column(rows, |_, fact| fact.organization.0))
    .bind(column(rows, |(_, id), _| id.0))
    .bind(column(rows, |_, fact| fact.name.as_str()))
    .bind(column(rows, |_, fact| At(fact.at)))
    .bind(column(rows, |_, fact| fact.sequence))
    .bind(column(rows, |_, fact| At(fact.recorded_at)))
    .bind(column(rows, |_, fact| -> &'static str { fact.origin.into() }))
    .bind(column(rows, |_, fact| fact.body.as_str()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Joins what we say of devices. Returns those of which something new is known.
pub(crate) async fn join_local(
    connection: &mut PgConnection,
    rows: &BTreeMap<(DeviceId, EventId), LocalFact>,
) -> sqlx::Result<Vec<DeviceId>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let told: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO local_facts AS held
                (device, organization, id, name, serial, at, sequence, recorded_at, author, body)
         SELECT device, organization, id, name, serial, at, sequence, recorded_at, author, body::jsonb
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[],
                       $8::timestamptz[], $9::text[], $10::text[])
                AS row (device, organization, id, name, serial, at, sequence, recorded_at, author, body)
             ON CONFLICT (device, id) DO UPDATE
            SET at = least(held.at, EXCLUDED.at), recorded_at = least(held.recorded_at, EXCLUDED.recorded_at)
          WHERE EXCLUDED.at < held.at OR EXCLUDED.recorded_at < held.recorded_at
         RETURNING device",
    )
    .bind(column(rows, |(device, _), _| device.0))
    .bind(column(rows, |_, fact| fact.organization.0))
    .bind(column(rows, |(_, id), _| id.0))
    .bind(column(rows, |_, fact| fact.name.as_str()))
    .bind(column(rows, |_, fact| fact.serial.as_ref().map(Serial::as_str)))
    .bind(column(rows, |_, fact| At(fact.at)))
    .bind(column(rows, |_, fact| fact.sequence))
    .bind(column(rows, |_, fact| At(fact.recorded_at)))
    .bind(column(rows, |_, fact| fact.author.as_deref()))
    .bind(column(rows, |_, fact| fact.body.as_str()))
    .fetch_all(connection)
    .await?;
    Ok(told.into_iter().map(DeviceId).collect())
}
