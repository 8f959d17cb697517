//! Where the events lie in the log that explain something.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::iter};
use schema::{EventId, Micros, Topic};
use stream::{LogConfig, Position, Sought};
use tokio::time::Instant;

use crate::{
    device::facts::{Fact, Heard},
    failure::Failure,
};

/// How many events are looked for at once.
const AT_ONCE: usize = 4;

/// What is known of events.
#[derive(Default)]
pub(super) struct Trail {
    events: BTreeMap<EventId, Step>,
}

/// What is known of an event.
pub(super) struct Step {
    /// Its name.
    pub(super) name: String,
    pub(super) recorded_at: Micros,
    /// A copy of it, if one was looked for and found.
    pub(super) position: Option<Position>,
    topic: Topic,
    log_key: String,
}

impl Trail {
    /// Keeps what is needed to find a fact's event.
    pub(super) fn note(&mut self, fact: &Fact) {
        let Some(log_key) = fact.log_key() else {
            return;
        };
        let step = Step {
            name: fact.name.clone(),
            recorded_at: fact.recorded_at,
            position: None,
            topic: Topic::Events,
            log_key,
        };
        self.events.insert(fact.key.id, step);
    }

    /// Keeps what is needed to find the event of a reading or a log entry, which may have said a name.
    pub(super) fn note_heard(&mut self, heard: &Heard) {
        let step = Step {
            name: heard.event_name().to_owned(),
            recorded_at: heard.recorded_at(),
            position: None,
            topic: Topic::Readings,
            log_key: heard.log_key(),
        };
        self.events.insert(heard.event(), step);
    }

    /// What is known of an event.
    pub(super) fn step(&self, event: EventId) -> Option<&Step> {
        self.events.get(&event)
    }

    /// Looks for copies of these events; what is not found in time stays without a position.
    pub(super) async fn find(
        &mut self,
        config: &LogConfig,
        events: BTreeSet<EventId>,
        patience: Duration,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        let identified = tokio::time::timeout_at(deadline, stream::topics::identify(config)).await;
        let Ok(log) = identified else {
            return Ok(());
        };
        let log = log?;
        let sought = |id: EventId| self.events.get(&id).map(|step| (id, step));
        let found: Vec<_> = iter(events.into_iter().filter_map(sought))
            .map(async |(id, step)| {
                let sought = Sought {
                    topic: step.topic,
                    key: &step.log_key,
                    id,
                    recorded_at: step.recorded_at,
                };
                let left = deadline.saturating_duration_since(Instant::now());
                (id, stream::find(config, &log, &sought, left).await)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (id, position) in found {
            if let Some(step) = self.events.get_mut(&id) {
                step.position = position?;
            }
        }
        Ok(())
    }
}
