//! Where a rebuild takes place: a log, a database, and the generation that readers see.

use std::time::Duration;

use schema::{Body, LogId, Topic};
use sqlx::PgPool;
use stream::{KeyFilter, LogConfig, LogIdentity, Position, Range, Scan, ScanOptions, topics::TopicsError};

use super::{RebuildError, Turn, catch_up::TOPICS};
use crate::{
    generations::{self, Active},
    sql::rebuilds,
};

/// A log and a database.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) log: LogConfig,
    pub(crate) identity: LogIdentity,
    /// The database, as whoever may act as the projector.
    pub(crate) pool: PgPool,
    /// Who is at work, for people.
    pub(crate) owner: String,
}

/// What there is to read: the first position of each partition, and the one after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) from: Vec<Position>,
    pub(crate) to: Vec<Position>,
}

impl Extent {
    /// Whether the first readings are no longer in the log.
    pub(crate) fn readings_expired(&self) -> bool {
        let mut from = self.from.iter();
        from.any(|at| at.topic == Topic::Readings && at.offset > 0)
    }
}

/// How long Kafka may take to show which checkpoints there are.
const PATIENCE: Duration = Duration::from_mins(5);

/// Learns which log it is. That its first records are gone is said as such, where a generation tells which it was.
pub(crate) async fn identify(log: &LogConfig, pool: &PgPool) -> Result<LogIdentity, RebuildError> {
    let error = match stream::topics::identify(log).await {
        Ok(identity) => return Ok(identity),
        Err(error) => error,
    };
    if let TopicsError::Unsafe(_) = error
        && let Some(known) = known(pool).await
        && let Ok(beginnings) = stream::beginnings(log, &known, &[Topic::Events]).await
        && let Some(gone) = beginnings.into_iter().find(|at| at.offset > 0)
    {
        return Err(RebuildError::BeginningGone(gone));
    }
    Err(error.into())
}

/// The log that the live generation was filled from.
async fn known(pool: &PgPool) -> Option<LogIdentity> {
    let active = generations::active(pool).await.ok()?;
    Some(LogIdentity {
        log_id: LogId::new(&active.log_id?).ok()?,
        partitions: active.partitions?,
    })
}

impl Site {
    /// The generation that readers see, which must be of this log.
    pub(crate) async fn live(&self) -> Result<Active, RebuildError> {
        let live = generations::active(&self.pool).await?;
        self.is_of_this_log(&live.generation, live.log_id.as_deref(), live.partitions)?;
        Ok(live)
    }

    /// Refuses a generation of another log.
    pub(crate) fn is_of_this_log(
        &self,
        generation: &str,
        log_id: Option<&str>,
        partitions: Option<i32>,
    ) -> Result<(), RebuildError> {
        let other = log_id.is_some_and(|held| held != self.identity.log_id.as_str())
            || partitions.is_some_and(|held| held != self.identity.partitions);
        if other {
            return Err(RebuildError::OtherLog {
                generation: generation.to_owned(),
                held: log_id.unwrap_or("of other partitions").to_owned(),
                found: self.identity.log_id.to_string(),
            });
        }
        Ok(())
    }

    /// What is read of the log. Refuses one that no longer has all that it ever held, or checkpoints of it.
    ///
    /// Up to where the live generation stands: only there can both be compared. If that has not folded anything yet,
    /// up to the end.
    pub(crate) async fn extent(&self, turn: &mut Turn, live: &str) -> Result<Extent, RebuildError> {
        let mut from = stream::beginnings(&self.log, &self.identity, &TOPICS).await?;
        let standing = rebuilds::standing(turn.connection(), live).await?;
        for beginning in &from {
            match beginning.topic {
                Topic::Events if beginning.offset > 0 => return Err(RebuildError::BeginningGone(*beginning)),
                Topic::Readings
                    if beginning.offset > self.covered(beginning.partition, beginning.offset).await? =>
                {
                    return Err(RebuildError::ReadingsGone(*beginning));
                }
                Topic::Events | Topic::Readings | Topic::Checkpoints | Topic::DeadLetters => {}
            }
        }
        let mut to = if standing.iter().all(|at| at.offset == 0) {
            stream::ends(&self.log, &self.identity, &TOPICS).await?
        } else {
            standing
        };
        let checkpoints = [Topic::Checkpoints];
        from.extend(stream::beginnings(&self.log, &self.identity, &checkpoints).await?);
        to.extend(stream::ends(&self.log, &self.identity, &checkpoints).await?);
        Ok(Extent { from, to })
    }

    /// Up to which offset of a partition's readings everything is in checkpoints. Asked only where readings are gone.
    async fn covered(&self, partition: i32, beginning: i64) -> Result<i64, RebuildError> {
        if beginning == 0 {
            return Ok(0);
        }
        let checkpoints = [Topic::Checkpoints];
        let in_partition = |positions: Vec<Position>| {
            positions
                .into_iter()
                .filter(move |at| at.partition == partition)
                .collect::<Vec<_>>()
        };
        let from = in_partition(stream::beginnings(&self.log, &self.identity, &checkpoints).await?);
        let to = in_partition(stream::ends(&self.log, &self.identity, &checkpoints).await?);
        let keys: KeyFilter = std::sync::Arc::new(|key: &[u8]| key.starts_with(b"covered/"));
        let options = ScanOptions {
            keys: Some(keys),
            ..ScanOptions::default()
        };
        let mut scan = Scan::open(&self.log, &self.identity, &Range::between(&from, &to), options)?;
        let read = async {
            let mut covered = 0;
            while let Some(records) = scan.next().await? {
                for read in records {
                    if let Ok(event) = read.event
                        && let Body::CheckpointCompleted(completed) = event.body
                        && completed.partition == partition
                    {
                        covered = completed.covered.max(covered);
                    }
                }
            }
            Ok(covered)
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .map_err(|_| RebuildError::TooSlow("reading checkpoints"))?
    }
}

/// The first beginning that lies beyond where a generation stands. What it never folded anything of, it begins at 0.
pub(super) fn first_beyond(standing: &[Position], beginnings: &[Position]) -> Option<Position> {
    let reached = |beginning: &&Position| {
        let same = |at: &&Position| (at.topic, at.partition) == (beginning.topic, beginning.partition);
        let stands = standing.iter().find(same).map_or(0, |at| at.offset);
        stands < beginning.offset
    };
    beginnings.iter().find(reached).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_that_lacks_what_has_expired_cannot_follow() {
        let at = |partition, offset| Position {
            topic: Topic::Readings,
            partition,
            offset,
        };
        let standing = [at(0, 5), at(1, 7)];
        assert_eq!(first_beyond(&standing, &[at(0, 5), at(1, 0), at(2, 0)]), None);
        assert_eq!(first_beyond(&standing, &[at(0, 5), at(1, 8)]), Some(at(1, 8)));
        assert_eq!(first_beyond(&standing, &[at(2, 1)]), Some(at(2, 1)));
    }
}
