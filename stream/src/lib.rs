//! The log: where events are kept, appended and read. The only crate that knows Kafka.
//!
//! An append that succeeded is on every in-sync replica; one that failed may be there all the same. A reader hands out
//! each partition's records in order and without a gap, from the position its caller keeps, and halts at a record of
//! another log.
//!
//! Reading order: a log is [made and checked](topics), [appended to](Appender), and read: by
//! [sharing its partitions](Reader) among a group, by [following all of them](Tail), or by [scanning](Scan) ranges that
//! have an end.

pub mod clock;
mod config;
mod partition;
mod position;
pub mod topics;

mod append;
mod copy;
mod pulse;

mod find;
mod inbox;
mod pump;
mod read;
mod reader;
mod scan;
mod tail;
mod watermarks;

mod client;
mod fault;
pub mod metrics;

pub use append::{AppendError, Appender, Outage};
pub use config::{LogConfig, MAX_RECORD_BYTES};
pub use copy::{COPIED_FROM, Copier, copied_from};
pub use fault::KafkaFault;
pub use find::{Sought, find};
pub use inbox::{Batch, Delivery};
pub use partition::partition_of;
pub use position::{LogIdentity, Position};
pub use read::{RawRecord, Read, ReadError, Undecodable};
pub use reader::Reader;
pub use scan::{KeyFilter, Range, Raw, RawBatch, Scan, ScanOptions};
pub use tail::{Tail, TailFrom};
pub use watermarks::{beginnings, ends};
