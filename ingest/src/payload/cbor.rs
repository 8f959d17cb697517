//! CBOR as JSON, always in the same way.
//!
//! Byte strings become base64, tags are unwrapped, keys that are no text become their JSON text, numbers that JSON
//! does not have become texts. Maps as keys of maps as keys are refused beyond a depth: each level quotes the one
//! within, so that the text doubles.

use base64::{Engine, engine::general_purpose::STANDARD};
use ciborium::Value;
use serde_json::value::RawValue;

/// Most keys that stand within each other.
const MOST_NESTED_KEYS: usize = 4;

/// The JSON text of one CBOR item that is all there is; `None` if the bytes are anything else.
pub(crate) fn to_json(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    let value: Value = ciborium::from_reader(&mut rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut json = String::with_capacity(bytes.len() * 2);
    write(&mut json, &value, 0)?;
    // Nothing above can write anything but JSON; if it did, the bytes would still be kept.
    serde_json::from_str::<&RawValue>(&json).ok()?;
    Some(json)
}

/// Appends a value that stands within so many keys. Its nesting is bounded by the decoder.
fn write(json: &mut String, value: &Value, n_keys: usize) -> Option<()> {
    match value {
        Value::Null => json.push_str("null"),
        Value::Bool(flag) => json.push_str(if *flag { "true" } else { "false" }),
        Value::Integer(number) => json.push_str(&i128::from(*number).to_string()),
        Value::Float(number) => write_float(json, *number),
        Value::Text(text) => write_text(json, text),
        Value::Bytes(bytes) => write_text(json, &STANDARD.encode(bytes)),
        Value::Tag(_, value) => write(json, value, n_keys)?,
        Value::Array(values) => {
            json.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write(json, value, n_keys)?;
            }
            json.push(']');
        }
        Value::Map(entries) => {
            json.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_key(json, key, n_keys + 1)?;
                json.push(':');
                write(json, value, n_keys)?;
            }
            json.push('}');
        }
        // The decoder may learn kinds of values that JSON has no form for.
        _ => return None,
    }
    Some(())
}

fn write_key(json: &mut String, key: &Value, n_keys: usize) -> Option<()> {
    if let Value::Text(text) = key {
        write_text(json, text);
        return Some(());
    }
    if n_keys > MOST_NESTED_KEYS {
        return None;
    }
    let mut text = String::new();
    write(&mut text, key, n_keys)?;
    // The key that is a byte string is its base64, not that in quotes.
    match serde_json::from_str::<String>(&text) {
        Ok(text) => write_text(json, &text),
        Err(_) => write_text(json, &text),
    }
    Some(())
}

fn write_float(json: &mut String, number: f64) {
    if number.is_finite() {
        json.push_str(&serde_json::Value::from(number).to_string());
    } else if number.is_nan() {
        json.push_str("\"NaN\"");
    } else {
        json.push_str(if number > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        });
    }
}

fn write_text(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn read(hex: &str) -> Option<String> {
        to_json(&hex::decode(hex).unwrap())
    }

    /// Examples of RFC 8949, appendix A.
    #[rstest]
    #[case("00", "0")]
    #[case("1bffffffffffffffff", "18446744073709551615")]
    #[case("3bffffffffffffffff", "-18446744073709551616")]
    #[case("f93c00", "1.0")]
    #[case("fb3ff199999999999a", "1.1")]
    #[case("f97e00", "\"NaN\"")]
    #[case("f97c00", "\"Infinity\"")]
    #[case("f9fc00", "\"-Infinity\"")]
    #[case("f4", "false")]
    #[case("f6", "null")]
    #[case("f7", "null")]
    #[case("4401020304", "\"AQIDBA==\"")]
    #[case("62225c", r#""\"\\""#)]
    #[case("c11a514b67b0", "1363896240")]
    #[case("8301820203820405", "[1,[2,3],[4,5]]")]
    #[case("a201020304", r#"{"1":2,"3":4}"#)]
    #[case("a26161016162820203", r#"{"a":1,"b":[2,3]}"#)]
    #[case("bf6346756ef563416d7421ff", r#"{"Fun":true,"Amt":-2}"#)]
    #[case("a14101f5", r#"{"AQ==":true}"#)]
    #[case("a1820102f5", r#"{"[1,2]":true}"#)]
    fn what_cbor_says_is_said_in_json(#[case] cbor: &str, #[case] json: &str) {
        assert_eq!(read(cbor).as_deref(), Some(json));
    }

    #[rstest]
    #[case::nothing("")]
    #[case::cut_short("a261")]
    #[case::two_items("0000")]
    #[case::a_lonely_break("ff")]
    #[case::reserved("1c")]
    #[case::text_that_is_not_utf8("61ff")]
    fn what_is_no_single_item_is_none(#[case] cbor: &str) {
        assert_eq!(read(cbor), None);
    }

    #[test]
    fn nesting_beyond_the_decoders_limit_is_refused_not_followed() {
        assert_eq!(to_json(&vec![0x81; 200_000]), None);
    }

    #[test]
    fn keys_within_keys_are_not_quoted_without_end() {
        let nested = |depth| [vec![0xa1; depth], b"\x61a".to_vec(), vec![0x00; depth]].concat();
        assert_eq!(to_json(&nested(2)).as_deref(), Some(r#"{"{\"a\":0}":0}"#));
        assert!(to_json(&nested(MOST_NESTED_KEYS + 1)).is_some());
        for depth in [MOST_NESTED_KEYS + 2, 40, 250] {
            assert_eq!(to_json(&nested(depth)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_decoding(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(json) = to_json(&bytes) {
                prop_assert!(serde_json::from_str::<&RawValue>(&json).is_ok());
                prop_assert_eq!(to_json(&bytes), Some(json));
            }
        }
    }
}
