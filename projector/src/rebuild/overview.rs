//! All generations, and what is going on with each.

use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::RebuildError;
use crate::{generations, sql::rebuilds};

/// A generation, and what is going on with it.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Its name, which is its schema's.
    pub generation: String,
    /// `building`, `active` or `retired`.
    pub state: &'static str,
    /// The version of the rules that fill it.
    pub fold_version: i32,
    /// The log it is bound to.
    pub log: Option<String>,
    /// Since when it is in its state.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Rows in its tables, as Postgres estimates them.
    pub rows: i64,
    /// Bytes on disk, with indexes.
    pub bytes: i64,
    /// Where it stands: topic, partition, offset.
    pub positions: Vec<(String, i32, i64)>,
    /// The rebuild that fills it or filled it.
    pub rebuild: Option<Rebuild>,
    /// It is being filled, promoted or gone back to at this moment.
    pub at_work: bool,
    /// What is left of a rebuild that was killed before it had begun, or of one that was being dropped.
    pub litter: bool,
}

/// What a rebuild left in writing.
#[derive(Clone, Debug, Serialize)]
pub struct Rebuild {
    /// Who was last at work on it.
    pub owner: String,
    /// In which phase it is, or was when it was stopped.
    pub phase: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub began_at: OffsetDateTime,
    /// When it last said something.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// How it compares with the generation that was live; nothing before it was proved.
    pub proof: Option<Value>,
    /// The digest that accepts what differs.
    pub difference: Option<String>,
}

/// All generations, by number.
pub async fn overview(pool: &PgPool) -> Result<Vec<Overview>, RebuildError> {
    let generations = generations::list(pool).await?;
    let mut connection = pool.acquire().await?;
    let is_at_work = rebuilds::is_at_work(&mut connection).await?;
    let written = rebuilds::written(&mut connection).await?;
    // The one at work wrote last.
    let newest = written.iter().filter(|(_, one)| one.proof.is_none());
    let newest = newest
        .max_by_key(|(_, one)| one.updated_at)
        .map(|(name, _)| name.clone());
    let mut all = Vec::new();
    for one in generations {
        let (rows, bytes) = rebuilds::size(&mut connection, &one.generation).await?;
        let standing = rebuilds::standing(&mut connection, &one.generation).await?;
        let rebuild = written.get(&one.generation).cloned();
        let building = one.state == generations::State::Building;
        all.push(Overview {
            at_work: is_at_work
                && building
                && (newest.as_ref() == Some(&one.generation) || rebuild.is_none()),
            litter: building && rebuild.is_none() && !is_at_work,
            generation: one.generation,
            state: one.state.into(),
            fold_version: one.fold_version,
            log: one.log_id,
            since: one.changed_at,
            rows,
            bytes,
            positions: standing
                .iter()
                .map(|at| (at.topic.suffix().to_owned(), at.partition, at.offset))
                .collect(),
            rebuild,
        });
    }
    Ok(all)
}
