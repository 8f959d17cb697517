//! Catching up: a generation follows the log to given positions by the live path, as its only writer.

use std::time::Duration;

use schema::Topic;
use service::{CancellationToken, Health, Traces};
use stream::{LogConfig, Position, Range, Scan, ScanOptions};
use tokio::time::timeout;

use super::{Progress, RebuildError, Site};
use crate::{
    Config,
    commit::Target,
    project::{Done, Projection},
};

/// What is folded: the topics that projectors read.
pub(crate) const TOPICS: [Topic; 2] = [Topic::Events, Topic::Readings];

/// How long one batch may take to be written, tries and pauses included.
const BATCH_PATIENCE: Duration = Duration::from_mins(2);

/// A generation on its way through the log. It owns all partitions of it, under epochs of its own.
pub(crate) struct Follower {
    log: LogConfig,
    target: Target,
    projection: Projection,
    n_events: u64,
}

impl Follower {
    /// Becomes the owner of a generation; whoever was, is no longer.
    pub(crate) async fn open(site: &Site, generation: &str) -> Result<Self, RebuildError> {
        let target = || Target {
            generation: generation.to_owned(),
            log: site.identity.clone(),
        };
        let config = Config {
            group: String::new(),
            owner: site.owner.clone(),
            writers: Config::DEFAULT_WRITERS,
            max_records: Config::DEFAULT_MAX_RECORDS,
            max_wait: Config::DEFAULT_MAX_WAIT,
            max_pause: Config::DEFAULT_MAX_PAUSE,
            stop_within: Config::DEFAULT_STOP_WITHIN,
            // The live generation's projectors stand guard over what is appended now; here all that is set aside shows
            // in the comparison with it.
            max_set_aside_percent: 100,
            // What is read again was told when it happened.
            traces: Traces::off(),
        };
        let health = Health::default();
        // Who stops it drops it: what is in flight fails whole.
        let stop = CancellationToken::new();
        let mut projection = Projection::new(config, site.pool.clone(), health, stop, (1, target()));
        let places: Vec<_> = TOPICS
            .into_iter()
            .flat_map(|topic| (0..site.identity.partitions).map(move |partition| (topic, partition)))
            .collect();
        let owned = async {
            projection.bind_log().await?;
            projection.take_over(&places).await
        };
        timeout(BATCH_PATIENCE, owned)
            .await
            .map_err(|_| RebuildError::TooSlow("becoming the owner of the generation"))??;
        Ok(Self {
            log: site.log.clone(),
            target: target(),
            projection,
            n_events: 0,
        })
    }

    /// The generation.
    pub(crate) fn generation(&self) -> &str {
        &self.target.generation
    }

    /// Events folded so far.
    pub(crate) fn n_events(&self) -> u64 {
        self.n_events
    }

    /// Where it stands.
    pub(crate) fn positions(&self) -> Vec<Position> {
        self.projection.owned.positions()
    }

    /// How many offsets lie between where it stands and there.
    pub(crate) fn behind(&self, to: &[Position]) -> u64 {
        let ranges = Range::between(&self.positions(), to);
        ranges.iter().map(Range::n_offsets).sum()
    }

    /// Folds everything up to there. Where it is further already it stays.
    pub(crate) async fn follow(&mut self, to: &[Position], progress: &Progress) -> Result<(), RebuildError> {
        let ranges = Range::between(&self.positions(), to);
        let ranges: Vec<_> = ranges.into_iter().filter(|range| range.n_offsets() > 0).collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let options = ScanOptions {
            max_records: Config::DEFAULT_MAX_RECORDS,
            ..ScanOptions::default()
        };
        let mut scan = Scan::open(&self.log, &self.target.log, &ranges, options)?;
        while let Some(records) = scan.next().await? {
            let written = timeout(BATCH_PATIENCE, self.projection.project(&records)).await;
            let done = written.map_err(|_| RebuildError::TooSlow("writing a batch"))??;
            if done != Done::Written || self.projection.owned.n_lost() > 0 {
                return Err(RebuildError::Busy);
            }
            if let Some(halt) = self.projection.owned.halts().next() {
                return Err(RebuildError::Unfoldable {
                    position: halt.position,
                    reason: halt.reason.clone(),
                });
            }
            let n_events = records.len().try_into().unwrap_or(u64::MAX);
            self.n_events += n_events;
            progress.add(n_events);
        }
        let ends: Vec<_> = ranges
            .iter()
            .map(|range| Position {
                topic: range.topic,
                partition: range.partition,
                offset: range.to,
            })
            .collect();
        // The last offsets need not hold records.
        timeout(BATCH_PATIENCE, self.projection.skip_to(&ends))
            .await
            .map_err(|_| RebuildError::TooSlow("writing a position"))??
            .then_some(())
            .ok_or(RebuildError::Busy)
    }
}
