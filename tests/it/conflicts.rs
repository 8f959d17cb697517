//! What a cloud and people here say of the same device: what shows, what waits for a person, and how it is decided.

mod told;
mod twins;
