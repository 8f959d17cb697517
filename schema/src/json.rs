//! JSON that travels byte for byte, and the canonical form that is compared and hashed.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

/// A JSON text exactly as it was sent: spacing, order of keys and the text of numbers included.
///
/// Two are equal when their canonical forms are.
#[derive(Clone)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Takes a JSON text; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// Takes a JSON text in bytes, which must be UTF-8.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }

    /// Writes a value down.
    pub fn from_value(value: &Value) -> Self {
        let text = value.to_string();
        // A `Value` always prints as JSON; `null` stands in for what cannot happen.
        Self(RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// The text as sent.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The parsed value: the last of a doubled key counts; numbers keep their text.
    ///
    /// # Errors
    /// Nesting deeper than `serde_json`'s limit of 128.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// The canonical form: keys sorted, the last of a doubled key, no white space, the text of numbers as sent, save
    /// that a positive exponent is written with its sign.
    ///
    /// Text that is nested too deep to parse stands for itself.
    pub fn canonical(&self) -> String {
        self.value()
            .map_or_else(|_| self.0.get().to_owned(), |value| value.to_string())
    }

    /// SHA-256 of the canonical form.
    pub fn content_hash(&self) -> [u8; 32] {
        Sha256::digest(self.canonical().as_bytes()).into()
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.canonical() == other.canonical()
    }
}

impl Eq for RawJson {}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for RawJson {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Longest string that is stored, in bytes; what is longer is cut at a character.
pub const MAX_STORED_STRING_BYTES: usize = 65_536;
/// Longest number that is stored, in characters, and greatest exponent either way. Well within Postgres' `numeric`.
pub(crate) const MAX_STORED_NUMBER_CHARS: usize = 1_000;
const MAX_STORED_EXPONENT: i64 = 10_000;
/// Deepest nesting that is stored.
pub(crate) const MAX_STORED_DEPTH: usize = 100;

/// Brings a value within what Postgres' `jsonb` holds, always in the same way: such data is data, not poison.
///
/// NUL characters become U+FFFD, over-long strings are cut, a number beyond `numeric` becomes the string of its
/// text, and nesting beyond the limit becomes `null`.
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
                .map(|(key, item)| (storable_text(&key), bound(item, depth + 1)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) => value,
    }
}

/// A text that Postgres' `text` holds: no NUL, at most [`MAX_STORED_STRING_BYTES`].
pub fn storable_text(text: &str) -> String {
    let mut end = text.len().min(MAX_STORED_STRING_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().replace('\0', "\u{fffd}")
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

    #[test]
    fn the_canonical_form_sorts_keys_and_keeps_the_text_of_numbers() {
        let raw = RawJson::parse(r#" { "b" : 1.50, "a": 1e5 , "b": 2.00 } "#).expect("valid JSON");
        assert_eq!(raw.canonical(), r#"{"a":1e+5,"b":2.00}"#);
        assert_eq!(raw.get(), r#"{ "b" : 1.50, "a": 1e5 , "b": 2.00 }"#);
    }

    #[test]
    fn what_postgres_cannot_hold_is_bounded() {
        let value: Value =
            serde_json::from_str(r#"{"a":"x\u0000y","n":1e999999,"m":-1.5e3}"#).expect("valid JSON");
        let Value::Object(bounded) = storable(value) else {
            panic!("an object stays one")
        };
        assert_eq!(bounded.get("a").expect("kept"), "x\u{fffd}y");
        assert_eq!(bounded.get("m").expect("kept").to_string(), "-1.5e+3");
        assert!(
            bounded.get("n").expect("kept").is_string(),
            "a number beyond numeric is kept as text"
        );
        let long = "é".repeat(MAX_STORED_STRING_BYTES);
        assert!(storable_text(&long).len() <= MAX_STORED_STRING_BYTES);
    }

    #[test]
    fn nesting_beyond_the_limit_neither_panics_nor_is_lost() {
        let text = "[".repeat(200) + &"]".repeat(200);
        let raw = RawJson::parse(&text);
        // `serde_json` scans raw values without recursion, so the text is kept; only the parsed form is refused.
        let raw = raw.expect("scanned without recursion");
        assert!(raw.value().is_err());
        assert_eq!(raw.canonical(), text);
    }
}
