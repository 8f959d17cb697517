//! Tenants.

use schema::{Micros, OrganizationId};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{ControlError, Name, sql};

/// A tenant: devices, integrations and people belong to exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Organization {
    /// Stamped into every event of its integrations.
    pub id: OrganizationId,
    /// Unique.
    pub name: Name,
    /// When it was created, by the clock of Postgres.
    pub created_at: Micros,
}

/// Creates an organization.
pub async fn create(pool: &PgPool, name: &Name) -> Result<Organization, ControlError> {
    let id = OrganizationId(Uuid::new_v4());
    let row = sql::insert_organization(pool, id, name).await?;
    Ok(row.into())
}

/// All organizations, by name.
pub async fn list(pool: &PgPool) -> Result<Vec<Organization>, ControlError> {
    let rows = sql::organizations(pool).await?;
    Ok(rows.into_iter().map(Organization::from).collect())
}

impl From<sql::OrganizationRow> for Organization {
    fn from(row: sql::OrganizationRow) -> Self {
        Self {
            id: OrganizationId(row.id),
            name: Name::stored(row.name),
            created_at: row.created_at.into(),
        }
    }
}
