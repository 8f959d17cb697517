//! How foreign data is brought within what the tables hold. Always in the same way: such data is data, not poison.

use std::borrow::Cow;

use schema::{Body, RawJson, storable, storable_text};
use serde_json::Value;

/// Longest text that is part of a key: stream paths, sessions, packages, tags. An index row must fit a page.
pub const MAX_KEY_BYTES: usize = 1_024;

/// Deeper nesting than this is cut before parsing; [`storable`] cuts at a level above.
const MAX_DEPTH: usize = 110;

/// A text that is part of a key.
pub(super) fn key_text(text: &str) -> String {
    let mut stored = storable_text(text);
    stored.truncate(stored.floor_char_boundary(MAX_KEY_BYTES));
    stored
}

/// JSON within bounds.
pub(super) fn value(raw: &RawJson) -> Value {
    let parsed = raw
        .value()
        .or_else(|_| RawJson::parse(&shallow(raw.get())).and_then(|cut| cut.value()));
    // What was valid JSON and is not too deep always parses; `null` stands in for what cannot happen.
    storable(parsed.unwrap_or_default())
}

/// What an event says, within bounds: the text that is kept, and the same text read back.
///
/// Everything that is folded from a registry event is folded from this, so that folding the kept fact again
/// contributes exactly the same.
pub(super) fn body(body: &Body) -> Option<(String, Body)> {
    let encoded = body.encode().ok()?;
    let text = value(&RawJson::from_slice(&encoded).ok()?).to_string();
    let decoded = decode(body.name(), &text)?;
    Some((text, decoded))
}

/// Reads back what an event says.
pub(super) fn decode(name: &str, text: &str) -> Option<Body> {
    Body::decode(name, text.as_bytes())?.ok()
}

/// The text with every value that is nested too deep replaced by `null`. Without recursion, whatever the depth.
fn shallow(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth == MAX_DEPTH {
                    kept.push_str(text.get(start..i).unwrap_or_default());
                    kept.push_str("null");
                }
            }
            b'}' | b']' => {
                if depth == MAX_DEPTH {
                    start = i + 1;
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    if start == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(text.get(start..).unwrap_or_default());
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_of_any_depth_is_cut_and_what_is_beside_it_kept() {
        let depth = 100_000;
        let text = format!(
            r#"{{"deep":{}1{},"[beside\"":[2]}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let stored = value(&RawJson::parse(&text).unwrap());
        assert_eq!(stored.get("[beside\"").unwrap().to_string(), "[2]");
        assert!(stored.get("deep").unwrap().is_array());
        let again = value(&RawJson::from_value(&stored));
        assert_eq!(again, stored, "what is stored is within bounds");
    }

    #[test]
    fn the_text_of_a_key_fits_an_index() {
        assert_eq!(key_text(&"é".repeat(5_000)).len(), MAX_KEY_BYTES);
        assert_eq!(key_text("a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn a_body_that_was_stored_says_the_same_when_it_is_stored_again() {
        let text = r#"{"name":"a\u0000b","metadata":{"n":1e999999,"d":[[[1]]]},"tags":[{"id":"1"}],"later":{"x":1}}"#;
        let once = decode("provider-device.observed", text).unwrap();
        let (stored, read) = body(&once).unwrap();
        assert_eq!(body(&read).unwrap(), (stored, read));
    }
}
