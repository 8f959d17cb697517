//! The statements: one function each, in the order a transaction runs them.
//!
//! Rows move by `unnest` of arrays, sorted by key. Every upsert is guarded by the order key in SQL: the guard, never a
//! cache, is the truth, so running a statement twice is running it once.

pub(crate) mod activity;
pub(crate) mod again;
pub(crate) mod candidates;
pub(crate) mod checkpoint;
pub(crate) mod compare;
pub(crate) mod conflicts;
pub(crate) mod dead_letters;
pub(crate) mod derive;
pub(crate) mod edits;
pub(crate) mod facts;
pub(crate) mod fields;
pub(crate) mod history;
pub(crate) mod horizons;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod listening;
pub(crate) mod loading;
pub(crate) mod lowered;
pub(crate) mod offsets;
pub(crate) mod provider_devices;
pub(crate) mod readings;
pub(crate) mod rebuilds;
pub(crate) mod refold;
pub(crate) mod session;
pub(crate) mod survey;
pub(crate) mod truth_tables;
pub(crate) mod value;
mod verdict;

pub(crate) use verdict::{Verdict, remedy, verdict};
