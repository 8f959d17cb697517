//! Surveys: how every device stands, looked up now and then.
//!
//! Connectivity depends on the moment at which it is read, so no index tells which devices are offline, and to derive
//! it of a million devices takes seconds. A survey does that once for everybody who may be answered as of a moment ago:
//! pages of devices by connectivity (`fleet.standing`) and the summary of a large fleet (`fleet.summary`). It writes
//! only what has changed, is no part of the truth, and is nothing that projecting needs.
//!
//! Any number of projectors may run: one at a time does it.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use service::CancellationToken;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    FOLD_VERSION,
    generations::{self, GenerationError},
    metrics::Metric,
    sql::survey as sql,
};

/// How often, at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// A survey takes a processor of Postgres; the pause after it is this many times as long.
const SHARE: u32 = 10;

/// Devices of several provider devices at a time.
const CHUNK: i64 = 2_000;

/// Why there is no survey. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// Generations cannot be read.
    #[error("{0}")]
    Generation(#[from] GenerationError),
    /// Postgres cannot be reached, or refuses.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

/// Surveys the fleet until `stop` is cancelled. From `large` devices on, what was found is what `fleet.summary` shows.
///
/// The first one waits as well: who has just started has a log to catch up with.
pub async fn keep(pool: PgPool, large: u64, stop: CancellationToken) {
    let mut wait = INTERVAL;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let begun = Instant::now();
        let surveying = tokio::select! {
            () = stop.cancelled() => return,
            ended = once(&pool, large) => ended,
        };
        let took = begun.elapsed();
        wait = pause(took);
        match surveying {
            Ok(Some(changed)) => {
                counter!(Metric::FleetlogProjectorSurveyedChangesTotal.name()).increment(changed);
                histogram!(Metric::FleetlogProjectorSurveySeconds.name()).record(took.as_secs_f64());
                gauge!(Metric::FleetlogProjectorSurveyPauseSeconds.name()).set(wait.as_secs_f64());
            }
            // Another projector did it lately.
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the fleet cannot be surveyed at the moment: {error}"),
        }
    }
}

fn pause(took: Duration) -> Duration {
    (took * SHARE).max(INTERVAL)
}

/// Surveys the fleet. Returns how many devices stand otherwise than before; nothing if that has just been done.
pub async fn once(pool: &PgPool, large: u64) -> Result<Option<u64>, SurveyError> {
    let live = generations::active(pool).await?;
    // The tables of another version may be other tables.
    if live.fold_version != FOLD_VERSION {
        return Ok(None);
    }
    let mut connection = sql::open(pool, &live.generation).await?;
    let surveyed = with(&mut connection, large).await;
    // The lock goes with the connection.
    connection.close().await?;
    Ok(surveyed?)
}

async fn with(connection: &mut PgConnection, large: u64) -> sqlx::Result<Option<u64>> {
    if !sql::take_turn(connection).await? {
        return Ok(None);
    }
    let (newest, now) = sql::newest(connection).await?;
    if newest.is_some_and(|newest| now - newest < INTERVAL / 2) {
        return Ok(None);
    }
    let begun = Instant::now();
    let mut changed = sql::single(connection).await?;
    let mut last = Uuid::nil();
    loop {
        let several = sql::several_after(connection, last, CHUNK).await?;
        let Some(&device) = several.last() else { break };
        last = device;
        changed += sql::some(connection, &several).await?;
    }
    changed += sql::never_seen(connection).await?;
    changed += sql::forget_gone(connection).await?;
    let mut transaction = connection.begin().await?;
    let n_devices = sql::sum_up(&mut transaction).await?;
    // Until the one after the next, which may take twice as long.
    let good_for = (n_devices.unsigned_abs() >= large).then(|| pause(begun.elapsed()) * 3);
    sql::note(&mut transaction, now, n_devices, good_for).await?;
    transaction.commit().await?;
    Ok(Some(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surveys_take_a_tenth_of_a_processor_at_most() {
        assert_eq!(pause(Duration::from_millis(50)), INTERVAL);
        assert_eq!(pause(Duration::from_secs(4)), Duration::from_secs(40));
    }
}
