//! What other strategies would have decided: the history of a device, told again in the order in which it was told.
//!
//! Everything that was said is told as it was; only the question who wins where both sides changed a field is put again.
//! What would have followed from another answer, such as a push to the cloud, is not made up.

use std::collections::BTreeMap;

use schema::{Body, DeviceId, EventId, OrderKey, ProviderDevice, Strategy};

use super::{
    Tables, as_of,
    fields::{self, Shown},
    identity::{Link, Via},
    resolve::{self, State},
    rows::{LocalFact, RegistryFact, Stored},
    stored,
};

/// What became of a field that both sides had changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The edit stood.
    Local,
    /// The cloud's value stood.
    Remote,
    /// A person was asked, and decided.
    Decided(Side, String),
    /// A person is asked, and has not decided.
    Waits,
    /// A person was asked, but one side said something else before anybody decided.
    Overtaken,
}

/// What a person decided for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Side {
    /// The edit.
    KeepLocal,
    /// The cloud's value.
    KeepRemote,
    /// Another value.
    Value,
}

/// A field that both sides had changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// Its id, as that of a pending conflict.
    pub conflict: String,
    /// The field.
    pub field: String,
    /// The event after which both sides had changed it.
    pub key: OrderKey,
    /// Who edited it.
    pub author: String,
    /// What the edit says.
    pub local: Stored,
    /// What the cloud said.
    pub remote: Stored,
    /// The strategy that was stamped in the edit.
    pub stamped: Strategy,
    /// What became of it.
    pub then: Outcome,
    /// What the other strategy would have made of it.
    pub would: Outcome,
}

impl Contest {
    /// Whether the other strategy would have shown another side, or have asked nobody.
    pub fn differs(&self) -> bool {
        match (&self.then, &self.would) {
            (Outcome::Local | Outcome::Decided(Side::KeepLocal, _), Outcome::Local)
            | (Outcome::Remote | Outcome::Decided(Side::KeepRemote, _), Outcome::Remote)
            | (Outcome::Decided(..) | Outcome::Waits | Outcome::Overtaken, Outcome::Waits) => false,
            (
                Outcome::Local | Outcome::Remote | Outcome::Decided(..) | Outcome::Waits | Outcome::Overtaken,
                _,
            ) => true,
        }
    }
}

/// The history of one device, told again. What is told comes in the order in which it was told first.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    device: DeviceId,
    /// By field; `tags` stands for every tag.
    strategies: &'a BTreeMap<String, Strategy>,
    tables: Tables,
    contests: Vec<Contest>,
}

impl<'a> Replay<'a> {
    /// Nothing has been told yet.
    pub fn new(device: DeviceId, strategies: &'a BTreeMap<String, Strategy>) -> Self {
        Self {
            device,
            strategies,
            tables: Tables::default(),
            contests: Vec::new(),
        }
    }

    /// Tells what a provider said next of a provider device that is this device.
    pub fn registry(&mut self, device: &ProviderDevice, id: EventId, fact: &RegistryFact) {
        let link = Link {
            device: self.device,
            via: Via::Bound,
        };
        self.tables.links.insert(device.uuid(), link);
        self.tables.truth.refold(device, id, fact);
        self.look(OrderKey {
            at: fact.at,
            sequence: fact.sequence,
            id,
        });
    }

    /// Tells what somebody said next of the device, or what a cloud answered to it.
    pub fn local(&mut self, id: EventId, fact: &LocalFact) {
        if let Some(event) = as_of::told(self.device, id, fact) {
            // What is kept of an event is what contributed.
            _ = self.tables.truth.fold(0, &event);
        }
        // What followed from it is in the registers; the fact itself is not asked for.
        self.tables.truth.local.clear();
        self.decided(fact);
        self.look(OrderKey {
            at: fact.at,
            sequence: fact.sequence,
            id,
        });
    }

    /// All fields that both sides had changed, in order.
    pub fn end(mut self) -> Vec<Contest> {
        let shown = self.tables.fields_of(self.device);
        for contest in self
            .contests
            .iter_mut()
            .filter(|contest| contest.then == Outcome::Waits)
        {
            let still = shown
                .get(&contest.field)
                .and_then(|shown| shown.conflict.as_ref());
            if still != Some(&contest.conflict) {
                contest.then = Outcome::Overtaken;
            }
        }
        self.contests
    }

    /// Looks for fields that both sides have changed now.
    fn look(&mut self, key: OrderKey) {
        for (field, shown) in self.tables.fields_of(self.device) {
            let Some(strategy) = self.strategy(&field) else {
                continue;
            };
            let would = resolve::contested(strategy);
            if let Some(contest) = contest(field, shown, key, would)
                && self.contests.iter().all(|held| held.conflict != contest.conflict)
            {
                self.contests.push(contest);
            }
        }
    }

    fn strategy(&self, field: &str) -> Option<&Strategy> {
        let of_tags = || {
            self.strategies
                .get("tags")
                .filter(|_| schema::Field::is_tag_name(field))
        };
        self.strategies.get(field).or_else(of_tags)
    }

    /// Notes what an edit decides.
    fn decided(&mut self, fact: &LocalFact) {
        let Some(Body::DeviceEdited(edit)) = stored::decode(&fact.name, &fact.body) else {
            return;
        };
        for contest in &mut self.contests {
            let change = edit.changes.iter().find(|change| change.field == contest.field);
            if let Some(change) = change.filter(|_| edit.resolves.contains(&contest.conflict)) {
                let value = Stored::new(&change.value);
                let side = if value.hash == contest.local.hash {
                    Side::KeepLocal
                } else if value.hash == contest.remote.hash {
                    Side::KeepRemote
                } else {
                    Side::Value
                };
                contest.then = Outcome::Decided(side, edit.author.clone());
            }
        }
    }
}

/// A field, if both sides have changed it.
fn contest(field: String, shown: Shown, key: OrderKey, would: State) -> Option<Contest> {
    let then = outcome(shown.state)?;
    let ((edit, row), remote) = (shown.edit?, shown.remote?);
    Some(Contest {
        conflict: resolve::conflict_id(edit.id, &field, remote.value.hash),
        field,
        key,
        author: row.author,
        local: row.value,
        remote: remote.value,
        stamped: fields::strategy(&row.strategy),
        then,
        would: outcome(would)?,
    })
}

/// What becomes of a field that stands like this; nothing where only one side changed it.
fn outcome(state: State) -> Option<Outcome> {
    match state {
        State::Kept => Some(Outcome::Local),
        State::Lost => Some(Outcome::Remote),
        State::Conflict => Some(Outcome::Waits),
        State::Remote
        | State::Local
        | State::Pending
        | State::Acknowledged
        | State::Settled
        | State::Rejected
        | State::Superseded => None,
    }
}
