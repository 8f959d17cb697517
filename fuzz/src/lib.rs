//! Fuzzing: what strangers, logs and operators can hand to fleetlog, and what must hold of it whatever it is.
//!
//! A [`Target`] is a function of bytes that panics where a property does not hold: not only "does not panic", but reads
//! back as written, decides the same twice, bounds what comes out by what went in, loses nothing. `engine` runs a
//! target on its corpus and on mutations of it, seeded, within seconds: a part of `cargo test` on any stable toolchain.
//! The binary of this crate runs one for as long as wanted, guided by coverage, with libFuzzer: `./dev fuzz`.
//!
//! `input` says how bytes become lines and the rest; [`targets`] hold the properties, room by room.

mod engine;
mod input;
pub mod targets;

pub use engine::{Outcome, replay, short_run};
pub use input::Input;
pub use targets::{TARGETS, Target, target};
