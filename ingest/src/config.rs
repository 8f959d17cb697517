//! What can be set at the door.

use std::{num::NonZeroUsize, time::Duration};

use service::Traces;

/// Limits and deadlines of the door. Read once, from arguments.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the names of the log's topics begin with: answers name topics in full.
    pub topic_prefix: String,
    /// Longest body in bytes, as sent and unpacked; this long it still passes. Usually 262 144.
    pub max_body_bytes: usize,
    /// Most bytes of bodies in flight over the whole process; half of it for bodies that are not verified, and an
    /// eighth for those of one integration. Usually 64 MiB.
    pub max_bytes_in_flight: usize,
    /// How long a body may take to arrive. Usually 10 s.
    pub body_timeout: Duration,
    /// How long a delivery may wait for the log before it is answered 503. Usually 2.4 s, which is more than the
    /// appender's own limit and less than is promised.
    pub append_deadline: Duration,
    /// How long a connection may stay idle. Usually 75 s.
    pub keep_alive: Duration,
    /// How long requests that are open at shutdown may take. Usually 10 s.
    pub shutdown_timeout: Duration,
    /// Threads that serve requests. Usually as many as there are cores.
    pub workers: NonZeroUsize,
    /// Most connections at once over the whole process. Usually 16 384.
    pub max_connections: usize,
    /// Where spans of deliveries go, if anybody wants them.
    pub traces: Traces,
}

impl Config {
    /// Longest body, unless it is said otherwise.
    pub const USUAL_MAX_BODY_BYTES: usize = 262_144;
    /// Most bytes in flight, unless it is said otherwise.
    pub const USUAL_MAX_BYTES_IN_FLIGHT: usize = 64 << 20;
    /// How long a body may take, unless it is said otherwise.
    pub const USUAL_BODY_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a delivery may wait for the log, unless it is said otherwise.
    pub const USUAL_APPEND_DEADLINE: Duration = Duration::from_millis(2400);
    /// How long a connection may stay idle, unless it is said otherwise.
    pub const USUAL_KEEP_ALIVE: Duration = Duration::from_secs(75);
    /// How long open requests may take at shutdown, unless it is said otherwise.
    pub const USUAL_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
    /// Most connections, unless it is said otherwise.
    pub const USUAL_MAX_CONNECTIONS: usize = 16_384;

    /// The usual limits.
    pub fn usual(topic_prefix: impl Into<String>, workers: NonZeroUsize) -> Self {
        Self {
            topic_prefix: topic_prefix.into(),
            max_body_bytes: Self::USUAL_MAX_BODY_BYTES,
            max_bytes_in_flight: Self::USUAL_MAX_BYTES_IN_FLIGHT,
            body_timeout: Self::USUAL_BODY_TIMEOUT,
            append_deadline: Self::USUAL_APPEND_DEADLINE,
            keep_alive: Self::USUAL_KEEP_ALIVE,
            shutdown_timeout: Self::USUAL_SHUTDOWN_TIMEOUT,
            workers,
            max_connections: Self::USUAL_MAX_CONNECTIONS,
            traces: Traces::off(),
        }
    }
}
