//! What we say: registrations, edits, bindings, and the providers' answers to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extra, Fields, present};
use crate::{DeviceId, EventId, Micros, RawJson, Serial};

/// Someone registered a device here. Key: the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceRegistered {
    /// The serial number; the device id follows from it.
    pub serial: Serial,
    /// First values of fields that are ours or can be edited, e.g. `name`, `notes`.
    #[serde(default)]
    pub fields: Fields,
    /// Who did it.
    pub author: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// Someone edited a device here. Key: the device.
///
/// The event's `at` is max(now, all its author has seen + 1 µs), so that an edit always beats what its author saw,
/// whatever the clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceEdited {
    /// The serial number of the edited device.
    pub serial: Serial,
    /// What was changed; never empty.
    #[schemars(length(min = 1))]
    pub changes: Vec<FieldChange>,
    /// The conflicts that this decides, by their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolves: Vec<String>,
    /// Who did it.
    pub author: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// One field of an edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// The field, e.g. `name`, `metadata`; a tag is the boolean field `tag:{id}`.
    pub field: String,
    /// The new value; `null` unsets it.
    pub value: RawJson,
    /// What its author saw when deciding.
    pub seen: Seen,
    /// What decides if the cloud has changed the field as well.
    pub strategy: Strategy,
}

/// What the author of an edit saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// The remote value; missing if there was none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub remote: Option<RawJson>,
    /// When that value was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_at: Option<Micros>,
    /// The edit that was current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<EventId>,
}

/// Who wins when both sides changed a field. Stamped in the edit from the integration's policy of that day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The edit is shown and pushed again.
    PreferLocal,
    /// The cloud's value is shown, the edit as lost.
    PreferRemote,
    /// The cloud's value is shown, and a conflict waits for a person.
    Manual,
    /// Each tag merges by itself.
    Merge,
    /// A strategy of a later version; decided as `manual`.
    #[serde(untagged)]
    Other(String),
}

impl Strategy {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::PreferLocal => "prefer_local",
            Self::PreferRemote => "prefer_remote",
            Self::Manual => "manual",
            Self::Merge => "merge",
            Self::Other(text) => text,
        }
    }
}

/// Someone took a device out of service. Key: the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceRetired {
    /// The serial number.
    pub serial: Serial,
    /// Who did it.
    pub author: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// Someone put a device back into service. Key: the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceRestored {
    /// The serial number.
    pub serial: Serial,
    /// Who did it.
    pub author: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// Someone said which device a provider device is. Key: the provider device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderDeviceBound {
    /// The device it is.
    pub device: DeviceId,
    /// The serial number of that device, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// The device it was shown as part of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_device: Option<DeviceId>,
    /// That device is a second one under a serial number that another machine has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The identity conflicts that this decides, by their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolves: Vec<String>,
    /// Who did it.
    pub author: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// A provider answered the push of an edit. Key: the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EditPushed {
    /// The edit that was pushed.
    pub edit: EventId,
    /// The fields that were pushed.
    pub fields: Vec<String>,
    /// Whether the provider took it.
    pub outcome: PushOutcome,
    /// The provider's answer.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub answer: Option<RawJson>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// Whether a provider took an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushOutcome {
    /// It did.
    Accepted,
    /// It refused, for good.
    Rejected,
}
