//! Links and devices derived from registers and facts that lie ready: by the rules of
//! [`fold::identity`](crate::fold::identity), read as a stream and written by `COPY`, several parts at a time.
//!
//! Nobody else writes a generation that is being built, so nothing is locked. What was derived before is forgotten, so
//! whoever was killed on the way begins this anew.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use schema::{DeviceId, IntegrationId, KnownBy, Serial};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    Phase, Plan, Progress, RebuildError,
    copy::{self, Into, Sheet},
    together,
};
use crate::{
    fold::{
        identity::{self, Candidate},
        rows::DeviceKey,
    },
    sql::{
        candidates::{self, Held, Wanted},
        derive, links, session,
    },
};

/// Provider devices, or devices, at a time: some megabytes.
const CHUNK: usize = 5_000;

/// A part of all ids: from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: Uuid,
    last: Uuid,
}

impl Part {
    /// All ids in so many parts. Nearly all ids are hashes, so these hold alike many.
    fn all(n_parts: usize) -> Vec<Self> {
        let n_parts = u128::try_from(n_parts.max(1)).unwrap_or(1);
        let size = u128::MAX / n_parts;
        let part = |number| Self {
            first: Uuid::from_u128(number * size + u128::from(number > 0)),
            last: Uuid::from_u128(if number + 1 == n_parts {
                u128::MAX
            } else {
                (number + 1) * size
            }),
        };
        (0..n_parts).map(part).collect()
    }
}

/// Derives all links and devices of a generation whose keys are there.
pub(super) async fn derive(plan: &Plan, progress: &Progress) -> Result<(), RebuildError> {
    let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
    derive::begin(&mut connection).await?;
    let n_provider_devices = derive::n_provider_devices(&mut connection).await?;
    progress.begin(Phase::Derive, 2 * n_provider_devices.unsigned_abs());

    let mut tasks = JoinSet::new();
    for part in Part::all(plan.workers) {
        tasks.spawn(link_part(plan.clone(), progress.clone(), part));
    }
    together::all_of(tasks).await?;
    derive::are_linked(&mut connection).await?;

    let mut tasks = JoinSet::new();
    for part in Part::all(plan.workers) {
        tasks.spawn(show_part(plan.clone(), progress.clone(), part));
    }
    together::all_of(tasks).await?;
    show_told(&mut connection).await
}

/// Derives the links of a part of all provider devices.
async fn link_part(plan: Plan, progress: Progress, part: Part) -> Result<(), RebuildError> {
    let mut reading = session::open_to_load(&plan.pool, &plan.generation).await?;
    let mut writing = session::open_to_load(&plan.pool, &plan.generation).await?;
    let mut stream = candidates::all_between(&mut reading, part.first, part.last);
    let mut transaction = writing.begin().await?;
    let mut chunk = BTreeMap::new();
    loop {
        let next = stream.try_next().await?;
        let is_over = next.is_none();
        chunk.extend(next);
        if chunk.len() == CHUNK || is_over {
            link(&mut transaction, &chunk).await?;
            progress.add(chunk.len() as u64);
            chunk.clear();
        }
        if is_over {
            return Ok(transaction.commit().await?);
        }
    }
}

/// Derives the links of some provider devices.
async fn link(connection: &mut PgConnection, held: &BTreeMap<DeviceKey, Held>) -> sqlx::Result<()> {
    let namesakes = namesakes(connection, held).await?;
    let candidates = held
        .values()
        .chain(namesakes.values())
        .map(|held| &held.candidate);
    let possible = candidates.clone().flat_map(Candidate::possible_devices);
    let claimed = derive::claimed(connection, possible.collect::<BTreeSet<_>>()).await?;

    let mut by_name: BTreeMap<(IntegrationId, &Serial), Vec<&Candidate>> = BTreeMap::new();
    for Held { candidate, .. } in namesakes.values() {
        if let Some(name) = candidate.current_name() {
            let named = by_name.entry((candidate.device.integration, name)).or_default();
            named.push(candidate);
        }
    }
    let mut sheet = Sheet::new(Into::Table("links"), 64 * held.len());
    for (key, Held { candidate, .. }) in held {
        let namesakes = match &candidate.device.known_by {
            KnownBy::Name(name) => by_name.get(&(candidate.device.integration, name)),
            KnownBy::Id(_) => None,
        };
        let namesakes = namesakes.into_iter().flatten().copied();
        if let Some(link) = identity::link(candidate, namesakes, |device| claimed.contains(&device)) {
            sheet.add(|row| copy::link(row, *key, candidate.organization, link));
        }
    }
    sheet.copy(connection).await
}

