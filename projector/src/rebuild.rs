//! Rebuild: the projections thrown away and folded again from the log, proved before anyone reads them.
//!
//! A new generation is filled beside the live one, which goes on. In the order of its [phases](Phase):
//!
//! - [`Plan`]: what is read, from where to where, and within how much memory; `prepare` goes on where another run was
//!   stopped or killed
//! - `load`: folds the log within that memory, writes rows by `COPY`, then keys, then links and devices
//! - `catch_up`: follows the live generation, by the path that projectors write by
//! - `prove`: compares both at the same positions, by `digest` first and row by row where they differ
//! - `promote`: one transaction, after which readers see it
//!
//! [`audit()`] and [`rebuild_device`] do the same for a few devices, with `refold`, apart from all others.
//!
//! [`rebuild()`] is all of it; its [`Report`] says what it came to. [`promote_built`], [`roll_back`] and [`drop_one`]
//! change which generation is seen, and [`overview()`] shows them all. Whoever does any of this has the one `turn` at it.
//! [`Progress`] tells those who wait how far it is.

mod audit;
mod catch_up;
mod copy;
mod derive;
mod device;
mod digest;
mod error;
mod index;
mod load;
mod memory;
mod overview;
mod plan;
mod prepare;
mod progress;
mod promote;
mod prove;
mod refold;
mod report;
mod site;
mod subjects;
mod together;
mod turn;
mod turn_over;

use std::{collections::BTreeMap, future::Future, time::Duration};

use serde_json::json;
use service::CancellationToken;
use sqlx::PgPool;
use stream::{LogConfig, Position};
use tokio::time::{Instant, sleep};

pub use audit::{Audit, audit};
pub use device::rebuild_device;
pub use error::RebuildError;
pub use load::{Loaded, load};
pub use memory::{least_memory, resident};
pub use overview::{Overview, Rebuild, overview};
pub use plan::Plan;
pub use progress::{Phase, Progress, Snapshot};
pub use promote::Promotion;
pub use report::{ColumnDifference, Digest, Of, Outcome, Proof, Report, RowDifference, TableProof};
pub(crate) use turn::Turn;
pub use turn_over::{drop_one, promote_built, roll_back};

use self::prepare::Prepared;
pub(crate) use self::{audit::enter, catch_up::Follower, prove::LiveSnapshot, site::Site};
use crate::{FOLD_VERSION, generations::Active, sql::rebuilds};

/// How long the live generation may stand still behind the new one before they cannot be compared.
const LIVE_PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked in which phase loading is.
const PHASE_INTERVAL: Duration = Duration::from_millis(50);

/// How often it is looked how far it is.
const LIVE_INTERVAL: Duration = Duration::from_millis(500);

/// Where, and by whom, generations are changed.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where the log is.
    pub log: LogConfig,
    /// The database, as whoever may act as the projector.
    pub pool: PgPool,
    /// Who does it, for people: host and process.
    pub owner: String,
}

/// What a rebuild is told.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where, and by whom.
    pub access: Access,
    /// Bytes that the whole process may take, [so much](least_memory) at the least.
    pub memory: usize,
    /// Partitions that are folded at the same time; they share the memory.
    pub workers: usize,
    /// Readers see the new generation if it is proved, or if what differs is accepted.
    pub promote: bool,
    /// The digest of a difference that is accepted.
    pub accept: Option<String>,
    /// What another run left half done is thrown away.
    pub afresh: bool,
    /// Cancelled when told to stop.
    pub stop: CancellationToken,
}

impl Access {
    /// Takes the one turn at generations, and learns which log it is.
    async fn enter(&self) -> Result<(Site, Turn), RebuildError> {
        let identity = site::identify(&self.log, &self.pool).await?;
        let turn = Turn::take(&self.pool).await?;
        let site = Site {
            log: self.log.clone(),
            identity,
            pool: self.pool.clone(),
            owner: self.owner.clone(),
        };
        Ok((site, turn))
    }
}

/// Fills a new generation from the log, compares it with the live one, and promotes it if that is meant.
///
/// What readers see stays as it is until the last moment. Stopped or killed, the next run goes on where this one was.
pub async fn rebuild(order: &Order, progress: &Progress) -> Result<Report, RebuildError> {
    progress.begin(Phase::Plan, 0);
    let (site, mut turn) = order.access.enter().await?;
    let live = site.live().await?;
    let mut work = Work {
        prepared: prepare::prepare(&site, &mut turn, &live, order).await?,
        site,
        turn,
        live,
        progress,
    };
    let n_loaded = work.load(order).await?;
    let (mut follower, proof) = interruptible(&order.stop, work.compare()).await?;
    let accepted = match (&proof.difference, &order.accept) {
        (None, _) => true,
        // It was the report of that very generation.
        (Some(_), Some(_)) if work.prepared.is_accepted => true,
        (Some(difference), accept) => accept.as_deref() == Some(&*difference.to_string()),
    };
    let promotion = if accepted && order.promote {
        work.enter(Phase::Promote, 0).await?;
        let Work { site, turn, live, .. } = &mut work;
        Some(promote::promote(site, turn, &mut follower, &live.generation, progress).await?)
    } else {
        None
    };
    Ok(Report {
        generation: follower.generation().to_owned(),
        log: work.site.identity.log_id.to_string(),
        outcome: match &promotion {
            Some(_) => Outcome::Promoted,
            None if accepted => Outcome::Proved,
            None => Outcome::Differs,
        },
        events: n_loaded + follower.n_events(),
        phases: phases(progress),
        most_memory: memory::most_resident(),
        readings_expired: work.prepared.extent.readings_expired(),
        proof,
        promotion,
    })
}

