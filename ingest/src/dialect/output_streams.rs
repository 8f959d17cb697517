//! Golioth Output Streams, which Pipelines replaced in 2024: the type says what happened, the body says of which device.
//!
//! Source and subject of the envelope are Golioth's own services, never device or project. Members are written in either
//! case, and those that hold a default of protobuf may be missing.

use std::borrow::Cow;

use schema::{
    Body, Claimant, ExternalId, Extra, FirmwareReported, LogEntry, LogReceived, Micros, ProviderDevice,
    RawJson, ReadingReceived, StateObserved,
};
use serde_json::Value;
use strum::EnumString;

use super::{
    Misread, Reader, Statement, Unread, UnreadReason, golioth_pipelines,
    inject_metadata::payload_extra,
    platform::{PROJECTS, firmware},
};
use crate::{
    envelope::Envelope,
    payload::{Object, Payload, instant},
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
pub(super) enum Kind {
    /// A device sent data.
    #[strum(serialize = "DEVICE_STREAM_TYPE")]
    Stream,
    /// A path of a device's state was written.
    #[strum(serialize = "UPDATE_DEVICE_STATE_TYPE")]
    StateUpdated,
    /// A path of a device's state was deleted.
    #[strum(serialize = "DELETE_DEVICE_STATE_TYPE")]
    StateDeleted,
    /// A device logged something.
    #[strum(serialize = "DEVICE_LOG_ENTRY_TYPE")]
    Log,
    /// A device reported the state of a package.
    #[strum(serialize = "DEVICE_FIRMWARE_LOG_ENTRY_TYPE")]
    Firmware,
    /// A release of a project was made or changed.
    #[strum(serialize = "RELEASE_UPDATED_TYPE")]
    Release,
    /// Somebody tried the integration.
    #[strum(serialize = "TEST_EVENT_TYPE")]
    Test,
    /// A message between Golioth's own services.
    #[strum(serialize = "SEND_DEVICE_UPDATE_TYPE", serialize = "UNKNOWN_CLOUD_EVENT")]
    Internal,
}

const DEVICES: [&str; 2] = ["device_id", "deviceId"];

/// The cloud's names for the levels of logs, by number.
const LEVELS: [&str; 5] = ["none", "debug", "info", "warn", "error"];

/// The states of an update, by number.
const STATES: [&str; 4] = ["idle", "downloading", "downloaded", "updating"];

/// The cloud's texts for the reasons of a firmware report, by number. Pushed and polled reports say the same with them.
const REASONS: [&str; 10] = [
    "ready state",
    "firmware updated successfully",
    "not enough flash memory for the new firmware package",
    "out of RAM during downloading process",
    "connection lost during downloading process",
    "integrity check failure for new downloaded package",
    "unsupported package type",
    "invalid URI",
    "firmware update failed",
    "unsupported protocol",
];

/// What an event says.
pub(super) fn statement(
    reader: &Reader<'_>,
    envelope: &Envelope<'_>,
    kind: Kind,
    object: &Object<'_>,
) -> Result<Statement, Misread> {
    let is_of_a_device = !matches!(kind, Kind::Release | Kind::Test | Kind::Internal);
    let projects: Vec<_> = object.all_named(&PROJECTS).collect();
    let projects: Vec<_> = projects.iter().map(|project| Some(&**project)).collect();
    reader.check_project(&projects, is_of_a_device)?;
    let event = Event::read(reader, envelope, object);
    match kind {
        Kind::Stream => event.reading(),
        Kind::StateUpdated => event.state(false),
        Kind::StateDeleted => event.state(true),
        Kind::Log => event.log(),
        Kind::Firmware => event.firmware(),
        Kind::Release => Err(set_aside(
            UnreadReason::NotOfADevice,
            "a release of the project was made or changed",
        )),
        Kind::Test => Err(set_aside(
            UnreadReason::TestEvent,
            "a test of the output stream arrived and is authentic",
        )),
        Kind::Internal => Err(set_aside(
            UnreadReason::UnknownType,
            "Golioth's own services use the type among themselves, and its content is documented nowhere",
        )),
    }
}

fn set_aside(reason: UnreadReason, detail: &str) -> Misread {
    Unread::whole(reason, detail).into()
}

/// A body taken apart.
struct Event<'e, 'a> {
    reader: &'e Reader<'e>,
    envelope: &'e Envelope<'e>,
    object: &'e Object<'a>,
    /// Where the body says when it happened; Golioth's own time, unless the device sent one.
    time: Option<Micros>,
    /// Members that have found their place.
    taken: Vec<usize>,
}

impl<'e, 'a> Event<'e, 'a> {
    fn read(reader: &'e Reader<'e>, envelope: &'e Envelope<'e>, object: &'e Object<'a>) -> Self {
        let time = object.get("timestamp").and_then(instant);
        let taken = object.position("timestamp").filter(|_| time.is_some());
        Self {
            reader,
            envelope,
            object,
            time,
            taken: taken.into_iter().collect(),
        }
    }

    /// Remembers that this member has found its place.
    fn take(&mut self, name: &str) {
        self.taken.extend(self.object.position(name));
    }

    /// The first of these members that is a text, or a number.
    fn text(&mut self, names: &[&str]) -> Option<Cow<'a, str>> {
        let (name, text) = names
            .iter()
            .find_map(|name| Some((name, self.object.text_or_number(&[name])?)))?;
        self.take(name);
        Some(text)
    }

    fn device(&mut self) -> Result<ExternalId, Unread> {
        let device = self
            .text(&DEVICES)
            .ok_or_else(|| Unread::whole(UnreadReason::NoDevice, "the body has no device_id"))?;
        ExternalId::new(&device)
            .map_err(|_| Unread::whole(UnreadReason::InvalidDevice, "the body's device_id is malformed"))
    }

    /// What has no place of its own.
    fn rest(&self) -> Extra {
        let rest = self.object.without(|index, _| self.taken.contains(&index));
        rest.map(|rest| payload_extra(&rest)).unwrap_or_default()
    }

    /// The same, with what the envelope says beside it, for bodies that have no other place for that.
    fn rest_and_envelope(&self, device: &ExternalId) -> Extra {
        let mut extra = self.rest();
        let kept = self.envelope.kept(device.as_str()).0;
        let values = kept
            .into_iter()
            .filter_map(|(name, raw)| Some((name, raw.value().ok()?)));
        let values: serde_json::Map<_, _> = values.collect();
        if !values.is_empty() {
            extra.insert("extensions".to_owned(), Value::Object(values));
        }
        extra
    }

    fn says(&self, device: ExternalId, body: Body, claimant: Claimant) -> Statement {
        Statement {
            device: ProviderDevice::by_id(self.reader.integration(), device),
            body,
            source: self.envelope.source.clone().unwrap_or_default().into_owned(),
            sender_id: self.reader.sender_id(self.envelope),
            claimed: self.time.or(self.envelope.time),
            claimant,
            self_timed: false,
            position: 0,
        }
    }

    fn reading(mut self) -> Result<Statement, Misread> {
        let device = self.device()?;
        let data = self.object.get("data").ok_or_else(|| lacks("data"))?;
        self.take("data");
        let payload = Payload::Json(Cow::Borrowed(data.get()));
        let mut statement = golioth_pipelines::said(self.reader, self.envelope, device, "/", payload);
        if let Body::ReadingReceived(ReadingReceived { extra, .. }) = &mut statement.body {
            *extra = self.rest();
        }
        statement.claimed = self.time.or(self.envelope.time).or(statement.claimed);
        Ok(statement)
    }

    fn state(mut self, deleted: bool) -> Result<Statement, Misread> {
        let device = self.device()?;
        let path = self.object.any_text("path");
        if path.is_some() {
            self.take("path");
        }
        let value = match self.object.get("data") {
            // What a deleted path had is no observation, and stays with the rest.
            _ if deleted => None,
            Some(data) => Some(RawJson::parse(data.get()).map_err(|_| lacks("data"))?),
            None => return Err(lacks("data").into()),
        };
        if value.is_some() {
            self.take("data");
        }
        let path = path.unwrap_or_default();
        let body = StateObserved {
            path: format!("/{}", path.trim_matches('/')),
            value,
            deleted,
            extra: self.rest_and_envelope(&device),
        };
        Ok(self.says(device, Body::StateObserved(body), Claimant::Provider))
    }

    fn log(mut self) -> Result<Statement, Misread> {
        let device = self.device()?;
        let level = self.text(&["level"]).map(|level| named_level(&level));
        let module = self.object.any_text("module");
        if module.is_some() {
            self.take("module");
        }
        let message = self.object.any_text("message");
        if message.is_some() {
            self.take("message");
        }
        let metadata = self
            .object
            .get("metadata")
            .and_then(|metadata| RawJson::parse(metadata.get()).ok());
        if metadata.is_some() {
            self.take("metadata");
        }
        let entry = LogEntry {
            at: None,
            claimed_at: None,
            level,
            module: module.map(Cow::into_owned),
            message: message.unwrap_or_default().into_owned(),
            metadata,
        };
        let body = LogReceived {
            entries: vec![entry],
            device_name: None,
            extensions: self.envelope.kept(device.as_str()),
            extra: self.rest(),
        };
        Ok(self.says(device, Body::LogReceived(body), Claimant::Device))
    }

    fn firmware(mut self) -> Result<Statement, Misread> {
        let device = self.device()?;
        let Some(firmware::Report { body, .. }) = firmware::report(self.object, None) else {
            return Err(lacks("version, target, stateCode or reasonCode").into());
        };
        let named = |code: Option<i32>, names: &[&str]| {
            let code = usize::try_from(code?).ok()?;
            names.get(code).map(|name| (*name).to_owned())
        };
        let body = FirmwareReported {
            state: body.state.or_else(|| named(body.state_code, &STATES)),
            reason: body.reason.or_else(|| named(body.reason_code, &REASONS)),
            extra: self.rest_and_envelope(&device),
            ..body
        };
        Ok(self.says(device, Body::FirmwareReported(body), Claimant::Provider))
    }
}

fn lacks(member: &str) -> Unread {
    Unread::whole(UnreadReason::Incomplete, format!("the body has no {member}"))
}

/// A level by the name that stream logs give it; what is no level of the cloud's stays as it is.
fn named_level(level: &str) -> String {
    let number = level.parse::<usize>().ok();
    let known = number.and_then(|number| LEVELS.get(number)).copied();
    let known = known.or_else(|| LEVELS.into_iter().find(|name| name.eq_ignore_ascii_case(level)));
    known.unwrap_or(level).to_owned()
}

#[cfg(test)]
mod tests;
