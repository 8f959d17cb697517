//! Records made ready for one transaction, and what is measured of it.

use std::{collections::BTreeMap, time::Duration};

use schema::{Event, Micros, Topic};
use stream::Read;
use time::OffsetDateTime;

use crate::{
    commit::Written,
    fold::{Batch, Ignored},
    metrics::Metric,
    ownership::Ownership,
    sql::offsets::Place,
};

/// Events on their way, and the position after them for each place.
pub(crate) struct Attempt {
    pub(crate) batch: Batch,
    pub(crate) places: Vec<(Place, i64)>,
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
            oldest: None,
            n_events: BTreeMap::new(),
            ignored: BTreeMap::new(),
        };
        let mut next: BTreeMap<(Topic, i32), (Place, Option<i64>, bool)> = BTreeMap::new();
        for Read { position, event } in records {
            let Some(place) = owned.place_of(*position) else {
                continue;
            };
            let key = (position.topic, position.partition);
            let (_, after, stopped) = next.entry(key).or_insert((place, None, false));
            match event {
                Ok(event) if !*stopped => {
                    *after = Some(position.offset + 1);
                    attempt.take(position.partition, event);
                }
                Ok(_) => {}
                Err(_) => *stopped = true,
            }
        }
        attempt.batch.trim();
        let places = next.into_values();
        attempt.places = places
            .filter_map(|(place, after, _)| after.map(|after| (place, after)))
            .collect();
        attempt
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
    pub(crate) fn measure(&self, written: &Written, took: Duration) {
        let mut n_all = 0;
        for (topic, n) in &self.n_events {
            metrics::counter!(Metric::FleetlogProjectorEventsTotal.name(), "topic" => topic.suffix())
                .increment(*n);
            n_all += n;
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
    pub(crate) fn measure_age(&self) {
        if let Some(oldest) = self.oldest {
            let gauge = metrics::gauge!(Metric::FleetlogProjectorOldestEventAgeSeconds.name());
            gauge.set(seconds_since(oldest));
        }
    }
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
