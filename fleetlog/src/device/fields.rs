//! The fields of devices as they are shown now.

use std::collections::BTreeMap;

use projector::fold::{fields::absent, rows::Stored};
use schema::{DeviceId, EventId, IntegrationId, Micros, OrganizationId, RawJson, Strategy};
use sqlx::{FromRow, PgPool, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

/// A field of a device: a row of `fleet.device_fields`.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) state: String,
    /// What is shown.
    pub(crate) value: Option<RawJson>,
    /// What the cloud says.
    pub(crate) remote: Option<RawJson>,
    pub(crate) remote_at: Option<Micros>,
    pub(crate) remote_integration: Option<IntegrationId>,
    /// The current edit.
    pub(crate) edit: Option<EventId>,
    pub(crate) edit_at: Option<Micros>,
    /// The pending conflict.
    pub(crate) conflict: Option<String>,
}

/// What is shown of one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) fields: BTreeMap<String, Field>,
    /// The integrations that speak of it.
    pub(crate) integrations: Vec<IntegrationId>,
}

/// Who wins a conflict, by integration and field.
pub(crate) type Strategies = BTreeMap<IntegrationId, BTreeMap<String, Strategy>>;

impl Shown {
    /// Whether a field shows this value; a missing one is as good as `null`, of a tag as `false`.
    pub(crate) fn shows(&self, field: &str, value: &RawJson) -> bool {
        let shown = self.fields.get(field).and_then(|field| field.value.as_ref());
        let shown = shown.map_or_else(|| absent(field), Stored::new);
        let wanted = if value.get() == "null" {
            absent(field)
        } else {
            Stored::new(value)
        };
        shown.hash == wanted.hash
    }
}

#[derive(FromRow)]
struct Row {
    device: Uuid,
    field: String,
    state: String,
    value: Option<Json<RawJson>>,
    remote: Option<Json<RawJson>>,
    remote_at: Option<OffsetDateTime>,
    remote_integration: Option<Uuid>,
    edit_event: Option<Uuid>,
    edit_at: Option<OffsetDateTime>,
    conflict: Option<String>,
}

/// What is shown of these devices: of these fields, or of all.
pub(crate) async fn shown(
    pool: &PgPool,
    devices: &[DeviceId],
    fields: Option<&[String]>,
) -> Result<BTreeMap<DeviceId, Shown>, sqlx::Error> {
    let ids: Vec<Uuid> = devices.iter().map(|device| device.0).collect();
    let mut shown: BTreeMap<DeviceId, Shown> = BTreeMap::new();
    for row in rows(pool, &ids, fields).await? {
        let of = shown.entry(DeviceId(row.device)).or_default();
        of.fields.insert(row.field.clone(), row.into());
    }
    for (device, integration) in linked(pool, &ids).await? {
        let of = shown.entry(DeviceId(device)).or_default();
        of.integrations.push(IntegrationId(integration));
    }
    Ok(shown)
}

async fn rows(pool: &PgPool, devices: &[Uuid], fields: Option<&[String]>) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "SELECT f.device, f.field, f.state, f.value, f.remote, f.remote_at, f.remote_integration,
                f.edit_event, f.edit_at, f.conflict
           FROM fleet.device_fields f
          WHERE f.device = ANY ($1) AND ($2::text[] IS NULL OR f.field = ANY ($2))",
    )
    .bind(devices)
    .bind(fields)
    .fetch_all(pool)
    .await
}

async fn linked(pool: &PgPool, devices: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT DISTINCT p.device, p.integration FROM fleet.provider_devices p WHERE p.device = ANY ($1)",
    )
    .bind(devices)
    .fetch_all(pool)
    .await
}

/// Who wins a conflict in the integrations of an organization.
pub(crate) async fn strategies(
    pool: &PgPool,
    organization: OrganizationId,
) -> Result<Strategies, sqlx::Error> {
    let rows: Vec<(Uuid, Json<BTreeMap<String, Strategy>>)> = sqlx::query_as(
        "SELECT integration, strategies FROM control.integration_policy WHERE organization = $1",
    )
    .bind(organization.0)
    .fetch_all(pool)
    .await?;
    let of = |(integration, Json(strategies)): (Uuid, _)| (IntegrationId(integration), strategies);
    Ok(rows.into_iter().map(of).collect())
}

impl From<Row> for Field {
    fn from(row: Row) -> Self {
        Self {
            state: row.state,
            value: row.value.map(|Json(value)| value),
            remote: row.remote.map(|Json(value)| value),
            remote_at: row.remote_at.map(Micros::from),
            remote_integration: row.remote_integration.map(IntegrationId),
            edit: row.edit_event.map(EventId),
            edit_at: row.edit_at.map(Micros::from),
            conflict: row.conflict,
        }
    }
}
