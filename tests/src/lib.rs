//! The promises, checked on the real stack: real Kafka, real PostgreSQL, the real binary.
//!
//! Every test has a database and topics of its own, so all of them run at once, and takes them away again.
//! `./dev test` starts what is needed; `./dev stack up` and `./dev stack env` do the same for a single test.
#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod eventually;
mod kafka;
mod process;
mod proxy;
mod reference;
mod senders;
mod stack;
mod told;

pub use eventually::{eventually, eventually_within};
pub use kafka::{Raw, alter_topic, delete_records, delete_topic, kafka_proxy, produce, read_log, read_raw};
pub use process::{Command, Role, binary, free_port};
pub use proxy::{Passage, Proxy};
pub use reference::Expected;
pub use senders::{Answer, Delivery, hmac_hex, now_seconds};
pub use stack::{Integration, Stack, on_stack};
pub use told::{said, told};
