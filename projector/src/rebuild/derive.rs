//! Links and devices derived from registers and facts that lie ready: by the rules of
//! [`fold::identity`](crate::fold::identity), chunk by chunk.
//!
//! Nobody else writes a generation that is being built, so nothing is locked; and nothing is asked of what was linked
//! before: all is derived anew.

use std::collections::{BTreeMap, BTreeSet};

use schema::{DeviceId, IntegrationId, KnownBy, Serial};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Phase, Plan, Progress, RebuildError};
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
const CHUNK: i64 = 5_000;

/// Derives all links and devices of a generation whose keys are there.
pub(super) async fn derive(plan: &Plan, progress: &Progress) -> Result<(), RebuildError> {
    let mut connection = session::open_to_load(&plan.pool, &plan.generation).await?;
    let n_provider_devices = derive::n_provider_devices(&mut connection).await?;
    progress.begin(Phase::Derive, 2 * n_provider_devices.unsigned_abs());
    let mut last = Uuid::nil();
    loop {
        let held = candidates::read_after(&mut connection, last, CHUNK).await?;
        let Some((&key, _)) = held.last_key_value() else {
            break;
        };
        last = key;
        let mut transaction = connection.begin().await?;
        link(&mut transaction, &held).await?;
        transaction.commit().await?;
        progress.add(held.len() as u64);
    }
    let mut last = DeviceId(Uuid::nil());
    loop {
        let devices = derive::devices_after(&mut connection, last, CHUNK).await?;
        let Some(&device) = devices.last() else { break };
        last = device;
        let mut transaction = connection.begin().await?;
        let n_linked = show(&mut transaction, devices.into_iter().collect()).await?;
        transaction.commit().await?;
        progress.add(n_linked);
    }
    Ok(())
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
    let mut derived = BTreeMap::new();
    let mut unlinked = Vec::new();
    for (key, Held { candidate, link }) in held {
        let namesakes = match &candidate.device.known_by {
            KnownBy::Name(name) => by_name.get(&(candidate.device.integration, name)),
            KnownBy::Id(_) => None,
        };
        let namesakes = namesakes.into_iter().flatten().copied();
        match identity::link(candidate, namesakes, |device| claimed.contains(&device)) {
            Some(new) if *link != Some(new) => {
                derived.insert(*key, (candidate.organization, new));
            }
            None if link.is_some() => unlinked.push(*key),
            Some(_) | None => {}
        }
    }
    links::write(connection, &derived).await?;
    links::remove(connection, &unlinked).await
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

/// Derives what some devices show. Returns how many provider devices are linked to them.
async fn show(connection: &mut PgConnection, devices: BTreeSet<DeviceId>) -> sqlx::Result<u64> {
    let local = links::read_local(connection, &devices).await?;
    let wanted = Wanted {
        linked_to: devices,
        ..Wanted::default()
    };
    let held = candidates::read(connection, &wanted).await?;
    let mut linked: BTreeMap<DeviceId, Vec<&Candidate>> = BTreeMap::new();
    for Held { candidate, link } in held.values() {
        if let Some(link) = link {
            linked.entry(link.device).or_default().push(candidate);
        }
    }
    let mut shown = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for device in wanted.linked_to {
        let linked = linked.get(&device).map(Vec::as_slice).unwrap_or_default();
        match identity::device(linked, local.get(&device)) {
            Some(row) => {
                shown.insert(device, row);
            }
            None => {
                gone.insert(device);
            }
        }
    }
    links::write_devices(connection, &shown).await?;
    links::remove_devices(connection, &gone).await?;
    Ok(held.len() as u64)
}
