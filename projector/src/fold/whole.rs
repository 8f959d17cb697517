//! The tables of a whole set of events: what any order, repeats and batches must end in.

use std::collections::BTreeMap;

use schema::{DeviceId, Event, IntegrationId, OrderKey, Serial};

use super::{
    Batch, Truth,
    identity::{self, Candidate, Device, Link, Local},
    rows::DeviceKey,
};

/// The truth tables and what is derived from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Registers and facts.
    pub truth: Truth,
    /// Which device each provider device is.
    pub links: BTreeMap<DeviceKey, Link>,
    /// What each device shows.
    pub devices: BTreeMap<DeviceId, Device>,
}

/// Folds events, each with the Kafka partition it was read from.
pub fn whole<'a>(events: impl IntoIterator<Item = (i32, &'a Event)>) -> Tables {
    let mut batch = Batch::default();
    for (partition, event) in events {
        // What contributes nothing is no matter here.
        _ = batch.take(partition, event);
    }
    batch.trim();
    Tables::derive(batch.settle(&BTreeMap::new()).truth.into_owned())
}

impl Tables {
    /// Derives links and devices.
    pub fn derive(mut truth: Truth) -> Self {
        truth.cut_histories();
        let mut local: BTreeMap<DeviceId, Local> = BTreeMap::new();
        for ((device, id), fact) in &truth.local {
            let key = OrderKey {
                at: fact.at,
                sequence: fact.sequence,
                id: *id,
            };
            local.entry(*device).or_default().tell(key, fact);
        }
        for (edit, row) in truth.edits.iter().filter(|(edit, _)| edit.field == "name") {
            local
                .entry(edit.device)
                .or_default()
                .named(edit.key, &row.value.text);
        }
        let claimed = |device| local.get(&device).is_some_and(|local| local.claimed);

        let candidates: BTreeMap<DeviceKey, Candidate> = truth
            .provider_devices
            .iter()
            .map(|(key, row)| (*key, Candidate::new(row, truth.activity_of(key))))
            .collect();
        let mut by_name: BTreeMap<(IntegrationId, &Serial), Vec<&Candidate>> = BTreeMap::new();
        for candidate in candidates.values() {
            if let Some(name) = candidate.current_name() {
                let integration = candidate.device.integration;
                by_name.entry((integration, name)).or_default().push(candidate);
            }
        }
        let mut links = BTreeMap::new();
        let mut linked: BTreeMap<DeviceId, Vec<&Candidate>> = BTreeMap::new();
        for (key, candidate) in &candidates {
            let namesakes = candidate
                .current_name()
                .and_then(|name| by_name.get(&(candidate.device.integration, name)));
            let namesakes = namesakes.into_iter().flatten().copied();
            if let Some(link) = identity::link(candidate, namesakes, claimed) {
                links.insert(*key, link);
                linked.entry(link.device).or_default().push(candidate);
            }
        }
        for device in local.keys() {
            linked.entry(*device).or_default();
        }
        let devices = linked
            .iter()
            .filter_map(|(device, linked)| Some((*device, identity::device(linked, local.get(device))?)))
            .collect();
        Self {
            truth,
            links,
            devices,
        }
    }
}
