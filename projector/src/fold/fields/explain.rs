//! Why a field shows what it shows: everything that was said of it, what won, and why the rest did not.

mod firmware;
mod serial;

use std::collections::BTreeMap;

use schema::{DeviceId, EventId, Field, OrderKey};

use super::{Said, Shown};
use crate::fold::{
    Tables, Truth,
    identity::Candidate,
    resolve::State,
    rows::{DeviceKey, EditRow, Stored},
};

/// A field, and everything that was said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What it shows.
    pub shown: Shown,
    /// What was said, the newest first.
    pub statements: Vec<Statement>,
}

/// What one event says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The key of the event.
    pub key: OrderKey,
    /// The value.
    pub value: Stored,
    /// Who says it.
    pub source: Source,
    /// What became of it.
    pub verdict: Verdict,
}

/// Who says something of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A cloud, of this provider device: the newest it said.
    Cloud(DeviceKey),
    /// A person, here.
    Edit(Box<EditRow>),
    /// A person who named the device by its serial number.
    Registration(String),
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is shown.
    Won,
    /// The other side, which is shown, says the same.
    Agrees,
    /// A newer statement of another provider device counts.
    Older,
    /// Its provider device is gone, and another is there.
    Gone,
    /// It was said before its provider device disappeared and came back.
    BeforeGone,
    /// Another edit came after it.
    Replaced(EventId),
    /// The cloud refused it.
    Rejected,
    /// The cloud took it, or it said nothing new, and only the cloud has changed since.
    Superseded,
    /// Both sides changed, and the strategy prefers the other.
    Outweighed,
    /// Both sides changed, and a person has to decide.
    Waits,
    /// It is no newer than what both sides last agreed on.
    NothingNew,
    /// It was said since, and is what both sides last agreed on.
    Unchanged,
    /// A cloud's name for the device counts.
    Overruled,
    /// It is of another package than the one that counts.
    OtherPackage,
}

impl Tables {
    /// The fields of a device, each with everything that was said of it.
    pub fn explain(&self, device: DeviceId) -> BTreeMap<String, Explained> {
        let truth = &self.truth;
        let linked = self.linked_to(device);
        let edits = truth.edits_of(device);
        let explained = self.fields_of(device).into_iter().map(|(field, shown)| {
            let mut statements = clouds(truth, &linked, &field, &shown);
            let edits = edits.get(&field).map_or(&[][..], Vec::as_slice);
            statements.extend(people(edits, &shown));
            statements.sort_by_key(|statement| std::cmp::Reverse(statement.key));
            (field, Explained { shown, statements })
        });
        explained.collect()
    }
}

/// What clouds say of a field.
fn clouds(truth: &Truth, linked: &[(DeviceKey, Candidate)], field: &str, shown: &Shown) -> Vec<Statement> {
    let all_gone = !linked.iter().any(|(_, candidate)| candidate.live());
    let mut statements = Vec::new();
    for (device, candidate) in linked {
        for (key, value) in Said::of(truth, *device, None).all_of(field) {
            let counts = shown.remote.as_ref().is_some_and(|remote| {
                remote.provider_device == *device && remote.key == key && remote.value.hash == value.hash
            });
            let verdict = if counts {
                of_remote(shown)
            } else if !all_gone && !candidate.live() {
                Verdict::Gone
            } else if !all_gone && candidate.gone.is_some_and(|gone| key <= gone) {
                Verdict::BeforeGone
            } else {
                Verdict::Older
            };
            statements.push(Statement {
                key,
                value,
                source: Source::Cloud(*device),
                verdict,
            });
        }
    }
    statements
}

/// What became of the cloud's newest statement.
fn of_remote(shown: &Shown) -> Verdict {
    let is_shown = match (&shown.remote, &shown.value) {
        (Some(remote), Some(value)) => remote.value.hash == value.hash,
        _ => false,
    };
    match shown.state {
        State::Remote => Verdict::Won,
        State::Kept => Verdict::Outweighed,
        State::Settled | State::Acknowledged if is_shown => Verdict::Agrees,
        State::Rejected | State::Superseded | State::Lost | State::Conflict if is_shown => Verdict::Won,
        State::Local
        | State::Pending
        | State::Settled
        | State::Acknowledged
        | State::Rejected
        | State::Superseded
        | State::Lost
        | State::Conflict => {
            if is_newer(shown) {
                Verdict::Unchanged
            } else {
                Verdict::NothingNew
            }
        }
    }
}

/// Whether the cloud's newest statement came after what both sides last agreed on.
fn is_newer(shown: &Shown) -> bool {
    let agreed = shown.base.as_ref().and_then(|base| base.at);
    shown
        .remote
        .as_ref()
        .is_some_and(|remote| Some(remote.key.at) > agreed)
}

/// What people say of a field.
fn people<'a>(
    edits: &'a [(OrderKey, &'a EditRow)],
    shown: &'a Shown,
) -> impl Iterator<Item = Statement> + 'a {
    let next = edits.iter().skip(1).map(|(key, _)| Some(key.id));
    edits
        .iter()
        .zip(next.chain([None]))
        .map(|((key, row), next)| Statement {
            key: *key,
            value: row.value.clone(),
            source: Source::Edit(Box::new((*row).clone())),
            verdict: next.map_or_else(|| of_edit(shown), Verdict::Replaced),
        })
}

/// What became of the current edit.
fn of_edit(shown: &Shown) -> Verdict {
    match shown.state {
        State::Local | State::Pending | State::Acknowledged | State::Settled | State::Kept => Verdict::Won,
        State::Rejected => Verdict::Rejected,
        State::Lost => Verdict::Outweighed,
        State::Conflict => Verdict::Waits,
        // Without an edit there is none to judge.
        State::Superseded | State::Remote => Verdict::Superseded,
    }
}

impl Said {
    /// Everything that it says of one field: of a tag that is its own word, and the whole list.
    fn all_of(&self, field: &str) -> Vec<(OrderKey, Stored)> {
        if !Field::is_tag_name(field) {
            let fields = self.fields.iter().filter(|(name, _)| name == field);
            return fields.map(|(_, said)| (said.key, said.value.clone())).collect();
        }
        let single = self.single.get(field).copied();
        let listed = self.list.as_ref().map(|(key, ids)| (*key, ids.contains(field)));
        let boolean = |(key, present): (OrderKey, bool)| (key, super::boolean(present));
        single.into_iter().chain(listed).map(boolean).collect()
    }
}
