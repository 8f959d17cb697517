//! One writer: a member of the group, with a share of the partitions and a connection of its own.

use std::time::Duration;

use schema::Topic;
use service::{CancellationToken, Check, Health};
use sqlx::PgPool;
use stream::{Delivery, LogConfig, LogIdentity, ReadError, Reader};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    Config, ProjectorError, awaited,
    commit::Target,
    metrics::Metric,
    ownership::Halt,
    pause::Pause,
    project::{Done, Projection},
};

/// What is folded: partition n of both goes to one owner, so a provider device's events meet in one projector.
const TOPICS: [Topic; 2] = [Topic::Events, Topic::Readings];

/// How often health and lag are shown.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Every how many reports it is looked whether readers see another generation.
const REPORTS_PER_LOOK: u32 = 2;

/// If partitions turn out to be another's and the group does not tell within this, the group is joined anew.
const PATIENCE_WITH_LOSS: Duration = Duration::from_secs(15);

/// What is folded, and into what.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) identity: LogIdentity,
    pub(crate) generation: String,
}

/// One of those who write at once.
pub(crate) struct Part {
    /// Which, from 1 on.
    pub(crate) number: usize,
    pub(crate) health: Health,
}

/// Folds the partitions that the group gives to this writer.
pub(crate) async fn write(
    config: Config,
    log: LogConfig,
    pool: PgPool,
    Part { number, health }: Part,
    Found { identity, generation }: Found,
    shutdown: CancellationToken,
) -> Result<(), ProjectorError> {
    let target = Target {
        generation,
        log: identity.clone(),
    };
    let mut projection = Projection::new(
        config.clone(),
        pool.clone(),
        health.clone(),
        shutdown.clone(),
        (number, target),
    );
    if projection.bind_log().await? == Done::Stopped {
        return Ok(());
    }
    loop {
        let reader = Reader::subscribe(&log, &config.group, &identity, &TOPICS, number)?;
        let mut consumer = Consumer {
            config: &config,
            reader,
            projection: &mut projection,
            pool: &pool,
            health: &health,
            assigned: None,
            lost_at: None,
            standstill: None,
        };
        let ended = consumer.consume(&shutdown).await;
        let Consumer { reader, .. } = consumer;
        projection.owned.clear();
        reader.close().await;
        if ended? == Ended::Stopped {
            return Ok(());
        }
    }
}

/// Why the group is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// To be joined anew.
    Left,
}

/// A membership in the group.
struct Consumer<'a> {
    config: &'a Config,
    reader: Reader,
    projection: &'a mut Projection,
    pool: &'a PgPool,
    health: &'a Health,
    /// Partitions that the group says are ours; none before it has said so.
    assigned: Option<Vec<i32>>,
    /// Since when partitions are known to be another's that the group says are ours.
    lost_at: Option<Instant>,
    /// Partitions that stand still.
    standstill: Option<Standstill>,
}

/// Partitions that are halted are tried again now and then: what is wrong may have been mended.
struct Standstill {
    /// Where, and why, as far as is known.
    halts: Vec<Halt>,
    pause: Pause,
    /// When they are tried again; none while they are being tried.
    due: Option<Instant>,
}

