//! Secrets that deliveries are verified with, and their administration.

use std::time::Duration;

use schema::{CredentialId, IntegrationId, Micros, OrganizationId};
use secrecy::SecretString;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{ControlError, Encoding, Keyring, Parameters, Scheme, SchemeKind, Sealed, sql};

/// Most credentials of an integration that may be live, or become so, at once.
pub const MOST_LIVE: i64 = 16;

/// A credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// Named in every event that it verified.
    pub id: CredentialId,
    /// Whom the integration belongs to.
    pub organization: OrganizationId,
    /// Whose deliveries it verifies.
    pub integration: IntegrationId,
    /// How.
    #[serde(flatten)]
    pub scheme: Scheme,
    /// It verifies nothing before.
    pub not_before: Option<Micros>,
    /// It verifies nothing from then on.
    pub expires_at: Option<Micros>,
    /// Since when it is void.
    pub revoked_at: Option<Micros>,
    /// Which key seals it.
    pub sealing_key_id: String,
    /// When it was created, by the clock of Postgres.
    pub created_at: Micros,
    /// When it last verified a delivery, to a few seconds.
    pub last_used_at: Option<Micros>,
}

/// A credential to be.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// How it verifies.
    pub scheme: Scheme,
    /// What the sender uses already; a new one is made if `None`.
    pub secret: Option<SecretString>,
    /// It verifies nothing before.
    pub not_before: Option<Micros>,
    /// It verifies nothing from then on.
    pub expires_at: Option<Micros>,
}

impl NewCredential {
    /// A credential with a new secret, live from now on.
    pub fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            secret: None,
            not_before: None,
            expires_at: None,
        }
    }
}

/// A credential that was just made, with its secret: shown once, never again.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What is kept.
    pub credential: Credential,
    /// What the sender has to be given.
    pub secret: SecretString,
}

/// A credential and the one that takes its place.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The new one.
    pub issued: Issued,
    /// The old one, which now expires.
    pub expiring: Credential,
}

/// What became of sealed secrets when they were sealed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// Sealed with the active key now.
    pub n_resealed: usize,
    /// Were sealed with it before.
    pub n_already: usize,
}

/// Adds a credential to an integration. Those it has stay live, so that secrets rotate without loss.
pub async fn add(
    pool: &PgPool,
    keyring: &Keyring,
    integration: IntegrationId,
    new: NewCredential,
) -> Result<Issued, ControlError> {
    let mut tx = pool.begin().await?;
    let issued = insert(&mut tx, keyring, integration, new).await?;
    tx.commit().await?;
    Ok(issued)
}

/// The credentials of an integration, oldest first, including those that are over.
pub async fn list(pool: &PgPool, integration: IntegrationId) -> Result<Vec<Credential>, ControlError> {
    let rows = sql::credentials_of(pool, integration).await?;
    rows.into_iter().map(Credential::try_from).collect()
}

/// Makes a credential void at once: within two seconds nothing accepts it any more. Revoking twice changes nothing.
pub async fn revoke(pool: &PgPool, id: CredentialId) -> Result<Credential, ControlError> {
    let mut tx = pool.begin().await?;
    sql::revoke_credential(&mut *tx, id).await?;
    let revoked = find(&mut tx, id).await?;
    tx.commit().await?;
    Ok(revoked)
}

/// Adds a credential of the same scheme with a new secret (or the given one); the old one expires after `grace`.
pub async fn rotate(
    pool: &PgPool,
    keyring: &Keyring,
    id: CredentialId,
    secret: Option<SecretString>,
    grace: Duration,
) -> Result<Rotated, ControlError> {
    let mut tx = pool.begin().await?;
    let old = find(&mut tx, id).await?;
    // The same order of locks as when one is added: integration, credential, revision.
    sql::lock_integration(&mut *tx, old.integration).await?;
    // Ends it first, so that at the limit of live credentials a rotation without grace is still possible.
    if !sql::expire_credential(&mut *tx, id, grace).await? {
        return Err(ControlError::CredentialEnded(id));
    }
    let new = NewCredential {
        secret,
        ..NewCredential::new(old.scheme)
    };
    let issued = insert(&mut tx, keyring, old.integration, new).await?;
    let expiring = find(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Rotated { issued, expiring })
}

