//! Whether waiting for the log is worth it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ::metrics::gauge;
use tokio::sync::{Notify, futures::Notified};

use crate::metrics;

/// Opens when an append fails and closes when one succeeds.
///
/// While it is open, deliveries are not kept waiting for a log that is away. Once the log seems to be back, one
/// delivery at a time tries it; the others are not kept waiting until one has succeeded.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    found_out: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The log takes what it is given.
    #[default]
    Closed,
    /// It does not.
    Open,
    /// A delivery is trying it.
    Trying,
}

/// The right to try the log. If it is dropped without a word, the next delivery may try.
#[derive(Debug)]
#[must_use = "whether the log took it decides on those that follow"]
pub(crate) struct Attempt<'b> {
    breaker: &'b Breaker,
    is_trial: bool,
}

impl Breaker {
    /// A closed one, which the metric shows from now on.
    pub(crate) fn closed() -> Self {
        measure(State::Closed);
        Self::default()
    }

    /// Returns what it was before.
    fn change(&self, to: State) -> State {
        let mut state = self.state();
        // Under the lock: what the metric was told last is what it is.
        if (*state == State::Closed) != (to == State::Closed) {
            measure(to);
        }
        std::mem::replace(&mut *state, to)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a delivery should try the log.
    pub(crate) fn attempt(&self, seems_back: impl FnOnce() -> bool) -> Option<Attempt<'_>> {
        let mut state = self.state();
        let is_trial = match *state {
            State::Closed => false,
            State::Open if seems_back() => {
                *state = State::Trying;
                true
            }
            State::Open | State::Trying => return None,
        };
        Some(Attempt {
            breaker: self,
            is_trial,
        })
    }

    /// Keeps deliveries from the log until it is [closed](Self::close). Says whether that is news.
    pub(crate) fn trip(&self) -> bool {
        self.change(State::Open) == State::Closed
    }

    /// Resolves when an append that fails opens it after this was called: then it is of no use to wait for others.
    pub(crate) fn found_out(&self) -> Notified<'_> {
        self.found_out.notified()
    }

    /// The log took something. Whoever moves what is spooled knows first.
    pub(crate) fn close(&self) {
        self.change(State::Closed);
    }

    /// Whether deliveries are kept from the log.
    pub(crate) fn is_open(&self) -> bool {
        *self.state() != State::Closed
    }
}

fn measure(state: State) {
    gauge!(metrics::BREAKER_OPEN).set(f64::from(u8::from(state != State::Closed)));
}

impl Attempt<'_> {
    /// The log took it.
    pub(crate) fn succeeded(self) {
        // What was sent before the outage may be acknowledged during it, which tells nothing new.
        if self.is_trial {
            self.breaker.close();
        }
    }

    /// It failed, and not for its own fault. Says whether that is news.
    pub(crate) fn failed(self) -> bool {
        let is_news = self.breaker.trip();
        if is_news {
            self.breaker.found_out.notify_waiters();
        }
        is_news
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        if self.is_trial && *state == State::Trying {
            *state = State::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};

    use ::metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
    };

    use super::*;

    /// What the metric shows.
    #[derive(Default)]
    struct Shown(Arc<AtomicU64>);

    impl Recorder for Shown {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            assert_eq!(key.name(), metrics::BREAKER_OPEN);
            Gauge::from_arc(Arc::clone(&self.0))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn the_metric_shows_it_whoever_opens_or_closes_it() {
        let shown = Shown::default();
        with_local_recorder(&shown, || {
            let is_open = || f64::from_bits(shown.0.load(Ordering::Relaxed)).to_string();
            let breaker = Breaker::closed();
            assert_eq!(is_open(), "0");
            breaker.attempt(|| false).expect("it is closed").failed();
            assert_eq!(is_open(), "1", "without a spool nobody else looks");
            let trial = breaker.attempt(|| true).expect("it seems to be back");
            assert_eq!(is_open(), "1");
            trial.succeeded();
            assert_eq!(is_open(), "0");
            breaker.trip();
            assert_eq!(is_open(), "1");
            breaker.close();
            assert_eq!(is_open(), "0");
        });
    }

    fn open() -> Breaker {
        let breaker = Breaker::default();
        let attempts = [(); 2].map(|()| breaker.attempt(|| false).expect("it is closed"));
        assert_eq!(
            attempts.map(Attempt::failed),
            [true, false],
            "the first failure is news"
        );
        breaker
    }

    #[test]
    fn an_open_breaker_lets_nobody_wait_until_the_log_seems_to_be_back() {
        let breaker = open();
        assert!(breaker.attempt(|| false).is_none());
        let trial = breaker.attempt(|| true).expect("it seems to be back");
        assert!(breaker.attempt(|| true).is_none(), "one at a time");
        assert!(!trial.failed(), "that it is away is known");
        assert!(breaker.attempt(|| false).is_none());
    }

    #[test]
    fn a_trial_that_succeeds_closes_it() {
        let breaker = open();
        breaker.attempt(|| true).expect("a trial").succeeded();
        assert!(!breaker.is_open());
        assert!(breaker.attempt(|| false).is_some());
    }

    #[test]
    fn a_trial_that_is_given_up_leaves_the_next_one_to_others() {
        let breaker = open();
        drop(breaker.attempt(|| true));
        assert!(breaker.attempt(|| true).is_some());
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_an_append_fails() {
        let breaker = Breaker::default();
        for _ in 0..2 {
            let waits = breaker.found_out();
            assert!(breaker.attempt(|| false).expect("it is closed").failed());
            waits.await;
            breaker.close();
        }
    }

    #[test]
    fn what_was_sent_before_the_outage_does_not_end_it() {
        let breaker = Breaker::default();
        let earlier = breaker.attempt(|| false).expect("it is closed");
        breaker.attempt(|| false).expect("it is closed").failed();
        earlier.succeeded();
        assert!(breaker.is_open());
    }
}
