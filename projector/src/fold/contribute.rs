//! From an event to its rows.

use std::sync::Arc;

use schema::{
    Body, Event, LogReceived, Micros, OrderKey, Origin, ProviderDevice, RawJson, ReadingReceived, Serial,
    Subject, SyncCompleted, storable_text,
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Truth, observed, plain,
    rows::{HistoryKey, ListeningRow, LocalFact, LogRow, Payload, ReadingRow, Said},
    shape, stored,
};

/// Why an event contributes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Ignored {
    /// Its type is of a later version.
    Unknown,
    /// It is for others: audit, deployments, the log about itself.
    NotFolded,
    /// Its subject is not what its type speaks of.
    Subject,
    /// A checkpoint in a form that this version cannot read: what it stands for would be missing.
    Checkpoint,
}

/// What a complete scan covers that hears of every device.
const SCOPE_OF_ALL_DEVICES: &str = "devices";

impl Truth {
    /// Joins the rows of one event, read from a Kafka partition.
    ///
    /// Of an event that is timed by its receipt, `at` is the least of its copies: see [`Batch`](super::Batch).
    pub(crate) fn fold(&mut self, partition: i32, event: &Event) -> Result<(), Ignored> {
        self.heard(partition, event);
        match &event.body {
            Body::ReadingReceived(body) => self.readings(event, body),
            Body::LogReceived(body) => self.log_entries(event, body),
            Body::ProviderDeviceObserved(_)
            | Body::ProviderDeviceDisappeared(_)
            | Body::ActivityObserved(_)
            | Body::ConnectionChanged(_)
            | Body::FirmwareReported(_)
            | Body::StateObserved(_)
            | Body::SettingsObserved(_)
            | Body::ProviderDeviceBound(_) => self.registry_event(event, subject(event)?),
            Body::DeviceRegistered(body) => self.local_event(event, Some((&body.serial, &body.author))),
            Body::DeviceEdited(body) => self.local_event(event, Some((&body.serial, &body.author))),
            Body::DeviceRetired(body) => self.local_event(event, Some((&body.serial, &body.author))),
            Body::DeviceRestored(body) => self.local_event(event, Some((&body.serial, &body.author))),
            Body::EditPushed(body) => {
                self.local_event(event, None)?;
                self.answer(event.subject.device().ok_or(Ignored::Subject)?, event, body);
                Ok(())
            }
            Body::HorizonAdvanced(body) => self.horizon(body),
            Body::SyncCompleted(body) => self.scanned(partition, event, body),
            Body::DeploymentRequested(_)
            | Body::DeploymentSettled(_)
            | Body::SyncStarted(_)
            | Body::IntegrationChanged(_)
            | Body::SubjectErased(_)
            | Body::LogOpened(_) => Err(Ignored::NotFolded),
            Body::CheckpointTaken(body) => self.checkpoint(event, body),
            Body::CheckpointCompleted(body) => {
                self.checkpoint_completed(body);
                Ok(())
            }
            Body::Unknown { .. } => Err(Ignored::Unknown),
        }
    }

    /// Every push, whatever it says, tells that its integration is heard.
    pub(super) fn heard(&mut self, partition: i32, event: &Event) {
        if let (Origin::Push, Some(integration)) = (event.origin, event.integration) {
            let row = ListeningRow {
                organization: event.organization,
                last_push_at: Some(event.recorded_at),
                last_scan_at: None,
            };
            self.join_listening((integration, partition), row);
        }
    }

    fn scanned(&mut self, partition: i32, event: &Event, body: &SyncCompleted) -> Result<(), Ignored> {
        let Subject::Integration(integration) = event.subject else {
            return Err(Ignored::Subject);
        };
        if body.complete && body.scope == SCOPE_OF_ALL_DEVICES {
            let row = ListeningRow {
                organization: event.organization,
                last_push_at: None,
                last_scan_at: Some(body.started_at),
            };
            self.join_listening((integration, partition), row);
        }
        Ok(())
    }

    fn readings(&mut self, event: &Event, body: &ReadingReceived) -> Result<(), Ignored> {
        let device = subject(event)?;
        let uuid = device.uuid();
        if body.readings.is_empty() {
            self.provider_device(uuid, event.organization, device);
        }

        let path: Arc<str> = stored::key_text(&body.path).into();
        let content_type = body.content_type.as_deref().map(storable_text);
        let mut said = said(event, device, body.device_name.as_deref());
        for (reading, index) in body.readings.iter().zip(0..) {
            let bytes = reading.data_base64.as_ref().map(|bytes| bytes.0.clone());
            let data = reading.data.as_ref().map(|raw| Data::sent(raw, &mut self.shapes));
            let row = ReadingRow::new(said.clone(), Arc::clone(&path), content_type.clone(), data, bytes);
            let key = element_key(event, uuid, reading.at, index);
            self.join_reading(device, key, row);
            said.device_name = None;
            said.name_at = None;
        }
        Ok(())
    }

