//! Why a rebuild ends without having done what it was to do. What readers see is as it was.

use stream::{KafkaFault, Position};

use crate::generations::GenerationError;

/// Why a rebuild ended.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Told to stop; it can be resumed.
    #[error("stopped; `fleetlog rebuild` goes on where it was")]
    Stopped,
    /// Another rebuild, promotion or rollback is at work.
    #[error("another rebuild or rollback is at work in this database; wait for it, or stop it")]
    Busy,
    /// The log does not reach back to its beginning.
    #[error(
        "{0} is the first that the log still has there: what came before is gone, so a rebuild would lose it. \
         Keep the live generation; only a log with its whole past, or with checkpoints that cover what readings \
         expired, can be folded again"
    )]
    BeginningGone(Position),
    /// The generation was filled from another log.
    #[error(
        "the live generation was filled from log {held}, and this is log {found}: the topics were deleted and made \
         again, or this is the wrong Kafka or the wrong database"
    )]
    OtherLog {
        /// What the live generation is bound to.
        held: String,
        /// The log there is.
        found: String,
    },
    /// A record cannot be folded: what the live projector halts at.
    #[error("{position} cannot be projected: {reason}")]
    Unfoldable {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// Generations cannot be read or changed.
    #[error("{0}")]
    Generation(#[from] GenerationError),
    /// The topics are not there, or would lose events.
    #[error("{0}")]
    Topics(#[from] stream::topics::TopicsError),
    /// The log cannot be read on.
    #[error("{0}")]
    Read(#[from] stream::ReadError),
    /// Kafka does not answer as it should.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaFault),
    /// Postgres cannot be reached, or refuses.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}