/// Seals the secrets of all credentials that are not over with the active key; afterwards the old keys are no longer
/// needed. All or nothing.
pub async fn reseal_all(pool: &PgPool, keyring: &Keyring) -> Result<Resealed, ControlError> {
    let mut tx = pool.begin().await?;
    let mut resealed = Resealed {
        n_resealed: 0,
        n_already: 0,
    };
    for row in sql::sealed_secrets(&mut *tx).await? {
        if row.sealing_key_id == keyring.active_id() {
            resealed.n_already += 1;
            continue;
        }
        let id = CredentialId(row.id);
        let sealed = Sealed {
            bytes: row.sealed_secret,
            key_id: row.sealing_key_id,
        };
        let secret = keyring.unseal(id, &sealed)?;
        sql::replace_sealed_secret(&mut *tx, id, &keyring.seal(id, &secret)).await?;
        resealed.n_resealed += 1;
    }
    tx.commit().await?;
    Ok(resealed)
}

async fn insert(
    tx: &mut PgConnection,
    keyring: &Keyring,
    integration: IntegrationId,
    new: NewCredential,
) -> Result<Issued, ControlError> {
    if let (Some(not_before), Some(expires_at)) = (new.not_before, new.expires_at)
        && expires_at <= not_before
    {
        return Err(ControlError::ExpiresBeforeBeginning);
    }
    let secret = new.secret.unwrap_or_else(|| new.scheme.generate_secret());
    new.scheme.key(&secret)?;

    // The lock on the integration keeps two additions from passing the limit together.
    if !sql::lock_integration(&mut *tx, integration).await? {
        return Err(ControlError::NoSuchIntegration(integration));
    }
    if sql::n_live_credentials(&mut *tx, integration).await? >= MOST_LIVE {
        return Err(ControlError::TooManyCredentials {
            integration,
            most: MOST_LIVE,
        });
    }
    let id = CredentialId(Uuid::new_v4());
    let row = sql::NewCredentialRow {
        id,
        integration,
        scheme: &new.scheme,
        not_before: new.not_before,
        expires_at: new.expires_at,
        sealed: keyring.seal(id, &secret),
    };
    sql::insert_credential(&mut *tx, row).await?;
    let credential = find(tx, id).await?;
    Ok(Issued { credential, secret })
}

async fn find(tx: &mut PgConnection, id: CredentialId) -> Result<Credential, ControlError> {
    let row = sql::credential(tx, id).await?;
    row.ok_or(ControlError::NoSuchCredential(id))?.try_into()
}

impl TryFrom<sql::CredentialRow> for Credential {
    type Error = ControlError;

    fn try_from(row: sql::CredentialRow) -> Result<Self, ControlError> {
        Ok(Self {
            id: CredentialId(row.id),
            organization: OrganizationId(row.organization),
            integration: IntegrationId(row.integration),
            scheme: row
                .scheme
                .read()
                .map_err(|what| ControlError::Unreadable(format!("credential {}: {what}", row.id)))?,
            not_before: row.not_before.map(Micros::from),
            expires_at: row.expires_at.map(Micros::from),
            revoked_at: row.revoked_at.map(Micros::from),
            sealing_key_id: row.sealing_key_id,
            created_at: row.created_at.into(),
            last_used_at: row.last_used_at.map(Micros::from),
        })
    }
}

impl sql::SchemeColumns {
    /// The scheme that the columns say, checked as if it were given now.
    pub(crate) fn read(self) -> Result<Scheme, String> {
        let kind: SchemeKind = self
            .scheme
            .parse()
            .map_err(|_| format!("unknown scheme {:?}", self.scheme))?;
        let encoding = self.encoding.map(|text| text.parse::<Encoding>()).transpose();
        let parameters = Parameters {
            header: self.header,
            prefix: self.prefix,
            encoding: encoding.map_err(|_| "unknown encoding".to_owned())?,
            tolerance: self
                .tolerance_seconds
                .map(|n| Duration::from_secs(n.unsigned_abs().into())),
        };
        Scheme::new(kind, parameters).map_err(|error| error.to_string())
    }
}
