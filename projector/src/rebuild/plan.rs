//! What a rebuild reads, and within which bounds.

use service::CancellationToken;
use sqlx::PgPool;
use stream::{LogConfig, LogIdentity, Position};

/// What is folded into which generation. Fixed when the rebuild begins: what is appended later is caught up with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the log is.
    pub log: LogConfig,
    /// Which log it is.
    pub identity: LogIdentity,
    /// The database, as whoever may act as the projector.
    pub pool: PgPool,
    /// The generation that is filled, which is its schema's name.
    pub generation: String,
    /// The first position of each partition that is read.
    pub from: Vec<Position>,
    /// The position after the last of each partition that is read.
    pub to: Vec<Position>,
    /// Bytes that the whole process may take.
    pub memory: usize,
    /// Partitions that are folded at the same time; they share the memory.
    pub workers: usize,
    /// Cancelled when told to stop.
    pub stop: CancellationToken,
}
