//! What a rebuild remembers, who is at work, and where generations stand.

use std::collections::BTreeMap;

use schema::Topic;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use stream::Position;
use time::OffsetDateTime;

use crate::rebuild::Rebuild;

/// The owner of a partition that is nobody's: whoever the group assigns it to may take it at once.
pub(crate) const NOBODY: &str = "nobody";

/// A generation that is being built, or was left half built.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Building {
    pub(crate) generation: String,
    pub(crate) fold_version: i32,
    pub(crate) log_id: Option<String>,
    /// Nothing where it was left before a rebuild had begun with it.
    pub(crate) begun: Option<Begun>,
}

/// A rebuild that had begun.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Begun {
    /// The phase it was last in.
    pub(crate) phase: String,
    pub(crate) from: Vec<Position>,
    pub(crate) to: Vec<Position>,
    /// What loading came to, if it has ended.
    pub(crate) loaded: Option<Value>,
    /// It was compared with the live generation.
    pub(crate) proved: bool,
    /// The digest of what differs.
    pub(crate) difference: Option<String>,
}

/// Takes the one right to rebuild, promote or roll back, for as long as the connection lives. `false`: another has it.
pub(crate) async fn take_turn(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('fleetlog rebuild', 0))")
        .fetch_one(connection)
        .await
}

/// Whether somebody has that right now.
pub(crate) async fn is_at_work(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (
            SELECT FROM pg_catalog.pg_locks l
             WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
               AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('fleetlog rebuild', 0))",
    )
    .fetch_one(connection)
    .await
}

/// The generations in state `building`.
pub(crate) async fn building(connection: &mut PgConnection) -> sqlx::Result<Vec<Building>> {
    type Offsets = Option<Json<BTreeMap<String, i64>>>;
    type Row = (
        String,
        i32,
        Option<String>,
        Option<String>,
        Offsets,
        Offsets,
        Option<Json<Value>>,
        bool,
        Option<String>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT generation, g.fold_version, g.log_id, r.phase, r.from_offsets, r.to_offsets, r.loaded,
                r.proof IS NOT NULL, r.difference
           FROM projection_meta.generations g
           LEFT JOIN projection_meta.rebuilds r USING (generation)
          WHERE g.state = 'building'
          ORDER BY length(generation), generation",
    )
    .fetch_all(connection)
    .await?;
    let building = |(generation, fold_version, log_id, phase, from, to, loaded, proved, difference): Row| {
        let begun = phase
            .zip(from.zip(to))
            .map(|(phase, (Json(from), Json(to)))| Begun {
                phase,
                from: positions(&from),
                to: positions(&to),
                loaded: loaded.map(|Json(loaded)| loaded),
                proved,
                difference,
            });
        Building {
            generation,
            fold_version,
            log_id,
            begun,
        }
    };
    Ok(rows.into_iter().map(building).collect())
}

/// Remembers what a rebuild is to read.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    generation: &str,
    owner: &str,
    (from, to): (&[Position], &[Position]),
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO projection_meta.rebuilds (generation, owner, phase, from_offsets, to_offsets)
         VALUES ($1, $2, 'plan', $3, $4)",
    )
    .bind(generation)
    .bind(owner)
    .bind(Json(named(from)))
    .bind(Json(named(to)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Remembers who is at work, and at what.
pub(crate) async fn enter(
    connection: &mut PgConnection,
    generation: &str,
    owner: &str,
    phase: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE projection_meta.rebuilds SET owner = $2, phase = $3, updated_at = now() WHERE generation = $1",
    )
    .bind(generation)
    .bind(owner)
    .bind(phase)
    .execute(connection)
    .await?;
    Ok(())
}

/// Remembers that the log is loaded.
pub(crate) async fn loaded(
    connection: &mut PgConnection,
    generation: &str,
    loaded: &Value,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE projection_meta.rebuilds SET loaded = $2, updated_at = now() WHERE generation = $1")
        .bind(generation)
        .bind(Json(loaded))
        .execute(connection)
        .await?;
    Ok(())
}

/// Remembers what the comparison came to.
pub(crate) async fn proved(
    connection: &mut PgConnection,
    generation: &str,
    proof: &Value,
    difference: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE projection_meta.rebuilds SET proof = $2, difference = $3, updated_at = now() WHERE generation = $1",
    )
    .bind(generation)
    .bind(Json(proof))
    .bind(difference)
    .execute(connection)
    .await?;
    Ok(())
}

/// Where a generation stands.
pub(crate) async fn standing(connection: &mut PgConnection, generation: &str) -> sqlx::Result<Vec<Position>> {
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT topic, partition, next_offset FROM projection_meta.offsets
          WHERE generation = $1 ORDER BY topic, partition",
    )
    .bind(generation)
    .fetch_all(connection)
    .await?;
    Ok(read(rows))
}

