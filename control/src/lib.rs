//! Who may send: organizations, their integrations and the credentials of those.
//!
//! Promises: a secret is in clear only in the memory of whoever needs it, never in Postgres, a log line, a `Debug`
//! or a metric; what is wrong with a configuration is said when it is made, not when a delivery fails; and
//! [`Registry`] keeps serving what it knows through an outage of Postgres.
//!
//! Administration connects as the owner of the tables; a [`Registry`] needs no more than role `fleetlog_ingest`.

pub mod credential;
mod error;
mod header;
pub mod integration;
pub mod metrics;
pub mod migrate;
mod name;
pub mod organization;
pub mod registry;
mod scheme;
mod seal;
mod secret;
mod sql;

pub use credential::{Credential, Issued, NewCredential};
pub use error::ControlError;
pub use header::HeaderName;
pub use integration::{Integration, InvalidPolicy, NewIntegration, Policy, Provider};
pub use name::{InvalidName, Name};
pub use organization::Organization;
pub use registry::{CredentialEntry, Follower, IntegrationEntry, Lookup, Registry, RegistryError, Status};
pub use scheme::{Encoding, InvalidScheme, Parameters, Scheme, SchemeKind, Tolerance};
pub use seal::{InvalidSealingKey, Keyring, Sealed, SealingKey, UnsealError};
pub use secret::{InvalidSecret, secret_from_text};
