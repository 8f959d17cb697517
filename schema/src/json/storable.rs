//! What Postgres can hold.

use std::borrow::Cow;

use serde_json::Value;

/// Longest string that is stored, in bytes; what is longer is cut at a character.
pub const MAX_STORED_STRING_BYTES: usize = 65_536;
/// Longest number that is stored, in characters, written without an exponent. Well within Postgres' `numeric`.
const MAX_STORED_NUMBER_CHARS: usize = 1_000;
/// Deepest nesting that is stored.
const MAX_STORED_DEPTH: usize = 100;

/// Brings a value within what Postgres' `jsonb` holds, always in the same way: such data is data, not poison.
///
/// NUL characters become U+FFFD, over-long strings are cut, a number beyond the limit becomes the string of its
/// text, and nesting beyond the limit becomes `null`. A key that is a private name of the JSON library has its `$`
/// replaced by U+FFFD, since no reader would take it for a key.
///
/// Numbers are written as Postgres writes them, without an exponent: what is read back from `jsonb` is the same text,
/// and so has the same canonical form.
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
            match plain_number(&text) {
                Some(Cow::Borrowed(_)) => Value::Number(number),
                // Digits are a number, so this always reads back.
                Some(Cow::Owned(plain)) => plain
                    .parse()
                    .map_or_else(|_| Value::String(storable_text(&text)), Value::Number),
                None => Value::String(storable_text(&text)),
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
    let text = cut(text);
    // Next to none has one.
    if !text.as_bytes().contains(&0) {
        return text.to_owned();
    }
    // U+FFFD is longer than NUL, so the second cut is not idle.
    let mut stored = text.replace('\0', "\u{fffd}");
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

/// A JSON number as Postgres' `numeric` writes it: the decimal point moved to where the exponent says, no sign on zero.
/// `None` if that is too long.
fn plain_number(text: &str) -> Option<Cow<'_, str>> {
    if text.len() > MAX_STORED_NUMBER_CHARS {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa),
    };
    let is_zero = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    if exponent == 0 && text.len() == mantissa.len() && !(negative && is_zero) {
        return Some(Cow::Borrowed(text));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let n_fraction = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let limit = i64::try_from(MAX_STORED_NUMBER_CHARS).ok()?;
    if n_fraction.max(exponent) > limit {
        return None;
    }
    let mut digits = format!("{whole}{fraction}");
    let n_fraction = if n_fraction < 0 {
        let n_zeros = usize::try_from(n_fraction.unsigned_abs()).ok()?;
        digits.push_str(&"0".repeat(n_zeros));
        0
    } else {
        usize::try_from(n_fraction).ok()?
    };
    let n_missing = (n_fraction + 1).saturating_sub(digits.len());
    digits.insert_str(0, &"0".repeat(n_missing));
    let (whole, fraction) = digits.split_at_checked(digits.len() - n_fraction)?;
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative && !is_zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    let plain = format!("{sign}{whole}{point}{fraction}");
    (plain.len() <= MAX_STORED_NUMBER_CHARS).then_some(Cow::Owned(plain))
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
        assert_eq!(bounded.get("m").expect("kept").to_string(), "-1500");
        assert!(
            bounded.get("n").expect("kept").is_string(),
            "a number beyond numeric is kept as text"
        );
    }

    /// What `SELECT '…'::jsonb` gives in PostgreSQL 15.
    #[test]
    fn numbers_are_written_as_postgres_writes_them() {
        for (sent, written) in [
            ("1.50", "1.50"),
            ("1e2", "100"),
            ("1.50e1", "15.0"),
            ("1.5E-2", "0.015"),
            ("-1.234e2", "-123.4"),
            ("1.234e+5", "123400"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("0.0e5", "0"),
            ("-0e-3", "0.000"),
            ("123e-5", "0.00123"),
            ("10", "10"),
        ] {
            assert_eq!(stored(sent).to_string(), written, "{sent}");
        }
        for beyond in ["1e1000", "1e-1000", "1e99999999999999999999"] {
            assert!(stored(beyond).is_string(), "{beyond}");
        }
        let longest = stored("1e-997");
        assert!(longest.is_number());
        assert_eq!(
            storable(longest.clone()),
            longest,
            "what is stored is within bounds"
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
