//! Where histories were cut.

use std::collections::BTreeMap;

use schema::Micros;
use sqlx::PgConnection;

use super::value::{At, column};

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
