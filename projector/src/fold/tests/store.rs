//! The tables as SQL keeps them: rows come batch by batch, and what a receipt-timed event hid comes back.

use std::collections::BTreeMap;

use schema::{Event, MaxRegister, OrderKey};

use crate::fold::{Batch, Facts, Settled, Tables, Truth};

#[derive(Default)]
pub(super) struct Store(Truth);

impl Store {
    pub(super) fn commit(&mut self, events: &[(i32, Event)]) {
        let mut batch = Batch::default();
        for (partition, event) in events {
            _ = batch.take(*partition, event);
        }
        batch.trim();
        let known: BTreeMap<_, _> = batch
            .receipt_timed()
            .filter_map(|key| Some((*key, self.0.receipt_timed.get(key)?.1)))
            .collect();
        let mut settled = batch.settle(&known);
        if !settled.lowered.is_empty() {
            let facts = self.forget(&settled);
            settled.refold(facts);
        }
        self.0.joins(settled.truth.into_owned());
    }

    pub(super) fn tables(self) -> Tables {
        Tables::derive(self.0)
    }

    fn forget(&mut self, settled: &Settled<'_>) -> Facts {
        let mut facts = Facts::default();
        let truth = &mut self.0;
        for key in settled.forgotten() {
            let reading = truth.readings.remove(&key).map(|row| row.said);
            let said = reading.or_else(|| truth.logs.remove(&key).map(|row| row.said));
            facts.receipts.extend(said.map(|said| (key, said.recorded_at)));
        }
        for ((device, id), lowered) in &settled.lowered {
            let own = |key: &OrderKey| key.id == *id;
            truth
                .connections
                .retain(|key, _| !(key.device == *device && key.at == lowered.from));
            truth
                .firmware
                .retain(|key, _| !(key.device == *device && key.at == lowered.from));
            truth
                .fields
                .retain(|(of, _), row| !(of == device && own(&row.key)));
            truth
                .latest
                .retain(|key, row| !(key.device == *device && own(&row.key)));
            if let Some(row) = truth.provider_devices.get_mut(device) {
                reset(&mut row.name, own);
                reset(&mut row.bound, own);
                reset(&mut row.gone, own);
                reset(&mut row.seen, own);
            }
            if let Some(row) = truth.activity.get_mut(device) {
                reset(&mut row.last_report, own);
                reset(&mut row.connected, own);
                reset(&mut row.disconnected, own);
            }
        }
        for ((device, _), lowered) in &settled.lowered {
            let range = lowered.to..=lowered.from;
            for ((of, id), fact) in &truth.registry {
                if of == device && (fact.name == "activity.observed" || range.contains(&fact.at)) {
                    facts.registry.push((*of, *id, fact.clone()));
                }
            }
            for (key, row) in &truth.readings {
                let named = row.said.name_at.is_some_and(|at| range.contains(&at));
                if key.device == *device && (named || range.contains(&key.key.at)) {
                    facts.readings.push((*key, row.clone()));
                }
            }
            for (key, row) in &truth.logs {
                let named = row.said.name_at.is_some_and(|at| range.contains(&at));
                if key.device == *device && (named || range.contains(&key.key.at)) {
                    facts.logs.push((*key, row.clone()));
                }
            }
        }
        facts
    }
}

fn reset<T>(register: &mut MaxRegister<T>, own: impl Fn(&OrderKey) -> bool) {
    if register.key().as_ref().is_some_and(own) {
        *register = MaxRegister::default();
    }
}
