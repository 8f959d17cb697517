//! What of a partition is set aside while it is loaded: by the same rule as projectors do, so that both generations
//! lack the same.
//!
//! That a record is no event of ours shows when it is read. What Postgres refuses shows only when rows of many events
//! are copied together: then the events that the live generation has set aside are tried first, each alone, and if it
//! is none of these the offsets are halved. Whatever is tried is rolled back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schema::Topic;
use stream::{Position, Range, Scan, ScanOptions, Undecodable};

use super::{partition::try_part, source::Source};
use crate::{
    Config,
    dead_letters::{DeadLetter, Limit},
    rebuild::{Plan, RebuildError},
    sql::{dead_letters, session},
};

/// What is left out of folding, and what turns out to be no event of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    refused: Arc<BTreeSet<Position>>,
    /// How many there may be that are no events of ours.
    most: usize,
    pub(super) undecodable: Vec<DeadLetter>,
}

impl Aside {
    /// Whether a record was set aside before.
    pub(super) fn has(&self, position: Position) -> bool {
        !self.refused.is_empty() && self.refused.contains(&position)
    }

    /// Sets a record aside that is no event of ours.
    pub(super) fn set(&mut self, position: Position, undecodable: &Undecodable) -> Result<(), RebuildError> {
        // What a checkpoint says can be had from nowhere else.
        if position.topic == Topic::Checkpoints {
            return Err(RebuildError::Unfoldable {
                position,
                reason: undecodable.reason.clone(),
            });
        }
        self.undecodable
            .push(DeadLetter::undecodable(position, undecodable));
        too_many(&self.undecodable, self.most)
    }
}

/// Events of one partition that Postgres refuses.
pub(super) struct Refused {
    /// Those that the live generation has set aside and that were not tried here yet.
    suspects: Vec<Position>,
    letters: Vec<DeadLetter>,
    most: usize,
}

impl Refused {
    /// None yet.
    pub(super) async fn of(plan: &Plan, source: &Source) -> Result<Self, RebuildError> {
        let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
        let (suspects, n_live) =
            dead_letters::of_partition(&mut connection, &plan.identity, source.partition).await?;
        let n_offsets = usize::try_from(source.n_offsets()).unwrap_or(usize::MAX);
        let limit = Limit::percent(Config::DEFAULT_MAX_SET_ASIDE_PERCENT);
        Ok(Self {
            suspects,
            letters: Vec::new(),
            // What somebody has let pass there may pass here.
            most: limit.allows(n_offsets).saturating_add(n_live),
        })
    }

    /// What was found.
    pub(super) fn letters(&self) -> &Vec<DeadLetter> {
        &self.letters
    }

    /// What folding leaves out.
    pub(super) fn aside(&self) -> Aside {
        let positions = self.letters.iter().map(|letter| letter.position);
        Aside {
            refused: Arc::new(positions.collect()),
            most: self.most,
            undecodable: Vec::new(),
        }
    }

    /// Finds at least one more, since Postgres has refused the rest with this error.
    pub(super) async fn find(
        &mut self,
        plan: &Arc<Plan>,
        source: &Source,
        error: sqlx::Error,
    ) -> Result<(), RebuildError> {
        let partition = source.partition;
        tracing::warn!(partition, %error, "an event of partition {partition} is refused, looking for it: {error}");
        let n_before = self.letters.len();
        for suspect in std::mem::take(&mut self.suspects) {
            let range = Range {
                topic: suspect.topic,
                partition: suspect.partition,
                from: suspect.offset,
                to: suspect.offset + 1,
            };
            let is_read =
                |held: &Range| held.topic == range.topic && held.from <= range.from && range.to <= held.to;
            if source.events.iter().any(is_read) {
                self.halve(plan, range).await?;
            }
        }
        if self.letters.len() > n_before {
            return Ok(());
        }
        for range in &source.events {
            self.halve(plan, *range).await?;
        }
        if self.letters.len() > n_before {
            return Ok(());
        }
        // Each event alone is taken, only together they are not.
        Err(error.into())
    }

    /// Finds all within a range.
    async fn halve(&mut self, plan: &Arc<Plan>, whole: Range) -> Result<(), RebuildError> {
        let mut rest = vec![whole];
        while let Some(range) = rest.pop() {
            if range.n_offsets() == 0 {
                continue;
            }
            let part = Source {
                partition: range.partition,
                events: vec![range],
                checkpoints: None,
            };
            let Some(error) = try_part(plan, &part, self.aside()).await? else {
                continue;
            };
            if range.n_offsets() > 1 {
                let half = range.from + (range.to - range.from) / 2;
                rest.push(Range { from: half, ..range });
                rest.push(Range { to: half, ..range });
                continue;
            }
            self.letters.extend(letter(plan, range, &error).await?);
            too_many(&self.letters, self.most)?;
        }
        Ok(())
    }
}

/// What is written down of the one event of a range that Postgres refuses.
async fn letter(plan: &Plan, range: Range, error: &sqlx::Error) -> Result<Option<DeadLetter>, RebuildError> {
    let mut scan = Scan::open(&plan.log, &plan.identity, &[range], ScanOptions::default())?;
    let read = scan.next().await?.and_then(|records| records.into_iter().next());
    let log = &plan.identity.log_id;
    Ok(read.and_then(|read| {
        let event = read.event.ok()?;
        Some(DeadLetter::refused(read.position, &event, log, error))
    }))
}

/// More than may be at fault is somebody else's fault.
fn too_many(letters: &[DeadLetter], most: usize) -> Result<(), RebuildError> {
    if letters.len() <= most {
        return Ok(());
    }
    let mut n_by_reason: BTreeMap<&str, usize> = BTreeMap::new();
    for letter in letters {
        *n_by_reason.entry(letter.detail.as_str()).or_default() += 1;
    }
    let most_common = n_by_reason.into_iter().max_by_key(|(_, n)| *n);
    Err(RebuildError::TooManySetAside {
        n: letters.len(),
        reason: most_common
            .map(|(detail, _)| detail.to_owned())
            .unwrap_or_default(),
    })
}
