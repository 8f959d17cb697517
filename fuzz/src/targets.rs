//! All targets.

mod control;
mod fold;
mod ingest;
mod schema;

/// Something to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its corpus too.
    pub name: &'static str,
    /// What must hold.
    pub about: &'static str,
    /// Panics where it does not.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:literal $about:literal $run:path,)*) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[$(Target { name: $name, about: $about, run: $run },)*];
    };
}

targets! {
    "signatures" "a right signature opens, and with one bit turned anywhere nothing does" ingest::signatures,
    "headers" "an envelope in headers is read alike each time, and is no longer than what was sent" ingest::headers,
    "payload" "JSON, CBOR, instants and objects: bytes survive, decoding is bounded and repeatable" ingest::payload,
    "gzip" "what was packed comes out, and never more than the limit" ingest::gzip,
    "delivery" "a whole delivery under any proof becomes events or dead letters, the same each time" ingest::delivery,
    "pipelines" "the same for Golioth Pipelines: the device's bytes are in the reading" ingest::pipelines,
    "output-streams" "the same for Golioth Output Streams" ingest::output_streams,
    "platform" "the same for platform events" ingest::platform,
    "cloudevents" "the same for structured CloudEvents and batches of them" ingest::cloudevents,
    "wire" "a record that is an event is written back as an equal one" schema::wire,
    "json" "canonical and storable forms are fixed points, and bounded" schema::json,
    "identity" "serials, ids and instants are canonical once read; order and join do not care who comes first" schema::identity,
    "configuration" "schemes, headers, names, secrets and keys: what is accepted is read back" control::configuration,
    "sealed" "what was sealed is unsealed for its credential alone, and damage is noticed" control::sealed,
    "checkpoint" "the registers of a checkpoint are written back as read" fold::checkpoint,
    "fold" "no event that the door makes is poison, and folding does not care for order or repeats" fold::folded,
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
