//! What one payload says, statement by statement.

use std::{borrow::Cow, ptr};

use schema::{
    ActivityObserved, Body, Claimant, ConnectionChanged, ConnectionState, Disappearance, Evidence, Extra,
    Fields, Micros, ProviderDevice, ProviderDeviceDisappeared, ReadingReceived, Serial, believe,
};
use serde_json::Value;

use super::{LAST_SEEN, Occurrence, Shown, TIMES, firmware};
use crate::{
    dialect::{Reader, Statement, inject_metadata::payload_extra},
    envelope::Envelope,
    payload::{Object, Payload, Readings, instant},
};

/// Collects statements of one payload.
pub(super) struct Said<'s, 'a> {
    shown: &'s Shown<'a>,
    template: Statement,
    received: Micros,
    content_type: Option<String>,
    time_field: Option<&'s str>,
    extensions: Fields,
    /// What the first statement keeps, so that nothing is lost that has no place of its own.
    extra: Extra,
    pub(super) statements: Vec<Statement>,
}

impl<'s, 'a> Said<'s, 'a> {
    pub(super) fn new(
        reader: &'s Reader<'_>,
        envelope: &Envelope<'_>,
        shown: &'s Shown<'a>,
        device: ProviderDevice,
    ) -> Self {
        let own_id = shown.top.text_or_number(&["event_id", "eventId"]);
        let own_id = own_id.filter(|_| envelope.id.is_none()).map(Cow::into_owned);
        let template = Statement {
            device,
            body: Body::ActivityObserved(ActivityObserved::default()),
            source: envelope.source.clone().unwrap_or_default().into_owned(),
            sender_id: own_id.or_else(|| reader.sender_id(envelope)),
            claimed: envelope.time.or_else(|| shown.instant(&TIMES)),
            claimant: Claimant::Provider,
            self_timed: false,
            position: 0,
        };
        let extensions = envelope.kept("");
        let mut extra = shown.top.without(|_, _| false).map(|whole| payload_extra(&whole));
        if !extensions.0.is_empty() {
            let values = extensions.0.iter();
            let values = values.filter_map(|(name, raw)| Some((name.clone(), raw.value().ok()?)));
            let values = Value::Object(values.collect());
            extra
                .get_or_insert_default()
                .insert("extensions".to_owned(), values);
        }
        Self {
            shown,
            template,
            received: reader.received(),
            content_type: envelope.content_type.clone().map(Cow::into_owned),
            time_field: reader.time_field(),
            extensions,
            extra: extra.unwrap_or_default(),
            statements: Vec::new(),
        }
    }

    pub(super) fn take_extra(&mut self) -> Extra {
        std::mem::take(&mut self.extra)
    }

    fn name(&self) -> Option<String> {
        self.shown.name.clone().map(Cow::into_owned)
    }

    pub(super) fn add(&mut self, body: Body) {
        self.add_at(body, self.template.claimed, Claimant::Provider);
    }

    fn add_at(&mut self, body: Body, claimed: Option<Micros>, claimant: Claimant) {
        let position = u32::try_from(self.statements.len()).unwrap_or(u32::MAX);
        self.statements.push(Statement {
            body,
            claimed,
            claimant,
            position,
            ..self.template.clone()
        });
    }

    pub(super) fn add_disappearance(&mut self) {
        let body = ProviderDeviceDisappeared {
            how: Disappearance::Reported,
            name: self.name(),
            extra: self.take_extra(),
        };
        self.add(Body::ProviderDeviceDisappeared(body));
    }

    pub(super) fn add_connection(&mut self, state: ConnectionState) {
        let text = |names: &[&str]| self.shown.text(names).map(Cow::into_owned);
        let body = ConnectionChanged {
            state,
            session_id: text(&["session_id", "sessionId"]),
            reason: text(&["reason"]),
            evidence: Evidence::Reported,
            device_name: self.name(),
            extra: self.take_extra(),
        };
        self.add(Body::ConnectionChanged(body));
    }

    /// The provider's last report is a statement about that instant, however old it is.
    pub(super) fn add_activity(&mut self) {
        let metadata = self.shown.object("metadata");
        let in_metadata = || {
            LAST_SEEN
                .iter()
                .find_map(|name| metadata.as_ref()?.get(name).and_then(instant))
        };
        let Some(last_report) = self.shown.instant(&LAST_SEEN).or_else(in_metadata) else {
            return;
        };
        // A report from the future was one until now.
        let believed = believe(Some(last_report), Claimant::Provider, self.received).at;
        let body = ActivityObserved {
            last_report: Some(Some(believed)),
            ..ActivityObserved::default()
        };
        self.add_at(
            Body::ActivityObserved(body),
            Some(last_report),
            Claimant::Provider,
        );
    }

    /// A name beside an id is the serial number of that id.
    pub(super) fn add_name(&mut self) {
        if let (Some(_), Some(name)) = (&self.shown.id, self.name()) {
            let body = schema::ProviderDeviceObserved {
                name: Some(Some(name)),
                ..Default::default()
            };
            self.add(Body::ProviderDeviceObserved(body));
        }
    }

    pub(super) fn add_reading(&mut self, occurrence: Occurrence) {
        let top = self.shown.top;
        let telemetry = self.shown.get(&["telemetry"]);
        let data = telemetry.or_else(|| top.get("data"));
        // What the reading holds byte for byte is not kept twice.
        let kept = |name: &str| {
            let is_kept = top
                .get(name)
                .zip(data)
                .is_some_and(|(value, data)| ptr::eq(value, data));
            top.position(name).filter(|_| is_kept)
        };
        let kept = [kept("telemetry"), kept("data")];
        let rest = data.and_then(|_| top.without(|index, _| kept.contains(&Some(index))));
        let whole = || top.without(|_, _| false).unwrap_or_else(|| "{}".to_owned());
        let text = data.map_or_else(|| Cow::Owned(whole()), |data| Cow::Borrowed(data.get()));

        let object = Object::parse(&text);
        let own_time = TIMES
            .iter()
            .find_map(|name| object.as_ref()?.get(name).and_then(instant));
        let read = Readings::read(
            Payload::Json(Cow::Borrowed(&text)),
            self.time_field,
            self.received,
        );
        let claimed = own_time.or(read.single_time()).or(self.template.claimed);
        let default_path = if occurrence == Occurrence::Telemetry {
            "/telemetry"
        } else {
            "/data"
        };
        let path = self.shown.text(&["path"]).filter(|path| path.starts_with('/'));
        let body = ReadingReceived {
            path: path.unwrap_or(Cow::Borrowed(default_path)).into_owned(),
            content_type: self.content_type.take(),
            device_name: self.name().or(read.device_name),
            readings: read.all,
            extensions: std::mem::take(&mut self.extensions),
            extra: rest.map(|rest| payload_extra(&rest)).unwrap_or_default(),
        };
        self.extra = Extra::new();
        self.template.self_timed = read.all_timed;
        self.add_at(Body::ReadingReceived(body), claimed, Claimant::Device);
        self.template.self_timed = false;
    }

    pub(super) fn add_firmware(&mut self) {
        // What is no name is kept once, with the payload, and not beside every package.
        let name = self.name().filter(|name| Serial::new(name).is_ok());
        for firmware::Report { mut body, time } in firmware::reports(self.shown) {
            body.device_name.clone_from(&name);
            self.add_at(
                Body::FirmwareReported(body),
                time.or(self.template.claimed),
                Claimant::Provider,
            );
        }
    }
}
