//! One batch of records, until it is written or cannot be.

mod halts;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schema::Topic;
use service::{CancellationToken, Check, Health};
use sqlx::{PgConnection, PgPool};
use stream::{Position, Read};
use tokio::time::Instant;

use crate::{
    Config, ProjectorError,
    attempt::{self, Attempt},
    commit::{Days, Outcome, Plain, Target, commit, make_days},
    dead_letters::{
        DeadLetter, Limit,
        bisect::{Bisected, Whole, commit_bisected},
    },
    generations,
    metrics::Metric,
    ownership::{Halt, Ownership, Reconciled},
    pause::Pause,
    spans::Committed,
    sql::{Verdict, offsets, rebuilds, session, verdict},
};

/// How often a lost race is repeated before something else must be wrong.
const MAX_REPEATS: u32 = 50;

/// How long Postgres may take to say which generation readers see.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Writes batches, whatever it takes.
pub(crate) struct Projection {
    config: Config,
    pool: PgPool,
    health: Health,
    shutdown: CancellationToken,
    /// Which of the writers of this process it is, from 1 on.
    number: usize,
    target: Target,
    connection: Option<PgConnection>,
    plain: Plain,
    days: Days,
    limit: Limit,
    /// What was said last of each partition that stands still, so that it is not said at each try.
    said: BTreeMap<(Topic, i32), Halt>,
    pub(crate) owned: Ownership,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All that this projector may fold is written.
    Written,
    /// Postgres was set back: everything has to be asked for anew.
    SetBack,
    /// Told to stop while waiting. What is not written comes again.
    Stopped,
}

/// What became of one try.
enum Tried {
    Written,
    SetBack,
    Stopped,
    /// More events seem to be at fault than can be: these, at least.
    TooMany(Vec<DeadLetter>),
    /// Postgres refuses what is not an event's fault.
    Refused(sqlx::Error),
}

impl Projection {
    pub(crate) fn new(
        config: Config,
        pool: PgPool,
        health: Health,
        shutdown: CancellationToken,
        (number, target): (usize, Target),
    ) -> Self {
        Self {
            limit: Limit::percent(config.max_set_aside_percent),
            said: BTreeMap::new(),
            config,
            pool,
            health,
            shutdown,
            number,
            target,
            connection: None,
            plain: Plain::default(),
            days: Days::default(),
            owned: Ownership::default(),
        }
    }

    /// Shows that nothing is waiting.
    pub(crate) fn is_even(&self) {
        attempt::show_age(self.number, 0.0);
    }

    /// The generation that is written.
    pub(crate) fn generation(&self) -> &str {
        &self.target.generation
    }

    /// The generation that readers see, if Postgres says so at once.
    pub(crate) async fn active(&mut self) -> Option<String> {
        let ask = async {
            let mut connection = self.open().await?;
            let name = generations::name_of_active(&mut connection).await?;
            Ok::<_, sqlx::Error>((connection, name))
        };
        // A connection that was given up in the middle of an answer is not used again. That Postgres is away is said
        // by whoever writes.
        let (connection, name) = tokio::time::timeout(ASK_WITHIN, ask).await.ok()?.ok()?;
        self.connection = Some(connection);
        name
    }

