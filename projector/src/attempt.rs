//! Records made ready for one transaction, and what is measured of it.

use std::{collections::BTreeMap, time::Duration};

use schema::{Event, Micros, Topic};
use stream::Read;
use time::OffsetDateTime;

use crate::{
    commit::Written,
    dead_letters::{DeadLetter, Reason, bisect::Due},
    fold::{Batch, Ignored},
    metrics::Metric,
    ownership::Ownership,
    sql::offsets::Place,
};

/// Events on their way, and the position after them for each place.
pub(crate) struct Attempt {
    pub(crate) batch: Batch,
    pub(crate) places: Vec<(Place, i64)>,
    /// Records that are no events of ours.
    pub(crate) undecodable: Vec<DeadLetter>,
    oldest: Option<Micros>,
    n_events: BTreeMap<Topic, u64>,
    ignored: BTreeMap<Ignored, u64>,
}

impl Attempt {
    /// Folds the records that this projector may fold.
    pub(crate) fn prepare(records: &[Read], owned: &Ownership) -> Self {
        let mut attempt = Self {
            batch: Batch::default(),
            places: Vec::new(),
            undecodable: Vec::new(),
            oldest: None,
            n_events: BTreeMap::new(),
            ignored: BTreeMap::new(),
        };
        let mut next: BTreeMap<(Topic, i32), (Place, i64)> = BTreeMap::new();
        for Read { position, event } in records {
            let Some(place) = owned.place_of(*position) else {
                continue;
            };
            let key = (position.topic, position.partition);
            let (_, after) = next.entry(key).or_insert((place, position.offset));
            *after = position.offset + 1;
            match event {
                Ok(event) => attempt.take(position.partition, event),
                Err(undecodable) => {
                    let letter = DeadLetter::undecodable(*position, undecodable);
                    attempt.undecodable.push(letter);
                }
            }
        }
        attempt.batch.trim();
        attempt.places = next.into_values().collect();
        attempt
    }

    /// The events among the records that this projector may fold.
    pub(crate) fn due<'r>(records: &'r [Read], owned: &Ownership) -> Vec<Due<'r>> {
        let due = |read: &'r Read| {
            let event = read.event.as_ref().ok()?;
            owned.place_of(read.position).map(|_| (read.position, event))
        };
        records.iter().filter_map(due).collect()
    }

    /// How many records there are.
    pub(crate) fn n_records(&self) -> usize {
        let n_events: u64 = self.n_events.values().sum();
        usize::try_from(n_events).unwrap_or(usize::MAX) + self.undecodable.len()
    }

    fn take(&mut self, partition: i32, event: &Event) {
        let oldest = self.oldest.get_or_insert(event.recorded_at);
        *oldest = event.recorded_at.min(*oldest);
        *self.n_events.entry(event.topic()).or_default() += 1;
        if let Err(ignored) = self.batch.take(partition, event) {
            *self.ignored.entry(ignored).or_default() += 1;
        }
    }

    /// Shows what was written.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a histogram of floats; batches are bounded"
    )]
    pub(crate) fn measure(&self, written: &Written, aside: &[DeadLetter], took: Duration) {
        let mut n_all = 0;
        for (topic, n) in &self.n_events {
            let is_of_topic = |letter: &&DeadLetter| {
                letter.position.topic == *topic && letter.reason != Reason::Undecodable
            };
            let n_refused = aside.iter().filter(is_of_topic).count();
            let n = n.saturating_sub(u64::try_from(n_refused).unwrap_or(u64::MAX));
            metrics::counter!(Metric::FleetlogProjectorEventsTotal.name(), "topic" => topic.suffix())
                .increment(n);
            n_all += n;
        }
        for letter in aside {
            let reason: &'static str = letter.reason.into();
            metrics::counter!(Metric::FleetlogProjectorDeadLettersTotal.name(), "reason" => reason)
                .increment(1);
        }
        for (reason, n) in &self.ignored {
            let reason: &'static str = reason.into();
            metrics::counter!(Metric::FleetlogProjectorEventsIgnoredTotal.name(), "reason" => reason)
                .increment(*n);
        }
        for (table, n) in written.rows.iter().filter(|(_, n)| *n > 0) {
            metrics::counter!(Metric::FleetlogProjectorRowsTotal.name(), "table" => *table).increment(*n);
        }
        if written.linked {
            metrics::counter!(Metric::FleetlogProjectorLinkingsTotal.name()).increment(1);
        }
        metrics::histogram!(Metric::FleetlogProjectorBatchEvents.name()).record(n_all as f64);
        metrics::histogram!(Metric::FleetlogProjectorBatchSeconds.name()).record(took.as_secs_f64());
    }

    /// Shows how old the oldest of the events is, none of which is projected.
    pub(crate) fn measure_age(&self, writer: usize) {
        if let Some(oldest) = self.oldest {
            show_age(writer, seconds_since(oldest));
        }
    }
}

/// Shows how old the oldest event is that waits for a writer.
pub(crate) fn show_age(writer: usize, seconds: f64) {
    let writer = writer.to_string();
    metrics::gauge!(Metric::FleetlogProjectorOldestEventAgeSeconds.name(), "writer" => writer).set(seconds);
}

#[expect(
    clippy::disallowed_methods,
    reason = "an age is measured against the clock; nothing is folded by it"
)]
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; ages are small")]
fn seconds_since(at: Micros) -> f64 {
    let now = Micros::from(OffsetDateTime::now_utc());
    (now.as_micros() - at.as_micros()).max(0) as f64 / 1e6
}
