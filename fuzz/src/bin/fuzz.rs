//! The long run of one target, which the environment names: libFuzzer's own arguments say for how long, and where its
//! corpus is.
#![no_main]

use std::sync::LazyLock;

use fuzz::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

#[expect(clippy::disallowed_methods, reason = "libFuzzer owns the arguments")]
static CHOSEN: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("FLEETLOG_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("FLEETLOG_FUZZ_TARGET must be one of {}", names.join(", "))
    })
});

fuzz_target!(|bytes: &[u8]| (CHOSEN.run)(bytes));
