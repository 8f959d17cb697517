//! The fields of a device, from registers and edits: what each shows, and why.

pub mod explain;

use std::collections::{BTreeMap, BTreeSet};

use schema::{DeviceId, EventId, Field, Micros, OrderKey, PushOutcome, RawJson};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Tables, Truth,
    identity::Candidate,
    resolve::{self, Accepted, Edit, Known, Remote, Shows, State},
    rows::{AnswerKey, DeviceKey, EditKey, EditRow, Stored},
};

/// A whole list of tags.
const TAGS: &str = "tags";

/// A field of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// How it stands.
    pub state: State,
    /// What is shown.
    pub value: Option<Stored>,
    /// The newest that a cloud says.
    pub remote: Option<Observed>,
    /// The current edit.
    pub edit: Option<(OrderKey, EditRow)>,
    /// What both sides last agreed on, if there is an edit that a cloud could contradict.
    pub base: Option<Base>,
    /// The cloud's newest answer to the push of the current edit.
    pub answer: Option<(PushOutcome, Micros)>,
    /// The pending conflict.
    pub conflict: Option<String>,
}

/// What both sides last agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The value.
    pub value: Stored,
    /// As of when; nothing is as old as `None`.
    pub at: Option<Micros>,
    /// The edit that the cloud took, if it is that rather than what the author of the current edit saw.
    pub accepted: Option<EventId>,
}

/// What a cloud says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The provider device.
    pub provider_device: DeviceKey,
    /// The key of the event that said it.
    pub key: OrderKey,
    /// The value.
    pub value: Stored,
}

impl Tables {
    /// The fields of a device that a cloud or someone here says anything of.
    pub fn fields_of(&self, device: DeviceId) -> BTreeMap<String, Shown> {
        let truth = &self.truth;
        let linked = self.linked_to(device);
        let edits = truth.edits_of(device);
        let remotes = remotes(truth, &linked, &edits);
        let fields: BTreeSet<&String> = remotes.keys().chain(edits.keys()).collect();
        fields
            .into_iter()
            .map(|field| {
                let remote = remotes.get(field).cloned();
                let edits = edits.get(field).map_or(&[][..], Vec::as_slice);
                (field.clone(), shown(truth, device, field, remote, edits))
            })
            .collect()
    }

    /// The provider devices that a device is made of.
    fn linked_to(&self, device: DeviceId) -> Vec<(DeviceKey, Candidate)> {
        let linked = self.links.iter().filter(|(_, link)| link.device == device);
        linked
            .filter_map(|(key, _)| {
                let row = self.truth.provider_devices.get(key)?;
                Some((*key, Candidate::new(row, self.truth.activity_of(key))))
            })
            .collect()
    }
}

impl Truth {
    /// The edits of a device's fields, each field's in order.
    fn edits_of(&self, device: DeviceId) -> BTreeMap<String, Vec<(OrderKey, &EditRow)>> {
        let least = OrderKey {
            at: Micros::MIN,
            sequence: i64::MIN,
            id: EventId(Uuid::nil()),
        };
        let first = EditKey {
            device,
            field: String::new(),
            key: least,
        };
        let mut edits: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (key, row) in self
            .edits
            .range(first..)
            .take_while(|(key, _)| key.device == device)
        {
            edits.entry(key.field.clone()).or_default().push((key.key, row));
        }
        edits
    }
}

/// The value that a missing one equals.
pub fn absent(field: &str) -> Stored {
    let value = if Field::is_tag_name(field) {
        Value::Bool(false)
    } else {
        Value::Null
    };
    Stored::new(&RawJson::from_value(&value))
}

fn shown(
    truth: &Truth,
    device: DeviceId,
    field: &str,
    remote: Option<Observed>,
    edits: &[(OrderKey, &EditRow)],
) -> Shown {
    let answer_to = |edit: EventId| {
        let key = AnswerKey {
            device,
            edit,
            field: field.to_owned(),
        };
        let row = truth.answers.get(&key)?;
        Some((row.outcome, row.key.at))
    };
    let accepted = edits.iter().filter_map(|(key, row)| match answer_to(key.id) {
        Some((PushOutcome::Accepted, at)) => Some((at, *key, &row.value)),
        Some((PushOutcome::Rejected, _)) | None => None,
    });
    let accepted = accepted.max_by_key(|(at, key, _)| (*at, *key));
    let current = edits.last();
    let known = Known {
        local: Field::is_local_name(field),
        absent: absent(field).hash,
        remote: remote.as_ref().map(|remote| Remote {
            at: remote.key.at,
            value: remote.value.hash,
        }),
        edit: current.map(|(key, row)| Edit {
            id: key.id,
            value: row.value.hash,
            seen: row.seen_remote.as_ref().map(|seen| seen.hash),
            seen_at: row.seen_remote_at,
            strategy: strategy(&row.strategy),
            answer: answer_to(key.id),
        }),
        accepted: accepted.map(|(at, _, value)| Accepted {
            at,
            value: value.hash,
        }),
    };
    let state = resolve::resolve(&known);
    let base = current.map(|(_, row)| {
        let taken = accepted.filter(|(at, _, _)| Some(*at) >= row.seen_remote_at);
        let seen = || Base {
            value: row.seen_remote.clone().unwrap_or_else(|| absent(field)),
            at: row.seen_remote_at,
            accepted: None,
        };
        taken.map_or_else(seen, |(at, key, value)| Base {
            value: value.clone(),
            at: Some(at),
            accepted: Some(key.id),
        })
    });
    let value = match (resolve::shows(&known, state), current, &base) {
        (Shows::Edit, Some((_, row)), _) => Some(row.value.clone()),
        (Shows::Base, _, Some(base)) => Some(base.value.clone()),
        (Shows::Edit | Shows::Base | Shows::Remote, _, _) => {
            remote.as_ref().map(|remote| remote.value.clone())
        }
    };
    let conflict = match (state, current, &remote) {
        (State::Conflict, Some((key, _)), Some(remote)) => {
            Some(resolve::conflict_id(key.id, field, remote.value.hash))
        }
        _ => None,
    };
    Shown {
        state,
        value,
        remote,
        edit: current.map(|(key, row)| (*key, (*row).clone())),
        base: base.filter(|_| !known.local),
        answer: known.edit.and_then(|edit| edit.answer),
        conflict,
    }
}

