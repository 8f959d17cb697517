//! What providers say of a device. Key: the provider device.
//!
//! Where a field is [`Observed`], `null` means that it was observed as absent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extra, Observed, present};
use crate::{Micros, RawJson};

/// A provider showed a device, whole (`complete`) or in part.
///
/// A missing field was not observed; `null` was observed as absent. `complete` means nothing to the fold: a producer
/// that saw a field absent writes an explicit `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderDeviceObserved {
    /// The whole of what the provider has, rather than a part.
    #[serde(default)]
    pub complete: bool,
    /// The name, which is the serial number.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub name: Observed<String>,
    /// Whether the provider lets it connect.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub enabled: Observed<bool>,
    /// The provider's own status text.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub status: Observed<String>,
    /// Hardware ids, e.g. IMEI or MAC.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub hardware_ids: Observed<Vec<String>>,
    /// The whole list of tags.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub tags: Observed<Vec<Tag>>,
    /// Tags that were added one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags_added: Vec<Tag>,
    /// Tags that were removed one by one, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags_removed: Vec<String>,
    /// The cohort it gets firmware with.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub cohort: Observed<String>,
    /// The blueprint or device type.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub blueprint: Observed<String>,
    /// Metadata as the provider holds it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub metadata: Observed<RawJson>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// A tag: the provider's id and, where known, its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Tag {
    /// The provider's id; where only names are known, the name.
    pub id: String,
    /// The name people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A provider no longer has a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderDeviceDisappeared {
    /// How that was established.
    pub how: Disappearance,
    /// The name it last had, if the sender said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// How a disappearance was established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disappearance {
    /// The provider said so.
    Reported,
    /// It was missing from a complete scan.
    MissingFromScan,
    /// Looked up by id, and not there.
    NotFound,
    /// A way of a later version.
    #[serde(untagged)]
    Other(String),
}

/// A provider said when a device was last active. A missing field was not observed; `null` was observed as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityObserved {
    /// The latest sign of life that the provider has.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub last_report: Observed<Micros>,
    /// When the current or newest session was established.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub session_established_at: Observed<Micros>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// A device connected or disconnected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionChanged {
    /// Which of the two.
    pub state: ConnectionState,
    /// The session; a missing one matches any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Why, in the provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On what grounds.
    pub evidence: Evidence,
    /// The device's name, if the payload said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// Connected or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// A session began.
    Connected,
    /// A session ended.
    Disconnected,
}

/// On what grounds a statement stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The provider said exactly this.
    Reported,
    /// It was seen directly, e.g. as a session's start.
    Observed,
    /// It follows from something else.
    Inferred,
    /// Grounds of a later version.
    #[serde(untagged)]
    Other(String),
}

impl Evidence {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Reported => "reported",
            Self::Observed => "observed",
            Self::Inferred => "inferred",
            Self::Other(text) => text,
        }
    }
}

/// A device reported the state of a firmware package.
///
/// A fact is (provider device, package, at, version, target, state, reason): the same report heard twice,
/// pushed and polled, is one fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirmwareReported {
    /// The package; `main` unless said otherwise.
    pub package: String,
    /// The running version; empty or missing in reports that carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version being installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `idle`, `downloading`, `downloaded`, `updating`, or what the sender wrote, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's number for `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_code: Option<i32>,
    /// The provider's number for `reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<i32>,
    /// Where the report was found, e.g. `webhook`, `device`, `ota-events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The device's name, if the payload said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// A path of a device's state (Golioth: LightDB State) has a value, or was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateObserved {
    /// The path, with a leading slash.
    pub path: String,
    /// The value, which may be `null`; missing when it was deleted.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub value: Option<RawJson>,
    /// Whether it was deleted.
    #[serde(default)]
    pub deleted: bool,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// How far a device follows the settings that its provider holds for it. A missing field was not observed; `null` was
/// observed as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsObserved {
    /// `in-sync`, `out-of-sync`, `no-settings`, or what the provider wrote.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub status: Observed<String>,
    /// The version that the device reported.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub reported_version: Observed<String>,
    /// What the device could not apply, as the provider shows it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub errors: Observed<RawJson>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}