    fn log_entries(&mut self, event: &Event, body: &LogReceived) -> Result<(), Ignored> {
        let device = subject(event)?;
        let uuid = device.uuid();
        self.provider_device(uuid, event.organization, device);

        let mut said = said(event, device, body.device_name.as_deref());
        for (entry, index) in body.entries.iter().zip(0..) {
            let metadata = entry.metadata.as_ref();
            let row = LogRow {
                said: said.clone(),
                level: entry.level.as_deref().map(storable_text),
                module: entry.module.as_deref().map(storable_text),
                message: storable_text(&entry.message),
                metadata: metadata.map(|metadata| stored::value(metadata).to_string()),
            };
            let key = element_key(event, uuid, entry.at, index);
            self.join_log(device, key, row);
            said.device_name = None;
            said.name_at = None;
        }
        Ok(())
    }

    /// Joins an event about a device of ours; `said` is the serial it names, and its author.
    fn local_event(&mut self, event: &Event, said: Option<(&Serial, &String)>) -> Result<(), Ignored> {
        let device = event.subject.device().ok_or(Ignored::Subject)?;
        let (text, body) = stored::body(&event.body).ok_or(Ignored::Unknown)?;
        self.edits(device, event, &body);
        let fact = LocalFact {
            organization: event.organization,
            name: event.body.name().to_owned(),
            serial: said.map(|(serial, _)| serial.clone()),
            at: event.at,
            sequence: event.sequence,
            recorded_at: event.recorded_at,
            author: said.map(|(_, author)| storable_text(author)),
            body: text,
        };
        self.join_local((device, event.id), fact);
        Ok(())
    }
}

/// JSON within bounds that a reading holds.
pub(crate) struct Data {
    text: String,
    shape: Uuid,
}

impl Data {
    /// As it was sent, brought within bounds.
    fn sent(raw: &RawJson, shapes: &mut shape::Shapes) -> Self {
        match plain::read(raw.get()) {
            Some(plain) => Self {
                text: plain.text.into_owned(),
                shape: shapes.of(plain.leaves),
            },
            None => Self::stored(&stored::value(raw)),
        }
    }

    /// As it was stored.
    pub(crate) fn stored(value: &Value) -> Self {
        Self {
            text: value.to_string(),
            shape: shape::of(value),
        }
    }
}

impl ReadingRow {
    /// A reading, whose shape follows from what it holds: JSON if there is any, else bytes.
    pub(crate) fn new(
        said: Said,
        path: Arc<str>,
        content_type: Option<String>,
        data: Option<Data>,
        bytes: Option<Vec<u8>>,
    ) -> Self {
        let shape = data.as_ref().map_or(shape::OF_BYTES, |data| data.shape);
        let payload = Payload {
            content_type,
            bytes: bytes.filter(|_| data.is_none()),
            data: data.map(|data| data.text),
        };
        Self {
            said,
            path,
            shape,
            payload: Arc::new(payload),
        }
    }
}

/// The provider device whose rows an event contributes to, if any.
pub(crate) fn provider_device(event: &Event) -> Option<&ProviderDevice> {
    let contributes = matches!(
        event.body,
        Body::ReadingReceived(_)
            | Body::LogReceived(_)
            | Body::ProviderDeviceObserved(_)
            | Body::ProviderDeviceDisappeared(_)
            | Body::ActivityObserved(_)
            | Body::ConnectionChanged(_)
            | Body::FirmwareReported(_)
            | Body::StateObserved(_)
            | Body::SettingsObserved(_)
            | Body::ProviderDeviceBound(_)
    );
    event.subject.provider_device().filter(|_| contributes)
}

/// The provider device that an event speaks of.
fn subject(event: &Event) -> Result<&ProviderDevice, Ignored> {
    event.subject.provider_device().ok_or(Ignored::Subject)
}

/// An element has its own `at`, else the event's, and the event's sequence plus its index.
fn element_key(event: &Event, device: Uuid, at: Option<Micros>, index: i64) -> HistoryKey {
    let key = OrderKey {
        at: at.unwrap_or(event.at),
        // A sender's number may be any; what matters beyond the last is that elements stay apart.
        sequence: event.sequence.wrapping_add(index),
        id: event.id,
    };
    HistoryKey { device, key }
}

fn said(event: &Event, device: &ProviderDevice, device_name: Option<&str>) -> Said {
    let device_name = device_name.map(storable_text);
    let names = device_name.is_some() || observed::name(device, None).is_some();
    Said {
        organization: event.organization,
        origin: event.origin,
        name_at: names.then_some(event.at),
        device_name,
        recorded_at: event.recorded_at,
    }
}
