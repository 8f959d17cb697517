//! What the doctor asks of PostgreSQL, as the owner of the tables.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};
use stream::Position;

/// What is folded of the generation that readers see.
pub(super) struct Folded {
    /// The next offset, by topic suffix and partition.
    next: BTreeMap<(String, i32), i64>,
    /// How long ago any of them moved or was taken over; nothing if none ever was.
    pub(super) idle_seconds: Option<f64>,
}

impl Folded {
    /// The next offset of the partition that this position is in.
    pub(super) fn next(&self, position: &Position) -> i64 {
        let partition = (position.topic.suffix().to_owned(), position.partition);
        self.next.get(&partition).copied().unwrap_or(0)
    }
}

/// The server's version.
pub(super) async fn version(pool: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(pool)
        .await
}

/// What time it is there, in microseconds since 1970.
pub(super) async fn clock(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .fetch_one(connection)
        .await
}

/// How far the generation is folded that readers see.
pub(super) async fn folded(pool: &PgPool) -> sqlx::Result<Folded> {
    let rows: Vec<(String, i32, i64, f64)> = sqlx::query_as(
        "SELECT o.topic, o.partition, o.next_offset, extract(epoch FROM now() - o.updated_at)::float8
           FROM projection_meta.offsets o
           JOIN projection_meta.generations g USING (generation)
          WHERE g.state = 'active'",
    )
    .fetch_all(pool)
    .await?;
    Ok(Folded {
        idle_seconds: rows.iter().map(|(.., idle)| *idle).reduce(f64::min),
        next: rows
            .into_iter()
            .map(|(topic, partition, next, _)| ((topic, partition), next))
            .collect(),
    })
}

/// Events that wait to be folded after all.
pub(super) async fn set_aside(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*)
           FROM projection_meta.dead_letters d
           JOIN projection_meta.generations g USING (generation)
          WHERE g.state = 'active' AND d.redriven_at IS NULL",
    )
    .fetch_one(pool)
    .await
}

/// How long ago the newest checkpoint of each partition was taken, in seconds.
pub(super) async fn checkpoint_ages(pool: &PgPool, log_id: &str) -> sqlx::Result<BTreeMap<i32, f64>> {
    let rows: Vec<(i32, f64)> = sqlx::query_as(
        "SELECT partition, extract(epoch FROM now() - taken_at)::float8
           FROM projection_meta.checkpoints
          WHERE log_id = $1 AND covered > 0",
    )
    .bind(log_id)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().collect())
}

/// What a role must be allowed and is not, each a sentence.
///
/// Views run with the rights of whoever reads them, so readers need those on what views are made of, too.
pub(super) async fn missing_grants(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "WITH role (name) AS (
            VALUES ('fleetlog_ingest'), ('fleetlog_projector'), ('fleetlog_operator'), ('fleetlog_api')
         ), there AS (
            SELECT role.name FROM role JOIN pg_catalog.pg_roles r ON r.rolname = role.name
         ), reading AS (
            SELECT c.oid, c.oid::regclass::text AS name
              FROM pg_catalog.pg_class c
             WHERE c.relnamespace = to_regnamespace('fleet') AND c.relkind = 'v'
            UNION
            SELECT d.refobjid, d.refobjid::regclass::text
              FROM pg_catalog.pg_class c
              JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid
              JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                                         AND d.refclassid = 'pg_class'::regclass
              JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p', 'v')
             WHERE c.relnamespace = to_regnamespace('fleet') AND c.relkind = 'v'
         ), writing (role, name, privileges) AS (
            VALUES ('fleetlog_ingest', 'control.organizations', 'SELECT'),
                   ('fleetlog_ingest', 'control.integrations', 'SELECT'),
                   ('fleetlog_ingest', 'control.credentials', 'SELECT'),
                   ('fleetlog_ingest', 'control.revision', 'SELECT'),
                   ('fleetlog_ingest', 'control.credential_use', 'SELECT, INSERT, UPDATE'),
                   ('fleetlog_projector', 'control.integration_policy', 'SELECT')
         )
         SELECT 'there is no role ' || name FROM role WHERE name NOT IN (SELECT name FROM there)
         UNION ALL
         SELECT there.name || ' may not read ' || reading.name
           FROM there, reading
          WHERE there.name IN ('fleetlog_operator', 'fleetlog_api')
            AND NOT has_any_column_privilege(there.name::name, reading.oid, 'SELECT')
         UNION ALL
         SELECT writing.role || ' may not ' || each.privilege || ' ' || writing.name
           FROM writing
           JOIN there ON there.name = writing.role
          CROSS JOIN unnest(string_to_array(writing.privileges, ', ')) each (privilege)
          WHERE to_regclass(writing.name) IS NULL
             OR NOT has_any_column_privilege(writing.role::name, to_regclass(writing.name), each.privilege)
         UNION ALL
         SELECT there.name || ' may not make schemas in this database'
           FROM there
          WHERE there.name = 'fleetlog_projector'
            AND NOT has_database_privilege(there.name::name, current_database(), 'CREATE')
         UNION ALL
         SELECT there.name || ' may not ' || each.privilege || ' ' || c.oid::regclass
           FROM there
           JOIN projection_meta.generations g ON g.state = 'active'
           JOIN pg_catalog.pg_class c ON c.relnamespace IN (to_regnamespace(g.generation), to_regnamespace('projection_meta'))
                                     AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) each (privilege)
          WHERE there.name = 'fleetlog_projector'
            AND NOT has_table_privilege(there.name::name, c.oid, each.privilege)
         UNION ALL
         SELECT there.name || ' does not own ' || n.nspname
           FROM there
           JOIN pg_catalog.pg_namespace n ON n.nspname ~ '^gen_[0-9]+$' OR n.nspname IN ('fleet', 'projection_meta')
          WHERE there.name = 'fleetlog_projector' AND n.nspowner <> to_regrole(there.name)
          ORDER BY 1
          LIMIT 20",
    )
    .fetch_all(pool)
    .await
}
