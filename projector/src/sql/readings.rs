//! Readings: the history, and the newest of each path and shape, written together, since nearly every reading is both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schema::{Micros, OrderKey};
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{history::origin, value::At};
use crate::fold::{
    MAX_SHAPES,
    rows::{DeviceKey, HistoryKey, LatestKey, LatestRow, Payload, ReadingRow, Said},
};

/// A reading of the history, the newest of its shape, or both.
struct Row<'a> {
    device: DeviceKey,
    organization: Uuid,
    path: &'a str,
    key: OrderKey,
    recorded_at: Micros,
    payload: &'a Arc<Payload>,
    /// Its shape, if it is the newest of it.
    shape: Option<Uuid>,
    /// How it came, if it is of the history.
    said: Option<&'a Said>,
}

fn rows<'a>(
    readings: &'a BTreeMap<HistoryKey, ReadingRow>,
    latest: &'a BTreeMap<LatestKey, LatestRow>,
) -> Vec<Row<'a>> {
    let mut rows: BTreeMap<HistoryKey, Row> = BTreeMap::new();
    for (key, row) in readings {
        let row = Row {
            device: key.device,
            organization: row.said.organization.0,
            path: &row.path,
            key: key.key,
            recorded_at: row.said.recorded_at,
            payload: &row.payload,
            shape: None,
            said: Some(&row.said),
        };
        rows.insert(*key, row);
    }
    let mut apart = Vec::new();
    for (key, row) in latest {
        let device = key.device;
        let newest = Row {
            device,
            organization: row.organization.0,
            path: &key.path,
            key: row.key,
            recorded_at: row.recorded_at,
            payload: &row.payload,
            shape: Some(key.shape),
            said: None,
        };
        match rows.get_mut(&HistoryKey { device, key: row.key }) {
            Some(held) if held.shape.is_none() && held.is_same(&newest) => held.shape = newest.shape,
            Some(_) | None => apart.push(newest),
        }
    }
    rows.into_values().chain(apart).collect()
}

impl Row<'_> {
    fn is_same(&self, other: &Row<'_>) -> bool {
        self.path == other.path
            && self.recorded_at == other.recorded_at
            && (Arc::ptr_eq(self.payload, other.payload) || self.payload == other.payload)
    }
}

/// The rows as a table, each payload read once.
macro_rules! with_rows {
    ($then:expr) => {
        concat!(
            "WITH row AS MATERIALIZED (
                 SELECT unnest($1::uuid[]) AS device, unnest($2::uuid[]) AS organization, unnest($3::text[]) AS path,
                        unnest($4::timestamptz[]) AS at, unnest($5::bigint[]) AS sequence, unnest($6::uuid[]) AS id,
                        unnest($7::timestamptz[]) AS recorded_at, unnest($8::text[]) AS content_type,
                        unnest($9::text[])::jsonb AS data, unnest($10::bytea[]) AS bytes,
                        unnest($11::uuid[]) AS shape, unnest($12::boolean[]) AS is_kept,
                        unnest($13::text[]) AS origin, unnest($14::text[]) AS device_name,
                        unnest($15::timestamptz[]) AS name_at
             ), ",
            $then
        )
    };
}

macro_rules! insert_kept {
    () => {
        "INSERT INTO readings AS held
                (provider_device, organization, path, at, sequence, id, recorded_at, content_type, data, bytes,
                 origin, device_name, name_at)
         SELECT device, organization, path, at, sequence, id, recorded_at, content_type, data, bytes,
                origin, device_name, name_at
           FROM row WHERE is_kept"
    };
}

macro_rules! insert_latest {
    () => {
        "INSERT INTO readings_latest AS held
                (provider_device, organization, path, shape, at, sequence, id, recorded_at, content_type, data, bytes)
         SELECT device, organization, path, shape, at, sequence, id, recorded_at, content_type, data, bytes
           FROM row WHERE shape IS NOT NULL"
    };
}

/// Joins readings and the newest of each shape, and drops shapes that are no longer among the newest of their path.
/// Returns how many of the history are new.
///
/// Of `new` provider devices nothing is written yet: their rows need not be looked for.
pub(crate) async fn join(
    connection: &mut PgConnection,
    readings: &BTreeMap<HistoryKey, ReadingRow>,
    latest: &BTreeMap<LatestKey, LatestRow>,
    new: &BTreeSet<DeviceKey>,
) -> sqlx::Result<u64> {
    let (new, known): (Vec<Row>, Vec<Row>) = rows(readings, latest)
        .into_iter()
        .partition(|row| new.contains(&row.device));
    Ok(insert(connection, &new).await? + upsert(connection, &known).await?)
}

