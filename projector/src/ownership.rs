//! What this projector may fold: the partitions it owns, and where each goes on.

use std::collections::BTreeMap;

use schema::Topic;
use stream::Position;

use crate::{metrics::Metric, sql::offsets::Place};

/// The partitions of one assignment.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    places: BTreeMap<(Topic, i32), Place>,
    halted: BTreeMap<(Topic, i32), Halt>,
    /// Partitions that were found to be another's, though nobody had said so.
    n_lost: usize,
}

/// Why a partition stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halt {
    /// Where.
    pub(crate) position: Position,
    /// What is wrong with the record there.
    pub(crate) reason: String,
    /// The same for people, with what can be done.
    pub(crate) why: String,
}

/// What comparing with Postgres showed, after a transaction had failed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reconciled {
    /// What is still owned can go on.
    GoOn,
    /// Postgres has forgotten what it had committed: everything must be asked for anew.
    SetBack,
}

impl Ownership {
    /// Owns these now, and nothing else.
    pub(crate) fn assign(&mut self, places: Vec<Place>) {
        self.clear();
        for place in places {
            gauge(
                Metric::FleetlogProjectorOwnerEpoch,
                place.topic,
                place.partition,
                place.epoch,
            );
            gauge(Metric::FleetlogProjectorHalted, place.topic, place.partition, 0);
            self.places.insert((place.topic, place.partition), place);
        }
    }

    /// Owns nothing any more.
    pub(crate) fn clear(&mut self) {
        for (topic, partition) in std::mem::take(&mut self.places).into_keys() {
            disown(topic, partition);
        }
        self.halted.clear();
        self.n_lost = 0;
    }

    /// Partitions owned.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn keys(&self) -> Vec<(Topic, i32)> {
        self.places.keys().copied().collect()
    }

    /// Where reading goes on.
    pub(crate) fn positions(&self) -> Vec<Position> {
        let position = |place: &Place| Position {
            topic: place.topic,
            partition: place.partition,
            offset: place.next,
        };
        self.places.values().map(position).collect()
    }

    /// The place of a record that is to be folded: owned, not standing still, and not folded before.
    pub(crate) fn place_of(&self, position: Position) -> Option<Place> {
        let key = (position.topic, position.partition);
        let place = self.places.get(&key)?;
        let due = position.offset >= place.next && !self.halted.contains_key(&key);
        due.then_some(*place)
    }

    /// Everything before these offsets is folded.
    pub(crate) fn advanced(&mut self, places: &[(Place, i64)]) {
        for (place, next) in places {
            if let Some(held) = self.places.get_mut(&(place.topic, place.partition)) {
                held.next = *next;
            }
        }
    }

    /// Compares with what Postgres says. Whoever else took a partition keeps it.
    pub(crate) fn reconcile(&mut self, written: &[Place]) -> Reconciled {
        let written: BTreeMap<_, _> = written
            .iter()
            .map(|place| ((place.topic, place.partition), place))
            .collect();
        let mut reconciled = Reconciled::GoOn;
        let mut n_lost = 0;
        self.places.retain(|key, held| match written.get(key) {
            Some(place) if place.epoch > held.epoch => {
                n_lost += 1;
                disown(held.topic, held.partition);
                false
            }
            Some(place) if place.epoch == held.epoch && place.next >= held.next => {
                // A commit whose answer was lost.
                held.next = place.next;
                true
            }
            Some(_) | None => {
                reconciled = Reconciled::SetBack;
                true
            }
        });
        self.n_lost += n_lost;
        reconciled
    }

    /// Partitions that were found to be another's since the last assignment.
    pub(crate) fn n_lost(&self) -> usize {
        self.n_lost
    }

    /// A partition stands still.
    pub(crate) fn halt(&mut self, halt: Halt) {
        let Position { topic, partition, .. } = halt.position;
        gauge(Metric::FleetlogProjectorHalted, topic, partition, 1);
        self.halted.insert((topic, partition), halt);
    }

    /// Why partitions stand still.
    pub(crate) fn halts(&self) -> impl Iterator<Item = &Halt> {
        self.halted.values()
    }

    /// Shows how far each partition is behind, given where it ends.
    ///
    /// And what else is shown of it: another writer of this process that lost it may have said otherwise since.
    pub(crate) fn measure(&self, ends: &[(Position, i64)]) -> i64 {
        for place in self.places.values() {
            let is_halted = self.halted.contains_key(&(place.topic, place.partition));
            gauge(
                Metric::FleetlogProjectorOwnerEpoch,
                place.topic,
                place.partition,
                place.epoch,
            );
            gauge(
                Metric::FleetlogProjectorHalted,
                place.topic,
                place.partition,
                i64::from(is_halted),
            );
        }
        let mut total = 0;
        for (position, end) in ends {
            let Some(place) = self.places.get(&(position.topic, position.partition)) else {
                continue;
            };
            let lag = (end - place.next).max(0);
            gauge(
                Metric::FleetlogProjectorLagEvents,
                place.topic,
                place.partition,
                lag,
            );
            total += lag;
        }
        total
    }
}

