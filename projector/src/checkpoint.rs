//! Checkpoints: what readings made of registers, written to the log's compacted topic, so that readings may expire.
//!
//! One snapshot of the live generation says how far readings are folded and what their registers are. Only registers
//! that changed since the last checkpoint are written; when all are in the log, each partition gets a record that
//! says up to where its readings are covered. A checkpoint that was interrupted covers nothing, and does no harm.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use schema::{
    Body, CheckpointCompleted, Event, EventId, Extra, Micros, OrganizationId, Origin, Subject, Topic,
};
use service::CancellationToken;
use sqlx::{Connection as _, PgConnection, PgPool};
use stream::{
    AppendError, Appender, KafkaFault, LogConfig, LogIdentity, Range, ReadError, Scan, ScanOptions,
    beginnings, ends, partition_of,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    fold::{
        FOLD_VERSION,
        checkpoint::{self as form, Registers},
        rows::{DeviceKey, ListeningRow, ProviderDeviceRow},
    },
    generations::{self, GenerationError},
    sql::{checkpoint as sql, session},
};

/// Provider devices read at a time.
const CHUNK: i64 = 500;

/// Bytes of records that may wait for their acknowledgement.
const MAX_BYTES_IN_FLIGHT: usize = 8 * 1024 * 1024;

/// How long an append may take: a checkpoint is in no hurry.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Why no checkpoint was taken. What was written before does no harm.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another one is being taken.
    #[error("another checkpoint is being taken; wait for it")]
    Busy,
    /// Told to stop.
    #[error("stopped; nothing is covered by what was written")]
    Stopped,
    /// The live generation was filled by other rules.
    #[error(
        "generation {generation} was filled by version {held} of the fold, and this is version {FOLD_VERSION}: take \
         the checkpoint with the version that filled it, or rebuild first"
    )]
    FoldVersion {
        /// The live generation.
        generation: String,
        /// What filled it.
        held: i32,
    },
    /// The live generation was filled from another log, or from none yet.
    #[error(
        "generation {0} was not filled from this log: this is the wrong Kafka or the wrong database, or no projector has run yet"
    )]
    OtherLog(String),
    /// A register has no written form: a defect of ours.
    #[error("a register cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// Generations cannot be read.
    #[error("{0}")]
    Generation(#[from] GenerationError),
    /// What the log holds already cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The log takes no more.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// Kafka does not answer as it should.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaFault),
    /// Postgres cannot be reached, or refuses.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When: the snapshot's time.
    pub at: Micros,
    /// For each partition, the offset of readings up to which all is covered.
    pub covered: BTreeMap<i32, i64>,
    /// Provider devices looked at.
    pub devices: u64,
    /// Records written.
    pub written: u64,
    /// Records that the log held already, as they are.
    pub unchanged: u64,
    /// How long it took.
    pub took: Duration,
}

/// How far a checkpoint is, for those who wait. Copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    held: AtomicU64,
    devices: AtomicU64,
    written: AtomicU64,
}

impl Counts {
    /// Records of earlier checkpoints that were read.
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Provider devices looked at.
    pub fn devices(&self) -> u64 {
        self.0.devices.load(Ordering::Relaxed)
    }

    /// Records written.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }
}

/// Takes a checkpoint of the live generation.
///
/// Memory grows by some 30 bytes for each provider device.
pub async fn take(
    config: &LogConfig,
    log: &LogIdentity,
    pool: &PgPool,
    counts: &Counts,
    stop: &CancellationToken,
) -> Result<Taken, CheckpointError> {
    let began = Instant::now();
    let live = generations::active(pool).await?;
    if live.fold_version != FOLD_VERSION {
        return Err(CheckpointError::FoldVersion {
            generation: live.generation,
            held: live.fold_version,
        });
    }
    if live.log_id.as_deref() != Some(log.log_id.as_str()) {
        return Err(CheckpointError::OtherLog(live.generation));
    }
    let mut connection = session::open(pool, &live.generation).await?;
    if !sql::lock(&mut connection).await? {
        return Err(CheckpointError::Busy);
    }
    let held = held(config, log, counts, stop).await?;
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await?;
    let (at, covered) = sql::covered(&mut snapshot, &live.generation, log.log_id.as_str()).await?;
    let mut writer = Writer {
        appender: Appender::to_log(config, log.clone(), APPEND_TIMEOUT)?,
        partitions: log.partitions,
        at,
        held,
        counts: counts.clone(),
        waiting: Vec::new(),
        n_bytes: 0,
        unchanged: 0,
    };
    writer.write_registers(&mut snapshot, stop).await?;
    writer
        .complete(&covered, &sql::listening(&mut snapshot).await?)
        .await?;
    snapshot.rollback().await?;
    sql::remember(&mut connection, log.log_id.as_str(), at, &covered).await?;
    // Closing it gives the lock back.
    connection.close().await?;
    Ok(Taken {
        at,
        covered,
        devices: counts.devices(),
        written: counts.written(),
        unchanged: writer.unchanged,
        took: began.elapsed(),
    })
}

