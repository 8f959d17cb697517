//! The in-memory view of who may send, from which deliveries are judged.
//!
//! A [`Registry`] answers from memory; its [`Follower`] keeps that memory current: it asks Postgres each second
//! whether the revision has changed and loads everything anew if so. While Postgres is away the registry serves
//! what it knew last, and [`Registry::status`] says how old that is.

mod entry;
mod follow;
mod unknown;
mod view;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use schema::{CredentialId, IntegrationId, Micros};
use sqlx::PgPool;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use self::{
    unknown::{Recall, Unknowns},
    view::View,
};
use crate::{Keyring, UnsealError, metrics};

pub use self::{
    entry::{CredentialEntry, IntegrationEntry},
    follow::Follower,
};

/// How long a delivery waits for a look-up of its integration before it is told to come again.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Older than this, the registry is degraded: changes are promised to be followed within two seconds.
const STALE: Duration = Duration::from_secs(5);

/// Who may send, as far as known. Copies share one view.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// What a registry and its follower share.
struct Shared {
    view: RwLock<Arc<View>>,
    unknowns: Mutex<Unknowns>,
    /// Someone waits for a look-up.
    asked: Notify,
    state: Mutex<State>,
    loaded: watch::Sender<bool>,
}

/// How well the registry is informed.
#[derive(Clone)]
struct State {
    /// When the view was last known to be what Postgres holds; at first, when the registry was made.
    confirmed: Instant,
    /// What keeps it from being confirmed, for people.
    trouble: Option<String>,
    /// When that was last said in the log.
    told: Option<Instant>,
}

/// What is known of an integration.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It may send, if its credentials say so.
    Known(Arc<IntegrationEntry>),
    /// There is no such integration: asking again cannot help.
    Unknown,
    /// It cannot be told whether there is one: ask again later.
    Unavailable,
}

/// Why a registry cannot be served from. Only the operator can mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// A sealing key is missing: whoever cannot tell a friend from a stranger must not open the door.
    #[error("{0}; the sealing key it names has to be given too")]
    SealingKey(#[from] UnsealError),
}

/// How well a registry is informed, for readiness, pages and people. Its text is the detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it was loaded at all; before, nothing can be served.
    pub loaded: bool,
    /// Since when it was last known to be what Postgres holds; if not loaded, since it began to try.
    pub age: Duration,
    /// How many integrations it holds.
    pub integrations: usize,
    /// How many of their credentials cannot be unsealed.
    pub unreadable: usize,
    /// What keeps it from being current, without internals.
    pub trouble: Option<String>,
}

impl Registry {
    /// An empty registry and what fills it. Until [`Follower::run`] has loaded it, every look-up is unavailable.
    ///
    /// The pool should connect lazily, so that a process can start, and say what it waits for, while Postgres is
    /// down. Install the metrics recorder first.
    pub fn new(pool: PgPool, keyring: Keyring) -> (Self, Follower) {
        metrics::describe();
        let registry = Self::holding(View::empty(), Unknowns::followed(), false);
        let follower = Follower::new(Arc::clone(&registry.0), pool, keyring);
        (registry, follower)
    }

    /// A registry that holds these integrations for ever and follows nothing: for tests, and for tools that verify
    /// by themselves.
    pub fn fixed(entries: impl IntoIterator<Item = IntegrationEntry>) -> Self {
        Self::holding(View::fixed(entries), Unknowns::fixed(), true)
    }

    fn holding(view: View, unknowns: Unknowns, loaded: bool) -> Self {
        Self(Arc::new(Shared {
            view: RwLock::new(Arc::new(view)),
            unknowns: Mutex::new(unknowns),
            asked: Notify::new(),
            state: Mutex::new(State {
                confirmed: Instant::now(),
                trouble: None,
                told: None,
            }),
            loaded: watch::Sender::new(loaded),
        }))
    }

    /// What is known of an integration. Answers from memory; an id that is not there costs one look-up, which all
    /// who ask meanwhile share, and at most 50 ids a second are looked up.
    pub async fn integration(&self, id: IntegrationId) -> Lookup {
        if let Some(entry) = self.0.view().integration(id) {
            return Lookup::Known(entry);
        }
        if !*self.0.loaded.borrow() {
            return Lookup::Unavailable;
        }
        let (outcome, lookup) = self.look_up(id).await;
        ::metrics::counter!(metrics::REGISTRY_LOOKUPS, "outcome" => outcome).increment(1);
        lookup
    }

