//! The body of Golioth's transformer `inject-metadata`: `{data, device_id, project_id, timestamp}`.

use std::borrow::Cow;

use schema::{Body, ExternalId, Extra, Micros, RawJson};
use serde_json::{Value, value::RawValue};

use super::{
    Misread, Reader, Signed, Statement, Unread, UnreadReason, golioth_pipelines, platform::PROJECTS,
};
use crate::{
    envelope::Envelope,
    payload::{Object, Payload, instant},
};

/// A wrapped payload.
pub(super) struct Wrapped<'a> {
    /// What the device sent.
    pub(super) data: &'a RawValue,
    /// The device's id.
    pub(super) device: Cow<'a, str>,
    /// The project's id.
    pub(super) project: Option<Cow<'a, str>>,
    /// Every project that is named, under whatever name.
    projects: Vec<Cow<'a, str>>,
    /// When Golioth received it, or what `extract-timestamp` found.
    pub(super) time: Option<Micros>,
    /// What else there is.
    rest: Option<String>,
}

impl<'a> Wrapped<'a> {
    /// Recognizes a wrapped payload by its data and device id.
    pub(super) fn read(object: &Object<'a>) -> Option<Self> {
        let data = object.get("data")?;
        let device = object.text_or_number(&["device_id"])?;
        let project = object.text(&["project_id"]);
        let time = object.get("timestamp").and_then(instant);
        // What cannot be read is not dropped: it stays with whatever else there is.
        let taken = [
            object.position("data"),
            object.position("device_id"),
            object.position("project_id").filter(|_| project.is_some()),
            object.position("timestamp").filter(|_| time.is_some()),
        ];
        let rest = object.without(|index, _| taken.contains(&Some(index)));
        Some(Self {
            data,
            device,
            project,
            projects: object.all_named(&PROJECTS).collect(),
            time,
            rest,
        })
    }

    /// Whether it can be told from a device's own payload: nothing is there beside the transformer's members.
    pub(super) fn is_nothing_else(&self) -> bool {
        self.rest.is_none() && (self.project.is_some() || self.time.is_some())
    }

    /// What of it headers may repeat. It says no path.
    pub(super) fn signed(&self) -> Signed<'a> {
        Signed {
            sources: [Some(self.device.clone()), None],
            subject: self.project.clone(),
            kind: Some(Cow::Borrowed(golioth_pipelines::TYPE_PREFIX)),
        }
    }
}

/// What a device sent, wrapped and without any other envelope: a reading at the root.
pub(super) fn statement(reader: &Reader<'_>, wrapped: &Wrapped<'_>) -> Result<Statement, Misread> {
    let projects: Vec<_> = wrapped.projects.iter().map(|project| Some(&**project)).collect();
    reader.check_project(&projects, true)?;
    let device = ExternalId::new(&wrapped.device)
        .map_err(|_| Unread::whole(UnreadReason::InvalidDevice, "the device's id is malformed"))?;
    let envelope = Envelope {
        subject: wrapped.project.clone(),
        ..reader.beside().clone()
    };
    let payload = Payload::Json(Cow::Borrowed(wrapped.data.get()));
    let mut statement = golioth_pipelines::said(reader, &envelope, device, "/", payload);
    statement.claimed = envelope.time.or(wrapped.time).or(statement.claimed);
    if let (Body::ReadingReceived(reading), Some(rest)) = (&mut statement.body, &wrapped.rest) {
        reading.extra = payload_extra(rest);
    }
    Ok(statement)
}

/// Members that have no place of their own, kept beside what is understood.
pub(super) fn payload_extra(rest: &str) -> Extra {
    let value = RawJson::parse(rest).ok().and_then(|raw| raw.value().ok());
    // Nested too deep to be built as a value: kept as text.
    let value = value.unwrap_or_else(|| Value::from(rest));
    Extra::from([("payload".to_owned(), value)])
}
