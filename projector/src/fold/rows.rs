//! The rows of the truth tables, and how two copies of one row join.
//!
//! `joins` is commutative, associative and idempotent for each; equal keys mean equal contents.

mod edits;
mod facts;
mod readings;

use schema::{
    DeviceId, EventId, IntegrationId, MaxRegister, Micros, OrderKey, OrganizationId, Origin, ProviderDevice,
    Serial,
};
use uuid::Uuid;

pub use edits::*;
pub use facts::*;
pub use readings::*;

/// What a provider device is known by, as keys hold it: [`ProviderDevice::uuid`].
pub type DeviceKey = Uuid;

/// Keeps what has the greater key; on equal keys what is held, since the contents are equal.
pub(crate) fn join<T>(held: &mut MaxRegister<T>, other: MaxRegister<T>) {
    if let Some((key, value)) = other.into_held() {
        held.join(key, value);
    }
}

/// A provider device: the registers that identity is derived from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDeviceRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// As its integration knows it.
    pub device: ProviderDevice,
    /// Newest name; `None` was observed as absent.
    pub name: MaxRegister<Option<Serial>>,
    /// First name recorded.
    pub first_name: Option<FirstName>,
    /// Newest explicit binding.
    pub bound: MaxRegister<DeviceId>,
    /// Newest tombstone, and how it was established.
    pub gone: MaxRegister<String>,
    /// Newest evidence of presence among registry events.
    pub seen: MaxRegister<()>,
}

/// The name with the least (`recorded_at`, `id`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstName {
    /// Receipt of the event that said it.
    pub recorded_at: Micros,
    /// That event.
    pub id: EventId,
    /// The name.
    pub name: Serial,
}

impl ProviderDeviceRow {
    /// A provider device of which nothing is known but that it exists.
    pub fn new(organization: OrganizationId, device: ProviderDevice) -> Self {
        Self {
            organization,
            device,
            name: MaxRegister::default(),
            first_name: None,
            bound: MaxRegister::default(),
            gone: MaxRegister::default(),
            seen: MaxRegister::default(),
        }
    }

    /// Whether it says more than that the provider device exists.
    pub fn says_something(&self) -> bool {
        let keys = [
            self.name.key(),
            self.bound.key(),
            self.gone.key(),
            self.seen.key(),
        ];
        self.first_name.is_some() || keys.iter().any(Option::is_some)
    }

    /// Joins a name that was said of it.
    pub(crate) fn heard_name(&mut self, key: OrderKey, recorded_at: Micros, name: &Serial) {
        if self.name.key().is_none_or(|held| held < key) {
            self.name.join(key, Some(name.clone()));
        }
        let earlier = |held: &FirstName| (recorded_at, key.id) < (held.recorded_at, held.id);
        if self.first_name.as_ref().is_none_or(earlier) {
            self.first_name = Some(FirstName {
                recorded_at,
                id: key.id,
                name: name.clone(),
            });
        }
    }

    /// Joins another copy.
    pub fn joins(&mut self, other: Self) {
        join(&mut self.name, other.name);
        join(&mut self.bound, other.bound);
        join(&mut self.gone, other.gone);
        join(&mut self.seen, other.seen);
        self.first_name = match (self.first_name.take(), other.first_name) {
            (Some(held), Some(other)) => Some(held.min(other)),
            (held, other) => held.or(other),
        };
    }
}

/// A register of one field: the newest value observed, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The key of the event that said it.
    pub key: OrderKey,
    /// The value, as JSON text.
    pub value: String,
    /// Names the value: equal names are equal values.
    pub hash: Uuid,
}

impl FieldRow {
    /// Joins another copy.
    pub fn joins(&mut self, other: Self) {
        if self.key < other.key {
            *self = other;
        }
    }
}

/// Signs of life and connectivity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The integration that speaks of it.
    pub integration: IntegrationId,
    /// Newest report.
    pub last_report: MaxRegister<LastReport>,
    /// Newest connect.
    pub connected: MaxRegister<Connected>,
    /// Newest disconnect.
    pub disconnected: MaxRegister<Disconnected>,
}

/// What reported last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReport {
    /// The kind of report.
    pub by: ReportedBy,
    /// How it came to us.
    pub origin: Origin,
}

/// The kind of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum ReportedBy {
    /// A reading.
    Reading,
    /// A log entry.
    Log,
    /// A state report.
    State,
    /// A firmware report.
    Firmware,
    /// The provider's own last report: a statement about the past, so no proof that the device is there now.
    Provider,
}

/// A connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The session, if one was said.
    pub session: Option<String>,
    /// On what grounds.
    pub evidence: String,
}

/// A disconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnected {
    /// The session, if one was said.
    pub session: Option<String>,
    /// On what grounds.
    pub evidence: String,
    /// Why, in the provider's words.
    pub reason: Option<String>,
}

impl ActivityRow {
    /// No sign of life.
    pub fn new(organization: OrganizationId, integration: IntegrationId) -> Self {
        Self {
            organization,
            integration,
            last_report: MaxRegister::default(),
            connected: MaxRegister::default(),
            disconnected: MaxRegister::default(),
        }
    }

    /// Newest sign that the device itself was there. What a provider says of the past is none.
    pub fn presence(&self) -> Option<OrderKey> {
        let (key, report) = self.last_report.held()?;
        (report.by != ReportedBy::Provider).then_some(*key)
    }

    /// Joins another copy.
    pub fn joins(&mut self, other: Self) {
        join(&mut self.last_report, other.last_report);
        join(&mut self.connected, other.connected);
        join(&mut self.disconnected, other.disconnected);
    }
}

/// When an integration was last heard by the owner of one Kafka partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Newest receipt of a push.
    pub last_push_at: Option<Micros>,
    /// Newest start of a complete scan.
    pub last_scan_at: Option<Micros>,
}

impl ListeningRow {
    /// Joins another copy.
    pub fn joins(&mut self, other: &Self) {
        self.last_push_at = self.last_push_at.max(other.last_push_at);
        self.last_scan_at = self.last_scan_at.max(other.last_scan_at);
    }
}
