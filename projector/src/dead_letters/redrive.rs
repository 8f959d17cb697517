//! Folding again what was set aside.

use std::collections::{BTreeMap, BTreeSet};

use schema::Event;
use sqlx::{Connection as _, PgConnection};
use stream::{LogIdentity, Position, Range, RawRecord, ReadError, Scan, ScanOptions};

use super::{DeadLetter, Reason, bisect::join_some, refusal};
use crate::{
    commit::{Days, make_days},
    fold::Batch,
    generations,
    rebuild::{Access, RebuildError, Site, enter},
    sql::{
        Verdict, dead_letters,
        rebuilds::{self, NOBODY},
        session, verdict,
    },
};

/// How often a lost race is repeated.
const MAX_REPEATS: usize = 20;

/// What became of one that was to be folded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redriven {
    /// Its rows are there.
    Folded,
    /// It failed again, which was counted.
    Failed {
        /// Why, now.
        reason: Reason,
        /// Why, in words.
        detail: String,
    },
    /// It waits no more: somebody else was faster, or another generation was promoted.
    NotWaiting,
    /// Neither the log nor the letter holds the record any more.
    Expired,
}

/// Folds events again that were set aside in the generation that readers see, each alone: rows and what is written
/// down of it in one transaction. What became of each, in the order given.
///
/// The projectors of their partitions wait meanwhile, and take these partitions anew afterwards: what they know of
/// provider devices may have changed. So give many at once, but not too many. A dry run does all of it and takes it back.
pub async fn redrive(
    access: &Access,
    positions: &[Position],
    (author, dry_run): (&str, bool),
) -> Result<Vec<Redriven>, RebuildError> {
    let (site, generation) = enter(access).await?;
    let mut events = BTreeMap::new();
    for position in positions {
        events.insert(*position, read(&site, *position).await?);
    }
    let mut connection = session::open(&site.pool, &generation).await?;
    let mut redriving = Redriving {
        site: &site,
        generation: &generation,
        author,
        dry_run,
        events,
    };
    for _ in 0..MAX_REPEATS {
        match redriving.fold(&mut connection, positions).await {
            Err(RebuildError::Database(error))
                if matches!(verdict(&error), Verdict::Repeat | Verdict::MakeDays) => {}
            ended => return ended,
        }
    }
    Err(RebuildError::TooSlow("folding what was set aside"))
}

/// What a record says now, or why it says nothing.
enum Said {
    Event(Box<Event>),
    Nothing(String),
    Gone,
}

struct Redriving<'a> {
    site: &'a Site,
    generation: &'a str,
    author: &'a str,
    dry_run: bool,
    events: BTreeMap<Position, Said>,
}

impl Redriving<'_> {
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        positions: &[Position],
    ) -> Result<Vec<Redriven>, RebuildError> {
        self.make_days(connection).await?;
        let partitions: BTreeSet<i32> = positions.iter().map(|position| position.partition).collect();
        let partitions: Vec<i32> = partitions.into_iter().collect();
        let mut transaction = connection.begin().await?;
        generations::expect_active(&mut transaction, self.generation).await?;
        let topics = [schema::Topic::Events, schema::Topic::Readings];
        let log = &self.site.identity;
        rebuilds::hold(&mut transaction, self.generation, log, (&topics, &partitions)).await?;
        let mut outcomes = Vec::with_capacity(positions.len());
        for position in positions {
            outcomes.push(self.fold_one(&mut transaction, *position).await?);
        }
        if self.dry_run {
            transaction.rollback().await?;
            return Ok(outcomes);
        }
        if outcomes.contains(&Redriven::Folded) {
            rebuilds::disown(&mut transaction, self.generation, NOBODY, Some(&partitions)).await?;
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn fold_one(
        &self,
        connection: &mut PgConnection,
        position: Position,
    ) -> Result<Redriven, RebuildError> {
        if dead_letters::hold(connection, self.generation, position)
            .await?
            .is_none()
        {
            return Ok(Redriven::NotWaiting);
        }
        let event = match self.events.get(&position) {
            None | Some(Said::Gone) => return Ok(Redriven::Expired),
            Some(Said::Nothing(detail)) => {
                let failed = (Reason::Undecodable, detail.as_str(), None);
                dead_letters::failed_again(connection, self.generation, position, failed).await?;
                return Ok(Redriven::Failed {
                    reason: Reason::Undecodable,
                    detail: detail.clone(),
                });
            }
            Some(Said::Event(event)) => event,
        };
        match join_some(connection, &[(position, event)]).await {
            Ok(Some(_)) => {
                dead_letters::redriven(connection, self.generation, position, self.author).await?;
                Ok(Redriven::Folded)
            }
            Ok(None) => Err(RebuildError::TooSlow("deriving all that share names")),
            Err(error) if verdict(&error) == Verdict::Poison => {
                let (reason, detail, sqlstate) = refusal(&error);
                let failed = (reason, detail.as_str(), sqlstate.as_deref());
                dead_letters::failed_again(connection, self.generation, position, failed).await?;
                Ok(Redriven::Failed { reason, detail })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the daily partitions that the events need.
    async fn make_days(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut batch = Batch::default();
        for (position, said) in &self.events {
            if let Said::Event(event) = said {
                // What contributes nothing needs no day.
                _ = batch.take(position.partition, event);
            }
        }
        make_days(connection, &mut Days::default(), &batch).await
    }
}

/// Reads a record: as it was kept, or from the log.
async fn read(site: &Site, position: Position) -> Result<Said, RebuildError> {
    if let Some(record) = dead_letters::record(&site.pool, position).await? {
        return Ok(decoded(&record, &site.identity));
    }
    let range = Range {
        topic: position.topic,
        partition: position.partition,
        from: position.offset,
        to: position.offset + 1,
    };
    let options = ScanOptions {
        memory: 8 * 1024 * 1024,
        ..ScanOptions::default()
    };
    let mut scan = Scan::open(&site.log, &site.identity, &[range], options)?;
    match scan.next().await {
        Ok(records) => {
            let read = records.into_iter().flatten().next();
            Ok(match read.map(|read| read.event) {
                None => Said::Gone,
                Some(Ok(event)) => Said::Event(Box::new(event)),
                Some(Err(undecodable)) => {
                    Said::Nothing(DeadLetter::undecodable(position, &undecodable).detail)
                }
            })
        }
        Err(ReadError::OutOfRange { .. }) => Ok(Said::Gone),
        Err(error) => Err(error.into()),
    }
}

fn decoded(record: &RawRecord, log: &LogIdentity) -> Said {
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()));
    match schema::decode(headers, record.value.as_deref().unwrap_or_default()) {
        Ok((found, event)) if found == log.log_id => Said::Event(Box::new(event)),
        Ok((found, _)) => Said::Nothing(format!("the record is of log {found}")),
        Err(error) => Said::Nothing(super::explained(&error.to_string())),
    }
}
