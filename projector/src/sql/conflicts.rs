//! How many conflicts wait, as readers see them.

use sqlx::{FromRow, PgPool, raw_sql};

/// Conflicts that have something in common.
#[derive(Debug, FromRow)]
pub(crate) struct Count {
    /// `field`, or a kind of identity conflict.
    pub(crate) kind: String,
    /// The field; `tag` for every tag, empty where it is about identity.
    pub(crate) field: String,
    /// The integration that contradicts; empty if several are in question.
    pub(crate) integration: String,
    /// How long they have been waiting: `1h` for less than an hour, `1d`, `7d`, or `older`.
    pub(crate) age: String,
    /// How many.
    pub(crate) pending: i64,
    /// How long the oldest has been waiting.
    pub(crate) oldest_seconds: f64,
}

/// Counts what waits, unless that takes unusually long.
pub(crate) async fn count(pool: &PgPool) -> sqlx::Result<Vec<Count>> {
    let mut look = pool.begin().await?;
    raw_sql("SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '30s'; SET LOCAL jit = off")
        .execute(&mut *look)
        .await?;
    let counts = sqlx::query_as(
        "SELECT c.kind,
                CASE WHEN fleet.is_tag_field(c.field) THEN 'tag' ELSE coalesce(c.field, '') END AS field,
                coalesce(c.integration::text, '') AS integration,
                CASE WHEN c.opened_at > now() - interval '1 hour' THEN '1h'
                     WHEN c.opened_at > now() - interval '1 day' THEN '1d'
                     WHEN c.opened_at > now() - interval '7 days' THEN '7d'
                     ELSE 'older' END AS age,
                count(*) AS pending,
                greatest(max(extract(epoch FROM now() - c.opened_at)), 0)::float8 AS oldest_seconds
           FROM fleet.conflicts c
          GROUP BY 1, 2, 3, 4",
    )
    .fetch_all(&mut *look)
    .await?;
    look.rollback().await?;
    Ok(counts)
}

/// Whether that was why they were not counted.
pub(crate) fn took_too_long(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some("57014")
}
