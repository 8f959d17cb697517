//! Events that were set aside.

use schema::{Micros, Topic};
use sqlx::{PgConnection, PgPool};
use stream::{LogIdentity, Position, RawRecord};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::dead_letters::{DeadLetter, Reason};

/// What is written down of one.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) generation: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) record_offset: i64,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) sqlstate: Option<String>,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) event_name: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) organization: Option<Uuid>,
    pub(crate) integration: Option<Uuid>,
    pub(crate) recorded_at: Option<OffsetDateTime>,
    pub(crate) set_aside_at: OffsetDateTime,
    pub(crate) attempts: i32,
    pub(crate) failed_at: OffsetDateTime,
    pub(crate) redriven_at: Option<OffsetDateTime>,
    pub(crate) redriven_by: Option<String>,
}

/// Sets records aside. Those that were before stay as they are.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    generation: &str,
    log: &LogIdentity,
    letters: &[DeadLetter],
) -> sqlx::Result<()> {
    for letter in letters {
        insert_one(connection, generation, log, letter).await?;
    }
    Ok(())
}

async fn insert_one(
    connection: &mut PgConnection,
    generation: &str,
    log: &LogIdentity,
    letter: &DeadLetter,
) -> sqlx::Result<()> {
    let DeadLetter { position, said, .. } = letter;
    let reason: &'static str = letter.reason.into();
    let headers = letter.record.as_ref().map(|record| record.headers.as_slice());
    let names: Option<Vec<&str>> =
        headers.map(|headers| headers.iter().map(|(name, _)| name.as_str()).collect());
    let values: Option<Vec<Option<&[u8]>>> =
        headers.map(|headers| headers.iter().map(|(_, value)| value.as_deref()).collect());
    sqlx::query(
        "INSERT INTO projection_meta.dead_letters
                (generation, log_id, topic, partition, record_offset, reason, detail, sqlstate,
                 event_id, event_name, subject, organization, integration, recorded_at,
                 record_key, header_names, header_values, record_value)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
         ON CONFLICT DO NOTHING",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(position.topic.suffix())
    .bind(position.partition)
    .bind(position.offset)
    .bind(reason)
    .bind(&letter.detail)
    .bind(&letter.sqlstate)
    .bind(said.id)
    .bind(&said.name)
    .bind(&said.subject)
    .bind(said.organization.map(|organization| organization.0))
    .bind(said.integration.map(|integration| integration.0))
    .bind(said.recorded_at.map(Micros::to_datetime))
    .bind(letter.record.as_ref().and_then(|record| record.key.as_deref()))
    .bind(names)
    .bind(values)
    .bind(letter.record.as_ref().and_then(|record| record.value.as_deref()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of the active generation, oldest first; with `all`, those too that were folded after all.
pub(crate) async fn of_active(pool: &PgPool, all: bool) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "SELECT d.*
           FROM projection_meta.dead_letters d
           JOIN projection_meta.generations g USING (generation)
          WHERE g.state = 'active' AND ($1 OR d.redriven_at IS NULL)
          ORDER BY d.set_aside_at, d.topic, d.partition, d.record_offset",
    )
    .bind(all)
    .fetch_all(pool)
    .await
}

/// How many of the active generation's wait, by reason.
pub(crate) async fn count(pool: &PgPool) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT d.reason, count(*)
           FROM projection_meta.dead_letters d
           JOIN projection_meta.generations g USING (generation)
          WHERE g.state = 'active' AND d.redriven_at IS NULL
          GROUP BY d.reason",
    )
    .fetch_all(pool)
    .await
}

/// The positions of a generation's that still wait.
pub(crate) async fn waiting(connection: &mut PgConnection, generation: &str) -> sqlx::Result<Vec<Position>> {
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT topic, partition, record_offset FROM projection_meta.dead_letters
          WHERE generation = $1 AND redriven_at IS NULL",
    )
    .bind(generation)
    .fetch_all(connection)
    .await?;
    let position = |(topic, partition, offset): (String, i32, i64)| {
        Some(Position {
            topic: topic_of(&topic)?,
            partition,
            offset,
        })
    };
    Ok(rows.into_iter().filter_map(position).collect())
}

/// The positions, in one Kafka partition, of those that Postgres refuses in the active generation, and how many wait
/// there in all.
pub(crate) async fn of_partition(
    connection: &mut PgConnection,
    log: &LogIdentity,
    partition: i32,
) -> sqlx::Result<(Vec<Position>, usize)> {
    let rows: Vec<(String, i64, Option<String>)> = sqlx::query_as(
        "SELECT d.topic, d.record_offset, d.sqlstate
           FROM projection_meta.dead_letters d
           JOIN projection_meta.generations g USING (generation)
          WHERE g.state = 'active' AND d.log_id = $1 AND d.partition = $2 AND d.redriven_at IS NULL",
    )
    .bind(log.log_id.as_str())
    .bind(partition)
    .fetch_all(connection)
    .await?;
    let n_waiting = rows.len();
    let refused = rows.into_iter().filter(|(_, _, sqlstate)| sqlstate.is_some());
    let positions = refused.filter_map(|(topic, offset, _)| {
        Some(Position {
            topic: topic_of(&topic)?,
            partition,
            offset,
        })
    });
    Ok((positions.collect(), n_waiting))
}

