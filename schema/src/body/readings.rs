//! What devices send: readings and logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extra, Fields, present};
use crate::{Base64, Micros, RawJson};

/// A device sent data on a stream. Key: the provider device.
///
/// What one delivery holds stays one record. Element `i` has the order key (its own `at`, else the event's;
/// the event's `sequence` + `i`; the event's id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadingReceived {
    /// The stream path, with a leading slash and without a trailing one; the root is `/`.
    pub path: String,
    /// The media type as the sender named it. A hint: how the data is held says how it was decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The device's name, if the payload said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// What was read; never empty.
    #[schemars(length(min = 1))]
    pub readings: Vec<Reading>,
    /// The sender's own CloudEvents extensions.
    #[serde(default, skip_serializing_if = "no_fields")]
    pub extensions: Fields,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// One reading. Exactly one of `data` and `data_base64` is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("oneOf" = [{ "required": ["data"] }, { "required": ["data_base64"] }]))]
pub struct Reading {
    /// When it was read, where the reading itself says so and is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Micros>,
    /// When it was read by its own word, where that is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Micros>,
    /// JSON as sent, or CBOR decoded to JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub data: Option<RawJson>,
    /// What is not JSON: the bytes as sent, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<Base64>,
}

/// A device sent log entries. Key: the provider device. Order keys as in [`ReadingReceived`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogReceived {
    /// What was logged; never empty.
    #[schemars(length(min = 1))]
    pub entries: Vec<LogEntry>,
    /// The device's name, if the payload said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// The sender's own CloudEvents extensions.
    #[serde(default, skip_serializing_if = "no_fields")]
    pub extensions: Fields,
    /// Fields of later versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Extra,
}

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// When it was logged, where the entry itself says so and is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Micros>,
    /// When it was logged by its own word, where that is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Micros>,
    /// `error`, `warn`, `info`, `debug`, or what the sender wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The module of the firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The message.
    pub message: String,
    /// Whatever else the entry holds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub metadata: Option<RawJson>,
}

fn no_fields(fields: &Fields) -> bool {
    fields.0.is_empty()
}
