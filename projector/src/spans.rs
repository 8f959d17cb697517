//! What is told of a batch that is committed: a span of the batch, and in the trace of each delivery that is told, one
//! from when its event was read to the commit of its rows.

use std::{collections::BTreeMap, time::Instant};

use service::{
    Traces,
    traces::{Span, SpanKind, TraceParent},
};
use stream::{Position, Read};

use crate::{
    attempt::Attempt,
    commit::{Target, Written},
    dead_letters::DeadLetter,
    ownership::Ownership,
};

/// The span of a transaction.
const COMMIT: &str = "fleetlog.commit";

/// The span of an event, from its record to its rows.
const PROJECT: &str = "fleetlog.project";

/// Most events of a batch that are told, each with a span of its own: a batch has thousands.
const MAX_TOLD: usize = 128;

/// A batch that was committed.
pub(crate) struct Committed<'a> {
    pub(crate) target: &'a Target,
    pub(crate) attempt: &'a Attempt,
    pub(crate) written: &'a Written,
    pub(crate) aside: &'a [DeadLetter],
    /// When its records were at hand.
    pub(crate) begun: Instant,
    /// How often it was repeated before.
    pub(crate) n_repeats: u32,
}

impl Committed<'_> {
    /// Tells of it. `owned` is what was owned before it was committed. Nothing is done where nobody wants spans.
    pub(crate) fn tell(&self, traces: &Traces, records: &[Read], owned: &Ownership) {
        let Some(mut batch) = traces.begin(COMMIT, SpanKind::Consumer, None, self.begun) else {
            return;
        };
        let context = batch.traceparent();
        let aside: BTreeMap<Position, &'static str> = self
            .aside
            .iter()
            .map(|letter| (letter.position, letter.reason.into()))
            .collect();
        let sampled = records.iter().filter_map(|read| {
            owned.place_of(read.position)?;
            let event = read.event.as_ref().ok()?;
            let parent = TraceParent::parse(event.traceparent.as_deref()?)?;
            parent.is_sampled().then_some((read.position, event, parent))
        });
        for (position, event, parent) in sampled.take(MAX_TOLD) {
            batch.link(&parent);
            let span = traces.begin(PROJECT, SpanKind::Consumer, Some(&parent), self.begun);
            let Some(mut span) = span.filter(Span::is_recording) else {
                continue;
            };
            span.link(&context);
            span.set("messaging.system", "kafka");
            span.set("fleetlog.position", position.to_string());
            span.set("fleetlog.topic", position.topic.suffix());
            span.set(
                "messaging.destination.partition.id",
                position.partition.to_string(),
            );
            span.set("messaging.kafka.offset", position.offset);
            span.set("messaging.message.id", event.id.to_string());
            span.set("fleetlog.event", event.body.name().to_owned());
            span.set("fleetlog.generation", self.target.generation.clone());
            if let Some(reason) = aside.get(&position) {
                span.fail(reason);
            }
        }
        if batch.is_recording() {
            self.describe(&mut batch);
        }
    }

    fn describe(&self, batch: &mut Span) {
        let places = self.attempt.places.iter();
        let places: Vec<String> = places
            .map(|(place, _)| format!("{}/{}", place.topic.suffix(), place.partition))
            .collect();
        let n_rows = self.written.rows.iter().map(|(_, n)| n).sum::<u64>();
        batch.set("messaging.system", "kafka");
        batch.set("messaging.batch.message_count", count(self.attempt.n_records()));
        batch.set("fleetlog.generation", self.target.generation.clone());
        batch.set("fleetlog.partitions", places.join(" "));
        batch.set("fleetlog.rows", i64::try_from(n_rows).unwrap_or(i64::MAX));
        batch.set("fleetlog.set_aside", count(self.aside.len()));
        batch.set("fleetlog.repeats", i64::from(self.n_repeats));
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
