//! Which dialect is it? Headers say so where they are believed, else the body does.

use std::borrow::Cow;

use schema::{ExternalId, IntegrationId, Micros};
use serde_json::value::RawValue;

use super::{
    BATCH_STEP, Dialect, Heard, Meaning, Misread, Part, Signed, Statement, Unread, UnreadReason, cloudevents,
    foreign_json, golioth_pipelines, inject_metadata, output_streams, platform,
};
use crate::{
    authenticate::MESSAGE_ID,
    delivery::{Trust, Verified},
    envelope::{self, Envelope},
    error::{Doubt, Rejection},
    payload::{Object, Payload, names_json, resembles_json},
};

/// A delivery as its readers see it.
pub(crate) struct Reader<'d> {
    delivery: &'d Verified<'d>,
    message_id: Option<Cow<'d, str>>,
    /// What believed headers say beside the body; nothing where headers are hearsay.
    beside: Envelope<'d>,
}

impl<'d> Reader<'d> {
    /// Reads `body`, which is the delivery's, unpacked.
    pub(crate) fn read(delivery: &'d Verified<'d>, body: &'d [u8]) -> Result<Heard, Rejection> {
        let headers = delivery.headers();
        match delivery.trust() {
            Trust::Request => {
                let message_id = headers.get(MESSAGE_ID).and_then(|id| id.to_str().ok());
                let reader = Self {
                    delivery,
                    message_id: message_id.filter(|id| !id.is_empty()).map(Cow::Borrowed),
                    beside: Envelope::from_headers(headers)?,
                };
                // A device chooses the body and its media type; whoever knows the secret chooses the headers.
                if reader.beside.has_context() {
                    return reader.by_headers(body);
                }
                reader.by_content(body, |_| Ok(()))
            }
            Trust::Body { message_id, .. } => {
                let reader = Self {
                    delivery,
                    message_id: message_id.as_deref().map(Cow::Borrowed),
                    beside: Envelope::default(),
                };
                let unsigned = Rejection::Unauthorized(Doubt::UnsignedEnvelope);
                let hearsay = envelope::hearsay(headers).map_err(|_| unsigned.clone())?;
                reader.by_content(body, |signed| {
                    let agrees =
                        hearsay.iter().all(Option::is_none) || signed.is_some_and(|s| s.agrees(&hearsay));
                    if agrees { Ok(()) } else { Err(unsigned.clone()) }
                })
            }
        }
    }

    /// A delivery whose body nobody can read. Under a signature over it, headers must not speak in its place.
    pub(crate) fn read_nothing(delivery: &Verified<'_>, why: Unread) -> Result<Heard, Rejection> {
        let may_speak = matches!(delivery.trust(), Trust::Request);
        let is_silent =
            || envelope::hearsay(delivery.headers()).is_ok_and(|heard| heard.iter().all(Option::is_none));
        if may_speak || is_silent() {
            Ok(Heard::unread(why))
        } else {
            Err(Doubt::UnsignedEnvelope.into())
        }
    }

    /// The headers say what it is.
    fn by_headers(&self, body: &'d [u8]) -> Result<Heard, Rejection> {
        let envelope = &self.beside;
        let kind = envelope.required_kind()?;
        match Meaning::of(kind) {
            Meaning::Stream(path) => {
                let payload = Payload::decode(envelope.content_type.as_deref(), Cow::Borrowed(body));
                let source = envelope.required_source()?;
                let device = ExternalId::new(source).map_err(|_| Envelope::source_is_no_device())?;
                let statement = golioth_pipelines::statement(self, envelope, device, path, payload);
                Heard::of(
                    Dialect::GoliothPipelines,
                    statement.map(|statement| vec![statement]),
                )
            }
            Meaning::Occurrence(occurrence) => {
                let text = Payload::recognize(body);
                let read = text
                    .as_deref()
                    .and_then(Object::parse)
                    .ok_or_else(|| Misread::from(self.unrecognized(body)))
                    .and_then(|object| platform::statements(self, envelope, occurrence, &object));
                Heard::of(Dialect::Platform, read)
            }
            Meaning::OutputStream(kind) => {
                let text = Payload::recognize(body);
                let read = text
                    .as_deref()
                    .and_then(Object::parse)
                    .ok_or_else(|| Misread::from(self.unrecognized(body)))
                    .and_then(|object| output_streams::statement(self, envelope, kind, &object));
                Heard::of(Dialect::OutputStreams, read.map(|statement| vec![statement]))
            }
            meaning @ (Meaning::Reserved | Meaning::Unknown) => Ok(Heard::unread(meaning.unread())),
        }
    }

