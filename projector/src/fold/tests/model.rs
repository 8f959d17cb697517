//! What a field shows, against a model of its own.
//!
//! The model knows nothing of registers. It replays the definition over all that was ever said, sorted.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::Index};
use schema::{Event, EventId, Micros, OrderKey};
use serde_json::{Value, json};

use super::{
    by_id,
    edits::{answer, cloud, device, edit, metadata, sides},
    named, registered,
    store::Store,
};
use crate::fold::{fields::Shown, resolve::conflict_id, rows::Stored};

/// One thing that happens to one field. Values and instants are few, so that much coincides.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Says {
        side: usize,
        at: i64,
        value: i64,
    },
    Lists {
        side: usize,
        at: i64,
        there: bool,
    },
    Tags {
        side: usize,
        at: i64,
        there: bool,
    },
    Edits {
        field: usize,
        at: i64,
        value: i64,
        seen: Option<(i64, i64)>,
        strategy: usize,
    },
    Answers {
        edit: Index,
        at: i64,
        accepted: bool,
    },
}

const FIELDS: [&str; 3] = ["metadata", "notes", "tag:x"];
const STRATEGIES: [&str; 4] = ["prefer_local", "prefer_remote", "manual", "merge"];

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let at = || 0..9_i64;
    prop_oneof![
        (0..2_usize, at(), 0..3_i64).prop_map(|(side, at, value)| Step::Says { side, at, value }),
        (0..2_usize, at(), any::<bool>()).prop_map(|(side, at, there)| Step::Lists { side, at, there }),
        (0..2_usize, at(), any::<bool>()).prop_map(|(side, at, there)| Step::Tags { side, at, there }),
        (
            0..3_usize,
            at(),
            0..3_i64,
            option::of((0..3_i64, at())),
            0..4_usize
        )
            .prop_map(|(field, at, value, seen, strategy)| Step::Edits {
                field,
                at,
                value,
                seen,
                strategy
            }),
        (any::<Index>(), at(), any::<bool>()).prop_map(|(edit, at, accepted)| Step::Answers {
            edit,
            at,
            accepted
        }),
    ]
}

/// A value of a field; 0 is what a missing one equals.
fn value_of(field: &str, value: i64) -> Value {
    match (field, value) {
        ("tag:x", value) => json!(value > 0),
        (_, 0) => Value::Null,
        (_, value) => metadata(value),
    }
}

pub(super) fn events_of(steps: &[Step]) -> Vec<Event> {
    let mut edits: Vec<(Event, &str)> = Vec::new();
    let mut events = vec![named(&by_id("1"), -10, "A"), registered("A", -10)];
    for step in steps {
        match step {
            Step::Says { side, at, value } => {
                let said = json!({"metadata": value_of("metadata", *value)});
                events.push(cloud(&sides()[*side], *at, &said));
            }
            Step::Lists { side, at, there } => {
                let id = if *there { "x" } else { "y" };
                events.push(cloud(&sides()[*side], *at, &json!({"tags": [{"id": id}]})));
            }
            Step::Tags { side, at, there } => {
                let said = if *there {
                    json!({"tags_added": [{"id": "x"}]})
                } else {
                    json!({"tags_removed": ["x"]})
                };
                events.push(cloud(&sides()[*side], *at, &said));
            }
            Step::Edits {
                field,
                at,
                value,
                seen,
                strategy,
            } => {
                let field = FIELDS[*field];
                let value = value_of(field, *value);
                let seen = seen.map(|(seen, at)| (value_of(field, seen), at));
                let seen = seen.as_ref().map(|(seen, at)| (seen, *at));
                let edit = edit(*at, field, &value, seen, STRATEGIES[*strategy]);
                edits.push((edit.clone(), field));
                events.push(edit);
            }
            Step::Answers { edit, at, accepted } if !edits.is_empty() => {
                let (edit, field) = edit.get(&edits);
                let outcome = if *accepted { "accepted" } else { "rejected" };
                events.push(answer(edit, &[field], *at, outcome));
            }
            Step::Answers { .. } => {}
        }
    }
    events
}

/// What the model says of a field: what is shown, and the conflict that is pending.
type Told = (Value, Option<String>);

