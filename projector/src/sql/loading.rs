//! What a rebuild keeps about itself while it fills a generation.

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};
use stream::{LogIdentity, Position};

/// A Kafka partition that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadedPartition {
    pub(crate) partition: i32,
    /// Events that were folded.
    pub(crate) n_events: i64,
    /// Rows that were written, by table; equal keys count as often as they were written.
    pub(crate) n_rows: BTreeMap<String, i64>,
}

/// Waits for whoever loads the same partition, or has not noticed yet that it was killed. Until the transaction ends.
pub(crate) async fn lock_partition(
    connection: &mut PgConnection,
    generation: &str,
    partition: i32,
) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended(format('fleetlog load %s %s', $1::text, $2::integer), 0))",
    )
    .bind(generation)
    .bind(partition)
    .execute(connection)
    .await?;
    Ok(())
}

/// The partitions that were loaded.
pub(crate) async fn loaded(
    connection: &mut PgConnection,
    generation: &str,
) -> sqlx::Result<Vec<LoadedPartition>> {
    type Row = (i32, i64, Json<BTreeMap<String, i64>>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT partition, n_events, n_rows FROM projection_meta.loaded WHERE generation = $1 ORDER BY partition",
    )
    .bind(generation)
    .fetch_all(connection)
    .await?;
    let loaded = rows
        .into_iter()
        .map(|(partition, n_events, Json(n_rows))| LoadedPartition {
            partition,
            n_events,
            n_rows,
        });
    Ok(loaded.collect())
}

/// Remembers that a partition was loaded: in the transaction of its rows.
pub(crate) async fn remember(
    connection: &mut PgConnection,
    generation: &str,
    loaded: &LoadedPartition,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO projection_meta.loaded (generation, partition, n_events, n_rows) VALUES ($1, $2, $3, $4)",
    )
    .bind(generation)
    .bind(loaded.partition)
    .bind(loaded.n_events)
    .bind(Json(&loaded.n_rows))
    .execute(connection)
    .await?;
    Ok(())
}

/// The log that a generation is filled from; `None` if there is no such generation, or it is bound to none.
pub(crate) async fn log_of(connection: &mut PgConnection, generation: &str) -> sqlx::Result<Option<String>> {
    let log: Option<Option<String>> =
        sqlx::query_scalar("SELECT log_id FROM projection_meta.generations WHERE generation = $1")
            .bind(generation)
            .fetch_optional(connection)
            .await?;
    Ok(log.flatten())
}

/// How many positions of a generation are written.
pub(crate) async fn n_positions(connection: &mut PgConnection, generation: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM projection_meta.offsets WHERE generation = $1")
        .bind(generation)
        .fetch_one(connection)
        .await
}

/// Writes where folding goes on, owned by nobody. Positions that are there stay: somebody has gone on.
pub(crate) async fn write_positions(
    connection: &mut PgConnection,
    generation: &str,
    log: &LogIdentity,
    positions: &[Position],
) -> sqlx::Result<()> {
    let topics: Vec<&str> = positions.iter().map(|position| position.topic.suffix()).collect();
    let partitions: Vec<i32> = positions.iter().map(|position| position.partition).collect();
    let next: Vec<i64> = positions.iter().map(|position| position.offset).collect();
    sqlx::query(
        "INSERT INTO projection_meta.offsets
                (generation, topic, partition, log_id, next_offset, owner_epoch, owner)
         SELECT $1, place.topic, place.partition, $2, place.next_offset, 0, 'rebuild'
           FROM unnest($3::text[], $4::integer[], $5::bigint[]) AS place (topic, partition, next_offset)
             ON CONFLICT DO NOTHING",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(topics)
    .bind(partitions)
    .bind(next)
    .execute(connection)
    .await?;
    Ok(())
}
