//! Rows of two generations, compared: first by sums of hashes, then one by one.
//!
//! A row is compared by its text, so the settings that shape text are the same in every session: see [`open`].

use std::collections::{BTreeMap, BTreeSet};

use schema::Micros;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, error::BoxDynError};
use uuid::Uuid;

use super::{truth_tables::Table, value::At};

/// A table that two generations have, with the columns that both have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    /// The primary key; empty where the other generation lacks part of it.
    pub(crate) key: Vec<String>,
    /// It is a history in daily partitions.
    pub(crate) by_day: bool,
}

/// Where histories were cut: what is older is not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Horizons {
    pub(crate) readings: Option<Micros>,
    pub(crate) logs: Option<Micros>,
}

/// How many rows there are, and two sums of their hashes. Equal sets of rows have equal sums, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    pub(crate) first: u64,
    pub(crate) second: u64,
}

/// How many rows of a table differ, and the digest of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differing {
    pub(crate) only_live: u64,
    pub(crate) only_new: u64,
    pub(crate) changed: u64,
    pub(crate) digest: u64,
}

/// The side of a comparison that a copy of rows is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Side {
    Live,
    New,
}

/// Which rows are copied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// Those of these days; the one day of a table that is no history has no name.
    Days(&'a BTreeSet<String>),
    /// Those with one of these values in this column.
    Of(&'a str, &'a [Uuid]),
}

/// A connection for comparing: what turns values into text is set, and nothing runs into a limit of time.
pub(crate) async fn open(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let mut connection = pool.acquire().await?.detach();
    sqlx::raw_sql(
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex';
         SET search_path = pg_catalog; SET jit = off; SET work_mem = '64MB'; SET lock_timeout = '30s';
         SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    )
    .execute(&mut connection)
    .await?;
    Ok(connection)
}

/// Begins a snapshot: everything read until its end is of one instant, and days are not dropped meanwhile.
pub(crate) async fn begin(connection: &mut PgConnection, histories: &[String]) -> sqlx::Result<()> {
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *connection)
        .await?;
    if histories.is_empty() {
        return Ok(());
    }
    // Before the first statement that reads, so that nothing is lost between the lock and the snapshot.
    let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", histories.join(", "));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(connection).await?;
    Ok(())
}

/// Ends a snapshot. What was copied stays until the session ends.
pub(crate) async fn end(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

/// Where the histories of a generation were cut.
pub(crate) async fn horizons(connection: &mut PgConnection, generation: &str) -> sqlx::Result<Horizons> {
    let rows: Vec<(String, At)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT history, before FROM {generation}.horizons"
    )))
    .fetch_all(connection)
    .await?;
    let of = |wanted: &str| {
        let row = rows.iter().find(|(history, _)| history == wanted);
        row.map(|(_, before)| before.0)
    };
    Ok(Horizons {
        readings: of("readings"),
        logs: of("logs"),
    })
}

impl Common {
    /// A whole table, compared with one that is made like it.
    pub(crate) fn of(table: &Table) -> Self {
        Self {
            name: table.name.clone(),
            columns: table.columns.iter().map(|(name, _)| name.clone()).collect(),
            key: table.key.clone(),
            by_day: table.by_day,
        }
    }

    /// The rows that are compared, as a condition with `$1` for the horizon.
    fn compared(&self, generation: &str) -> String {
        match self.name.as_str() {
            "readings" | "logs" if self.by_day => "($1::timestamptz IS NULL OR t.at >= $1)".to_owned(),
            // Those of readings and log entries go with them. What is a registry fact stays.
            "receipt_timed" => format!(
                "($1::timestamptz IS NULL OR t.at >= $1 OR EXISTS (
                    SELECT FROM {generation}.registry_facts f
                     WHERE f.provider_device = t.provider_device AND f.id = t.id))"
            ),
            _ => "($1::timestamptz IS NULL OR true)".to_owned(),
        }
    }

    fn horizon(&self, horizons: Horizons) -> Option<At> {
        let horizon = match self.name.as_str() {
            "readings" | "receipt_timed" => horizons.readings,
            "logs" => horizons.logs,
            _ => None,
        };
        horizon.map(At)
    }

    fn listed(&self, of: &str) -> String {
        listed(&self.columns, of)
    }
}

fn listed(columns: &[String], of: &str) -> String {
    let quoted: Vec<_> = columns
        .iter()
        .map(|name| format!("{of}.{}", quoted(name)))
        .collect();
    quoted.join(", ")
}

