//! Golioth Pipelines: device, project and stream path around whatever the device sent.

use std::borrow::Cow;

use schema::{Body, Claimant, ExternalId, LogReceived, ProviderDevice, ReadingReceived};
use serde_json::{Map, Value};

use super::{Misread, Reader, Statement, inject_metadata::Wrapped, logs};
use crate::{
    envelope::Envelope,
    payload::{Object, Payload, Readings},
};

/// What the type of stream data begins with; the path follows.
pub(super) const TYPE_PREFIX: &str = "io.golioth.data.v1/.s";

/// The path that device logs arrive on.
const LOGS: &str = "/logs";

/// The stream path that a type names, without a slash at its end; the root is `/`. Nothing in it is decoded.
pub(super) fn path(kind: &str) -> Option<&str> {
    let path = kind.strip_prefix(TYPE_PREFIX)?;
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    let path = path.trim_end_matches('/');
    Some(if path.is_empty() { "/" } else { path })
}

/// What a device sent on a path.
///
/// A body that `inject-metadata` wrapped is unwrapped. The envelope wins, and what contradicts it is flagged.
pub(super) fn statement(
    reader: &Reader<'_>,
    envelope: &Envelope<'_>,
    device: ExternalId,
    path: &str,
    payload: Payload<'_>,
) -> Result<Statement, Misread> {
    let object = match &payload {
        Payload::Json(text) => Object::parse(text),
        Payload::Bytes(_) => None,
    };
    let wrapped = object
        .as_ref()
        .and_then(Wrapped::read)
        .filter(Wrapped::is_nothing_else);
    let project = wrapped.as_ref().and_then(|wrapped| wrapped.project.as_deref());
    reader.check_project(&[envelope.subject.as_deref(), project], true)?;

    let contradicted = wrapped
        .as_ref()
        .map(|wrapped| contradicted(envelope, &device, wrapped))
        .unwrap_or_default();
    let wrapped_at = wrapped.as_ref().and_then(|wrapped| wrapped.time);
    let inner = wrapped.map(|wrapped| wrapped.data.get().to_owned());
    let payload = match inner {
        Some(inner) => Payload::Json(inner.into()),
        None => payload,
    };
    let mut statement = said(reader, envelope, device, path, payload);
    statement.claimed = envelope.time.or(wrapped_at).or(statement.claimed);
    if !contradicted.is_empty() {
        metrics::counter!(crate::metrics::CONTRADICTED).increment(1);
        let contradicted = Value::Object(contradicted);
        if let Body::ReadingReceived(ReadingReceived { extra, .. })
        | Body::LogReceived(LogReceived { extra, .. }) = &mut statement.body
        {
            extra.insert("contradicted".to_owned(), contradicted);
        }
    }
    Ok(statement)
}

/// A reading, or log entries, of the payload as it is.
pub(super) fn said(
    reader: &Reader<'_>,
    envelope: &Envelope<'_>,
    device: ExternalId,
    path: &str,
    payload: Payload<'_>,
) -> Statement {
    let extensions = envelope.kept(device.as_str());
    let entries = match &payload {
        Payload::Json(text) if path == LOGS => logs::read(text, reader.time_field(), reader.received()),
        Payload::Json(_) | Payload::Bytes(_) => None,
    };
    let (body, claimed, self_timed) = if let Some(logs::Entries {
        mut body,
        single_time,
        all_timed,
    }) = entries
    {
        body.extensions = extensions;
        (Body::LogReceived(body), single_time, all_timed)
    } else {
        let read = Readings::read(payload, reader.time_field(), reader.received());
        let single_time = read.single_time();
        let body = ReadingReceived {
            path: path.to_owned(),
            content_type: envelope.content_type.clone().map(Cow::into_owned),
            device_name: read.device_name,
            readings: read.all,
            extensions,
            extra: schema::Extra::new(),
        };
        (Body::ReadingReceived(body), single_time, read.all_timed)
    };
    Statement {
        device: ProviderDevice::by_id(reader.integration(), device),
        body,
        source: envelope.source.clone().unwrap_or_default().into_owned(),
        sender_id: reader.sender_id(envelope),
        claimed,
        claimant: Claimant::Device,
        self_timed,
        position: 0,
    }
}

/// The members of a wrapped body that say something else than the envelope.
fn contradicted(envelope: &Envelope<'_>, device: &ExternalId, wrapped: &Wrapped<'_>) -> Map<String, Value> {
    let mut members = Map::new();
    if wrapped.device != device.as_str() {
        members.insert("device_id".to_owned(), Value::from(&*wrapped.device));
    }
    if let (Some(said), Some(subject)) = (&wrapped.project, &envelope.subject)
        && said != subject
    {
        members.insert("project_id".to_owned(), Value::from(&**said));
    }
    members
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("io.golioth.data.v1/.s", Some("/"))]
    #[case("io.golioth.data.v1/.s/", Some("/"))]
    #[case("io.golioth.data.v1/.s//", Some("/"))]
    #[case("io.golioth.data.v1/.s/sensor", Some("/sensor"))]
    #[case("io.golioth.data.v1/.s/sensor/", Some("/sensor"))]
    #[case("io.golioth.data.v1/.s/a%2Fb/c", Some("/a%2Fb/c"))]
    #[case("io.golioth.data.v1/.sensor", None)]
    #[case("io.golioth.data.v1/.d/state", None)]
    #[case("DEVICE_STREAM_TYPE", None)]
    #[case("", None)]
    fn the_path_follows_the_prefix(#[case] kind: &str, #[case] expected: Option<&str>) {
        assert_eq!(path(kind), expected);
    }
}
