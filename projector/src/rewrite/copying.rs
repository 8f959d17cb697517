//! Copying the log record by record, without those of some subjects.
//!
//! Each copy says where it was copied from, so that a copying that was stopped or killed goes on where it was. Records
//! of one batch are all acknowledged before the next is begun: what may be missing before the last one that is there
//! lies within the last batches, and is looked for there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use schema::{Body, Topic};
use serde::Serialize;
use service::CancellationToken;
use stream::{
    Appender, Copier, KeyFilter, LogConfig, LogIdentity, Position, Range, Raw, RawBatch, Scan, ScanOptions,
    copied_from,
};

use super::{Erased, Order, RewriteError, TOPICS};
use crate::rebuild::{Phase, Progress};

/// Records of one batch.
const BATCH: usize = 2_048;

/// How long an append may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// What was copied of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Records that were copied now.
    pub copied: u64,
    /// Records that were left out, of those read now.
    pub left_out: u64,
    /// Records that other runs had copied already, of those read now.
    pub there: u64,
}

/// A copying under way.
pub(super) struct Copying {
    source: (LogConfig, LogIdentity),
    target: LogIdentity,
    copier: Copier,
    appender: Appender,
    erased: Erased,
    stop: CancellationToken,
    /// Where each partition goes on.
    next: BTreeMap<(Topic, i32), i64>,
    /// Offsets beyond that which were copied already.
    there: BTreeMap<(Topic, i32), BTreeSet<i64>>,
    /// Partitions of readings whose beginning is gone.
    cut: BTreeSet<i32>,
    counts: BTreeMap<&'static str, Copied>,
}

impl Copying {
    /// Finds out where to go on. Refuses a new log that holds something else, or records of who is to be forgotten.
    pub(super) async fn begin(
        order: &Order,
        source: &LogIdentity,
        target: &LogIdentity,
        erased: &Erased,
    ) -> Result<Self, RewriteError> {
        let beginnings = stream::beginnings(&order.source, source, &TOPICS).await?;
        let mut copying = Self {
            source: (order.source.clone(), source.clone()),
            target: target.clone(),
            copier: Copier::to_log(&order.target, target, &source.log_id)?,
            appender: Appender::to_log(&order.target, target.clone(), APPEND_TIMEOUT)?,
            erased: erased.clone(),
            stop: order.stop.clone(),
            next: beginnings
                .iter()
                .map(|at| ((at.topic, at.partition), at.offset))
                .collect(),
            there: BTreeMap::new(),
            cut: BTreeSet::new(),
            counts: BTreeMap::new(),
        };
        copying.refuse_copied(&order.target).await?;
        copying.cut_readings(&beginnings, &order.target).await?;
        copying.go_on(&order.target).await?;
        Ok(copying)
    }

    /// Refuses a new log that has records of a subject that was erased only afterwards.
    async fn refuse_copied(&self, target: &LogConfig) -> Result<(), RewriteError> {
        let ranges = whole(target, &self.target).await?;
        let options = ScanOptions {
            keys: Some(self.erased.keys()),
            ..ScanOptions::default()
        };
        let mut scan = Scan::open(target, &self.target, &ranges, options)?;
        if let Some(batch) = scan.next_raw().await?
            && let Some(raw) = batch.get(0)
        {
            let key = String::from_utf8_lossy(raw.key().unwrap_or_default());
            return Err(RewriteError::AlreadyCopied(key.into_owned()));
        }
        Ok(())
    }

    /// Where the old log has lost readings, the new one begins as if it had: their registers are in checkpoints.
    async fn cut_readings(
        &mut self,
        beginnings: &[Position],
        target: &LogConfig,
    ) -> Result<(), RewriteError> {
        let of_readings = beginnings
            .iter()
            .filter(|at| at.topic == Topic::Readings && at.offset > 0);
        let gone: Vec<_> = of_readings.copied().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let covered = self.covered().await?;
        let ends = stream::ends(target, &self.target, &[Topic::Readings]).await?;
        for at in gone {
            if covered.get(&at.partition).copied().unwrap_or(0) < at.offset {
                return Err(RewriteError::NotCovered(at));
            }
            self.cut.insert(at.partition);
            let is_empty = ends
                .iter()
                .any(|end| end.partition == at.partition && end.offset == 0);
            if is_empty {
                self.copier.cut(Topic::Readings, at.partition).await?;
            }
        }
        Ok(())
    }

