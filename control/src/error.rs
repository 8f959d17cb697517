//! What can go wrong in administration.

use schema::{CredentialId, IntegrationId, OrganizationId};

use crate::{InvalidPolicy, InvalidScheme, InvalidSecret, UnsealError};

/// Why a change or question about integrations came to nothing. A change that failed changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Names are unique: organizations among all, integrations within their organization. The caller's to mend.
    #[error("the name {0:?} is taken")]
    NameTaken(String),
    /// The caller's to mend.
    #[error("there is no organization {0}")]
    NoSuchOrganization(OrganizationId),
    /// The caller's to mend.
    #[error("there is no integration {0}")]
    NoSuchIntegration(IntegrationId),
    /// The caller's to mend.
    #[error("there is no credential {0}")]
    NoSuchCredential(CredentialId),
    /// A credential that no longer lives cannot be rotated; add a new one.
    #[error("credential {0} was revoked or has expired; add a new one instead")]
    CredentialEnded(CredentialId),
    /// Every delivery is checked against all live credentials, so their number is bounded. Revoke some.
    #[error("integration {integration} already has {most} live credentials; revoke some first")]
    TooManyCredentials {
        /// The integration.
        integration: IntegrationId,
        /// How many it may have.
        most: i64,
    },
    /// It would be over before it began. The caller's to mend.
    #[error("a credential must expire after it begins")]
    ExpiresBeforeBeginning,
    /// The caller's to mend.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The caller's to mend.
    #[error(transparent)]
    Scheme(#[from] InvalidScheme),
    /// The caller's to mend.
    #[error(transparent)]
    Secret(#[from] InvalidSecret),
    /// A key is missing, or a row was damaged.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// A row that no version of ours has written.
    #[error("a row cannot be understood: {0}")]
    Unreadable(String),
    /// Postgres cannot be reached or refused; trying again may help.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration failed; what it had begun was undone.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// What a person may read of a trouble with Postgres: no host, no statement, no value.
pub(crate) fn public_reason(error: &sqlx::Error) -> String {
    if let Some(error) = error.as_database_error() {
        return match error.code().as_deref() {
            Some("42P01" | "3F000" | "42703") => "Postgres has not been migrated".to_owned(),
            Some("42501") => "Postgres does not grant what is needed".to_owned(),
            Some("28P01" | "28000") => "Postgres refuses the role or its password".to_owned(),
            code => format!("Postgres refuses with SQLSTATE {}", code.unwrap_or("unknown")),
        };
    }
    let unreadable = matches!(
        error,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_)
    );
    if unreadable {
        "Postgres holds what this version cannot read"
    } else {
        "Postgres cannot be reached"
    }
    .to_owned()
}