fn disown(topic: Topic, partition: i32) {
    for metric in [
        Metric::FleetlogProjectorOwnerEpoch,
        Metric::FleetlogProjectorHalted,
        Metric::FleetlogProjectorLagEvents,
    ] {
        gauge(metric, topic, partition, 0);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; no offset or epoch comes near 2^52"
)]
fn gauge(metric: Metric, topic: Topic, partition: i32, value: i64) {
    metrics::gauge!(metric.name(), "topic" => topic.suffix(), "partition" => partition.to_string())
        .set(value as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32, next: i64, epoch: i64) -> Place {
        Place {
            topic: Topic::Events,
            partition,
            next,
            epoch,
        }
    }

    fn owning(places: &[Place]) -> Ownership {
        let mut owned = Ownership::default();
        owned.assign(places.to_vec());
        owned
    }

    fn at(partition: i32, offset: i64) -> Position {
        Position {
            topic: Topic::Events,
            partition,
            offset,
        }
    }

    #[test]
    fn only_what_is_owned_and_new_is_folded() {
        let mut owned = owning(&[place(0, 5, 1)]);
        assert!(owned.place_of(at(0, 4)).is_none(), "folded before");
        assert!(owned.place_of(at(0, 5)).is_some());
        assert!(owned.place_of(at(1, 5)).is_none(), "another's");
        owned.halt(Halt {
            position: at(0, 5),
            reason: "poison".to_owned(),
            why: String::new(),
        });
        assert!(owned.place_of(at(0, 6)).is_none(), "it stands still");
    }

    #[test]
    fn what_another_has_taken_is_his() {
        let mut owned = owning(&[place(0, 5, 1), place(1, 5, 1)]);
        assert_eq!(
            owned.reconcile(&[place(0, 7, 2), place(1, 5, 1)]),
            Reconciled::GoOn
        );
        assert_eq!((owned.keys(), owned.n_lost()), (vec![(Topic::Events, 1)], 1));
    }

    #[test]
    fn a_commit_whose_answer_was_lost_counts() {
        let mut owned = owning(&[place(0, 5, 1)]);
        assert_eq!(owned.reconcile(&[place(0, 9, 1)]), Reconciled::GoOn);
        assert!(owned.place_of(at(0, 8)).is_none());
    }

    #[test]
    fn a_database_that_was_set_back_is_noticed() {
        assert_eq!(
            owning(&[place(0, 5, 2)]).reconcile(&[place(0, 4, 2)]),
            Reconciled::SetBack
        );
        assert_eq!(
            owning(&[place(0, 5, 2)]).reconcile(&[place(0, 5, 1)]),
            Reconciled::SetBack
        );
        assert_eq!(owning(&[place(0, 5, 2)]).reconcile(&[]), Reconciled::SetBack);
    }
}
