use std::{collections::BTreeSet, fs};

use schema::Body;

use crate::{HOW_TO_UPDATE, is_checked_in, path};

#[test]
fn the_checked_in_json_schemas_are_those_of_the_types() {
    let stale: Vec<String> = Body::json_schemas()
        .into_iter()
        .map(|(name, schema)| {
            let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
            (format!("json/{name}.v1.json"), text)
        })
        .filter(|(file, text)| !is_checked_in(file, text))
        .map(|(file, _)| file)
        .collect();
    assert!(
        stale.is_empty(),
        "not what the types say: {stale:?}; {HOW_TO_UPDATE}"
    );
}

#[test]
fn every_json_schema_belongs_to_an_event() {
    let expected: BTreeSet<String> = Body::NAMES.iter().map(|name| format!("{name}.v1.json")).collect();
    let found: BTreeSet<String> = fs::read_dir(path("json"))
        .expect("schemas are checked in")
        .map(|entry| {
            let entry = entry.expect("a readable folder");
            entry.file_name().into_string().expect("plain names")
        })
        .collect();
    let orphans: Vec<_> = found.difference(&expected).collect();
    assert!(orphans.is_empty(), "no event has the schemas {orphans:?}");
}

#[test]
fn every_json_schema_has_an_id_a_title_and_a_description() {
    for (name, schema) in Body::json_schemas() {
        let id = format!("urn:fleetlog:schema:{name}.v1");
        assert_eq!(schema.get("$id"), Some(&id.into()));
        for key in ["title", "description"] {
            assert!(
                schema.get(key).is_some_and(serde_json::Value::is_string),
                "{name} has no {key}"
            );
        }
    }
}
