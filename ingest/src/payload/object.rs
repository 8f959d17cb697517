//! The members of a JSON object, each value as its exact text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A JSON object: one scan, nothing copied, nothing built for values that nobody asks for.
#[derive(Debug, Default)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads a JSON text that is an object.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A member's value; of a doubled one the last counts.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
    }

    /// The members in the order they were sent.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key, *value))
    }

    /// The first of these members that is a string and not empty.
    pub(crate) fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        names
            .iter()
            .find_map(|name| self.any_text(name).filter(|text| !text.is_empty()))
    }

    /// The first of these members that is a string and not empty, or a number: its text.
    pub(crate) fn text_or_number(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        names.iter().find_map(|name| text_or_number(self.get(name)?))
    }

    /// All that members of these names name, doubled ones too: a string that is not empty, a number, or an object by
    /// its id.
    pub(crate) fn all_named<'s>(&'s self, names: &'s [&str]) -> impl Iterator<Item = Cow<'a, str>> + 's {
        let members = self.0.iter().filter(|(key, _)| names.contains(&&**key));
        members.filter_map(|(_, value)| {
            let id = || Object::parse(value.get())?.text_or_number(&["id"]);
            text_or_number(value).or_else(id)
        })
    }

    /// A member that is a string, empty or not.
    pub(crate) fn any_text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.get(name)?)
    }

    /// A member that is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::parse(self.get(name)?.get())
    }

    /// The members that are not among these, as an object of their exact texts; `None` if there are none.
    pub(crate) fn without(&self, is_taken: impl Fn(usize, &str) -> bool) -> Option<String> {
        let mut text = String::new();
        for (index, (key, value)) in self.0.iter().enumerate() {
            if is_taken(index, key) {
                continue;
            }
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&serde_json::Value::from(key.as_ref()).to_string());
            text.push(':');
            text.push_str(value.get());
        }
        if text.is_empty() {
            return None;
        }
        text.push('}');
        Some(text)
    }

    /// Where the last member of this name stands.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().rposition(|(key, _)| key == name)
    }
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let Key(text) = serde_json::from_str(value.get()).ok()?;
    Some(text)
}

/// The text of a string that is not empty, or of a number.
fn text_or_number(value: &RawValue) -> Option<Cow<'_, str>> {
    let is_number = value
        .get()
        .starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number {
        Some(Cow::Borrowed(value.get()))
    } else {
        text(value).filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A string, borrowed where it holds no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_exact_text_and_the_last_of_a_doubled_one_counts() {
        let object = Object::parse(r#" { "a" : 1.50, "b\u0063": { "x" : [ ] }, "a": "é\n" } "#).unwrap();
        assert_eq!(object.text(&["none", "a"]).unwrap(), "é\n");
        assert_eq!(object.get("bc").unwrap().get(), r#"{ "x" : [ ] }"#);
        assert_eq!(
            object.without(|_, key| key == "bc").unwrap(),
            r#"{"a":1.50,"a":"é\n"}"#
        );
        assert_eq!(object.without(|_, _| true), None);
    }

    #[test]
    fn numbers_can_stand_for_texts_where_ids_are_numbers() {
        let object = Object::parse(r#"{"id": 17, "name": "", "flag": true}"#).unwrap();
        assert_eq!(object.text_or_number(&["id"]).unwrap(), "17");
        assert_eq!(object.text(&["id"]), None);
        assert_eq!(object.text_or_number(&["name", "flag"]), None);
    }

    #[test]
    fn nothing_but_an_object_is_one() {
        for text in ["[]", "1", "\"{}\"", "", "{", r#"{"a":1}x"#] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
    }
}
