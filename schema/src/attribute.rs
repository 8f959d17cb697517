//! What CloudEvents allows in the names and the values of attributes.

/// Lower-case letters and digits. `data` is reserved, since some formats write it beside the attributes.
pub(crate) fn is_name(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    letters && !name.is_empty() && name != "data"
}

/// Neither a control character nor a code point that Unicode calls no character.
pub(crate) fn is_allowed(c: char) -> bool {
    let noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    !c.is_control() && !noncharacter
}

/// A text with what is not allowed replaced by U+FFFD.
pub(crate) fn text(text: String) -> String {
    // Nearly all of them hold nothing else.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    text.chars()
        .map(|c| {
            if is_allowed(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// A JSON text with what is not allowed escaped; outside of strings JSON has no such characters.
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_allowed(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let digits = [12, 8, 4, 0].map(|shift| u32::from(*unit) >> shift & 0xf);
                escaped.push_str("\\u");
                escaped.extend(digits.iter().filter_map(|digit| char::from_digit(*digit, 16)));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attribute_cannot_hold_is_replaced_or_escaped() {
        let hostile = "a\u{0}\u{7f}\u{85}\u{fdd0}\u{1ffff}é😀";
        assert_eq!(
            text(hostile.to_owned()),
            "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}é😀"
        );
        let written = serde_json::Value::from(hostile).to_string();
        let escaped = json(&written);
        assert!(escaped.chars().all(is_allowed));
        assert_eq!(
            serde_json::from_str::<String>(&escaped).expect("still JSON"),
            hostile
        );
    }

    #[test]
    fn a_name_has_lower_case_letters_and_digits() {
        assert!(is_name("traceparent") && is_name("x5"));
        for name in ["", "data", "traceParent", "trace_parent", "é"] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
