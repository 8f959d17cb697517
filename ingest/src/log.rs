//! The log behind the door, which may not be there yet when the door opens.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use stream::Appender;

/// The log, once Kafka has been found and its topics are in order. Copies share it.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    appender: OnceLock<Appender>,
    waiting: Mutex<String>,
}

impl Log {
    /// A log that is not there yet.
    pub fn awaited() -> Self {
        Self::default()
    }

    /// It is there: deliveries are appended from now on. Only the first one counts.
    pub fn found(&self, appender: Appender) {
        drop(self.0.appender.set(appender));
    }

    /// Says what keeps it from being there, for people.
    pub fn waits(&self, why: impl Into<String>) {
        *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
    }

    /// What appends to it, once it is there.
    pub(crate) fn appender(&self) -> Option<&Appender> {
        self.0.appender.get()
    }

    /// Whether it can be reached, with a detail for people.
    pub(crate) fn health(&self) -> Result<String, String> {
        let Some(appender) = self.appender() else {
            let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(if waiting.is_empty() {
                "starting".to_owned()
            } else {
                format!("waiting for Kafka: {waiting}")
            });
        };
        appender.health()
    }
}

impl From<Appender> for Log {
    fn from(appender: Appender) -> Self {
        let log = Self::awaited();
        log.found(appender);
        log
    }
}
