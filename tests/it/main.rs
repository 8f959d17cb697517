//! What we promise, one file a theme. `README.md` says which test holds which promise.

mod audit;
mod chaos;
mod conflicts;
mod credentials;
mod devices;
mod dialects;
mod door;
mod edits;
mod expiry;
mod fold;
mod generations;
mod history;
mod identity;
mod log;
mod oddities;
mod outages;
mod ownership;
mod rebuild;
mod rebuild_load;
mod refusals;
mod registry;
mod retention;
mod rewrite;
mod roles;
mod scan;
mod wire;
