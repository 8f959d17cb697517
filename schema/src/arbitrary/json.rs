//! JSON texts, written in many ways.

use proptest::{collection::vec, prelude::*, strategy::BoxedStrategy};

use crate::RawJson;

/// Any JSON text: spaced at will, numbers of any size and spelling, doubled keys, escapes, halves of surrogate pairs.
pub fn json() -> BoxedStrategy<RawJson> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number(),
        string(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let array = vec((space(), inner.clone(), space()), 0..4).prop_map(|items| {
            let items = items
                .iter()
                .map(|(before, item, after)| format!("{before}{item}{after}"));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        });
        let object = vec((key(), space(), inner), 0..4).prop_map(|fields| {
            let fields = fields
                .iter()
                .map(|(key, space, item)| format!("{key}:{space}{item}"));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        });
        prop_oneof![array, object]
    })
    .prop_filter_map("JSON", |text| RawJson::parse(&text).ok())
    .boxed()
}

fn number() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?",
        1 => "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,30})?",
    ]
    .boxed()
}

fn string() -> BoxedStrategy<String> {
    let escaped = "\"(\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|[a-z]){0,8}\"";
    prop_oneof![
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        escaped
    ]
    .boxed()
}

/// Few keys, so that some are doubled, and the names that `serde_json` keeps to itself.
fn key() -> BoxedStrategy<String> {
    prop_oneof![
        8 => "\"[a-c]\"",
        1 => "\"\\\\u006[1-3]\"",
        1 => Just("\"$serde_json::private::Number\"".to_owned()),
        1 => Just("\"$serde_json::private::RawValue\"".to_owned()),
        2 => string(),
    ]
    .boxed()
}

fn space() -> BoxedStrategy<String> {
    "[ \t\n\r]{0,2}".boxed()
}
