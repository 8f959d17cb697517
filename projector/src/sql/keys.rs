//! Keys and indexes of a generation that was loaded without them.

use sqlx::{AssertSqlSafe, PgConnection};

/// Keeps all others from a table until the transaction ends: also whoever was killed and has not noticed yet.
pub(crate) async fn lock_table(connection: &mut PgConnection, table: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(format!(
        "LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"
    )))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a table has its primary key.
pub(crate) async fn has_primary_key(connection: &mut PgConnection, table: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint
                         WHERE conrelid = to_regclass($1) AND contype = 'p')",
    )
    .bind(table)
    .fetch_one(connection)
    .await
}

/// Whether a table or index is there.
pub(crate) async fn is_there(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Whether a table is a partition of another.
pub(crate) async fn is_attached(connection: &mut PgConnection, table: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT relispartition FROM pg_catalog.pg_class WHERE oid = to_regclass($1)")
        .bind(table)
        .fetch_one(connection)
        .await
}

/// The tables that rows of a table lie in, with their bytes: its partitions and the default one, or itself.
pub(crate) async fn leaves(connection: &mut PgConnection, table: &str) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT c.relname::text, pg_relation_size(c.oid)
           FROM pg_catalog.pg_class c
          WHERE c.oid = to_regclass($1) AND c.relkind = 'r'
             OR c.oid IN (SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = to_regclass($1))
             OR c.oid = to_regclass($1 || '_default')",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// Runs a statement of keys.sql or policies.sql.
pub(crate) async fn define(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Joins rows of equal keys. Returns how many rows there were of them.
pub(crate) async fn merge(connection: &mut PgConnection, statement: String) -> sqlx::Result<u64> {
    let merged = sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(merged.rows_affected())
}

/// Whether the policies are there: they are made together.
pub(crate) async fn has_policies(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = to_regclass('provider_devices'))",
    )
    .fetch_one(connection)
    .await
}

/// Drops latest readings that are not among the newest shapes of their path.
pub(crate) async fn drop_old_shapes(connection: &mut PgConnection, most: usize) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM readings_latest AS held
          USING (
                SELECT provider_device, path, shape,
                       row_number() OVER (PARTITION BY provider_device, path
                                              ORDER BY at DESC, sequence DESC, id DESC) AS place
                  FROM readings_latest JOIN (
                       SELECT provider_device, path FROM readings_latest
                        GROUP BY provider_device, path HAVING count(*) > $1
                       ) AS crowded USING (provider_device, path)
                ) AS ranked
          WHERE ranked.place > $1
            AND (held.provider_device, held.path, held.shape) = (ranked.provider_device, ranked.path, ranked.shape)",
    )
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}
