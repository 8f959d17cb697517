//! What tables a generation has, as the catalog says.

use sqlx::PgConnection;

/// A truth table of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Names and types, in order.
    pub(crate) columns: Vec<(String, String)>,
    /// The columns of the primary key, in order.
    pub(crate) key: Vec<String>,
    /// It is a history in daily partitions.
    pub(crate) by_day: bool,
}

/// The truth tables of a generation, by name. Locks on devices are none: they hold nothing.
pub(crate) async fn of(connection: &mut PgConnection, generation: &str) -> sqlx::Result<Vec<Table>> {
    type Row = (String, Vec<String>, Vec<String>, Vec<String>, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.relname::text,
                ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
                ARRAY(SELECT format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
                ARRAY(SELECT a.attname::text
                        FROM pg_catalog.pg_index i
                       CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS part (attnum, n)
                        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = part.attnum
                       WHERE i.indrelid = c.oid AND i.indisprimary
                       ORDER BY part.n),
                c.relkind = 'p'
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname <> 'device_anchor'
          ORDER BY c.relname",
    )
    .bind(generation)
    .fetch_all(connection)
    .await?;
    let table = |(name, columns, types, key, by_day): Row| Table {
        name,
        columns: columns.into_iter().zip(types).collect(),
        key,
        by_day,
    };
    Ok(rows.into_iter().map(table).collect())
}
