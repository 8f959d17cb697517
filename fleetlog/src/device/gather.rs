//! All that decides about one device as of a moment: the facts of everything that may have been part of it then.
//!
//! Which provider devices those were is not known beforehand: they follow from names and bindings of then. So the
//! search begins with what is linked now, was ever bound to the device or had its serial number, and goes on as long as
//! the names that are found lead to others.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use projector::fold::as_of::{AsOf, Moment};
use schema::{Body, DeviceId, KnownBy, ProviderDevice, Serial};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    facts::{self, Fact},
    named::Known,
};

/// Most rounds of the search. One machine has few doors: the second round finds nothing new, as a rule.
const MAX_ROUNDS: usize = 4;

/// What was gathered so far.
struct Gathering {
    as_of: AsOf,
    provider_devices: BTreeMap<Uuid, ProviderDevice>,
    /// Devices that these may have been linked to.
    devices: BTreeSet<DeviceId>,
    /// Names that led to provider devices already.
    searched: BTreeSet<String>,
    /// Names that may lead to others.
    names: BTreeSet<String>,
}

/// Gathers all that decides about a device as of a moment.
pub(super) async fn as_of(
    connection: &mut PgConnection,
    known: &Known,
    moment: Moment,
) -> Result<AsOf, sqlx::Error> {
    let mut gathering = Gathering {
        as_of: AsOf::new(moment),
        provider_devices: BTreeMap::new(),
        devices: BTreeSet::from([known.id]),
        searched: BTreeSet::new(),
        names: own_serials(connection, known).await?,
    };
    for _ in 0..MAX_ROUNDS {
        let new = gathering.search(connection, known).await?;
        if new.is_empty() {
            break;
        }
        gathering.read(connection, known, &new, moment).await?;
    }
    let devices: Vec<Uuid> = gathering.devices.iter().map(|device| device.0).collect();
    let mut said = facts::of_people(connection, &devices, moment);
    while let Some(fact) = said.try_next().await? {
        fact.tell(&mut gathering.as_of);
    }
    drop(said);
    Ok(gathering.as_of)
}

impl Gathering {
    /// Provider devices that were not read yet and may have been part of the device.
    async fn search(
        &mut self,
        connection: &mut PgConnection,
        known: &Known,
    ) -> Result<BTreeMap<Uuid, ProviderDevice>, sqlx::Error> {
        let names: Vec<String> = self.names.difference(&self.searched).cloned().collect();
        // Those that are known by such a name alone.
        let doors: Vec<Uuid> = self
            .provider_devices
            .values()
            .flat_map(|device| names.iter().map(|name| (device.integration, name)))
            .filter_map(|(integration, name)| {
                let name = Serial::new(name).ok()?;
                Some(ProviderDevice::by_name(integration, name).uuid())
            })
            .collect();
        let is_first = self.searched.is_empty();
        if names.is_empty() && !is_first {
            return Ok(BTreeMap::new());
        }
        let mut found = shown(connection, known, &names, &doors).await?;
        found.extend(told(connection, known, &names).await?);
        self.searched.extend(names);
        let mut new = BTreeMap::new();
        for text in found {
            if let Ok(device) = text.parse::<ProviderDevice>()
                && !self.provider_devices.contains_key(&device.uuid())
            {
                new.insert(device.uuid(), device);
            }
        }
        Ok(new)
    }

    /// Reads what was told of these provider devices.
    async fn read(
        &mut self,
        connection: &mut PgConnection,
        known: &Known,
        new: &BTreeMap<Uuid, ProviderDevice>,
        moment: Moment,
    ) -> Result<(), sqlx::Error> {
        let keys: Vec<Uuid> = new.keys().copied().collect();
        let mut said = facts::of_provider_devices(connection, &keys, moment);
        while let Some(fact) = said.try_next().await? {
            fact.tell(&mut self.as_of);
            self.devices.extend(bound_to(&fact));
            self.name(known, fact.named().as_deref());
        }
        drop(said);
        for heard in facts::heard(connection, &keys, moment).await? {
            heard.tell(&mut self.as_of);
            self.name(known, heard.named());
        }
        for device in new.values() {
            if let KnownBy::Name(name) = &device.known_by {
                self.name(known, Some(name.as_str()));
            }
        }
        self.provider_devices
            .extend(new.iter().map(|(key, device)| (*key, device.clone())));
        Ok(())
    }

    fn name(&mut self, known: &Known, name: Option<&str>) {
        if let Some(serial) = name.and_then(|name| Serial::new(name).ok()) {
            self.devices
                .insert(DeviceId::of_serial(known.organization, &serial));
            self.names.insert(serial.into());
        }
    }
}

fn bound_to(fact: &Fact) -> Option<DeviceId> {
    if let Some(Body::ProviderDeviceBound(body)) = fact.decoded() {
        Some(body.device)
    } else {
        None
    }
}

/// The serial number that a device's id follows from, if it does from one that was ever said of it.
async fn own_serials(connection: &mut PgConnection, known: &Known) -> Result<BTreeSet<String>, sqlx::Error> {
    let said: Vec<Option<String>> = sqlx::query_scalar(
        "SELECT f.body ->> 'serial' FROM fleet.facts f WHERE f.device = $1 AND f.provider_device_key IS NULL
          UNION SELECT p.name FROM fleet.provider_devices p WHERE p.device = $1
          UNION SELECT p.first_name FROM fleet.provider_devices p WHERE p.device = $1
          UNION SELECT $2",
    )
    .bind(known.id.0)
    .bind(&known.serial)
    .fetch_all(connection)
    .await?;
    let said = said.into_iter().flatten();
    let serials = said.filter_map(|text| Serial::new(&text).ok());
    let own = serials.filter(|serial| DeviceId::of_serial(known.organization, serial) == known.id);
    Ok(own.map(String::from).collect())
}

/// Provider devices that are linked to the device now, have or had first one of these names, or are these.
async fn shown(
    connection: &mut PgConnection,
    known: &Known,
    names: &[String],
    keys: &[Uuid],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT p.provider_device FROM fleet.provider_devices p
          WHERE p.organization = $1
            AND (p.device = $2 OR p.name = ANY ($3) OR p.first_name = ANY ($3) OR p.id = ANY ($4))",
    )
    .bind(known.organization.0)
    .bind(known.id.0)
    .bind(names)
    .bind(keys)
    .fetch_all(connection)
    .await
}

/// Provider devices that were ever bound to the device, or said to have one of these names. Looks at every fact of the
/// organization: what was said long ago has no index.
async fn told(
    connection: &mut PgConnection,
    known: &Known,
    names: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT f.provider_device FROM fleet.facts f
          WHERE f.organization = $1 AND f.provider_device_key IS NOT NULL
            AND (f.body ->> 'device' = $2 OR f.body ->> 'name' = ANY ($3) OR f.body ->> 'device_name' = ANY ($3))",
    )
    .bind(known.organization.0)
    .bind(known.id.to_string())
    .bind(names)
    .fetch_all(connection)
    .await
}
