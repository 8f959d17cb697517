//! The proof: a generation folded from the new log lacks the rows of the erased subjects, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use schema::Topic;
use serde::Serialize;
use stream::{LogIdentity, Range};
use tokio::time::{Instant, sleep};

use super::{Erased, Order, RewriteError, copying::Copying};
use crate::{
    FOLD_VERSION,
    generations::{self, Active},
    rebuild::{
        Follower, LiveSnapshot, Phase, Plan, Progress, Proof, RebuildError, Site, TableProof, Turn, load,
    },
    sql::{compare, offsets, rebuilds},
};

/// The topics that are folded.
pub(super) const FOLDED: [Topic; 2] = [Topic::Events, Topic::Readings];

/// The table that says when integrations were heard: what erased subjects sent counted there, too.
const LISTENING: &str = "listening";

/// How long the live generation may stand still behind what was copied.
const LIVE_PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked how far it is.
const LIVE_INTERVAL: Duration = Duration::from_millis(500);

/// What the new generation lacks.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// The generation that was folded from the new log.
    pub generation: String,
    /// Nothing is missing but rows of the erased subjects, and all of those are.
    pub only_erased: bool,
    /// What is missing, by table; tables that have all their rows are not named.
    pub tables: Vec<MissingRows>,
    /// How the generations compare.
    pub proof: Proof,
}

/// What a table lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingRows {
    /// The table.
    pub table: String,
    /// Rows of the erased subjects that the live generation has.
    pub erased: u64,
    /// Rows that only the live generation has.
    pub missing: u64,
    /// Rows that the new generation has otherwise, or alone.
    pub otherwise: u64,
    /// Whether that is as it should be.
    pub as_expected: bool,
}

/// Folds the new log, follows the live generation, and compares both at the same moment.
pub(super) async fn prove(
    order: &Order,
    (source, target): (&LogIdentity, &LogIdentity),
    erased: &Erased,
    copying: &mut Copying,
    progress: &Progress,
) -> Result<Missing, RewriteError> {
    progress.begin(Phase::Plan, 0);
    let live = generations::active(&order.pool).await?;
    if live.log_id.as_deref() != Some(source.log_id.as_str()) {
        return Err(RewriteError::OtherLog {
            held: live.log_id.unwrap_or_else(|| "none".to_owned()),
            found: source.log_id.to_string(),
        });
    }
    let site = Site {
        log: order.target.clone(),
        identity: target.clone(),
        pool: order.pool.clone(),
        owner: order.owner.clone(),
    };
    generations::install(&order.pool).await?;
    let mut turn = Turn::take(&order.pool).await?;
    let generation = fill(order, &site, &mut turn, progress).await?;
    let mut follower = Follower::open(&site, &generation).await?;

    // The live generation may stand behind what was copied: then it has to come to there first.
    wait_for_live(&mut turn, &live, copying).await?;
    let filled = (live.generation.clone(), live.fold_version);
    let mut snapshot = LiveSnapshot::take(&site, filled, &generation).await?;
    copying.copy(&snapshot.positions.clone(), progress).await?;
    let ends = stream::ends(&order.target, target, &FOLDED).await?;
    follower.follow(&ends, progress).await?;
    progress.begin(Phase::Prove, 2 * snapshot.n_tables());
    let expected = snapshot
        .count_of(&erased.provider_device_ids(), &erased.device_ids())
        .await?;
    let integrations = erased.integrations();
    let heard = snapshot.listening_but(&integrations).await?;
    let sums = snapshot.sums(progress).await?;
    let new = (generation.clone(), FOLD_VERSION);
    let proof = snapshot.compare(&site, sums, new, progress).await?;
    let mut connection = compare::open(&order.pool).await?;
    let heard_anew = compare::listening_but(&mut connection, &generation, &integrations).await?;
    let missing = judge(generation, proof, &expected, heard == heard_anew);
    let text = serde_json::to_value(&missing.proof).unwrap_or_default();
    let difference = missing.proof.difference.map(|difference| difference.to_string());
    rebuilds::proved(
        turn.connection(),
        &missing.generation,
        &text,
        difference.as_deref(),
    )
    .await?;
    Ok(missing)
}

