//! Facts: connections, firmware reports, what providers and people said.

use schema::{EventId, Micros, OrganizationId, Origin, Serial};
use uuid::Uuid;

use super::DeviceKey;

/// What makes two connects or disconnects one fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// The provider device.
    pub device: DeviceKey,
    /// When.
    pub at: Micros,
    /// Connected, or disconnected.
    pub connected: bool,
    /// The session, empty where none was said.
    pub session: String,
}

/// A connect or disconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Of its copies the least.
    pub copy: Copy,
    /// Why, in the provider's words.
    pub reason: Option<String>,
    /// On what grounds.
    pub evidence: String,
    /// The least receipt.
    pub recorded_at: Micros,
}

/// (`sequence`, `id`) of an event: tells apart the copies of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// The event's sequence.
    pub sequence: i64,
    /// The event.
    pub id: EventId,
}

impl ConnectionRow {
    /// Joins another copy: the least copy tells, the least receipt counts.
    pub fn joins(&mut self, other: Self) {
        let recorded_at = self.recorded_at.min(other.recorded_at);
        if other.copy < self.copy {
            *self = other;
        }
        self.recorded_at = recorded_at;
    }
}

/// What makes two firmware reports one fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareKey {
    /// The provider device.
    pub device: DeviceKey,
    /// The package.
    pub package: String,
    /// When.
    pub at: Micros,
    /// `UUIDv5` over version, target, state and reason.
    pub fact: Uuid,
}

/// A firmware report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The running version, empty where none was said.
    pub version: String,
    /// The version being installed, or empty.
    pub target: String,
    /// The state, or empty.
    pub state: String,
    /// The reason, or empty.
    pub reason: String,
    /// Of its copies the least.
    pub copy: Copy,
    /// The provider's number for the state.
    pub state_code: Option<i32>,
    /// The provider's number for the reason.
    pub reason_code: Option<i32>,
    /// Where it was found.
    pub via: Option<String>,
    /// The least receipt.
    pub recorded_at: Micros,
}

impl FirmwareRow {
    /// Joins another copy: the least copy tells, the least receipt counts.
    pub fn joins(&mut self, other: Self) {
        let recorded_at = self.recorded_at.min(other.recorded_at);
        if other.copy < self.copy {
            *self = other;
        }
        self.recorded_at = recorded_at;
    }
}

/// An event about a provider device, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryFact {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The event's name.
    pub name: String,
    /// The event's `at`; the least of its copies.
    pub at: Micros,
    /// The event's sequence.
    pub sequence: i64,
    /// The least receipt.
    pub recorded_at: Micros,
    /// How it came to us.
    pub origin: Origin,
    /// What it says, as JSON text.
    pub body: String,
}

impl RegistryFact {
    /// Joins another copy.
    pub fn joins(&mut self, other: &Self) {
        self.at = self.at.min(other.at);
        self.recorded_at = self.recorded_at.min(other.recorded_at);
    }
}

/// What we say of a device of ours, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFact {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The event's name.
    pub name: String,
    /// The serial it speaks of.
    pub serial: Option<Serial>,
    /// The event's `at`; the least of its copies.
    pub at: Micros,
    /// The event's sequence.
    pub sequence: i64,
    /// The least receipt.
    pub recorded_at: Micros,
    /// Who said it.
    pub author: Option<String>,
    /// What it says, as JSON text.
    pub body: String,
}

impl LocalFact {
    /// Joins another copy.
    pub fn joins(&mut self, other: &Self) {
        self.at = self.at.min(other.at);
        self.recorded_at = self.recorded_at.min(other.recorded_at);
    }

    /// Whether someone registered or edited the device by it.
    pub fn claims_the_serial(&self) -> bool {
        matches!(self.name.as_str(), "device.registered" | "device.edited")
    }
}
