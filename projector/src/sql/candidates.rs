//! What identity is derived from, read back.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
};

use futures_util::StreamExt as _;
use schema::{DeviceId, EventId, ExternalId, IntegrationId, KnownBy, OrganizationId, ProviderDevice, Serial};
use sqlx::{FromRow, PgConnection, error::BoxDynError};
use uuid::Uuid;

use super::value::{At, order_key, register};
use crate::fold::{
    identity::{Candidate, Link},
    rows::{DeviceKey, FirstName},
};

/// Which provider devices are wanted: all that any of these names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) keys: BTreeSet<DeviceKey>,
    /// Those of an organization that have this name now.
    pub(crate) of_organization: BTreeSet<(OrganizationId, Serial)>,
    /// Those of an integration that have this name now.
    pub(crate) of_integration: BTreeSet<(IntegrationId, Serial)>,
    /// Those that are linked to these devices.
    pub(crate) linked_to: BTreeSet<DeviceId>,
}

/// A provider device as the tables have it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) candidate: Candidate,
    pub(crate) link: Option<Link>,
}

/// SQL: what a [`Row`] has of a provider device `p` and its activity `a`.
macro_rules! columns {
    () => {
        "p.id, p.organization, p.integration, p.known_by, p.external_id,
         p.name, p.name_at, p.name_sequence, p.name_id,
         p.first_name, p.first_name_recorded_at, p.first_name_id, p.bound_device,
         p.gone_at, p.gone_sequence, p.gone_id, p.seen_at, p.seen_sequence, p.seen_id,
         a.last_report_by, a.last_report_at, a.last_report_sequence, a.last_report_id"
    };
}

/// Reads provider devices with their links.
pub(crate) async fn read(
    connection: &mut PgConnection,
    wanted: &Wanted,
) -> sqlx::Result<BTreeMap<DeviceKey, Held>> {
    let pairs =
        |names: &mut dyn Iterator<Item = (Uuid, String)>| -> (Vec<Uuid>, Vec<String>) { names.unzip() };
    let of_organization = wanted.of_organization.iter();
    let of_integration = wanted.of_integration.iter();
    let organizations = pairs(&mut of_organization.map(|(of, name)| (of.0, name.to_string())));
    let integrations = pairs(&mut of_integration.map(|(of, name)| (of.0, name.to_string())));
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", l.device, l.via
           FROM (
                SELECT unnest($1::uuid[]) AS id
                 UNION
                SELECT q.id FROM unnest($2::uuid[], $3::text[]) AS named (organization, name)
                  JOIN provider_devices q USING (organization, name)
                 UNION
                SELECT q.id FROM unnest($4::uuid[], $5::text[]) AS named (integration, name)
                  JOIN provider_devices q USING (integration, name)
                 UNION
                SELECT linked.provider_device FROM links linked WHERE linked.device = ANY ($6::uuid[])
                ) AS wanted
           JOIN provider_devices p ON p.id = wanted.id
           LEFT JOIN activity a ON a.provider_device = p.id
           LEFT JOIN links l ON l.provider_device = p.id"
    ))
    .bind(wanted.keys.iter().copied().collect::<Vec<_>>())
    .bind(organizations.0)
    .bind(organizations.1)
    .bind(integrations.0)
    .bind(integrations.1)
    .bind(wanted.linked_to.iter().map(|device| device.0).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    all_held(rows)
}

/// Provider devices as they come, for as long as somebody takes them.
type Stream<'c> = Pin<Box<dyn futures_util::Stream<Item = sqlx::Result<(DeviceKey, Held)>> + Send + 'c>>;

/// Reads all provider devices with ids from one to another, in no order, as if they were not linked.
pub(crate) fn all_between(connection: &mut PgConnection, first: DeviceKey, last: DeviceKey) -> Stream<'_> {
    // A range on both sides lets each be read once and hashed.
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", NULL::uuid AS device, NULL::text AS via
           FROM provider_devices p
           LEFT JOIN activity a ON a.provider_device = p.id AND a.provider_device BETWEEN $1 AND $2
          WHERE p.id BETWEEN $1 AND $2"
    ))
    .bind(first)
    .bind(last)
    .fetch(connection);
    stream(rows)
}

/// Reads all provider devices that are linked to devices with ids from one to another, device by device.
pub(crate) fn all_linked_between(
    connection: &mut PgConnection,
    first: DeviceId,
    last: DeviceId,
) -> Stream<'_> {
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", l.device, l.via
           FROM links l
           JOIN provider_devices p ON p.id = l.provider_device
           LEFT JOIN activity a ON a.provider_device = l.provider_device
          WHERE l.device BETWEEN $1 AND $2
          ORDER BY l.device"
    ))
    .bind(first.0)
    .bind(last.0)
    .fetch(connection);
    stream(rows)
}

