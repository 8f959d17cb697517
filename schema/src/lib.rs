//! The contract: what an event is, how events are ordered, and how they travel.
//!
//! Pure: no I/O, no clock, no async. Everything else in fleetlog, and every subscriber, relies on this crate.
#![deny(clippy::expect_used, clippy::indexing_slicing)]

mod ids;

pub use ids::*;
