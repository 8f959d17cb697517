//! The contract as others see it: the fixtures, the JSON Schemas and `asyncapi.yaml` say what the types say.

mod asyncapi;
mod fixtures;
mod schemas;
mod subscribers;

use std::{fs, path::PathBuf};

/// A path within this crate.
fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Says whether a checked-in file holds exactly this; writes it instead when told to update.
fn is_checked_in(relative: &str, expected: &str) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for whoever runs this test, not configuration of the product"
    )]
    let update = std::env::var("FLEETLOG_UPDATE_SCHEMAS").is_ok();
    let path = path(relative);
    let held = fs::read_to_string(&path).unwrap_or_default();
    if held != expected && update {
        fs::write(&path, expected).expect("the source tree can be written");
        return true;
    }
    held == expected
}

/// How to bring checked-in files up to date.
const HOW_TO_UPDATE: &str =
    "if that is meant, run `FLEETLOG_UPDATE_SCHEMAS=1 cargo test -p schema` and look at the difference";
