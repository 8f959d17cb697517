//! One device folded again from the log, and its rows put right where they differ.

use sqlx::Connection as _;
use stream::Position;

use super::{
    Access, Phase, Progress, RebuildError, TableProof,
    audit::{self, Audit},
    catch_up::TOPICS,
    refold::{self, Scratch},
    site::Site,
    subjects::Subjects,
};
use crate::{
    generations,
    linking::Touched,
    sql::{
        candidates::{self, Wanted},
        compare, history, links,
        rebuilds::{self, NOBODY},
        refold as statements,
    },
};

/// How often devices turn up that have to be folded with the others.
const MAX_ROUNDS: usize = 4;

/// Folds a device again, named by id or serial, with all that share a name with it, and puts its live rows right.
///
/// Most is folded before anybody waits; the projectors of its partitions wait while what was appended meanwhile is
/// folded and the rows are replaced.
pub async fn rebuild_device(
    access: &Access,
    device: &str,
    progress: &Progress,
) -> Result<Audit, RebuildError> {
    progress.begin(Phase::Plan, 0);
    let (site, generation) = audit::enter(access).await?;
    let mut scratch = Scratch::open(&site, &generation).await?;
    statements::turn_to(&mut scratch.connection, &generation).await?;
    let mut seeds = called(&mut scratch, device).await?;
    for _ in 0..MAX_ROUNDS {
        let subjects = scratch.close(&seeds, false).await?;
        let checkpoints = audit::checkpoints(&site).await?;
        let standing = rebuilds::standing(&mut scratch.connection, &generation).await?;
        let extent = audit::extent(&site, checkpoints, standing).await?;
        let plan = refold::plan(&site, extent);
        progress.begin(Phase::Load, 0);
        scratch.clear().await?;
        scratch.fold(&plan, &subjects).await?;
        let all = scratch.close(&subjects, true).await?;
        if all != subjects {
            seeds = all;
            continue;
        }
        progress.begin(Phase::Promote, 0);
        let readings_expired = refold::is_cut(&plan);
        let repair = Repair {
            site: &site,
            subjects: &subjects,
            from: plan.to.clone(),
            readings_expired,
        };
        let (tables, repaired) = repair.replace(&mut scratch).await?;
        return Ok(Audit {
            tables,
            log: site.identity.log_id.to_string(),
            devices: subjects.devices.len(),
            provider_devices: subjects.provider_devices.len(),
            events: scratch.n_events(),
            seed: None,
            readings_expired,
            repaired,
            generation,
        });
    }
    Err(RebuildError::TooSlow("finding all that share names"))
}

/// Whoever is meant. A link may be among the rows that are to be put right, so names count as well.
async fn called(scratch: &mut Scratch, device: &str) -> Result<Subjects, RebuildError> {
    let mut seeds = Subjects::default();
    seeds
        .devices
        .extend(statements::called(&mut scratch.connection, device).await?);
    let wanted = Wanted {
        keys: statements::named(&mut scratch.connection, device)
            .await?
            .into_iter()
            .collect(),
        ..Wanted::default()
    };
    for (key, held) in candidates::read(&mut scratch.connection, &wanted).await? {
        seeds.devices.extend(held.candidate.possible_devices());
        seeds.provider_devices.insert(key, held.candidate.device);
    }
    if seeds.len() == 0 {
        return Err(RebuildError::NoSuchDevice(device.to_owned()));
    }
    Ok(seeds)
}

/// A device whose rows are to be put right.
struct Repair<'a> {
    site: &'a Site,
    subjects: &'a Subjects,
    /// Up to where events are folded.
    from: Vec<Position>,
    readings_expired: bool,
}

impl Repair<'_> {
    /// Folds the rest while projectors wait, compares, and replaces the rows if any differ; says whether.
    async fn replace(&self, scratch: &mut Scratch) -> Result<(Vec<TableProof>, bool), RebuildError> {
        let Scratch {
            connection,
            generation,
            tables,
            horizons,
            n_events,
        } = scratch;
        statements::turn_to(connection, generation).await?;
        let partitions: Vec<i32> = self
            .subjects
            .partitions(&self.site.identity)
            .into_iter()
            .collect();
        let mut transaction = connection.begin().await?;
        generations::expect_active(&mut transaction, generation).await?;
        let log = &self.site.identity;
        let to = rebuilds::hold(&mut transaction, generation, log, (&TOPICS, &partitions)).await?;
        links::lock(&mut transaction, &self.subjects.devices).await?;

        let plan = refold::plan(self.site, (self.from.clone(), to));
        statements::turn_to_temporary(&mut transaction).await?;
        refold::fold(&mut transaction, (&plan, generation), self.subjects, n_events).await?;
        *horizons = compare::horizons(&mut transaction, generation).await?;
        let sides = (tables.as_slice(), *horizons);
        refold::copy_live(&mut transaction, generation, sides, self.subjects).await?;
        let proofs = refold::compare(&mut transaction, sides, self.subjects, self.readings_expired).await?;
        if proofs.iter().all(|table| table.n_differing() == 0) {
            transaction.rollback().await?;
            return Ok((proofs, false));
        }
        statements::turn_to(&mut transaction, generation).await?;
        for history in tables.iter().filter(|table| table.by_day) {
            for day in statements::days(&mut transaction, &history.name).await? {
                history::make_day(&mut transaction, &history.name, day).await?;
            }
        }
        for table in tables.iter() {
            if let Some((column, keys)) = refold::scope(table, self.subjects) {
                let keep = self.readings_expired && refold::may_expire(table);
                statements::replace(&mut transaction, generation, table, (column, &keys), keep).await?;
            }
        }
        // Others may have changed meanwhile what these links and devices follow from, too.
        let keys = self.subjects.provider_devices.keys().copied();
        let touched = Touched::of(keys, self.subjects.devices.iter().copied());
        if !touched.derive(&mut transaction).await? {
            return Err(RebuildError::TooSlow("deriving all that share names"));
        }
        // What their owners know of these provider devices may be wrong now: they take the partitions anew.
        rebuilds::disown(&mut transaction, generation, NOBODY, Some(&partitions)).await?;
        transaction.commit().await?;
        Ok((proofs, true))
    }
}
