//! How much may be in flight: bytes of bodies over the whole process, and deliveries per second where an integration
//! has a ceiling.
//!
//! Bytes count as they arrive. Nobody waits for room: what has none is refused, so that whoever sends slowly holds
//! nobody up, and nothing is ever locked out.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ::metrics::Gauge;
use schema::IntegrationId;

use crate::{error::Rejection, metrics::BYTES_IN_FLIGHT};

/// The bytes in flight, and the limits they have.
pub(crate) struct Admission {
    all: Counted,
    unverified: Counted,
    most_per_integration: usize,
    lanes: RwLock<HashMap<IntegrationId, Arc<Lane>>>,
}

/// Bytes against a limit.
struct Counted {
    bytes: AtomicUsize,
    most: usize,
    shown: Gauge,
}

/// What is kept of an integration while it sends.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    unverified: AtomicUsize,
    ceiling: Ceiling,
}

impl Counted {
    fn new(most: usize, state: &'static str) -> Self {
        let shown = ::metrics::gauge!(BYTES_IN_FLIGHT, "state" => state);
        Self {
            bytes: AtomicUsize::new(0),
            most,
            shown,
        }
    }

    fn take(&self, n: usize) -> bool {
        let taken = take(&self.bytes, n, self.most);
        if taken {
            self.shown.increment(as_f64(n));
        }
        taken
    }

    fn give_back(&self, n: usize) {
        self.bytes.fetch_sub(n, Ordering::Relaxed);
        self.shown.decrement(as_f64(n));
    }
}

impl Admission {
    /// Admits up to `most` bytes.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Counted::new(most, "all"),
            unverified: Counted::new(most / 2, "unverified"),
            most_per_integration: most / 8,
            lanes: RwLock::default(),
        })
    }

    /// What is kept of an integration. Only ids that the registry knows come here, so there is an end to them.
    pub(crate) fn lane(&self, integration: IntegrationId) -> Arc<Lane> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&integration) {
            return Arc::clone(lane);
        }
        drop(lanes);
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(integration).or_default())
    }

    /// Lets a delivery in, with nothing of its body so far.
    pub(crate) fn enter(self: &Arc<Self>, lane: &Arc<Lane>, is_verified: bool) -> Admitted {
        Admitted {
            admission: Arc::clone(self),
            lane: Arc::clone(lane),
            bytes: 0,
            is_verified,
        }
    }
}

impl Lane {
    /// Counts a delivery against a ceiling, if there is one.
    pub(crate) fn pass(&self, ceiling: Option<NonZeroU32>, now: Instant) -> Result<(), Rejection> {
        let Some(ceiling) = ceiling else {
            return Ok(());
        };
        self.ceiling
            .pass(ceiling, now)
            .map_err(|retry_after| Rejection::CeilingReached { retry_after })
    }
}

/// Bytes of one delivery that are in flight until this is dropped.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    lane: Arc<Lane>,
    bytes: usize,
    is_verified: bool,
}

impl Admitted {
    /// Makes room for more bytes, or refuses them.
    pub(crate) fn grow(&mut self, n: usize) -> Result<(), Rejection> {
        if !self.admission.all.take(n) {
            return Err(Rejection::Busy);
        }
        if !self.is_verified && !self.take_unverified(n) {
            self.admission.all.give_back(n);
            return Err(Rejection::Busy);
        }
        self.bytes += n;
        Ok(())
    }

    /// The sender is proven: what is here no longer counts as unverified.
    pub(crate) fn verified(&mut self) {
        if !self.is_verified {
            self.give_back_unverified();
            self.is_verified = true;
        }
    }

    fn take_unverified(&self, n: usize) -> bool {
        if !take(&self.lane.unverified, n, self.admission.most_per_integration) {
            return false;
        }
        let taken = self.admission.unverified.take(n);
        if !taken {
            self.lane.unverified.fetch_sub(n, Ordering::Relaxed);
        }
        taken
    }

    fn give_back_unverified(&self) {
        self.lane.unverified.fetch_sub(self.bytes, Ordering::Relaxed);
        self.admission.unverified.give_back(self.bytes);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.all.give_back(self.bytes);
        if !self.is_verified {
            self.give_back_unverified();
        }
    }
}

