//! Sends a plan: in time, over a bounded number of connections, counting what was answered.

use std::{collections::BTreeMap, future::ready, time::Duration};

use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{
    people::Decisions,
    plan::{Delivery, Plan},
};
use crate::{
    clock,
    door::Door,
    sender::{self, Proof},
};

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Deliveries sent.
    pub(crate) sent: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// Answers by HTTP status; `unanswered` where nobody knows what became of the delivery.
    pub(crate) answered: BTreeMap<String, u64>,
    /// What people decided meanwhile, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decisions: Option<Decisions>,
    /// The first answer that was no acceptance, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_trouble: Option<String>,
}

impl Tally {
    /// Whether nothing but the receiver's outage is wrong: sending again may help.
    pub(crate) fn may_help_again(&self) -> bool {
        let hopeless = |status: &String| status.starts_with('4') || status.starts_with('3');
        !self.answered.keys().any(hopeless)
    }

    fn add(&mut self, outcome: Outcome) {
        self.sent += 1;
        self.bytes += outcome.n_bytes;
        if outcome.status != "202" && self.first_trouble.is_none() {
            self.first_trouble = Some(outcome.said);
        }
        *self.answered.entry(outcome.status).or_default() += 1;
    }
}

/// What became of one delivery.
struct Outcome {
    n_bytes: u64,
    status: String,
    said: String,
}

/// Sends all, each at its time or as soon as a connection is free, until `stop` resolves.
pub(crate) async fn drive(
    plan: Plan,
    doors: &[Door],
    connections: usize,
    progress: &ProgressBar,
    stop: impl Future<Output = ()>,
) -> Result<Tally, reqwest::Error> {
    let client = sender::client(connections)?;
    let began = Instant::now();
    let mut tally = Tally::default();

    let timed = stream::iter(plan).then(async |delivery| {
        sleep_until(began + delivery.at_offset).await;
        delivery
    });
    let outcomes = timed
        .take_until(stop)
        .map(|delivery| send(&client, doors, delivery))
        .buffer_unordered(connections);
    outcomes
        .for_each(|outcome| {
            tally.add(outcome);
            progress.inc(1);
            ready(())
        })
        .await;
    Ok(tally)
}

async fn send(client: &reqwest::Client, doors: &[Door], delivery: Delivery) -> Outcome {
    let door = &doors[delivery.door];
    let n_bytes = delivery.written.body.len() as u64;
    // A relay signs at each sending, so that an old delivery is fresh.
    let proof = Proof::headers(&door.proof, &delivery.id, clock::now(), &delivery.written.body);
    match sender::post(client, &door.url, proof, delivery.written).await {
        Ok(answer) => Outcome {
            n_bytes,
            said: format!("{} answered {} {}", door.url, answer.status, answer.body),
            status: answer.status.to_string(),
        },
        Err(error) => Outcome {
            n_bytes,
            said: format!("{}: {:#}", door.url, anyhow::Error::from(error.without_url())),
            status: "unanswered".to_owned(),
        },
    }
}

/// What is shown while a run goes on.
pub(crate) fn progress(deliveries: u64) -> ProgressBar {
    let style =
        indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} deliveries, {per_sec}, {eta} left")
            .expect("the template is well-formed");
    let bar = ProgressBar::new(deliveries).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
