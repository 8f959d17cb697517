//! Receives webhooks from Golioth and others, and appends what they say to the device event log.
//!
//! A `2xx` is a promise: every in-sync replica holds the event, or the spool has it on disk. Anything else promises
//! nothing, and the status says whether sending it again can help. Whom we believe is decided over the exact bytes
//! received; what is authentic but not understood is kept raw; nothing that is ours is ever taken from a sender.
//!
//! In the order of one delivery: [`routes`] lead to [`receive`], which reads as the story. It asks [`integration_id`]
//! whose delivery it is, [`authenticate`] what the headers claim, takes the [`body`] in under [`admission`], and makes a
//! [`delivery::Verified`] of it, which is the proof. [`normalize`] lets the [`dialect`] readers turn that into
//! statements and [`stamp`]s those with what is ours; what nobody understands becomes one of the [`dead_letters`].
//! [`keep`] appends all of it to the [`log`]. While that is away, the [`breaker`] keeps deliveries from waiting for it,
//! and they go to the [`spool`], which is [`drain`]ed once the log is back. [`redrive()`] reads a dead letter again, long
//! after its receipt. Refusals are an [`error`] each: status, public reason, precise
//! reason. What the HTTP server refuses by itself shows in [`connection`] alone.

mod admission;
mod authenticate;
mod body;
mod breaker;
mod clock;
mod config;
mod connection;
mod dead_letters;
mod delivery;
mod dialect;
mod door;
mod drain;
mod envelope;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod handshake;
mod integration_id;
mod keep;
mod kept;
mod log;
mod metrics;
mod normalize;
mod payload;
mod receive;
mod redrive;
mod refusals;
mod routes;
mod run;
mod signature;
mod spool;
mod stamp;
mod trace;

#[cfg(test)]
mod example;

pub use config::Config;
pub use log::Log;
pub use redrive::{StillDead, redrive};
pub use run::{Behind, run};
pub use spool::{Spool, SpoolError};
