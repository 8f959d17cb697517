//! What devices send and providers say.

use proptest::{collection::vec, option, prelude::*, sample::select, strategy::BoxedStrategy};

use super::{Parties, World, bodies::observed, several};
use crate::{
    ActivityObserved, Base64, Body, ConnectionChanged, ConnectionState, Disappearance, Evidence,
    FirmwareReported, LogEntry, LogReceived, ProviderDeviceDisappeared, ProviderDeviceObserved, Reading,
    ReadingReceived, SettingsObserved, StateObserved,
};

impl World {
    pub(super) fn reading_received(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let data = prop_oneof![
            3 => self.json.clone().prop_map(|json| (Some(json), None)),
            1 => vec(any::<u8>(), 0..40).prop_map(|bytes| (None, Some(Base64(bytes)))),
        ];
        let instant = || option::weighted(0.2, self.instant.clone());
        let reading =
            (instant(), instant(), data).prop_map(|(at, claimed_at, (data, data_base64))| Reading {
                at,
                claimed_at,
                data,
                data_base64,
            });
        (
            select(vec!["/", "/sensor", "/env/temp"]),
            self.maybe_text(),
            parties.device_name(),
            vec(reading, 1..4),
            self.fields(),
            self.extra.clone(),
        )
            .prop_map(|(path, content_type, device_name, readings, extensions, extra)| {
                Body::ReadingReceived(ReadingReceived {
                    path: path.to_owned(),
                    content_type,
                    device_name,
                    readings,
                    extensions,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn log_received(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let instant = || option::weighted(0.2, self.instant.clone());
        let entry = (
            instant(),
            instant(),
            self.maybe_text(),
            self.maybe_text(),
            self.text.clone(),
            option::of(self.json.clone()),
        )
            .prop_map(|(at, claimed_at, level, module, message, metadata)| LogEntry {
                at,
                claimed_at,
                level,
                module,
                message,
                metadata,
            });
        (
            vec(entry, 1..4),
            parties.device_name(),
            self.fields(),
            self.extra.clone(),
        )
            .prop_map(|(entries, device_name, extensions, extra)| {
                Body::LogReceived(LogReceived {
                    entries,
                    device_name,
                    extensions,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn provider_device_observed(&self) -> BoxedStrategy<Body> {
        let serial = self.serial.clone();
        (
            any::<bool>(),
            observed(serial.prop_map(String::from).boxed()),
            observed(any::<bool>().boxed()),
            observed(self.text.clone()),
            observed(several(self.text.clone(), 2)),
            observed(self.tags()),
            self.tags(),
            several(self.word.clone(), 2),
            observed(self.text.clone()),
            observed(self.text.clone()),
            self.observed_json(),
            self.extra.clone(),
        )
            .prop_map(|observed| {
                Body::ProviderDeviceObserved(ProviderDeviceObserved {
                    complete: observed.0,
                    name: observed.1,
                    enabled: observed.2,
                    status: observed.3,
                    hardware_ids: observed.4,
                    tags: observed.5,
                    tags_added: observed.6,
                    tags_removed: observed.7,
                    cohort: observed.8,
                    blueprint: observed.9,
                    metadata: observed.10,
                    extra: observed.11,
                })
            })
            .boxed()
    }

    pub(super) fn provider_device_disappeared(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let how = vec![
            Disappearance::Reported,
            Disappearance::MissingFromScan,
            Disappearance::NotFound,
            Disappearance::Other("moved".to_owned()),
        ];
        (select(how), parties.device_name(), self.extra.clone())
            .prop_map(|(how, name, extra)| {
                Body::ProviderDeviceDisappeared(ProviderDeviceDisappeared { how, name, extra })
            })
            .boxed()
    }

    pub(super) fn activity_observed(&self) -> BoxedStrategy<Body> {
        (
            observed(self.instant.clone()),
            observed(self.instant.clone()),
            self.extra.clone(),
        )
            .prop_map(|(last_report, session_established_at, extra)| {
                Body::ActivityObserved(ActivityObserved {
                    last_report,
                    session_established_at,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn connection_changed(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let evidence = vec![
            Evidence::Reported,
            Evidence::Observed,
            Evidence::Inferred,
            Evidence::Other("attested".to_owned()),
        ];
        (
            select(vec![ConnectionState::Connected, ConnectionState::Disconnected]),
            option::of(self.word.clone()),
            self.maybe_text(),
            select(evidence),
            parties.device_name(),
            self.extra.clone(),
        )
            .prop_map(|(state, session_id, reason, evidence, device_name, extra)| {
                Body::ConnectionChanged(ConnectionChanged {
                    state,
                    session_id,
                    reason,
                    evidence,
                    device_name,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn firmware_reported(&self, parties: &Parties) -> BoxedStrategy<Body> {
        (
            self.word.clone(),
            (
                self.maybe_text(),
                self.maybe_text(),
                self.maybe_text(),
                self.maybe_text(),
            ),
            (option::of(any::<i32>()), option::of(any::<i32>())),
            option::of(self.word.clone()),
            parties.device_name(),
            self.extra.clone(),
        )
            .prop_map(|(package, texts, codes, via, device_name, extra)| {
                let (version, target, state, reason) = texts;
                let (state_code, reason_code) = codes;
                Body::FirmwareReported(FirmwareReported {
                    package,
                    version,
                    target,
                    state,
                    reason,
                    state_code,
                    reason_code,
                    via,
                    device_name,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn state_observed(&self) -> BoxedStrategy<Body> {
        (
            self.word.clone(),
            option::of(self.json.clone()),
            self.extra.clone(),
        )
            .prop_map(|(word, value, extra)| {
                Body::StateObserved(StateObserved {
                    path: format!("/{word}"),
                    deleted: value.is_none(),
                    value,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn settings_observed(&self) -> BoxedStrategy<Body> {
        (
            observed(self.text.clone()),
            observed(self.text.clone()),
            self.observed_json(),
            self.extra.clone(),
        )
            .prop_map(|(status, reported_version, errors, extra)| {
                Body::SettingsObserved(SettingsObserved {
                    status,
                    reported_version,
                    errors,
                    extra,
                })
            })
            .boxed()
    }
}
