//! What these commands ask of schema `fleet`, in a role that may only read.

use std::collections::BTreeMap;

use futures_util::stream::BoxStream;
use schema::{DeviceId, IntegrationId, Micros, OrganizationId, ProviderDevice};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::named::Known;
use crate::failure::Failure;

/// The devices of an organization by serial number, each the JSON of its row.
pub(super) fn devices(
    pool: &PgPool,
    organization: OrganizationId,
    retired: bool,
) -> BoxStream<'_, Result<String, sqlx::Error>> {
    sqlx::query_scalar(
        "SELECT row_to_json(d)::text
           FROM fleet.devices d
          WHERE d.organization = $1 AND (d.retired_at IS NULL OR $2)
          ORDER BY d.serial, d.id",
    )
    .bind(organization.0)
    .bind(retired)
    .fetch(pool)
}

/// How many devices of an organization are out of service.
pub(super) async fn n_retired(pool: &PgPool, organization: OrganizationId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM fleet.devices d WHERE d.organization = $1 AND d.retired_at IS NOT NULL",
    )
    .bind(organization.0)
    .fetch_one(pool)
    .await
}

/// The devices that have this serial number or this id, up to a hundred.
pub(super) async fn known(
    pool: &PgPool,
    serial_or_id: &str,
    organization: Option<OrganizationId>,
) -> Result<Vec<Known>, sqlx::Error> {
    // Two questions rather than an OR, so that each has its index.
    let rows: Vec<KnownRow> = sqlx::query_as(
        "SELECT d.id, d.organization, d.serial, d.retired_at
           FROM fleet.devices d
          WHERE d.id IN (SELECT s.id FROM fleet.devices s WHERE s.serial = $1 UNION SELECT $2)
            AND ($3::uuid IS NULL OR d.organization = $3)
          ORDER BY d.organization, d.id
          LIMIT 100",
    )
    .bind(serial_or_id)
    .bind(serial_or_id.parse::<Uuid>().ok())
    .bind(organization.map(|organization| organization.0))
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Known::from).collect())
}

/// The devices of an organization that have one of these serial numbers or ids.
pub(super) async fn known_of(
    pool: &PgPool,
    organization: OrganizationId,
    serials: &[&str],
    ids: &[DeviceId],
) -> Result<Vec<Known>, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows: Vec<KnownRow> = sqlx::query_as(
        "SELECT d.id, d.organization, d.serial, d.retired_at
           FROM fleet.devices d
          WHERE d.organization = $1
            AND d.id IN (SELECT s.id FROM fleet.devices s WHERE s.organization = $1 AND s.serial = ANY ($2)
                          UNION SELECT unnest($3::uuid[]))",
    )
    .bind(organization.0)
    .bind(serials)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Known::from).collect())
}

type KnownRow = (Uuid, Uuid, String, Option<OffsetDateTime>);

impl From<KnownRow> for Known {
    fn from((id, organization, serial, retired_at): KnownRow) -> Self {
        Self {
            id: DeviceId(id),
            organization: OrganizationId(organization),
            serial,
            retired_at: retired_at.map(Micros::from),
        }
    }
}

/// A device, as the JSON of its row.
pub(super) async fn device(pool: &PgPool, device: DeviceId) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT row_to_json(d)::text FROM fleet.devices d WHERE d.id = $1")
        .bind(device.0)
        .fetch_optional(pool)
        .await
}

/// Whether somebody registered a device.
pub(super) async fn is_registered(pool: &PgPool, device: DeviceId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM fleet.devices d WHERE d.id = $1 AND d.registered_at IS NOT NULL)",
    )
    .bind(device.0)
    .fetch_one(pool)
    .await
}

/// Fails if there is no such organization.
pub(super) async fn organization_exists(pool: &PgPool, organization: OrganizationId) -> Result<(), Failure> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM control.organizations WHERE id = $1)")
        .bind(organization.0)
        .fetch_one(pool)
        .await?;
    if exists {
        Ok(())
    } else {
        Err(Failure::not_found(format!(
            "there is no organization {organization}"
        )))
    }
}

/// Whose an integration is.
pub(super) async fn organization_of(
    pool: &PgPool,
    integration: IntegrationId,
) -> Result<OrganizationId, Failure> {
    let found: Option<Uuid> =
        sqlx::query_scalar("SELECT organization FROM control.integration_policy WHERE integration = $1")
            .bind(integration.0)
            .fetch_optional(pool)
            .await?;
    found
        .map(OrganizationId)
        .ok_or_else(|| Failure::not_found(format!("there is no integration {integration}")))
}

/// What a provider device is shown as.
#[derive(sqlx::FromRow)]
pub(super) struct Shown {
    /// Its newest name.
    pub(super) name: Option<String>,
    /// The device it is part of.
    pub(super) device: Option<Uuid>,
    /// That device's serial number.
    pub(super) serial: Option<String>,
}

/// What a provider device is shown as, if it was ever heard of.
pub(super) async fn provider_device(
    pool: &PgPool,
    device: &ProviderDevice,
) -> Result<Option<Shown>, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.name, p.device, d.serial
           FROM fleet.provider_devices p
           LEFT JOIN fleet.devices d ON d.id = p.device
          WHERE p.id = $1",
    )
    .bind(device.uuid())
    .fetch_optional(pool)
    .await
}

/// The serial number of a device of an organization.
pub(super) async fn serial(
    pool: &PgPool,
    organization: OrganizationId,
    device: DeviceId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT serial FROM fleet.devices WHERE organization = $1 AND id = $2")
        .bind(organization.0)
        .bind(device.0)
        .fetch_optional(pool)
        .await
}

/// The devices that show a serial number.
pub(super) async fn with_serial(
    pool: &PgPool,
    organization: OrganizationId,
    serial: &str,
) -> Result<Vec<DeviceId>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM fleet.devices WHERE organization = $1 AND serial = $2 ORDER BY id",
    )
    .bind(organization.0)
    .bind(serial)
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(DeviceId).collect())
}

/// The names of an organization's integrations.
pub(super) async fn integration_names(
    connection: &mut PgConnection,
    organization: OrganizationId,
) -> Result<BTreeMap<IntegrationId, String>, sqlx::Error> {
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT integration, name FROM control.integration_policy WHERE organization = $1")
            .bind(organization.0)
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(id, name)| (IntegrationId(id), name))
        .collect())
}

/// The package of each integration of an organization that alone counts, where it has one.
pub(super) async fn primary_packages(
    connection: &mut PgConnection,
    organization: OrganizationId,
) -> Result<BTreeMap<IntegrationId, String>, sqlx::Error> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT integration, primary_package FROM control.integration_policy
          WHERE organization = $1 AND primary_package IS NOT NULL",
    )
    .bind(organization.0)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, package)| (IntegrationId(id), package))
        .collect())
}
