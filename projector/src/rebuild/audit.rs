//! The audit: some devices drawn at random, folded again from the log, and compared with their live rows.

use serde::Serialize;
use stream::Position;

use super::{
    Access, Phase, Progress, RebuildError,
    catch_up::TOPICS,
    refold::{self, Scratch},
    report::TableProof,
    site::{self, Site},
    subjects::Subjects,
};
use crate::{
    FOLD_VERSION,
    sql::{compare, rebuilds, refold as statements},
};

/// How often devices turn up that have to be folded with the others.
const MAX_ROUNDS: usize = 4;

/// What an audit, or the rebuild of one device, came to.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// The generation that was looked at.
    pub generation: String,
    /// The log it was compared with.
    pub log: String,
    /// Devices that were folded again, with all that share a name with them.
    pub devices: usize,
    /// Provider devices that were.
    pub provider_devices: usize,
    /// Events that were folded.
    pub events: u64,
    /// What the same audit is drawn by; none where the device was named.
    pub seed: Option<i64>,
    /// Readings have expired: what only the live histories have was not counted.
    pub readings_expired: bool,
    /// How the rows compare.
    pub tables: Vec<TableProof>,
    /// The rows that differed were put right.
    pub repaired: bool,
}

impl Audit {
    /// Rows that differ.
    pub fn n_differing(&self) -> u64 {
        self.tables.iter().map(TableProof::n_differing).sum()
    }

    /// Rows that were compared.
    pub fn n_rows(&self) -> u64 {
        self.tables
            .iter()
            .map(|table| table.rows_new.max(table.rows_live))
            .sum()
    }
}

/// Folds so many devices again, drawn at random by a seed, and compares them with their live rows of one instant.
/// Changes nothing.
pub async fn audit(access: &Access, n: u32, seed: i64, progress: &Progress) -> Result<Audit, RebuildError> {
    progress.begin(Phase::Plan, 0);
    let (site, generation) = enter(access).await?;
    let mut scratch = Scratch::open(&site, &generation).await?;
    statements::turn_to(&mut scratch.connection, &generation).await?;
    let drawn = statements::sample(&mut scratch.connection, n.into(), seed).await?;
    let mut seeds = Subjects::default();
    seeds.devices.extend(drawn);
    for _ in 0..MAX_ROUNDS {
        let subjects = scratch.close(&seeds, false).await?;
        // Before the snapshot: no checkpoint knows more than that then.
        let checkpoints = checkpoints(&site).await?;
        let positions = scratch.snapshot(&subjects).await?;
        let plan = refold::plan(&site, extent(&site, checkpoints, positions).await?);
        progress.begin(Phase::Load, 0);
        scratch.clear().await?;
        scratch.fold(&plan, &subjects).await?;
        // What was folded may name others whose rows decide.
        let all = scratch.close(&subjects, true).await?;
        if all != subjects {
            seeds = all;
            continue;
        }
        progress.begin(Phase::Prove, 0);
        let readings_expired = refold::is_cut(&plan);
        let sides = (&*scratch.tables, scratch.horizons);
        let tables = refold::compare(&mut scratch.connection, sides, &subjects, readings_expired).await?;
        return Ok(Audit {
            tables,
            generation,
            log: site.identity.log_id.to_string(),
            devices: subjects.devices.len(),
            provider_devices: subjects.provider_devices.len(),
            events: scratch.n_events(),
            seed: Some(seed),
            readings_expired,
            repaired: false,
        });
    }
    Err(RebuildError::TooSlow("finding all that share names"))
}

/// The log, and the live generation, which must be of these rules.
pub(crate) async fn enter(access: &Access) -> Result<(Site, String), RebuildError> {
    let site = Site {
        log: access.log.clone(),
        identity: site::identify(&access.log, &access.pool).await?,
        pool: access.pool.clone(),
        owner: access.owner.clone(),
    };
    let live = site.live().await?;
    if live.fold_version != FOLD_VERSION {
        return Err(RebuildError::OtherRules {
            generation: live.generation,
            held: live.fold_version,
            own: FOLD_VERSION,
        });
    }
    Ok((site, live.generation))
}

/// Where checkpoints begin and end.
pub(super) async fn checkpoints(site: &Site) -> Result<(Vec<Position>, Vec<Position>), RebuildError> {
    let topics = [schema::Topic::Checkpoints];
    let begin = stream::beginnings(&site.log, &site.identity, &topics).await?;
    let end = stream::ends(&site.log, &site.identity, &topics).await?;
    Ok((begin, end))
}

/// What is read of the log, up to these positions.
pub(super) async fn extent(
    site: &Site,
    checkpoints: (Vec<Position>, Vec<Position>),
    positions: Vec<Position>,
) -> Result<(Vec<Position>, Vec<Position>), RebuildError> {
    let mut from = stream::beginnings(&site.log, &site.identity, &TOPICS).await?;
    let mut to = positions;
    from.extend(checkpoints.0);
    to.extend(checkpoints.1);
    Ok((from, to))
}

impl Scratch {
    /// Copies the live rows of these subjects, all of one instant. Returns where the generation stood then.
    async fn snapshot(&mut self, subjects: &Subjects) -> Result<Vec<Position>, RebuildError> {
        compare::begin(&mut self.connection, &[]).await?;
        let positions = rebuilds::standing(&mut self.connection, &self.generation).await?;
        self.horizons = compare::horizons(&mut self.connection, &self.generation).await?;
        let sides = (&*self.tables, self.horizons);
        refold::copy_live(&mut self.connection, &self.generation, sides, subjects).await?;
        compare::end(&mut self.connection).await?;
        Ok(positions)
    }
}
