//! JSON that is stored as it was sent: within every bound as it stands, which one pass over its text shows.
//!
//! Nearly all that devices send is of this kind, and parsing it into values and writing it again is most of what folding
//! it would cost. Whatever is not certainly plain takes that longer way, and ends the same.
//!
//! Only the order of an object's keys is another: that of `jsonb`, the shorter ones first. There it makes no difference
//! but to the time that Postgres takes, which else sorts them: a third of what it takes to read such an object.

use std::borrow::Cow;

use super::shape;

/// Longer texts are taken apart: a string in them might be too long.
const MAX_BYTES: usize = 32 * 1024;
/// Deeper nesting is taken apart.
const MAX_DEPTH: usize = 32;
/// Longer numbers are taken apart.
const MAX_DIGITS: usize = 64;
/// Objects of more keys are taken apart: each key is compared with all before it.
const MAX_KEYS: usize = 32;

/// What one pass over a text shows.
pub(super) struct Plain<'a> {
    pub(super) leaves: shape::Leaves,
    /// What is stored.
    pub(super) text: Cow<'a, str>,
}

/// A JSON text that is stored as it stands; `None` if it has to be taken apart.
pub(super) fn read(text: &str) -> Option<Plain<'_>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut pass = Pass {
        rest: text,
        pointer: String::with_capacity(64),
        leaves: shape::Leaves::with_capacity(256),
        keys: Vec::with_capacity(16),
        fields: Vec::with_capacity(16),
    };
    pass.value(0)?;
    let (leaves, fields) = (pass.leaves, pass.fields);
    let text = if fields.is_sorted_by(Field::is_before) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(sorted(fields, text.len()))
    };
    Some(Plain { leaves, text })
}

/// An object of these fields.
fn sorted(mut fields: Vec<Field<'_>>, n_bytes: usize) -> String {
    fields.sort_unstable_by_key(Field::place);
    let mut object = String::with_capacity(n_bytes);
    for (field, number) in fields.iter().zip(0..) {
        object.push(if number == 0 { '{' } else { ',' });
        object.push_str(field.text);
    }
    object.push('}');
    object
}

/// A field of the outermost object.
#[derive(Clone, Copy)]
struct Field<'a> {
    key: &'a str,
    /// Key and value, as they stand.
    text: &'a str,
}

impl<'a> Field<'a> {
    /// Its place in the order of `jsonb`.
    fn place(&self) -> (usize, &'a [u8]) {
        (self.key.len(), self.key.as_bytes())
    }

    fn is_before(&self, other: &Self) -> bool {
        self.place() < other.place()
    }
}

/// One pass over a text that is known to be JSON.
struct Pass<'a> {
    rest: &'a str,
    /// Of the value that is being read.
    pointer: String,
    leaves: shape::Leaves,
    /// Keys of the objects that are being read, the innermost last.
    keys: Vec<&'a str>,
    /// Those of the outermost object.
    fields: Vec<Field<'a>>,
}

impl<'a> Pass<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.skip_space();
        match self.rest.as_bytes().first()? {
            b'{' | b'[' if depth == MAX_DEPTH => None,
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            _ => {
                self.scalar()?;
                self.leaves.add(&self.pointer);
                Some(())
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let (end, first) = (self.pointer.len(), self.keys.len());
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            self.leaves.add(&self.pointer);
            return Some(());
        }
        loop {
            self.skip_space();
            let field = self.rest;
            let key = self.string()?;
            let before = self.keys.get(first..)?;
            // The last of a doubled key counts; and some keys are written otherwise, in a pointer or in the table.
            if before.len() == MAX_KEYS || before.contains(&key) || !is_plain_key(key) {
                return None;
            }
            self.keys.push(key);
            self.take(b':')?;
            self.pointer.push('/');
            self.pointer.push_str(key);
            self.value(depth)?;
            self.pointer.truncate(end);
            if depth == 1 {
                let text = field.get(..field.len() - self.rest.len())?;
                self.fields.push(Field { key, text });
            }
            if self.take(b',').is_none() {
                self.take(b'}')?;
                self.keys.truncate(first);
                return Some(());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        let end = self.pointer.len();
        self.take(b'[')?;
        self.pointer.push_str("/*");
        let mut has_leaf = true;
        if self.take(b']').is_none() {
            has_leaf = false;
            loop {
                self.skip_space();
                if matches!(self.rest.as_bytes().first()?, b'{' | b'[') {
                    self.value(depth)?;
                } else {
                    self.scalar()?;
                    has_leaf = true;
                }
                if self.take(b',').is_none() {
                    self.take(b']')?;
                    break;
                }
            }
        }
        if has_leaf {
            self.leaves.add(&self.pointer);
        }
        self.pointer.truncate(end);
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        match self.rest.as_bytes().first()? {
            b'"' => self.string().map(drop),
            b't' | b'n' => self.skip(4),
            b'f' => self.skip(5),
            _ => self.number(),
        }
    }

    /// A number without an exponent, and not zero with a sign: those are written otherwise.
    fn number(&mut self) -> Option<()> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-');
        let bytes = self.rest.as_bytes();
        let n_digits = bytes.iter().take_while(|byte| is_digit(byte)).count();
        let digits = bytes.get(..n_digits)?;
        let is_zero = || digits.iter().all(|byte| matches!(byte, b'0' | b'.' | b'-'));
        let is_other = n_digits > MAX_DIGITS
            || matches!(bytes.get(n_digits), Some(b'e' | b'E'))
            || digits.first() == Some(&b'-') && is_zero();
        if is_other { None } else { self.skip(n_digits) }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        let text = self.rest.strip_prefix('"')?;
        let end = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (string, rest) = text.split_at_checked(end)?;
        self.rest = rest.strip_prefix('"')?;
        Some(string)
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        self.skip_space();
        if *self.rest.as_bytes().first()? == expected {
            self.skip(1)
        } else {
            None
        }
    }

    fn skip(&mut self, n_bytes: usize) -> Option<()> {
        self.rest = self.rest.get(n_bytes..)?;
        Some(())
    }

    fn skip_space(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let n_spaces = self
            .rest
            .as_bytes()
            .iter()
            .take_while(|byte| is_space(byte))
            .count();
        self.rest = self.rest.get(n_spaces..).unwrap_or_default();
    }
}

