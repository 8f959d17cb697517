//! Whose data is to be forgotten, as the log says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schema::{Body, DeviceId, KnownBy, ProviderDevice, Subject, SubjectErased, Topic};
use stream::{LogConfig, LogIdentity, Position, Range, Raw, ReadError, Scan, ScanOptions};
use uuid::Uuid;

/// Shorter texts are found everywhere, and say nothing of anybody.
const LEAST_TEXT: usize = 4;

/// The subjects of a log whose data is to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    provider_devices: BTreeMap<String, ProviderDevice>,
    devices: BTreeMap<String, DeviceId>,
    /// What they are called, wherever it is said.
    texts: BTreeSet<String>,
}

impl Erased {
    /// Reads all that was erased up to these positions.
    pub(super) async fn read(
        config: &LogConfig,
        log: &LogIdentity,
        ends: &[Position],
    ) -> Result<Self, ReadError> {
        let events = [Topic::Events];
        let beginnings = stream::beginnings(config, log, &events).await?;
        let ranges = Range::between(&beginnings, ends);
        let mut scan = Scan::open(config, log, &ranges, ScanOptions::default())?;
        let mut erased = Self::default();
        while let Some(batch) = scan.next_raw().await? {
            let wanted = |raw: &Raw<'_>| raw.header("ce_type") == Some(b"io.fleetlog.subject.erased.v1");
            for raw in batch.iter().filter(wanted) {
                if let Ok(event) = raw.decode(log)?.event
                    && let Body::SubjectErased(body) = &event.body
                {
                    erased.add(&event.subject, body);
                }
            }
        }
        Ok(erased)
    }

    pub(super) fn add(&mut self, subject: &Subject, body: &SubjectErased) {
        for device in body.provider_devices.iter().chain(subject.provider_device()) {
            let text = match &device.known_by {
                KnownBy::Id(id) => id.as_str(),
                KnownBy::Name(name) => name.as_str(),
            };
            self.texts.insert(text.to_owned());
            self.provider_devices.insert(device.to_string(), device.clone());
        }
        if let Some(device) = subject.device() {
            self.texts.insert(device.to_string());
            self.devices.insert(device.to_string(), device);
        }
        if let Some(serial) = body.extra.get("serial").and_then(|serial| serial.as_str()) {
            self.texts.insert(serial.to_owned());
        }
        self.texts.retain(|text| text.len() >= LEAST_TEXT);
    }

    /// Whether nobody is to be forgotten.
    pub fn is_empty(&self) -> bool {
        self.provider_devices.is_empty() && self.devices.is_empty()
    }

    /// Their keys in the log.
    pub fn subjects(&self) -> Vec<String> {
        self.provider_devices
            .keys()
            .chain(self.devices.keys())
            .cloned()
            .collect()
    }

    /// Whether a record of a topic speaks of one of them. By its key; a dead letter, of which nobody knows of whom it
    /// speaks, by whatever it says.
    pub(super) fn concerns(&self, raw: &Raw<'_>) -> bool {
        if raw.position().topic == Topic::DeadLetters {
            return self.is_named_in(raw);
        }
        raw.key().is_some_and(|key| self.has_key(key))
    }

    /// Whether a key is of one of them; each part of a long checkpoint has a number behind it.
    fn has_key(&self, key: &[u8]) -> bool {
        let Ok(key) = std::str::from_utf8(key) else {
            return false;
        };
        let is_theirs = |key: &str| self.provider_devices.contains_key(key) || self.devices.contains_key(key);
        let whole = key.rsplit_once('#').map(|(whole, _)| whole);
        is_theirs(key) || whole.is_some_and(is_theirs)
    }

    /// Keys of theirs, for a scan.
    pub(super) fn keys(&self) -> stream::KeyFilter {
        let erased = self.clone();
        Arc::new(move |key| erased.has_key(key))
    }

    fn is_named_in(&self, raw: &Raw<'_>) -> bool {
        let parts = raw.headers().filter_map(|(_, value)| value).chain(raw.value());
        let parts: Vec<_> = parts.map(String::from_utf8_lossy).collect();
        let named = |text: &String| parts.iter().any(|part| part.contains(text.as_str()));
        self.texts.iter().any(named)
    }

    /// The ids of provider devices in the tables.
    pub(super) fn provider_device_ids(&self) -> Vec<Uuid> {
        self.provider_devices.values().map(ProviderDevice::uuid).collect()
    }

    /// The ids of devices of ours in the tables.
    pub(super) fn device_ids(&self) -> Vec<Uuid> {
        self.devices.values().map(|device| device.0).collect()
    }

    /// The integrations that heard them.
    pub(super) fn integrations(&self) -> Vec<Uuid> {
        let integrations = self.provider_devices.values().map(|device| device.integration.0);
        integrations.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use schema::{ExternalId, Extra, IntegrationId};

    use super::*;

    #[test]
    fn a_subject_has_the_keys_of_all_that_is_said_of_it() {
        let integration = IntegrationId(Uuid::from_u128(7));
        let device = ProviderDevice::by_id(integration, ExternalId::new("d#1").expect("an id"));
        let ours = DeviceId(Uuid::from_u128(9));
        let body = SubjectErased {
            provider_devices: vec![device.clone()],
            scope: "all".to_owned(),
            author: "ann".to_owned(),
            extra: Extra::new(),
        };
        let mut erased = Erased::default();
        assert!(erased.is_empty());
        erased.add(&Subject::Device(ours), &body);
        for key in [device.to_string(), format!("{device}#3"), ours.to_string()] {
            assert!(erased.has_key(key.as_bytes()), "{key}");
        }
        let other = ProviderDevice::by_id(integration, ExternalId::new("d").expect("an id"));
        for key in [other.to_string(), format!("{other}#2"), "log".to_owned()] {
            assert!(!erased.has_key(key.as_bytes()), "{key}");
        }
        assert_eq!(erased.subjects().len(), 2);
        assert_eq!(erased.integrations(), [integration.0]);
    }
}
