//! Whole provider devices folded again, where copies of one event that is timed by its receipt were folded as of
//! different times: it counts with the least, and what it contributed as of a later one may have hidden anything.
//!
//! All in the transaction that makes the key of `receipt_timed`, whose doubled keys tell of whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schema::{Event, ProviderDevice};
use sqlx::{Connection as _, PgConnection};

use super::{Job, RECEIPT_TIMED, primary_key_within};
use crate::{
    commit,
    fold::Batch,
    rebuild::{Plan, RebuildError, subjects::Subjects},
    sql::{again, dead_letters, keys, lowered, provider_devices},
};

/// Makes the key of `receipt_timed`, and folds again what its doubled keys tell of.
pub(super) async fn key_of_receipt_timed(
    plan: &Plan,
    connection: &mut PgConnection,
) -> Result<(), RebuildError> {
    let mut transaction = connection.begin().await?;
    keys::lock_table(&mut transaction, RECEIPT_TIMED).await?;
    if keys::has_primary_key(&mut transaction, RECEIPT_TIMED).await? {
        return Ok(());
    }
    let devices = again::of_two_times(&mut transaction).await?;
    let job = Job {
        table: RECEIPT_TIMED.to_owned(),
        leaf: RECEIPT_TIMED.to_owned(),
        columns: "provider_device, id".to_owned(),
        indexes: Vec::new(),
        n_bytes: 0,
    };
    primary_key_within(&mut transaction, &job).await?;
    if !devices.is_empty() {
        let n_devices = devices.len();
        tracing::info!(
            n_devices,
            "{n_devices} provider devices are folded again, since copies of their events differ"
        );
        fold_again(plan, &mut transaction, &devices).await?;
    }
    Ok(transaction.commit().await?)
}

async fn fold_again(
    plan: &Plan,
    connection: &mut PgConnection,
    devices: &[ProviderDevice],
) -> Result<(), RebuildError> {
    let subjects = Subjects::of_provider_devices(devices);
    let keys: Vec<_> = subjects.provider_devices.keys().copied().collect();
    again::forget(connection, &keys).await?;
    let aside = dead_letters::waiting(connection, &plan.generation).await?;
    subjects
        .read(plan, &Arc::new(aside.into_iter().collect()), async |events| {
            write(connection, events).await
        })
        .await
}

/// Joins what some events say. Every `at` that counts is known.
async fn write(connection: &mut PgConnection, events: Vec<(i32, Event)>) -> Result<(), RebuildError> {
    let mut batch = Batch::default();
    for (partition, event) in &events {
        // What contributes nothing is no matter here.
        _ = batch.take(*partition, event);
    }
    batch.trim();
    let receipt_timed: Vec<_> = batch.receipt_timed().copied().collect();
    let known = lowered::read(connection, &receipt_timed).await?;
    let settled = batch.settle(&known);
    let truth = &*settled.truth;
    let devices = truth.provider_devices.iter();
    let there = again::there(connection, truth.provider_devices.keys().copied().collect()).await?;
    let (there, new): (BTreeMap<_, _>, BTreeMap<_, _>) = devices
        .map(|(key, row)| (*key, row.as_ref()))
        .partition(|(key, _)| there.contains(key));
    provider_devices::insert(connection, &new).await?;
    provider_devices::join(connection, &there).await?;
    commit::write(connection, truth, &BTreeSet::new()).await?;
    Ok(())
}
