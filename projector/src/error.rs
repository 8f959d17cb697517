//! Why a projector ends without having been told to.

use crate::generations::GenerationError;

/// What nobody but an operator can mend. All else is waited for, or halts one partition.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    /// There is no generation to fill.
    #[error("{0}")]
    Generation(#[from] GenerationError),
    /// The generation was filled by other rules.
    #[error(
        "generation {generation} was filled by version {held} of the fold, and this is version {own}: \
         `fleetlog rebuild` fills and promotes one by version {own}; until then run the version that filled it"
    )]
    FoldVersion {
        /// The active generation.
        generation: String,
        /// What filled it.
        held: i32,
        /// What this is.
        own: i32,
    },
    /// The generation, or a position in it, belongs to another log.
    #[error(
        "generation {generation} was filled from another log than {log}: the topics were deleted and made again, or \
         this is the wrong Kafka or the wrong database"
    )]
    OtherLog {
        /// The active generation.
        generation: String,
        /// The log there is.
        log: String,
    },
    /// The topics are not there, or would lose events.
    #[error("{0}")]
    Topics(#[from] stream::topics::TopicsError),
    /// The log cannot be read on.
    #[error("{0}")]
    Read(#[from] stream::ReadError),
    /// Postgres refuses what should always work: a missing table or grant, or a bug.
    #[error("Postgres refuses what a projector needs, so nothing is projected until that is mended: {0}")]
    Database(#[from] sqlx::Error),
    /// Lost every race. Something else must be wrong.
    #[error("a batch was repeated {0} times and always lost a race: is something else writing these tables?")]
    Repeated(u32),
}
