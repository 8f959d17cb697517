//! What is counted and logged of refusals: each is counted, and of each reason one a second is logged.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::ResponseError;
use schema::IntegrationId;

use crate::{error::Rejection, metrics};

/// Whoever is refused decides how often; the log is ours.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// When each reason was last logged, and how often it was not since. Reasons are few.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<&'static str, (Instant, u64)>>);

impl Refusals {
    /// Notes a refusal.
    pub(crate) fn note(&self, rejection: &Rejection, integration: Option<IntegrationId>) {
        let reason = rejection.reason();
        ::metrics::counter!(metrics::REJECTED, "reason" => reason).increment(1);
        let Some(n_unlogged) = self.take_turn(reason, Instant::now()) else {
            return;
        };
        let of = integration.map(|id| format!(" of {id}")).unwrap_or_default();
        let integration = integration.map(|id| id.to_string()).unwrap_or_default();
        if rejection.status_code().is_server_error() {
            tracing::warn!(
                reason,
                integration.id = integration,
                n_unlogged,
                "refused a delivery{of}: {rejection}"
            );
        } else {
            tracing::info!(
                reason,
                integration.id = integration,
                n_unlogged,
                "refused a delivery{of}: {rejection}"
            );
        }
    }

    /// How many of this reason were not logged before this one, which is to be.
    fn take_turn(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match logged.get_mut(reason) {
            Some((at, n_unlogged)) if now.saturating_duration_since(*at) < LOG_INTERVAL => {
                *n_unlogged += 1;
                None
            }
            Some((at, n_unlogged)) => {
                *at = now;
                Some(std::mem::take(n_unlogged))
            }
            None => {
                logged.insert(reason, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_no_flood_of_lines() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.take_turn("stale", now), Some(0));
        assert_eq!(refusals.take_turn("stale", now), None);
        assert_eq!(refusals.take_turn("future", now), Some(0));
        assert_eq!(refusals.take_turn("stale", now + LOG_INTERVAL), Some(1));
    }
}
