//! Which device a provider device is: derived again, in the transaction that changed what it follows from.
//!
//! READ COMMITTED. Every device that a link may leave or join is locked, in sorted order, before anything is read that
//! a link follows from; what is read is read in a new statement then. If more devices turn out to be concerned, they
//! are locked too and all is read again. Whoever changes what a provider device is called, whether it is there, or
//! whether a device was registered holds the lock of the device with that name, so two who derive the same link never
//! do so at once. Locks taken later may be out of order: Postgres then ends one of the two, who repeats its batch.

use std::collections::{BTreeMap, BTreeSet};

use schema::{DeviceId, IntegrationId, OrganizationId, Serial};
use sqlx::PgConnection;

use crate::{
    fold::{
        Truth,
        identity::{self, Candidate, Link, Local},
        rows::{DeviceKey, ProviderDeviceRow},
    },
    sql::{
        candidates::{self, Held, Wanted},
        links,
    },
};

/// How often more devices may turn out to be concerned, before the batch is repeated.
const MAX_ROUNDS: usize = 32;

/// What has to be derived again.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Provider devices, and those that share a name with them.
    wanted: Wanted,
    /// Devices of which something new was said here.
    told: BTreeSet<DeviceId>,
}

/// What a batch changed of a provider device, as far as links are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that a link or a device follows from.
    Nothing,
    /// The same name was said again: that decides only where names stand beside each other.
    NameAgain,
    /// Whether it is there has to be read again, once written: it was gone before.
    Presence,
    /// What a link follows from.
    Link,
}

/// Compares what was known with what a batch adds.
pub(crate) fn change(before: Option<&Candidate>, row: &ProviderDeviceRow, is_active: bool) -> Change {
    let Some(before) = before else {
        let says_who = row.first_name.is_some() || row.bound.value().is_some();
        return if says_who { Change::Link } else { Change::Nothing };
    };
    let newer_name = row.name.key() > before.name.key();
    let renamed = newer_name && row.name.value() != before.name.value();
    let named_before = row.first_name.as_ref().is_some_and(|first| {
        let held = before.first_name.as_ref();
        held.is_none_or(|held| first < held && first.name != held.name)
    });
    let bound = row
        .bound
        .value()
        .is_some_and(|device| Some(*device) != before.bound);
    if renamed || named_before || bound || row.gone.key().is_some() {
        return Change::Link;
    }
    if before.gone.is_some() && (is_active || row.seen.key().is_some()) {
        return Change::Presence;
    }
    if newer_name {
        return Change::NameAgain;
    }
    Change::Nothing
}

impl Touched {
    /// All of these provider devices and devices.
    pub(crate) fn of(
        keys: impl IntoIterator<Item = DeviceKey>,
        devices: impl IntoIterator<Item = DeviceId>,
    ) -> Self {
        let mut touched = Self::default();
        touched.wanted.keys.extend(keys);
        touched.told.extend(devices);
        touched
    }

    /// A provider device that what a link follows from has changed of.
    pub(crate) fn provider_device(
        &mut self,
        key: DeviceKey,
        row: &ProviderDeviceRow,
        before: Option<&Candidate>,
    ) {
        self.wanted.keys.insert(key);
        let names = [
            before.and_then(Candidate::current_name),
            row.name.value().and_then(Option::as_ref),
        ];
        for name in names.into_iter().flatten() {
            self.name(row.device.integration, name);
        }
    }

    fn name(&mut self, integration: IntegrationId, name: &Serial) -> bool {
        self.wanted.of_integration.insert((integration, name.clone()))
    }