fn boolean(value: bool) -> Stored {
    Stored::new(&RawJson::from_value(&Value::Bool(value)))
}

/// Reads a strategy as it is stored.
pub fn strategy(text: &str) -> schema::Strategy {
    use schema::Strategy::{Manual, Merge, Other, PreferLocal, PreferRemote};
    [PreferLocal, PreferRemote, Manual, Merge]
        .into_iter()
        .find(|known| known.as_str() == text)
        .unwrap_or_else(|| Other(text.to_owned()))
}

/// The newest register of each field over the provider devices that are live and newer than their tombstones, or over
/// all if none is live. Each tag is a field; `edited` are fields that are wanted although no cloud may name them.
fn remotes<T>(
    truth: &Truth,
    linked: &[(DeviceKey, Candidate)],
    edited: &BTreeMap<String, T>,
) -> BTreeMap<String, Observed> {
    let all_gone = !linked.iter().any(|(_, candidate)| candidate.live());
    let said: Vec<Said> = linked
        .iter()
        .filter(|(_, candidate)| all_gone || candidate.live())
        .map(|(device, candidate)| Said::of(truth, *device, candidate.gone.filter(|_| !all_gone)))
        .collect();
    let mut newest: BTreeMap<String, Observed> = BTreeMap::new();
    let mut take = |field: &String, observed: Observed| {
        if newest.get(field).is_none_or(|held| held.key < observed.key) {
            newest.insert(field.clone(), observed);
        }
    };
    for (field, observed) in said.iter().flat_map(|said| &said.fields) {
        take(field, observed.clone());
    }
    let named = said.iter().flat_map(Said::named_tags);
    let tags: BTreeSet<&String> = named
        .chain(edited.keys().filter(|field| Field::is_tag_name(field)))
        .collect();
    for tag in tags {
        for observed in said.iter().filter_map(|said| said.tag(tag)) {
            take(tag, observed);
        }
    }
    newest
}

/// What one provider device says of its fields.
struct Said {
    device: DeviceKey,
    fields: Vec<(String, Observed)>,
    /// The newest whole list of tags, as fields.
    list: Option<(OrderKey, BTreeSet<String>)>,
    /// Tags that were added or removed one by one.
    single: BTreeMap<String, (OrderKey, bool)>,
}

impl Said {
    /// What is newer than a tombstone, if there is one.
    fn of(truth: &Truth, device: DeviceKey, gone: Option<OrderKey>) -> Self {
        let mut said = Self {
            device,
            fields: Vec::new(),
            list: None,
            single: BTreeMap::new(),
        };
        let rows = truth.fields.range((device, String::new())..);
        let rows = rows.take_while(|((of, _), _)| *of == device);
        for ((_, field), row) in rows.filter(|(_, row)| gone.is_none_or(|gone| row.key > gone)) {
            let value = || {
                RawJson::parse(&row.value)
                    .and_then(|raw| raw.value())
                    .unwrap_or_default()
            };
            if field == TAGS {
                let tags = value();
                let ids = tags.as_array().into_iter().flatten();
                let ids = ids.filter_map(|tag| Some(format!("tag:{}", tag.get("id")?.as_str()?)));
                said.list = Some((row.key, ids.collect()));
            } else if Field::is_tag_name(field) {
                let present = value().get("present").and_then(Value::as_bool);
                said.single
                    .insert(field.clone(), (row.key, present.unwrap_or(false)));
            } else {
                let value = Stored {
                    text: row.value.clone(),
                    hash: row.hash,
                };
                let observed = Observed {
                    provider_device: device,
                    key: row.key,
                    value,
                };
                said.fields.push((field.clone(), observed));
            }
        }
        said
    }

    fn named_tags(&self) -> impl Iterator<Item = &String> {
        let listed = self.list.iter().flat_map(|(_, ids)| ids);
        listed.chain(self.single.keys())
    }

    /// Whether it has a tag: the newer of the whole list and the tag's own register says so; of equal keys the latter.
    fn tag(&self, field: &String) -> Option<Observed> {
        let listed = self.list.as_ref().map(|(key, ids)| (*key, ids.contains(field)));
        let single = self.single.get(field).copied();
        let (key, present) = match (listed, single) {
            (Some(listed), Some(single)) if listed.0 > single.0 => listed,
            (listed, single) => single.or(listed)?,
        };
        Some(Observed {
            provider_device: self.device,
            key,
            value: boolean(present),
        })
    }
}
