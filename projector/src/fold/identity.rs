//! Which device a provider device is, and what a device shows.
//!
//! Derived from registers and local facts alone, so the order in which they arrived is forgotten.

use schema::{
    DeviceId, KnownBy, MaxRegister, Micros, OrderKey, OrganizationId, ProviderDevice, RawJson, Serial,
};

use super::rows::{ActivityRow, FirstName, LocalFact, ProviderDeviceRow, join};

/// What identity needs of a provider device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose it is.
    pub organization: OrganizationId,
    /// As its integration knows it.
    pub device: ProviderDevice,
    /// Newest name; `None` was observed as absent.
    pub name: MaxRegister<Option<Serial>>,
    /// First name recorded.
    pub first_name: Option<FirstName>,
    /// Newest explicit binding.
    pub bound: Option<DeviceId>,
    /// Newest tombstone.
    pub gone: Option<OrderKey>,
    /// Newest evidence that the provider has it.
    pub present: Option<OrderKey>,
}

impl Candidate {
    /// What identity needs of these rows.
    pub fn new(row: &ProviderDeviceRow, activity: Option<&ActivityRow>) -> Self {
        Self {
            organization: row.organization,
            device: row.device.clone(),
            name: row.name.clone(),
            first_name: row.first_name.clone(),
            bound: row.bound.value().copied(),
            gone: row.gone.key(),
            present: row.seen.key().max(activity.and_then(ActivityRow::presence)),
        }
    }

    /// Whether the provider has it: no tombstone, or evidence newer than it.
    pub fn live(&self) -> bool {
        self.gone.is_none() || self.present > self.gone
    }

    /// The current name.
    pub fn current_name(&self) -> Option<&Serial> {
        self.name.value()?.as_ref()
    }

    /// The first name.
    pub fn first_name(&self) -> Option<&Serial> {
        self.first_name.as_ref().map(|first| &first.name)
    }

    /// Whether it is known by an id, not by its name alone.
    pub fn known_by_id(&self) -> bool {
        matches!(self.device.known_by, KnownBy::Id(_))
    }

    /// The device of a serial in its organization.
    pub fn device_of(&self, serial: &Serial) -> DeviceId {
        DeviceId::of_serial(self.organization, serial)
    }

    /// Every device it may be linked to by what it says itself.
    pub fn possible_devices(&self) -> impl Iterator<Item = DeviceId> {
        let named = [self.current_name(), self.first_name()];
        let named = named.map(|name| name.map(|name| self.device_of(name)));
        named.into_iter().chain([self.bound]).flatten()
    }
}

/// A provider device's link to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The device.
    pub device: DeviceId,
    /// By which rule.
    pub via: Via,
}

/// The rules of linking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Via {
    /// Someone bound it.
    Bound,
    /// By its current name, since that device was registered or edited here.
    CurrentName,
    /// By the first name recorded.
    FirstName,
    /// It is known by this name only.
    Name,
    /// Another provider device of the integration, known by id, has this name now.
    SameName,
}

/// Which device a provider device is: `None` while it has no name and nobody bound it.
///
/// `namesakes` are provider devices among which are all of its integration that have its name now; only those of one
/// that is known by name alone matter. `claimed` says whether a device was registered or edited here.
pub fn link<'a>(
    candidate: &Candidate,
    namesakes: impl IntoIterator<Item = &'a Candidate>,
    claimed: impl Fn(DeviceId) -> bool,
) -> Option<Link> {
    match &candidate.device.known_by {
        KnownBy::Id(_) => link_of_id(candidate, claimed),
        KnownBy::Name(name) => {
            if let Some(device) = candidate.bound {
                return Some(Link {
                    device,
                    via: Via::Bound,
                });
            }
            let same = |other: &&Candidate| {
                other.known_by_id()
                    && other.device.integration == candidate.device.integration
                    && other.current_name() == Some(name)
                    && other.live()
            };
            let newest = namesakes
                .into_iter()
                .filter(same)
                .max_by_key(|other| other.name.key());
            let namesake = newest.and_then(|other| link_of_id(other, claimed));
            Some(namesake.map_or_else(
                || Link {
                    device: candidate.device_of(name),
                    via: Via::Name,
                },
                |Link { device, .. }| Link {
                    device,
                    via: Via::SameName,
                },
            ))
        }
    }
}

fn link_of_id(candidate: &Candidate, claimed: impl Fn(DeviceId) -> bool) -> Option<Link> {
    let via = |via| move |device| Link { device, via };
    let current = || {
        let device = candidate.device_of(candidate.current_name()?);
        claimed(device).then_some(device)
    };
    let first = || candidate.first_name().map(|name| candidate.device_of(name));
    candidate
        .bound
        .map(via(Via::Bound))
        .or_else(|| current().map(via(Via::CurrentName)))
        .or_else(|| first().map(via(Via::FirstName)))
}

