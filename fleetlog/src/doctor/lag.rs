//! How far projections are behind the log, and whether they move.

use std::time::Duration;

use schema::Topic;
use sqlx::PgPool;
use stream::{LogIdentity, Position};
use tokio::time::{Instant, sleep};

use super::{
    Look,
    finding::Finding,
    sql::{self, Folded},
};

const CHECK: &str = "lag";

/// More than this is worth a look even if it is being worked off.
const MUCH: i64 = 100_000;
/// Nobody projects if nothing was for so long, in seconds.
const LONG: f64 = 60.0;
/// A partition in which events wait moves within this, or stands still. That its row was written of late says nothing: a
/// projector that is halted takes its partition anew with each try.
const STILL: Duration = Duration::from_secs(8);
/// Pause between two looks.
const GLANCE: Duration = Duration::from_millis(250);

/// Looks.
pub(super) async fn look(look: &Look, log: &LogIdentity) -> Result<Finding, Finding> {
    let unknown = |error: String| Finding::failed(CHECK, error, "see `postgres` and `topics`");
    let unfolded = |error: sqlx::Error| unknown(format!("how far projections are is not known: {error}"));
    let ends = stream::ends(&look.log, log, &[Topic::Events, Topic::Readings])
        .await
        .map_err(|error| unknown(error.to_string()))?;
    let folded = sql::folded(&look.pool).await.map_err(unfolded)?;
    let behind: i64 = ends
        .iter()
        .map(|end| (end.offset - folded.next(end)).max(0))
        .sum();
    let found = format!("{behind} events are in the log and not yet projected");
    if behind == 0 {
        return Ok(Finding::ok(CHECK, found));
    }
    if folded.idle_seconds.is_none_or(|idle| idle > LONG) {
        return Ok(nobody_projects(&found, folded.idle_seconds));
    }
    let within = STILL.min(look.timeout / 2);
    let still = still(&look.pool, &ends, &folded, within)
        .await
        .map_err(unfolded)?;
    Ok(if let Some(first) = still.first() {
        let others = match still.len() - 1 {
            0 => "stands still".to_owned(),
            n => format!("and {n} other partitions stand still"),
        };
        Finding::failed(
            CHECK,
            format!("{found}, and {first} {others}"),
            "`fleetlog health` of its projector, or its log, says why and what to do; if one has just been started or \
             ended, look again",
        )
    } else if behind > MUCH {
        Finding::warning(
            CHECK,
            found,
            "look again: if it does not shrink, add projectors (docs/capacity.md)",
        )
    } else {
        Finding::ok(CHECK, found)
    })
}

fn nobody_projects(found: &str, idle_seconds: Option<f64>) -> Finding {
    match idle_seconds {
        Some(idle) => Finding::failed(
            CHECK,
            format!("{found}, and nothing was since {idle:.0} s"),
            "start `fleetlog projector`, or read its log",
        ),
        None => Finding::failed(
            CHECK,
            format!("{found}, and nothing ever was"),
            "start `fleetlog projector`; of a long log, or where projections were lost, run `fleetlog rebuild` before",
        ),
    }
}

/// Where partitions stand in which events wait and that have not moved within a time.
async fn still(
    pool: &PgPool,
    ends: &[Position],
    folded: &Folded,
    within: Duration,
) -> sqlx::Result<Vec<Position>> {
    let stands = |end: &Position| Position {
        offset: folded.next(end),
        ..*end
    };
    let waiting = ends.iter().filter(|end| folded.next(end) < end.offset);
    let mut still: Vec<Position> = waiting.map(stands).collect();
    let until = Instant::now() + within;
    while !still.is_empty() && Instant::now() < until {
        sleep(GLANCE).await;
        let now = sql::folded(pool).await?;
        still.retain(|stood| now.next(stood) == stood.offset);
    }
    Ok(still)
}
