use std::collections::{BTreeMap, BTreeSet};

use crate::text;

/// What a crate's `[dependencies]` name.
fn dependencies(room: &str) -> BTreeSet<String> {
    let manifest = text(&format!("{room}/Cargo.toml"));
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap_or(("", ""));
    let section = rest.split("\n[").next().unwrap_or_default();
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    section
        .lines()
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// The table of rooms in ARCHITECTURE.md: whom each may know.
fn rooms() -> BTreeMap<String, String> {
    let page = text("ARCHITECTURE.md");
    let table = page
        .lines()
        .skip_while(|line| !line.starts_with("| room |"))
        .skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let room = cells
            .first()
            .copied()
            .unwrap_or_default()
            .trim()
            .trim_matches('`');
        (
            room.to_owned(),
            cells.last().copied().unwrap_or_default().trim().to_owned(),
        )
    })
    .collect()
}

#[test]
fn every_room_knows_only_whom_it_may() {
    let rooms = rooms();
    assert!(
        rooms.contains_key("schema") && rooms.contains_key("tests"),
        "{rooms:?}"
    );
    for (room, may_know) in &rooms {
        if ["fleetlog", "migrations", "tests"].contains(&room.as_str()) {
            continue;
        }
        let ours = dependencies(room)
            .into_iter()
            .filter(|name| rooms.contains_key(name));
        for known in ours {
            assert!(may_know.contains(&format!("`{known}`")), "{room} knows {known}");
        }
    }
}

#[test]
fn only_the_log_knows_kafka() {
    let crates = rooms()
        .into_keys()
        .filter(|room| !["migrations", "tests"].contains(&room.as_str()));
    let knowing: Vec<_> = crates
        .filter(|room| dependencies(room).contains("rdkafka"))
        .collect();
    assert_eq!(knowing, ["stream"]);
}
