//! What a projector is told.

use std::{num::NonZeroUsize, time::Duration};

use service::Traces;

/// How a projector works. Those of one generation share a consumer group.
#[derive(Clone, Debug)]
pub struct Config {
    /// Kafka's consumer group: its members share the partitions.
    pub group: String,
    /// Who this is, for people who look at who owns a partition: host and process.
    pub owner: String,
    /// How many write at once, each a member of the group, and an owner, with a connection of its own.
    pub writers: NonZeroUsize,
    /// Most records of one transaction.
    pub max_records: usize,
    /// Longest wait for more records after the first.
    pub max_wait: Duration,
    /// Longest pause between two tries while Postgres or Kafka is away.
    pub max_pause: Duration,
    /// How long the transaction in flight may take when told to stop.
    pub stop_within: Duration,
    /// How many of a hundred recent events may be set aside before their partition is halted instead; 100: any number.
    pub max_set_aside_percent: u8,
    /// Where spans of what is committed go, if anybody wants them.
    pub traces: Traces,
}

impl Config {
    /// One writer keeps up with most fleets.
    pub const DEFAULT_WRITERS: NonZeroUsize = NonZeroUsize::MIN;
    /// Records of one transaction unless told otherwise: enough to join many readings of one device before they cost a
    /// statement.
    pub const DEFAULT_MAX_RECORDS: usize = 5_000;
    /// A reading is visible about this much later than necessary.
    pub const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(20);
    /// Long enough not to press on a Postgres that starts.
    pub const DEFAULT_MAX_PAUSE: Duration = Duration::from_secs(5);
    /// Where more events are at fault, it is not the events.
    pub const DEFAULT_MAX_SET_ASIDE_PERCENT: u8 = 1;
    /// Well within what a supervisor waits.
    pub const DEFAULT_STOP_WITHIN: Duration = Duration::from_secs(10);
}
