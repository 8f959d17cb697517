//! One Kafka partition, loaded in one transaction: killed, nothing of it is there.

use std::{collections::HashSet, sync::Arc};

use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;

use super::{
    folding::{Ended, Folded, Folding},
    poison::{Aside, Refused},
    source::Source,
};
use crate::{
    rebuild::{
        Plan, Progress, RebuildError,
        copy::{Into, Sheet, Sheets},
        memory::Share,
    },
    sql::{
        Verdict, dead_letters, history,
        loading::{self, LoadedPartition},
        session, verdict,
    },
};

/// Full sheets that wait while another is written.
const SHEETS_AHEAD: usize = 1;

/// Folds a partition on a thread of its own and writes its rows as they come.
///
/// Where Postgres refuses what an event says, that is set aside and the partition is begun anew.
pub(super) async fn load(plan: Arc<Plan>, progress: Progress, source: Source) -> Result<(), RebuildError> {
    let mut refused = Refused::of(&plan, &source).await?;
    loop {
        match load_once(&plan, &progress, &source, &refused).await {
            Err(RebuildError::Database(error)) if verdict(&error) == Verdict::Poison => {
                refused.find(&plan, &source, error).await?;
                progress.add_total(source.n_offsets());
            }
            ended => return ended,
        }
    }
}

async fn load_once(
    plan: &Arc<Plan>,
    progress: &Progress,
    source: &Source,
    refused: &Refused,
) -> Result<(), RebuildError> {
    let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
    let mut transaction = connection.begin().await?;
    let partition = source.partition;
    loading::lock_partition(&mut transaction, &plan.generation, partition).await?;
    let loaded = loading::loaded(&mut transaction, &plan.generation).await?;
    if loaded.iter().any(|loaded| loaded.partition == partition) {
        // Whoever was killed had come further than it knew.
        progress.add(source.n_offsets());
        return Ok(());
    }
    let folded = copy(&mut transaction, (plan, source), refused.aside(), progress).await?;
    tracing::debug!(
        partition,
        n_events = folded.events,
        n_spills = folded.spills,
        "partition {partition} is folded"
    );
    for letters in [&folded.undecodable, refused.letters()] {
        dead_letters::insert(&mut transaction, &plan.generation, &plan.identity, letters).await?;
    }
    loading::remember(
        &mut transaction,
        &plan.generation,
        &remembered(partition, &folded),
    )
    .await?;
    Ok(transaction.commit().await?)
}

/// Whether Postgres takes the rows of a part of a partition; nothing of them stays.
pub(super) async fn try_part(
    plan: &Arc<Plan>,
    source: &Source,
    aside: Aside,
) -> Result<Option<sqlx::Error>, RebuildError> {
    let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
    let mut transaction = connection.begin().await?;
    let tried = copy(&mut transaction, (plan, source), aside, &Progress::default()).await;
    match tried {
        Ok(_) => {
            transaction.rollback().await?;
            Ok(None)
        }
        Err(RebuildError::Database(error)) if verdict(&error) == Verdict::Poison => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Folds on a thread of its own, and writes rows as they come.
async fn copy(
    connection: &mut PgConnection,
    (plan, source): (&Arc<Plan>, &Source),
    aside: Aside,
    progress: &Progress,
) -> Result<Folded, RebuildError> {
    // Days are made beside the transaction, so that those of other partitions need not wait for it.
    let mut days = Days {
        connection: session::open_to_load(&plan.pool, &plan.generation).await?,
        there: HashSet::new(),
    };
    let (out, mut sheets) = mpsc::channel(SHEETS_AHEAD);
    let (plan, source, progress) = (plan.clone(), source.clone(), progress.clone());
    let folding = tokio::task::spawn_blocking(move || fold(&plan, &progress, &source, aside, out));
    while let Some(sheet) = sheets.recv().await {
        days.make(sheet.into).await?;
        sheet.copy(connection).await?;
    }
    match folding.await {
        Ok(Ok(folded)) => Ok(folded),
        Ok(Err(Ended::Failed(error))) => Err(error),
        // Sheets are taken to the end.
        Ok(Err(Ended::Gone)) => Err(RebuildError::Stopped),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RebuildError::Stopped),
        },
    }
}

fn fold(
    plan: &Plan,
    progress: &Progress,
    source: &Source,
    aside: Aside,
    out: mpsc::Sender<Sheet>,
) -> Result<Folded, Ended> {
    let share = Share::of(plan.memory, plan.workers);
    let sheets = Sheets::new(out, share.sheets);
    let mut folding = Folding::new(&plan.identity, share, sheets, aside, progress);
    source.read(plan, share.scan, None, &mut folding)?;
    folding.finish()
}

fn remembered(partition: i32, folded: &Folded) -> LoadedPartition {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let n_rows = folded.rows.iter();
    LoadedPartition {
        partition,
        n_events: count(folded.events),
        n_rows: n_rows
            .map(|(table, n)| ((*table).to_owned(), count(*n)))
            .collect(),
    }
}

/// Days whose partitions are there.
struct Days {
    connection: PgConnection,
    there: HashSet<Into>,
}

impl Days {
    async fn make(&mut self, into: Into) -> sqlx::Result<()> {
        if let Into::Day(history, day) = into
            && !self.there.contains(&into)
        {
            history::make_day(&mut self.connection, history, day).await?;
            self.there.insert(into);
        }
        Ok(())
    }
}
