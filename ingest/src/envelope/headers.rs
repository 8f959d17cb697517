//! The HTTP binding, binary mode: context in headers named `ce-…`.

use std::borrow::Cow;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use percent_encoding::percent_decode;
use schema::Micros;

use super::{Envelope, is_carried_elsewhere, text};
use crate::error::Rejection;

/// The attributes that say what a delivery is and of whom.
const ID: Attribute = Attribute {
    header: "ce-id",
    shown: "Ce-Id",
};
const SOURCE: Attribute = Attribute {
    header: "ce-source",
    shown: "Ce-Source",
};
const SUBJECT: Attribute = Attribute {
    header: "ce-subject",
    shown: "Ce-Subject",
};
const TIME: Attribute = Attribute {
    header: "ce-time",
    shown: "Ce-Time",
};
const TYPE: Attribute = Attribute {
    header: "ce-type",
    shown: "Ce-Type",
};

#[derive(Clone, Copy)]
struct Attribute {
    header: &'static str,
    shown: &'static str,
}

impl Attribute {
    /// Its value; an empty one is none.
    fn read(self, headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, Rejection> {
        let malformed = |problem| Rejection::MalformedEnvelope {
            header: Cow::Borrowed(self.shown),
            problem,
        };
        let mut values = headers.get_all(self.header);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(malformed("is there twice"));
        }
        let value = decode(value.as_bytes()).ok_or_else(|| malformed("is not percent-encoded UTF-8"))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }
}

/// What unsigned headers say of device, project and type, in this order, or that it cannot be read.
pub(crate) fn hearsay(headers: &HeaderMap) -> Result<[Option<Cow<'_, str>>; 3], Rejection> {
    Ok([SOURCE.read(headers)?, SUBJECT.read(headers)?, TYPE.read(headers)?])
}

impl<'h> Envelope<'h> {
    /// Reads the context from headers that are believed.
    pub(crate) fn from_headers(headers: &'h HeaderMap) -> Result<Self, Rejection> {
        let time = match TIME.read(headers)? {
            Some(text) => Some(text.parse::<Micros>().map_err(|_| Rejection::MalformedEnvelope {
                header: Cow::Borrowed(TIME.shown),
                problem: "is no RFC 3339 time between the years 1 and 9999",
            })?),
            None => None,
        };
        let mut envelope = Self {
            source: SOURCE.read(headers)?,
            subject: SUBJECT.read(headers)?,
            kind: TYPE.read(headers)?,
            id: ID.read(headers)?,
            time,
            content_type: content_type(headers),
            ..Self::default()
        };
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix("ce-") else {
                continue;
            };
            if !is_carried_elsewhere(name) {
                let malformed = |problem| Rejection::MalformedEnvelope {
                    header: Cow::Owned(format!("Ce-{name}")),
                    problem,
                };
                let value =
                    decode(value.as_bytes()).ok_or_else(|| malformed("is not percent-encoded UTF-8"))?;
                if envelope
                    .extensions
                    .insert(name.to_owned(), text(&value))
                    .is_some()
                {
                    return Err(malformed("is there twice"));
                }
            }
        }
        Ok(envelope)
    }

    /// Whether it tries to say what the delivery is or of whom.
    pub(crate) fn has_context(&self) -> bool {
        self.source.is_some() || self.subject.is_some() || self.kind.is_some()
    }

    /// The source; without one there is no device.
    pub(crate) fn required_source(&self) -> Result<&str, Rejection> {
        self.source.as_deref().ok_or(Rejection::MalformedEnvelope {
            header: Cow::Borrowed(SOURCE.shown),
            problem: "is missing",
        })
    }

    /// The refusal of a source that names no device.
    pub(crate) fn source_is_no_device() -> Rejection {
        Rejection::MalformedEnvelope {
            header: Cow::Borrowed(SOURCE.shown),
            problem: "is no device id: it has 1 to 256 bytes and no control characters",
        }
    }

    /// The type; with a context but without a type nobody knows what it is the context of.
    pub(crate) fn required_kind(&self) -> Result<&str, Rejection> {
        self.kind.as_deref().ok_or(Rejection::MalformedEnvelope {
            header: Cow::Borrowed(TYPE.shown),
            problem: "is missing",
        })
    }
}

