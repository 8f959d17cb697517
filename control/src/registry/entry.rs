//! What a delivery is judged by.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use metrics::Counter;
use schema::{CredentialId, IntegrationId, Micros, OrganizationId};
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::{Provider, Scheme, metrics::CREDENTIAL_USES};

/// An integration, as far as it matters at the door.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IntegrationEntry {
    /// Stamped into its events.
    pub id: IntegrationId,
    /// Stamped into its events.
    pub organization: OrganizationId,
    /// Whose devices it speaks of.
    pub provider: Provider,
    /// The Golioth project it is bound to.
    pub project: Option<String>,
    /// Refuse signed deliveries in which neither a time nor an id is signed.
    pub refuse_replayable: bool,
    /// Deliveries per second beyond which 429 is answered.
    pub rate_ceiling: Option<NonZeroU32>,
    /// The field of an array element that holds the element's own time.
    pub reading_time_field: Option<String>,
    /// What may verify a delivery, newest first; see [`live_credentials`](Self::live_credentials).
    pub credentials: Vec<CredentialEntry>,
    /// How many more credentials there are that could not be unsealed. If above 0, a delivery that none of the
    /// others verifies is not proven wrong: the answer is "come again", not "go away".
    pub n_unreadable: usize,
}

impl IntegrationEntry {
    /// An integration of Golioth's without credentials, which takes nothing.
    pub fn new(id: IntegrationId, organization: OrganizationId) -> Self {
        Self {
            id,
            organization,
            provider: Provider::Golioth,
            project: None,
            refuse_replayable: false,
            rate_ceiling: None,
            reading_time_field: None,
            credentials: Vec::new(),
            n_unreadable: 0,
        }
    }

    /// The credentials that are live at an instant: the delivery's receipt.
    pub fn live_credentials(&self, now: Micros) -> impl Iterator<Item = &CredentialEntry> {
        self.credentials
            .iter()
            .filter(move |credential| credential.is_live(now))
    }
}

/// A credential, as far as it matters at the door.
#[derive(Clone, Debug)]
pub struct CredentialEntry {
    /// Recorded in the events it verifies.
    pub id: CredentialId,
    /// How it verifies.
    pub scheme: Scheme,
    /// It verifies nothing before.
    pub not_before: Option<Micros>,
    /// It verifies nothing from then on.
    pub expires_at: Option<Micros>,
    held: Arc<Held>,
}

impl CredentialEntry {
    /// A credential that is live without end. `key`: see [`Scheme::key`].
    pub fn new(id: CredentialId, scheme: Scheme, key: SecretSlice<u8>) -> Self {
        let held = Arc::new(Held::new(id, key));
        Self {
            id,
            scheme,
            not_before: None,
            expires_at: None,
            held,
        }
    }

    pub(super) fn holding(id: CredentialId, scheme: Scheme, held: Arc<Held>) -> Self {
        Self {
            id,
            scheme,
            not_before: None,
            expires_at: None,
            held,
        }
    }

    /// The key's bytes, to be compared in constant time only.
    pub fn key(&self) -> &[u8] {
        self.held.key.expose_secret()
    }

    /// Whether it may verify what was received at this instant.
    pub fn is_live(&self, now: Micros) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= now)
            && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    pub(super) fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

/// What outlives a reload: the unsealed key, which never changes for an id, and when it was last used.
pub(super) struct Held {
    key: SecretSlice<u8>,
    /// Microseconds since 1970; 0 if never, since this process started.
    used_at: AtomicI64,
    /// As much of that as Postgres has heard.
    told_at: AtomicI64,
    uses: Counter,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held(..)")
    }
}

impl Held {
    pub(super) fn new(id: CredentialId, key: SecretSlice<u8>) -> Self {
        let uses = metrics::counter!(CREDENTIAL_USES, "credential" => id.to_string());
        Self {
            key,
            used_at: AtomicI64::new(0),
            told_at: AtomicI64::new(0),
            uses,
        }
    }

    pub(super) fn note_use(&self, now: Micros) {
        self.used_at.fetch_max(now.as_micros(), Ordering::Relaxed);
        self.uses.increment(1);
    }

    /// The last use, if Postgres has not heard of it.
    pub(super) fn untold_use(&self) -> Option<Micros> {
        let used_at = self.used_at.load(Ordering::Relaxed);
        let untold = used_at > self.told_at.load(Ordering::Relaxed);
        Micros::from_micros(used_at).ok().filter(|_| untold)
    }

    pub(super) fn told(&self, at: Micros) {
        self.told_at.fetch_max(at.as_micros(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Parameters, SchemeKind};

    fn at(micros: i64) -> Micros {
        Micros::from_micros(micros).unwrap()
    }

    fn credential() -> CredentialEntry {
        let scheme = Scheme::new(SchemeKind::SharedSecret, Parameters::default()).unwrap();
        let key = scheme.key(&"correct horse".into()).unwrap();
        CredentialEntry::new(CredentialId(Uuid::nil()), scheme, key)
    }

    #[test]
    fn a_credential_lives_from_its_beginning_until_just_before_its_end() {
        let credential = CredentialEntry {
            not_before: Some(at(10)),
            expires_at: Some(at(20)),
            ..credential()
        };
        let mut entry = IntegrationEntry::new(IntegrationId(Uuid::nil()), OrganizationId(Uuid::nil()));
        entry.credentials = vec![credential];
        let live: Vec<i64> = (8..23)
            .filter(|now| entry.live_credentials(at(*now)).next().is_some())
            .collect();
        assert_eq!(live, (10..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_use_is_told_once_and_never_goes_back() {
        let held = Arc::clone(credential().held());
        assert_eq!(held.untold_use(), None);
        held.note_use(at(30));
        held.note_use(at(20));
        assert_eq!(held.untold_use(), Some(at(30)));
        held.told(at(30));
        assert_eq!(held.untold_use(), None);
    }

    #[test]
    fn no_secret_shows_in_what_is_printed() {
        assert!(!format!("{:?}", credential()).contains("horse"));
        assert!(!format!("{:?}", credential().key().len()).contains("horse"));
    }
}
