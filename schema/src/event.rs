//! The envelope: who says it, of whom, when, and under which identity.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest, Sha256};
use strum::{Display, EnumString, IntoStaticStr};
use uuid::Uuid;

use crate::{
    Body, CredentialId, DeviceId, EventId, IntegrationId, Micros, OrderKey, OrganizationId, ProviderDevice,
    Topic,
};

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Recognizes repeats: the same content under the same identity has the same id.
    pub id: EventId,
    /// Of whom it speaks; its text is the [key](Self::partition_key), so events of one subject keep their order.
    pub subject: Subject,
    /// When it happened, as far as that is believed (CloudEvents `time`).
    pub at: Micros,
    /// The provider's monotone number, or the index within the delivery.
    pub sequence: i64,
    /// When we received it.
    pub recorded_at: Micros,
    /// When its sender says it happened, where that is not believed.
    pub claimed_at: Option<Micros>,
    /// `at` is the receipt although the content has an identity: copies differ in it, and the least counts.
    pub receipt_timed: bool,
    /// Whose it is; nil for events of the log about itself.
    pub organization: OrganizationId,
    /// The integration that heard or caused it.
    pub integration: Option<IntegrationId>,
    /// How it came to us.
    pub origin: Origin,
    /// The credential that verified the delivery. Never projected.
    pub credential: Option<CredentialId>,
    /// It was signed without time or id, so whoever has seen the delivery can repeat it.
    pub replayable: bool,
    /// W3C trace context. Never projected.
    pub traceparent: Option<String>,
    /// Where it was said, a URI reference (CloudEvents `source`).
    pub source: String,
    /// CloudEvents extensions that this version does not know, carried through.
    pub extensions: BTreeMap<String, String>,
    /// What it says.
    pub body: Body,
}

impl Event {
    /// The order key K.
    pub fn key(&self) -> OrderKey {
        OrderKey {
            at: self.at,
            sequence: self.sequence,
            id: self.id,
        }
    }

    /// Its key in the log: events of one key share a partition, and of those on the compacted topic the newest is kept.
    /// The subject's text, except on that topic: there a partition, and each part of a long checkpoint, has its own.
    pub fn partition_key(&self) -> String {
        if let Body::CheckpointCompleted(completed) = &self.body {
            return format!("covered/{}", completed.partition);
        }
        if let Body::CheckpointTaken(taken) = &self.body
            && taken.part > 0
        {
            return format!("{}#{}", self.subject, taken.part);
        }
        self.subject.to_string()
    }

    /// The topic that holds it: readings and logs are the bulk, everything else is precious.
    pub fn topic(&self) -> Topic {
        match &self.body {
            Body::ReadingReceived(_) | Body::LogReceived(_) => Topic::Readings,
            Body::CheckpointTaken(_) | Body::CheckpointCompleted(_) => Topic::Checkpoints,
            Body::ProviderDeviceObserved(_)
            | Body::ProviderDeviceDisappeared(_)
            | Body::ActivityObserved(_)
            | Body::ConnectionChanged(_)
            | Body::FirmwareReported(_)
            | Body::StateObserved(_)
            | Body::SettingsObserved(_)
            | Body::DeviceRegistered(_)
            | Body::DeviceEdited(_)
            | Body::DeviceRetired(_)
            | Body::DeviceRestored(_)
            | Body::ProviderDeviceBound(_)
            | Body::EditPushed(_)
            | Body::DeploymentRequested(_)
            | Body::DeploymentSettled(_)
            | Body::SyncStarted(_)
            | Body::SyncCompleted(_)
            | Body::IntegrationChanged(_)
            | Body::SubjectErased(_)
            | Body::LogOpened(_)
            | Body::HorizonAdvanced(_)
            | Body::Unknown { .. } => Topic::Events,
        }
    }
}

/// Of whom an event speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A device as one integration knows it.
    ProviderDevice(ProviderDevice),
    /// A device of ours.
    Device(DeviceId),
    /// An integration.
    Integration(IntegrationId),
    /// An intent, e.g. a deployment, or the subject of an event of a later version.
    Other(String),
    /// A partition of the log itself.
    Log,
}

impl Subject {
    /// Reads the subject of the event `name`.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let other = || Self::Other(text.to_owned());
        match name {
            "log.opened" | "checkpoint.completed" | "horizon.advanced" => Self::Log,
            "sync.started" | "sync.completed" | "integration.changed" => {
                text.parse().map_or_else(|_| other(), Self::Integration)
            }
            "device.registered" | "device.edited" | "device.retired" | "device.restored" | "edit.pushed" => {
                text.parse().map_or_else(|_| other(), Self::Device)
            }
            "deployment.requested" | "deployment.settled" => other(),
            "subject.erased" => text
                .parse()
                .map(Self::ProviderDevice)
                .or_else(|_| text.parse().map(Self::Device))
                .unwrap_or_else(|_: uuid::Error| other()),
            _ => text.parse().map_or_else(|_| other(), Self::ProviderDevice),
        }
    }

    /// The provider device, if it is one.
    pub fn provider_device(&self) -> Option<&ProviderDevice> {
        if let Self::ProviderDevice(device) = self {
            Some(device)
        } else {
            None
        }
    }

    /// Our device, if it is one.
    pub fn device(&self) -> Option<DeviceId> {
        if let Self::Device(device) = self {
            Some(*device)
        } else {
            None
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProviderDevice(device) => device.fmt(f),
            Self::Device(device) => device.fmt(f),
            Self::Integration(integration) => integration.fmt(f),
            Self::Other(text) => f.write_str(text),
            Self::Log => f.write_str("log"),
        }
    }
}

/// How an event came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Origin {
    /// A provider pushed it.
    Push,
    /// We read it from a provider.
    Poll,
    /// A person or program decided it.
    User,
    /// fleetlog did.
    System,
    /// It was imported from an older store.
    Backfill,
}

/// What identifies a delivery's content: the parts of an [`EventId`] derived from it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The integration that heard it.
    pub integration: IntegrationId,
    /// The sender's `source`, or empty.
    pub source: &'a str,
    /// The sender's own id (`Ce-Id`, `webhook-id`), if any.
    pub sender_id: Option<&'a str>,
    /// The subject's text.
    pub subject: &'a str,
    /// The event's name.
    pub name: &'a str,
    /// The sender's time, if any.
    pub time: Option<Micros>,
    /// Whether that time is believed. It is part of the identity, so that of two copies of which only the later
    /// is believed each keeps its own time for good.
    pub believed: bool,
    /// Tells apart the parts of one delivery.
    pub index: u64,
    /// SHA-256 over the canonical content.
    pub content: [u8; 32],
}

impl EventId {
    /// The id of a delivery's content: the same for every copy.
    ///
    /// Without a sender's id and without a time a repeat cannot be told from an equal second event, and losing data
    /// is worse than repeating it: then the id is [`random`](Self::random).
    pub fn derive(identity: &Identity<'_>) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Lengths go first, so that no two lists of parts read the same.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(identity.source.as_bytes());
        part(identity.sender_id.map_or(&[][..], str::as_bytes));
        part(&[u8::from(identity.sender_id.is_some())]);
        part(identity.subject.as_bytes());
        part(identity.name.as_bytes());
        part(
            &identity
                .time
                .map_or([0; 8], |time| time.as_micros().to_be_bytes()),
        );
        part(&[u8::from(identity.time.is_some()), u8::from(identity.believed)]);
        part(&identity.index.to_be_bytes());
        part(&identity.content);
        Self(Uuid::new_v5(&identity.integration.0, &hash.finalize()))
    }

    /// An id for content that has no identity of its own.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}
