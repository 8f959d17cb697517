use proptest::{collection::btree_map, prelude::*};
use serde_json::Value;

use crate::{MAX_STORED_STRING_BYTES, RawJson, arbitrary::json, storable, storable_text};

/// JSON without halves of surrogate pairs, which stands for itself where it has some.
fn exact() -> impl Strategy<Value = RawJson> {
    json().prop_filter("whole characters", |raw| {
        !raw.get().to_ascii_lowercase().contains("\\ud")
    })
}

/// JSON nested up to this deep.
fn nested(most: usize) -> impl Strategy<Value = RawJson> {
    (json(), 0..most).prop_map(|(inner, depth)| {
        let text = "[".repeat(depth) + inner.get() + &"]".repeat(depth);
        RawJson::parse(&text).expect("still JSON")
    })
}

/// Whether Postgres takes it as `jsonb`, and gives back what it took.
fn fits(value: &Value, depth: usize) -> bool {
    let text_fits = |text: &str| text.len() <= MAX_STORED_STRING_BYTES && !text.contains('\0');
    depth <= 101
        && match value {
            Value::Null | Value::Bool(_) => true,
            Value::Number(number) => {
                let text = number.to_string();
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                digits.len() <= 1_000
                    && exponent
                        .parse::<i32>()
                        .is_ok_and(|exponent| exponent.abs() <= 10_000)
            }
            Value::String(text) => text_fits(text),
            Value::Array(items) => items.iter().all(|item| fits(item, depth + 1)),
            Value::Object(fields) => fields
                .iter()
                .all(|(key, item)| text_fits(key) && fits(item, depth + 1)),
        }
}

proptest! {
    #[test]
    fn json_travels_byte_for_byte(raw in json()) {
        let written = serde_json::to_string(&[&raw]).expect("JSON is written");
        prop_assert_eq!(&written, &format!("[{}]", raw.get()));
        let read: Vec<RawJson> = serde_json::from_str(&written).expect("and read");
        prop_assert_eq!(read.first().map(RawJson::get), Some(raw.get()));
    }

    #[test]
    fn the_canonical_form_is_its_own(raw in nested(140)) {
        let canonical = RawJson::parse(&raw.canonical()).expect("JSON");
        prop_assert_eq!(canonical.get(), canonical.canonical());
        prop_assert_eq!(canonical.content_hash(), raw.content_hash());
    }

    #[test]
    fn a_value_that_is_written_down_has_the_same_canonical_form(raw in exact()) {
        let value = raw.value().expect("shallow");
        prop_assert_eq!(RawJson::from_value(&value).canonical(), raw.canonical());
    }

    #[test]
    fn the_order_of_keys_makes_no_difference(
        fields in btree_map("[a-f]{1,2}", exact(), 0..6),
        shuffled in Just(()).prop_perturb(|(), mut random| random.random::<u64>()),
    ) {
        let mut fields: Vec<String> = fields
            .iter()
            .map(|(key, item)| format!("\"{key}\" : {}", item.get()))
            .collect();
        let object = |fields: &[String]| {
            RawJson::parse(&format!("{{{}}}", fields.join(" ,"))).expect("JSON")
        };
        let sorted = object(&fields);
        let n_fields = fields.len().max(1);
        fields.rotate_left(usize::try_from(shuffled % 97).expect("small") % n_fields);
        fields.reverse();
        prop_assert_eq!(object(&fields).canonical(), sorted.canonical());
        prop_assert_eq!(object(&fields), sorted);
    }

    #[test]
    fn the_last_of_a_doubled_key_counts(first in exact(), last in exact()) {
        let twice = RawJson::parse(&format!(r#"{{"k":{},"k":{}}}"#, first.get(), last.get())).expect("JSON");
        let once = RawJson::parse(&format!(r#"{{"k":{}}}"#, last.get())).expect("JSON");
        prop_assert_eq!(twice.canonical(), once.canonical());
    }

    #[test]
    fn a_value_is_what_others_read(raw in json()) {
        if !raw.get().contains("$serde_json")
            && let Ok(theirs) = serde_json::from_str::<Value>(raw.get())
        {
            prop_assert_eq!(raw.value().expect("shallow"), theirs);
        }
    }

    #[test]
    fn whatever_was_sent_can_be_stored(raw in nested(127)) {
        let value = raw.value();
        prop_assume!(value.is_ok());
        let stored = storable(value.expect("checked"));
        prop_assert!(fits(&stored, 0));
        prop_assert_eq!(&storable(stored.clone()), &stored);
        let read: Value = serde_json::from_str(&stored.to_string()).expect("any reader reads it");
        prop_assert_eq!(read, stored);
    }

    #[test]
    fn any_text_can_be_stored(text in any::<String>(), n_times in prop_oneof![0_usize..3, Just(9_000)]) {
        let long = text.repeat(n_times);
        let stored = storable_text(&long);
        prop_assert!(fits(&Value::from(stored.clone()), 0));
        prop_assert_eq!(storable_text(&stored), stored.clone());
        let kept = long.len() <= MAX_STORED_STRING_BYTES && !long.contains('\0');
        prop_assert!(!kept || stored == long);
    }
}
