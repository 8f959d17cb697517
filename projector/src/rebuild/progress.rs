//! How far a rebuild is, for those who wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use strum::IntoStaticStr;
use tokio::time::Instant;

/// What a rebuild is doing, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Phase {
    /// Looking at what there is. Counts nothing.
    #[default]
    Plan,
    /// Copying the log to another. Counts records.
    Copy,
    /// Reading and folding the log. Counts events.
    Load,
    /// Joining equal keys and making indexes. Counts tables and daily partitions.
    Index,
    /// Deriving links and devices. Counts provider devices.
    Derive,
    /// Folding what was appended meanwhile. Counts events.
    CatchUp,
    /// Comparing with the live generation. Counts tables.
    Prove,
    /// Letting readers see it. Counts nothing.
    Promote,
}

impl Phase {
    /// Its name, as people read it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How far a rebuild is. Copies are the same one; counting costs next to nothing.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    phase: Mutex<Current>,
    done: AtomicU64,
    total: AtomicU64,
    memory: AtomicU64,
}

#[derive(Debug)]
struct Current {
    phase: Phase,
    began: Instant,
    took: BTreeMap<Phase, Duration>,
}

/// How far it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is done, in what the phase counts.
    pub done: u64,
    /// How much there is; 0 where that is not known.
    pub total: u64,
    /// How long this phase has taken so far.
    pub elapsed: Duration,
    /// Bytes that folded rows take in memory, as estimated.
    pub memory: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Shared {
            phase: Mutex::new(Current {
                phase: Phase::default(),
                began: Instant::now(),
                took: BTreeMap::new(),
            }),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            memory: AtomicU64::new(0),
        }))
    }
}

impl Progress {
    /// Ends the phase before and begins one with this much to do.
    pub fn begin(&self, phase: Phase, total: u64) {
        let mut current = self.0.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let elapsed = now.duration_since(current.began);
        let ended = current.phase;
        *current.took.entry(ended).or_default() += elapsed;
        current.phase = phase;
        current.began = now;
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// That much more is done.
    pub fn add(&self, n: u64) {
        self.0.done.fetch_add(n, Ordering::Relaxed);
    }

    /// That much more turned out to have to be done.
    pub fn add_total(&self, n: u64) {
        self.0.total.fetch_add(n, Ordering::Relaxed);
    }

    /// Folded rows take this much more memory, or less.
    pub fn hold(&self, bytes: i64) {
        let magnitude = bytes.unsigned_abs();
        if bytes >= 0 {
            self.0.memory.fetch_add(magnitude, Ordering::Relaxed);
        } else {
            self.0.memory.fetch_sub(magnitude, Ordering::Relaxed);
        }
    }

    /// How far it is.
    pub fn snapshot(&self) -> Snapshot {
        let current = self.0.phase.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            phase: current.phase,
            done: self.0.done.load(Ordering::Relaxed),
            total: self.0.total.load(Ordering::Relaxed),
            elapsed: current.began.elapsed(),
            memory: self.0.memory.load(Ordering::Relaxed),
        }
    }

    /// How long each phase has taken, the current one so far.
    pub fn took(&self) -> BTreeMap<Phase, Duration> {
        let current = self.0.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = current.took.clone();
        *took.entry(current.phase).or_default() += current.began.elapsed();
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_counts_from_nothing_and_its_time_is_kept() {
        let progress = Progress::default();
        progress.begin(Phase::Load, 10);
        progress.add(7);
        progress.hold(100);
        progress.hold(-40);
        let now = progress.snapshot();
        assert_eq!(
            (now.phase, now.done, now.total, now.memory),
            (Phase::Load, 7, 10, 60)
        );
        progress.begin(Phase::Index, 3);
        assert_eq!(progress.snapshot().done, 0);
        assert!(progress.took().contains_key(&Phase::Load));
        assert_eq!(Phase::CatchUp.name(), "catch-up");
    }
}