/// Takes those over from the active generation that the log holds no more.
pub(crate) async fn take_over(
    connection: &mut PgConnection,
    generation: &str,
    log: &LogIdentity,
    beginnings: &[Position],
) -> sqlx::Result<()> {
    let topics: Vec<&str> = beginnings
        .iter()
        .map(|position| position.topic.suffix())
        .collect();
    let partitions: Vec<i32> = beginnings.iter().map(|position| position.partition).collect();
    let first: Vec<i64> = beginnings.iter().map(|position| position.offset).collect();
    sqlx::query(
        "INSERT INTO projection_meta.dead_letters
                (generation, log_id, topic, partition, record_offset, reason, detail, sqlstate,
                 event_id, event_name, subject, organization, integration, recorded_at,
                 record_key, header_names, header_values, record_value, set_aside_at, attempts, failed_at)
         SELECT $1, d.log_id, d.topic, d.partition, d.record_offset, d.reason, d.detail, d.sqlstate,
                d.event_id, d.event_name, d.subject, d.organization, d.integration, d.recorded_at,
                d.record_key, d.header_names, d.header_values, d.record_value, d.set_aside_at, d.attempts, d.failed_at
           FROM projection_meta.dead_letters d
           JOIN projection_meta.generations g USING (generation)
           JOIN unnest($3::text[], $4::integer[], $5::bigint[]) AS beginning (topic, partition, first_offset)
             ON beginning.topic = d.topic AND beginning.partition = d.partition
            AND d.record_offset < beginning.first_offset
          WHERE g.state = 'active' AND d.log_id = $2 AND d.redriven_at IS NULL
             ON CONFLICT DO NOTHING",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(topics)
    .bind(partitions)
    .bind(first)
    .execute(connection)
    .await?;
    Ok(())
}

/// The record of one that waits in a generation, held until the transaction ends: none if it does not wait there, and
/// nothing of it if only its position was kept.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    generation: &str,
    position: Position,
) -> sqlx::Result<Option<Option<RawRecord>>> {
    let row: Option<RecordRow> = sqlx::query_as(
        "SELECT record_key, header_names, header_values, record_value
           FROM projection_meta.dead_letters
          WHERE generation = $1 AND topic = $2 AND partition = $3 AND record_offset = $4 AND redriven_at IS NULL
            FOR UPDATE",
    )
    .bind(generation)
    .bind(position.topic.suffix())
    .bind(position.partition)
    .bind(position.offset)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(RecordRow::record))
}

/// The record of one of the active generation's, if it is kept.
pub(crate) async fn record(pool: &PgPool, position: Position) -> sqlx::Result<Option<RawRecord>> {
    let row: Option<RecordRow> = sqlx::query_as(
        "SELECT d.record_key, d.header_names, d.header_values, d.record_value
           FROM projection_meta.dead_letters d
           JOIN projection_meta.generations g USING (generation)
          WHERE g.state = 'active' AND d.topic = $1 AND d.partition = $2 AND d.record_offset = $3",
    )
    .bind(position.topic.suffix())
    .bind(position.partition)
    .bind(position.offset)
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(RecordRow::record))
}

#[derive(sqlx::FromRow)]
struct RecordRow {
    record_key: Option<Vec<u8>>,
    header_names: Option<Vec<String>>,
    header_values: Option<Vec<Option<Vec<u8>>>>,
    record_value: Option<Vec<u8>>,
}

impl RecordRow {
    fn record(self) -> Option<RawRecord> {
        let headers = self.header_names?.into_iter().zip(self.header_values?);
        Some(RawRecord {
            key: self.record_key,
            headers: headers.collect(),
            value: self.record_value,
        })
    }
}

/// Its rows are there now: it waits no more, and its record is in the log alone.
pub(crate) async fn redriven(
    connection: &mut PgConnection,
    generation: &str,
    position: Position,
    author: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE projection_meta.dead_letters
            SET redriven_at = now(), redriven_by = $5, attempts = attempts + 1,
                record_key = NULL, header_names = NULL, header_values = NULL, record_value = NULL
          WHERE generation = $1 AND topic = $2 AND partition = $3 AND record_offset = $4",
    )
    .bind(generation)
    .bind(position.topic.suffix())
    .bind(position.partition)
    .bind(position.offset)
    .bind(author)
    .execute(connection)
    .await?;
    Ok(())
}

/// It was tried again in vain.
pub(crate) async fn failed_again(
    connection: &mut PgConnection,
    generation: &str,
    position: Position,
    (reason, detail, sqlstate): (Reason, &str, Option<&str>),
) -> sqlx::Result<()> {
    let reason: &'static str = reason.into();
    sqlx::query(
        "UPDATE projection_meta.dead_letters
            SET attempts = attempts + 1, failed_at = now(), reason = $5, detail = $6, sqlstate = $7
          WHERE generation = $1 AND topic = $2 AND partition = $3 AND record_offset = $4",
    )
    .bind(generation)
    .bind(position.topic.suffix())
    .bind(position.partition)
    .bind(position.offset)
    .bind(reason)
    .bind(detail)
    .bind(sqlstate)
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) fn topic_of(suffix: &str) -> Option<Topic> {
    [Topic::Events, Topic::Readings]
        .into_iter()
        .find(|topic| topic.suffix() == suffix)
}
