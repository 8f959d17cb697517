//! What a device sent, apart from the envelope around it: JSON, CBOR, or bytes.

mod cbor;
mod gzip;
mod instant;
mod object;

use std::borrow::Cow;

use schema::{Base64, Claimant, Micros, RawJson, Reading, believe};
use serde_json::value::RawValue;

pub(crate) use gzip::{UnpackError, is_gzip, unpack};
pub(crate) use instant::instant;
pub(crate) use object::Object;

/// Most elements of an array that become readings of their own; a longer one stays one reading.
const MOST_ELEMENTS: usize = 10_000;

/// A payload, decoded as far as its media type allows. Nothing is lost: what cannot be decoded stays bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// Meant as JSON, or decoded from CBOR. Whether it really is JSON shows when it is read.
    Json(Cow<'a, str>),
    /// Bytes as sent.
    Bytes(Cow<'a, [u8]>),
}

/// What a media type says of the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Json,
    Cbor,
    Opaque,
}

fn coding(media_type: &str) -> Coding {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let ends_with = |suffix: &str| {
        let start = essence.len().checked_sub(suffix.len());
        let end = start.and_then(|start| essence.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/json") || is("text/json") || ends_with("+json") {
        Coding::Json
    } else if is("application/cbor") || ends_with("+cbor") {
        Coding::Cbor
    } else {
        Coding::Opaque
    }
}

impl<'a> Payload<'a> {
    /// Decodes bytes by a media type that is believed; without one, they are meant as JSON if they are JSON.
    pub(crate) fn decode(media_type: Option<&str>, bytes: Cow<'a, [u8]>) -> Self {
        match media_type.map_or(Coding::Json, coding) {
            Coding::Json => match bytes {
                Cow::Borrowed(bytes) => str::from_utf8(bytes)
                    .map_or(Self::Bytes(Cow::Borrowed(bytes)), |text| {
                        Self::Json(Cow::Borrowed(text))
                    }),
                Cow::Owned(bytes) => String::from_utf8(bytes).map_or_else(
                    |error| Self::Bytes(Cow::Owned(error.into_bytes())),
                    |text| Self::Json(Cow::Owned(text)),
                ),
            },
            Coding::Cbor => match cbor::to_json(&bytes) {
                Some(json) => Self::Json(Cow::Owned(json)),
                None => Self::Bytes(bytes),
            },
            Coding::Opaque => Self::Bytes(bytes),
        }
    }

    /// Decodes bytes by what they are, whatever anybody says: JSON, else a CBOR map; `None` if they are neither.
    pub(crate) fn recognize(bytes: &[u8]) -> Option<Cow<'_, str>> {
        if let Some(text) = json_text(bytes) {
            return Some(Cow::Borrowed(text));
        }
        let json = cbor::to_json(bytes)?;
        json.starts_with('{').then_some(Cow::Owned(json))
    }
}

/// The JSON text that bytes are.
fn json_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
}

/// Whether a media type is one of JSON.
pub(crate) fn names_json(media_type: &str) -> bool {
    coding(media_type) == Coding::Json
}

/// Whether bytes begin as a JSON object or array does, so that they were probably meant as one.
pub(crate) fn resembles_json(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'['))
}

/// The readings of one payload.
#[derive(Debug)]
pub(crate) struct Readings {
    /// One for each object of an array of objects, else one.
    pub(crate) all: Vec<Reading>,
    /// The device's name, where all that say one agree.
    pub(crate) device_name: Option<String>,
    /// Whether each says its own time.
    pub(crate) all_timed: bool,
}

impl Readings {
    /// Reads a payload. `time_field` names the member that holds an object's own time, if the integration has one.
    pub(crate) fn read(payload: Payload<'_>, time_field: Option<&str>, received: Micros) -> Self {
        let text = match payload {
            Payload::Json(text) => text,
            Payload::Bytes(bytes) => return Self::opaque(bytes.into_owned()),
        };
        let Some(parts) = parts(&text) else {
            return Self::opaque(text.into_owned().into_bytes());
        };
        let mut names = Names::default();
        let mut all_timed = true;
        let mut readings = Vec::with_capacity(parts.len());
        for Part { data, object } in parts {
            if let Some(name) = object.as_ref().and_then(|object| object.text(&["device_name"])) {
                names.hear(name);
            }
            let own = own_time(object.as_ref(), time_field);
            all_timed &= own.is_some();
            let timing = believe(own, Claimant::Device, received);
            readings.push(Reading {
                at: own.filter(|_| timing.disbelieved.is_none()),
                claimed_at: timing.disbelieved,
                data: Some(data),
                data_base64: None,
            });
        }
        Self {
            all: readings,
            device_name: names.agreed(),
            all_timed,
        }
    }

    fn opaque(bytes: Vec<u8>) -> Self {
        let reading = Reading {
            at: None,
            claimed_at: None,
            data: None,
            data_base64: Some(Base64(bytes)),
        };
        Self {
            all: vec![reading],
            device_name: None,
            all_timed: false,
        }
    }

    /// The time that a single reading says of itself, whether it is believed or not.
    pub(crate) fn single_time(&self) -> Option<Micros> {
        match self.all.as_slice() {
            [reading] => reading.at.or(reading.claimed_at),
            _ => None,
        }
    }
}

/// The time that an object says of itself.
pub(crate) fn own_time(object: Option<&Object<'_>>, time_field: Option<&str>) -> Option<Micros> {
    object?.get(time_field?).and_then(instant)
}

/// A part of a payload, exactly as sent, and its members if it is an object.
pub(crate) struct Part<'a> {
    pub(crate) data: RawJson,
    pub(crate) object: Option<Object<'a>>,
}

/// The objects of an array of objects, else the whole; `None` if it is no JSON.
pub(crate) fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let whole = |object| {
        Some(vec![Part {
            data: RawJson::parse(text).ok()?,
            object,
        }])
    };
    match text.trim_ascii_start().as_bytes().first()? {
        b'{' => whole(Some(Object::parse(text)?)),
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let are_objects = elements.iter().all(|element| element.get().starts_with('{'));
            if elements.is_empty() || elements.len() > MOST_ELEMENTS || !are_objects {
                return whole(None);
            }
            let texts = elements.into_iter().map(RawValue::get);
            texts
                .map(|text| {
                    Some(Part {
                        data: RawJson::parse(text).ok()?,
                        object: Object::parse(text),
                    })
                })
                .collect()
        }
        _ => whole(None),
    }
}

/// Names that the parts of one delivery say.
#[derive(Default)]
pub(crate) struct Names<'a> {
    first: Option<Cow<'a, str>>,
    disagree: bool,
}

impl<'a> Names<'a> {
    /// One part says a name.
    pub(crate) fn hear(&mut self, name: Cow<'a, str>) {
        match &self.first {
            None => self.first = Some(name),
            Some(first) => self.disagree |= *first != name,
        }
    }

    /// The name that all say.
    pub(crate) fn agreed(self) -> Option<String> {
        self.first.filter(|_| !self.disagree).map(Cow::into_owned)
    }
}

#[cfg(test)]
mod tests;
