//! What a checkpoint is taken of, read in the order of provider devices from one snapshot.

use std::{collections::BTreeMap, sync::Arc};

use schema::{EventId, IntegrationId, Micros, OrganizationId, Serial, Topic};
use sqlx::{FromRow, PgConnection, types::Uuid};

use super::{
    candidates::provider_device,
    history::read_origin,
    value::{At, order_key, register},
};
use crate::fold::rows::{
    ActivityRow, DeviceKey, FirstName, LastReport, LatestKey, LatestRow, ListeningRow, Payload,
    ProviderDeviceRow, ReportedBy,
};

/// Becomes the only one that takes checkpoints, until the connection is closed. Says whether it did.
pub(crate) async fn lock(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('fleetlog checkpoint', 0))")
        .fetch_one(connection)
        .await
}

/// What time it is in the snapshot, and how far each partition of readings is folded in it.
pub(crate) async fn covered(
    connection: &mut PgConnection,
    generation: &str,
    log: &str,
) -> sqlx::Result<(Micros, BTreeMap<i32, i64>)> {
    let At(now) = sqlx::query_scalar("SELECT now()")
        .fetch_one(&mut *connection)
        .await?;
    let rows: Vec<(i32, i64)> = sqlx::query_as(
        "SELECT partition, next_offset FROM projection_meta.offsets
          WHERE generation = $1 AND log_id = $2 AND topic = $3",
    )
    .bind(generation)
    .bind(log)
    .bind(Topic::Readings.suffix())
    .fetch_all(connection)
    .await?;
    Ok((now, rows.into_iter().collect()))
}

/// Provider devices after one, with their signs of life.
pub(crate) async fn provider_devices(
    connection: &mut PgConnection,
    after: DeviceKey,
    limit: i64,
) -> sqlx::Result<BTreeMap<DeviceKey, (ProviderDeviceRow, Option<ActivityRow>)>> {
    let rows: Vec<Held> = sqlx::query_as(
        "SELECT d.id, d.organization, d.integration, d.known_by, d.external_id,
                d.name, d.name_at, d.name_sequence, d.name_id,
                d.first_name, d.first_name_recorded_at, d.first_name_id,
                a.last_report_by, a.last_report_origin, a.last_report_at, a.last_report_sequence, a.last_report_id
           FROM provider_devices d
           LEFT JOIN activity a ON a.provider_device = d.id
          WHERE d.id > $1
          ORDER BY d.id
          LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.id, row.read()?))).collect()
}

#[derive(FromRow)]
struct Held {
    id: Uuid,
    organization: Uuid,
    integration: Uuid,
    known_by: String,
    external_id: String,
    name: Option<String>,
    name_at: Option<At>,
    name_sequence: Option<i64>,
    name_id: Option<Uuid>,
    first_name: Option<String>,
    first_name_recorded_at: Option<At>,
    first_name_id: Option<Uuid>,
    last_report_by: Option<String>,
    last_report_origin: Option<String>,
    last_report_at: Option<At>,
    last_report_sequence: Option<i64>,
    last_report_id: Option<Uuid>,
}

impl Held {
    fn read(self) -> sqlx::Result<(ProviderDeviceRow, Option<ActivityRow>)> {
        let organization = OrganizationId(self.organization);
        let device = provider_device(self.integration, &self.known_by, &self.external_id)
            .map_err(sqlx::Error::Decode)?;
        let integration = device.integration;
        let serial = |name: String| Serial::new(&name).map_err(|error| sqlx::Error::Decode(error.into()));
        let mut row = ProviderDeviceRow::new(organization, device);
        let name = self.name.map(serial).transpose()?;
        row.name = register(self.name_at, self.name_sequence, self.name_id, name);
        let first = (self.first_name, self.first_name_recorded_at, self.first_name_id);
        if let (Some(name), Some(At(recorded_at)), Some(id)) = first {
            row.first_name = Some(FirstName {
                recorded_at,
                id: EventId(id),
                name: serial(name)?,
            });
        }
        let key = order_key(
            self.last_report_at,
            self.last_report_sequence,
            self.last_report_id,
        );
        let activity = match (key, self.last_report_by) {
            (Some(key), Some(by)) => {
                let by = by
                    .parse::<ReportedBy>()
                    .map_err(|error| sqlx::Error::Decode(error.into()))?;
                let origin = read_origin(self.last_report_origin.as_deref());
                let mut activity = ActivityRow::new(organization, integration);
                activity.last_report.join(key, LastReport { by, origin });
                Some(activity)
            }
            _ => None,
        };
        Ok((row, activity))
    }
}

/// The latest readings of the provider devices after one, up to another, in the order of their keys.
pub(crate) async fn latest(
    connection: &mut PgConnection,
    after: DeviceKey,
    last: DeviceKey,
) -> sqlx::Result<BTreeMap<LatestKey, LatestRow>> {
    let rows: Vec<HeldLatest> = sqlx::query_as(
        "SELECT provider_device, organization, path, shape, at, sequence, id, recorded_at, content_type,
                data::text AS data, bytes
           FROM readings_latest
          WHERE provider_device > $1 AND provider_device <= $2",
    )
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(HeldLatest::read).collect())
}

