//! Links and devices, and what is locked while they are derived.

use std::collections::{BTreeMap, BTreeSet};

use schema::{DeviceId, EventId, OrderKey, OrganizationId, Serial};
use sqlx::{PgConnection, error::BoxDynError};
use uuid::Uuid;

use super::value::{At, column};
use crate::fold::{
    identity::{Device, Link, Local},
    rows::{DeviceKey, LocalFact},
};

fn ids(devices: &BTreeSet<DeviceId>) -> Vec<Uuid> {
    devices.iter().map(|device| device.0).collect()
}

/// Locks devices until the transaction ends, in sorted order; those that are not there are made, which no reader sees.
pub(crate) async fn lock(connection: &mut PgConnection, devices: &BTreeSet<DeviceId>) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO device_anchor (id) SELECT unnest($1::uuid[]) ORDER BY 1 ON CONFLICT DO NOTHING")
        .bind(ids(devices))
        .execute(&mut *connection)
        .await?;
    sqlx::query("SELECT FROM device_anchor WHERE id = ANY ($1) ORDER BY id FOR UPDATE")
        .bind(ids(devices))
        .execute(connection)
        .await?;
    Ok(())
}

/// What we say of devices ourselves.
pub(crate) async fn read_local(
    connection: &mut PgConnection,
    devices: &BTreeSet<DeviceId>,
) -> sqlx::Result<BTreeMap<DeviceId, Local>> {
    type Row = (Uuid, Uuid, Uuid, String, Option<String>, At, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT device, organization, id, name, serial, at, sequence FROM local_facts WHERE device = ANY ($1)",
    )
    .bind(ids(devices))
    .fetch_all(&mut *connection)
    .await?;
    let mut local: BTreeMap<DeviceId, Local> = BTreeMap::new();
    for (device, organization, id, name, serial, At(at), sequence) in rows {
        let serial = serial.as_deref().map(Serial::new).transpose();
        let fact = LocalFact {
            organization: OrganizationId(organization),
            name,
            serial: serial.map_err(|error| sqlx::Error::Decode(BoxDynError::from(error)))?,
            at,
            sequence,
            recorded_at: at,
            author: None,
            body: String::new(),
        };
        let id = EventId(id);
        let key = OrderKey { at, sequence, id };
        local.entry(DeviceId(device)).or_default().tell(key, &fact);
    }
    for (device, key, value) in read_names(connection, devices).await? {
        local.entry(device).or_default().named(key, &value);
    }
    Ok(local)
}

/// The newest names that devices were given, as JSON text.
async fn read_names(
    connection: &mut PgConnection,
    devices: &BTreeSet<DeviceId>,
) -> sqlx::Result<Vec<(DeviceId, OrderKey, String)>> {
    let rows: Vec<(Uuid, At, i64, Uuid, String)> = sqlx::query_as(
        "SELECT DISTINCT ON (device) device, at, sequence, id, value::text
           FROM field_edits WHERE device = ANY ($1) AND field = 'name'
          ORDER BY device, at DESC, sequence DESC, id DESC",
    )
    .bind(ids(devices))
    .fetch_all(connection)
    .await?;
    let name = |(device, At(at), sequence, id, value)| {
        let id = EventId(id);
        (DeviceId(device), OrderKey { at, sequence, id }, value)
    };
    Ok(rows.into_iter().map(name).collect())
}

/// Writes links.
pub(crate) async fn write(
    connection: &mut PgConnection,
    links: &BTreeMap<DeviceKey, (OrganizationId, Link)>,
) -> sqlx::Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO links AS held (provider_device, organization, device, via)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
             ON CONFLICT (provider_device) DO UPDATE SET device = EXCLUDED.device, via = EXCLUDED.via",
    )
    .bind(column(links, |key, _| *key))
    .bind(column(links, |_, (organization, _)| organization.0))
    .bind(column(links, |_, (_, link)| link.device.0))
    .bind(column(links, |_, (_, link)| -> &'static str { link.via.into() }))
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes links.
pub(crate) async fn remove(connection: &mut PgConnection, keys: &[DeviceKey]) -> sqlx::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM links WHERE provider_device = ANY ($1)")
        .bind(keys)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes devices.
pub(crate) async fn write_devices(
    connection: &mut PgConnection,
    devices: &BTreeMap<DeviceId, Device>,
) -> sqlx::Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO devices AS held (id, organization, serial, name, registered_at, retired_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
             ON CONFLICT (id) DO UPDATE
            SET serial = EXCLUDED.serial, name = EXCLUDED.name, registered_at = EXCLUDED.registered_at,
                retired_at = EXCLUDED.retired_at
          WHERE (held.serial, held.name, held.registered_at, held.retired_at)
                IS DISTINCT FROM (EXCLUDED.serial, EXCLUDED.name, EXCLUDED.registered_at, EXCLUDED.retired_at)",
    )
    .bind(column(devices, |id, _| id.0))
    .bind(column(devices, |_, device| device.organization.0))
    .bind(column(devices, |_, device| device.serial.as_str()))
    .bind(column(devices, |_, device| device.name.as_deref()))
    .bind(column(devices, |_, device| device.registered_at.map(At)))
    .bind(column(devices, |_, device| device.retired_at.map(At)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes devices that neither a link nor a local fact speaks of.
pub(crate) async fn remove_devices(
    connection: &mut PgConnection,
    devices: &BTreeSet<DeviceId>,
) -> sqlx::Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM devices WHERE id = ANY ($1)")
        .bind(ids(devices))
        .execute(connection)
        .await?;
    Ok(())
}