    /// The body says what it is. `check` hears what each event says, or that nothing is recognized.
    fn by_content(
        &self,
        body: &[u8],
        check: impl Fn(Option<Signed<'_>>) -> Result<(), Rejection>,
    ) -> Result<Heard, Rejection> {
        let text = Payload::recognize(body);
        let Some(text) = text.as_deref() else {
            check(None)?;
            return Ok(Heard::unread(self.unrecognized(body)));
        };
        if let Some(object) = Object::parse(text) {
            return self.by_object(&object, check);
        }
        let elements: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
        let events: Option<Vec<Object<'_>>> = elements
            .iter()
            .flatten()
            .map(|element| Object::parse(element.get()).filter(envelope::looks_structured))
            .collect();
        match (elements, events) {
            (Some(elements), Some(events)) if !events.is_empty() => self.by_batch(&elements, &events, check),
            _ => {
                check(None)?;
                Ok(Heard::unread(foreign_json()))
            }
        }
    }

    fn by_object(
        &self,
        object: &Object<'_>,
        check: impl Fn(Option<Signed<'_>>) -> Result<(), Rejection>,
    ) -> Result<Heard, Rejection> {
        if envelope::looks_structured(object) {
            check(Some(cloudevents::signed(object)))?;
            let mut read = cloudevents::statements(self, object);
            if let (Ok(statements), Some(index)) = (&mut read, self.delivery.part()) {
                self.set_apart(object, index, statements);
            }
            return Heard::of(Dialect::CloudEvents, read);
        }
        if let Some(occurrence) = platform::occurrence(object) {
            check(Some(platform::signed(object)))?;
            return Heard::of(
                Dialect::Platform,
                platform::statements(self, &self.beside, occurrence, object),
            );
        }
        if let Some(wrapped) = inject_metadata::Wrapped::read(object) {
            check(Some(wrapped.signed()))?;
            let statement = inject_metadata::statement(self, &wrapped);
            return Heard::of(
                Dialect::InjectMetadata,
                statement.map(|statement| vec![statement]),
            );
        }
        check(None)?;
        let unread = platform::named(object).map(|kind| Meaning::of(&kind).unread());
        Ok(Heard::unread(unread.unwrap_or_else(foreign_json)))
    }

    /// Each event of a batch is on its own, save that a refusal is one of the whole.
    fn by_batch(
        &self,
        elements: &[&RawValue],
        events: &[Object<'_>],
        check: impl Fn(Option<Signed<'_>>) -> Result<(), Rejection>,
    ) -> Result<Heard, Rejection> {
        let mut heard = Heard::understood(Dialect::CloudEvents, Vec::new());
        for (index, (element, object)) in elements.iter().zip(events).enumerate() {
            check(Some(cloudevents::signed(object)))?;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match cloudevents::statements(self, object) {
                Ok(mut statements) => {
                    self.set_apart(object, index, &mut statements);
                    heard.statements.extend(statements);
                }
                Err(Misread::Refused(rejection)) => return Err(rejection),
                Err(Misread::Unread(unread)) => heard.unread.push(Unread {
                    detail: format!("event {index} of a batch: {}", unread.detail),
                    part: Some(Part {
                        index,
                        text: element.get().to_owned(),
                    }),
                    ..unread
                }),
            }
        }
        Ok(heard)
    }

    /// An id of the whole message does not tell the events of a batch apart: where one has none of its own, its place
    /// does.
    fn set_apart(&self, object: &Object<'_>, index: u32, statements: &mut [Statement]) {
        if self.message_id.is_none() || object.get("id").is_some() {
            return;
        }
        for statement in statements {
            statement.position = statement
                .position
                .saturating_add(index.saturating_mul(BATCH_STEP));
        }
    }

    /// What believed headers say beside the body.
    pub(super) fn beside(&self) -> &Envelope<'d> {
        &self.beside
    }

    fn unrecognized(&self, body: &[u8]) -> Unread {
        if resembles_json(body) || self.beside.content_type.as_deref().is_some_and(names_json) {
            Unread::whole(
                UnreadReason::MalformedJson,
                "the body is meant as JSON, but is none",
            )
        } else {
            Unread::whole(
                UnreadReason::Unrecognized,
                "the body is of no dialect that is known",
            )
        }
    }

    pub(super) fn integration(&self) -> IntegrationId {
        self.delivery.integration().id
    }

    pub(super) fn time_field(&self) -> Option<&str> {
        self.delivery.integration().reading_time_field.as_deref()
    }

    pub(super) fn received(&self) -> Micros {
        self.delivery.received()
    }

    /// The sender's id of an event: its own, else the message's.
    pub(super) fn sender_id(&self, envelope: &Envelope<'_>) -> Option<String> {
        let id = envelope.id.as_ref().or(self.message_id.as_ref());
        id.map(|id| id.clone().into_owned())
    }

    /// Holds the projects that a delivery names against the one that the integration is bound to.
    pub(super) fn check_project(&self, named: &[Option<&str>], required: bool) -> Result<(), Rejection> {
        let Some(bound) = self.delivery.integration().project.as_deref() else {
            return Ok(());
        };
        let mut named = named.iter().flatten().peekable();
        if required && named.peek().is_none() {
            return Err(Rejection::NoProject);
        }
        if named.all(|project| *project == bound) {
            Ok(())
        } else {
            Err(Rejection::OtherProject)
        }
    }
}
