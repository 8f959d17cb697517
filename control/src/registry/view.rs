//! One finished view of who may send; swapped whole.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use schema::{CredentialId, IntegrationId, Micros, OrganizationId};

use super::entry::{CredentialEntry, Held, IntegrationEntry};
use crate::{
    Keyring, Provider, Sealed, UnsealError,
    sql::{ServedCredentialRow, ServedIntegrationRow, Snapshot},
};

/// Who may send, as of one revision.
pub(super) struct View {
    /// `None` if it follows nothing, or was never loaded.
    revision: Option<i64>,
    follows: bool,
    integrations: HashMap<IntegrationId, Arc<IntegrationEntry>>,
    held: HashMap<CredentialId, Arc<Held>>,
    n_unreadable: usize,
}

/// Why a credential is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    #[error("credential {credential} is not as this version writes them: {what}")]
    Malformed { credential: CredentialId, what: String },
}

impl View {
    /// Before anything was loaded.
    pub(super) fn empty() -> Self {
        Self {
            revision: None,
            follows: true,
            integrations: HashMap::new(),
            held: HashMap::new(),
            n_unreadable: 0,
        }
    }

    /// These integrations, for ever.
    pub(super) fn fixed(entries: impl IntoIterator<Item = IntegrationEntry>) -> Self {
        let mut view = Self {
            follows: false,
            ..Self::empty()
        };
        for entry in entries {
            view.insert(entry);
        }
        view
    }

    /// What Postgres holds. Keys that the view before has unsealed are kept: an id never changes its secret, so a
    /// change of the sealing key does not cut off who is already known. What cannot be read is left out and told.
    pub(super) fn of(snapshot: Snapshot, keyring: &Keyring, before: &Self) -> (Self, Vec<Unreadable>) {
        let mut view = Self {
            revision: Some(snapshot.revision),
            ..Self::empty()
        };
        let mut unreadable = Vec::new();
        let mut entries: HashMap<IntegrationId, IntegrationEntry> = snapshot
            .integrations
            .into_iter()
            .map(entry_of)
            .map(|entry| (entry.id, entry))
            .collect();
        for row in snapshot.credentials {
            let Some(entry) = entries.get_mut(&IntegrationId(row.integration)) else {
                continue;
            };
            match credential_of(row, keyring, before) {
                Ok(credential) => entry.credentials.push(credential),
                Err(error) => {
                    entry.n_unreadable += 1;
                    unreadable.push(error);
                }
            }
        }
        for entry in entries.into_values() {
            view.insert(entry);
        }
        (view, unreadable)
    }

    fn insert(&mut self, entry: IntegrationEntry) {
        self.n_unreadable += entry.n_unreadable;
        let held = entry
            .credentials
            .iter()
            .map(|one| (one.id, Arc::clone(one.held())));
        self.held.extend(held);
        self.integrations.insert(entry.id, Arc::new(entry));
    }

    pub(super) fn revision(&self) -> Option<i64> {
        self.revision
    }

    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    pub(super) fn integration(&self, id: IntegrationId) -> Option<Arc<IntegrationEntry>> {
        self.integrations.get(&id).map(Arc::clone)
    }

    pub(super) fn held(&self, credential: CredentialId) -> Option<&Held> {
        self.held.get(&credential).map(AsRef::as_ref)
    }

    pub(super) fn all_held(&self) -> impl Iterator<Item = (CredentialId, &Held)> {
        self.held.iter().map(|(id, held)| (*id, held.as_ref()))
    }

    pub(super) fn n_integrations(&self) -> usize {
        self.integrations.len()
    }

    pub(super) fn n_unreadable(&self) -> usize {
        self.n_unreadable
    }
}

fn entry_of(row: ServedIntegrationRow) -> IntegrationEntry {
    let mut entry = IntegrationEntry::new(IntegrationId(row.id), OrganizationId(row.organization));
    // A provider of a later version speaks some dialect all the same.
    entry.provider = row.provider.parse().unwrap_or(Provider::Mqtt);
    entry.project = row.project;
    entry.refuse_replayable = row.refuse_replayable;
    entry.rate_ceiling = row.rate_ceiling.and_then(|n| NonZeroU32::new(n.unsigned_abs()));
    entry.reading_time_field = row.reading_time_field;
    entry
}

