//! The fold: what events contribute to the truth tables. Pure, without clock, table or configuration.
//!
//! Every table is a join: max- and min-registers, and sets of facts. Any permutation, duplication or partition of the
//! same events ends in the same rows, by construction. Links and devices are derived from the registers, never
//! stored by arrival.
//!
//! - [`rows`]: the rows of the tables, and how two copies of one row join
//! - [`Truth`]: an element of the join: the rows that some events make
//! - [`contribute`]: from an event to its rows
//! - [`Batch`]: the events of one transaction, and the facts that are timed by their receipt
//! - [`identity`]: which device a provider device is, and what a device is called
//! - [`resolve`]: what a field shows when a cloud and we both say something; [`fields`]: the fields of a device
//! - [`checkpoint`]: what readings made of registers, so that readings may expire
//! - [`whole()`]: the tables of a whole set of events
//! - [`as_of`]: the tables of what had happened, and had been told, at a moment; [`replay`]: what other strategies would
//!   have decided
#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

pub mod as_of;
mod batch;
pub mod checkpoint;
mod contribute;
mod edits;
pub mod fields;
pub mod identity;
mod latest;
mod observed;
mod plain;
mod registry;
pub mod replay;
pub mod resolve;
pub mod rows;
mod shape;
mod stored;
#[cfg(test)]
mod tests;
mod truth;
mod whole;

pub use batch::{Batch, Days, Facts, Lowered, Settled};
pub use contribute::Ignored;
pub(crate) use contribute::{Data, provider_device as contributing_device};
pub use edits::default_strategy;
pub use latest::MAX_SHAPES;
pub use stored::MAX_KEY_BYTES;
pub use truth::Truth;
pub use whole::{Tables, whole};

/// The version of these rules. A generation records the version that fills it; a projector refuses another's.
pub const FOLD_VERSION: i32 = 2;
