//! Whether the log can be reached, known without asking it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Statistics come every second; older ones say nothing any more.
const STALE: Duration = Duration::from_secs(4);

/// How long a failed or successful request counts. Afterwards the connections alone do.
const FRESH: Duration = Duration::from_secs(2);

/// What is known of a client's connections to Kafka.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Mutex<State>,
    fatal: AtomicBool,
    cut_off: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    connections: Option<Connections>,
    success: Option<Instant>,
    failure: Option<(Instant, String)>,
}

/// What the statistics said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    pub(crate) seen: Instant,
    pub(crate) n_up: usize,
    pub(crate) n_known: usize,
    /// Addresses that it connects to: those of brokers, and those that it began with.
    pub(crate) n_addresses: usize,
    pub(crate) n_partitions: usize,
    /// Partitions without a leader, where nothing can be appended or read.
    pub(crate) n_leaderless: usize,
}

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connections(&self, connections: Connections) {
        let before = self.state().connections.replace(connections);
        // Once may be between what was forgotten and what is learnt.
        if connections.n_addresses == 0 && before.is_some_and(|before| before.n_addresses == 0) {
            self.cut_off.store(true, Ordering::Release);
        }
    }

    pub(crate) fn success(&self) {
        self.state().success = Some(Instant::now());
    }

    pub(crate) fn failure(&self, reason: String) {
        self.state().failure = Some((Instant::now(), reason));
    }

    /// The client can never work again.
    pub(crate) fn fatal(&self) {
        self.fatal.store(true, Ordering::Release);
    }

    /// Whether the client can never work again: it has failed for good, or is [cut off](Self::is_cut_off).
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire) || self.is_cut_off()
    }

    /// Whether the client has no address left that it could connect to.
    ///
    /// A broker that was frozen and is back may say for a moment that there are no brokers. librdkafka believes that
    /// and forgets all it has, the addresses that it was given included, and never asks anybody again (librdkafka issue
    /// 5301).
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    pub(crate) fn health(&self) -> Result<String, String> {
        self.state().health(Instant::now())
    }
}

impl State {
    /// While requests are fresh they decide, and one that succeeds is enough: where only a part fails, what hits it
    /// fails by itself. Otherwise the connections decide, so that recovery is seen without traffic.
    fn health(&self, now: Instant) -> Result<String, String> {
        let fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        let succeeded = self.success.is_some_and(fresh);
        if let Some((at, reason)) = &self.failure
            && fresh(*at)
        {
            return if succeeded {
                Ok(format!("some requests fail: {reason}"))
            } else {
                Err(reason.clone())
            };
        }
        let connections = self
            .connections
            .filter(|seen| now.saturating_duration_since(seen.seen) < STALE);
        match connections {
            Some(connections) => connections.health(),
            None if succeeded => Ok("requests succeed".to_owned()),
            None => Err("nothing is known of the brokers".to_owned()),
        }
    }
}

impl Connections {
    fn health(self) -> Result<String, String> {
        let Self {
            n_up,
            n_known,
            n_partitions,
            n_leaderless,
            ..
        } = self;
        if n_up == 0 {
            Err(format!("none of {n_known} brokers can be reached"))
        } else if n_leaderless > 0 && n_leaderless >= n_partitions {
            Err("no partition has a leader".to_owned())
        } else if n_leaderless > 0 {
            Ok(format!(
                "{n_up} of {n_known} brokers connected, but {n_leaderless} of {n_partitions} partitions have no leader"
            ))
        } else {
            Ok(format!("{n_up} of {n_known} brokers connected"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(n_up: usize, n_leaderless: usize) -> (State, Instant) {
        let seen = Instant::now();
        let connections = Connections {
            seen,
            n_up,
            n_known: 3,
            n_addresses: 3,
            n_partitions: 12,
            n_leaderless,
        };
        let state = State {
            connections: Some(connections),
            ..State::default()
        };
        (state, seen)
    }

    #[test]
    fn without_traffic_the_connections_decide() {
        let (up, now) = state(1, 0);
        assert!(up.health(now).is_ok());
        assert!(up.health(now + STALE).is_err());
        let (down, now) = state(0, 0);
        assert!(down.health(now).is_err());
        let (partly, now) = state(3, 11);
        assert!(partly.health(now).is_ok());
        let (leaderless, now) = state(3, 12);
        assert!(leaderless.health(now).is_err());
        assert!(State::default().health(now).is_err());
    }

    #[test]
    fn a_failure_counts_for_two_seconds_unless_others_succeed() {
        let (mut state, now) = state(1, 0);
        state.failure = Some((now, "late".to_owned()));
        assert_eq!(state.health(now), Err("late".to_owned()));
        assert!(state.health(now + FRESH).is_ok());
        state.success = Some(now);
        assert_eq!(state.health(now), Ok("some requests fail: late".to_owned()));
    }

    #[test]
    fn who_has_no_address_left_twice_is_cut_off() {
        let pulse = Pulse::default();
        let (state, _) = state(0, 0);
        let some = state.connections.unwrap();
        let none = Connections {
            n_addresses: 0,
            ..some
        };
        for (seen, cut_off) in [
            (none, false),
            (some, false),
            (none, false),
            (none, true),
            (some, true),
        ] {
            pulse.connections(seen);
            assert_eq!((pulse.is_cut_off(), pulse.is_fatal()), (cut_off, cut_off));
        }
    }
}
