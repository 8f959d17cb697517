//! What was known at a moment: the facts of then, folded again.
//!
//! A fact counts if it had happened by then, and if we had been told of it by then; two questions, since what happened
//! early may be told late. Readings and log entries count by their own instants, everything else by that of its event.

use std::collections::BTreeMap;

use schema::{DeviceId, Event, EventId, Micros, OrderKey, Origin, ProviderDevice, Subject};

use super::{
    Tables, Truth,
    fields::Shown,
    identity::{Candidate, Device, Link},
    rows::{
        ActivityRow, DeviceKey, FirmwareKey, FirmwareRow, HistoryKey, LocalFact, RegistryFact, ReportedBy,
        Said,
    },
    stored,
};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What had happened by then.
    pub at: Micros,
    /// What we had been told by then.
    pub known_by: Micros,
}

impl Moment {
    /// The end of all times: everything is known.
    pub const END: Self = Self {
        at: Micros::MAX,
        known_by: Micros::MAX,
    };

    /// Whether something had happened by then, and we had been told.
    pub fn covers(self, at: Micros, recorded_at: Micros) -> bool {
        at <= self.at && recorded_at <= self.known_by
    }
}

/// Facts folded again, as of a moment. Their order is no matter.
#[derive(Clone, Debug)]
pub struct AsOf {
    moment: Moment,
    truth: Truth,
}

impl AsOf {
    /// Nothing is known yet.
    pub fn new(moment: Moment) -> Self {
        Self {
            moment,
            truth: Truth::default(),
        }
    }

    /// Takes what a provider said, or what somebody said of a provider device.
    pub fn registry(&mut self, device: &ProviderDevice, id: EventId, fact: &RegistryFact) {
        if self.moment.covers(fact.at, fact.recorded_at) {
            self.truth.refold(device, id, fact);
        }
    }

    /// Takes what somebody said of a device, or what a cloud answered to it.
    pub fn local(&mut self, device: DeviceId, id: EventId, fact: &LocalFact) {
        if self.moment.covers(fact.at, fact.recorded_at)
            && let Some(event) = told(device, id, fact)
        {
            // What is kept of an event is what contributed.
            _ = self.truth.fold(0, &event);
        }
    }

    /// Takes a reading or a log entry: that the device was heard, and under what name.
    pub fn heard(&mut self, device: &ProviderDevice, key: OrderKey, said: &Said, by: ReportedBy) {
        let uuid = device.uuid();
        if self.moment.covers(key.at, said.recorded_at) {
            let mut said = said.clone();
            said.name_at = said.name_at.filter(|at| *at <= self.moment.at);
            self.truth
                .join_said(device, HistoryKey { device: uuid, key }, &said, by);
        } else if let Some(at) = said.name_at
            && self.moment.covers(at, said.recorded_at)
        {
            self.truth.named(device, OrderKey { at, ..key }, said);
        }
    }

    /// The tables of what was taken.
    pub fn tables(self) -> Tables {
        Tables::derive(self.truth)
    }
}

/// The event that a fact was.
pub(super) fn told(device: DeviceId, id: EventId, fact: &LocalFact) -> Option<Event> {
    Some(Event {
        id,
        subject: Subject::Device(device),
        at: fact.at,
        sequence: fact.sequence,
        recorded_at: fact.recorded_at,
        claimed_at: None,
        receipt_timed: false,
        organization: fact.organization,
        integration: None,
        origin: Origin::User,
        credential: None,
        replayable: false,
        traceparent: None,
        source: String::new(),
        extensions: BTreeMap::new(),
        body: stored::decode(&fact.name, &fact.body)?,
    })
}

/// A device as tables have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What it shows.
    pub device: Device,
    /// The provider devices it is made of.
    pub linked: Vec<Linked>,
    /// Its fields.
    pub fields: BTreeMap<String, Shown>,
    /// The newest report of each package: the version it runs, which an earlier report may have said.
    pub firmware: BTreeMap<String, Firmware>,
}

/// A provider device that a device is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// As its integration knows it.
    pub device: ProviderDevice,
    /// By which rule it is linked.
    pub link: Link,
    /// Its tombstone, unless it was seen since.
    pub gone: Option<OrderKey>,
    /// Its signs of life.
    pub activity: Option<ActivityRow>,
}

/// What is known of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The newest report, and when it was.
    pub newest: (Micros, FirmwareRow),
    /// The newest version that was said, and when.
    pub version: Option<(Micros, String)>,
}

impl View {
    /// A device, if the tables have it.
    pub fn of(tables: &Tables, device: DeviceId) -> Option<Self> {
        let shown = tables.devices.get(&device)?.clone();
        let links = tables.links.iter().filter(|(_, link)| link.device == device);
        let linked: Vec<(DeviceKey, Linked)> = links
            .filter_map(|(key, link)| Some((*key, linked(&tables.truth, *key, *link)?)))
            .collect();
        let keys: Vec<DeviceKey> = linked.iter().map(|(key, _)| *key).collect();
        Some(Self {
            device: shown,
            firmware: firmware(&tables.truth, &keys),
            fields: tables.fields_of(device),
            linked: linked.into_iter().map(|(_, linked)| linked).collect(),
        })
    }
}

fn linked(truth: &Truth, key: DeviceKey, link: Link) -> Option<Linked> {
    let row = truth.provider_devices.get(&key)?;
    let activity = truth.activity_of(&key);
    let candidate = Candidate::new(row, activity);
    Some(Linked {
        device: row.device.clone(),
        link,
        gone: candidate.gone.filter(|_| !candidate.live()),
        activity: activity.cloned(),
    })
}

/// The newest report of each package over these provider devices.
fn firmware(truth: &Truth, devices: &[DeviceKey]) -> BTreeMap<String, Firmware> {
    let order = |key: &FirmwareKey, row: &FirmwareRow| OrderKey {
        at: key.at,
        sequence: row.copy.sequence,
        id: row.copy.id,
    };
    let mut reports: Vec<(&FirmwareKey, &FirmwareRow)> = truth
        .firmware
        .iter()
        .filter(|(key, _)| devices.contains(&key.device))
        .collect();
    reports.sort_by_key(|(key, row)| order(key, row));
    let mut packages: BTreeMap<String, Firmware> = BTreeMap::new();
    for (key, row) in reports {
        let said = (!row.version.is_empty()).then(|| (key.at, row.version.clone()));
        let earlier = packages.remove(&key.package).and_then(|held| held.version);
        let package = Firmware {
            newest: (key.at, row.clone()),
            version: said.or(earlier),
        };
        packages.insert(key.package.clone(), package);
    }
    packages
}
