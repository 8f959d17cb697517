//! What events say: the strategy of each name, and what several share.

use proptest::{option, prelude::*, strategy::BoxedStrategy};

use super::{Parties, World, named, several};
use crate::{Body, Fields, Observed, RawJson, Tag};

impl World {
    /// What an event of this name says.
    pub(super) fn body(&self, name: &'static str, parties: &Parties) -> BoxedStrategy<Body> {
        match name {
            "reading.received" => self.reading_received(parties),
            "log.received" => self.log_received(parties),
            "provider-device.observed" => self.provider_device_observed(),
            "provider-device.disappeared" => self.provider_device_disappeared(parties),
            "activity.observed" => self.activity_observed(),
            "connection.changed" => self.connection_changed(parties),
            "firmware.reported" => self.firmware_reported(parties),
            "state.observed" => self.state_observed(),
            "settings.observed" => self.settings_observed(),
            "device.registered" => self.device_registered(parties),
            "device.edited" => self.device_edited(parties),
            "device.retired" => self.device_retired(parties),
            "device.restored" => self.device_restored(parties),
            "provider-device.bound" => self.provider_device_bound(parties),
            "edit.pushed" => self.edit_pushed(),
            "deployment.requested" => self.deployment_requested(),
            "deployment.settled" => self.deployment_settled(),
            "sync.started" => self.sync_started(),
            "sync.completed" => self.sync_completed(),
            "integration.changed" => self.integration_changed(),
            "subject.erased" => self.subject_erased(),
            "log.opened" => self.log_opened(),
            "checkpoint.taken" => self.checkpoint_taken(parties),
            "checkpoint.completed" => self.checkpoint_completed(),
            "horizon.advanced" => self.horizon_advanced(),
            _ => self.unknown(name),
        }
    }

    pub(super) fn maybe_text(&self) -> BoxedStrategy<Option<String>> {
        option::of(self.text.clone()).boxed()
    }

    pub(super) fn fields(&self) -> BoxedStrategy<Fields> {
        named(self.word.clone(), self.json.clone())
            .prop_map(Fields)
            .boxed()
    }

    pub(super) fn tags(&self) -> BoxedStrategy<Vec<Tag>> {
        let tag = (self.word.clone(), self.maybe_text()).prop_map(|(id, name)| Tag { id, name });
        several(tag.boxed(), 3)
    }

    /// JSON that was observed: `null` is what says that there was none.
    pub(super) fn observed_json(&self) -> BoxedStrategy<Observed<RawJson>> {
        observed(
            self.json
                .clone()
                .prop_filter("absence has its own form", |json| json.get() != "null")
                .boxed(),
        )
    }
}

impl Parties {
    /// The device's name, where the payload said it.
    pub(super) fn device_name(&self) -> BoxedStrategy<Option<String>> {
        option::weighted(0.3, Just(self.serial.as_str().to_owned())).boxed()
    }
}

/// Not observed, observed as absent, or a value.
pub(super) fn observed<T: std::fmt::Debug + 'static>(value: BoxedStrategy<T>) -> BoxedStrategy<Observed<T>> {
    option::of(option::weighted(0.8, value)).boxed()
}