/// Makes a generation of all that the new log holds now.
async fn fill(
    order: &Order,
    site: &Site,
    turn: &mut Turn,
    progress: &Progress,
) -> Result<String, RewriteError> {
    for left in rebuilds::building(turn.connection()).await? {
        if left.log_id.as_deref() == Some(site.identity.log_id.as_str()) {
            generations::remove(turn, &left.generation).await?;
        }
    }
    let generation = generations::begin_building(&site.pool).await?;
    let topics = [Topic::Events, Topic::Readings, Topic::Checkpoints];
    let from = stream::beginnings(&site.log, &site.identity, &topics).await?;
    let to = stream::ends(&site.log, &site.identity, &topics).await?;
    offsets::bind_log(turn.connection(), &generation, &site.identity).await?;
    rebuilds::begin(turn.connection(), &generation, &site.owner, (&from, &to)).await?;
    let plan = Plan {
        log: site.log.clone(),
        identity: site.identity.clone(),
        pool: site.pool.clone(),
        generation: generation.clone(),
        from,
        to,
        memory: order.memory,
        workers: order.workers,
        stop: order.stop.clone(),
    };
    let loaded = load(&plan, progress).await?;
    let text = serde_json::json!({"events": loaded.events, "rows": loaded.rows});
    rebuilds::loaded(turn.connection(), &generation, &text).await?;
    Ok(generation)
}

/// Waits until the live generation is as far as the old log was copied.
async fn wait_for_live(turn: &mut Turn, live: &Active, copying: &Copying) -> Result<(), RewriteError> {
    let copied: Vec<_> = copying
        .positions()
        .into_iter()
        .filter(|at| FOLDED.contains(&at.topic))
        .collect();
    let mut last = (u64::MAX, Instant::now());
    loop {
        let standing = rebuilds::standing(turn.connection(), &live.generation).await?;
        let behind = Range::between(&standing, &copied)
            .iter()
            .map(Range::n_offsets)
            .sum();
        if behind == 0 {
            return Ok(());
        }
        if behind < last.0 {
            last = (behind, Instant::now());
        } else if last.1.elapsed() > LIVE_PATIENCE {
            return Err(RebuildError::LiveBehind { behind }.into());
        }
        sleep(LIVE_INTERVAL).await;
    }
}

/// Compares what is missing with what should be.
fn judge(generation: String, proof: Proof, erased: &BTreeMap<String, u64>, heard_alike: bool) -> Missing {
    let tables: Vec<_> = proof
        .tables
        .iter()
        .map(|table| rows(table, erased.get(&table.table).copied().unwrap_or(0), heard_alike))
        .collect();
    Missing {
        only_erased: tables.iter().all(|table| table.as_expected)
            && proof.only_live.is_empty()
            && proof.only_new.is_empty()
            && proof.live.1 == proof.new.1,
        tables: tables
            .into_iter()
            .filter(|table| table.missing + table.otherwise + table.erased > 0)
            .collect(),
        generation,
        proof,
    }
}

fn rows(table: &TableProof, erased: u64, heard_alike: bool) -> MissingRows {
    let otherwise = table.n_only_new + table.n_changed;
    let same_columns = table.columns_only_live.is_empty() && table.columns_only_new.is_empty();
    MissingRows {
        table: table.table.clone(),
        erased,
        missing: table.n_only_live,
        otherwise,
        as_expected: if table.table == LISTENING {
            heard_alike
        } else {
            // The new generation has none of theirs, or as many would not be missing.
            table.n_only_live == erased && otherwise == 0 && same_columns
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(n_only_live: u64, n_changed: u64) -> TableProof {
        TableProof {
            table: "readings".to_owned(),
            n_only_live,
            n_changed,
            ..TableProof::default()
        }
    }

    #[test]
    fn what_is_missing_is_as_expected_if_it_is_exactly_what_was_erased() {
        assert!(rows(&table(3, 0), 3, true).as_expected);
        assert!(
            !rows(&table(2, 0), 3, true).as_expected,
            "one of theirs is still there"
        );
        assert!(
            !rows(&table(4, 0), 3, true).as_expected,
            "one of somebody else's is gone"
        );
        assert!(
            !rows(&table(3, 1), 3, true).as_expected,
            "somebody else's changed"
        );
        let listening = TableProof {
            table: LISTENING.to_owned(),
            ..table(0, 2)
        };
        assert!(rows(&listening, 0, true).as_expected);
        assert!(
            !rows(&listening, 0, false).as_expected,
            "another integration's changed"
        );
    }
}
