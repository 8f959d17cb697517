//! Keys and indexes over rows that lie ready, and rows of equal keys joined on the way.
//!
//! A key is tried first: rows of equal keys are rare, and a key that can be made shows that there are none. Where it
//! cannot, one statement joins the doubled keys of that table or day, and it is made then. Each table and each day is a
//! transaction of its own, and what is there already is passed over.

mod again;
mod merge;
mod statement;

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::{Phase, Plan, Progress, RebuildError, together};
use crate::{
    fold::MAX_SHAPES,
    generations::{KEYS, POLICIES},
    sql::{keys, session},
};
use statement::Statement;

/// Its doubled keys tell of whom events have to be folded again, so its key comes last.
const RECEIPT_TIMED: &str = "receipt_timed";

/// The primary key of one table, or one partition.
#[derive(Clone, Debug)]
struct Job {
    table: String,
    leaf: String,
    columns: String,
    /// What its other indexes are of, if it is a part of a table: that of the whole table takes them in.
    indexes: Vec<String>,
    n_bytes: i64,
}

/// Makes the keys and indexes of a generation whose rows are there.
pub(super) async fn index(plan: &Plan, progress: &Progress) -> Result<(), RebuildError> {
    let statements = statement::read(KEYS).map_err(|text| {
        sqlx::Error::Configuration(format!("keys.sql has a statement of an unknown form: {text}").into())
    })?;
    let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
    let jobs = jobs(&mut connection, &statements).await?;
    progress.begin(Phase::Index, (jobs.len() + statements.len()) as u64);
    run(plan, progress, jobs).await?;
    for statement in &statements {
        complete(&mut connection, statement).await?;
        progress.add(1);
    }
    keys::drop_old_shapes(&mut connection, MAX_SHAPES).await?;
    again::key_of_receipt_timed(plan, &mut connection).await
}

/// Whether the policies of a generation are there, which are made when all its rows are.
pub(super) async fn is_guarded(connection: &mut PgConnection) -> Result<bool, RebuildError> {
    Ok(keys::has_policies(connection).await?)
}

/// Makes the policies of a generation whose rows are all there: from then on nothing can be copied into it.
pub(super) async fn guard(connection: &mut PgConnection) -> Result<(), RebuildError> {
    let mut transaction = connection.begin().await?;
    keys::define(&mut transaction, POLICIES).await?;
    Ok(transaction.commit().await?)
}

/// What can be done at the same time: the keys of all tables and partitions, the largest first.
async fn jobs(connection: &mut PgConnection, statements: &[Statement]) -> Result<Vec<Job>, RebuildError> {
    let mut jobs = Vec::new();
    for statement in statements {
        if let Statement::PrimaryKey { table, columns } = statement
            && table != RECEIPT_TIMED
        {
            for (leaf, n_bytes) in keys::leaves(connection, table).await? {
                jobs.push(Job {
                    indexes: if leaf == *table {
                        Vec::new()
                    } else {
                        indexes(statements, table)
                    },
                    table: table.clone(),
                    leaf,
                    columns: columns.clone(),
                    n_bytes,
                });
            }
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.n_bytes));
    Ok(jobs)
}

/// What the indexes of a table are of, but its key.
fn indexes(statements: &[Statement], wanted: &str) -> Vec<String> {
    let of = |statement: &Statement| match statement {
        Statement::Index { table, of, .. } if table == wanted => Some(of.clone()),
        Statement::Index { .. } | Statement::PrimaryKey { .. } | Statement::Attach { .. } => None,
    };
    statements.iter().filter_map(of).collect()
}

async fn run(plan: &Plan, progress: &Progress, jobs: Vec<Job>) -> Result<(), RebuildError> {
    let jobs = Arc::new(Mutex::new(jobs.into_iter()));
    let mut tasks = JoinSet::new();
    for _ in 0..plan.workers.max(1) {
        let (plan, progress, jobs) = (plan.clone(), progress.clone(), jobs.clone());
        tasks.spawn(async move {
            let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
            let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some(job) = next() {
                primary_key(&mut connection, &job).await?;
                progress.add(1);
            }
            Ok::<_, RebuildError>(())
        });
    }
    together::all_of(tasks).await
}

/// Makes a primary key, and one row of each key; and other indexes while the rows are at hand.
async fn primary_key(connection: &mut PgConnection, job: &Job) -> Result<(), RebuildError> {
    let mut transaction = connection.begin().await?;
    keys::lock_table(&mut transaction, &job.leaf).await?;
    if !keys::has_primary_key(&mut transaction, &job.leaf).await? {
        let n_merged = primary_key_within(&mut transaction, job).await?;
        for of in &job.indexes {
            keys::define(&mut transaction, &format!("CREATE INDEX ON {} {of}", job.leaf)).await?;
        }
        tracing::debug!(
            table = %job.leaf, n_merged, "the key of {} is made, after {n_merged} keys were joined", job.leaf
        );
    }
    Ok(transaction.commit().await?)
}

/// Returns of how many keys there were several rows.
async fn primary_key_within(connection: &mut PgConnection, job: &Job) -> sqlx::Result<u64> {
    let statement = format!("ALTER TABLE {} ADD PRIMARY KEY ({})", job.leaf, job.columns);
    let mut attempt = connection.begin().await?;
    match keys::define(&mut attempt, &statement).await {
        Ok(()) => {
            attempt.commit().await?;
            return Ok(0);
        }
        Err(error) if is_doubled(&error) => attempt.rollback().await?,
        Err(error) => return Err(error),
    }
    let mut n_merged = 0;
    if let Some(merge) = merge::merge(&job.table, &job.leaf) {
        n_merged = keys::merge(connection, merge).await?;
    }
    keys::define(connection, &statement).await?;
    Ok(n_merged)
}

fn is_doubled(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// What remains of a statement once every table and partition has its own key.
async fn complete(connection: &mut PgConnection, statement: &Statement) -> Result<(), RebuildError> {
    match statement {
        Statement::PrimaryKey { table, columns } if table != RECEIPT_TIMED => {
            // That of a history takes in those of its days.
            if !keys::has_primary_key(connection, table).await? {
                let statement = format!("ALTER TABLE {table} ADD PRIMARY KEY ({columns})");
                keys::define(connection, &statement).await?;
            }
        }
        Statement::PrimaryKey { .. } => {}
        Statement::Attach { partition, text } => {
            if !keys::is_attached(connection, partition).await? {
                keys::define(connection, text).await?;
            }
        }
        Statement::Index { name, text, .. } => {
            if !keys::is_there(connection, name).await? {
                keys::define(connection, text).await?;
            }
        }
    }
    Ok(())
}
