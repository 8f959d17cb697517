//! What the statements take and give.

use std::collections::BTreeMap;

use schema::{CredentialId, IntegrationId, Micros, Strategy};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Scheme, Sealed};

#[derive(sqlx::FromRow)]
pub(crate) struct OrganizationRow {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) created_at: OffsetDateTime,
}

#[derive(sqlx::FromRow)]
pub(crate) struct IntegrationRow {
    pub(crate) id: Uuid,
    pub(crate) organization: Uuid,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) project: Option<String>,
    pub(crate) online_interval: i64,
    pub(crate) offline_timeout: i64,
    pub(crate) battery_pointers: Vec<String>,
    pub(crate) signal_pointers: Vec<String>,
    pub(crate) reading_time_field: Option<String>,
    pub(crate) refuse_replayable: bool,
    pub(crate) rate_ceiling: Option<i32>,
    pub(crate) strategies: Json<BTreeMap<String, Strategy>>,
    pub(crate) primary_package: Option<String>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
}

#[derive(sqlx::FromRow)]
pub(crate) struct SchemeColumns {
    pub(crate) scheme: String,
    pub(crate) header: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) encoding: Option<String>,
    pub(crate) tolerance_seconds: Option<i32>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct CredentialRow {
    pub(crate) id: Uuid,
    pub(crate) organization: Uuid,
    pub(crate) integration: Uuid,
    #[sqlx(flatten)]
    pub(crate) scheme: SchemeColumns,
    pub(crate) not_before: Option<OffsetDateTime>,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) revoked_at: Option<OffsetDateTime>,
    pub(crate) sealing_key_id: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) last_used_at: Option<OffsetDateTime>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct SealedRow {
    pub(crate) id: Uuid,
    pub(crate) sealed_secret: Vec<u8>,
    pub(crate) sealing_key_id: String,
}

pub(crate) struct NewCredentialRow<'a> {
    pub(crate) id: CredentialId,
    pub(crate) integration: IntegrationId,
    pub(crate) scheme: &'a Scheme,
    pub(crate) not_before: Option<Micros>,
    pub(crate) expires_at: Option<Micros>,
    pub(crate) sealed: Sealed,
}

/// What a registry needs of an integration.
#[derive(sqlx::FromRow)]
pub(crate) struct ServedIntegrationRow {
    pub(crate) id: Uuid,
    pub(crate) organization: Uuid,
    pub(crate) provider: String,
    pub(crate) project: Option<String>,
    pub(crate) reading_time_field: Option<String>,
    pub(crate) refuse_replayable: bool,
    pub(crate) rate_ceiling: Option<i32>,
}

/// What a registry needs of a credential.
#[derive(sqlx::FromRow)]
pub(crate) struct ServedCredentialRow {
    pub(crate) id: Uuid,
    pub(crate) integration: Uuid,
    #[sqlx(flatten)]
    pub(crate) scheme: SchemeColumns,
    pub(crate) not_before: Option<OffsetDateTime>,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) sealed_secret: Vec<u8>,
    pub(crate) sealing_key_id: String,
}

/// All that a registry serves, as of one moment.
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    pub(crate) integrations: Vec<ServedIntegrationRow>,
    pub(crate) credentials: Vec<ServedCredentialRow>,
}
