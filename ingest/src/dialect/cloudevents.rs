//! Structured CloudEvents: what a relay forwards, context and data in one signed body.

use std::borrow::Cow;

use schema::ExternalId;

use super::{
    Meaning, Misread, Reader, Signed, Statement, Unread, UnreadReason, golioth_pipelines, output_streams,
    platform,
};
use crate::{
    envelope::{CloudEvent, Data, Envelope},
    payload::{Object, Payload},
};

/// What one event says.
pub(super) fn statements(reader: &Reader<'_>, object: &Object<'_>) -> Result<Vec<Statement>, Misread> {
    let CloudEvent { envelope, data } = CloudEvent::read(object).map_err(|member| {
        let detail = format!("the CloudEvent's {member} is malformed");
        Unread::whole(UnreadReason::MalformedCloudevent, detail)
    })?;
    let kind = envelope.kind.as_deref().unwrap_or_default();
    let meaning = Meaning::of(kind);
    match meaning {
        Meaning::Stream(path) => stream(reader, &envelope, path, data).map(|statement| vec![statement]),
        Meaning::Occurrence(occurrence) => carried(data, &meaning, |object| {
            platform::statements(reader, &envelope, occurrence, object)
        }),
        Meaning::OutputStream(kind) => carried(data, &meaning, |object| {
            let statement = output_streams::statement(reader, &envelope, kind, object)?;
            Ok(vec![statement])
        }),
        Meaning::Reserved | Meaning::Unknown => Err(meaning.unread().into()),
    }
}

/// Reads the object that an event carries, in JSON or CBOR.
fn carried<T>(
    data: Data<'_>,
    meaning: &Meaning<'_>,
    read: impl FnOnce(&Object<'_>) -> Result<T, Misread>,
) -> Result<T, Misread> {
    let bytes = match data {
        Data::Json(text) => Cow::Borrowed(text.as_bytes()),
        Data::Bytes(bytes) => Cow::Owned(bytes),
        Data::Nothing => return Err(meaning.unread().into()),
    };
    let text = Payload::recognize(&bytes);
    match text.as_deref().and_then(Object::parse) {
        Some(object) => read(&object),
        None => Err(meaning.unread().into()),
    }
}

/// What headers may repeat of an event.
pub(super) fn signed<'a>(object: &Object<'a>) -> Signed<'a> {
    Signed {
        sources: [object.text(&["source"]), None],
        subject: object.text(&["subject"]),
        kind: object.text(&["type"]),
    }
}

fn stream(
    reader: &Reader<'_>,
    envelope: &Envelope<'_>,
    path: &str,
    data: Data<'_>,
) -> Result<Statement, Misread> {
    let source = envelope.source.as_deref().unwrap_or_default();
    let device = ExternalId::new(source).map_err(|_| {
        Unread::whole(
            UnreadReason::InvalidDevice,
            "the CloudEvent's source is no device id",
        )
    })?;
    let payload = match data {
        Data::Json(text) => Payload::Json(Cow::Borrowed(text)),
        Data::Bytes(bytes) => Payload::decode(envelope.content_type.as_deref(), Cow::Owned(bytes)),
        Data::Nothing => Payload::Bytes(Cow::Borrowed(&[])),
    };
    golioth_pipelines::statement(reader, envelope, device, path, payload)
}
