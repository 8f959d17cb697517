//! Whole provider devices folded again, where copies of one event that is timed by its receipt were folded as of
//! different times: it counts with the least, and what it contributed as of a later one may have hidden anything.
//!
//! All in the transaction that makes the key of `receipt_timed`, whose doubled keys tell of whom.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use schema::{Event, ProviderDevice};
use sqlx::{Connection as _, PgConnection};
use stream::{KeyFilter, LogIdentity, Raw};
use tokio::sync::mpsc;

use super::{Job, RECEIPT_TIMED, primary_key_within};
use crate::{
    commit,
    fold::{Batch, rows::DeviceKey},
    rebuild::{
        Plan, RebuildError,
        load::{Source, Take},
    },
    sql::{again, keys, lowered, provider_devices},
};

/// Events that are folded and written at a time.
const CHUNK: usize = 1_000;

/// Memory for records that wait, in bytes.
const SCAN: usize = 8 * 1024 * 1024;

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
    let keys: HashSet<DeviceKey> = devices.iter().map(ProviderDevice::uuid).collect();
    again::forget(connection, &keys.iter().copied().collect::<Vec<_>>()).await?;
    let partitions: BTreeSet<i32> = devices
        .iter()
        .map(|device| stream::partition_of(device.to_string().as_bytes(), plan.identity.partitions))
        .collect();
    let is_wanted: KeyFilter = Arc::new(move |key| {
        let device = std::str::from_utf8(key).ok().and_then(|key| key.parse().ok());
        device.is_some_and(|device: ProviderDevice| keys.contains(&device.uuid()))
    });
    let sources = Source::of(plan).into_iter();
    for source in sources.filter(|source| partitions.contains(&source.partition)) {
        let (out, mut chunks) = mpsc::channel(1);
        let (plan, is_wanted) = (plan.clone(), is_wanted.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut relay = Relay {
                log: plan.identity.clone(),
                chunk: Vec::new(),
                out,
            };
            source.read(&plan, SCAN, Some(&is_wanted), &mut relay)
        });
        while let Some(chunk) = chunks.recv().await {
            write(connection, chunk).await?;
        }
        match reading.await {
            Ok(read) => read?,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(RebuildError::Stopped),
            },
        }
    }
    Ok(())
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
        .map(|(key, row)| (*key, row))
        .partition(|(key, _)| there.contains(key));
    provider_devices::insert(connection, &new).await?;
    provider_devices::join(connection, &there).await?;
    commit::write(connection, truth).await?;
    Ok(())
}

/// Hands events over, so many at a time.
struct Relay {
    log: LogIdentity,
    chunk: Vec<(i32, Event)>,
    out: mpsc::Sender<Vec<(i32, Event)>>,
}

impl Relay {
    fn hand_over(&mut self) -> Result<(), RebuildError> {
        let chunk = std::mem::take(&mut self.chunk);
        let handed = self.out.blocking_send(chunk);
        // Whoever does not take it has an error of its own to tell of.
        handed.map_err(|_| RebuildError::Stopped)
    }
}

impl Take for Relay {
    type Error = RebuildError;

    fn record(&mut self, raw: Raw<'_>) -> Result<(), RebuildError> {
        let read = raw.decode(&self.log)?;
        let event = read.event.map_err(|undecodable| RebuildError::Unfoldable {
            position: read.position,
            reason: undecodable.reason,
        })?;
        self.chunk.push((read.position.partition, event));
        if self.chunk.len() >= CHUNK {
            self.hand_over()?;
        }
        Ok(())
    }

    fn batch_ends(&mut self, _n_offsets: u64) -> Result<(), RebuildError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.hand_over()
    }
}
