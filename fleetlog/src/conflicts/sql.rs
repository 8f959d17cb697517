//! What these commands ask of schema `fleet`, in a role that may only read.

use schema::{DeviceId, Micros, OrganizationId, ProviderDevice, RawJson};
use sqlx::{FromRow, PgPool, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::pending::{Pending, Wanted};

#[derive(FromRow)]
struct Row {
    conflict: String,
    organization: Uuid,
    kind: String,
    device: Option<Uuid>,
    serial: String,
    field: Option<String>,
    local: Option<Json<RawJson>>,
    remote: Option<Json<RawJson>>,
    base: Option<Json<RawJson>>,
    strategy: Option<String>,
    edit_author: Option<String>,
    edited_at: Option<OffsetDateTime>,
    remote_at: Option<OffsetDateTime>,
    opened_at: Option<OffsetDateTime>,
    provider_devices: Vec<String>,
    devices: Vec<Uuid>,
    whole: String,
}

/// The pending conflicts that are wanted, the oldest first, up to a limit.
pub(super) async fn pending(pool: &PgPool, wanted: &Wanted, limit: i64) -> Result<Vec<Pending>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.conflict, c.organization, c.kind, c.device, c.serial, c.field, c.local, c.remote, c.base,
                c.strategy, c.edit_author, c.edited_at, c.remote_at, c.opened_at, c.provider_devices, c.devices,
                row_to_json(c)::text AS whole
           FROM fleet.conflicts c
          WHERE ($1::text[] IS NULL OR c.conflict = ANY ($1))
            AND ($2::uuid IS NULL OR c.organization = $2)
            AND ($3::text IS NULL OR c.serial = $3 OR $4::uuid = ANY (c.devices))
            AND ($5::text IS NULL OR c.field = $5)
            AND ($6::text IS NULL OR c.kind = $6)
            AND ($7::boolean IS NULL OR (c.kind = 'field') = $7)
            AND ($8::uuid IS NULL OR c.integration = $8)
            AND ($9::timestamptz IS NULL OR c.opened_at < $9)
          ORDER BY c.opened_at, c.conflict
          LIMIT $10",
    )
    .bind(wanted.ids.as_deref())
    .bind(wanted.organization.map(|organization| organization.0))
    .bind(wanted.device.as_deref())
    .bind(
        wanted
            .device
            .as_deref()
            .and_then(|device| device.parse::<Uuid>().ok()),
    )
    .bind(wanted.field.as_deref())
    .bind(wanted.kind.as_deref())
    .bind(wanted.of_fields)
    .bind(wanted.integration.map(|integration| integration.0))
    .bind(wanted.opened_before.map(Micros::to_datetime))
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Pending::from).collect())
}

impl From<Row> for Pending {
    fn from(row: Row) -> Self {
        let provider_devices = row.provider_devices.iter().filter_map(|text| text.parse().ok());
        Self {
            conflict: row.conflict,
            organization: OrganizationId(row.organization),
            kind: row.kind,
            device: row.device.map(DeviceId),
            serial: row.serial,
            field: row.field,
            local: row.local.map(|Json(value)| value),
            remote: row.remote.map(|Json(value)| value),
            base: row.base.map(|Json(value)| value),
            strategy: row.strategy,
            edit_author: row.edit_author,
            edited_at: row.edited_at.map(Micros::from),
            remote_at: row.remote_at.map(Micros::from),
            opened_at: row.opened_at.map(Micros::from),
            provider_devices: provider_devices.collect(),
            devices: row.devices.into_iter().map(DeviceId).collect(),
            row: row.whole,
        }
    }
}

/// A decision about a conflict: a row of `fleet.conflict_history`.
#[derive(FromRow)]
pub(super) struct Decided {
    pub(super) conflict: String,
    pub(super) serial: Option<String>,
    pub(super) field: Option<String>,
    pub(super) decision: String,
    pub(super) author: String,
    pub(super) reason: Option<String>,
    pub(super) at: OffsetDateTime,
    /// The whole row, as JSON.
    pub(super) row: String,
}

/// The decisions about these conflicts, each the newest.
pub(super) async fn decided(pool: &PgPool, conflicts: &[String]) -> Result<Vec<Decided>, sqlx::Error> {
    sqlx::query_as(
        "SELECT DISTINCT ON (h.conflict)
                h.conflict, h.serial, h.field, h.decision, h.author, h.reason, h.at, row_to_json(h)::text AS row
           FROM fleet.conflict_history h
          WHERE h.conflict = ANY ($1) AND h.decision IS NOT NULL
          ORDER BY h.conflict, h.at DESC, h.event DESC",
    )
    .bind(conflicts)
    .fetch_all(pool)
    .await
}

/// A device in question, as it is shown now.
#[derive(FromRow)]
pub(super) struct Questioned {
    pub(super) id: Uuid,
    pub(super) serial: String,
    pub(super) name: String,
    pub(super) registered_at: Option<OffsetDateTime>,
}

/// These devices, in order of their serial numbers.
pub(super) async fn devices(pool: &PgPool, devices: &[DeviceId]) -> Result<Vec<Questioned>, sqlx::Error> {
    let ids: Vec<Uuid> = devices.iter().map(|device| device.0).collect();
    sqlx::query_as(
        "SELECT d.id, d.serial, d.name, d.registered_at
           FROM fleet.devices d
          WHERE d.id = ANY ($1)
          ORDER BY d.serial, d.id",
    )
    .bind(ids)
    .fetch_all(pool)
    .await
}

/// A provider device as it is shown now.
#[derive(FromRow)]
pub(super) struct Linked {
    pub(super) provider_device: String,
    pub(super) name: Option<String>,
    pub(super) device: Option<Uuid>,
    pub(super) via: Option<String>,
    pub(super) last_report_at: Option<OffsetDateTime>,
}

/// These provider devices, in order.
pub(super) async fn linked(
    pool: &PgPool,
    provider_devices: &[ProviderDevice],
) -> Result<Vec<Linked>, sqlx::Error> {
    let ids: Vec<Uuid> = provider_devices.iter().map(ProviderDevice::uuid).collect();
    sqlx::query_as(
        "SELECT p.provider_device, p.name, p.device, p.linked_via AS via, p.last_report_at
           FROM fleet.provider_devices p
          WHERE p.id = ANY ($1)
          ORDER BY p.provider_device",
    )
    .bind(ids)
    .fetch_all(pool)
    .await
}

/// The devices of which people edited one of these fields, with their serial numbers, in their order.
pub(super) async fn edited(
    pool: &PgPool,
    fields: &[String],
    organization: Option<OrganizationId>,
) -> Result<Vec<(DeviceId, String)>, sqlx::Error> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT DISTINCT f.device, f.serial
           FROM fleet.device_fields f
          WHERE f.edit_event IS NOT NULL AND f.field = ANY ($1) AND ($2::uuid IS NULL OR f.organization = $2)
          ORDER BY f.serial, f.device",
    )
    .bind(fields)
    .bind(organization.map(|organization| organization.0))
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(device, serial)| (DeviceId(device), serial))
        .collect())
}
