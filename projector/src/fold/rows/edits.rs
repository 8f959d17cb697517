//! What people decided about fields, and what clouds answered.

use schema::{DeviceId, EventId, Micros, OrderKey, OrganizationId, PushOutcome};
use uuid::Uuid;

/// Which edit of which field of which device. Sorted, the last of a field is its current edit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EditKey {
    /// The device.
    pub device: DeviceId,
    /// The field.
    pub field: String,
    /// The key of the event.
    pub key: OrderKey,
}

/// A field that someone edited, or registered a device with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The value.
    pub value: Stored,
    /// The remote value that its author saw, if there was one.
    pub seen_remote: Option<Stored>,
    /// When that was observed.
    pub seen_remote_at: Option<Micros>,
    /// The edit that its author saw.
    pub seen_edit: Option<EventId>,
    /// What decides if the cloud changed the field as well.
    pub strategy: String,
    /// The conflicts that it decides.
    pub resolves: Vec<String>,
    /// Who did it.
    pub author: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The least receipt.
    pub recorded_at: Micros,
}

impl EditRow {
    /// Joins another copy.
    pub fn joins(&mut self, other: &Self) {
        self.recorded_at = self.recorded_at.min(other.recorded_at);
    }
}

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// JSON text.
    pub text: String,
    /// Names the value: equal names are equal values.
    pub hash: Uuid,
}

/// Which edit's field a cloud answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerKey {
    /// The device.
    pub device: DeviceId,
    /// The edit.
    pub edit: EventId,
    /// The field.
    pub field: String,
}

/// A cloud's newest answer to the push of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRow {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The key of the event.
    pub key: OrderKey,
    /// Whether the cloud took it.
    pub outcome: PushOutcome,
    /// What it said, as JSON text.
    pub answer: Option<String>,
}

impl AnswerRow {
    /// Joins another copy.
    pub fn joins(&mut self, other: Self) {
        if self.key < other.key {
            *self = other;
        }
    }
}