fn is_plain_key(key: &str) -> bool {
    key != "*" && !key.starts_with('$') && !key.bytes().any(|byte| matches!(byte, b'~' | b'/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use schema::RawJson;

    use uuid::Uuid;

    use super::*;
    use crate::fold::stored;

    fn shape(text: &str) -> Option<Uuid> {
        read(text).map(|plain| plain.leaves.shape())
    }

    /// The longer way.
    fn taken_apart(text: &str) -> (serde_json::Value, Uuid) {
        let value = stored::value(&RawJson::parse(text).expect("JSON"));
        let shape = shape::of(&value);
        (value, shape)
    }

    #[rstest]
    #[case::usual(r#"{"temp":21.5,"n":-3,"ok":true,"no":null,"text":"é","more":{"a":{},"b":[]}}"#)]
    #[case::spaced(" { \"b\" : [ 1 , [ 2 ] , { \"x\" : false } ] ,\n\t\"a\" : \"\" } ")]
    #[case::scalar("0.0")]
    #[case::list(r#"[{"a":1},{"a":2,"b":"x"},[]]"#)]
    fn what_is_plain_is_stored_as_it_stands(#[case] text: &str) {
        let (value, of_value) = taken_apart(text);
        assert_eq!(shape(text), Some(of_value));
        assert_eq!(
            RawJson::parse(text).expect("JSON").value().expect("shallow"),
            value
        );
        let stored = read(text).expect("it is plain").text;
        assert_eq!(
            RawJson::parse(&stored).expect("JSON").value().expect("shallow"),
            value
        );
    }

    #[rstest]
    #[case::sorted(r#"{ "b":1, "aa" : {"z":1,"y":2} }"#, r#"{ "b":1, "aa" : {"z":1,"y":2} }"#)]
    #[case::unsorted(
        r#" {"aa":[1, 2],"c" : 1 ,"b":{"z":1,"y":2}}"#,
        r#"{"b":{"z":1,"y":2},"c" : 1,"aa":[1, 2]}"#
    )]
    #[case::within_a_list(r#"[{"b":1,"a":2}]"#, r#"[{"b":1,"a":2}]"#)]
    fn the_fields_of_an_object_are_in_the_order_of_jsonb(#[case] sent: &str, #[case] stored: &str) {
        assert_eq!(
            read(sent).map(|plain| plain.text.into_owned()).as_deref(),
            Some(stored)
        );
    }

    #[rstest]
    #[case::exponent(r#"{"a":1e5}"#)]
    #[case::exponent_of_a_fraction("[1.5E-3]")]
    #[case::negative_zero("-0.0")]
    #[case::escape(r#"{"a":"x\u0000"}"#)]
    #[case::escaped_key(r#"{"\u0061":1}"#)]
    #[case::doubled_key(r#"{"a":1,"a":{"b":2}}"#)]
    #[case::pointer_key(r#"{"a/b":1,"~":2,"*":3}"#)]
    #[case::private_key(r#"{"$serde_json::private::Number":"1"}"#)]
    fn what_might_be_written_otherwise_is_taken_apart(#[case] text: &str) {
        assert_eq!(shape(text), None);
    }

    #[test]
    fn what_is_long_or_deep_is_taken_apart() {
        let long = format!("\"{}\"", "x".repeat(MAX_BYTES));
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        let number = "1".repeat(MAX_DIGITS + 1);
        let keys: Vec<_> = (0..=MAX_KEYS).map(|n| format!("\"k{n}\":1")).collect();
        let wide = format!("{{{}}}", keys.join(","));
        for text in [long, deep, number, wide] {
            assert_eq!(shape(&text), None);
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|flag| flag.to_string()),
            any::<i32>().prop_map(|number| number.to_string()),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            "[a-c~/*$\"\\\\\u{0}é]{0,3}".prop_map(|text| serde_json::Value::from(text).to_string()),
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            let key = "[a-c~/*$]{0,2}".prop_map(|key| serde_json::Value::from(key).to_string());
            let space = || "[ \n]{0,1}";
            prop_oneof![
                (proptest::collection::vec(inner.clone(), 0..4), space())
                    .prop_map(|(items, space)| format!("[{space}{}]", items.join(","))),
                (proptest::collection::vec((key, inner), 0..4), space()).prop_map(|(fields, space)| {
                    let fields = fields
                        .iter()
                        .map(|(key, value)| format!("{key}{space}:{space}{value}"));
                    format!("{{{space}{}{space}}}", fields.collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_ways_end_the_same(text in json()) {
            if let Some(plain) = shape(&text) {
                let (value, of_value) = taken_apart(&text);
                prop_assert_eq!(plain, of_value);
                let stored = read(&text).expect("it is plain").text;
                prop_assert_eq!(&RawJson::parse(&stored).expect("JSON").value().expect("shallow"), &value);
                prop_assert_eq!(RawJson::parse(&text).expect("JSON").value().expect("shallow"), value);
            }
        }
    }
}