/// The definition, replayed over everything that was said of one field, oldest first.
fn model(events: &[Event], field: &str) -> Option<Told> {
    let mut sorted: BTreeMap<OrderKey, &Event> = BTreeMap::new();
    for event in events {
        sorted.insert(event.key(), event);
    }
    let mut remote: Option<(Micros, Value)> = None;
    let mut per_side: BTreeMap<String, (OrderKey, Value)> = BTreeMap::new();
    let mut edits: Vec<(EventId, Value, Value)> = Vec::new();
    let mut answers: Vec<(OrderKey, EventId, bool)> = Vec::new();
    for (key, event) in sorted {
        let data: Value = serde_json::from_slice(&event.body.encode().unwrap()).unwrap();
        let side = event.subject.to_string();
        match event.body.name() {
            "provider-device.observed" if field == "tag:x" => {
                let has = |list: &Value| {
                    let mut tags = list.as_array().into_iter().flatten();
                    tags.any(|tag| tag["id"] == "x" || tag == "x")
                };
                if data.get("tags").is_some() {
                    // A whole list says of every tag whether it is there.
                    per_side.insert(side, (key, json!(has(&data["tags"]))));
                } else if has(&data["tags_added"]) {
                    per_side.insert(side, (key, json!(true)));
                } else if has(&data["tags_removed"]) {
                    per_side.insert(side, (key, json!(false)));
                }
            }
            "provider-device.observed" => {
                if let Some(value) = data.get(field) {
                    per_side.insert(side, (key, value.clone()));
                }
            }
            "device.edited" if data["changes"][0]["field"] == field => {
                let change = &data["changes"][0];
                edits.push((event.id, change["value"].clone(), change.clone()));
            }
            "edit.pushed" if data["fields"][0] == field => {
                let edit = data["edit"].as_str().unwrap().parse().unwrap();
                answers.push((key, edit, data["outcome"] == "accepted"));
            }
            _ => {}
        }
    }
    if let Some((key, value)) = per_side.into_values().max_by_key(|(key, _)| *key) {
        remote = Some((key.at, value));
    }
    let missing = value_of(field, 0);
    let Some((id, edited, change)) = edits.last().cloned() else {
        return remote.map(|(_, value)| (value, None));
    };
    if field == "notes" {
        return Some((edited, None));
    }
    let told = |edit: EventId| {
        let mut of_edit = answers.iter().filter(|(_, of, _)| *of == edit);
        of_edit.next_back().map(|(key, _, accepted)| (key.at, *accepted))
    };
    let seen = &change["seen"];
    let seen_at = seen
        .get("remote_at")
        .map(|at| at.as_str().unwrap().parse::<Micros>().unwrap());
    let mut base = (seen_at, seen.get("remote").cloned().unwrap_or(missing));
    for (of, value, _) in &edits {
        if let Some((at, true)) = told(*of)
            && Some(at) >= base.0
        {
            base = (Some(at), value.clone());
        }
    }
    // Until the cloud says something newer, it has what it had when both last agreed.
    let cloud_now = match &remote {
        Some((at, value)) if Some(*at) > base.0 => value.clone(),
        _ => base.1.clone(),
    };
    let shown_remote = cloud_now.clone();
    let answered = told(id).map(|(_, accepted)| accepted);
    if cloud_now == edited {
        Some((edited, None))
    } else if answered == Some(false) {
        Some((shown_remote, None))
    } else if cloud_now == base.1 {
        Some((edited, None))
    } else if answered == Some(true) || edited == base.1 {
        Some((shown_remote, None))
    } else if change["strategy"] == "prefer_local" {
        Some((edited, None))
    } else if change["strategy"] == "prefer_remote" {
        Some((shown_remote, None))
    } else {
        let hash = Stored::new(&schema::RawJson::from_value(&cloud_now)).hash;
        Some((shown_remote, Some(conflict_id(id, field, hash))))
    }
}

fn told(shown: &Shown) -> Told {
    let value = shown
        .value
        .as_ref()
        .map(|value| serde_json::from_str(&value.text).unwrap());
    (value.unwrap_or_default(), shown.conflict.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn fields_show_what_the_definition_says_in_any_order_and_any_batches(
        steps in vec(any_step(), 0..14),
        order in any::<prop::sample::Index>(),
        sizes in vec(1..5_usize, 1..8),
        seed in any::<u64>(),
    ) {
        let events = events_of(&steps);
        // Another order, with repeats, cut into batches.
        let mut shuffled: Vec<(i32, Event)> = events.iter().chain(events.iter().step_by(2)).map(|event| (0, event.clone())).collect();
        let n = shuffled.len();
        let stride = (usize::try_from(seed % 97).unwrap_or(1) + 1) | 1;
        for i in 0..n {
            shuffled.swap(i, (i * stride + order.index(n)) % n);
        }
        let mut store = Store::default();
        let mut rest = shuffled.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, more) = rest.split_at((*size).min(rest.len()));
            store.commit(batch);
            rest = more;
        }
        let tables = store.tables();
        let fields = tables.fields_of(device());
        for field in FIELDS {
            // A tag that nobody named is not shown; a list without it says the same.
            let nothing = || (field == "tag:x").then_some((json!(false), None));
            let found = fields.get(field).map(told).or_else(nothing);
            let expected = model(&events, field).or_else(nothing);
            prop_assert_eq!(&found, &expected, "{} of {:#?}", field, steps);
        }
    }
}
