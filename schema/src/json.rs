//! JSON that travels byte for byte, and the canonical form that is compared and hashed.

mod parse;
mod storable;

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use uuid::{Uuid, uuid};

pub use storable::{MAX_STORED_STRING_BYTES, storable, storable_text};

/// Names of values live here.
const VALUES: Uuid = uuid!("7a1d5c1e-3c55-5f4b-9a53-0a6f2c1d8e42");

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

    /// The parsed value: the last of a doubled key counts; numbers keep their text; half of a surrogate pair becomes
    /// U+FFFD.
    ///
    /// Use this for what others sent, not `serde_json::from_str`: that takes an object whose first key is one of its
    /// private names for something else, so that a sender could write one thing and mean another.
    ///
    /// # Errors
    /// Nesting deeper than 127, the most that `serde_json` reads back.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        parse::parse(self.get())
            .map(|parsed| parsed.value)
            .ok_or_else(|| serde_json::Error::custom("nested deeper than 127"))
    }

    /// The canonical form: keys sorted, the last of a doubled key, no white space, strings escaped only where they
    /// must be, the text of numbers as sent, save that an exponent is written `e+1` or `e-1`.
    ///
    /// Text that is nested too deep to parse, or that holds half of a surrogate pair, stands for itself: no two
    /// contents may share a form.
    pub fn canonical(&self) -> String {
        match parse::parse(self.get()) {
            Some(parsed) if parsed.exact => {
                let mut value = parsed.value;
                value.sort_all_objects();
                value.to_string()
            }
            Some(_) | None => self.get().to_owned(),
        }
    }

    /// Names the value: equal names are equal values. `UUIDv5` of the canonical form.
    pub fn value_id(&self) -> Uuid {
        Uuid::new_v5(&VALUES, self.canonical().as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawJson {
        RawJson::parse(text).expect("valid JSON")
    }

    #[test]
    fn the_canonical_form_sorts_keys_and_keeps_the_text_of_numbers() {
        let raw = raw(r#" { "b" : 1.50, "a": 1e5 , "b": 2.00 } "#);
        assert_eq!(raw.canonical(), r#"{"a":1e+5,"b":2.00}"#);
        assert_eq!(raw.get(), r#"{ "b" : 1.50, "a": 1e5 , "b": 2.00 }"#);
    }

    #[test]
    fn escapes_make_no_difference() {
        assert_eq!(raw(r#""\u00e9\ud83d\ude00\/""#), raw(r#""é😀/""#));
        assert_eq!(raw(r#""\u0000\u001F""#).canonical(), r#""\u0000\u001f""#);
    }

    #[test]
    fn half_of_a_surrogate_pair_is_data_and_no_two_halves_are_one() {
        for text in [
            r#""\ud800""#,
            r#""\ud800\ud800""#,
            r#""\udc00x""#,
            r#""\ud800\n""#,
        ] {
            let raw = raw(text);
            assert!(raw.value().expect("shallow").to_string().contains('\u{fffd}'));
            assert_eq!(raw.canonical(), text);
        }
        assert_ne!(raw(r#""\ud800""#), raw(r#""\ud801""#));
    }

    #[test]
    fn a_private_name_of_the_json_library_is_a_name_like_any_other() {
        let number = raw(r#"{"$serde_json::private::Number":"1"}"#);
        assert_ne!(number, raw("1"));
        assert!(number.value().expect("shallow").is_object());
        let text = raw(r#"{"$serde_json::private::RawValue":"[1]"}"#);
        assert_ne!(text, raw("[1]"));
        assert!(text.value().expect("shallow").is_object());
        assert_eq!(text.canonical(), text.get());
    }

    #[test]
    fn nesting_beyond_the_limit_neither_panics_nor_is_lost() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(raw(&nested(127)).value().is_ok());
        for depth in [128, 1_000_000] {
            let raw = raw(&nested(depth));
            assert!(raw.value().is_err());
            assert_eq!(raw.canonical(), nested(depth));
        }
    }
}
