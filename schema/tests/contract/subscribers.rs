use std::{collections::BTreeSet, fs};

use schema::{Body, Topic};

use crate::{fixtures, path};

#[test]
fn the_page_for_subscribers_names_every_topic_event_and_header() {
    let page = fs::read_to_string(path("../docs/subscribers.md")).expect("the page is checked in");
    let topics = [
        Topic::Events,
        Topic::Readings,
        Topic::Checkpoints,
        Topic::DeadLetters,
    ]
    .map(|topic| topic.name(Topic::DEFAULT_PREFIX));
    let fixtures = fixtures::all();
    let headers: BTreeSet<&str> = fixtures
        .values()
        .filter(|fixture| fixture.decode().1.extensions.is_empty())
        .flat_map(|fixture| fixture.headers.keys().map(String::as_str))
        .collect();
    let names = Body::NAMES.iter().copied();
    let unnamed: Vec<&str> = names
        .chain(topics.iter().map(String::as_str))
        .chain(headers)
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(
        unnamed.is_empty(),
        "docs/subscribers.md says nothing of {unnamed:?}"
    );
}
