//! The fold of the log into Postgres, and the only writer of what readers see there.
//!
//! Rows and position commit together: a batch is folded once, whoever folds it and however often it is tried. Any
//! order, repeats or cut of the same events ends in the same rows.
//!
//! - [`fold`]: the rules, pure: what events contribute to the tables, and which device is which
//! - [`connectivity`]: whether a device is online, derived when read
//! - `commit`: one transaction, with `linking` in it and the statements in `sql`
//! - [`dead_letters`]: what cannot be folded is set aside, and can be folded again
//! - [`run()`]: consumes the log with one `writer` or more, once what they need is there (`awaited`); `ownership` knows
//!   what a writer may fold
//! - [`generations`]: the schemas that hold what is projected, and the views over one of them
//! - [`rebuild`]: everything folded again beside it, and compared
//! - [`checkpoint`]: what readings made of registers, kept in the log, so that readings may expire
//! - [`rewrite`]: the log copied without subjects that are to be forgotten
//! - [`horizon`]: where histories were cut; [`upkeep()`] drops what is behind, and takes checkpoints
//! - [`survey`]: how every device stands, looked up now and then
//! - [`metrics`]: what a projector measures; `waiting` counts what waits for a person; `spans` tells of what is
//!   committed, to whoever follows a trace

pub mod checkpoint;
pub mod connectivity;
pub mod dead_letters;
pub mod fold;
pub mod generations;
pub mod horizon;
pub mod rebuild;
pub mod rewrite;
pub mod survey;

mod attempt;
mod awaited;
mod commit;
mod linking;
mod ownership;
mod sql;

mod config;
mod error;
pub mod metrics;
mod pause;
mod project;
mod run;
mod spans;
mod upkeep;
mod waiting;
mod writer;

pub use config::Config;
pub use error::ProjectorError;
pub use fold::FOLD_VERSION;
pub use run::run;
pub use upkeep::upkeep;