/// What rebuilds have written of themselves, by generation.
pub(crate) async fn written(connection: &mut PgConnection) -> sqlx::Result<BTreeMap<String, Rebuild>> {
    type Row = (
        String,
        String,
        String,
        OffsetDateTime,
        OffsetDateTime,
        Option<Json<Value>>,
        Option<String>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT generation, owner, phase, began_at, updated_at, proof, difference FROM projection_meta.rebuilds",
    )
    .fetch_all(connection)
    .await?;
    let rebuild = |(generation, owner, phase, began_at, updated_at, proof, difference): Row| {
        let rebuild = Rebuild {
            owner,
            phase,
            began_at,
            updated_at,
            proof: proof.map(|Json(proof)| proof),
            difference,
        };
        (generation, rebuild)
    };
    Ok(rows.into_iter().map(rebuild).collect())
}

/// How many rows the tables of a generation have, as estimated, and how many bytes they and their indexes take.
pub(crate) async fn size(connection: &mut PgConnection, generation: &str) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(
        "SELECT coalesce(sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE s.n_live_tup END), 0)::bigint,
                coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
          WHERE n.nspname = $1 AND c.relkind = 'r'",
    )
    .bind(generation)
    .fetch_one(connection)
    .await
}

/// Where some partitions of a generation stand, held there until the transaction ends: projectors wait. A partition that nobody has
/// owned yet is held at its beginning.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    generation: &str,
    log: &stream::LogIdentity,
    (topics, partitions): (&[Topic], &[i32]),
) -> sqlx::Result<Vec<Position>> {
    let suffixes: Vec<&str> = topics.iter().map(|topic| topic.suffix()).collect();
    sqlx::query(
        "INSERT INTO projection_meta.offsets (generation, topic, partition, log_id, next_offset, owner_epoch, owner)
         SELECT $1, topic, partition, $2, 0, 0, $5
           FROM unnest($3::text[]) AS topic, unnest($4::integer[]) AS partition
          ORDER BY 2, 3
             ON CONFLICT DO NOTHING",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(suffixes)
    .bind(partitions)
    .bind(NOBODY)
    .execute(&mut *connection)
    .await?;
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT topic, partition, next_offset FROM projection_meta.offsets
          WHERE generation = $1 AND partition = ANY ($2) ORDER BY topic, partition FOR UPDATE",
    )
    .bind(generation)
    .bind(partitions)
    .fetch_all(connection)
    .await?;
    Ok(read(rows))
}

/// Takes a generation's partitions, or some of them, away from whoever owns them.
pub(crate) async fn disown(
    connection: &mut PgConnection,
    generation: &str,
    owner: &str,
    partitions: Option<&[i32]>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE projection_meta.offsets
            SET owner_epoch = owner_epoch + 1, owner = $2, updated_at = now()
          WHERE generation = $1 AND ($3::integer[] IS NULL OR partition = ANY ($3))",
    )
    .bind(generation)
    .bind(owner)
    .bind(partitions)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether one of these partitions of a generation was taken away without anybody else having it now.
pub(crate) async fn is_free(
    connection: &mut PgConnection,
    generation: &str,
    partitions: &[i32],
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM projection_meta.offsets
                         WHERE generation = $1 AND partition = ANY ($2) AND owner = $3)",
    )
    .bind(generation)
    .bind(partitions)
    .bind(NOBODY)
    .fetch_one(connection)
    .await
}

/// What is left of a generation is no longer to be used: it may be half gone from here on.
pub(crate) async fn abandon(connection: &mut PgConnection, generation: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM projection_meta.rebuilds WHERE generation = $1")
        .bind(generation)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE projection_meta.generations SET state = 'building', changed_at = now() WHERE generation = $1",
    )
    .bind(generation)
    .execute(connection)
    .await?;
    Ok(())
}

fn named(positions: &[Position]) -> BTreeMap<String, i64> {
    positions
        .iter()
        .map(|at| (format!("{}/{}", at.topic.suffix(), at.partition), at.offset))
        .collect()
}

fn positions(named: &BTreeMap<String, i64>) -> Vec<Position> {
    let position = |(name, offset): (&String, &i64)| {
        let (topic, partition) = name.rsplit_once('/')?;
        Some(Position {
            topic: topic_of(topic)?,
            partition: partition.parse().ok()?,
            offset: *offset,
        })
    };
    named.iter().filter_map(position).collect()
}

fn read(rows: Vec<(String, i32, i64)>) -> Vec<Position> {
    let position = |(topic, partition, offset): (String, i32, i64)| {
        Some(Position {
            topic: topic_of(&topic)?,
            partition,
            offset,
        })
    };
    rows.into_iter().filter_map(position).collect()
}

fn topic_of(suffix: &str) -> Option<Topic> {
    [Topic::Events, Topic::Readings, Topic::Checkpoints]
        .into_iter()
        .find(|topic| topic.suffix() == suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_remembered_as_they_were() {
        let at = |topic, partition, offset| Position {
            topic,
            partition,
            offset,
        };
        let before = vec![
            at(Topic::Events, 0, 3),
            at(Topic::Readings, 11, 9_007_199_254_740_993),
        ];
        assert_eq!(positions(&named(&before)), before);
    }
}