/// Those that have the names by which others are known alone.
async fn namesakes(
    connection: &mut PgConnection,
    held: &BTreeMap<DeviceKey, Held>,
) -> sqlx::Result<BTreeMap<DeviceKey, Held>> {
    let known_by_name = held
        .values()
        .filter_map(|held| match &held.candidate.device.known_by {
            KnownBy::Name(name) => Some((held.candidate.device.integration, name.clone())),
            KnownBy::Id(_) => None,
        });
    let wanted = Wanted {
        of_integration: known_by_name.collect(),
        ..Wanted::default()
    };
    if wanted == Wanted::default() {
        return Ok(BTreeMap::new());
    }
    candidates::read(connection, &wanted).await
}

/// Provider devices by the device they are linked to.
type Linked = BTreeMap<DeviceId, Vec<Candidate>>;

/// Derives what a part of all devices shows that are linked to.
async fn show_part(plan: Plan, progress: Progress, part: Part) -> Result<(), RebuildError> {
    let mut reading = session::open_to_load(&plan.pool, &plan.generation).await?;
    let mut writing = session::open_to_load(&plan.pool, &plan.generation).await?;
    let mut stream = candidates::all_linked_between(&mut reading, DeviceId(part.first), DeviceId(part.last));
    let mut transaction = writing.begin().await?;
    let mut linked = Linked::new();
    let mut n_linked = 0;
    loop {
        let next = stream.try_next().await?;
        let next = next.and_then(|(_, Held { candidate, link })| Some((link?.device, candidate)));
        let goes_on = next
            .as_ref()
            .is_some_and(|(device, _)| linked.contains_key(device));
        if n_linked >= CHUNK && !goes_on || next.is_none() {
            show(&mut transaction, &std::mem::take(&mut linked)).await?;
            progress.add(n_linked as u64);
            n_linked = 0;
        }
        let Some((device, candidate)) = next else {
            return Ok(transaction.commit().await?);
        };
        linked.entry(device).or_default().push(candidate);
        n_linked += 1;
    }
}

/// Derives what those devices show that nothing is linked to.
async fn show_told(connection: &mut PgConnection) -> Result<(), RebuildError> {
    let mut transaction = connection.begin().await?;
    let mut last = DeviceId(Uuid::nil());
    loop {
        let told = derive::told_after(&mut transaction, last, CHUNK).await?;
        let Some(&device) = told.last() else {
            return Ok(transaction.commit().await?);
        };
        last = device;
        let told = told.into_iter().map(|device| (device, Vec::new()));
        show(&mut transaction, &told.collect()).await?;
    }
}

/// Derives what some devices show.
async fn show(connection: &mut PgConnection, linked: &Linked) -> sqlx::Result<()> {
    let local = links::read_local(connection, &linked.keys().copied().collect()).await?;
    let mut sheet = Sheet::new(Into::Table("devices"), 128 * linked.len());
    for (id, linked) in linked {
        let linked: Vec<_> = linked.iter().collect();
        if let Some(device) = identity::device(&linked, local.get(id)) {
            sheet.add(|row| copy::device(row, *id, &device));
        }
    }
    sheet.copy(connection).await
}

#[cfg(test)]
mod tests {
    use schema::{Micros, OrganizationId};

    use super::*;
    use crate::{
        fold::identity::{Device, Link, Via},
        generations::{TRUTH, columns_of},
    };

    #[test]
    fn the_parts_are_all_ids_and_each_once() {
        for n_parts in [1, 2, 3, 7, 64] {
            let parts = Part::all(n_parts);
            assert_eq!(parts.len(), n_parts);
            assert_eq!(parts.first().map(|part| part.first), Some(Uuid::nil()));
            assert_eq!(parts.last().map(|part| part.last), Some(Uuid::max()));
            for pair in parts.windows(2) {
                assert_eq!(pair[0].last.as_u128() + 1, pair[1].first.as_u128());
            }
        }
    }

    #[test]
    fn every_column_of_links_and_devices_is_written() {
        let organization = OrganizationId(Uuid::max());
        let link = Link {
            device: DeviceId(Uuid::max()),
            via: Via::Name,
        };
        let device = Device {
            organization,
            serial: "s".to_owned(),
            name: None,
            registered_at: Some(Micros::MIN),
            retired_at: None,
        };
        let (mut links, mut devices) = (
            Sheet::new(Into::Table("links"), 0),
            Sheet::new(Into::Table("devices"), 0),
        );
        links.add(|row| copy::link(row, Uuid::nil(), organization, link));
        devices.add(|row| copy::device(row, link.device, &device));
        for sheet in [links, devices] {
            let there = columns_of(TRUTH).remove(sheet.into.table());
            let written: BTreeSet<_> = sheet.columns().iter().copied().collect();
            assert_eq!(there.map(|columns| columns.into_iter().collect()), Some(written));
        }
    }
}
