//! Structured mode: context and data in one JSON object.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use schema::RawJson;

use super::{Envelope, is_carried_elsewhere};
use crate::payload::Object;

/// A structured `CloudEvent`.
#[derive(Debug)]
pub(crate) struct CloudEvent<'a> {
    /// The context; source and type are always there.
    pub(crate) envelope: Envelope<'a>,
    /// What it carries.
    pub(crate) data: Data<'a>,
}

/// What an event carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Data<'a> {
    /// Nothing.
    Nothing,
    /// JSON, as sent.
    Json(&'a str),
    /// Bytes, which were sent in base64.
    Bytes(Vec<u8>),
}

/// Whether an object is meant as a `CloudEvent`: nothing else has these three members.
pub(crate) fn looks_structured(object: &Object<'_>) -> bool {
    ["specversion", "type", "source"]
        .iter()
        .all(|name| object.get(name).is_some())
}

impl<'a> CloudEvent<'a> {
    /// Reads an object that [`looks_structured`], or says which member is malformed.
    pub(crate) fn read(object: &Object<'a>) -> Result<Self, &'static str> {
        let version = object.text(&["specversion"]).ok_or("specversion")?;
        if !version.starts_with("1.") {
            return Err("specversion");
        }
        let required = |name| object.text(&[name]).ok_or(name);
        let optional = |name: &'static str| -> Result<Option<Cow<'a, str>>, &'static str> {
            if object.get(name).is_none_or(|value| value.get() == "null") {
                return Ok(None);
            }
            let text = object.any_text(name).ok_or(name)?;
            Ok(Some(text).filter(|text| !text.is_empty()))
        };
        let time = match optional("time")? {
            Some(text) => Some(text.parse().map_err(|_| "time")?),
            None => None,
        };
        let mut envelope = Envelope {
            source: Some(required("source")?),
            kind: Some(required("type")?),
            subject: optional("subject")?,
            id: optional("id")?,
            time,
            content_type: optional("datacontenttype")?,
            ..Envelope::default()
        };
        for (name, value) in object.members() {
            if !is_carried_elsewhere(name) {
                let value = RawJson::parse(value.get()).map_err(|_| "an extension")?;
                envelope.extensions.insert(name.to_string(), value);
            }
        }
        let data = match (object.get("data"), object.get("data_base64")) {
            (None, None) => Data::Nothing,
            (Some(data), None) => Data::Json(data.get()),
            (None, Some(_)) => {
                let text: Cow<'_, str> = object.any_text("data_base64").ok_or("data_base64")?;
                Data::Bytes(STANDARD.decode(text.as_bytes()).map_err(|_| "data_base64")?)
            }
            (Some(_), Some(_)) => return Err("data beside data_base64"),
        };
        Ok(Self { envelope, data })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_published_example_is_read() {
        let sent = r#"{
            "specversion": "1.0", "id": "aa12dc4c-c5ed-4b46-92e5-5a726f4daa81", "source": "12345678987654321",
            "type": "io.golioth.data.v1/.s/sensor", "subject": "my-first-project",
            "datacontenttype": "application/json", "time": "2022-01-27T16:17:06.458868Z",
            "data": {"temp": 32}, "comexampleextension1": "value"
        }"#;
        let object = Object::parse(sent).unwrap();
        assert!(looks_structured(&object));
        let CloudEvent { envelope, data } = CloudEvent::read(&object).unwrap();
        assert_eq!(envelope.source.as_deref(), Some("12345678987654321"));
        assert_eq!(envelope.time.unwrap().to_string(), "2022-01-27T16:17:06.458868Z");
        assert_eq!(envelope.extensions["comexampleextension1"].get(), "\"value\"");
        assert_eq!(data, Data::Json(r#"{"temp": 32}"#));
    }

    #[rstest]
    #[case::version(r#"{"specversion":"0.3","type":"t","source":"s"}"#, "specversion")]
    #[case::version_number(r#"{"specversion":1.0,"type":"t","source":"s"}"#, "specversion")]
    #[case::empty_source(r#"{"specversion":"1.0","type":"t","source":""}"#, "source")]
    #[case::time(r#"{"specversion":"1.0","type":"t","source":"s","time":"now"}"#, "time")]
    #[case::id(r#"{"specversion":"1.0","type":"t","source":"s","id":{}}"#, "id")]
    #[case::base64(
        r#"{"specversion":"1.0","type":"t","source":"s","data_base64":"?"}"#,
        "data_base64"
    )]
    #[case::both(
        r#"{"specversion":"1.0","type":"t","source":"s","data":1,"data_base64":""}"#,
        "data beside data_base64"
    )]
    fn a_malformed_member_is_named(#[case] sent: &str, #[case] member: &str) {
        let object = Object::parse(sent).unwrap();
        assert_eq!(CloudEvent::read(&object).err(), Some(member));
    }
}