    /// Up to which offset the old log's checkpoints cover the readings of each partition.
    async fn covered(&self) -> Result<BTreeMap<i32, i64>, RewriteError> {
        let (config, log) = &self.source;
        let topics = [Topic::Checkpoints];
        let ranges = Range::between(
            &stream::beginnings(config, log, &topics).await?,
            &stream::ends(config, log, &topics).await?,
        );
        let keys: KeyFilter = std::sync::Arc::new(|key: &[u8]| key.starts_with(b"covered/"));
        let options = ScanOptions {
            keys: Some(keys),
            ..ScanOptions::default()
        };
        let mut scan = Scan::open(config, log, &ranges, options)?;
        let mut covered = BTreeMap::new();
        while let Some(records) = scan.next().await? {
            for read in records {
                if let Ok(event) = read.event
                    && let Body::CheckpointCompleted(completed) = event.body
                {
                    let held = covered.entry(completed.partition).or_insert(0);
                    *held = completed.covered.max(*held);
                }
            }
        }
        Ok(covered)
    }

    /// Finds what was copied by the last batches of an earlier run.
    async fn go_on(&mut self, target: &LogConfig) -> Result<(), RewriteError> {
        let window = i64::try_from(2 * BATCH).unwrap_or(i64::MAX);
        let ranges: Vec<_> = whole(target, &self.target)
            .await?
            .into_iter()
            .map(|range| Range {
                from: range.from.max(range.to - window),
                ..range
            })
            .collect();
        let mut scan = Scan::open(target, &self.target, &ranges, ScanOptions::default())?;
        while let Some(batch) = scan.next_raw().await? {
            for raw in batch.iter().filter(|raw| !is_of_its_own(raw)) {
                let position = raw.position();
                let Some(from) = copied_from(&raw, &self.source.1.log_id) else {
                    return Err(RewriteError::NotACopy(position));
                };
                let there = self
                    .there
                    .entry((position.topic, position.partition))
                    .or_default();
                there.insert(from.offset);
            }
        }
        for range in ranges {
            let place = (range.topic, range.partition);
            // Where all was looked at, a record before the first that is there may be missing too.
            let looked_at_all = range.to - range.from < window;
            if let (Some(first), false) = (self.there.get(&place).and_then(BTreeSet::first), looked_at_all) {
                self.next.insert(place, *first);
            }
        }
        Ok(())
    }

    /// Copies everything up to these positions.
    pub(super) async fn copy(&mut self, to: &[Position], progress: &Progress) -> Result<(), RewriteError> {
        let from = self.positions();
        let ranges = Range::between(&from, to);
        progress.begin(Phase::Copy, ranges.iter().map(Range::n_offsets).sum());
        for topic in TOPICS {
            let of_topic: Vec<_> = ranges
                .iter()
                .copied()
                .filter(|range| range.topic == topic)
                .collect();
            let newest = if topic == Topic::Checkpoints {
                Some(newest(&self.source.0, &self.source.1, &of_topic).await?)
            } else {
                None
            };
            let mut scan = Scan::open(&self.source.0, &self.source.1, &of_topic, options())?;
            let mut before: i64 = of_topic.iter().map(|range| range.from).sum();
            while let Some(batch) = scan.next_raw().await? {
                if self.stop.is_cancelled() {
                    return Err(RewriteError::Stopped);
                }
                self.copy_batch(topic, &batch, newest.as_ref()).await?;
                let after = scan.positions().iter().map(|at| at.offset).sum::<i64>();
                progress.add((after - before).unsigned_abs());
                before = after;
            }
            for range in of_topic {
                self.next.insert((range.topic, range.partition), range.to);
            }
        }
        Ok(())
    }

