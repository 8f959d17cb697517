//! The contract: what an event is, how events are ordered, and how they travel.
//!
//! Pure: no I/O, no clock, no async. Everything else in fleetlog, and every subscriber, relies on this crate.
//! Promises: events already published decode for ever; what this version does not know is carried through; JSON
//! travels byte for byte.
#![deny(clippy::expect_used, clippy::indexing_slicing)]

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
mod attribute;
mod base64_bytes;
mod body;
mod dead_letter;
mod event;
mod field;
mod ids;
mod instant;
mod json;
#[cfg(test)]
mod laws;
mod order;
mod topic;
mod wire;

pub use base64_bytes::Base64;
pub use body::*;
pub use dead_letter::{DeadLetter, LetterAttempt, LetterOutcome};
pub use event::{Event, Identity, Origin, Subject};
pub use field::{Field, NotEditable};
pub use ids::*;
pub use instant::{BELIEVED_AHEAD, BELIEVED_BEHIND, Claimant, InvalidInstant, Micros, Timing, believe};
pub use json::{MAX_STORED_STRING_BYTES, RawJson, storable, storable_text};
pub use order::{MaxRegister, OrderKey};
pub use topic::Topic;
pub use wire::{Record, TYPE_PREFIX, WireError, decode, encode};
