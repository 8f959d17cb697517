//! Whether waiting for the log is worth it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, futures::Notified};

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
        let before = std::mem::replace(&mut *self.state(), State::Open);
        before == State::Closed
    }

    /// Resolves when an append that fails opens it after this was called: then it is of no use to wait for others.
    pub(crate) fn found_out(&self) -> Notified<'_> {
        self.found_out.notified()
    }

    /// The log took something. Whoever moves what is spooled knows first.
    pub(crate) fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Whether deliveries are kept from the log.
    pub(crate) fn is_open(&self) -> bool {
        *self.state() != State::Closed
    }
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
    use super::*;

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
