//! Events of the log about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Extra;
use crate::{IntegrationId, LogId, Micros, OrganizationId, ProviderDevice, RawJson};

/// The first record of every partition of the events topic: which log this is, and that its beginning is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogOpened {
    /// The log.
    pub log_id: LogId,
    /// Partitions of each topic, fixed for the life of the log.
    pub partitions: i32,
    /// How keys choose partitions, e.g. `murmur2_random`.
    pub partitioner: String,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// The joined registers of a provider device's readings, so that readings may expire.
///
/// An element of the same join as the readings themselves: overlap with them is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointTaken {
    /// Whose readings.
    pub provider_device: ProviderDevice,
    /// The registers, in the form of the fold version that wrote them.
    pub registers: RawJson,
    /// The fold's version.
    pub fold_version: i32,
    /// Registers that do not fit one record come in several, each with a key of its own; this is the number of this
    /// one, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub part: u32,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_first(part: &u32) -> bool {
    *part == 0
}

/// When an integration was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// The integration.
    pub integration: IntegrationId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Newest receipt of a push.
    pub last_push_at: Option<Micros>,
    /// Newest start of a complete scan.
    pub last_scan_at: Option<Micros>,
}

/// Everything that readings of one partition say to registers, up to an offset, is in the checkpoints before this one:
/// those readings may expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointCompleted {
    /// The partition, of readings and of checkpoints alike.
    pub partition: i32,
    /// The offset in the partition of readings up to which, itself excluded, all is covered.
    pub covered: i64,
    /// When integrations were heard through this partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening: Vec<Heard>,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// History tables were cut: rows older than this are gone, live and after a rebuild alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HorizonAdvanced {
    /// The history that was cut, e.g. `readings`.
    pub history: String,
    /// Rows before this are gone.
    pub before: Micros,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}
