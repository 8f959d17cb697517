//! What Postgres can hold.

use serde_json::Value;

/// Longest string that is stored, in bytes; what is longer is cut at a character.
pub const MAX_STORED_STRING_BYTES: usize = 65_536;
/// Longest number that is stored, in characters, and greatest exponent either way. Well within Postgres' `numeric`.
const MAX_STORED_NUMBER_CHARS: usize = 1_000;
const MAX_STORED_EXPONENT: i64 = 10_000;
/// Deepest nesting that is stored.
const MAX_STORED_DEPTH: usize = 100;

/// Brings a value within what Postgres' `jsonb` holds, always in the same way: such data is data, not poison.
///
/// NUL characters become U+FFFD, over-long strings are cut, a number beyond `numeric` becomes the string of its
/// text, and nesting beyond the limit becomes `null`. A key that is a private name of the JSON library has its `$`
/// replaced by U+FFFD, since no reader would take it for a key.
pub fn storable(value: Value) -> Value {
    bound(value, 0)
}

fn bound(value: Value, depth: usize) -> Value {
    if depth > MAX_STORED_DEPTH {
        return Value::Null;
    }
    match value {
        Value::String(text) => Value::String(storable_text(&text)),
        Value::Number(number) => {
            let text = number.to_string();
            if is_storable_number(&text) {
                Value::Number(number)
            } else {
                Value::String(storable_text(&text))
            }
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| bound(item, depth + 1)).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, item)| (storable_key(&key), bound(item, depth + 1)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) => value,
    }
}

/// A text that Postgres' `text` holds: no NUL, at most [`MAX_STORED_STRING_BYTES`].
pub fn storable_text(text: &str) -> String {
    // U+FFFD is longer than NUL, so the second cut is not idle.
    let mut stored = cut(text).replace('\0', "\u{fffd}");
    stored.truncate(cut(&stored).len());
    stored
}

/// As much of a text as is stored, in whole characters.
fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(MAX_STORED_STRING_BYTES);
    text.get(..end).unwrap_or_default()
}

fn storable_key(key: &str) -> String {
    match key.strip_prefix('$') {
        Some(name) if name.starts_with("serde_json::private::") => storable_text(&format!("\u{fffd}{name}")),
        Some(_) | None => storable_text(key),
    }
}

fn is_storable_number(text: &str) -> bool {
    let exponent = text
        .split_once(['e', 'E'])
        .map(|(_, digits)| digits.parse::<i64>());
    let exponent_fits = match exponent {
        None => true,
        Some(Ok(exponent)) => exponent.abs() <= MAX_STORED_EXPONENT,
        Some(Err(_)) => false,
    };
    text.len() <= MAX_STORED_NUMBER_CHARS && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawJson;

    fn stored(text: &str) -> Value {
        storable(
            RawJson::parse(text)
                .and_then(|raw| raw.value())
                .expect("valid JSON"),
        )
    }

    #[test]
    fn what_postgres_cannot_hold_is_bounded() {
        let Value::Object(bounded) = stored(r#"{"a":"x\u0000y","n":1e999999,"m":-1.5e3}"#) else {
            panic!("an object stays one")
        };
        assert_eq!(bounded.get("a").expect("kept"), "x\u{fffd}y");
        assert_eq!(bounded.get("m").expect("kept").to_string(), "-1.5e+3");
        assert!(
            bounded.get("n").expect("kept").is_string(),
            "a number beyond numeric is kept as text"
        );
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_however_it_grows() {
        let n_chars = MAX_STORED_STRING_BYTES;
        for long in ["é".repeat(n_chars), "\0".repeat(n_chars), "x".repeat(n_chars + 1)] {
            let stored = storable_text(&long);
            assert!(stored.len() <= MAX_STORED_STRING_BYTES);
            assert!(stored.len() > MAX_STORED_STRING_BYTES - 4);
            assert_eq!(storable_text(&stored), stored);
        }
    }

    #[test]
    fn what_is_stored_reads_back_by_any_reader() {
        let value = stored(r#"{"$serde_json::private::Number":"x","$ok":1.50}"#);
        let again: Value = serde_json::from_str(&value.to_string()).expect("reads back");
        assert_eq!(again, value);
        assert_eq!(value.as_object().expect("an object").len(), 2);
    }
}
