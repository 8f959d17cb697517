//! Places in the log.

use std::fmt;

use schema::{LogId, Topic};

/// A place in the log: that of a record, or of the record to come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset within the partition, from 0.
    pub offset: i64,
}

impl fmt::Display for Position {
    /// `device-events.v1/3@17`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic.suffix(), self.partition, self.offset)
    }
}

/// Which log it is, as its first records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The log's id, which every record carries.
    pub log_id: LogId,
    /// Partitions of each topic, fixed for the life of the log.
    pub partitions: i32,
}
