//! Platform events: `device.created` and its like, in the three shapes seen in the field: `device{…}`,
//! `data{deviceId, …}`, and flat.
//!
//! Statements come in an order: first what the event is named after, which also keeps the payload, then what else
//! the payload shows of the device.

pub(super) mod firmware;
mod registry;
mod said;

use std::borrow::Cow;

use schema::{Body, ConnectionState, Micros};
use serde_json::value::RawValue;
use strum::EnumString;

use self::said::Said;
use super::{Misread, Reader, Signed, Statement, device};
use crate::{
    envelope::Envelope,
    payload::{Object, instant},
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(ascii_case_insensitive)]
pub(super) enum Occurrence {
    #[strum(serialize = "device.created")]
    Created,
    #[strum(serialize = "device.updated")]
    Updated,
    #[strum(serialize = "device.deleted")]
    Deleted,
    #[strum(serialize = "device.status_changed")]
    StatusChanged,
    #[strum(serialize = "device.online")]
    Online,
    #[strum(serialize = "device.offline")]
    Offline,
    #[strum(serialize = "device.telemetry")]
    Telemetry,
    #[strum(serialize = "device.data")]
    Data,
}

/// Where payloads say what happened.
const KINDS: [&str; 3] = ["event", "event_type", "type"];
const IDS: [&str; 2] = ["deviceId", "device_id"];
const NAMES: [&str; 2] = ["deviceName", "device_name"];
const TIMES: [&str; 4] = ["timestamp", "time", "occurred_at", "occurredAt"];
const LAST_SEEN: [&str; 4] = ["lastSeen", "last_seen", "lastReport", "last_report"];
pub(super) const PROJECTS: [&str; 3] = ["project_id", "projectId", "project"];
const STATUSES: [&str; 2] = ["status", "state"];

/// What happened, if the object is a platform event.
pub(super) fn occurrence(object: &Object<'_>) -> Option<Occurrence> {
    KINDS.iter().find_map(|name| object.text(&[name])?.parse().ok())
}

/// What an object that is no platform event calls what happened.
pub(super) fn named<'a>(object: &Object<'a>) -> Option<Cow<'a, str>> {
    object.text(&KINDS)
}

/// A payload taken apart.
struct Shown<'a> {
    /// `device{…}`.
    device: Option<Object<'a>>,
    /// `data{…}`.
    data: Option<Object<'a>>,
    /// The payload itself.
    top: &'a Object<'a>,
    id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
}

impl<'a> Shown<'a> {
    fn read(payload: &'a Object<'a>, is_reading: bool) -> Self {
        let mut shown = Self {
            device: payload.object("device"),
            data: payload.object("data"),
            top: payload,
            id: None,
            name: None,
        };
        shown.id = shown.identity(&IDS, "id", is_reading);
        shown.name = shown.identity(&NAMES, "name", is_reading);
        shown
    }

    /// The device's id or name, under a name that can mean nothing else or, where that is safe, under a plain one.
    fn identity(&self, explicit: &[&str], plain: &str, is_reading: bool) -> Option<Cow<'a, str>> {
        let device = self.device.as_ref();
        let data = self.data.as_ref();
        // What a device measures may have an id or a name of its own.
        let plain_data = data.filter(|_| !is_reading);
        // Beside `device{…}`, an id or name of the payload is the event's.
        let plain_top = Some(self.top).filter(|_| device.is_none());
        let text = |layer: Option<&Object<'a>>, names: &[&str]| layer?.text_or_number(names);
        text(device, explicit)
            .or_else(|| text(device, &[plain]))
            .or_else(|| text(data, explicit))
            .or_else(|| text(Some(self.top), explicit))
            .or_else(|| text(plain_data, &[plain]))
            .or_else(|| text(plain_top, &[plain]))
    }

    /// From the inside out: what stands further in says it more exactly.
    fn layers(&self) -> impl Iterator<Item = &Object<'a>> {
        self.device.iter().chain(&self.data).chain([self.top])
    }

    /// The first of these members.
    fn get(&self, names: &[&str]) -> Option<&'a RawValue> {
        self.layers()
            .find_map(|layer| names.iter().find_map(|name| layer.get(name)))
    }

    /// The first of these members that is a text.
    fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        self.layers().find_map(|layer| layer.text(names))
    }

    /// The first of these members that is an instant.
    fn instant(&self, names: &[&str]) -> Option<Micros> {
        self.layers()
            .find_map(|layer| names.iter().find_map(|name| layer.get(name).and_then(instant)))
    }

    /// The first of these members that is an object.
    fn object(&self, name: &str) -> Option<Object<'a>> {
        self.layers().find_map(|layer| layer.object(name))
    }
}

/// What headers may repeat of a payload.
pub(super) fn signed<'a>(object: &'a Object<'a>) -> Signed<'a> {
    let is_reading = occurrence(object).is_some_and(Occurrence::is_reading);
    let shown = Shown::read(object, is_reading);
    Signed {
        subject: shown.text(&PROJECTS),
        kind: named(object),
        sources: [shown.id, shown.name],
    }
}

impl Occurrence {
    fn is_reading(self) -> bool {
        matches!(self, Self::Telemetry | Self::Data)
    }
}

/// What a payload says.
pub(super) fn statements(
    reader: &Reader<'_>,
    envelope: &Envelope<'_>,
    occurrence: Occurrence,
    payload: &Object<'_>,
) -> Result<Vec<Statement>, Misread> {
    let shown = Shown::read(payload, occurrence.is_reading());
    let projects: Vec<_> = shown
        .layers()
        .flat_map(|layer| layer.all_named(&PROJECTS))
        .collect();
    let projects: Vec<_> = projects.iter().map(|project| Some(&**project)).collect();
    reader.check_project(&projects, false)?;
    let device = device(reader.integration(), shown.id.as_deref(), shown.name.as_deref())?;

    let mut said = Said::new(reader, envelope, &shown, device);
    match occurrence {
        Occurrence::Created | Occurrence::Updated | Occurrence::StatusChanged => {
            let mut observed = registry::observed(&shown);
            observed.extra = said.take_extra();
            let status = observed.status.clone().flatten();
            said.add(Body::ProviderDeviceObserved(observed));
            said.add_activity();
            if let Some(state) = status.as_deref().and_then(connection_state) {
                said.add_connection(state);
            }
        }
        Occurrence::Deleted => said.add_disappearance(),
        Occurrence::Online | Occurrence::Offline => {
            let is_online = occurrence == Occurrence::Online;
            said.add_connection(if is_online {
                ConnectionState::Connected
            } else {
                ConnectionState::Disconnected
            });
            said.add_activity();
            said.add_name();
        }
        Occurrence::Telemetry | Occurrence::Data => said.add_reading(occurrence),
    }
    // Of a device that is gone, nothing else is news: it would only bring it back.
    if occurrence != Occurrence::Deleted {
        said.add_firmware();
    }
    Ok(said.statements)
}

/// The connection that a status means, if it means one.
fn connection_state(status: &str) -> Option<ConnectionState> {
    if ["online", "connected"]
        .iter()
        .any(|word| status.eq_ignore_ascii_case(word))
    {
        Some(ConnectionState::Connected)
    } else if ["offline", "disconnected"]
        .iter()
        .any(|word| status.eq_ignore_ascii_case(word))
    {
        Some(ConnectionState::Disconnected)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
