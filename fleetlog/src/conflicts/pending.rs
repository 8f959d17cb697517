//! What waits for a person, and which of it is meant.

use std::time::Duration;

use clap::{Args, builder::PossibleValuesParser};
use schema::{DeviceId, IntegrationId, Micros, OrganizationId, ProviderDevice, RawJson};

/// The kind of a conflict about a field; every other kind is about identity.
pub(super) const FIELD: &str = "field";
/// Two devices show one serial number.
pub(super) const SAME_SERIAL: &str = "same_serial";
/// A provider device is back after it had gone.
pub(super) const REAPPEARED: &str = "reappeared";
const KINDS: [&str; 5] = [
    FIELD,
    "two_names",
    "two_provider_devices",
    REAPPEARED,
    SAME_SERIAL,
];

/// Which conflicts.
#[derive(Args, Clone)]
pub(super) struct Filters {
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Only of this device: its serial number, or its id here
    #[arg(long, value_name = "SERIAL|ID")]
    device: Option<String>,
    /// Only about this field
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Only of this kind
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(KINDS))]
    kind: Option<String>,
    /// Only those in which this integration contradicts
    #[arg(long, value_name = "ID")]
    integration: Option<IntegrationId>,
    /// Only those that wait for longer than this, e.g. 7d
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

/// Which conflicts, as the database is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) ids: Option<Vec<String>>,
    pub(super) organization: Option<OrganizationId>,
    pub(super) device: Option<String>,
    pub(super) field: Option<String>,
    pub(super) kind: Option<String>,
    /// Only about fields, or only about identity.
    pub(super) of_fields: Option<bool>,
    pub(super) integration: Option<IntegrationId>,
    pub(super) opened_before: Option<Micros>,
}

/// A pending conflict: a row of `fleet.conflicts`.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) conflict: String,
    pub(super) organization: OrganizationId,
    pub(super) kind: String,
    pub(super) device: Option<DeviceId>,
    pub(super) serial: String,
    pub(super) field: Option<String>,
    /// What the edit says; `None` if it unset the field.
    pub(super) local: Option<RawJson>,
    /// What the cloud says; `None` if it says that there is no value.
    pub(super) remote: Option<RawJson>,
    pub(super) base: Option<RawJson>,
    pub(super) strategy: Option<String>,
    pub(super) edit_author: Option<String>,
    pub(super) edited_at: Option<Micros>,
    pub(super) remote_at: Option<Micros>,
    pub(super) opened_at: Option<Micros>,
    pub(super) provider_devices: Vec<ProviderDevice>,
    /// All devices in question.
    pub(super) devices: Vec<DeviceId>,
    /// The whole row, as JSON.
    pub(super) row: String,
}

impl Filters {
    /// What they leave at this time.
    pub(super) fn wanted(&self, now: Micros) -> Wanted {
        Wanted {
            ids: None,
            organization: self.organization,
            device: self.device.clone(),
            field: self.field.clone(),
            kind: self.kind.clone(),
            of_fields: None,
            integration: self.integration,
            opened_before: self.older_than.map(|age| now.minus(age)),
        }
    }

    /// Whether any is given.
    pub(super) fn any(&self) -> bool {
        self.organization.is_some()
            || self.device.is_some()
            || self.field.is_some()
            || self.kind.is_some()
            || self.integration.is_some()
            || self.older_than.is_some()
    }

    /// Whether one field is meant.
    pub(super) fn names_a_field(&self) -> bool {
        self.field.is_some()
    }
}

impl Pending {
    /// Whether it is about a field, rather than about identity.
    pub(super) fn is_of_field(&self) -> bool {
        self.kind == FIELD
    }
}
