//! Before a rebuild: goes on where another was stopped or killed, or makes an empty generation and a plan.

use serde_json::Value;

use super::{
    Order, Phase, RebuildError, Turn,
    site::{Extent, Site, first_beyond},
};
use crate::{
    FOLD_VERSION,
    generations::{self, Active},
    sql::{offsets, rebuilds},
};

/// A generation that is there to be filled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prepared {
    pub(super) generation: String,
    pub(super) extent: Extent,
    /// What loading came to, if it has ended before.
    pub(super) loaded: Option<Value>,
    /// It was compared before, and what differed then is accepted.
    pub(super) is_accepted: bool,
}

/// Finds a generation to go on with, or makes one. What was left by others and is of no use is thrown away.
///
/// One that was compared with the live generation is complete: unless it was just being promoted, or what differs is
/// accepted, a further rebuild begins anew.
pub(super) async fn prepare(
    site: &Site,
    turn: &mut Turn,
    live: &Active,
    order: &Order,
) -> Result<Prepared, RebuildError> {
    let extent = site.extent(turn, &live.generation).await?;
    let mut found = None;
    for left in rebuilds::building(turn.connection()).await? {
        let is_ours = left.fold_version == FOLD_VERSION
            && left.log_id.as_deref() == Some(site.identity.log_id.as_str());
        let Some(begun) = left.begun else {
            generations::remove(turn, &left.generation).await?;
            continue;
        };
        if begun.proved && !is_ours {
            // Somebody may still want to promote it.
            continue;
        }
        let is_accepted = begun.difference.is_some() && begun.difference == order.accept;
        let is_unfinished = !begun.proved || begun.phase == Phase::Promote.name() || is_accepted;
        let prepared = Prepared {
            generation: left.generation.clone(),
            extent: Extent {
                from: begun.from,
                to: begun.to,
            },
            loaded: begun.loaded,
            is_accepted,
        };
        let is_whole = if prepared.loaded.is_some() {
            let standing = rebuilds::standing(turn.connection(), &left.generation).await?;
            first_beyond(&standing, &extent.from).is_none()
        } else {
            prepared.reaches_back_to(&extent)
        };
        if is_ours && is_unfinished && is_whole && !order.afresh && found.is_none() {
            found = Some(prepared);
        } else {
            generations::remove(turn, &left.generation).await?;
        }
    }
    match found {
        Some(prepared) => Ok(prepared),
        None => begin(site, turn, extent).await,
    }
}

impl Prepared {
    /// Whether what it was to read is still there.
    fn reaches_back_to(&self, now: &Extent) -> bool {
        let mut from = self.extent.from.iter();
        from.all(|planned| {
            let is_there = |at: &&stream::Position| {
                (at.topic, at.partition) == (planned.topic, planned.partition)
                    && (at.offset <= planned.offset || at.topic == schema::Topic::Checkpoints)
            };
            now.from.iter().any(|at| is_there(&at))
        })
    }
}

async fn begin(site: &Site, turn: &mut Turn, extent: Extent) -> Result<Prepared, RebuildError> {
    let generation = generations::begin_building(&site.pool).await?;
    let connection = turn.connection();
    offsets::bind_log(connection, &generation, &site.identity).await?;
    rebuilds::begin(connection, &generation, &site.owner, (&extent.from, &extent.to)).await?;
    Ok(Prepared {
        generation,
        extent,
        loaded: None,
        is_accepted: false,
    })
}

#[cfg(test)]
mod tests {
    use schema::Topic;
    use stream::Position;

    use super::*;

    #[test]
    fn a_plan_whose_beginning_expired_meanwhile_is_not_gone_on_with() {
        let extent = |readings| Extent {
            from: vec![
                Position {
                    topic: Topic::Events,
                    partition: 0,
                    offset: 0,
                },
                Position {
                    topic: Topic::Readings,
                    partition: 0,
                    offset: readings,
                },
            ],
            to: Vec::new(),
        };
        let prepared = Prepared {
            generation: "gen_2".to_owned(),
            extent: extent(5),
            loaded: None,
            is_accepted: false,
        };
        assert!(prepared.reaches_back_to(&extent(5)));
        assert!(!prepared.reaches_back_to(&extent(6)));
    }
}
