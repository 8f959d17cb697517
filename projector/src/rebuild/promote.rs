//! Promotion: readers see another generation from one moment to the next.
//!
//! One transaction holds the live generation's positions, so that its projectors wait; lets the other generation fold
//! exactly up to there; makes sure that nothing goes backwards; takes the live generation's partitions away from whoever
//! owned them; and replaces the views. Killed before its commit it has changed nothing.

use std::time::Duration;

use serde::Serialize;
use stream::Position;
use tokio::time::{Instant, timeout};

use super::{Progress, RebuildError, Site, Turn, catch_up::Follower, catch_up::TOPICS};
use crate::{
    generations::{self, GenerationError},
    sql::rebuilds,
};

/// How often it is tried: while readers hold the views, or more is appended than can be folded while projectors wait.
const ATTEMPTS: usize = 12;

/// How long projectors may be made to wait for the other generation's last events.
const HOLD_AT_MOST: Duration = Duration::from_secs(5);

/// How far behind a generation may be before projectors are made to wait for it.
const NEAR: u64 = 2_000;

/// How often it is gone after the live generation before that.
const MAX_CHASES: usize = 20;

/// How a generation was promoted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Promotion {
    /// What readers saw before.
    pub from: String,
    /// What they see now.
    pub to: String,
    /// Seconds for which projectors waited.
    pub held: f64,
    /// How often it was tried.
    pub attempts: usize,
}

/// Lets readers see the follower's generation instead of `live`.
pub(crate) async fn promote(
    site: &Site,
    turn: &mut Turn,
    follower: &mut Follower,
    live: &str,
    progress: &Progress,
) -> Result<Promotion, RebuildError> {
    for attempt in 1.. {
        chase(turn, follower, live, progress).await?;
        match promote_once(site, turn, follower, live, progress).await {
            Ok(Some(held)) => {
                return Ok(Promotion {
                    from: live.to_owned(),
                    to: follower.generation().to_owned(),
                    held: held.as_secs_f64(),
                    attempts: attempt,
                });
            }
            Ok(None) if attempt < ATTEMPTS => {}
            Ok(None) => return Err(RebuildError::NotCaughtUp),
            Err(RebuildError::Generation(error)) if error.is_lost_race() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    Err(RebuildError::NotCaughtUp)
}

/// Follows the live generation until it is near.
pub(crate) async fn chase(
    turn: &mut Turn,
    follower: &mut Follower,
    live: &str,
    progress: &Progress,
) -> Result<(), RebuildError> {
    for _ in 0..MAX_CHASES {
        let to = rebuilds::standing(turn.connection(), live).await?;
        let behind = follower.behind(&to);
        progress.add_total(behind);
        follower.follow(&to, progress).await?;
        if behind <= NEAR {
            break;
        }
    }
    Ok(())
}

/// Tries once. Nothing, and nothing is changed, if the last events took too long.
async fn promote_once(
    site: &Site,
    turn: &mut Turn,
    follower: &mut Follower,
    live: &str,
    progress: &Progress,
) -> Result<Option<Duration>, RebuildError> {
    let new = follower.generation().to_owned();
    let mut transaction = turn.begin().await?;
    generations::wait_briefly(&mut transaction).await?;
    generations::expect_active(&mut transaction, live).await?;
    let all: Vec<i32> = (0..site.identity.partitions).collect();
    let positions = rebuilds::hold(&mut transaction, live, &site.identity, (&TOPICS, &all))
        .await
        .map_err(GenerationError::from)?;
    let held_since = Instant::now();
    if let Ok(ended) = timeout(HOLD_AT_MOST, follower.follow(&positions, progress)).await {
        ended?;
    } else {
        transaction.rollback().await?;
        return Ok(None);
    }
    let reached = rebuilds::hold(&mut transaction, &new, &site.identity, (&TOPICS, &all))
        .await
        .map_err(GenerationError::from)?;
    if let Some(position) = first_backwards(&positions, &reached) {
        transaction.rollback().await?;
        return Err(RebuildError::Backwards {
            generation: new,
            position,
        });
    }
    rebuilds::disown(&mut transaction, live, &site.owner, None).await?;
    generations::turn_over(&mut transaction, &new).await?;
    transaction.commit().await?;
    Ok(Some(held_since.elapsed()))
}

/// The first position of `before` that `after` does not reach.
fn first_backwards(before: &[Position], after: &[Position]) -> Option<Position> {
    let reached = |before: &&Position| {
        after.iter().any(|after| {
            (after.topic, after.partition) == (before.topic, before.partition)
                && after.offset >= before.offset
        })
    };
    before.iter().find(|before| !reached(before)).copied()
}

#[cfg(test)]
mod tests {
    use schema::Topic;

    use super::*;

    #[test]
    fn a_generation_that_lacks_anything_of_the_live_one_is_not_promoted() {
        let at = |partition, offset| Position {
            topic: Topic::Events,
            partition,
            offset,
        };
        let live = [at(0, 5), at(1, 7)];
        assert_eq!(first_backwards(&live, &[at(0, 5), at(1, 8)]), None);
        assert_eq!(first_backwards(&live, &[at(0, 5), at(1, 6)]), Some(at(1, 7)));
        assert_eq!(first_backwards(&live, &[at(0, 5)]), Some(at(1, 7)));
    }
}
