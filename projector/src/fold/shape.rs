//! The shape of a payload: which values it has, whatever they are.
//!
//! Latest readings are kept per shape, so that `{temp}` does not hide the `{battery}` before it.

use std::collections::HashMap;

use serde_json::Value;
use uuid::{Uuid, uuid};

/// Leaves of more bytes are not remembered.
const LONGEST_REMEMBERED: usize = 1_024;

/// Names of shapes live here.
const NAMESPACE: Uuid = uuid!("0c1f7f8e-5b1c-5c39-9d0e-3a4b7f1f2c55");

/// The shape of what is not JSON.
pub(super) const OF_BYTES: Uuid = uuid!("8e0a5a0e-47a8-5f0f-8a3c-6b1f1f0d9b5e");

/// `UUIDv5` over the sorted leaf pointers of a payload.
///
/// A leaf is a scalar, an empty object or an empty array. Its pointer is that of RFC 6901, save that every element of
/// an array is `*`, so that an array of another length has no other shape; a key that is `*` itself is written `~2`.
pub(super) fn of(value: &Value) -> Uuid {
    let mut leaves = Leaves::default();
    collect(value, &mut String::new(), &mut leaves);
    leaves.shape()
}

/// Leaf pointers in one text, each with a NUL behind it: stored texts hold none.
#[derive(Default)]
pub(super) struct Leaves(String);

impl Leaves {
    pub(super) fn with_capacity(n_bytes: usize) -> Self {
        Self(String::with_capacity(n_bytes))
    }

    pub(super) fn add(&mut self, pointer: &str) {
        self.0.push_str(pointer);
        self.0.push('\0');
    }

    pub(super) fn shape(&self) -> Uuid {
        let mut pointers: Vec<_> = self.0.split_terminator('\0').collect();
        pointers.sort_unstable();
        pointers.dedup();
        Uuid::new_v5(&NAMESPACE, pointers.join("\0").as_bytes())
    }
}

/// Shapes that were named before, by their leaves in the order they were sent: few of all that a fleet sends are new.
///
/// What it remembers makes no difference, so any two are equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes(HashMap<String, Uuid>);

impl Shapes {
    /// So many are remembered.
    const MOST: usize = 256;

    pub(super) fn of(&mut self, leaves: Leaves) -> Uuid {
        if let Some(shape) = self.0.get(&leaves.0) {
            return *shape;
        }
        let shape = leaves.shape();
        if self.0.len() == Self::MOST {
            self.0.clear();
        }
        if leaves.0.len() <= LONGEST_REMEMBERED {
            self.0.insert(leaves.0, shape);
        }
        shape
    }
}

impl PartialEq for Shapes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shapes {}

fn collect(value: &Value, pointer: &mut String, leaves: &mut Leaves) {
    let end = pointer.len();
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, field) in fields {
                pointer.push('/');
                push_escaped(pointer, key);
                collect(field, pointer, leaves);
                pointer.truncate(end);
            }
        }
        Value::Array(items) => {
            pointer.push_str("/*");
            // Elements of one shape add nothing.
            if items.is_empty() || items.iter().any(|item| !is_composite(item)) {
                leaves.add(pointer);
            }
            for item in items.iter().filter(|item| is_composite(item)) {
                collect(item, pointer, leaves);
            }
            pointer.truncate(end);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            leaves.add(pointer);
        }
    }
}

fn is_composite(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn push_escaped(pointer: &mut String, key: &str) {
    if key == "*" {
        return pointer.push_str("~2");
    }
    for character in key.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn shape(text: &str) -> Uuid {
        of(&serde_json::from_str(text).unwrap())
    }

    #[rstest]
    #[case::values(r#"{"temp":1,"hum":2}"#, r#"{"hum":"x","temp":null}"#)]
    #[case::lengths(r#"{"a":[1,2,3]}"#, r#"{"a":[9]}"#)]
    #[case::emptiness(r#"{"a":[]}"#, r#"{"a":[1]}"#)]
    #[case::elements(r#"[{"a":1},{"a":2}]"#, r#"[{"a":3}]"#)]
    #[case::scalars("1", r#""text""#)]
    fn these_have_one_shape(#[case] one: &str, #[case] other: &str) {
        assert_eq!(shape(one), shape(other));
    }

    #[rstest]
    #[case::other_keys(r#"{"temp":1}"#, r#"{"battery":1}"#)]
    #[case::more_keys(r#"{"temp":1}"#, r#"{"temp":1,"hum":1}"#)]
    #[case::nesting(r#"{"a":{"b":1}}"#, r#"{"a/b":1}"#)]
    #[case::array_or_key(r#"{"a":[1]}"#, r#"{"a":{"*":1}}"#)]
    #[case::object_or_scalar("{}", r#"{"":1}"#)]
    fn these_have_not(#[case] one: &str, #[case] other: &str) {
        assert_ne!(shape(one), shape(other));
    }

    #[test]
    fn bytes_have_a_shape_of_their_own() {
        assert_ne!(shape("1"), OF_BYTES);
        assert_ne!(shape("[]"), OF_BYTES);
    }
}