#[derive(FromRow)]
struct HeldLatest {
    provider_device: Uuid,
    organization: Uuid,
    path: String,
    shape: Uuid,
    at: At,
    sequence: i64,
    id: Uuid,
    recorded_at: At,
    content_type: Option<String>,
    data: Option<String>,
    bytes: Option<Vec<u8>>,
}

impl HeldLatest {
    fn read(self) -> Option<(LatestKey, LatestRow)> {
        let key = LatestKey {
            device: self.provider_device,
            path: self.path.into(),
            shape: self.shape,
        };
        let row = LatestRow {
            organization: OrganizationId(self.organization),
            key: order_key(Some(self.at), Some(self.sequence), Some(self.id))?,
            recorded_at: self.recorded_at.0,
            payload: Arc::new(Payload {
                content_type: self.content_type,
                data: self.data,
                bytes: self.bytes,
            }),
        };
        Some((key, row))
    }
}

/// The least `at` of readings and log entries that are timed by their receipt, of the same provider devices.
pub(crate) async fn receipts(
    connection: &mut PgConnection,
    after: DeviceKey,
    last: DeviceKey,
) -> sqlx::Result<Vec<(DeviceKey, EventId, Micros)>> {
    let rows: Vec<(Uuid, Uuid, At)> = sqlx::query_as(
        "SELECT r.provider_device, r.id, r.at
           FROM receipt_timed r
          WHERE r.provider_device > $1 AND r.provider_device <= $2
            AND r.at >= coalesce((SELECT before FROM horizons WHERE history = 'readings'), '-infinity')
            AND NOT EXISTS (
                SELECT FROM registry_facts f WHERE f.provider_device = r.provider_device AND f.id = r.id)",
    )
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(device, id, At(at))| (device, EventId(id), at))
        .collect())
}

/// When integrations were heard, by partition.
pub(crate) async fn listening(
    connection: &mut PgConnection,
) -> sqlx::Result<BTreeMap<(i32, IntegrationId), ListeningRow>> {
    let rows: Vec<HeldListening> = sqlx::query_as(
        "SELECT integration, organization, partition, last_push_at, last_scan_at FROM listening",
    )
    .fetch_all(connection)
    .await?;
    let row = |held: HeldListening| {
        let row = ListeningRow {
            organization: OrganizationId(held.organization),
            last_push_at: held.last_push_at.map(|At(at)| at),
            last_scan_at: held.last_scan_at.map(|At(at)| at),
        };
        ((held.partition, IntegrationId(held.integration)), row)
    };
    Ok(rows.into_iter().map(row).collect())
}

#[derive(FromRow)]
struct HeldListening {
    integration: Uuid,
    organization: Uuid,
    partition: i32,
    last_push_at: Option<At>,
    last_scan_at: Option<At>,
}

/// Remembers what was taken, so that the next comes in its time and its age can be shown.
pub(crate) async fn remember(
    connection: &mut PgConnection,
    log: &str,
    taken_at: Micros,
    covered: &BTreeMap<i32, i64>,
) -> sqlx::Result<()> {
    let partitions: Vec<i32> = covered.keys().copied().collect();
    let offsets: Vec<i64> = covered.values().copied().collect();
    sqlx::query(
        "INSERT INTO projection_meta.checkpoints AS held (log_id, partition, covered, taken_at)
         SELECT $1, taken.partition, taken.covered, $2
           FROM unnest($3::integer[], $4::bigint[]) AS taken (partition, covered)
             ON CONFLICT (log_id, partition) DO UPDATE
            SET covered = EXCLUDED.covered, taken_at = EXCLUDED.taken_at
          WHERE held.taken_at < EXCLUDED.taken_at",
    )
    .bind(log)
    .bind(At(taken_at))
    .bind(partitions)
    .bind(offsets)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes partitions of which no checkpoint was ever taken, as of now: the first is due when one interval has passed.
pub(crate) async fn note_first(
    connection: &mut PgConnection,
    log: &str,
    partitions: i32,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO projection_meta.checkpoints (log_id, partition, covered, taken_at)
         SELECT $1, partition, 0, now() FROM generate_series(0, $2 - 1) AS partition
             ON CONFLICT (log_id, partition) DO NOTHING",
    )
    .bind(log)
    .bind(partitions)
    .execute(connection)
    .await?;
    Ok(())
}

/// The age of the newest checkpoint of each partition of a log, in seconds.
pub(crate) async fn ages(connection: &mut PgConnection, log: &str) -> sqlx::Result<BTreeMap<i32, f64>> {
    let rows: Vec<(i32, f64)> = sqlx::query_as(
        "SELECT partition, extract(epoch FROM now() - taken_at)::float8
           FROM projection_meta.checkpoints WHERE log_id = $1",
    )
    .bind(log)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}
