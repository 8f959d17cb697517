//! Firmware deployments, runs of sync, changes of integrations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extra, Fields, present};
use crate::{Micros, ProviderDevice, RawJson};

/// Someone asked for a firmware deployment. Key: the intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentRequested {
    /// The cohort or devices it is for.
    pub target: RawJson,
    /// The artifacts, by the provider's ids.
    pub artifacts: Vec<String>,
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

/// A firmware deployment ended. Key: the intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentSettled {
    /// `accepted`, `rejected`, or a later version's word.
    pub outcome: String,
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

/// A poll of a provider began. Key: the integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncStarted {
    /// What is polled, e.g. `devices`, `ota-events`.
    pub scope: String,
    /// Start of the window that is read; missing for a whole scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Micros>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// A poll of a provider ended. Key: the integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncCompleted {
    /// What was polled.
    pub scope: String,
    /// When the poll's first request was sent.
    pub started_at: Micros,
    /// Whether everything in scope was read.
    pub complete: bool,
    /// How many things were read.
    pub n_read: u64,
    /// How many events were appended.
    pub n_appended: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// An integration was changed: an audit trail without secrets, which the fold ignores. Key: the integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntegrationChanged {
    /// What was done, e.g. `created`, `credential-added`, `credential-revoked`.
    pub change: String,
    /// The particulars, without secrets.
    #[serde(default)]
    pub fields: Fields,
    /// Who did it.
    pub author: String,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// A person asked for a subject's data to be forgotten. Key: the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubjectErased {
    /// The provider devices whose records are to go.
    pub provider_devices: Vec<ProviderDevice>,
    /// `all`, or a narrower scope of a later version.
    pub scope: String,
    /// Who asked.
    pub author: String,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}
