//! Pauses between tries.

use std::time::Duration;

use crate::Config;

/// The first pause; each following one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Pauses between tries: each twice as long as the one before, up to a limit.
pub(crate) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            next: FIRST_PAUSE.min(config.max_pause),
            max: config.max_pause,
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }
}
