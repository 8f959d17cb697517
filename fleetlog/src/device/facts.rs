//! What was told of devices, as it is kept: rows of `fleet.facts` and `fleet.heard`.

use futures_util::{TryStreamExt as _, stream::BoxStream};
use projector::fold::{
    as_of::{AsOf, Moment},
    rows::{LocalFact, RegistryFact, ReportedBy, Said},
};
use schema::{
    Body, DeviceId, EventId, IntegrationId, Micros, OrderKey, OrganizationId, Origin, ProviderDevice, Serial,
};
use sqlx::{FromRow, PgConnection, error::BoxDynError};
use time::OffsetDateTime;
use uuid::Uuid;

/// An event about a device, as it was told.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) key: OrderKey,
    pub(super) recorded_at: Micros,
    /// The event's name.
    pub(super) name: String,
    pub(super) organization: OrganizationId,
    /// The device that people speak of, or that the provider device is linked to now.
    pub(super) device: Option<DeviceId>,
    /// The provider device; none if people speak of a device.
    pub(super) provider_device: Option<ProviderDevice>,
    pub(super) integration: Option<IntegrationId>,
    pub(super) origin: Option<Origin>,
    pub(super) author: Option<String>,
    /// What it says, as JSON text.
    pub(super) body: String,
}

/// A fact as it is kept in the tables.
pub(crate) enum Kept<'a> {
    /// Told of a provider device.
    Registry(&'a ProviderDevice, RegistryFact),
    /// Told of a device by people.
    Local(DeviceId, LocalFact),
}

impl Fact {
    /// What it says; none if this version does not know it.
    pub(super) fn decoded(&self) -> Option<Body> {
        Body::decode(&self.name, self.body.as_bytes())?.ok()
    }

    /// The key of its event in the log.
    pub(super) fn log_key(&self) -> Option<String> {
        let provider_device = self.provider_device.as_ref().map(ToString::to_string);
        provider_device.or_else(|| self.device.map(|device| device.to_string()))
    }

    /// It as it is kept in the tables.
    pub(crate) fn kept(&self) -> Option<Kept<'_>> {
        if let Some(provider_device) = &self.provider_device {
            let fact = RegistryFact {
                organization: self.organization,
                name: self.name.clone(),
                at: self.key.at,
                sequence: self.key.sequence,
                recorded_at: self.recorded_at,
                origin: self.origin.unwrap_or(Origin::System),
                body: self.body.clone(),
            };
            return Some(Kept::Registry(provider_device, fact));
        }
        let fact = LocalFact {
            organization: self.organization,
            name: self.name.clone(),
            serial: self.serial(),
            at: self.key.at,
            sequence: self.key.sequence,
            recorded_at: self.recorded_at,
            author: self.author.clone(),
            body: self.body.clone(),
        };
        Some(Kept::Local(self.device?, fact))
    }

    /// Has it folded again.
    pub(super) fn tell(&self, as_of: &mut AsOf) {
        match self.kept() {
            Some(Kept::Registry(provider_device, fact)) => {
                as_of.registry(provider_device, self.key.id, &fact);
            }
            Some(Kept::Local(device, fact)) => as_of.local(device, self.key.id, &fact),
            None => {}
        }
    }

    /// The names that it says of its provider device.
    pub(super) fn named(&self) -> Option<String> {
        let body = self.decoded()?;
        if let Body::ProviderDeviceObserved(body) = body {
            body.name.flatten()
        } else if let Body::ConnectionChanged(body) = body {
            body.device_name
        } else if let Body::FirmwareReported(body) = body {
            body.device_name
        } else {
            None
        }
    }

    fn serial(&self) -> Option<Serial> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Serial::new(body.get("serial")?.as_str()?).ok()
    }
}

#[derive(FromRow)]
struct FactRow {
    organization: Uuid,
    device: Option<Uuid>,
    provider_device: Option<String>,
    integration: Option<Uuid>,
    name: String,
    at: OffsetDateTime,
    sequence: i64,
    event: Uuid,
    recorded_at: OffsetDateTime,
    origin: Option<String>,
    author: Option<String>,
    body: String,
}

impl TryFrom<FactRow> for Fact {
    type Error = BoxDynError;

    fn try_from(row: FactRow) -> Result<Self, BoxDynError> {
        Ok(Self {
            key: OrderKey {
                at: row.at.into(),
                sequence: row.sequence,
                id: EventId(row.event),
            },
            recorded_at: row.recorded_at.into(),
            name: row.name,
            organization: OrganizationId(row.organization),
            device: row.device.map(DeviceId),
            provider_device: row.provider_device.map(|text| text.parse()).transpose()?,
            integration: row.integration.map(IntegrationId),
            origin: row.origin.map(|text| text.parse()).transpose()?,
            author: row.author,
            body: row.body,
        })
    }
}

fn facts(rows: BoxStream<'_, Result<FactRow, sqlx::Error>>) -> BoxStream<'_, Result<Fact, sqlx::Error>> {
    let decoded = |row: FactRow| std::future::ready(Fact::try_from(row).map_err(sqlx::Error::Decode));
    Box::pin(rows.and_then(decoded))
}

/// What is told, of those facts that are meant and in the order that is meant.
macro_rules! told {
    ($those:literal) => {
        concat!(
            "SELECT f.organization, f.device, f.provider_device, f.integration, f.name, f.at, f.sequence, f.event,
                    f.recorded_at, f.origin, f.author, f.body::text AS body
               FROM fleet.facts f
              ",
            $those
        )
    };
}

/// Everything told of a device and of what is linked to it now, oldest first.
pub(crate) fn of_device(
    connection: &mut PgConnection,
    device: DeviceId,
) -> BoxStream<'_, Result<Fact, sqlx::Error>> {
    let rows = sqlx::query_as(told!(
        "WHERE f.device = $1
          ORDER BY f.at, f.sequence, f.event"
    ))
    .bind(device.0)
    .fetch(connection);
    facts(rows)
}

