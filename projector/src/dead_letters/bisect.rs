//! A batch of which Postgres refuses some events: they are found by halving it, within one transaction.

use schema::Event;
use sqlx::{Connection as _, PgConnection};
use stream::Position;

use super::DeadLetter;
use crate::{
    commit::{Joined, Plain, Target, Written, join},
    fold::Batch,
    sql::{
        Verdict, dead_letters,
        offsets::{self, Place},
        verdict,
    },
};

/// An event, and where it was read.
pub(crate) type Due<'r> = (Position, &'r Event);

/// What is written in one transaction.
pub(crate) struct Whole<'r> {
    pub(crate) target: &'r Target,
    /// The position after it, for each partition it was read from.
    pub(crate) places: &'r [(Place, i64)],
    pub(crate) events: &'r [Due<'r>],
    /// What was found to be no event of ours.
    pub(crate) undecodable: &'r [DeadLetter],
    /// How many letters there may be in all.
    pub(crate) allowed: usize,
}

/// What became of it.
pub(crate) enum Bisected {
    /// Neighbours, letters and positions are written.
    Committed(Written, Vec<DeadLetter>),
    /// A partition is owned by another, or stands elsewhere: nothing is written.
    Fenced,
    /// Too many devices turned out to be concerned by a link: nothing is written, another try may do.
    Crowded,
    /// More than may be at fault, of which these were found: nothing is written.
    TooMany(Vec<DeadLetter>),
}

/// Writes what can be written, sets the rest aside, and advances the positions behind all of it.
pub(crate) async fn commit_bisected(
    connection: &mut PgConnection,
    whole: &Whole<'_>,
    plain: &mut Plain,
) -> sqlx::Result<Bisected> {
    let mut transaction = connection.begin().await?;
    let Target { generation, log } = whole.target;
    if !offsets::advance(&mut transaction, generation, log, whole.places).await? {
        transaction.rollback().await?;
        return Ok(Bisected::Fenced);
    }
    let mut letters = whole.undecodable.to_vec();
    let mut written = Written::default();
    let mut joined = Vec::new();
    let mut rest = vec![whole.events];
    while let Some(slice) = rest.pop() {
        if letters.len() > whole.allowed {
            transaction.rollback().await?;
            return Ok(Bisected::TooMany(letters));
        }
        match join_some(&mut transaction, slice).await {
            Ok(Some(some)) => {
                written.add(&some.written);
                joined.push(some);
            }
            Ok(None) => {
                transaction.rollback().await?;
                return Ok(Bisected::Crowded);
            }
            Err(error) if verdict(&error) != Verdict::Poison => return Err(error),
            Err(error) => {
                if let [(position, event)] = slice {
                    letters.push(DeadLetter::refused(*position, event, &log.log_id, &error));
                } else {
                    let (first, second) = slice.split_at(slice.len() / 2);
                    rest.extend([second, first]);
                }
            }
        }
    }
    if letters.len() > whole.allowed {
        transaction.rollback().await?;
        return Ok(Bisected::TooMany(letters));
    }
    dead_letters::insert(&mut transaction, generation, log, &letters).await?;
    transaction.commit().await?;
    for some in joined {
        plain.learn(some.news, some.gone);
    }
    Ok(Bisected::Committed(written, letters))
}

/// Joins the rows of some events behind a savepoint: all of them, or nothing is changed.
pub(super) async fn join_some(
    connection: &mut PgConnection,
    events: &[Due<'_>],
) -> sqlx::Result<Option<Joined>> {
    let mut batch = Batch::default();
    for (position, event) in events {
        // What contributes nothing was counted when it was read.
        _ = batch.take(position.partition, event);
    }
    batch.trim();
    let mut savepoint = connection.begin().await?;
    // What earlier slices have changed is not known to whoever remembers provider devices, so nothing is remembered.
    let outcome = join(&mut savepoint, &batch, &Plain::doubted()).await;
    match outcome {
        Ok(Some(joined)) => {
            savepoint.commit().await?;
            Ok(Some(joined))
        }
        Ok(None) => {
            savepoint.rollback().await?;
            Ok(None)
        }
        Err(error) => {
            // Where the connection is gone, that is what the first error says.
            drop(savepoint.rollback().await);
            Err(error)
        }
    }
}
