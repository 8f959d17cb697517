//! The views of `fleet`, turned over to another generation without readers noticing.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgDatabaseError, raw_sql};
use tokio::time::Instant;

use super::{
    GenerationError, Name,
    ddl::{pin, set_lock_timeout},
};

/// What schema `fleet` holds, in the order in which one needs the other.
pub(super) const FLEET: [&str; 10] = [
    include_str!("../../../migrations/projection/functions.sql"),
    include_str!("../../../migrations/projection/views.sql"),
    include_str!("../../../migrations/projection/views_fields.sql"),
    include_str!("../../../migrations/projection/views_devices.sql"),
    include_str!("../../../migrations/projection/views_history.sql"),
    include_str!("../../../migrations/projection/views_facts.sql"),
    include_str!("../../../migrations/projection/views_conflicts.sql"),
    include_str!("../../../migrations/projection/views_overview.sql"),
    include_str!("../../../migrations/projection/comments.sql"),
    include_str!("../../../migrations/projection/grants.sql"),
];

/// Replaces the views in place where that can be, so that others' grants and views on them stay.
pub(super) async fn replace(connection: &mut PgConnection, name: &Name) -> Result<(), GenerationError> {
    set_lock_timeout(connection).await?;
    pin(connection, name).await?;
    lock_views(connection).await?;

    let mut attempt = connection.begin().await?;
    match define_fleet(&mut attempt).await {
        Ok(()) => attempt.commit().await?,
        Err(error) if error.is_other_shape() => {
            attempt.rollback().await?;
            raw_sql(DROP_FLEET)
                .execute(&mut *connection)
                .await
                .map_err(built_on)?;
            define_fleet(connection).await?;
        }
        Err(error) => return Err(error),
    }
    sqlx::query("SELECT set_config('fleetlog.generation', $1, true)")
        .bind(name.to_string())
        .execute(&mut *connection)
        .await?;
    raw_sql(DROP_LEFTOVERS).execute(connection).await?;
    Ok(())
}

/// How long the views are tried to be locked before the transaction is given up, since projectors wait meanwhile; and how
/// long readers are let through in between.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// How long slow readers are waited for at first: whoever comes later waits behind us.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);

/// How long they are waited for the next time: twice as long, but never longer than all tries may take. A try may also
/// end at once, and so there may be many.
fn longer(patience: Duration) -> Duration {
    patience.saturating_mul(2).min(LOCK_PATIENCE)
}

/// Locks all views of `fleet` at once.
///
/// A reader locks views in an order of its own: it may hold one that we want and wait for one that we hold. Postgres
/// looks for that after `deadlock_timeout`, and would end the reader. So before each lock, and every two fifths of that
/// time while waiting for it, we look for it ourselves, and let go of everything if it is so. A reader that is merely
/// slow is waited for.
async fn lock_views(connection: &mut PgConnection) -> Result<(), GenerationError> {
    let begun = Instant::now();
    let mut patience = FIRST_PATIENCE;
    loop {
        let mut locking = connection.begin().await?;
        sqlx::query("SELECT set_config('fleetlog.patience', $1, true)")
            .bind(format!("{} milliseconds", patience.as_millis()))
            .execute(&mut *locking)
            .await?;
        let locked = raw_sql(LOCK_VIEWS).execute(&mut *locking).await;
        match locked.map_err(GenerationError::from) {
            Ok(_) => {
                set_lock_timeout(&mut locking).await?;
                locking.commit().await?;
                return Ok(());
            }
            Err(error) if error.is_lost_race() && begun.elapsed() < LOCK_PATIENCE => {
                locking.rollback().await?;
                tokio::time::sleep(LOCK_PAUSE).await;
                patience = longer(patience);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Altering a view locks it alone; LOCK TABLE would also lock whatever it reads.
const LOCK_VIEWS: &str = "
DO $$
DECLARE
    view regclass;
    give_up timestamptz := clock_timestamp() + current_setting('fleetlog.patience')::interval;
BEGIN
    PERFORM set_config('lock_timeout',
                       greatest(1, extract(epoch FROM current_setting('deadlock_timeout')::interval) * 400)::integer::text,
                       true);
    FOR view IN
        SELECT oid FROM pg_catalog.pg_class
         WHERE relnamespace = 'fleet'::regnamespace AND relkind = 'v'
         ORDER BY oid DESC
    LOOP
        LOOP
            IF EXISTS (SELECT FROM pg_catalog.pg_locks
                        WHERE locktype = 'relation' AND relation = view AND granted AND pid <> pg_backend_pid()
                          AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
                          AND pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid))) THEN
                RAISE lock_not_available USING MESSAGE = 'a reader of ' || view || ' waits for another view of fleet';
            END IF;
            BEGIN
                EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', view);
                EXIT;
            EXCEPTION WHEN lock_not_available THEN
                IF clock_timestamp() > give_up THEN
                    RAISE;
                END IF;
            END;
        END LOOP;
    END LOOP;
END
$$";

/// Postgres names in the detail what stands in the way.
fn built_on(error: sqlx::Error) -> GenerationError {
    let refused = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    match refused {
        Some(refused) if refused.code() == "2BP01" => {
            GenerationError::BuiltOn(refused.detail().unwrap_or_default().to_owned())
        }
        _ => error.into(),
    }
}

async fn define_fleet(connection: &mut PgConnection) -> Result<(), GenerationError> {
    for part in FLEET {
        raw_sql(part).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Drops the views and functions of `fleet`, and fails if anything outside depends on them, naming it.
const DROP_FLEET: &str = "
DO $$
DECLARE
    dropped text;
BEGIN
    SELECT string_agg(format('fleet.%I', relname), ', ') INTO dropped
      FROM pg_catalog.pg_class WHERE relnamespace = 'fleet'::regnamespace AND relkind = 'v';
    IF dropped IS NOT NULL THEN
        EXECUTE 'DROP VIEW ' || dropped;
    END IF;
    SELECT string_agg(oid::regprocedure::text, ', ') INTO dropped
      FROM pg_catalog.pg_proc WHERE pronamespace = 'fleet'::regnamespace;
    IF dropped IS NOT NULL THEN
        EXECUTE 'DROP FUNCTION ' || dropped;
    END IF;
END
$$";

/// Drops views that this version no longer defines: they would go on showing another generation.
const DROP_LEFTOVERS: &str = "
DO $$
DECLARE
    dropped text;
BEGIN
    SELECT string_agg(DISTINCT format('fleet.%I', v.relname), ', ') INTO dropped
      FROM pg_catalog.pg_class v
      JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                                 AND d.refclassid = 'pg_class'::regclass
      JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
      JOIN projection_meta.generations g ON g.generation = t.relnamespace::regnamespace::text
     WHERE v.relnamespace = 'fleet'::regnamespace
       AND g.generation <> current_setting('fleetlog.generation');
    IF dropped IS NOT NULL THEN
        EXECUTE 'DROP VIEW ' || dropped;
    END IF;
END
$$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_it_is_tried_patience_has_an_end() {
        let all: Vec<Duration> =
            std::iter::successors(Some(FIRST_PATIENCE), |patience| Some(longer(*patience)))
                .take(100)
                .collect();
        assert_eq!(all[1], 2 * FIRST_PATIENCE);
        assert_eq!(all[99], LOCK_PATIENCE);
    }
}
