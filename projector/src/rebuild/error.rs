//! Why a rebuild ends without having done what it was to do. What readers see is as it was.

use stream::{KafkaFault, Position};

use crate::{ProjectorError, generations::GenerationError};

/// Why a rebuild ended.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Told to stop; it can be resumed.
    #[error("stopped; `fleetlog rebuild` goes on where it was")]
    Stopped,
    /// Another rebuild, promotion or rollback is at work.
    #[error("another rebuild or rollback is at work in this database; wait for it, or stop it")]
    Busy,
    /// Postgres, or what else writes there, keeps a rebuild waiting.
    #[error(
        "{0} takes too long; look at what else PostgreSQL is doing, and run it again: it goes on where it was"
    )]
    TooSlow(&'static str),
    /// The live generation is written faster than the other one can follow, or readers never let go of the views.
    #[error(
        "the generation did not catch up with the live one while projectors waited for it, however often it was tried; \
         try again when less is appended"
    )]
    NotCaughtUp,
    /// The live generation stands still behind the new one.
    #[error(
        "the live generation is {behind} events behind the new one and does not move, so they cannot be compared: \
         start a projector, and run it again"
    )]
    LiveBehind {
        /// How many offsets.
        behind: u64,
    },
    /// Promoting would lose events.
    #[error("{generation} lacks what the live generation has up to {position}; nothing was changed")]
    Backwards {
        /// What was to be promoted.
        generation: String,
        /// Up to where the live generation has it.
        position: Position,
    },
    /// It is what readers see.
    #[error("{0} is the generation that readers see")]
    IsActive(String),
    /// There is nothing that could be promoted.
    #[error("there is no rebuilt generation to promote: `fleetlog rebuild` makes one")]
    NothingToPromote,
    /// Readers saw it before, which is not what promoting is for.
    #[error("readers saw {0} before: `fleetlog generations rollback {0}` goes back to it")]
    IsRetired(String),
    /// It was not compared with the live generation, or not to its end.
    #[error("{0} was not proved equal to the live generation: `fleetlog rebuild` does that")]
    NotProved(String),
    /// What differs was not accepted.
    #[error(
        "{generation} differs from the live generation. Look at what differs (`fleetlog generations list --json` has \
         the report), then accept exactly that: --accept {difference}"
    )]
    NotAccepted {
        /// What was to be promoted.
        generation: String,
        /// The digest of what differs.
        difference: String,
    },
    /// There is nothing to go back to.
    #[error("no generation is kept to go back to")]
    NothingToRollBackTo,
    /// It was filled by other rules, so this version cannot fold the rest of the log into it.
    #[error(
        "{generation} was filled by version {held} of the fold, and this is version {own}: only the version that \
         filled it can go on with it, and `fleetlog rebuild` fills one by version {own}"
    )]
    OtherRules {
        /// The generation.
        generation: String,
        /// What filled it.
        held: i32,
        /// What this is.
        own: i32,
    },
    /// More share a name with each other than can be folded apart from the rest.
    #[error("more than {0} devices hang together by their names: a whole `fleetlog rebuild` is the way")]
    TooMany(usize),
    /// There is no such device.
    #[error("there is no device {0}")]
    NoSuchDevice(String),
    /// The log does not reach back to its beginning.
    #[error(
        "{0} is the first that the log still has there: what came before is gone, so a rebuild would lose it. \
         Keep the live generation; only a log with its whole past can be folded again"
    )]
    BeginningGone(Position),
    /// Readings have expired that no checkpoint covers.
    #[error(
        "{0} is the first reading that the log still has there, and no checkpoint covers what came before, so a \
         rebuild would lose it. The live generation may still know it: run `fleetlog checkpoint`, then try again"
    )]
    ReadingsGone(Position),
    /// It has not folded all that has expired since.
    #[error(
        "{generation} has not folded what is gone from the log before {position}, so it cannot follow the live \
         generation any more: `fleetlog generations drop {generation}` removes it, `fleetlog rebuild` fills another"
    )]
    LeftBehind {
        /// The generation.
        generation: String,
        /// The first that the log still has there.
        position: Position,
    },
    /// The generation was filled from another log.
    #[error(
        "{generation} was filled from log {held}, and this is log {found}: the topics were deleted and made again, or \
         this is the wrong Kafka, topic prefix or database"
    )]
    OtherLog {
        /// The generation.
        generation: String,
        /// What it is bound to.
        held: String,
        /// The log there is.
        found: String,
    },
    /// What cannot be passed over cannot be read, or Postgres refuses what is no event's fault.
    #[error("{position} cannot be projected: {reason}")]
    Unfoldable {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// More is at fault than can be.
    #[error(
        "{n} events or more of one partition cannot be folded, most of them since: {reason}. That is hardly their own \
         fault: look at what was changed in PostgreSQL; `fleetlog dead-letters list` shows what the live generation \
         lacks"
    )]
    TooManySetAside {
        /// How many were found.
        n: usize,
        /// Why most of them cannot be folded.
        reason: String,
    },
    /// What a projector would stop at.
    #[error("{0}")]
    Projector(#[from] ProjectorError),
    /// A checkpoint of a form that this version cannot read, of readings that are gone.
    #[error(
        "the checkpoint {0} is of a form that this version cannot read, and its readings are gone: rebuild with the \
         version that wrote it, or take a checkpoint with this one while the live generation is there"
    )]
    UnreadableCheckpoint(String),
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
