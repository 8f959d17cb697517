//! Keeps a registry current.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    RegistryError, STALE, Shared,
    view::{Unreadable, View},
};
use crate::{
    Keyring, UnsealError,
    error::public_reason,
    metrics::{
        REGISTRY_AGE, REGISTRY_FAILURES, REGISTRY_INTEGRATIONS, REGISTRY_RELOADS, REGISTRY_UNREADABLE,
    },
    sql,
};

/// How often Postgres is asked whether anything has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to answer that.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to hand over everything.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often Postgres hears which credentials were used.
const FLUSH_INTERVAL: Duration = Duration::from_secs(3);
/// Pauses between attempts of the first load: they double from the first to the last.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// How often it is said in the log that Postgres cannot be asked.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// Most uses that are written with one statement.
const FLUSH_ROWS: usize = 5_000;

/// Fills a [`Registry`](super::Registry) and keeps it current.
pub struct Follower {
    shared: Arc<Shared>,
    pool: PgPool,
    keyring: Keyring,
}

/// Why an exchange with Postgres came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
    #[error("Postgres does not answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl Trouble {
    fn for_people(&self) -> String {
        match self {
            Self::Database(error) => public_reason(error),
            Self::Late(_) => self.to_string(),
        }
    }
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, pool: PgPool, keyring: Keyring) -> Self {
        Self {
            shared,
            pool,
            keyring,
        }
    }

    /// Loads the registry, however long Postgres takes to come up, and keeps it current until told to stop.
    ///
    /// Fails only if the sealing key for a stored credential is missing when the registry is first loaded.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RegistryError> {
        let ended = stop.run_until_cancelled(self.follow()).await;
        // The last seconds' uses. Postgres may be down: then they are lost, which a page shows but nothing needs.
        self.flush().await;
        ended.unwrap_or(Ok(()))
    }

    async fn follow(&self) -> Result<(), RegistryError> {
        self.load_first().await?;
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flushed = Instant::now();
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                () = self.shared.asked.notified() => {}
            }
            self.refresh().await;
            if flushed.elapsed() >= FLUSH_INTERVAL {
                self.flush().await;
                flushed = Instant::now();
            }
        }
    }

    async fn load_first(&self) -> Result<(), RegistryError> {
        let (mut pause, longest) = RETRY_PAUSES;
        loop {
            let asked = Instant::now();
            match self.load().await {
                Ok(unreadable) => {
                    if let Some(missing) = unreadable.iter().find_map(missing_key) {
                        return Err(missing.clone().into());
                    }
                    self.confirmed(asked);
                    // `send` would fail without subscribers; whoever asks later must see it too.
                    self.shared.loaded.send_replace(true);
                    let integrations = self.shared.view().n_integrations();
                    tracing::info!(integrations, "integrations loaded");
                    return Ok(());
                }
                Err(trouble) => self.failed(&trouble),
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Makes the view what Postgres holds, and answers those who asked before this began.
    async fn refresh(&self) {
        let waiting = self.shared.unknowns().take_waiting();
        let asked = Instant::now();
        let outcome = self.catch_up().await;
        match &outcome {
            Ok(()) => self.confirmed(asked),
            Err(trouble) => self.failed(trouble),
        }
        if !waiting.is_empty() && outcome.is_ok() {
            let view = self.shared.view();
            let now = Instant::now();
            let mut unknowns = self.shared.unknowns();
            for id in waiting.ids().filter(|id| view.integration(*id).is_none()) {
                unknowns.remember(id, now);
            }
        }
        waiting.answer(outcome.is_ok());
    }

    async fn catch_up(&self) -> Result<(), Trouble> {
        let revision = timeout(POLL_TIMEOUT, sql::revision(&self.pool)).await??;
        // A database restored from a backup may go back: any other revision is a change.
        if self.shared.view().revision() != Some(revision) {
            // What a revoked credential was last used for is forgotten with it, so it is told before.
            self.flush().await;
            self.load().await?;
        }
        Ok(())
    }

    async fn load(&self) -> Result<Vec<Unreadable>, Trouble> {
        let snapshot = timeout(LOAD_TIMEOUT, sql::snapshot(&self.pool)).await??;
        let (view, unreadable) = View::of(snapshot, &self.keyring, &self.shared.view());
        for error in &unreadable {
            tracing::error!(%error, "a credential is not served: {error}");
        }
        self.shared.replace_view(view);
        metrics::counter!(REGISTRY_RELOADS).increment(1);
        Ok(unreadable)
    }

    /// Postgres was asked at `asked`, and the view is what it held then, or newer.
    fn confirmed(&self, asked: Instant) {
        let (age, trouble) = {
            let mut state = self.shared.state();
            let age = state.confirmed.elapsed();
            state.confirmed = asked;
            (age, state.trouble.take())
        };
        if trouble.is_some() {
            tracing::info!(
                age_s = age.as_secs(),
                "the registry is current again after {} s",
                age.as_secs()
            );
        }
        self.measure();
    }

    fn failed(&self, trouble: &Trouble) {
        let reason = trouble.for_people();
        let (age, is_due) = {
            let mut state = self.shared.state();
            let is_news = state.trouble.replace(reason.clone()).as_ref() != Some(&reason);
            // At once for each kind of trouble, then now and then: not once a second.
            let is_due = is_news || state.told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL);
            if is_due {
                state.told = Some(Instant::now());
            }
            (state.confirmed.elapsed(), is_due)
        };
        if is_due {
            let (options, error) = (self.pool.connect_options(), trouble);
            let (host, port) = (options.get_host(), options.get_port());
            let age_s = age.as_secs();
            if *self.shared.loaded.borrow() {
                tracing::warn!(%error, age_s, "cannot follow the integrations in PostgreSQL at {host}:{port}: {reason}");
            } else {
                tracing::warn!(%error, age_s, "waiting for PostgreSQL at {host}:{port}, for the integrations: {reason}");
            }
        }
        metrics::counter!(REGISTRY_FAILURES).increment(1);
        self.measure();
    }

    fn measure(&self) {
        let age = self.shared.state().confirmed.elapsed();
        let view = self.shared.view();
        metrics::gauge!(REGISTRY_AGE).set(age);
        metrics::gauge!(REGISTRY_INTEGRATIONS).set(gauge(view.n_integrations()));
        metrics::gauge!(REGISTRY_UNREADABLE).set(gauge(view.n_unreadable()));
    }

    /// Tells Postgres which credentials were used; what it does not hear now it hears later.
    async fn flush(&self) {
        let view = self.shared.view();
        let uses: Vec<_> = view
            .all_held()
            .filter_map(|(id, held)| held.untold_use().map(|at| (id, at)))
            .collect();
        for uses in uses.chunks(FLUSH_ROWS) {
            let told = timeout(POLL_TIMEOUT, sql::note_uses(&self.pool, uses)).await;
            if let Err(error) = told
                .map_err(Trouble::from)
                .and_then(|told| told.map_err(Trouble::from))
            {
                tracing::warn!(%error, "cannot write when credentials were last used");
                return;
            }
            for (id, at) in uses {
                view.held(*id).into_iter().for_each(|held| held.told(*at));
            }
        }
    }
}

fn missing_key(unreadable: &Unreadable) -> Option<&UnsealError> {
    match unreadable {
        Unreadable::Unseal(error @ UnsealError::MissingKey { .. }) => Some(error),
        Unreadable::Unseal(UnsealError::Damaged { .. }) | Unreadable::Malformed { .. } => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of more than 2^52 integrations would be off by one"
)]
fn gauge(n: usize) -> f64 {
    n as f64
}

const _: () = assert!(POLL_INTERVAL.as_secs() + POLL_TIMEOUT.as_secs() < STALE.as_secs());