async fn insert(connection: &mut PgConnection, rows: &[Row<'_>]) -> sqlx::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let statement = sqlx::query(with_rows!(concat!(
        "kept AS (",
        insert_kept!(),
        ") ",
        insert_latest!()
    )));
    bind(statement, rows).execute(connection).await?;
    let kept = rows.iter().filter(|row| row.said.is_some()).count();
    Ok(u64::try_from(kept).unwrap_or(u64::MAX))
}

async fn upsert(connection: &mut PgConnection, rows: &[Row<'_>]) -> sqlx::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    // Only a shape that was not there can be one too many.
    let statement = sqlx::query(with_rows!(concat!(
        "kept AS (",
        insert_kept!(),
        "    ON CONFLICT (provider_device, at, sequence, id) DO UPDATE
            SET recorded_at = EXCLUDED.recorded_at
          WHERE EXCLUDED.recorded_at < held.recorded_at
         RETURNING 1), latest AS (",
        insert_latest!(),
        "    ON CONFLICT (provider_device, path, shape) DO UPDATE
            SET at = EXCLUDED.at, sequence = EXCLUDED.sequence, id = EXCLUDED.id, recorded_at = EXCLUDED.recorded_at,
                content_type = EXCLUDED.content_type, data = EXCLUDED.data, bytes = EXCLUDED.bytes
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)
             OR ((EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) = (held.at, held.sequence, held.id)
                 AND EXCLUDED.recorded_at < held.recorded_at)
         RETURNING provider_device, path, xmax = 0 AS is_new)
         SELECT NULL::uuid AS device, NULL::text AS path, count(*) AS n FROM kept
          UNION ALL
         SELECT DISTINCT provider_device, path, 0 FROM latest WHERE is_new"
    )));
    let written: Vec<(Option<Uuid>, Option<String>, i64)> = bind(statement, rows)
        .try_map(|row: sqlx::postgres::PgRow| sqlx::FromRow::from_row(&row))
        .fetch_all(&mut *connection)
        .await?;
    let kept: i64 = written.iter().map(|(_, _, n)| n).sum();
    let grown = written.into_iter();
    drop_oldest(connection, grown.filter_map(|(device, path, _)| device.zip(path))).await?;
    Ok(u64::try_from(kept).unwrap_or_default())
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn bind<'q>(statement: Statement<'q>, rows: &'q [Row<'q>]) -> Statement<'q> {
    fn column<'q, T>(rows: &'q [Row<'q>], of: impl Fn(&'q Row<'q>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    statement
        .bind(column(rows, |row| row.device))
        .bind(column(rows, |row| row.organization))
        .bind(column(rows, |row| row.path))
        .bind(column(rows, |row| At(row.key.at)))
        .bind(column(rows, |row| row.key.sequence))
        .bind(column(rows, |row| row.key.id.0))
        .bind(column(rows, |row| At(row.recorded_at)))
        .bind(column(rows, |row| row.payload.content_type.as_deref()))
        .bind(column(rows, |row| row.payload.data.as_deref()))
        .bind(column(rows, |row| row.payload.bytes.as_deref()))
        .bind(column(rows, |row| row.shape))
        .bind(column(rows, |row| row.said.is_some()))
        .bind(column(rows, |row| row.said.and_then(origin)))
        .bind(column(rows, |row| {
            row.said.and_then(|said| said.device_name.as_deref())
        }))
        .bind(column(rows, |row| row.said.and_then(|said| said.name_at.map(At))))
}

/// Drops shapes that are no longer among the newest of these paths.
async fn drop_oldest(
    connection: &mut PgConnection,
    paths: impl Iterator<Item = (DeviceKey, String)>,
) -> sqlx::Result<()> {
    let (devices, paths): (Vec<DeviceKey>, Vec<String>) = paths.unzip();
    if devices.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM readings_latest AS held
          USING unnest($1::uuid[], $2::text[]) AS grown (device, path),
                LATERAL (
                    SELECT kept.at, kept.sequence, kept.id
                      FROM readings_latest AS kept
                     WHERE kept.provider_device = grown.device AND kept.path = grown.path
                     ORDER BY kept.at DESC, kept.sequence DESC, kept.id DESC
                    OFFSET $3 LIMIT 1
                ) AS last
          WHERE held.provider_device = grown.device AND held.path = grown.path
            AND (held.at, held.sequence, held.id) < (last.at, last.sequence, last.id)",
    )
    .bind(devices)
    .bind(paths)
    .bind(i64::try_from(MAX_SHAPES - 1).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}
