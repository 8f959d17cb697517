//! The topics of a log and their names.

use strum::{EnumIter, IntoEnumIterator as _};

/// A topic of the log. Its name is `{prefix}.{suffix}`, with the prefix `fleetlog` unless configured otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter)]
pub enum Topic {
    /// Registry, connection, firmware, edits, decisions: few, precious, kept for ever.
    Events,
    /// Telemetry and device logs: the bulk.
    Readings,
    /// Joined registers of readings; compacted.
    Checkpoints,
    /// Authentic deliveries that could not be understood, raw.
    DeadLetters,
}

impl Topic {
    /// The default prefix of topic names.
    pub const DEFAULT_PREFIX: &'static str = "fleetlog";

    /// The topic's name within a log of this prefix.
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}.{}", self.suffix())
    }

    /// The topic of this name without the prefix, if there is one.
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        Self::iter().find(|topic| topic.suffix() == suffix)
    }

    /// The name without the prefix.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Events => "device-events.v1",
            Self::Readings => "device-readings.v1",
            Self::Checkpoints => "checkpoints.v1",
            Self::DeadLetters => "dead-letters.v1",
        }
    }
}
