//! What waits, for people.

use schema::{IntegrationId, Micros, OrganizationId};
use serde::Serialize;
use sqlx::PgPool;
use stream::{Position, RawRecord};
use uuid::Uuid;

use crate::sql::dead_letters::{self, Row, topic_of};

/// An event of the log that makes no rows in the generation that readers see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The generation.
    pub generation: String,
    /// Where it lies in the log.
    #[serde(skip)]
    pub position: Position,
    /// Why: stable, few.
    pub reason: String,
    /// Why, in words.
    pub detail: String,
    /// What Postgres called it, if it was Postgres that refused.
    pub sqlstate: Option<String>,
    /// The event's id, if it has one.
    pub event_id: Option<Uuid>,
    /// The event's name with its version, e.g. `device.edited.v1`.
    pub event_name: Option<String>,
    /// Of whom it speaks.
    pub subject: Option<String>,
    /// Whose it is.
    pub organization: Option<OrganizationId>,
    /// Who sent it.
    pub integration: Option<IntegrationId>,
    /// When it was received.
    pub recorded_at: Option<Micros>,
    /// When it was set aside.
    pub set_aside_at: Micros,
    /// How often it was tried to be folded.
    pub attempts: i32,
    /// When that failed last.
    pub failed_at: Micros,
    /// Since when its rows are there; none while it waits.
    pub redriven_at: Option<Micros>,
    /// Who saw to that.
    pub redriven_by: Option<String>,
}

/// What is set aside in the generation that readers see, oldest first; with `all`, what was folded after all, too.
pub async fn list(pool: &PgPool, all: bool) -> sqlx::Result<Vec<SetAside>> {
    let rows = dead_letters::of_active(pool, all).await?;
    Ok(rows.into_iter().filter_map(set_aside).collect())
}

/// The record of one of these, if it was kept beside the log.
pub async fn record(pool: &PgPool, position: Position) -> sqlx::Result<Option<RawRecord>> {
    dead_letters::record(pool, position).await
}

fn set_aside(row: Row) -> Option<SetAside> {
    let position = Position {
        topic: topic_of(&row.topic)?,
        partition: row.partition,
        offset: row.record_offset,
    };
    Some(SetAside {
        generation: row.generation,
        position,
        reason: row.reason,
        detail: row.detail,
        sqlstate: row.sqlstate,
        event_id: row.event_id,
        event_name: row.event_name,
        subject: row.subject,
        organization: row.organization.map(OrganizationId),
        integration: row.integration.map(IntegrationId),
        recorded_at: row.recorded_at.map(Micros::from),
        set_aside_at: row.set_aside_at.into(),
        attempts: row.attempts,
        failed_at: row.failed_at.into(),
        redriven_at: row.redriven_at.map(Micros::from),
        redriven_by: row.redriven_by,
    })
}