/// What we say of a device ourselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Whose it is.
    pub organization: Option<OrganizationId>,
    /// Someone registered or edited it.
    pub claimed: bool,
    /// Newest serial that was spoken of.
    pub serial: MaxRegister<Serial>,
    /// Newest name that it was given; `None` was unset.
    pub name: MaxRegister<Option<String>>,
    /// Newest of being taken out of service and being put back: whether it is out.
    pub retired: MaxRegister<bool>,
    /// The earliest registration.
    pub registered_at: Option<Micros>,
}

impl Local {
    /// Joins a fact.
    pub fn tell(&mut self, key: OrderKey, fact: &LocalFact) {
        self.organization.get_or_insert(fact.organization);
        self.claimed |= fact.claims_the_serial();
        if let Some(serial) = &fact.serial {
            self.serial.join(key, serial.clone());
        }
        match fact.name.as_str() {
            "device.registered" => {
                self.registered_at = Some(self.registered_at.map_or(key.at, |held| held.min(key.at)));
            }
            "device.retired" => _ = self.retired.join(key, true),
            "device.restored" => _ = self.retired.join(key, false),
            _ => {}
        }
    }

    /// Joins an edit of its name, as JSON text. What is no text unsets it.
    pub fn named(&mut self, key: OrderKey, value: &str) {
        let name = RawJson::parse(value).and_then(|raw| raw.value()).ok();
        let name = name.and_then(|name| name.as_str().map(str::to_owned));
        self.name.join(key, name);
    }

    /// Joins what others of its facts say.
    pub fn joins(&mut self, other: Self) {
        self.organization = self.organization.or(other.organization);
        self.claimed |= other.claimed;
        join(&mut self.serial, other.serial);
        join(&mut self.name, other.name);
        join(&mut self.retired, other.retired);
        self.registered_at = match (self.registered_at, other.registered_at) {
            (Some(held), Some(other)) => Some(held.min(other)),
            (held, other) => held.or(other),
        };
    }
}

/// What a device shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The current name; until one is known, the registered serial.
    pub serial: String,
    /// Our name.
    pub name: Option<String>,
    /// The earliest registration.
    pub registered_at: Option<Micros>,
    /// When it was taken out of service, if it was not put back since.
    pub retired_at: Option<Micros>,
}

/// What a device shows, given all provider devices linked to it and what we say of it. `None` if there is neither: then
/// there is no such device.
///
/// Its serial is the current name of the live provider device with the newest name; else of any; else the serial it
/// was registered with; else the first name or the external id of what is linked to it.
pub fn device(linked: &[&Candidate], local: Option<&Local>) -> Option<Device> {
    // An answer to an edit that is not known names no device.
    let local = local.filter(|local| local.serial.key().is_some());
    let of_linked = linked.first().map(|candidate| candidate.organization);
    let organization = of_linked.or_else(|| local.and_then(|local| local.organization))?;
    let newest_name = |live: bool| {
        linked
            .iter()
            .filter(|candidate| candidate.live() || !live)
            .filter_map(|candidate| Some((candidate.name.key()?, candidate.current_name()?)))
            .max_by_key(|(key, _)| *key)
            .map(|(_, name)| name.as_str())
    };
    let registered = || local?.serial.value().map(Serial::as_str);
    let first_name = || {
        let names = linked.iter().filter_map(|candidate| candidate.first_name());
        names.min().map(Serial::as_str)
    };
    let external_id = || {
        let ids = linked.iter().map(|candidate| match &candidate.device.known_by {
            KnownBy::Id(id) => id.as_str(),
            KnownBy::Name(name) => name.as_str(),
        });
        ids.min()
    };
    let serial = newest_name(true)
        .or_else(|| newest_name(false))
        .or_else(registered)
        .or_else(first_name)
        .or_else(external_id)
        .unwrap_or_default();
    Some(Device {
        organization,
        serial: serial.to_owned(),
        name: local.and_then(|local| local.name.value().cloned().flatten()),
        registered_at: local.and_then(|local| local.registered_at),
        retired_at: local.and_then(|local| {
            let (key, retired) = local.retired.held()?;
            retired.then_some(key.at)
        }),
    })
}

/// Whether the order of these names matters: then they must not change unseen while the device is derived.
pub fn names_compete(linked: &[&Candidate]) -> bool {
    let mut names = linked.iter().filter_map(|candidate| candidate.current_name());
    names
        .next()
        .is_some_and(|first| names.any(|other| other != first))
}