/// The media type that a request names, hint or not.
fn content_type(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let value = headers.get(CONTENT_TYPE)?;
    let value = String::from_utf8_lossy(value.as_bytes());
    Some(value).filter(|value| !value.trim().is_empty())
}

/// Decodes a header's value: a quoted one is unquoted first; then one round of percent-decoding, whose result must be
/// UTF-8.
fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    let unquoted = unquote(value);
    if !unquoted.contains(&b'%') {
        return match unquoted {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
    }
    let decoded = percent_decode(&unquoted).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    let Some(inner) = inner else {
        return Cow::Borrowed(value);
    };
    let mut unquoted = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next().unwrap_or(byte)
        } else {
            byte
        };
        unquoted.push(*byte);
    }
    Cow::Owned(unquoted)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        headers
    }

    #[rstest]
    #[case::plain("sensor", Some("sensor"))]
    #[case::specification("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀"))]
    #[case::lower_case("%e2%82%ac", Some("€"))]
    #[case::needless("%73ensor", Some("sensor"))]
    #[case::once("100%2525", Some("100%25"))]
    #[case::stray("100%", Some("100%"))]
    #[case::quoted("\"a b\"", Some("a b"))]
    #[case::quoted_escapes(r#""a \"b\" \\""#, Some(r#"a "b" \"#))]
    #[case::quoted_then_percent("\"%20\"", Some(" "))]
    #[case::a_quote_alone("\"", Some("\""))]
    #[case::overlong("%C0%A0", None)]
    #[case::not_utf8("%FF", None)]
    fn values_are_unquoted_then_decoded_exactly_once(#[case] value: &str, #[case] expected: Option<&str>) {
        assert_eq!(decode(value.as_bytes()).as_deref(), expected);
    }

    #[test]
    fn a_malformed_header_is_named() {
        let twice = headers(&[("ce-source", b"a"), ("ce-source", b"b")]);
        let refused = Envelope::from_headers(&twice).unwrap_err();
        assert_eq!(refused.to_string(), "header Ce-Source is there twice");

        let refused = Envelope::from_headers(&headers(&[("ce-time", b"yesterday")])).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("header Ce-Time is no RFC 3339 time")
        );

        let twice = headers(&[("ce-foo", b"a"), ("ce-foo", b"a")]);
        let refused = Envelope::from_headers(&twice).unwrap_err();
        assert_eq!(refused.to_string(), "header Ce-foo is there twice");

        let refused = Envelope::from_headers(&headers(&[("ce-foo", b"%C0%A0")])).unwrap_err();
        assert_eq!(refused.to_string(), "header Ce-foo is not percent-encoded UTF-8");

        let refused = Envelope::from_headers(&headers(&[("ce-type", b"%C0%A0")])).unwrap_err();
        assert_eq!(refused.to_string(), "header Ce-Type is not percent-encoded UTF-8");
    }

    #[test]
    fn an_extension_is_kept_and_the_context_is_not_repeated() {
        let sent = headers(&[
            ("ce-source", b"d1"),
            ("ce-subject", b"my-project"),
            ("ce-organization", b"%E2%82%AC"),
            ("ce-traceparent", b"00-1-2-3"),
            ("ce-id", b""),
        ]);
        let envelope = Envelope::from_headers(&sent).unwrap();
        assert_eq!(envelope.id, None);
        let kept = serde_json::to_value(envelope.kept("d1")).unwrap();
        assert_eq!(
            kept,
            serde_json::json!({ "subject": "my-project", "organization": "€" })
        );
    }

    proptest! {
        #[test]
        fn what_was_percent_encoded_is_what_is_read(text in ".{0,40}") {
            let encoded: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let encoded = encoded.concat();
            let decoded = decode(encoded.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn no_value_breaks_the_decoding(value in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(text) = decode(&value) {
                prop_assert!(text.len() <= value.len());
            }
        }
    }
}
