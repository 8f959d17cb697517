//! Rewriting the log: a new one without the subjects whose data is to be forgotten, and the proof that only they are
//! missing.
//!
//! - [`Erased`]: the subjects, as the log says
//! - `copying`: record by record into the new log; killed, it goes on where it was
//! - `missing`: a new generation is folded from the new log and compared with the live one
//!
//! Nothing of the old log is changed. Whoever reads and writes it has to be told of the new one.

mod copying;
mod erased;
mod missing;

use std::collections::BTreeMap;

use schema::Topic;
use serde::Serialize;
use service::CancellationToken;
use sqlx::PgPool;
use stream::{LogConfig, LogIdentity, Position, ReadError};

pub use copying::Copied;
pub use erased::Erased;
pub use missing::{Missing, MissingRows};

use self::copying::Copying;
use crate::{
    generations::{self, GenerationError},
    rebuild::{Phase, Progress, RebuildError},
};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Order {
    /// The log there is.
    pub source: LogConfig,
    /// The new log: the same brokers, another prefix.
    pub target: LogConfig,
    /// The database, as whoever may act as the projector.
    pub pool: PgPool,
    /// Who does it, for people: host and process.
    pub owner: String,
    /// Bytes that folded rows may take while they wait to be written.
    pub memory: usize,
    /// Partitions that are folded at the same time.
    pub workers: usize,
    /// Only say what would be left out.
    pub dry_run: bool,
    /// Fold the new log into a new generation, and compare.
    pub prove: bool,
    /// Let readers see the new generation, if it is proved and nobody appends to the old log any more.
    pub promote: bool,
    /// Cancelled when told to stop.
    pub stop: CancellationToken,
}

/// What a rewriting came to.
#[derive(Clone, Debug, Serialize)]
pub struct Rewritten {
    /// The log there is.
    pub source: String,
    /// The new one; none if nothing was written.
    pub target: Option<String>,
    /// The subjects that are left out.
    pub erased: Vec<String>,
    /// What was copied, by topic.
    pub topics: BTreeMap<&'static str, Copied>,
    /// Records of the old log that were appended since, and are not in the new one.
    pub beyond: u64,
    /// How the new generation compares, if that was wanted.
    pub missing: Option<Missing>,
    /// Readers see the new generation.
    pub promoted: bool,
}

/// Why a rewriting ended. The old log, and what readers see, are as they were; what was copied is gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Nothing is to be left out.
    #[error(
        "no subject was erased, so there is nothing to leave out: `fleetlog device erase` says which one"
    )]
    NothingErased,
    /// The topics of the new log are those of the old one.
    #[error("the new log needs a prefix of its own")]
    SamePrefix,
    /// The new log holds something else.
    #[error("{0} was not copied from this log: the new log needs a prefix under which there is none")]
    NotACopy(Position),
    /// A subject was erased after its records were copied.
    #[error(
        "{0} was erased since, and the new log has records of it already: delete its topics, or begin again under \
         another prefix"
    )]
    AlreadyCopied(String),
    /// Readings are gone that no checkpoint covers.
    #[error(
        "{0} is the first reading that the log still has there, and no checkpoint covers what came before: take one"
    )]
    NotCovered(Position),
    /// The live generation was filled from another log.
    #[error("the live generation was filled from log {held}, not from {found}")]
    OtherLog {
        /// What the live generation is bound to.
        held: String,
        /// The log there is.
        found: String,
    },
    /// Told to stop.
    #[error("stopped; run again, it goes on where it was")]
    Stopped,
    /// The new log cannot be made, or the old one is not whole.
    #[error("{0}")]
    Topics(#[from] stream::topics::TopicsError),
    /// The log cannot be read on.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The new log takes no more.
    #[error("{0}")]
    Append(#[from] stream::AppendError),
    /// Kafka does not answer as it should.
    #[error("Kafka: {0}")]
    Kafka(#[from] stream::KafkaFault),
    /// The new generation cannot be filled or compared.
    #[error("{0}")]
    Rebuild(#[from] RebuildError),
    /// Generations cannot be read or changed.
    #[error("{0}")]
    Generation(#[from] GenerationError),
    /// Postgres cannot be reached, or refuses.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

/// The topics that are copied, in this order: what is folded first.
const TOPICS: [Topic; 4] = [
    Topic::Events,
    Topic::Readings,
    Topic::Checkpoints,
    Topic::DeadLetters,
];

/// Copies the log without the subjects that were erased, and proves that only they are missing.
pub async fn rewrite(order: &Order, progress: &Progress) -> Result<Rewritten, RewriteError> {
    if order.source.prefix == order.target.prefix {
        return Err(RewriteError::SamePrefix);
    }
    progress.begin(Phase::Plan, 0);
    let source = stream::topics::check(&order.source).await?;
    let ends = stream::ends(&order.source, &source, &TOPICS).await?;
    let erased = Erased::read(&order.source, &source, &ends).await?;
    if erased.is_empty() {
        return Err(RewriteError::NothingErased);
    }
    let mut rewritten = Rewritten {
        source: source.log_id.to_string(),
        target: None,
        erased: erased.subjects(),
        topics: BTreeMap::new(),
        beyond: 0,
        missing: None,
        promoted: false,
    };
    if order.dry_run {
        rewritten.topics = copying::would_copy(&order.source, &source, &erased, &ends, progress).await?;
        return Ok(rewritten);
    }
    let target = stream::topics::create(&order.target, source.partitions).await?;
    rewritten.target = Some(target.log_id.to_string());
    let mut copying = Copying::begin(order, &source, &target, &erased).await?;
    copying.copy(&ends, progress).await?;
    if order.prove {
        let missing = missing::prove(order, (&source, &target), &erased, &mut copying, progress).await?;
        rewritten.promoted = order.promote && promote(order, &source, &copying, &missing).await?;
        rewritten.missing = Some(missing);
    }
    rewritten.beyond = beyond(order, &source, &copying).await?;
    rewritten.topics = copying.into_counts();
    Ok(rewritten)
}

/// Records of the folded topics that lie beyond what was copied.
async fn beyond(order: &Order, source: &LogIdentity, copying: &Copying) -> Result<u64, RewriteError> {
    let ends = stream::ends(&order.source, source, &missing::FOLDED).await?;
    let ranges = stream::Range::between(&copying.positions(), &ends);
    Ok(ranges.iter().map(stream::Range::n_offsets).sum())
}

/// Lets readers see the new generation, if nothing else is missing and nobody appends to the old log any more.
async fn promote(
    order: &Order,
    source: &LogIdentity,
    copying: &Copying,
    missing: &Missing,
) -> Result<bool, RewriteError> {
    if !missing.only_erased || beyond(order, source, copying).await? > 0 {
        return Ok(false);
    }
    generations::activate(&order.pool, &missing.generation).await?;
    Ok(true)
}
