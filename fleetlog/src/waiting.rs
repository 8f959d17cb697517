//! Waiting until a projector has folded what was appended.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use sqlx::PgPool;
use stream::Position;
use tokio::time::{Instant, sleep};

use crate::{failure::Failure, output};

/// How often it is looked whether a projector has folded what was appended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether to wait for a projector.
#[derive(Args, Clone)]
pub(crate) struct Waiting {
    /// How long to wait until a projector has folded it
    #[arg(long, value_name = "D", default_value = "15s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Only append, and print the position in the log
    #[arg(long)]
    no_wait: bool,
}

impl Waiting {
    /// Waits until the rows that readers see hold the event at this position, and says so; without waiting, prints the
    /// position and says no.
    pub(crate) async fn until_folded(
        &self,
        pool: &PgPool,
        position: Position,
        json: bool,
    ) -> Result<bool, Failure> {
        if self.no_wait {
            print_position(position, json)?;
            return Ok(false);
        }
        self.until_all_folded(pool, &[position]).await?;
        Ok(true)
    }

    /// Whether waiting is wanted.
    pub(crate) fn waits(&self) -> bool {
        !self.no_wait
    }

    /// Waits until the rows that readers see hold the events at all of these positions.
    pub(crate) async fn until_all_folded(
        &self,
        pool: &PgPool,
        positions: &[Position],
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + self.wait;
        while let Some(unfolded) = first_unfolded(pool, positions).await? {
            if Instant::now() >= deadline {
                let wait = humantime::format_duration(self.wait);
                let what = format!(
                    "it is in the log at {unfolded}, but no projector has folded it within {wait}: do not repeat it, \
                     look at `fleetlog projector`"
                );
                return Err(Failure::unavailable(what));
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// The first of these positions that the active generation has not come to.
async fn first_unfolded(pool: &PgPool, positions: &[Position]) -> Result<Option<Position>, sqlx::Error> {
    let topics: Vec<_> = positions.iter().map(|position| position.topic.suffix()).collect();
    let partitions: Vec<_> = positions.iter().map(|position| position.partition).collect();
    let offsets: Vec<_> = positions.iter().map(|position| position.offset).collect();
    let place: Option<i64> = sqlx::query_scalar(
        "SELECT wanted.place
           FROM unnest($1::text[], $2::integer[], $3::bigint[])
                WITH ORDINALITY wanted (topic, partition, position, place)
          WHERE NOT EXISTS (
                SELECT FROM projection_meta.offsets o
                  JOIN projection_meta.generations g USING (generation)
                 WHERE g.state = 'active' AND o.topic = wanted.topic AND o.partition = wanted.partition
                   AND o.next_offset > wanted.position)
          ORDER BY wanted.place
          LIMIT 1",
    )
    .bind(topics)
    .bind(partitions)
    .bind(offsets)
    .fetch_optional(pool)
    .await?;
    Ok(place
        .and_then(|place| usize::try_from(place - 1).ok())
        .and_then(|place| positions.get(place).copied()))
}

/// Prints where something was appended.
pub(crate) fn print_position(position: Position, json: bool) -> Result<(), Failure> {
    if json {
        output::json(&position_json(position))
    } else {
        output::line(position)
    }
}

/// A position as JSON.
pub(crate) fn position_json(position: Position) -> serde_json::Value {
    json!({ "topic": position.topic.suffix(), "partition": position.partition, "offset": position.offset })
}