/// A name as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Sums the rows of a table, by day where it is a history; others have one sum under an empty name.
pub(crate) async fn sums(
    connection: &mut PgConnection,
    generation: &str,
    table: &Common,
    horizons: Horizons,
) -> sqlx::Result<BTreeMap<String, Sum>> {
    let day = if table.by_day {
        "(t.at AT TIME ZONE 'UTC')::date::text"
    } else {
        "''::text"
    };
    // OFFSET keeps the text from being made twice.
    let statement = format!(
        "SELECT day, count(*), sum(hashtextextended(row, 0))::text, sum(hashtextextended(row, 1))::text
           FROM (SELECT {day} AS day, ROW({columns})::text AS row
                   FROM {generation}.{name} t WHERE {compared} OFFSET 0) AS texts
          GROUP BY day",
        columns = table.listed("t"),
        name = quoted(&table.name),
        compared = table.compared(generation),
    );
    let rows: Vec<(String, i64, String, String)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(table.horizon(horizons))
        .fetch_all(connection)
        .await?;
    let sum = |(day, rows, first, second): (String, i64, String, String)| {
        let sum = Sum {
            rows: rows.unsigned_abs(),
            first: wrapped(&first)?,
            second: wrapped(&second)?,
        };
        Ok((day, sum))
    };
    let sums = rows.into_iter().map(sum).collect::<Result<_, BoxDynError>>();
    sums.map_err(sqlx::Error::Decode)
}

/// A sum of 64-bit hashes, modulo 2^64.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the sum is meant to wrap"
)]
fn wrapped(sum: &str) -> Result<u64, BoxDynError> {
    Ok(sum.parse::<i128>()? as u64)
}

/// Copies some rows for [`differing`]. They are gone when the session ends.
pub(crate) async fn copy(
    connection: &mut PgConnection,
    generation: &str,
    table: &Common,
    horizons: Horizons,
    (side, part): (Side, Part<'_>),
) -> sqlx::Result<()> {
    let copied = copied(side, table);
    let name = quoted(&table.name);
    let columns = table.listed("t");
    let make = format!(
        "DROP TABLE IF EXISTS {copied};
         CREATE TEMPORARY TABLE {copied} AS SELECT {columns} FROM {generation}.{name} t WITH NO DATA"
    );
    sqlx::raw_sql("SET client_min_messages = warning")
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(make))
        .execute(&mut *connection)
        .await?;
    let fill = |condition: &str| {
        AssertSqlSafe(format!(
            "INSERT INTO {copied} SELECT {columns} FROM {generation}.{name} t WHERE {} AND {condition}",
            table.compared(generation)
        ))
    };
    let horizon = table.horizon(horizons);
    match part {
        Part::Days(days) => {
            let of_day = if table.by_day {
                "t.at >= $2::text::date::timestamptz AND t.at < ($2::text::date + 1)::timestamptz"
            } else {
                "$2::text = ''"
            };
            for day in days {
                let fill = sqlx::query(fill(of_day)).bind(horizon).bind(day);
                fill.execute(&mut *connection).await?;
            }
        }
        Part::Of(column, values) => {
            let fill = fill(&format!("t.{} = ANY ($2)", quoted(column)));
            sqlx::query(fill)
                .bind(horizon)
                .bind(values)
                .execute(&mut *connection)
                .await?;
        }
    }
    sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {copied}")))
        .execute(connection)
        .await?;
    Ok(())
}

/// How many rows both copies have: live, new.
pub(crate) async fn copied_rows(connection: &mut PgConnection, table: &Common) -> sqlx::Result<(u64, u64)> {
    let (live, new) = (copied(Side::Live, table), copied(Side::New, table));
    let (live, new): (i64, i64) = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT (SELECT count(*) FROM {live}), (SELECT count(*) FROM {new})"
    )))
    .fetch_one(connection)
    .await?;
    Ok((live.unsigned_abs(), new.unsigned_abs()))
}

fn copied(side: Side, table: &Common) -> String {
    let side: &'static str = side.into();
    format!("pg_temp.{}", quoted(&format!("{side}_{}", table.name)))
}

