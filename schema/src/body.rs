//! What an event says: one type per name in the catalogue.
//!
//! Additive within a version. In observations a missing field was not observed, `null` was observed as absent;
//! elsewhere the two mean the same. Event types that this version does not know, and fields beside those it knows,
//! are carried through; unknown fields of an entry within a list are passed over.

mod decisions;
mod deployments;
mod internal;
mod observations;
mod readings;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use decisions::*;
pub use deployments::*;
pub use internal::*;
pub use observations::*;
pub use readings::*;

use crate::RawJson;

/// Fields that this version does not know, carried through as they came.
pub type Extra = BTreeMap<String, Value>;

/// An observed field: `None` was not observed, `Some(None)` was observed as absent (`null` on the wire).
pub type Observed<T> = Option<Option<T>>;

/// Reads a field that is present, `null` included, as `Some`.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Declares [`Body`] and the two-way table between its variants and their names.
macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $name:literal,)*) => {
        /// What an event says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Body {
            $($(#[$doc])* $variant($body),)*
            /// An event of a later version: carried, not understood.
            Unknown {
                /// The name, without `io.fleetlog.` but with its version.
                name: String,
                /// The data as it came.
                data: RawJson,
            },
        }

        impl Body {
            /// The names of all events that this version knows, e.g. `reading.received`.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The event's name; for an unknown type with its version.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Unknown { name, .. } => name,
                }
            }

            /// The name with its version, e.g. `reading.received.v1`.
            pub fn versioned_name(&self) -> String {
                match self {
                    $(Self::$variant(_) => format!("{}.v1", $name),)*
                    Self::Unknown { name, .. } => name.clone(),
                }
            }

            /// The data as JSON.
            pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self {
                    $(Self::$variant(body) => to_vec(body),)*
                    Self::Unknown { data, .. } => Ok(data.get().as_bytes().to_vec()),
                }
            }

            /// Reads the data of the version 1 of the event `name`; `None` if this version does not know it.
            pub fn decode(name: &str, data: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                match name {
                    $($name => Some(from_slice(data).map(Self::$variant)),)*
                    _ => None,
                }
            }

            /// JSON Schemas of the data of all events, by name.
            pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($name, identified(schemars::schema_for!($body), $name))),*]
            }
        }
    };
}

fn identified(mut schema: schemars::Schema, name: &str) -> schemars::Schema {
    schema.insert("$id".to_owned(), format!("urn:fleetlog:schema:{name}.v1").into());
    schema
}

/// Most bodies fit the room that is made for them at once.
fn to_vec<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut data = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut data, body)?;
    Ok(data)
}

fn from_slice<T: DeserializeOwned>(data: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(data)
}

catalogue! {
    /// A device sent data on a stream.
    ReadingReceived(ReadingReceived) = "reading.received",
    /// A device sent log entries.
    LogReceived(LogReceived) = "log.received",
    /// A provider showed a device, whole or in part.
    ProviderDeviceObserved(ProviderDeviceObserved) = "provider-device.observed",
    /// A provider no longer has a device.
    ProviderDeviceDisappeared(ProviderDeviceDisappeared) = "provider-device.disappeared",
    /// A provider said when a device was last active.
    ActivityObserved(ActivityObserved) = "activity.observed",
    /// A device connected or disconnected.
    ConnectionChanged(ConnectionChanged) = "connection.changed",
    /// A device reported a firmware package.
    FirmwareReported(FirmwareReported) = "firmware.reported",
    /// A path of a device's state has a value, or was deleted.
    StateObserved(StateObserved) = "state.observed",
    /// How far a device follows its settings.
    SettingsObserved(SettingsObserved) = "settings.observed",
    /// Someone registered a device here.
    DeviceRegistered(DeviceRegistered) = "device.registered",
    /// Someone edited a device here.
    DeviceEdited(DeviceEdited) = "device.edited",
    /// Someone took a device out of service.
    DeviceRetired(DeviceRetired) = "device.retired",
    /// Someone put a device back into service.
    DeviceRestored(DeviceRestored) = "device.restored",
    /// Someone said which device a provider device is.
    ProviderDeviceBound(ProviderDeviceBound) = "provider-device.bound",
    /// A provider answered the push of an edit.
    EditPushed(EditPushed) = "edit.pushed",
    /// Someone asked for a firmware deployment.
    DeploymentRequested(DeploymentRequested) = "deployment.requested",
    /// A firmware deployment ended.
    DeploymentSettled(DeploymentSettled) = "deployment.settled",
    /// A poll of a provider began.
    SyncStarted(SyncStarted) = "sync.started",
    /// A poll of a provider ended.
    SyncCompleted(SyncCompleted) = "sync.completed",
    /// An integration was changed: an audit trail without secrets.
    IntegrationChanged(IntegrationChanged) = "integration.changed",
    /// A person asked for a subject's data to be forgotten.
    SubjectErased(SubjectErased) = "subject.erased",
    /// The first record of every partition of the events topic.
    LogOpened(LogOpened) = "log.opened",
    /// The joined registers of a provider device's readings.
    CheckpointTaken(CheckpointTaken) = "checkpoint.taken",
    /// The readings of a partition are in its checkpoints, up to an offset.
    CheckpointCompleted(CheckpointCompleted) = "checkpoint.completed",
    /// History tables were cut.
    HorizonAdvanced(HorizonAdvanced) = "horizon.advanced",
}

/// Data that only people and other programs interpret: any JSON object, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Fields(pub BTreeMap<String, RawJson>);