/// The same in the order in which it was told.
pub(crate) fn of_device_as_told(
    connection: &mut PgConnection,
    device: DeviceId,
) -> BoxStream<'_, Result<Fact, sqlx::Error>> {
    let rows = sqlx::query_as(told!(
        "WHERE f.device = $1
          ORDER BY f.recorded_at, f.at, f.sequence, f.event"
    ))
    .bind(device.0)
    .fetch(connection);
    facts(rows)
}

/// Everything told of these provider devices by a moment.
pub(super) fn of_provider_devices<'a>(
    connection: &'a mut PgConnection,
    keys: &'a [Uuid],
    moment: Moment,
) -> BoxStream<'a, Result<Fact, sqlx::Error>> {
    let rows = sqlx::query_as(told!(
        "WHERE f.provider_device_key = ANY ($1) AND f.at <= $2 AND f.recorded_at <= $3"
    ))
    .bind(keys)
    .bind(moment.at.to_datetime())
    .bind(moment.known_by.to_datetime())
    .fetch(connection);
    facts(rows)
}

/// Everything that people said of these devices by a moment.
pub(super) fn of_people<'a>(
    connection: &'a mut PgConnection,
    devices: &'a [Uuid],
    moment: Moment,
) -> BoxStream<'a, Result<Fact, sqlx::Error>> {
    let rows = sqlx::query_as(told!(
        "WHERE f.device = ANY ($1) AND f.provider_device_key IS NULL AND f.at <= $2 AND f.recorded_at <= $3"
    ))
    .bind(devices)
    .bind(moment.at.to_datetime())
    .bind(moment.known_by.to_datetime())
    .fetch(connection);
    facts(rows)
}

/// A reading or log entry: that a provider device was heard, and under what name.
pub(super) struct Heard {
    device: ProviderDevice,
    key: OrderKey,
    by: ReportedBy,
    said: Said,
}

impl Heard {
    /// Has it folded again.
    pub(super) fn tell(&self, as_of: &mut AsOf) {
        as_of.heard(&self.device, self.key, &self.said, self.by);
    }

    /// Its event.
    pub(super) fn event(&self) -> EventId {
        self.key.id
    }

    /// Its event's name.
    pub(super) fn event_name(&self) -> &'static str {
        if self.by == ReportedBy::Log {
            "log.received"
        } else {
            "reading.received"
        }
    }

    /// When we first received it.
    pub(super) fn recorded_at(&self) -> Micros {
        self.said.recorded_at
    }

    /// The key of its event in the log.
    pub(super) fn log_key(&self) -> String {
        self.device.to_string()
    }

    /// The name it says.
    pub(super) fn named(&self) -> Option<&str> {
        self.said.device_name.as_deref()
    }
}

#[derive(FromRow)]
struct HeardRow {
    organization: Uuid,
    provider_device: String,
    by: String,
    at: OffsetDateTime,
    sequence: i64,
    event: Uuid,
    recorded_at: OffsetDateTime,
    origin: String,
    device_name: Option<String>,
    name_at: Option<OffsetDateTime>,
}

impl TryFrom<HeardRow> for Heard {
    type Error = BoxDynError;

    fn try_from(row: HeardRow) -> Result<Self, BoxDynError> {
        Ok(Self {
            device: row.provider_device.parse()?,
            key: OrderKey {
                at: row.at.into(),
                sequence: row.sequence,
                id: EventId(row.event),
            },
            by: row.by.parse()?,
            said: Said {
                organization: OrganizationId(row.organization),
                origin: row.origin.parse()?,
                device_name: row.device_name,
                name_at: row.name_at.map(Micros::from),
                recorded_at: row.recorded_at.into(),
            },
        })
    }
}

/// Of the readings and log entries by a moment those that decide: the newest of each kind, and of each name that was
/// said the newest and the first.
pub(super) async fn heard(
    connection: &mut PgConnection,
    keys: &[Uuid],
    moment: Moment,
) -> Result<Vec<Heard>, sqlx::Error> {
    let rows: Vec<HeardRow> = sqlx::query_as(
        r#"WITH known AS (
              SELECT * FROM fleet.heard h WHERE h.provider_device_key = ANY ($1) AND h.recorded_at <= $3
           ), deciding AS (
              (SELECT DISTINCT ON (provider_device_key, by) * FROM known WHERE at <= $2
                ORDER BY provider_device_key, by, at DESC, sequence DESC, event DESC)
              UNION ALL
              (SELECT DISTINCT ON (provider_device_key, device_name) * FROM known WHERE name_at <= $2
                ORDER BY provider_device_key, device_name, name_at DESC, sequence DESC, event DESC)
              UNION ALL
              (SELECT DISTINCT ON (provider_device_key, device_name) * FROM known WHERE name_at <= $2
                ORDER BY provider_device_key, device_name, recorded_at, event)
           )
           SELECT organization, provider_device, "by", at, sequence, event, recorded_at, origin, device_name, name_at
             FROM deciding"#,
    )
    .bind(keys)
    .bind(moment.at.to_datetime())
    .bind(moment.known_by.to_datetime())
    .fetch_all(connection)
    .await?;
    let heard = rows.into_iter().map(Heard::try_from);
    heard.collect::<Result<_, _>>().map_err(sqlx::Error::Decode)
}