/// A rebuild under way.
struct Work<'a> {
    prepared: Prepared,
    site: Site,
    turn: Turn,
    live: Active,
    progress: &'a Progress,
}

impl Work<'_> {
    /// Begins a phase, and remembers it for whoever looks or goes on.
    async fn enter(&mut self, phase: Phase, total: u64) -> Result<(), RebuildError> {
        self.progress.begin(phase, total);
        let generation = &self.prepared.generation;
        rebuilds::enter(self.turn.connection(), generation, &self.site.owner, phase.name()).await?;
        Ok(())
    }

    /// Fills the generation up to the end of the plan, unless that was done before. Returns the events loaded.
    async fn load(&mut self, order: &Order) -> Result<u64, RebuildError> {
        if let Some(loaded) = &self.prepared.loaded {
            return Ok(loaded["events"].as_u64().unwrap_or(0));
        }
        self.enter(Phase::Load, 0).await?;
        let plan = Plan {
            log: self.site.log.clone(),
            identity: self.site.identity.clone(),
            pool: self.site.pool.clone(),
            generation: self.prepared.generation.clone(),
            from: self.prepared.extent.from.clone(),
            to: self.prepared.extent.to.clone(),
            memory: order.memory,
            workers: order.workers,
            stop: order.stop.clone(),
        };
        let loaded = tokio::select! {
            loaded = load(&plan, self.progress) => loaded?,
            ended = note_phases(&mut self.turn, &plan.generation, &self.site.owner, self.progress) => return Err(ended),
        };
        let text = json!({"events": loaded.events, "rows": loaded.rows});
        rebuilds::loaded(self.turn.connection(), &plan.generation, &text).await?;
        Ok(loaded.events)
    }

    /// Follows the live generation, and compares with it.
    async fn compare(&mut self) -> Result<(Follower, Proof), RebuildError> {
        self.enter(Phase::CatchUp, 0).await?;
        let mut follower = Follower::open(&self.site, &self.prepared.generation).await?;
        let (live, progress) = (&self.live, self.progress);
        promote::chase(&mut self.turn, &mut follower, &live.generation, progress).await?;
        self.wait_for_live(&follower).await?;

        let new = (self.prepared.generation.clone(), FOLD_VERSION);
        let live = (self.live.generation.clone(), self.live.fold_version);
        let mut snapshot = LiveSnapshot::take(&self.site, live, &new.0).await?;
        self.enter(Phase::Prove, 2 * snapshot.n_tables()).await?;
        let positions = snapshot.positions.clone();
        // Counts events, where tables are counted.
        let aside = Progress::default();
        let (sums, caught_up) = tokio::join!(snapshot.sums(progress), follower.follow(&positions, &aside));
        caught_up?;
        let proof = snapshot.compare(&self.site, sums?, new.clone(), progress).await?;
        let text = serde_json::to_value(&proof).unwrap_or_default();
        let difference = proof.difference.map(|difference| difference.to_string());
        rebuilds::proved(self.turn.connection(), &new.0, &text, difference.as_deref()).await?;
        Ok((follower, proof))
    }

    /// Waits until the live generation is as far as the new one: it may have begun to be filled when the plan was made.
    async fn wait_for_live(&mut self, follower: &Follower) -> Result<(), RebuildError> {
        let reached = follower.positions();
        let mut last = (u64::MAX, Instant::now());
        loop {
            let standing = rebuilds::standing(self.turn.connection(), &self.live.generation).await?;
            let behind = distance(&standing, &reached);
            if behind == 0 || standing.iter().all(|at| at.offset == 0) {
                return Ok(());
            }
            if behind < last.0 {
                last = (behind, Instant::now());
            } else if last.1.elapsed() > LIVE_PATIENCE {
                return Err(RebuildError::LiveBehind { behind });
            }
            sleep(LIVE_INTERVAL).await;
        }
    }
}

/// Remembers which phase loading is in, as it goes on. Ends only if that cannot be written: then the turn is lost.
async fn note_phases(turn: &mut Turn, generation: &str, owner: &str, progress: &Progress) -> RebuildError {
    let mut noted = Phase::Load;
    loop {
        sleep(PHASE_INTERVAL).await;
        let now = progress.snapshot().phase;
        if now == noted {
            continue;
        }
        if let Err(error) = rebuilds::enter(turn.connection(), generation, owner, now.name()).await {
            return error.into();
        }
        noted = now;
    }
}

/// How many offsets lie between these positions and others, where the others are further.
fn distance(from: &[Position], to: &[Position]) -> u64 {
    let from: BTreeMap<_, _> = from
        .iter()
        .map(|at| ((at.topic, at.partition), at.offset))
        .collect();
    let offset = |at: &Position| from.get(&(at.topic, at.partition)).copied().unwrap_or(0);
    to.iter()
        .map(|at| u64::try_from(at.offset - offset(at)).unwrap_or(0))
        .sum()
}

/// Does something until told to stop. What was under way fails whole.
async fn interruptible<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, RebuildError>>,
) -> Result<T, RebuildError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(RebuildError::Stopped),
        ended = work => ended,
    }
}

fn phases(progress: &Progress) -> Vec<(&'static str, f64)> {
    let took = progress.took().into_iter();
    took.map(|(phase, took)| (phase.name(), took.as_secs_f64()))
        .collect()
}