fn take(counter: &AtomicUsize, n: usize, most: usize) -> bool {
    let add = |held: usize| held.checked_add(n).filter(|sum| *sum <= most);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        .is_ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of bytes may be off by one beyond 2^53"
)]
fn as_f64(n: usize) -> f64 {
    n as f64
}

/// Lets a number of deliveries a second pass, and as many at once after a rest.
#[derive(Debug, Default)]
struct Ceiling(Mutex<Option<Instant>>);

impl Ceiling {
    /// Lets one pass, or says when the next may.
    fn pass(&self, per_second: NonZeroU32, now: Instant) -> Result<(), Duration> {
        let interval = Duration::from_secs(1) / per_second.get();
        // When the last would have passed, had they come evenly spaced.
        let mut booked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = booked.map_or(now, |until| until.max(now));
        let ahead = from.saturating_duration_since(now) + interval;
        let burst = Duration::from_secs(1).max(interval);
        if ahead > burst {
            return Err(ahead.saturating_sub(burst));
        }
        *booked = Some(from + interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> IntegrationId {
        IntegrationId(Uuid::from_u128(n))
    }

    fn held(admission: &Admission) -> (usize, usize) {
        let load = |counted: &Counted| counted.bytes.load(Ordering::Relaxed);
        (load(&admission.all), load(&admission.unverified))
    }

    #[test]
    fn unverified_bodies_have_half_of_it_and_an_integration_an_eighth() {
        let admission = Admission::new(800);
        let enter = |n| admission.enter(&admission.lane(id(n)), false);
        let mut one = enter(1);
        assert_eq!(one.grow(100), Ok(()));
        assert_eq!(one.grow(1), Err(Rejection::Busy));
        assert_eq!(enter(1).grow(1), Err(Rejection::Busy));

        let mut others: Vec<Admitted> = (2..5).map(enter).collect();
        assert!(others.iter_mut().all(|other| other.grow(100).is_ok()));
        assert_eq!(enter(9).grow(1), Err(Rejection::Busy), "half is taken");
        one.verified();
        assert_eq!(enter(9).grow(1), Ok(()));
        assert_eq!(held(&admission), (400, 300));
        drop((one, others));
        assert_eq!(held(&admission), (0, 0));
    }

    #[test]
    fn verified_bodies_have_all_of_it_together() {
        let admission = Admission::new(800);
        let mut one = admission.enter(&admission.lane(id(1)), true);
        assert_eq!(one.grow(800), Ok(()));
        let mut other = admission.enter(&admission.lane(id(2)), true);
        assert_eq!(other.grow(1), Err(Rejection::Busy));
        drop(one);
        assert_eq!(other.grow(1), Ok(()));
    }

    #[test]
    fn a_ceiling_lets_a_seconds_worth_pass_and_says_when_to_come_again() {
        let ceiling = Ceiling::default();
        let now = Instant::now();
        let four = NonZeroU32::new(4).unwrap();
        for _ in 0..4 {
            assert_eq!(ceiling.pass(four, now), Ok(()));
        }
        assert_eq!(ceiling.pass(four, now), Err(Duration::from_millis(250)));
        let later = now + Duration::from_millis(250);
        assert_eq!(ceiling.pass(four, later), Ok(()));
        assert!(ceiling.pass(four, later).is_err());
        assert_eq!(ceiling.pass(four, later + Duration::from_mins(1)), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_given_back(steps in prop::collection::vec((0..3_u128, 0..300_usize, any::<bool>()), 0..40)) {
            let admission = Admission::new(1000);
            let mut inside = Vec::new();
            for (n, bytes, verify) in steps {
                let mut admitted = admission.enter(&admission.lane(id(n)), false);
                let grown = admitted.grow(bytes).is_ok();
                if verify {
                    admitted.verified();
                }
                if grown {
                    inside.push(admitted);
                }
                let (all, unverified) = held(&admission);
                prop_assert!(all <= 1000 && unverified <= 500 && unverified <= all);
                if inside.len() > 5 {
                    inside.remove(0);
                }
            }
            inside.clear();
            prop_assert_eq!(held(&admission), (0, 0));
        }
    }
}
