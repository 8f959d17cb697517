//! Where histories were cut, and what is left behind.

use std::collections::BTreeMap;

use schema::Micros;
use sqlx::PgConnection;
use time::Date;

use super::value::{At, column};
use crate::horizon::Horizon;

/// Joins horizons: the newest of a history counts.
pub(crate) async fn join(
    connection: &mut PgConnection,
    horizons: &BTreeMap<String, Micros>,
) -> sqlx::Result<()> {
    if horizons.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO horizons AS held (history, before) SELECT * FROM unnest($1::text[], $2::timestamptz[])
             ON CONFLICT (history) DO UPDATE SET before = EXCLUDED.before WHERE EXCLUDED.before > held.before",
    )
    .bind(column(horizons, |history, _| history.as_str()))
    .bind(column(horizons, |_, before| At(*before)))
    .execute(connection)
    .await?;
    Ok(())
}

/// How far back a history goes.
pub(crate) async fn show(connection: &mut PgConnection, history: &str) -> sqlx::Result<Horizon> {
    let (before, days, first_day, to_drop): (Option<At>, i64, Option<String>, i64) = sqlx::query_as(
        "SELECT (SELECT before FROM horizons WHERE history = $1),
                count(*), min(day)::text,
                count(*) FILTER (WHERE ends_at <= (SELECT before FROM horizons WHERE history = $1))
           FROM days($1)",
    )
    .bind(history)
    .fetch_one(connection)
    .await?;
    Ok(Horizon {
        history: history.to_owned(),
        before: before.map(|At(before)| before),
        days,
        first_day,
        to_drop,
    })
}

/// How many days of a history begin before an instant.
pub(crate) async fn days_before(
    connection: &mut PgConnection,
    history: &str,
    before: Micros,
) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM days($1) WHERE ends_at - interval '1 day' < $2")
        .bind(history)
        .bind(At(before))
        .fetch_one(connection)
        .await
}

/// The days that lie whole behind the horizon of their history.
pub(crate) async fn droppable(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, Date)>> {
    sqlx::query_as(
        "SELECT h.history, d.day
           FROM horizons h, days(h.history) d
          WHERE d.ends_at <= h.before
          ORDER BY h.history, d.day",
    )
    .fetch_all(connection)
    .await
}

/// Drops one of them. Says whether it was there.
pub(crate) async fn drop_day(connection: &mut PgConnection, history: &str, day: Date) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT drop_day($1, $2)")
        .bind(history)
        .bind(day)
        .fetch_one(connection)
        .await
}

/// Deletes what lies behind the horizon of a history on days that have no partition.
pub(crate) async fn clear_default(connection: &mut PgConnection, history: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT clear_default($1)")
        .bind(history)
        .execute(connection)
        .await?;
    Ok(())
}