    async fn look_up(&self, id: IntegrationId) -> (&'static str, Lookup) {
        let recalled = self.0.unknowns().recall(id, Instant::now());
        let answer = match recalled {
            Recall::Unknown => return ("remembered", Lookup::Unknown),
            Recall::OverBudget => return ("over_budget", Lookup::Unavailable),
            // A follower that is known to be cut off would only let the sender wait.
            Recall::Ask(_) if self.0.state().trouble.is_some() => {
                return ("unavailable", Lookup::Unavailable);
            }
            Recall::Ask(answer) => answer,
        };
        self.0.asked.notify_one();
        let Ok(Ok(true)) = timeout(LOOKUP_TIMEOUT, answer).await else {
            return ("unavailable", Lookup::Unavailable);
        };
        match self.0.view().integration(id) {
            Some(entry) => ("known", Lookup::Known(entry)),
            None => ("unknown", Lookup::Unknown),
        }
    }

    /// Notes that a credential verified a delivery. Cheap: Postgres hears of it every few seconds.
    pub fn note_use(&self, credential: CredentialId, now: Micros) {
        if let Some(held) = self.0.view().held(credential) {
            held.note_use(now);
        }
    }

    /// Waits until the registry can be served from.
    pub async fn loaded(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // Fails only if the sender is gone, and we hold it.
        drop(loaded.wait_for(|loaded| *loaded).await);
    }

    /// How well it is informed.
    pub fn status(&self) -> Status {
        let view = self.0.view();
        let State {
            confirmed, trouble, ..
        } = self.0.state().clone();
        let age = if view.follows() {
            confirmed.elapsed()
        } else {
            Duration::ZERO
        };
        Status {
            loaded: *self.0.loaded.borrow(),
            age,
            integrations: view.n_integrations(),
            unreadable: view.n_unreadable(),
            trouble,
        }
    }
}

impl Status {
    /// Whether deliveries can be judged at all.
    pub fn ready(&self) -> bool {
        self.loaded
    }

    /// Whether a person should have a look, though deliveries can be judged.
    pub fn degraded(&self) -> bool {
        self.trouble.is_some() || self.unreadable > 0 || self.age > STALE
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            loaded,
            age,
            integrations,
            unreadable,
            trouble,
        } = self;
        let age = age.as_secs();
        if !loaded {
            let trouble = trouble.as_deref().unwrap_or("not loaded");
            return write!(f, "waiting for the integrations for {age} s: {trouble}");
        }
        write!(f, "{integrations} integrations, confirmed {age} s ago")?;
        if *unreadable > 0 {
            write!(f, "; {unreadable} credentials cannot be unsealed")?;
        }
        trouble.iter().try_for_each(|trouble| write!(f, "; {trouble}"))
    }
}

impl Shared {
    fn view(&self) -> Arc<View> {
        // What is swapped is a finished view, so a panic elsewhere leaves it whole.
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    fn unknowns(&self) -> MutexGuard<'_, Unknowns> {
        self.unknowns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use schema::OrganizationId;
    use uuid::Uuid;

    use super::*;

    fn entry(n: u128) -> IntegrationEntry {
        IntegrationEntry::new(IntegrationId(Uuid::from_u128(n)), OrganizationId(Uuid::nil()))
    }

    #[tokio::test]
    async fn a_fixed_registry_knows_its_own_and_nobody_else() {
        let registry = Registry::fixed([entry(1)]);
        assert!(matches!(
            registry.integration(entry(1).id).await,
            Lookup::Known(_)
        ));
        assert!(matches!(registry.integration(entry(2).id).await, Lookup::Unknown));
        assert!(registry.status().ready() && !registry.status().degraded());
    }

    #[tokio::test]
    async fn nothing_can_be_told_before_the_registry_is_loaded() {
        let pool = PgPool::connect_lazy("postgres://nobody@localhost:1/none").unwrap();
        let keyring = Keyring::new(crate::SealingKey::generate(), Vec::new());
        let (registry, _follower) = Registry::new(pool, keyring);
        assert!(matches!(
            registry.integration(entry(1).id).await,
            Lookup::Unavailable
        ));
        assert!(!registry.status().ready());
        assert!(
            registry
                .status()
                .to_string()
                .starts_with("waiting for the integrations")
        );
    }

    #[tokio::test]
    async fn an_unknown_id_is_unavailable_while_postgres_is_in_trouble() {
        let registry = Registry::holding(View::empty(), Unknowns::followed(), true);
        registry.0.state().trouble = Some("Postgres cannot be reached".to_owned());
        assert!(matches!(
            registry.integration(entry(1).id).await,
            Lookup::Unavailable
        ));
        assert!(registry.status().ready() && registry.status().degraded());
    }
}
