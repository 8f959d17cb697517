//! Readings and log entries: all of them, and the newest per path and shape.

use std::sync::Arc;

use schema::{Micros, OrderKey, OrganizationId, Origin};
use uuid::Uuid;

use super::DeviceKey;

/// What a reading holds. Shared between the history and the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The media type as the sender named it.
    pub content_type: Option<String>,
    /// JSON text.
    pub data: Option<String>,
    /// What is not JSON.
    pub bytes: Option<Vec<u8>>,
}

/// Where the newest reading of a kind is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatestKey {
    /// The provider device.
    pub device: DeviceKey,
    /// The stream path.
    pub path: Arc<str>,
    /// The payload's shape.
    pub shape: Uuid,
}

/// The newest reading of a path and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The reading's key.
    pub key: OrderKey,
    /// The least receipt of that reading.
    pub recorded_at: Micros,
    /// What it holds.
    pub payload: Arc<Payload>,
}

impl LatestRow {
    /// Joins another copy.
    pub fn joins(&mut self, other: Self) {
        if self.key < other.key {
            *self = other;
        } else if self.key == other.key {
            self.recorded_at = self.recorded_at.min(other.recorded_at);
        }
    }
}

/// What tells history rows apart, in the order they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryKey {
    /// The provider device.
    pub device: DeviceKey,
    /// The element's own key.
    pub key: OrderKey,
}

/// How the event came that a history row is part of, and the name it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whose it is.
    pub organization: OrganizationId,
    /// How it came to us.
    pub origin: Origin,
    /// The name the event said, as said. Only the event's first element has it.
    pub device_name: Option<String>,
    /// The event's own `at`, if a name follows from the event. With the row's sequence and id it is the event's key.
    pub name_at: Option<Micros>,
    /// The least receipt.
    pub recorded_at: Micros,
}

/// A reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingRow {
    /// How it came.
    pub said: Said,
    /// The stream path.
    pub path: Arc<str>,
    /// The payload's shape; follows from the payload.
    pub shape: Uuid,
    /// What it holds.
    pub payload: Arc<Payload>,
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// How it came.
    pub said: Said,
    /// The level.
    pub level: Option<String>,
    /// The module of the firmware.
    pub module: Option<String>,
    /// The message.
    pub message: String,
    /// Whatever else the entry holds, as JSON text.
    pub metadata: Option<String>,
}