fn credential_of(
    row: ServedCredentialRow,
    keyring: &Keyring,
    before: &View,
) -> Result<CredentialEntry, Unreadable> {
    let id = CredentialId(row.id);
    let malformed = |what: String| Unreadable::Malformed { credential: id, what };
    let scheme = row.scheme.read().map_err(malformed)?;
    let held = if let Some(held) = before.held.get(&id) {
        Arc::clone(held)
    } else {
        let sealed = Sealed {
            bytes: row.sealed_secret,
            key_id: row.sealing_key_id,
        };
        let secret = keyring.unseal(id, &sealed)?;
        let key = scheme
            .key(&secret)
            .map_err(|error| malformed(error.to_string()))?;
        Arc::new(Held::new(id, key))
    };
    let mut credential = CredentialEntry::holding(id, scheme, held);
    credential.not_before = row.not_before.map(Micros::from);
    credential.expires_at = row.expires_at.map(Micros::from);
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{SealingKey, sql::SchemeColumns};

    const SECRET: &str = "correct horse";

    fn keyring() -> Keyring {
        Keyring::new(SealingKey::generate(), Vec::new())
    }

    fn row(keyring: &Keyring, id: u128) -> ServedCredentialRow {
        let sealed = keyring.seal(CredentialId(Uuid::from_u128(id)), &SECRET.into());
        ServedCredentialRow {
            id: Uuid::from_u128(id),
            integration: Uuid::nil(),
            scheme: SchemeColumns {
                scheme: "hmac-sha256".to_owned(),
                header: Some("x-hub-signature-256".to_owned()),
                prefix: Some("sha256=".to_owned()),
                encoding: Some("hex".to_owned()),
                tolerance_seconds: None,
            },
            not_before: None,
            expires_at: None,
            sealed_secret: sealed.bytes,
            sealing_key_id: sealed.key_id,
        }
    }

    fn view(
        keyring: &Keyring,
        before: &View,
        credentials: Vec<ServedCredentialRow>,
    ) -> (View, Vec<Unreadable>) {
        let integration = ServedIntegrationRow {
            id: Uuid::nil(),
            organization: Uuid::nil(),
            provider: "golioth".to_owned(),
            project: None,
            reading_time_field: None,
            refuse_replayable: false,
            rate_ceiling: Some(5),
        };
        View::of(
            Snapshot {
                revision: 1,
                integrations: vec![integration],
                credentials,
            },
            keyring,
            before,
        )
    }

    fn entry(view: &View) -> Arc<IntegrationEntry> {
        view.integration(IntegrationId(Uuid::nil()))
            .expect("in every snapshot here")
    }

    #[test]
    fn what_lies_sealed_in_postgres_is_served_unsealed() {
        let keyring = keyring();
        let (view, unreadable) = view(&keyring, &View::empty(), vec![row(&keyring, 1), row(&keyring, 2)]);
        assert!(unreadable.is_empty());
        assert_eq!(entry(&view).rate_ceiling, NonZeroU32::new(5));
        assert!(
            entry(&view)
                .credentials
                .iter()
                .all(|one| one.key() == SECRET.as_bytes())
        );
        assert_eq!(view.all_held().count(), 2);
    }

    #[test]
    fn a_credential_that_cannot_be_read_costs_nobody_else_theirs() {
        let keyring = keyring();
        let mut damaged = row(&keyring, 2);
        damaged.sealed_secret[30] ^= 1;
        let mut malformed = row(&keyring, 3);
        malformed.scheme.tolerance_seconds = Some(300);
        let rows = vec![row(&keyring, 1), damaged, malformed];

        let (view, unreadable) = view(&keyring, &View::empty(), rows);
        assert_eq!(unreadable.len(), 2);
        assert_eq!(
            (entry(&view).credentials.len(), entry(&view).n_unreadable),
            (1, 2)
        );
        assert_eq!(view.n_unreadable(), 2);
    }

    #[test]
    fn a_change_of_the_sealing_key_does_not_cut_off_who_is_already_known() {
        let keyring = keyring();
        let (first, _) = view(&keyring, &View::empty(), vec![row(&keyring, 1)]);
        let elsewhere = self::keyring();
        let (second, unreadable) = view(&keyring, &first, vec![row(&elsewhere, 1), row(&elsewhere, 2)]);
        assert_eq!(entry(&second).credentials.len(), 1);
        assert!(matches!(
            unreadable[..],
            [Unreadable::Unseal(UnsealError::MissingKey { .. })]
        ));
    }

    #[test]
    fn what_was_revoked_is_forgotten() {
        let keyring = keyring();
        let (first, _) = view(&keyring, &View::empty(), vec![row(&keyring, 1)]);
        let (second, _) = view(&keyring, &first, Vec::new());
        assert_eq!(second.all_held().count(), 0);
    }
}