/// Both copies side by side, as far as they differ.
fn joined(table: &Common) -> String {
    let copy = |side| {
        format!(
            "(SELECT t.*, ROW({})::text AS \"row text\" FROM {} t)",
            table.listed("t"),
            copied(side, table)
        )
    };
    let equal = |column: &String| format!("live.{0} = new.{0}", quoted(column));
    let on = if table.key.is_empty() {
        "live.\"row text\" = new.\"row text\"".to_owned()
    } else {
        table.key.iter().map(equal).collect::<Vec<_>>().join(" AND ")
    };
    format!(
        "{} AS live FULL JOIN {} AS new ON {on} WHERE live.\"row text\" IS DISTINCT FROM new.\"row text\"",
        copy(Side::Live),
        copy(Side::New),
    )
}

/// Counts the rows that differ between both copies.
pub(crate) async fn differing(connection: &mut PgConnection, table: &Common) -> sqlx::Result<Differing> {
    let statement = format!(
        "SELECT count(*) FILTER (WHERE new.\"row text\" IS NULL),
                count(*) FILTER (WHERE live.\"row text\" IS NULL),
                count(live.\"row text\" || new.\"row text\"),
                coalesce(sum(hashtextextended(
                    coalesce(live.\"row text\", '') || chr(1) || coalesce(new.\"row text\", ''), 0)), 0)::text
           FROM {}",
        joined(table)
    );
    let (only_live, only_new, changed, digest): (i64, i64, i64, String) =
        sqlx::query_as(AssertSqlSafe(statement))
            .fetch_one(connection)
            .await?;
    Ok(Differing {
        only_live: only_live.unsigned_abs(),
        only_new: only_new.unsigned_abs(),
        changed: changed.unsigned_abs(),
        digest: wrapped(&digest).map_err(sqlx::Error::Decode)?,
    })
}

/// A value whose JSON is longer is shown by its beginning, its length and a hash, whatever it holds: a row may have many
/// megabytes. No key is as long.
const LONGEST_SHOWN: usize = 4_000;

/// SQL: one side of a joined row as JSON, null if that side has none.
fn shown(side: &str) -> String {
    format!(
        "CASE WHEN {side}.\"row text\" IS NOT NULL THEN (
              SELECT jsonb_object_agg(key, CASE WHEN length(text) <= {LONGEST_SHOWN} THEN value ELSE to_jsonb(
                         left(text, {LONGEST_SHOWN}) || '… of ' || length(text) || ' characters, MD5 ' || md5(text)) END)
                FROM (SELECT key, value, value::text AS text FROM jsonb_each(to_jsonb({side}) - 'row text')) AS fields
          )::text END"
    )
}

/// The first rows that differ, by key: as they are live and new, long values [cut](LONGEST_SHOWN).
pub(crate) async fn first_differing(
    connection: &mut PgConnection,
    table: &Common,
    at_most: u32,
) -> sqlx::Result<Vec<(Option<Value>, Option<Value>)>> {
    let order = |column: &String| format!("coalesce(live.{0}, new.{0})", quoted(column));
    let order: Vec<_> = table.key.iter().map(order).collect();
    let order = if order.is_empty() {
        "1".to_owned()
    } else {
        order.join(", ")
    };
    let statement = format!(
        "SELECT {}, {} FROM {} ORDER BY {order} LIMIT {at_most}",
        shown("live"),
        shown("new"),
        joined(table)
    );
    let rows: Vec<(Option<String>, Option<String>)> = sqlx::query_as(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    let parsed = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
    rows.into_iter()
        .map(|(live, new)| Ok((parsed(live)?, parsed(new)?)))
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Counts those of the compared rows whose column holds one of these ids.
pub(crate) async fn count_of(
    connection: &mut PgConnection,
    generation: &str,
    table: &Common,
    horizons: Horizons,
    (column, ids): (&str, &[Uuid]),
) -> sqlx::Result<u64> {
    let statement = format!(
        "SELECT count(*) FROM {generation}.{name} t WHERE {compared} AND t.{column} = ANY($2)",
        name = quoted(&table.name),
        compared = table.compared(generation),
        column = quoted(column),
    );
    let n: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(table.horizon(horizons))
        .bind(ids)
        .fetch_one(connection)
        .await?;
    Ok(n.unsigned_abs())
}

/// When integrations were heard, by integration and partition, but for some integrations.
pub(crate) async fn listening_but(
    connection: &mut PgConnection,
    generation: &str,
    integrations: &[Uuid],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT ROW(t.*)::text FROM {generation}.listening t WHERE t.integration <> ALL($1) ORDER BY 1"
    )))
    .bind(integrations)
    .fetch_all(connection)
    .await
}
