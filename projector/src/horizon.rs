//! Horizons: where histories were cut, and what of them is still to be dropped.
//!
//! An event says that a history is cut before an instant. From then on the truth of the history is what is at or after
//! it, live and after a rebuild alike: views hide older rows at once. Their space is given back a whole day at a time.

use std::collections::BTreeMap;

use schema::Micros;
use sqlx::{Connection as _, PgPool};

use crate::{
    generations::{self, GenerationError},
    sql::{horizons as sql, session},
};

/// The histories that can be cut.
pub const HISTORIES: [&str; 2] = ["readings", "logs"];

/// Why a horizon cannot be looked at, or what is behind it not be dropped. What was dropped before stays so.
#[derive(Debug, thiserror::Error)]
pub enum HorizonError {
    /// Generations cannot be read.
    #[error("{0}")]
    Generation(#[from] GenerationError),
    /// Postgres cannot be reached, or refuses.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

/// A history, as far as it goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The history.
    pub history: String,
    /// Rows before this are not part of the truth any more, if it was ever cut.
    pub before: Option<Micros>,
    /// Days (UTC) that have a partition.
    pub days: i64,
    /// The first of them, e.g. `2026-01-31`.
    pub first_day: Option<String>,
    /// Those that lie whole behind the horizon, still to be dropped.
    pub to_drop: i64,
}

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Days, by history.
    pub days: BTreeMap<String, u64>,
    /// Days that somebody reads or writes at the moment; they are dropped another time.
    pub busy: u64,
}

/// The histories of the live generation.
pub async fn show(pool: &PgPool) -> Result<Vec<Horizon>, HorizonError> {
    let live = generations::active(pool).await?;
    let mut connection = session::open(pool, &live.generation).await?;
    let mut shown = Vec::new();
    for history in HISTORIES {
        shown.push(sql::show(&mut connection, history).await?);
    }
    connection.close().await?;
    Ok(shown)
}

/// What a horizon would hide of a history that is seen now: days with a partition that begin before it.
pub async fn days_before(pool: &PgPool, history: &str, before: Micros) -> Result<i64, HorizonError> {
    let live = generations::active(pool).await?;
    let mut connection = session::open(pool, &live.generation).await?;
    let days = sql::days_before(&mut connection, history, before).await?;
    connection.close().await?;
    Ok(days)
}

/// Drops the days of the live generation that lie whole behind their horizon. Waits for nobody for long: a day that is
/// in use stays for another time.
pub async fn drop_behind(pool: &PgPool) -> Result<Dropped, HorizonError> {
    let live = generations::active(pool).await?;
    let mut connection = session::open(pool, &live.generation).await?;
    let mut dropped = Dropped::default();
    for (history, day) in sql::droppable(&mut connection).await? {
        match sql::drop_day(&mut connection, &history, day).await {
            Ok(true) => *dropped.days.entry(history).or_default() += 1,
            Ok(false) => {}
            Err(error) if is_busy(&error) => dropped.busy += 1,
            Err(error) => return Err(error.into()),
        }
    }
    for history in HISTORIES {
        sql::clear_default(&mut connection, history).await?;
    }
    connection.close().await?;
    Ok(dropped)
}

/// Whether a lock was waited for too long, or in a circle.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}