fn stream<'c>(rows: impl futures_util::Stream<Item = sqlx::Result<Row>> + Send + 'c) -> Stream<'c> {
    Box::pin(rows.map(|row| {
        let row = row?;
        let key = row.id;
        let held = row.held().map_err(sqlx::Error::Decode)?;
        Ok((key, held))
    }))
}

fn all_held(rows: Vec<Row>) -> sqlx::Result<BTreeMap<DeviceKey, Held>> {
    let held = rows.into_iter().map(|row| Ok((row.id, row.held()?)));
    held.collect::<Result<_, BoxDynError>>()
        .map_err(sqlx::Error::Decode)
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    organization: Uuid,
    integration: Uuid,
    known_by: String,
    external_id: String,
    name: Option<String>,
    name_at: Option<At>,
    name_sequence: Option<i64>,
    name_id: Option<Uuid>,
    first_name: Option<String>,
    first_name_recorded_at: Option<At>,
    first_name_id: Option<Uuid>,
    bound_device: Option<Uuid>,
    gone_at: Option<At>,
    gone_sequence: Option<i64>,
    gone_id: Option<Uuid>,
    seen_at: Option<At>,
    seen_sequence: Option<i64>,
    seen_id: Option<Uuid>,
    last_report_by: Option<String>,
    last_report_at: Option<At>,
    last_report_sequence: Option<i64>,
    last_report_id: Option<Uuid>,
    device: Option<Uuid>,
    via: Option<String>,
}

impl Row {
    fn held(self) -> Result<Held, BoxDynError> {
        let name = self.name.as_deref().map(Serial::new).transpose()?;
        let first_name = self.first_name.as_deref().map(Serial::new).transpose()?;
        let first_name = first_name
            .zip(self.first_name_recorded_at)
            .zip(self.first_name_id);
        let seen = order_key(self.seen_at, self.seen_sequence, self.seen_id);
        let reported = order_key(
            self.last_report_at,
            self.last_report_sequence,
            self.last_report_id,
        );
        // What a provider says of the past proves no presence.
        let reported = reported.filter(|_| self.last_report_by.as_deref() != Some("provider"));
        let via = self.via.as_deref().map(str::parse).transpose()?;
        Ok(Held {
            candidate: Candidate {
                organization: OrganizationId(self.organization),
                device: provider_device(self.integration, &self.known_by, &self.external_id)?,
                name: register(self.name_at, self.name_sequence, self.name_id, name),
                first_name: first_name.map(|((name, recorded_at), id)| FirstName {
                    recorded_at: recorded_at.0,
                    id: EventId(id),
                    name,
                }),
                bound: self.bound_device.map(DeviceId),
                gone: order_key(self.gone_at, self.gone_sequence, self.gone_id),
                present: seen.max(reported),
            },
            link: self.device.zip(via).map(|(device, via)| Link {
                device: DeviceId(device),
                via,
            }),
        })
    }
}

/// A provider device, read from its columns.
pub(super) fn provider_device(
    integration: Uuid,
    known_by: &str,
    external_id: &str,
) -> Result<ProviderDevice, BoxDynError> {
    let known_by = match known_by {
        "id" => KnownBy::Id(ExternalId::new(external_id)?),
        _ => KnownBy::Name(Serial::new(external_id)?),
    };
    Ok(ProviderDevice {
        integration: IntegrationId(integration),
        known_by,
    })
}

/// Of these, those whose name stands beside another one: on their device, or in their integration. Where it does, the
/// order in which names were said decides.
pub(crate) async fn in_competition(
    connection: &mut PgConnection,
    keys: &[DeviceKey],
) -> sqlx::Result<Vec<DeviceKey>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "SELECT p.id
           FROM provider_devices p
           LEFT JOIN links l ON l.provider_device = p.id
          WHERE p.id = ANY ($1)
            AND (EXISTS (SELECT FROM links o JOIN provider_devices q ON q.id = o.provider_device
                          WHERE o.device = l.device AND q.id <> p.id AND q.name IS DISTINCT FROM p.name)
              OR EXISTS (SELECT FROM provider_devices q
                          WHERE q.integration = p.integration AND q.name = p.name AND q.id <> p.id
                            AND q.known_by = 'id' AND p.known_by = 'id'))",
    )
    .bind(keys)
    .fetch_all(connection)
    .await
}

/// Keeps the names of these from changing until the transaction ends.
pub(crate) async fn hold(connection: &mut PgConnection, keys: &BTreeSet<DeviceKey>) -> sqlx::Result<()> {
    sqlx::query("SELECT FROM provider_devices WHERE id = ANY ($1) ORDER BY id FOR SHARE")
        .bind(keys.iter().copied().collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
