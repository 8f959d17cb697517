//! Folds the log with as many writers as are wanted, until told to stop.

use std::panic::resume_unwind;

use service::{CancellationToken, Check, Health};
use sqlx::PgPool;
use stream::LogConfig;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    Config, ProjectorError, awaited, metrics, waiting,
    writer::{Found, Part, write},
};

/// What a writer says of its health.
const CHECKS: [&str; 3] = ["postgres", "kafka", "partitions"];

/// Projects the log into the active generation until `shutdown` is cancelled. When another is promoted, it goes on with
/// that one.
///
/// Several may run at once: they share the partitions. While Postgres or Kafka is away it waits, and says so in
/// `health`. Told to stop, it writes what is in flight and leaves the group.
pub async fn run(
    config: Config,
    log: LogConfig,
    pool: PgPool,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), ProjectorError> {
    metrics::describe();
    for check in CHECKS {
        health.set(check, Check::failing("starting"));
    }
    let stop = shutdown.clone();
    let stop_within = config.stop_within;
    let looking = pool.clone();
    let folding = work(config, log, pool, health, shutdown);
    let work = async {
        tokio::select! {
            ended = folding => ended,
            never = waiting::count(&looking) => match never {},
        }
    };
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => return ended,
        () = stop.cancelled() => {}
    }
    // What is not written within this time comes again: rows and positions commit together.
    timeout(stop_within, work).await.unwrap_or_else(|_| {
        tracing::warn!(
            ?stop_within,
            "the transaction in flight did not end within {stop_within:?} and is given up"
        );
        Ok(())
    })
}

async fn work(
    config: Config,
    log: LogConfig,
    pool: PgPool,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), ProjectorError> {
    // Both at once: whoever waits for two servers is told of both.
    let (Some(identity), Some(generation)) = tokio::try_join!(
        awaited::log(&config, &log, &health, &shutdown),
        awaited::active_generation(&config, &pool, &health, &shutdown),
    )?
    else {
        return Ok(());
    };
    tracing::info!(
        generation, log.id = %identity.log_id, partitions = identity.partitions, group = config.group,
        "projecting log {} into {generation}", identity.log_id
    );
    let found = Found { identity, generation };
    let n = config.writers.get();
    if n == 1 {
        let part = Part { number: 1, health };
        return write(config, log, pool, part, found, shutdown).await;
    }
    let mut writers = JoinSet::new();
    for (number, health) in (1..).zip(health.of_parts(n, &CHECKS)) {
        let part = Part { number, health };
        let mut config = config.clone();
        config.owner = format!("{}#{number}", config.owner);
        let writer = write(
            config,
            log.clone(),
            pool.clone(),
            part,
            found.clone(),
            shutdown.clone(),
        );
        writers.spawn(writer);
    }
    // When one has to give up, so do all: the process ends, and says why.
    while let Some(ended) = writers.join_next().await {
        match ended {
            Ok(ended) => ended?,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
    Ok(())
}