    /// Whether some of these partitions were taken away by somebody who does not want to keep them. Not, if Postgres
    /// does not say so at once.
    pub(crate) async fn is_free(&mut self, partitions: &[i32]) -> bool {
        let ask = async {
            let mut connection = self.open().await?;
            let free = rebuilds::is_free(&mut connection, &self.target.generation, partitions).await?;
            Ok::<_, sqlx::Error>((connection, free))
        };
        match tokio::time::timeout(ASK_WITHIN, ask).await {
            Ok(Ok((connection, free))) => {
                self.connection = Some(connection);
                free
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The connection at hand, or another.
    async fn open(&mut self) -> sqlx::Result<PgConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        // A Postgres that lost its last commits may have lost days that were made before them.
        self.days = Days::default();
        session::open(&self.pool, &self.target.generation).await
    }

    /// Goes on with another generation. Owns nothing of it yet.
    pub(crate) fn turn_to(&mut self, generation: String) {
        self.owned.clear();
        self.plain.forget_all();
        self.days = Days::default();
        // It is pinned to the generation before.
        self.connection = None;
        self.target.generation = generation;
    }

    /// Binds the generation to the log; refuses if it is another's.
    pub(crate) async fn bind_log(&mut self) -> Result<Done, ProjectorError> {
        let mut pause = Pause::new(&self.config);
        loop {
            let Some(mut connection) = self.connected(&mut pause, None).await? else {
                return Ok(Done::Stopped);
            };
            let bound = offsets::bind_log(&mut connection, &self.target.generation, &self.target.log).await;
            match bound {
                Ok(true) => {
                    self.connection = Some(connection);
                    return Ok(Done::Written);
                }
                Ok(false) => return Err(self.other_log()),
                Err(error) => self.wait_or_end(error, &mut pause).await?,
            }
        }
    }

    /// Becomes the owner of these partitions of both topics.
    pub(crate) async fn take_over(&mut self, keys: &[(Topic, i32)]) -> Result<Done, ProjectorError> {
        // What was known of provider devices may have been changed by another owner.
        self.plain.forget_all();
        self.owned.clear();
        let mut pause = Pause::new(&self.config);
        loop {
            let Some(mut connection) = self.connected(&mut pause, None).await? else {
                return Ok(Done::Stopped);
            };
            let Target { generation, log } = &self.target;
            let owner = &self.config.owner;
            match offsets::take_over(&mut connection, generation, log, owner, keys).await {
                Ok(places) if places.len() == keys.len() => {
                    self.connection = Some(connection);
                    self.owned.assign(places);
                    return Ok(Done::Written);
                }
                Ok(_) => return Err(self.other_log()),
                Err(error) => self.wait_or_end(error, &mut pause).await?,
            }
        }
    }

    fn other_log(&self) -> ProjectorError {
        ProjectorError::OtherLog {
            generation: self.target.generation.clone(),
            log: self.target.log.log_id.to_string(),
        }
    }

    /// Writes records: those of places that are owned, and not written before.
    ///
    /// What is a record's own fault is set aside. What is not halts its partition; the others go on.
    pub(crate) async fn project(&mut self, records: &[Read]) -> Result<Done, ProjectorError> {
        loop {
            match self.try_until_settled(records).await? {
                Tried::Written => return Ok(Done::Written),
                Tried::SetBack => return Ok(Done::SetBack),
                Tried::Stopped => return Ok(Done::Stopped),
                // Without these partitions it is tried again.
                Tried::TooMany(letters) => self.halt_at_fault(&letters),
                Tried::Refused(error) => return self.project_apart(records, &error).await,
            }
        }
    }

    /// Finds the partitions that Postgres refuses to write by trying each alone.
    async fn project_apart(&mut self, records: &[Read], error: &sqlx::Error) -> Result<Done, ProjectorError> {
        let due = records
            .iter()
            .filter(|read| self.owned.place_of(read.position).is_some());
        let places: BTreeSet<_> = due
            .map(|read| (read.position.topic, read.position.partition))
            .collect();
        if places.len() == 1 {
            self.halt_refused(records, error);
            return Ok(Done::Written);
        }
        for place in places {
            let is_of_place = |read: &&Read| (read.position.topic, read.position.partition) == place;
            let own: Vec<Read> = records.iter().filter(is_of_place).cloned().collect();
            match self.try_until_settled(&own).await? {
                Tried::Written => {}
                Tried::SetBack => return Ok(Done::SetBack),
                Tried::Stopped => return Ok(Done::Stopped),
                Tried::TooMany(letters) => self.halt_at_fault(&letters),
                Tried::Refused(error) => self.halt_refused(&own, &error),
            }
        }
        Ok(Done::Written)
    }

    /// Says that everything up to these positions is folded, where no record is left before them. `false` if another
    /// has become the owner.
    pub(crate) async fn skip_to(&mut self, ends: &[Position]) -> Result<bool, ProjectorError> {
        let places: Vec<_> = ends
            .iter()
            .filter_map(|end| Some((self.owned.place_of(*end)?, end.offset)))
            .filter(|(place, end)| place.next < *end)
            .collect();
        if places.is_empty() {
            return Ok(true);
        }
        let mut pause = Pause::new(&self.config);
        loop {
            let Some(mut connection) = self.connected(&mut pause, None).await? else {
                return Ok(false);
            };
            let Target { generation, log } = &self.target;
            match offsets::advance(&mut connection, generation, log, &places).await {
                Ok(advanced) => {
                    self.connection = Some(connection);
                    if advanced {
                        self.owned.advanced(&places);
                    }
                    return Ok(advanced);
                }
                Err(error) => self.wait_or_end(error, &mut pause).await?,
            }
        }
    }

    /// Tries until it is written, or never will be.
    async fn try_until_settled(&mut self, records: &[Read]) -> Result<Tried, ProjectorError> {
        let at_hand = Instant::now();
        let mut pause = Pause::new(&self.config);
        let mut n_repeats = 0;
        // Folding costs more than a comparison: what was prepared is good as long as the same places are owned.
        let mut attempt = Attempt::prepare(records, &self.owned);
        loop {
            if attempt.places.is_empty() {
                return Ok(Tried::Written);
            }
            let Some(mut connection) = self.connected(&mut pause, Some(&attempt)).await? else {
                return Ok(Tried::Stopped);
            };
            let began = Instant::now();
            let outcome = self.try_once(&mut connection, &attempt, records).await;
            match outcome {
                Ok(Bisected::Committed(written, aside)) => {
                    self.connection = Some(connection);
                    let committed = Committed {
                        target: &self.target,
                        attempt: &attempt,
                        written: &written,
                        aside: &aside,
                        begun: at_hand.into_std(),
                        n_repeats,
                    };
                    committed.tell(&self.config.traces, records, &self.owned);
                    self.owned.advanced(&attempt.places);
                    self.limit.note(attempt.n_records(), aside.len());
                    attempt.measure(&written, &aside, began.elapsed());
                    halts::alarm(&aside);
                    return Ok(Tried::Written);
                }
                Ok(Bisected::Fenced) => {
                    self.plain.forget_all();
                    match self.reconcile(&mut connection).await {
                        Ok(Reconciled::SetBack) => return Ok(Tried::SetBack),
                        Ok(Reconciled::GoOn) => self.connection = Some(connection),
                        Err(error) => self.wait_or_end(error, &mut pause).await?,
                    }
                    attempt = Attempt::prepare(records, &self.owned);
                    n_repeats += 1;
                }
                Ok(Bisected::Crowded) => {
                    self.connection = Some(connection);
                    n_repeats += 1;
                    self.repeat(n_repeats).await;
                }
                Ok(Bisected::TooMany(letters)) => {
                    self.connection = Some(connection);
                    return Ok(Tried::TooMany(letters));
                }
                Err(error) => match verdict(&error) {
                    Verdict::Repeat | Verdict::MakeDays => {
                        self.connection = Some(connection);
                        // A day may have been dropped since it was made.
                        self.days = Days::default();
                        self.plain.doubt();
                        tracing::debug!(%error, "lost a race, repeating the batch: {error}");
                        n_repeats += 1;
                        self.repeat(n_repeats).await;
                    }
                    Verdict::Reconnect => self.wait_or_end(error, &mut pause).await?,
                    // The events at fault are set aside already: it is what is written about them.
                    Verdict::Halt | Verdict::Poison => return Ok(Tried::Refused(error)),
                },
            }
            if n_repeats > MAX_REPEATS {
                return Err(ProjectorError::Repeated(n_repeats));
            }
        }
    }

    async fn try_once(
        &mut self,
        connection: &mut PgConnection,
        attempt: &Attempt,
        records: &[Read],
    ) -> sqlx::Result<Bisected> {
        let allowed = self.limit.allows(attempt.n_records());
        if attempt.undecodable.len() > allowed {
            return Ok(Bisected::TooMany(attempt.undecodable.clone()));
        }
        make_days(connection, &mut self.days, &attempt.batch).await?;
        let all = (&attempt.batch, attempt.undecodable.as_slice());
        let committed = commit(connection, &self.target, &attempt.places, all, &mut self.plain).await;
        match committed {
            Ok(Outcome::Committed(written)) => Ok(Bisected::Committed(written, attempt.undecodable.clone())),
            Ok(Outcome::Fenced) => Ok(Bisected::Fenced),
            Ok(Outcome::Crowded) => Ok(Bisected::Crowded),
            Err(error) if verdict(&error) == Verdict::Poison => {
                tracing::warn!(%error, "some event of a batch is refused, looking for it: {error}");
                let whole = Whole {
                    target: &self.target,
                    places: &attempt.places,
                    events: &Attempt::due(records, &self.owned),
                    undecodable: &attempt.undecodable,
                    allowed,
                };
                commit_bisected(connection, &whole, &mut self.plain).await
            }
            Err(error) => Err(error),
        }
    }

    async fn reconcile(&mut self, connection: &mut PgConnection) -> sqlx::Result<Reconciled> {
        metrics::counter!(Metric::FleetlogProjectorFencedTotal.name()).increment(1);
        let written = offsets::look_up(connection, &self.target.generation, &self.owned.keys()).await?;
        let n_before = self.owned.len();
        let reconciled = self.owned.reconcile(&written);
        tracing::warn!(
            n_lost = n_before - self.owned.len(),
            "a transaction failed whole: {} of {n_before} partitions are another projector's now",
            n_before - self.owned.len()
        );
        Ok(reconciled)
    }

    /// Pauses before a batch is repeated: longer each time, and never as long as whoever won the race does.
    async fn repeat(&self, n_repeats: u32) {
        metrics::counter!(Metric::FleetlogProjectorRetriesTotal.name(), "reason" => "lost_race").increment(1);
        let jitter = uuid::Uuid::new_v4().as_u128() % 16;
        let millis = u64::from(n_repeats.min(20)) * u64::try_from(jitter).unwrap_or(1);
        self.pause(Duration::from_millis(millis)).await;
    }

    /// The connection, made anew if there is none; waits as long as it takes, while what waits for it gets older. `None`
    /// when told to stop.
    async fn connected(
        &mut self,
        pause: &mut Pause,
        waiting: Option<&Attempt>,
    ) -> Result<Option<PgConnection>, ProjectorError> {
        loop {
            if let Some(attempt) = waiting {
                attempt.measure_age(self.number);
            }
            if self.connection.is_none() && self.shutdown.is_cancelled() {
                return Ok(None);
            }
            match self.open().await {
                Ok(connection) => {
                    self.health.set("postgres", Check::passing("connected"));
                    return Ok(Some(connection));
                }
                Err(error) => self.wait_or_end(error, pause).await?,
            }
        }
    }

    /// Waits before another try, if one may help. The connection is not used again.
    async fn wait_or_end(&mut self, error: sqlx::Error, pause: &mut Pause) -> Result<(), ProjectorError> {
        match verdict(&error) {
            Verdict::Halt | Verdict::Poison => Err(error.into()),
            Verdict::Repeat | Verdict::MakeDays | Verdict::Reconnect => {
                metrics::counter!(Metric::FleetlogProjectorRetriesTotal.name(), "reason" => "unavailable")
                    .increment(1);
                let wait = pause.next();
                tracing::warn!(%error, ?wait, "Postgres is not available, trying again in {wait:?}: {error}");
                self.health
                    .set("postgres", Check::failing(format!("not available: {error}")));
                self.pause(wait).await;
                Ok(())
            }
        }
    }

    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}
