//! Why a device shows its serial number: the names that clouds have for it, and what it was registered with.

use schema::{DeviceId, OrderKey, RawJson};
use serde_json::json;

use super::{Explained, Source, Statement, Verdict};
use crate::fold::{
    Tables, Truth,
    fields::{Observed, Shown},
    identity::Candidate,
    resolve::State,
    rows::{DeviceKey, Stored},
};

impl Tables {
    /// The serial number of a device, with every name that was said of it. None if nobody said one.
    pub fn explain_serial(&self, device: DeviceId) -> Option<Explained> {
        let linked = self.linked_to(device);
        let any_live = linked
            .iter()
            .any(|(_, cloud)| cloud.live() && cloud.current_name().is_some());
        let counts = |(_, cloud): &&(DeviceKey, Candidate)| cloud.live() || !any_live;
        let candidates = linked.iter().filter(counts).filter_map(named);
        let newest = candidates.max_by_key(|observed| observed.key);
        let registered = registered(&self.truth, device);

        let mut statements: Vec<Statement> = linked
            .iter()
            .filter_map(|cloud| Some((cloud, named(cloud)?)))
            .map(|(cloud, observed)| {
                let verdict = if newest.as_ref() == Some(&observed) {
                    Verdict::Won
                } else if newest
                    .as_ref()
                    .is_some_and(|newest| newest.value == observed.value)
                {
                    Verdict::Agrees
                } else if counts(&cloud) {
                    Verdict::Older
                } else {
                    Verdict::Gone
                };
                Statement {
                    key: observed.key,
                    value: observed.value,
                    source: Source::Cloud(cloud.0),
                    verdict,
                }
            })
            .collect();
        statements.extend(registered.clone().map(|(key, author, value)| Statement {
            key,
            verdict: match &newest {
                None => Verdict::Won,
                Some(newest) if newest.value == value => Verdict::Agrees,
                Some(_) => Verdict::Overruled,
            },
            value,
            source: Source::Registration(author),
        }));
        statements.sort_by_key(|statement| std::cmp::Reverse(statement.key));
        let state = if newest.is_some() {
            State::Remote
        } else {
            State::Local
        };
        let value = newest.as_ref().map(|newest| newest.value.clone());
        let shown = Shown {
            state,
            value: Some(value.or_else(|| registered.map(|(_, _, value)| value))?),
            remote: newest,
            edit: None,
            base: None,
            answer: None,
            conflict: None,
        };
        Some(Explained { shown, statements })
    }
}

/// The name that a cloud has for it now.
fn named((device, cloud): &(DeviceKey, Candidate)) -> Option<Observed> {
    Some(Observed {
        provider_device: *device,
        key: cloud.name.key()?,
        value: text(cloud.current_name()?.as_str()),
    })
}

/// The newest serial that people spoke of, by whom and when.
fn registered(truth: &Truth, device: DeviceId) -> Option<(OrderKey, String, Stored)> {
    let facts = truth.local.iter().filter(|((of, _), _)| *of == device);
    let said = facts.filter_map(|((_, id), fact)| {
        let key = OrderKey {
            at: fact.at,
            sequence: fact.sequence,
            id: *id,
        };
        let author = fact.author.clone().unwrap_or_default();
        Some((key, author, text(fact.serial.as_ref()?.as_str())))
    });
    said.max_by_key(|(key, _, _)| *key)
}

fn text(text: &str) -> Stored {
    Stored::new(&RawJson::from_value(&json!(text)))
}
