//! Changing which generation readers see, apart from a rebuild.

use super::{
    Access, Phase, Progress, Promotion, RebuildError,
    catch_up::{Follower, TOPICS},
    promote,
    site::{Site, first_beyond},
    turn::Turn,
};
use crate::{
    FOLD_VERSION,
    generations::{self, Generation, GenerationError, State},
    sql::rebuilds,
};

/// Lets readers see a rebuilt generation: the one named, or the only one there is. It must have been proved, or what
/// differs accepted by its digest.
pub async fn promote_built(
    access: &Access,
    generation: Option<&str>,
    accept: Option<&str>,
    progress: &Progress,
) -> Result<Promotion, RebuildError> {
    progress.begin(Phase::Plan, 0);
    let (site, mut turn) = access.enter().await?;
    let building = rebuilds::building(turn.connection()).await?;
    let mut building = building.into_iter();
    let built = if let Some(name) = generation {
        let known = find(&site, name).await?;
        match known.state {
            State::Active => return Err(RebuildError::IsActive(known.generation)),
            State::Retired => return Err(RebuildError::IsRetired(known.generation)),
            State::Building => {}
        }
        building.find(|one| one.generation == name)
    } else {
        building.find(|one| one.begun.as_ref().is_some_and(|begun| begun.proved))
    };
    let built = built.ok_or(RebuildError::NothingToPromote)?;
    of_these_rules(&built.generation, built.fold_version)?;
    site.is_of_this_log(&built.generation, built.log_id.as_deref(), None)?;
    match built.begun {
        Some(begun) if begun.proved => match begun.difference {
            Some(difference) if accept != Some(&difference) => {
                return Err(RebuildError::NotAccepted {
                    generation: built.generation,
                    difference,
                });
            }
            Some(_) | None => {}
        },
        Some(_) | None => return Err(RebuildError::NotProved(built.generation)),
    }
    turn_to(&site, &mut turn, &built.generation, progress).await
}

/// Lets readers see a generation again that they saw before: the one named, or the last. It folds what it has missed
/// first.
pub async fn roll_back(
    access: &Access,
    generation: Option<&str>,
    progress: &Progress,
) -> Result<Promotion, RebuildError> {
    progress.begin(Phase::Plan, 0);
    let (site, mut turn) = access.enter().await?;
    let kept = if let Some(name) = generation {
        Some(find(&site, name).await?)
    } else {
        let all = generations::list(&site.pool).await?.into_iter();
        all.filter(|one| one.state == State::Retired)
            .max_by_key(|one| one.changed_at)
    };
    let kept = kept.ok_or(RebuildError::NothingToRollBackTo)?;
    match kept.state {
        State::Retired => {}
        State::Active => return Err(RebuildError::IsActive(kept.generation)),
        State::Building => return Err(RebuildError::NotProved(kept.generation)),
    }
    of_these_rules(&kept.generation, kept.fold_version)?;
    site.is_of_this_log(&kept.generation, kept.log_id.as_deref(), kept.partitions)?;
    turn_to(&site, &mut turn, &kept.generation, progress).await
}

/// Throws a generation away, with all its rows: one that readers do not see, and that nobody is at work on.
pub async fn drop_one(access: &Access, generation: &str) -> Result<(), RebuildError> {
    let mut turn = Turn::take(&access.pool).await?;
    let all = generations::list(&access.pool).await?;
    let found = all.into_iter().find(|one| one.generation == generation);
    match found.map(|one| one.state) {
        None => Err(GenerationError::NoSuchGeneration(generation.to_owned()).into()),
        Some(State::Active) => Err(RebuildError::IsActive(generation.to_owned())),
        Some(State::Building | State::Retired) => generations::remove(&mut turn, generation).await,
    }
}

async fn find(site: &Site, name: &str) -> Result<Generation, RebuildError> {
    let all = generations::list(&site.pool).await?;
    let found = all.into_iter().find(|one| one.generation == name);
    Ok(found.ok_or_else(|| GenerationError::NoSuchGeneration(name.to_owned()))?)
}

fn of_these_rules(generation: &str, held: i32) -> Result<(), RebuildError> {
    if held == FOLD_VERSION {
        return Ok(());
    }
    Err(RebuildError::OtherRules {
        generation: generation.to_owned(),
        held,
        own: FOLD_VERSION,
    })
}

async fn turn_to(
    site: &Site,
    turn: &mut Turn,
    generation: &str,
    progress: &Progress,
) -> Result<Promotion, RebuildError> {
    let live = site.live().await?;
    has_all_that_is_gone(site, turn, generation).await?;
    progress.begin(Phase::CatchUp, 0);
    let mut follower = Follower::open(site, generation).await?;
    promote::chase(turn, &mut follower, &live.generation, progress).await?;
    progress.begin(Phase::Promote, 0);
    promote::promote(site, turn, &mut follower, &live.generation, progress).await
}

/// Refuses a generation that would have to fold what the log no longer has.
async fn has_all_that_is_gone(site: &Site, turn: &mut Turn, generation: &str) -> Result<(), RebuildError> {
    let standing = rebuilds::standing(turn.connection(), generation).await?;
    let beginnings = stream::beginnings(&site.log, &site.identity, &TOPICS).await?;
    match first_beyond(&standing, &beginnings) {
        Some(position) => Err(RebuildError::LeftBehind {
            generation: generation.to_owned(),
            position,
        }),
        None => Ok(()),
    }
}
