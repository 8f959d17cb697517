//! Rebuild: the projections thrown away and folded again from the log, proved before anyone reads them.
//!
//! A new generation is filled beside the live one, which goes on. In the order of its [phases](Phase):
//!
//! - [`Plan`]: what is read, from where to where, and within how much memory
//! - `load`: folds the log within that memory, writes rows by `COPY`, then keys, then links and devices
//!
//! [`Progress`] tells those who wait how far it is.

mod copy;
mod derive;
mod error;
mod index;
mod load;
mod plan;
mod progress;

pub use error::RebuildError;
pub use load::{Loaded, load};
pub use plan::Plan;
pub use progress::{Phase, Progress, Snapshot};
