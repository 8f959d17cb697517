//! What all deliveries share.

use std::sync::Arc;

use control::Registry;

use crate::{
    Behind, Config, admission::Admission, breaker::Breaker, log::Log, refusals::Refusals, spool::Spool,
};

/// What all deliveries share.
pub(crate) struct Door {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) log: Log,
    pub(crate) spool: Option<Spool>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) breaker: Breaker,
    pub(crate) refusals: Refusals,
}

impl Door {
    pub(crate) fn new(config: Config, behind: Behind) -> Self {
        let Behind { registry, log, spool } = behind;
        let breaker = Breaker::closed();
        if spool.as_ref().is_some_and(|spool| spool.level().n_records > 0) {
            // What an earlier run left comes first.
            breaker.trip();
        }
        Self {
            admission: Admission::new(config.max_bytes_in_flight),
            config,
            registry,
            log,
            spool,
            breaker,
            refusals: Refusals::default(),
        }
    }
}
