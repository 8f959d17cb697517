//! What a cloud and people here say of the same device: what shows, what waits for a person, and how it is decided.

mod fields;
mod identity;
mod resolve;
mod told;
mod twins;