    async fn copy_batch(
        &mut self,
        topic: Topic,
        batch: &RawBatch,
        newest: Option<&HashMap<Vec<u8>, i64>>,
    ) -> Result<(), RewriteError> {
        let mut wanted = Vec::with_capacity(batch.len());
        let mut completed = Vec::new();
        let mut counts = Copied::default();
        for raw in batch.iter().filter(|raw| !is_opening(raw)) {
            let position = raw.position();
            let place = (position.topic, position.partition);
            let is_outdated = newest
                .is_some_and(|newest| newest.get(raw.key().unwrap_or_default()) != Some(&position.offset));
            if self
                .there
                .get(&place)
                .is_some_and(|there| there.contains(&position.offset))
            {
                counts.there += 1;
            } else if self.erased.concerns(&raw) {
                counts.left_out += 1;
            } else if is_covered(&raw) {
                completed.extend((!is_outdated).then_some(raw));
            } else if !is_outdated {
                wanted.push(raw);
            }
        }
        self.copier.copy(&wanted).await?;
        counts.copied = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        for raw in completed {
            self.complete(&raw).await?;
        }
        let held = self.counts.entry(topic.suffix()).or_default();
        held.copied += counts.copied;
        held.left_out += counts.left_out;
        held.there += counts.there;
        Ok(())
    }

    /// Offsets of the old log mean nothing in the new one: there, only what was gone before is covered.
    async fn complete(&self, raw: &Raw<'_>) -> Result<(), RewriteError> {
        if let Ok(mut event) = raw.decode(&self.source.1)?.event
            && let Body::CheckpointCompleted(completed) = &mut event.body
        {
            completed.covered = i64::from(self.cut.contains(&completed.partition));
            let partition = completed.partition;
            self.appender.append_to(partition, &event).await?;
        }
        Ok(())
    }

    /// How far the old log is copied.
    pub(super) fn positions(&self) -> Vec<Position> {
        let position = |((topic, partition), offset): (&(Topic, i32), &i64)| Position {
            topic: *topic,
            partition: *partition,
            offset: *offset,
        };
        self.next.iter().map(position).collect()
    }

    pub(super) fn into_counts(self) -> BTreeMap<&'static str, Copied> {
        self.counts
    }
}

fn options() -> ScanOptions {
    ScanOptions {
        max_records: BATCH,
        ..ScanOptions::default()
    }
}

/// All of a log.
async fn whole(config: &LogConfig, log: &LogIdentity) -> Result<Vec<Range>, RewriteError> {
    let from = stream::beginnings(config, log, &TOPICS).await?;
    Ok(Range::between(&from, &stream::ends(config, log, &TOPICS).await?))
}

/// What a log opens with is its own.
fn is_opening(raw: &Raw<'_>) -> bool {
    raw.header("ce_type") == Some(b"io.fleetlog.log.opened.v1")
}

fn is_covered(raw: &Raw<'_>) -> bool {
    raw.position().topic == Topic::Checkpoints && raw.key().is_some_and(|key| key.starts_with(b"covered/"))
}

/// What the new log has of itself: its opening, and up to where its readings are covered.
fn is_of_its_own(raw: &Raw<'_>) -> bool {
    is_opening(raw) || is_covered(raw)
}

/// Where the newest record of each key is: an older one must not come after it.
async fn newest(
    config: &LogConfig,
    log: &LogIdentity,
    ranges: &[Range],
) -> Result<HashMap<Vec<u8>, i64>, RewriteError> {
    let mut scan = Scan::open(config, log, ranges, ScanOptions::default())?;
    let mut newest = HashMap::new();
    while let Some(batch) = scan.next_raw().await? {
        for raw in batch.iter() {
            newest.insert(raw.key().unwrap_or_default().to_vec(), raw.position().offset);
        }
    }
    Ok(newest)
}

/// What would be copied, and left out.
pub(super) async fn would_copy(
    config: &LogConfig,
    log: &LogIdentity,
    erased: &Erased,
    to: &[Position],
    progress: &Progress,
) -> Result<BTreeMap<&'static str, Copied>, RewriteError> {
    let beginnings = stream::beginnings(config, log, &TOPICS).await?;
    let ranges = Range::between(&beginnings, to);
    progress.begin(Phase::Copy, ranges.iter().map(Range::n_offsets).sum());
    let mut counts: BTreeMap<&'static str, Copied> = BTreeMap::new();
    let mut scan = Scan::open(config, log, &ranges, options())?;
    while let Some(batch) = scan.next_raw().await? {
        for raw in batch.iter().filter(|raw| !is_opening(raw)) {
            let held = counts.entry(raw.position().topic.suffix()).or_default();
            if erased.concerns(&raw) {
                held.left_out += 1;
            } else {
                held.copied += 1;
            }
        }
        progress.add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
    }
    Ok(counts)
}
