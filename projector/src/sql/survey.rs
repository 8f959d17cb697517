//! All devices looked at once. These statements read tables as a whole, so they are planned for that.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::session;

/// Which lock tells that a survey is being made.
const LOCK: &str = "fleetlog survey";

/// A connection that reads much at a time and takes no more than one processor.
pub(crate) async fn open(pool: &PgPool, generation: &str) -> sqlx::Result<PgConnection> {
    let mut connection = session::open_to_load(pool, generation).await?;
    sqlx::raw_sql("SET max_parallel_workers_per_gather = 0; SET statement_timeout = '10min'")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Tries to be the only one at it, until the connection ends.
pub(crate) async fn take_turn(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(LOCK)
        .fetch_one(connection)
        .await
}

/// When the newest survey began, and what the time is there.
pub(crate) async fn newest(
    connection: &mut PgConnection,
) -> sqlx::Result<(Option<OffsetDateTime>, OffsetDateTime)> {
    sqlx::query_as("SELECT (SELECT as_of FROM projection_meta.surveys), now()")
        .fetch_one(connection)
        .await
}

/// How those stand that are one provider device each: nearly all, and in one go. Returns how many had changed.
pub(crate) async fn single(connection: &mut PgConnection) -> sqlx::Result<u64> {
    // A search for each device would take ten times as long, and that is what Postgres chooses if it takes them for few.
    sqlx::raw_sql("SET enable_nestloop = off; SET enable_mergejoin = off")
        .execute(&mut *connection)
        .await?;
    let changed = sqlx::query(concat!(
        "INSERT INTO projection_meta.standing AS held (device, organization, serial, connectivity)
         SELECT found.* FROM (
            SELECT d.id AS device, d.organization, d.serial, shown.connectivity
              FROM links l
              JOIN devices d ON d.id = l.device
              JOIN activity a ON a.provider_device = l.provider_device
             CROSS JOIN LATERAL (
                SELECT a.connected_at IS NOT NULL
                       AND (a.last_report_at IS NULL
                            OR (a.connected_at, a.connected_sequence, a.connected_id)
                             > (a.last_report_at, a.last_report_sequence, a.last_report_id)) AS is_start
             ) which
              LEFT JOIN control.integration_policy known ON known.integration = a.integration
              LEFT JOIN (
                SELECT h.integration, greatest(max(h.last_push_at), max(h.last_scan_at)) AS listened_until
                  FROM listening h
                 GROUP BY h.integration
              ) heard ON heard.integration = a.integration
             CROSS JOIN LATERAL fleet.connectivity_of(
                now(),
                NULL,
                CASE WHEN which.is_start THEN a.connected_at ELSE a.last_report_at END,
                CASE WHEN which.is_start THEN a.connected_sequence ELSE a.last_report_sequence END,
                NULL,
                a.connected_at, a.connected_sequence, a.connected_session,
                a.disconnected_at, a.disconnected_sequence, a.disconnected_session, NULL,
                coalesce(known.online_interval, interval '10 minutes'),
                coalesce(known.offline_timeout, interval '1 hour'),
                heard.listened_until
             ) shown
             WHERE NOT EXISTS (
                SELECT FROM links o WHERE o.device = l.device AND o.provider_device <> l.provider_device)
         ) found",
        changed!()
    ))
    .execute(&mut *connection)
    .await?
    .rows_affected();
    sqlx::raw_sql("RESET enable_nestloop; RESET enable_mergejoin")
        .execute(connection)
        .await?;
    Ok(changed)
}

/// Devices that are several provider devices, after this one.
pub(crate) async fn several_after(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT l.device FROM links l WHERE l.device > $1 GROUP BY l.device HAVING count(*) > 1 ORDER BY 1 LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// How these stand. Returns how many had changed.
pub(crate) async fn some(connection: &mut PgConnection, devices: &[Uuid]) -> sqlx::Result<u64> {
    let changed = sqlx::query(concat!(
        "INSERT INTO projection_meta.standing AS held (device, organization, serial, connectivity)
         SELECT found.* FROM (
            SELECT c.device, c.organization, c.serial, c.connectivity
              FROM unnest($1::uuid[]) wanted (device)
              JOIN fleet.connectivity c ON c.device = wanted.device
         ) found",
        changed!()
    ))
    .bind(devices)
    .execute(connection)
    .await?;
    Ok(changed.rows_affected())
}

/// Those of which nothing was ever heard. Returns how many had changed.
pub(crate) async fn never_seen(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let changed = sqlx::query(concat!(
        "INSERT INTO projection_meta.standing AS held (device, organization, serial, connectivity)
         SELECT found.* FROM (
            SELECT d.id AS device, d.organization, d.serial, 'never_seen' AS connectivity
              FROM devices d
             WHERE d.id NOT IN (
                SELECT l.device FROM links l JOIN activity a ON a.provider_device = l.provider_device)
         ) found",
        changed!()
    ))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected())
}

/// Forgets devices that are none any more.
pub(crate) async fn forget_gone(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let gone = sqlx::query(
        "DELETE FROM projection_meta.standing s WHERE NOT EXISTS (SELECT FROM devices d WHERE d.id = s.device)",
    )
    .execute(connection)
    .await?;
    Ok(gone.rows_affected())
}

/// Sums up each organization. Returns how many devices there are.
pub(crate) async fn sum_up(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query("DELETE FROM projection_meta.summaries")
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query(
        "INSERT INTO projection_meta.summaries
         SELECT organization,
                coalesce(stood.devices, 0), coalesce(stood.online, 0), coalesce(stood.late, 0),
                coalesce(stood.offline, 0), coalesce(stood.unknown, 0), coalesce(stood.never_seen, 0),
                coalesce(known.provider_devices, 0), coalesce(known.unidentified, 0),
                coalesce(waiting.n_identities, 0),
                greatest(known.newest_at, heard.newest_at, listened.newest_at),
                coalesce(waiting.n, 0)
           FROM (
            SELECT s.organization,
                   count(*) AS devices,
                   count(*) FILTER (WHERE s.connectivity = 'online') AS online,
                   count(*) FILTER (WHERE s.connectivity = 'late') AS late,
                   count(*) FILTER (WHERE s.connectivity = 'offline') AS offline,
                   count(*) FILTER (WHERE s.connectivity = 'unknown') AS unknown,
                   count(*) FILTER (WHERE s.connectivity = 'never_seen') AS never_seen
              FROM projection_meta.standing s
             GROUP BY s.organization
           ) stood
           FULL JOIN (
            SELECT p.organization,
                   count(*) AS provider_devices,
                   count(*) FILTER (WHERE l.device IS NULL) AS unidentified,
                   max(p.seen_at) AS newest_at
              FROM provider_devices p
              LEFT JOIN links l ON l.provider_device = p.id
             GROUP BY p.organization
           ) known USING (organization)
           LEFT JOIN (
            SELECT a.organization,
                   max(greatest(a.last_report_at,
                                CASE WHEN l.device IS NOT NULL
                                     THEN greatest(a.connected_at, a.disconnected_at) END)) AS newest_at
              FROM activity a
              LEFT JOIN links l ON l.provider_device = a.provider_device
             GROUP BY a.organization
           ) heard USING (organization)
           LEFT JOIN (
            SELECT h.organization, max(greatest(h.last_push_at, h.last_scan_at)) AS newest_at
              FROM listening h
             GROUP BY h.organization
           ) listened USING (organization)
           LEFT JOIN (
            SELECT c.organization, count(*) AS n, count(*) FILTER (WHERE c.kind <> 'field') AS n_identities
              FROM fleet.conflicts c
             GROUP BY c.organization
           ) waiting USING (organization)
        RETURNING devices",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get::<i64, _>("devices")).sum()
}

/// Writes down that there is a new survey, and for how long what it found is good enough to be shown.
pub(crate) async fn note(
    connection: &mut PgConnection,
    as_of: OffsetDateTime,
    n_devices: i64,
    good_for: Option<Duration>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO projection_meta.surveys AS held (as_of, n_devices, good_until)
         VALUES ($1, $2, now() + coalesce($3 * interval '1 second', '-1 second'))
             ON CONFLICT (only_row) DO UPDATE
            SET as_of = EXCLUDED.as_of, n_devices = EXCLUDED.n_devices, good_until = EXCLUDED.good_until",
    )
    .bind(as_of)
    .bind(n_devices)
    .bind(good_for.map(|good_for| good_for.as_secs_f64()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Only rows that differ are written.
macro_rules! changed {
    () => {
        " LEFT JOIN projection_meta.standing s ON s.device = found.device
          WHERE s.connectivity IS DISTINCT FROM found.connectivity OR s.serial IS DISTINCT FROM found.serial
             ON CONFLICT (device) DO UPDATE
            SET organization = EXCLUDED.organization, serial = EXCLUDED.serial, connectivity = EXCLUDED.connectivity"
    };
}
use changed;