/// What the log's newest checkpoints say, by key: both as hashes, since only equality matters.
async fn held(
    config: &LogConfig,
    log: &LogIdentity,
    counts: &Counts,
    stop: &CancellationToken,
) -> Result<HashMap<u64, u64>, CheckpointError> {
    let topics = [Topic::Checkpoints];
    let ranges = Range::between(
        &beginnings(config, log, &topics).await?,
        &ends(config, log, &topics).await?,
    );
    let mut scan = Scan::open(config, log, &ranges, ScanOptions::default())?;
    let mut held = HashMap::new();
    while let Some(batch) = scan.next_raw().await? {
        if stop.is_cancelled() {
            return Err(CheckpointError::Stopped);
        }
        for raw in batch.iter() {
            held.insert(
                hash(raw.key().unwrap_or_default()),
                hash(raw.value().unwrap_or_default()),
            );
        }
        counts
            .0
            .held
            .fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    Ok(held)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Writes what changed.
struct Writer {
    appender: Appender,
    partitions: i32,
    at: Micros,
    held: HashMap<u64, u64>,
    counts: Counts,
    waiting: Vec<(i32, Event)>,
    n_bytes: usize,
    unchanged: u64,
}

impl Writer {
    async fn write_registers(
        &mut self,
        snapshot: &mut PgConnection,
        stop: &CancellationToken,
    ) -> Result<(), CheckpointError> {
        // Before the first: no key of a provider device is nil.
        let mut after = Uuid::nil();
        loop {
            if stop.is_cancelled() {
                return Err(CheckpointError::Stopped);
            }
            let devices = sql::provider_devices(snapshot, after, CHUNK).await?;
            let Some(last) = devices.last_key_value().map(|(key, _)| *key) else {
                break;
            };
            let latest = sql::latest(snapshot, after, last).await?;
            let mut receipts: BTreeMap<DeviceKey, Vec<(EventId, Micros)>> = BTreeMap::new();
            for (device, id, at) in sql::receipts(snapshot, after, last).await? {
                receipts.entry(device).or_default().push((id, at));
            }
            let mut latest = latest.iter().peekable();
            for (key, (row, activity)) in &devices {
                let of_device = std::iter::from_fn(|| latest.next_if(|(latest, _)| latest.device <= *key));
                let of_device = of_device.filter(|(latest, _)| latest.device == *key);
                let receipts = receipts.remove(key).unwrap_or_default();
                let parts = Registers::of(row, activity.as_ref(), of_device, receipts);
                self.write(row, &parts).await?;
            }
            let n_devices = u64::try_from(devices.len()).unwrap_or(u64::MAX);
            self.counts.0.devices.fetch_add(n_devices, Ordering::Relaxed);
            after = last;
        }
        self.flush().await
    }

    async fn write(&mut self, row: &ProviderDeviceRow, parts: &[Registers]) -> Result<(), CheckpointError> {
        let partition = partition_of(row.device.to_string().as_bytes(), self.partitions);
        for (registers, part) in parts.iter().zip(0..) {
            let taken = form::taken(&row.device, part, registers)?;
            let body = Body::CheckpointTaken(taken);
            let event = Event {
                integration: Some(row.device.integration),
                organization: row.organization,
                ..self.event(Subject::ProviderDevice(row.device.clone()), body)
            };
            let value = event.body.encode()?;
            if self.held.get(&hash(event.partition_key().as_bytes())) == Some(&hash(&value)) {
                self.unchanged += 1;
                continue;
            }
            self.n_bytes += value.len() + 1024;
            self.waiting.push((partition, event));
            if self.n_bytes > MAX_BYTES_IN_FLIGHT {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Says of each partition up to where its readings are covered.
    async fn complete(
        &mut self,
        covered: &BTreeMap<i32, i64>,
        listening: &BTreeMap<(i32, schema::IntegrationId), ListeningRow>,
    ) -> Result<(), CheckpointError> {
        for (partition, offset) in covered {
            let of_partition = listening.iter().filter(|((of, _), _)| of == partition);
            let body = Body::CheckpointCompleted(CheckpointCompleted {
                partition: *partition,
                covered: *offset,
                listening: of_partition
                    .map(|((_, integration), row)| form::heard(*integration, row))
                    .collect(),
                extra: Extra::new(),
            });
            self.waiting.push((*partition, self.event(Subject::Log, body)));
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), CheckpointError> {
        let appends = self
            .waiting
            .iter()
            .map(|(partition, event)| self.appender.append_to(*partition, event));
        let n_written = try_join_all(appends).await?.len();
        self.counts
            .0
            .written
            .fetch_add(u64::try_from(n_written).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.waiting.clear();
        self.n_bytes = 0;
        Ok(())
    }

    fn event(&self, subject: Subject, body: Body) -> Event {
        Event {
            id: EventId::random(),
            subject,
            at: self.at,
            sequence: 0,
            recorded_at: self.at,
            claimed_at: None,
            receipt_timed: false,
            organization: OrganizationId(Uuid::nil()),
            integration: None,
            origin: Origin::System,
            credential: None,
            replayable: false,
            traceparent: None,
            source: "/log".to_owned(),
            extensions: BTreeMap::new(),
            body,
        }
    }
}
