//! The events of one transaction, folded together; and the facts that are timed by their receipt.
//!
//! Where content has an identity but no time, `at` is the receipt, and copies differ in it. Such an event is one fact
//! with the least `at` of its copies. It is held back until it is known what `at` it was folded with before:
//!
//! - never: it contributes as it is;
//! - no later: it contributes as of then, which changes nothing but perhaps a least receipt;
//! - later: what it contributed then is forgotten, and what it may have hidden is joined again from the facts that are
//!   kept. Nothing older than its new `at` can have been hidden by it alone, so those facts need not be read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use schema::{Body, Event, EventId, Micros, ProviderDevice};

use super::{
    Ignored, Truth,
    contribute::provider_device,
    rows::{DeviceKey, HistoryKey, LogRow, ReadingRow, RegistryFact},
};

/// The events of one transaction, folded together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    truth: Truth,
    held_back: BTreeMap<(DeviceKey, EventId), (i32, Event)>,
    /// Days of what is held back.
    held_back_days: Days,
}

/// Days (UTC, since 1970) that rows of the histories fall on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Days {
    /// Those of readings.
    pub readings: BTreeSet<i64>,
    /// Those of log entries.
    pub logs: BTreeSet<i64>,
}

/// A batch, now that it is known what its receipt-timed events were folded with before.
#[derive(Clone, Debug)]
pub struct Settled<'a> {
    /// The rows to join.
    pub truth: Cow<'a, Truth>,
    /// What has to be forgotten before.
    pub lowered: BTreeMap<(DeviceKey, EventId), Lowered>,
}

/// An event that was folded with a later `at` than its least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// Of whom it speaks.
    pub device: ProviderDevice,
    /// The `at` it was folded with.
    pub from: Micros,
    /// Its least `at`.
    pub to: Micros,
}

/// What is kept of the provider devices whose events were lowered.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Registry facts that may have been hidden: with an `at` between the new and the old, or that state instants of
    /// their own.
    pub registry: Vec<(DeviceKey, EventId, RegistryFact)>,
    /// Readings that may have been hidden: with an own or a name's instant between the new `at` and the old.
    pub readings: Vec<(HistoryKey, ReadingRow)>,
    /// Log entries, likewise.
    pub logs: Vec<(HistoryKey, LogRow)>,
    /// Receipts of the lowered events' own readings and log entries, which were forgotten.
    pub receipts: Vec<(HistoryKey, Micros)>,
}

impl Batch {
    /// Folds an event read from a Kafka partition.
    pub fn take(&mut self, partition: i32, event: &Event) -> Result<(), Ignored> {
        let Some(device) = provider_device(event).filter(|_| event.receipt_timed) else {
            return self.truth.fold(partition, event);
        };
        // The integration was heard at each receipt, whichever copy counts.
        self.truth.heard(partition, event);
        self.held_back_days.of(event);
        self.held_back
            .entry((device.uuid(), event.id))
            .and_modify(|(_, held)| {
                held.at = held.at.min(event.at);
                held.recorded_at = held.recorded_at.min(event.recorded_at);
            })
            .or_insert_with(|| (partition, event.clone()));
        Ok(())
    }

    /// Drops what later events of the batch have made idle, once all are taken.
    pub fn trim(&mut self) {
        self.truth.keep_newest_shapes();
    }

    /// The events whose earlier `at` has to be known.
    pub fn receipt_timed(&self) -> impl Iterator<Item = &(DeviceKey, EventId)> {
        self.held_back.keys()
    }

    /// Folds what was held back, given the `at` of those that were folded before.
    pub fn settle(&self, known: &BTreeMap<(DeviceKey, EventId), Micros>) -> Settled<'_> {
        let mut truth = Cow::Borrowed(&self.truth);
        let mut lowered = BTreeMap::new();
        for (key, (partition, event)) in &self.held_back {
            let Some(device) = event.subject.provider_device() else {
                continue;
            };
            let mut event = event.clone();
            // A checkpoint tells of a copy whose readings may have expired. What it made of registers stays.
            if let Some((_, before)) = self.truth.receipt_timed.get(key) {
                event.at = event.at.min(*before);
            }
            if let Some(&before) = known.get(key) {
                if event.at < before {
                    let lowering = Lowered {
                        device: device.clone(),
                        from: before,
                        to: event.at,
                    };
                    lowered.insert(*key, lowering);
                }
                event.at = event.at.min(before);
            }
            let truth = truth.to_mut();
            truth.join_receipt_timed(*key, event.organization, event.at);
            // Only what contributes was held back.
            _ = truth.fold(*partition, &event);
        }
        if let Cow::Owned(truth) = &mut truth {
            truth.keep_newest_shapes();
        }
        Settled { truth, lowered }
    }

    /// The days whose partitions the batch needs. With a lesser `at` that is known already, the row is there, and so
    /// is its day.
    pub fn days(&self) -> Days {
        let mut days = self.held_back_days.clone();
        let day = |key: &HistoryKey| key.key.at.day();
        days.readings.extend(self.truth.readings.keys().map(day));
        days.logs.extend(self.truth.logs.keys().map(day));
        days
    }
}

impl Days {
    fn of(&mut self, event: &Event) {
        let day = |own: Option<Micros>| own.unwrap_or(event.at).day();
        if let Body::ReadingReceived(body) = &event.body {
            self.readings
                .extend(body.readings.iter().map(|reading| day(reading.at)));
        }
        if let Body::LogReceived(body) = &event.body {
            self.logs.extend(body.entries.iter().map(|entry| day(entry.at)));
        }
    }
}

impl Settled<'_> {
    /// Where readings and log entries of the lowered events may be kept, as they were folded before.
    pub fn forgotten(&self) -> Vec<HistoryKey> {
        let keys = self.truth.readings.keys().chain(self.truth.logs.keys());
        keys.filter_map(|key| Some((*key, self.lowered.get(&(key.device, key.key.id))?)))
            .flat_map(|(key, lowered)| {
                let mut before = key;
                // An element with an instant of its own stays where it was, yet may name the device as of then.
                if key.key.at == lowered.to {
                    before.key.at = lowered.from;
                }
                [key, before]
            })
            .collect()
    }

    /// Joins again what the lowered events may have hidden.
    pub fn refold(&mut self, facts: Facts) {
        let devices: BTreeMap<DeviceKey, &ProviderDevice> = self
            .lowered
            .iter()
            .map(|((key, _), lowered)| (*key, &lowered.device))
            .collect();
        let truth = self.truth.to_mut();
        for (key, id, mut fact) in facts.registry {
            if let Some(lowered) = self.lowered.get(&(key, id)) {
                fact.at = lowered.to;
            }
            if let Some(device) = devices.get(&key) {
                truth.refold(device, id, &fact);
            }
        }
        for (key, row) in facts.readings {
            if let Some(device) = devices.get(&key.device) {
                truth.join_reading(device, key, row);
            }
        }
        for (key, row) in facts.logs {
            if let Some(device) = devices.get(&key.device) {
                truth.join_log(device, key, row);
            }
        }
        for (mut key, recorded_at) in facts.receipts {
            let lowered = self.lowered.get(&(key.device, key.key.id));
            let (Some(device), Some(lowered)) = (devices.get(&key.device), lowered) else {
                continue;
            };
            truth.received(device, key, recorded_at);
            key.key.at = lowered.to;
            truth.received(device, key, recorded_at);
        }
    }
}