    /// Devices of which something new was said here.
    ///
    /// What is said names them as they were shown, which need not be the serial number that they come from: so whoever
    /// is linked to them is looked at as well, and with them all that share their names.
    pub(crate) fn told(&mut self, devices: impl IntoIterator<Item = DeviceId>, truth: &Truth) {
        self.told.extend(devices);
        self.wanted.linked_to.extend(&self.told);
        for ((device, _), fact) in &truth.local {
            if let Some(serial) = fact.serial.clone().filter(|_| self.told.contains(device)) {
                self.wanted.of_organization.insert((fact.organization, serial));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wanted == Wanted::default() && self.told.is_empty()
    }

    /// Derives links and devices. `false` if ever more devices turned out to be concerned.
    pub(crate) async fn derive(mut self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let mut locked = BTreeSet::new();
        let mut named = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let held = candidates::read(connection, &self.wanted).await?;
            if self.widen(&held) {
                continue;
            }
            let concerned = self.concerned(&held);
            let unlocked: BTreeSet<DeviceId> = concerned.difference(&locked).copied().collect();
            let competing = competing(&held);
            let unnamed: BTreeSet<DeviceKey> = competing.difference(&named).copied().collect();
            if !unlocked.is_empty() {
                links::lock(connection, &unlocked).await?;
                locked.extend(unlocked);
            } else if !unnamed.is_empty() {
                candidates::hold(connection, &unnamed).await?;
                named.extend(unnamed);
            } else {
                let local = links::read_local(connection, &locked).await?;
                write_links(connection, &held, &local).await?;
                write_devices(connection, locked, &local).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds the names that provider devices really have now, and those that devices come from of which something was
    /// said here; says whether there were others.
    fn widen(&mut self, held: &BTreeMap<DeviceKey, Held>) -> bool {
        let mut wider = false;
        for Held { candidate, link } in held.values() {
            if let Some(name) = candidate.current_name() {
                wider |= self.name(candidate.device.integration, name);
            }
            let is_told = link.is_some_and(|link| self.told.contains(&link.device));
            if let Some(first) = candidate.first_name.as_ref().filter(|_| is_told) {
                let name = (candidate.organization, first.name.clone());
                wider |= self.wanted.of_organization.insert(name);
            }
        }
        wider
    }

    /// Devices that may be left or joined.
    fn concerned(&self, held: &BTreeMap<DeviceKey, Held>) -> BTreeSet<DeviceId> {
        let linked = held.values().filter_map(|held| held.link);
        let possible = held.values().flat_map(|held| held.candidate.possible_devices());
        linked
            .map(|link| link.device)
            .chain(possible)
            .chain(self.told.iter().copied())
            .collect()
    }
}

/// Provider devices known by id that share a name in an integration: which is the newest decides for a third that is
/// known by that name only.
fn competing(held: &BTreeMap<DeviceKey, Held>) -> BTreeSet<DeviceKey> {
    let mut by_name: BTreeMap<(IntegrationId, &Serial), Vec<DeviceKey>> = BTreeMap::new();
    for (key, Held { candidate, .. }) in held {
        if let Some(name) = candidate.current_name().filter(|_| candidate.known_by_id()) {
            by_name
                .entry((candidate.device.integration, name))
                .or_default()
                .push(*key);
        }
    }
    let several = by_name.into_values().filter(|keys| keys.len() > 1);
    several.flatten().collect()
}

async fn write_links(
    connection: &mut PgConnection,
    held: &BTreeMap<DeviceKey, Held>,
    local: &BTreeMap<DeviceId, Local>,
) -> sqlx::Result<()> {
    let claimed = |device| local.get(&device).is_some_and(|local| local.claimed);
    let mut by_name: BTreeMap<(IntegrationId, &Serial), Vec<&Candidate>> = BTreeMap::new();
    for Held { candidate, .. } in held.values() {
        if let Some(name) = candidate.current_name() {
            let integration = candidate.device.integration;
            by_name.entry((integration, name)).or_default().push(candidate);
        }
    }
    let mut changed: BTreeMap<DeviceKey, (OrganizationId, Link)> = BTreeMap::new();
    let mut removed = Vec::new();
    for (key, Held { candidate, link }) in held {
        let namesakes = candidate
            .current_name()
            .and_then(|name| by_name.get(&(candidate.device.integration, name)));
        let derived = identity::link(candidate, namesakes.into_iter().flatten().copied(), claimed);
        match derived {
            Some(new) if derived != *link => {
                changed.insert(*key, (candidate.organization, new));
            }
            None if link.is_some() => removed.push(*key),
            Some(_) | None => {}
        }
    }
    links::write(connection, &changed).await?;
    links::remove(connection, &removed).await
}

/// Derives devices, whose links are written and whose locks are held.
async fn write_devices(
    connection: &mut PgConnection,
    devices: BTreeSet<DeviceId>,
    local: &BTreeMap<DeviceId, Local>,
) -> sqlx::Result<()> {
    let wanted = Wanted {
        linked_to: devices,
        ..Wanted::default()
    };
    let mut held = candidates::read(connection, &wanted).await?;
    let competing: BTreeSet<DeviceKey> = by_device(&held)
        .values()
        .filter(|linked| {
            let linked: Vec<_> = linked.iter().map(|(_, candidate)| *candidate).collect();
            identity::names_compete(&linked)
        })
        .flat_map(|linked| linked.iter().map(|(key, _)| *key))
        .collect();
    if !competing.is_empty() {
        candidates::hold(connection, &competing).await?;
        held = candidates::read(connection, &wanted).await?;
    }
    let linked = by_device(&held);
    let mut shown = BTreeMap::new();
    let mut removed = BTreeSet::new();
    for device in wanted.linked_to {
        let linked = linked.get(&device).into_iter().flatten();
        let linked: Vec<_> = linked.map(|(_, candidate)| *candidate).collect();
        match identity::device(&linked, local.get(&device)) {
            Some(row) => {
                shown.insert(device, row);
            }
            None => {
                removed.insert(device);
            }
        }
    }
    links::write_devices(connection, &shown).await?;
    links::remove_devices(connection, &removed).await
}

fn by_device(held: &BTreeMap<DeviceKey, Held>) -> BTreeMap<DeviceId, Vec<(DeviceKey, &Candidate)>> {
    let mut linked: BTreeMap<DeviceId, Vec<(DeviceKey, &Candidate)>> = BTreeMap::new();
    for (key, Held { candidate, link }) in held {
        if let Some(link) = link {
            linked.entry(link.device).or_default().push((*key, candidate));
        }
    }
    linked
}
