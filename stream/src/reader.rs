//! Reading as one of a group that shares the partitions.

use std::{fmt, time::Duration};

use schema::Topic;

use crate::{
    Delivery, LogConfig, LogIdentity, Position, ReadError,
    pump::{Names, Pump},
};

/// How metrics name the readers of a process.
const NAMES: [&str; 8] = [
    "reader", "reader-2", "reader-3", "reader-4", "reader-5", "reader-6", "reader-7", "reader-8",
];

/// Reads topics as one of a group: partition n of all of them goes to one owner.
///
/// Dropping it leaves the group in the background; [`close`](Self::close) waits for that.
pub struct Reader(Pump);

impl Reader {
    /// Joins `group`. All its members must read the same topics. Every record must be of the log `log`.
    ///
    /// `number` tells the readers of a process apart in its metrics, from 1 on; from the ninth on they share a name.
    pub fn subscribe(
        config: &LogConfig,
        group: &str,
        log: &LogIdentity,
        topics: &[Topic],
        number: usize,
    ) -> Result<Self, ReadError> {
        let name = NAMES.get(number.saturating_sub(1)).unwrap_or(&"reader-9");
        let pump = Pump::start(
            name,
            &config.reading(group),
            Names::new(config, topics),
            &log.log_id,
        )?;
        pump.subscribe()?;
        Ok(Self(pump))
    }

    /// Waits until there is something to say.
    ///
    /// A batch has up to `max_records`, and is handed out at most `max_wait` after its first record was at hand.
    /// Cancel-safe: what was not returned is returned by the next call.
    pub async fn next(&mut self, max_records: usize, max_wait: Duration) -> Result<Delivery, ReadError> {
        self.0.next(max_records, max_wait).await
    }

    /// Starts reading the partitions that were [assigned](Delivery::Assigned) last, each at the position given for it.
    ///
    /// No record of them is handed out before this. Without effect if they were revoked meanwhile: that is what
    /// [`next`](Self::next) says next. Positions of other partitions are ignored. Called again for the same assignment,
    /// it starts over: nothing read before is handed out any more.
    pub fn start_at(&mut self, positions: &[Position]) -> Result<(), ReadError> {
        self.0.start_assigned(positions)
    }

    /// Tells Kafka's own bookkeeping of the group where reading goes on, for tools that show lag. Nothing depends on
    /// it, and nothing is said if it fails.
    pub fn commit_for_lag_tools(&self, next: &[Position]) {
        self.0.commit(next);
    }

    /// For each partition being read: the position to be handed out next, and the offset after the last record there
    /// is, both as far as is known here.
    pub fn lags(&self) -> Vec<(Position, i64)> {
        self.0.lags()
    }

    /// Whether the log can be reached, with a detail for people. Answers at once.
    pub fn health(&self) -> Result<String, String> {
        self.0.health()
    }

    /// Leaves the group, so that others take over at once.
    pub async fn close(self) {
        self.0.close().await;
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("lags", &self.lags())
            .finish_non_exhaustive()
    }
}
