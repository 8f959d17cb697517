//! What all deliveries share.

use std::sync::Arc;

use control::Registry;
use stream::Appender;

use crate::{Config, admission::Admission, breaker::Breaker, refusals::Refusals};

/// What all deliveries share.
pub(crate) struct Door {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) appender: Appender,
    pub(crate) admission: Arc<Admission>,
    pub(crate) breaker: Breaker,
    pub(crate) refusals: Refusals,
}

impl Door {
    pub(crate) fn new(config: Config, registry: Registry, appender: Appender) -> Self {
        Self {
            admission: Admission::new(config.max_bytes_in_flight),
            config,
            registry,
            appender,
            breaker: Breaker::default(),
            refusals: Refusals::default(),
        }
    }
}
