//! Filling a generation from the log: its rows first, then their keys, then what is derived from them.
//!
//! Every step is done whole or not at all, and leaves in the database what the next one has to know. So whoever was
//! killed at any point goes on by calling [`load`] again with the same plan.
//!
//! - `partition`: all of one Kafka partition in one transaction, several partitions at a time
//! - `folding`: its events folded within a bound of memory, whose measure is `weight`
//! - `poison`: what of a partition is set aside
//! - [`index`]: keys and indexes, equal keys joined; `again` folds whole devices anew where copies of one
//!   event disagree about its time
//! - [`derive`](mod@derive): links and devices

mod folding;
mod partition;
mod poison;
mod source;
mod weight;

use std::{collections::BTreeMap, sync::Arc};

use sqlx::PgConnection;
use stream::Position;
use tokio::task::JoinSet;

pub(super) use source::{Source, Take};

use super::{Phase, Plan, Progress, RebuildError, derive, index, together};
use crate::sql::{dead_letters, loading, offsets, session};

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Events that were folded.
    pub events: u64,
    /// Rows that were written, by table; rows of equal keys, which are one in the end, count as often as they were
    /// written.
    pub rows: BTreeMap<String, u64>,
}

/// Fills a generation that [`begin_building`](crate::generations::begin_building) made with all events between two
/// vectors of positions, and writes the positions after them.
///
/// The rows are those that a projector makes of the same events. Called again after it ended early, it goes on; after
/// it succeeded, it does nothing.
pub async fn load(plan: &Plan, progress: &Progress) -> Result<Loaded, RebuildError> {
    tokio::select! {
        loaded = load_all(plan, progress) => loaded,
        () = plan.stop.cancelled() => Err(RebuildError::Stopped),
    }
}

async fn load_all(plan: &Plan, progress: &Progress) -> Result<Loaded, RebuildError> {
    let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
    bind_log(&mut connection, plan).await?;
    let is_done = loading::n_positions(&mut connection, &plan.generation).await? > 0;
    if !is_done {
        load_partitions(plan, progress, &mut connection).await?;
        index::index(plan, progress).await?;
        if !index::is_guarded(&mut connection).await? {
            derive::derive(plan, progress).await?;
            index::guard(&mut connection).await?;
        }
        dead_letters::take_over(&mut connection, &plan.generation, &plan.identity, &plan.from).await?;
        let folded: Vec<Position> = plan.to.iter().copied().filter(source::is_folded).collect();
        loading::write_positions(&mut connection, &plan.generation, &plan.identity, &folded).await?;
    }
    let mut sum = Loaded::default();
    for partition in loading::loaded(&mut connection, &plan.generation).await? {
        sum.events += partition.n_events.unsigned_abs();
        for (table, n_rows) in partition.n_rows {
            *sum.rows.entry(table).or_default() += n_rows.unsigned_abs();
        }
    }
    Ok(sum)
}

async fn bind_log(connection: &mut PgConnection, plan: &Plan) -> Result<(), RebuildError> {
    if offsets::bind_log(connection, &plan.generation, &plan.identity).await? {
        return Ok(());
    }
    let held = loading::log_of(connection, &plan.generation).await?;
    match held {
        Some(held) => Err(RebuildError::OtherLog {
            generation: plan.generation.clone(),
            held,
            found: plan.identity.log_id.to_string(),
        }),
        None => Err(crate::generations::GenerationError::NoSuchGeneration(plan.generation.clone()).into()),
    }
}

/// Loads what is not loaded yet, so many partitions at a time.
async fn load_partitions(
    plan: &Plan,
    progress: &Progress,
    connection: &mut PgConnection,
) -> Result<(), RebuildError> {
    let sources = Source::of(plan);
    progress.begin(Phase::Load, sources.iter().map(Source::n_offsets).sum());
    let mut waiting = Vec::new();
    let loaded = loading::loaded(connection, &plan.generation).await?;
    for source in sources {
        if loaded.iter().any(|loaded| loaded.partition == source.partition) {
            progress.add(source.n_offsets());
        } else {
            waiting.push(source);
        }
    }
    // The largest first, so that none is left over for the end.
    waiting.sort_by_key(Source::n_offsets);
    let plan = Arc::new(plan.clone());
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < plan.workers.max(1)
            && let Some(source) = waiting.pop()
        {
            tasks.spawn(partition::load(plan.clone(), progress.clone(), source));
        }
        if together::next_of(&mut tasks).await?.is_none() {
            return Ok(());
        }
    }
}
