//! Whether waiting for the log is worth it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// While the log is away, this often one delivery tries it all the same.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// Opens when an append fails and closes when one succeeds, or when the log is known to be back.
///
/// While it is open, deliveries are refused at once instead of each waiting out the appender's limit.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<Option<Instant>>);

impl Breaker {
    fn next_probe(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a delivery should try the log.
    pub(crate) fn lets_pass(&self, now: Instant, is_back: impl FnOnce() -> bool) -> bool {
        let mut next_probe = self.next_probe();
        let Some(at) = *next_probe else {
            return true;
        };
        if is_back() {
            *next_probe = None;
            return true;
        }
        let probes = at <= now;
        if probes {
            *next_probe = Some(now + PROBE_INTERVAL);
        }
        probes
    }

    /// An append succeeded.
    pub(crate) fn close(&self) {
        *self.next_probe() = None;
    }

    /// An append failed, and not for its own fault. Says whether that is news.
    pub(crate) fn open(&self, now: Instant) -> bool {
        let mut next_probe = self.next_probe();
        let is_news = next_probe.is_none();
        next_probe.get_or_insert(now + PROBE_INTERVAL);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_lets_probes_pass_until_the_log_is_back() {
        let breaker = Breaker::default();
        let now = Instant::now();
        assert!(breaker.lets_pass(now, || false));
        assert!(breaker.open(now) && !breaker.open(now));
        assert!(!breaker.lets_pass(now, || false));
        let later = now + PROBE_INTERVAL;
        assert!(breaker.lets_pass(later, || false));
        assert!(!breaker.lets_pass(later, || false), "one probe at a time");
        assert!(breaker.lets_pass(later, || true));
        assert!(breaker.lets_pass(later, || false));
    }

    #[test]
    fn a_success_closes_it() {
        let breaker = Breaker::default();
        let now = Instant::now();
        assert!(breaker.open(now));
        breaker.close();
        assert!(breaker.lets_pass(now, || false));
    }
}