impl Consumer<'_> {
    async fn consume(&mut self, shutdown: &CancellationToken) -> Result<Ended, ProjectorError> {
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut n_reports = 0_u32;
        loop {
            let delivery = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(Ended::Stopped),
                _ = report.tick() => {
                    self.report();
                    n_reports = n_reports.wrapping_add(1);
                    if n_reports.is_multiple_of(REPORTS_PER_LOOK) && self.turn_over(shutdown).await? == Done::Stopped {
                        return Ok(Ended::Stopped);
                    }
                    if self.lost_at.is_some_and(|at| at.elapsed() > PATIENCE_WITH_LOSS) {
                        return Ok(Ended::Left);
                    }
                    if self.try_halted_again().await? == Done::Stopped {
                        return Ok(Ended::Stopped);
                    }
                    continue;
                }
                delivery = self.reader.next(self.config.max_records, self.config.max_wait) => delivery,
            };
            let delivery = match delivery {
                Err(error @ ReadError::CutOff) => {
                    tracing::warn!(%error, "the group is joined anew: {error}");
                    return Ok(Ended::Left);
                }
                delivery => delivery?,
            };
            match self.take(delivery).await? {
                Done::Written => {}
                Done::SetBack => return Ok(Ended::Left),
                Done::Stopped => return Ok(Ended::Stopped),
            }
            if self.projection.owned.n_lost() > 0
                && self.lost_at.is_none()
                && self.find_out_why(shutdown).await? == Done::Stopped
            {
                return Ok(Ended::Stopped);
            }
            if self.projection.owned.n_lost() == 0 {
                self.lost_at = None;
            } else {
                self.lost_at.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Partitions are lost that the group says are ours: since another generation was promoted, or since somebody has
    /// put rows right and left the partitions to whoever is to have them.
    async fn find_out_why(&mut self, shutdown: &CancellationToken) -> Result<Done, ProjectorError> {
        let before = self.projection.generation().to_owned();
        let done = self.turn_over(shutdown).await?;
        if done == Done::Written
            && self.projection.generation() == before
            && self
                .projection
                .is_free(self.assigned.as_deref().unwrap_or_default())
                .await
        {
            return self.own().await;
        }
        Ok(done)
    }

    /// Goes on with the generation that readers see, if that is another than the one that is written. Whoever
    /// promotes takes the partitions of the one before away, so that nothing is written to it in between.
    async fn turn_over(&mut self, shutdown: &CancellationToken) -> Result<Done, ProjectorError> {
        let before = self.projection.generation().to_owned();
        let active = self.projection.active().await;
        if active.is_none_or(|active| active == before) {
            return Ok(Done::Written);
        }
        let awaited = awaited::active_generation(self.config, self.pool, self.health, shutdown);
        let Some(generation) = awaited.await? else {
            return Ok(Done::Stopped);
        };
        tracing::info!(
            generation,
            held.generation = before,
            "{generation} is what readers see now, going on with it instead of {before}"
        );
        metrics::counter!(Metric::FleetlogProjectorGenerationSwitchesTotal.name()).increment(1);
        self.projection.turn_to(generation);
        self.standstill = None;
        self.lost_at = None;
        let done = self.projection.bind_log().await?;
        if done == Done::Written && !self.partitions().is_empty() {
            return self.own().await;
        }
        Ok(done)
    }

    fn partitions(&self) -> &[i32] {
        self.assigned.as_deref().unwrap_or_default()
    }

    /// Becomes the owner of what is assigned, and reads it from where it is folded to.
    async fn own(&mut self) -> Result<Done, ProjectorError> {
        let partitions = self.partitions();
        let places: Vec<_> = TOPICS
            .into_iter()
            .flat_map(|topic| partitions.iter().map(move |partition| (topic, *partition)))
            .collect();
        let done = self.projection.take_over(&places).await?;
        if done == Done::Written {
            self.reader.start_at(&self.projection.owned.positions())?;
            let partitions = self.partitions();
            tracing::info!(?partitions, "owns partitions {partitions:?}");
            self.report();
        }
        Ok(done)
    }

    async fn take(&mut self, delivery: Delivery) -> Result<Done, ProjectorError> {
        match delivery {
            Delivery::Assigned(partitions) => {
                self.assigned = Some(partitions);
                self.standstill = None;
                self.own().await
            }
            Delivery::Revoked(partitions) => {
                tracing::info!(?partitions, "gives up partitions {partitions:?}");
                self.assigned = None;
                self.standstill = None;
                self.projection.owned.clear();
                self.report();
                Ok(Done::Written)
            }
            Delivery::Batch(batch) => {
                let done = self.projection.project(&batch.records).await?;
                self.note_halts();
                self.reader
                    .commit_for_lag_tools(&self.projection.owned.positions());
                Ok(done)
            }
        }
    }

    /// Takes note of partitions that stand still, and of those that do no longer.
    fn note_halts(&mut self) {
        let owned = &self.projection.owned;
        let halts: Vec<Halt> = owned.halts().cloned().collect();
        if halts.is_empty() {
            let positions = owned.positions();
            let stands = |halt: &Halt| positions.contains(&halt.position);
            if let Some(standstill) = &self.standstill
                && !standstill.halts.iter().any(stands)
            {
                tracing::info!("no partition stands still any more");
                self.standstill = None;
            }
            return;
        }
        let config = self.config;
        let standstill = self.standstill.get_or_insert_with(|| Standstill {
            halts: Vec::new(),
            pause: Pause::new(config),
            due: None,
        });
        standstill.halts = halts;
        if standstill.due.is_none() {
            standstill.due = Some(Instant::now() + standstill.pause.next());
        }
    }

    /// Reads partitions that stand still again, when their time has come.
    async fn try_halted_again(&mut self) -> Result<Done, ProjectorError> {
        let Some(standstill) = &mut self.standstill else {
            return Ok(Done::Written);
        };
        if standstill.due.is_none_or(|due| due > Instant::now()) {
            return Ok(Done::Written);
        }
        standstill.due = None;
        self.own().await
    }

    /// Shows health and lag.
    fn report(&self) {
        let kafka = match self.reader.health() {
            Ok(detail) => Check::passing(detail),
            Err(detail) => Check::failing(detail),
        };
        self.health.set("kafka", kafka);
        let owned = &self.projection.owned;
        let lag = owned.measure(&self.reader.lags());
        if lag == 0 {
            self.projection.is_even();
        }
        let standstill = self.standstill.iter().flat_map(|standstill| &standstill.halts);
        let halts: Vec<&str> = standstill.map(|halt| halt.why.as_str()).collect();
        let partitions = if self.assigned.is_none() {
            Check::failing("waiting to be assigned partitions")
        } else if !halts.is_empty() {
            Check::failing(halts.join("; "))
        } else if self.lost_at.is_some() {
            Check::failing(format!(
                "{} partitions turned out to be another's",
                owned.n_lost()
            ))
        } else {
            Check::passing(format!("{} partitions owned, {lag} events behind", owned.len()))
        };
        self.health.set("partitions", partitions);
    }
}
