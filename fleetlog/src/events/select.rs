//! Which records a reader wants.

use schema::{Body, Event, IntegrationId, KnownBy, Serial, Subject};
use stream::{RawRecord, Read};

/// What a record has to be; what is not said may be anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    /// A serial number, a device id, a cloud's id, or a provider device.
    pub(crate) device: Option<String>,
    pub(crate) integration: Option<IntegrationId>,
    /// What the event's name begins with: any of these.
    pub(crate) types: Vec<String>,
}

impl Select {
    /// Whether it is one.
    pub(crate) fn wants(&self, read: &Read) -> bool {
        match &read.event {
            Ok(event) => self.wants_event(event),
            Err(undecodable) => self.wants_raw(&undecodable.record),
        }
    }

    fn wants_event(&self, event: &Event) -> bool {
        let name = event.body.versioned_name();
        let of_type = self.types.is_empty() || self.types.iter().any(|wanted| is_of_type(&name, wanted));
        let of_integration = self.integration.is_none() || self.integration == event.integration;
        let of_device = self
            .device
            .as_deref()
            .is_none_or(|device| speaks_of(event, device));
        of_type && of_integration && of_device
    }

    /// A dead letter, or what else cannot be read: of devices it is not known to speak.
    fn wants_raw(&self, record: &RawRecord) -> bool {
        let header = |name: &str| {
            let mut headers = record.headers.iter();
            let value = headers.find(|(header, _)| header == name)?.1.as_deref()?;
            std::str::from_utf8(value).ok()
        };
        let of_integration = self.integration.is_none_or(|integration| {
            header("ce_integration").is_some_and(|text| text.parse() == Ok(integration))
        });
        let kind = header("ce_type").and_then(|kind| kind.strip_prefix(schema::TYPE_PREFIX));
        let of_type = self.types.is_empty()
            || kind.is_some_and(|name| self.types.iter().any(|wanted| is_of_type(name, wanted)));
        of_integration && of_type && self.device.is_none()
    }
}

fn is_of_type(name: &str, wanted: &str) -> bool {
    name.starts_with(wanted.strip_prefix(schema::TYPE_PREFIX).unwrap_or(wanted))
}

/// Whether an event speaks of a device that people call so.
fn speaks_of(event: &Event, device: &str) -> bool {
    let subject = match &event.subject {
        Subject::ProviderDevice(subject) => {
            let known_by = match &subject.known_by {
                KnownBy::Id(id) => id.as_str(),
                KnownBy::Name(name) => name.as_str(),
            };
            known_by == device || subject.to_string() == device
        }
        Subject::Device(id) => id.to_string() == device,
        Subject::Integration(_) | Subject::Other(_) | Subject::Log => false,
    };
    subject || name(&event.body) == Some(device)
}

/// What an event calls its device.
fn name(body: &Body) -> Option<&str> {
    match body {
        Body::ReadingReceived(said) => said.device_name.as_deref(),
        Body::LogReceived(said) => said.device_name.as_deref(),
        Body::ConnectionChanged(said) => said.device_name.as_deref(),
        Body::FirmwareReported(said) => said.device_name.as_deref(),
        Body::ProviderDeviceObserved(said) => said.name.as_ref().and_then(Option::as_deref),
        Body::ProviderDeviceDisappeared(said) => said.name.as_deref(),
        Body::DeviceRegistered(said) => Some(said.serial.as_str()),
        Body::DeviceEdited(said) => Some(said.serial.as_str()),
        Body::DeviceRetired(said) => Some(said.serial.as_str()),
        Body::DeviceRestored(said) => Some(said.serial.as_str()),
        Body::ProviderDeviceBound(said) => said.serial.as_ref().map(Serial::as_str),
        Body::ActivityObserved(_)
        | Body::StateObserved(_)
        | Body::SettingsObserved(_)
        | Body::EditPushed(_)
        | Body::DeploymentRequested(_)
        | Body::DeploymentSettled(_)
        | Body::SyncStarted(_)
        | Body::SyncCompleted(_)
        | Body::IntegrationChanged(_)
        | Body::SubjectErased(_)
        | Body::LogOpened(_)
        | Body::CheckpointTaken(_)
        | Body::CheckpointCompleted(_)
        | Body::HorizonAdvanced(_)
        | Body::Unknown { .. } => None,
    }
}
