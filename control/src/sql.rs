//! The statements of this crate, one function each.

mod rows;

use std::time::Duration;

use schema::{CredentialId, IntegrationId, Micros, OrganizationId};
use sqlx::{PgExecutor, PgPool, postgres::PgQueryResult, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{ControlError, Integration, Name, NewIntegration, Parameters, Sealed};

pub(crate) use rows::*;

macro_rules! integration_columns {
    () => {
        "id, organization, name, provider, project,
         EXTRACT(EPOCH FROM online_interval)::bigint AS online_interval,
         EXTRACT(EPOCH FROM offline_timeout)::bigint AS offline_timeout,
         battery_pointers, signal_pointers, reading_time_field, refuse_replayable, rate_ceiling, strategies,
         primary_package, created_at, updated_at"
    };
}

macro_rules! select_credentials {
    ($rest:literal) => {
        concat!(
            "
            SELECT c.id, i.organization, c.integration, c.scheme, c.header, c.prefix, c.encoding,
                   c.tolerance_seconds, c.not_before, c.expires_at, c.revoked_at, c.sealing_key_id, c.created_at,
                   u.last_used_at
              FROM control.credentials c
              JOIN control.integrations i ON i.id = c.integration
              LEFT JOIN control.credential_use u ON u.credential = c.id
            ",
            $rest
        )
    };
}

pub(crate) async fn insert_organization(
    db: impl PgExecutor<'_>,
    id: OrganizationId,
    name: &Name,
) -> Result<OrganizationRow, ControlError> {
    sqlx::query_as(
        "INSERT INTO control.organizations (id, name) VALUES ($1, $2) RETURNING id, name, created_at",
    )
    .bind(id.0)
    .bind(name.as_str())
    .fetch_one(db)
    .await
    .map_err(|error| match constraint(&error) {
        Some("organizations_name_taken") => ControlError::NameTaken(name.to_string()),
        _ => error.into(),
    })
}

pub(crate) async fn organizations(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<OrganizationRow>> {
    sqlx::query_as("SELECT id, name, created_at FROM control.organizations ORDER BY name")
        .fetch_all(db)
        .await
}

pub(crate) async fn insert_integration(
    db: impl PgExecutor<'_>,
    id: IntegrationId,
    new: &NewIntegration,
) -> Result<IntegrationRow, ControlError> {
    let provider: &'static str = new.provider.into();
    let policy = &new.policy;
    sqlx::query_as(concat!(
        "
        INSERT INTO control.integrations
               (id, organization, name, provider, project, online_interval, offline_timeout, battery_pointers,
                signal_pointers, reading_time_field, refuse_replayable, rate_ceiling, strategies, primary_package)
        VALUES ($1, $2, $3, $4, $5, make_interval(secs => $6::bigint), make_interval(secs => $7::bigint), $8,
                $9, $10, $11, $12, $13, $14)
        RETURNING ",
        integration_columns!()
    ))
    .bind(id.0)
    .bind(new.organization.0)
    .bind(new.name.as_str())
    .bind(provider)
    .bind(&policy.project)
    .bind(whole_seconds(policy.online_interval))
    .bind(whole_seconds(policy.offline_timeout))
    .bind(&policy.battery_pointers)
    .bind(&policy.signal_pointers)
    .bind(&policy.reading_time_field)
    .bind(policy.refuse_replayable)
    .bind(policy.rate_ceiling.map(|n| i32::try_from(n.get()).unwrap_or(i32::MAX)))
    .bind(Json(&policy.strategies))
    .bind(&policy.primary_package)
    .fetch_one(db)
    .await
    .map_err(|error| match constraint(&error) {
        Some("integrations_name_taken") => ControlError::NameTaken(new.name.to_string()),
        Some("integrations_organization_exists") => ControlError::NoSuchOrganization(new.organization),
        _ => error.into(),
    })
}

/// Writes the name and the policy of an integration.
pub(crate) async fn update_integration(
    db: impl PgExecutor<'_>,
    wanted: &Integration,
) -> Result<IntegrationRow, ControlError> {
    let policy = &wanted.policy;
    sqlx::query_as(concat!(
        "
        UPDATE control.integrations
           SET name = $2, project = $3, online_interval = make_interval(secs => $4::bigint),
               offline_timeout = make_interval(secs => $5::bigint), battery_pointers = $6, signal_pointers = $7,
               reading_time_field = $8, refuse_replayable = $9, rate_ceiling = $10, strategies = $11,
               primary_package = $12
         WHERE id = $1
        RETURNING ",
        integration_columns!()
    ))
    .bind(wanted.id.0)
    .bind(wanted.name.as_str())
    .bind(&policy.project)
    .bind(whole_seconds(policy.online_interval))
    .bind(whole_seconds(policy.offline_timeout))
    .bind(&policy.battery_pointers)
    .bind(&policy.signal_pointers)
    .bind(&policy.reading_time_field)
    .bind(policy.refuse_replayable)
    .bind(policy.rate_ceiling.map(|n| i32::try_from(n.get()).unwrap_or(i32::MAX)))
    .bind(Json(&policy.strategies))
    .bind(&policy.primary_package)
    .fetch_one(db)
    .await
    .map_err(|error| match constraint(&error) {
        Some("integrations_name_taken") => ControlError::NameTaken(wanted.name.to_string()),
        _ => error.into(),
    })
}

pub(crate) async fn integrations(
    db: impl PgExecutor<'_>,
    organization: Option<OrganizationId>,
) -> sqlx::Result<Vec<IntegrationRow>> {
    sqlx::query_as(concat!(
        "SELECT ",
        integration_columns!(),
        " FROM control.integrations WHERE $1::uuid IS NULL OR organization = $1 ORDER BY name, id"
    ))
    .bind(organization.map(|organization| organization.0))
    .fetch_all(db)
    .await
}

pub(crate) async fn integration(
    db: impl PgExecutor<'_>,
    id: IntegrationId,
) -> sqlx::Result<Option<IntegrationRow>> {
    sqlx::query_as(concat!(
        "SELECT ",
        integration_columns!(),
        " FROM control.integrations WHERE id = $1"
    ))
    .bind(id.0)
    .fetch_optional(db)
    .await
}

/// Whether there is such an integration; if so, nobody else adds credentials to it until the transaction ends.
pub(crate) async fn lock_integration(db: impl PgExecutor<'_>, id: IntegrationId) -> sqlx::Result<bool> {
    let found: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM control.integrations WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.0)
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

/// Credentials that are live or will be.
pub(crate) async fn n_live_credentials(db: impl PgExecutor<'_>, id: IntegrationId) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "
        SELECT count(*) FROM control.credentials
         WHERE integration = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        ",
    )
    .bind(id.0)
    .fetch_one(db)
    .await
}

pub(crate) async fn insert_credential(
    db: impl PgExecutor<'_>,
    row: NewCredentialRow<'_>,
) -> sqlx::Result<()> {
    let kind: &'static str = row.scheme.kind().into();
    let Parameters {
        header,
        prefix,
        encoding,
        tolerance,
    } = row.scheme.parameters();
    let encoding: Option<&'static str> = encoding.map(Into::into);
    sqlx::query(
        "
        INSERT INTO control.credentials
               (id, integration, scheme, header, prefix, encoding, tolerance_seconds,
                not_before, expires_at, sealed_secret, sealing_key_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7::bigint, $8, $9, $10, $11)
        ",
    )
    .bind(row.id.0)
    .bind(row.integration.0)
    .bind(kind)
    .bind(header)
    .bind(prefix)
    .bind(encoding)
    .bind(tolerance.map(whole_seconds))
    .bind(row.not_before.map(Micros::to_datetime))
    .bind(row.expires_at.map(Micros::to_datetime))
    .bind(row.sealed.bytes)
    .bind(row.sealed.key_id)
    .execute(db)
    .await
    .map(drop)
}

pub(crate) async fn credential(
    db: impl PgExecutor<'_>,
    id: CredentialId,
) -> sqlx::Result<Option<CredentialRow>> {
    sqlx::query_as(select_credentials!("WHERE c.id = $1"))
        .bind(id.0)
        .fetch_optional(db)
        .await
}

pub(crate) async fn credentials_of(
    db: impl PgExecutor<'_>,
    integration: IntegrationId,
) -> sqlx::Result<Vec<CredentialRow>> {
    sqlx::query_as(select_credentials!(
        "WHERE c.integration = $1 ORDER BY c.created_at, c.id"
    ))
    .bind(integration.0)
    .fetch_all(db)
    .await
}

/// Revokes a credential; one that was revoked before stays as it is.
pub(crate) async fn revoke_credential(db: impl PgExecutor<'_>, id: CredentialId) -> sqlx::Result<()> {
    sqlx::query("UPDATE control.credentials SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL")
        .bind(id.0)
        .execute(db)
        .await
        .map(drop)
}

/// Lets a live credential expire after `grace`, or sooner if it would anyway. False if it is not live.
pub(crate) async fn expire_credential(
    db: impl PgExecutor<'_>,
    id: CredentialId,
    grace: Duration,
) -> sqlx::Result<bool> {
    sqlx::query(
        "
        UPDATE control.credentials
           SET expires_at = least(expires_at, greatest(now() + make_interval(secs => $2::bigint),
                                                       not_before + interval '1 microsecond'))
         WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        ",
    )
    .bind(id.0)
    .bind(whole_seconds(grace))
    .execute(db)
    .await
    .map(|done: PgQueryResult| done.rows_affected() > 0)
}

/// The sealed secrets of all that [`snapshot`] serves; those that are over are of no use to anyone.
pub(crate) async fn sealed_secrets(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<SealedRow>> {
    sqlx::query_as(
        "
        SELECT id, sealed_secret, sealing_key_id
          FROM control.credentials
         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now() - interval '1 hour')
         ORDER BY id
           FOR UPDATE
        ",
    )
    .fetch_all(db)
    .await
}

pub(crate) async fn replace_sealed_secret(
    db: impl PgExecutor<'_>,
    id: CredentialId,
    sealed: &Sealed,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE control.credentials SET sealed_secret = $2, sealing_key_id = $3 WHERE id = $1")
        .bind(id.0)
        .bind(&sealed.bytes)
        .bind(&sealed.key_id)
        .execute(db)
        .await
        .map(drop)
}

/// Grows with every change; see the triggers.
pub(crate) async fn revision(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT revision FROM control.revision")
        .fetch_one(db)
        .await
}

pub(crate) async fn snapshot(pool: &PgPool) -> sqlx::Result<Snapshot> {
    // One snapshot for all statements: a revision that belongs to other rows would hide a change.
    let mut tx = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let revision = revision(&mut *tx).await?;
    let integrations = served_integrations(&mut *tx).await?;
    let credentials = served_credentials(&mut *tx).await?;
    tx.commit().await?;
    Ok(Snapshot {
        revision,
        integrations,
        credentials,
    })
}

async fn served_integrations(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<ServedIntegrationRow>> {
    sqlx::query_as(
        "
        SELECT id, organization, provider, project, reading_time_field, refuse_replayable, rate_ceiling
          FROM control.integrations
        ",
    )
    .fetch_all(db)
    .await
}

/// Whether one has expired is judged by the clock of whoever received a delivery, so the recently expired are here.
async fn served_credentials(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<ServedCredentialRow>> {
    sqlx::query_as(
        "
        SELECT id, integration, scheme, header, prefix, encoding, tolerance_seconds, not_before, expires_at,
               sealed_secret, sealing_key_id
          FROM control.credentials
         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now() - interval '1 hour')
         ORDER BY integration, created_at DESC, id
        ",
    )
    .fetch_all(db)
    .await
}

/// Writes when credentials were last used. Ids that are gone are passed over; a time never goes back.
pub(crate) async fn note_uses(db: impl PgExecutor<'_>, uses: &[(CredentialId, Micros)]) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = uses.iter().map(|(id, _)| id.0).collect();
    let times: Vec<OffsetDateTime> = uses.iter().map(|(_, at)| at.to_datetime()).collect();
    sqlx::query(
        "
        INSERT INTO control.credential_use (credential, last_used_at)
        SELECT c.id, used.at
          FROM unnest($1::uuid[], $2::timestamptz[]) AS used (credential, at)
          JOIN control.credentials c ON c.id = used.credential
         ORDER BY c.id
        ON CONFLICT (credential) DO UPDATE
           SET last_used_at = EXCLUDED.last_used_at
         WHERE credential_use.last_used_at < EXCLUDED.last_used_at
        ",
    )
    .bind(ids)
    .bind(times)
    .execute(db)
    .await
    .map(drop)
}

fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
