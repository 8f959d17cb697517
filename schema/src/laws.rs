//! What must hold of every event, text, instant and id: property tests.

mod events;
mod identities;
mod instants;
mod json;
