//! What is done now and then beside the fold: checkpoints are taken, and days behind a horizon dropped.
//!
//! Any number of projectors may do so: a lock in Postgres lets one at a time take a checkpoint, and a note there says
//! when the next is due. Nothing here is needed for projecting, so whatever fails is logged and tried again.

use std::time::Duration;

use metrics::{counter, gauge};
use service::CancellationToken;
use sqlx::{Connection as _, PgPool};
use stream::{LogConfig, LogIdentity};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    FOLD_VERSION,
    checkpoint::{self, CheckpointError, Counts, Taken},
    generations, horizon,
    metrics::Metric,
    sql::{checkpoint as sql, session},
};

/// How often it is looked whether anything is to be done, at most.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// Does what is due until `stop` is cancelled. A checkpoint is due `every` so often; never, if that is zero.
pub async fn upkeep(log: LogConfig, pool: PgPool, every: Duration, stop: CancellationToken) {
    let look_interval = if every.is_zero() {
        LOOK_INTERVAL
    } else {
        (every / 4).clamp(Duration::from_millis(250), LOOK_INTERVAL)
    };
    let mut turn = interval(look_interval);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut identity = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turn.tick() => {}
        }
        // The tables of another version may be other tables; that a rebuild is due is said by whoever projects.
        if matches!(generations::active(&pool).await, Ok(live) if live.fold_version != FOLD_VERSION) {
            continue;
        }
        if let Err(error) = drop_days(&pool).await {
            tracing::warn!(%error, "days behind a horizon cannot be dropped at the moment: {error}");
        }
        if every.is_zero() {
            continue;
        }
        match take_if_due(&log, &mut identity, &pool, every, &stop).await {
            // Another projector does it, or we are told to stop.
            Ok(()) | Err(CheckpointError::Busy | CheckpointError::Stopped) => {}
            Err(error) => {
                tracing::warn!(%error, "no checkpoint can be taken at the moment: {error}");
            }
        }
    }
}

async fn drop_days(pool: &PgPool) -> Result<(), horizon::HorizonError> {
    let dropped = horizon::drop_behind(pool).await?;
    for (history, days) in dropped.days {
        tracing::info!(
            history,
            days,
            "dropped {days} days of {history} behind the horizon"
        );
        counter!(Metric::FleetlogProjectorDaysDroppedTotal.name(), "history" => history).increment(days);
    }
    Ok(())
}

async fn take_if_due(
    config: &LogConfig,
    identity: &mut Option<LogIdentity>,
    pool: &PgPool,
    every: Duration,
    stop: &CancellationToken,
) -> Result<(), CheckpointError> {
    let live = generations::active(pool).await?;
    let (Some(log_id), Some(partitions)) = (live.log_id, live.partitions) else {
        // No projector has written it yet.
        return Ok(());
    };
    let mut connection = session::open(pool, &live.generation).await?;
    sql::note_first(&mut connection, &log_id, partitions).await?;
    let ages = sql::ages(&mut connection, &log_id).await?;
    connection.close().await?;
    for (partition, age) in &ages {
        let partition = partition.to_string();
        gauge!(Metric::FleetlogProjectorCheckpointAgeSeconds.name(), "partition" => partition).set(*age);
    }
    if ages.values().all(|age| *age < every.as_secs_f64()) {
        return Ok(());
    }
    let identity = match identity {
        Some(identity) if identity.log_id.as_str() == log_id => identity,
        _ => match stream::topics::identify(config).await {
            Ok(found) => identity.insert(found),
            Err(error) => {
                tracing::warn!(%error, "no checkpoint can be taken at the moment: {error}");
                return Ok(());
            }
        },
    };
    let taken = checkpoint::take(config, identity, pool, &Counts::default(), stop).await?;
    tell(&taken);
    Ok(())
}

fn tell(taken: &Taken) {
    let Taken {
        devices,
        written,
        unchanged,
        took,
        ..
    } = taken;
    tracing::info!(
        devices,
        written,
        unchanged,
        ?took,
        "took a checkpoint of {devices} provider devices: {written} records written, {unchanged} unchanged"
    );
    for (outcome, records) in [("written", *written), ("unchanged", *unchanged)] {
        counter!(Metric::FleetlogProjectorCheckpointRecordsTotal.name(), "outcome" => outcome)
            .increment(records);
    }
    for partition in taken.covered.keys() {
        let partition = partition.to_string();
        gauge!(Metric::FleetlogProjectorCheckpointAgeSeconds.name(), "partition" => partition).set(0.0);
    }
}
