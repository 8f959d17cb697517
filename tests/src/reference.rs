//! A fold of our own, written from the definitions and sharing no rule with the projector: what the rows must be.
//!
//! It takes the whole set of events at once, so it cannot depend on order, repeats or batches.

mod registers;

use std::collections::{BTreeMap, BTreeSet};

use schema::{
    Body, ConnectionState, DeviceId, Event, EventId, KnownBy, Micros, OrganizationId, ProviderDevice,
    PushOutcome, Serial,
};
use sqlx::PgPool;
use stream::Position;

/// Facts and registers as one line of text each, so that a difference reads by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected(pub BTreeSet<String>);

type Key = (Micros, i64, EventId);
type Devices = BTreeMap<ProviderDevice, (OrganizationId, Device)>;

#[derive(Default)]
struct Device {
    names: Vec<(Key, Option<String>)>,
    first_names: Vec<(Micros, EventId, String)>,
    bound: Vec<(Key, DeviceId)>,
    gone: Vec<Key>,
    present: Vec<Key>,
    last_report: Option<Micros>,
}

impl Device {
    fn name(&self) -> Option<(Key, String)> {
        let (key, name) = self.names.iter().max_by_key(|(key, _)| *key)?;
        name.clone().map(|name| (*key, name))
    }

    fn live(&self) -> bool {
        let newest = |keys: &[Key]| keys.iter().max().copied();
        newest(&self.gone).is_none_or(|gone| newest(&self.present).is_some_and(|seen| seen > gone))
    }

    fn bound(&self) -> Option<DeviceId> {
        self.bound
            .iter()
            .max_by_key(|(key, _)| *key)
            .map(|(_, device)| *device)
    }

    fn reported(&mut self, at: Micros) {
        self.last_report = self.last_report.max(Some(at));
    }
}

impl Expected {
    /// What the rows must be after these events.
    pub fn of(log: &[(Position, Event)]) -> Self {
        let distinct = distinct(log);
        let mut lines = registers::expected(log, &distinct);
        let mut devices = Devices::new();
        let mut registered: BTreeSet<DeviceId> = BTreeSet::new();

        let mut ours: BTreeMap<DeviceId, Ours> = BTreeMap::new();

        for event in distinct {
            // That somebody is to be forgotten says nothing of them.
            if let Body::SubjectErased(_) = &event.body {
                continue;
            }
            if let Some(device) = event.subject.device() {
                if let Body::DeviceRegistered(_) | Body::DeviceEdited(_) = &event.body {
                    registered.insert(device);
                }
                said_here(&mut lines, ours.entry(device).or_default(), device, &event);
            }
            let Some(subject) = event.subject.provider_device() else {
                continue;
            };
            let (_, device) = devices
                .entry(subject.clone())
                .or_insert_with(|| (event.organization, Device::default()));
            if let KnownBy::Name(name) = &subject.known_by {
                heard_name(device, &event, Some(name.as_str()));
            }
            fold_one(&mut lines, device, subject, &event);
        }

        for (subject, (_, device)) in &devices {
            let uuid = subject.uuid();
            if let Some(at) = device.last_report {
                lines.insert(format!("last_report {uuid} {}", at.as_micros()));
            }
            let name = device.name().map_or("-".to_owned(), |(_, name)| name);
            lines.insert(format!("name {uuid} {name}"));
        }
        for (device, Ours { name, retired, .. }) in ours.iter().filter(|(_, ours)| ours.is_named) {
            let newest = |said: &[(Key, Option<String>)]| {
                let newest = said.iter().max_by_key(|(key, _)| *key);
                newest
                    .and_then(|(_, value)| value.clone())
                    .unwrap_or("-".to_owned())
            };
            lines.insert(format!("ours {device} {} {}", newest(name), newest(retired)));
        }
        let named_here = ours
            .iter()
            .filter(|(_, ours)| ours.is_named)
            .map(|(device, _)| *device);
        link(&mut lines, &devices, &registered, named_here.collect());
        Self(lines)
    }

    /// What the rows are, read from the truth tables of a generation by their owner. No row stands twice.
    pub async fn rows(pool: &PgPool, generation: &str) -> Self {
        let (rows, doubled) = Self::try_rows(pool, generation)
            .await
            .expect("the rows can be read");
        assert!(doubled.is_empty(), "no row stands twice: {doubled:#?}");
        rows
    }

    /// The same, with the rows that stand twice.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn try_rows(pool: &PgPool, generation: &str) -> sqlx::Result<(Self, Vec<String>)> {
        let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
        let (at, last_report_at) = (micros("at"), micros("last_report_at"));
        let queries = [
            format!(
                "SELECT format('reading %s %s %s %s %s', provider_device, path, {at}, sequence, id)
                 FROM {generation}.readings"
            ),
            format!(
                "SELECT format('log %s %s %s %s %s', provider_device, {at}, sequence, id, message)
                 FROM {generation}.logs"
            ),
            format!(
                "SELECT format('connection %s %s %s %s', provider_device, {at}, connected, session_id)
                 FROM {generation}.connections"
            ),
            format!(
                "SELECT format('firmware %s %s %s %s %s %s %s', provider_device, package, {at}, version, target,
                               state, reason)
                 FROM {generation}.firmware_reports"
            ),
            format!(
                "SELECT format('last_report %s %s', provider_device, {last_report_at})
                 FROM {generation}.activity WHERE last_report_at IS NOT NULL"
            ),
            format!("SELECT format('name %s %s', id, coalesce(name, '-')) FROM {generation}.provider_devices"),
            format!("SELECT format('link %s %s', provider_device, device) FROM {generation}.links"),
            format!("SELECT format('device %s', id) FROM {generation}.devices"),
            format!(
                "SELECT format('ours %s %s %s', id, coalesce(name, '-'), coalesce({}::text, '-'))
                 FROM {generation}.devices d WHERE EXISTS (SELECT FROM {generation}.local_facts f WHERE f.device = d.id)",
                micros("retired_at")
            ),
            format!("SELECT format('edit %s %s %s %s', device, field, {at}, id) FROM {generation}.field_edits"),
            format!(
                "SELECT format('answer %s %s %s %s', device, edit, field, outcome) FROM {generation}.edit_answers"
            ),
        ];
        let (mut lines, mut doubled) = (BTreeSet::new(), Vec::new());
        let mut found = registers::found(pool, generation).await?;
        for query in queries {
            let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .fetch_all(pool)
                .await?;
            found.extend(rows);
        }
        for row in found {
            if !lines.insert(row.clone()) {
                doubled.push(row);
            }
        }
        Ok((Self(lines), doubled))
    }

    /// Says the first lines that only one of the two has.
    ///
    /// # Errors
    /// They differ.
    pub fn differences(&self, other: &Self) -> Result<(), String> {
        if self == other {
            return Ok(());
        }
        let some = |these: &Self, those: &Self| -> Vec<String> {
            these.0.difference(&those.0).take(8).cloned().collect()
        };
        Err(format!(
            "{} lines expected, {} found; missing {:#?}; too many {:#?}",
            self.0.len(),
            other.0.len(),
            some(self, other),
            some(other, self)
        ))
    }
}

/// One event an id. Of copies that are timed by their receipt the least counts.
fn distinct(log: &[(Position, Event)]) -> Vec<Event> {
    let mut events: BTreeMap<EventId, Event> = BTreeMap::new();
    for (_, event) in log {
        let held = events.entry(event.id).or_insert_with(|| event.clone());
        if event.receipt_timed && event.at < held.at {
            held.at = event.at;
        }
        held.recorded_at = held.recorded_at.min(event.recorded_at);
    }
    events.into_values().collect()
}

/// What people said of a device of ours.
#[derive(Default)]
struct Ours {
    /// Some event named its serial.
    is_named: bool,
    name: Vec<(Key, Option<String>)>,
    retired: Vec<(Key, Option<String>)>,
    answers: BTreeMap<(EventId, String), Key>,
}

fn said_here(lines: &mut BTreeSet<String>, ours: &mut Ours, device: DeviceId, event: &Event) {
    let key = (event.at, event.sequence, event.id);
    let mut edited = |field: &str, value: &schema::RawJson| {
        lines.insert(format!(
            "edit {device} {field} {} {}",
            event.at.as_micros(),
            event.id
        ));
        if field == "name" {
            ours.name.push((key, serde_json::from_str(value.get()).ok()));
        }
    };
    ours.is_named |= !matches!(event.body, Body::EditPushed(_));
    if let Body::DeviceRegistered(body) = &event.body {
        for (field, value) in &body.fields.0 {
            edited(field, value);
        }
    } else if let Body::DeviceEdited(body) = &event.body {
        for change in &body.changes {
            edited(&change.field, &change.value);
        }
    } else if let Body::DeviceRetired(_) = &event.body {
        ours.retired.push((key, Some(event.at.as_micros().to_string())));
    } else if let Body::DeviceRestored(_) = &event.body {
        ours.retired.push((key, None));
    } else if let Body::EditPushed(body) = &event.body {
        for field in &body.fields {
            let newest = ours.answers.entry((body.edit, field.clone())).or_insert(key);
            if *newest > key {
                continue;
            }
            *newest = key;
            let line = |outcome| format!("answer {device} {} {field} {outcome}", body.edit);
            lines.remove(&line("accepted"));
            lines.remove(&line("rejected"));
            lines.insert(line(match body.outcome {
                PushOutcome::Accepted => "accepted",
                PushOutcome::Rejected => "rejected",
            }));
        }
    }
}

fn heard_name(device: &mut Device, event: &Event, name: Option<&str>) {
    let Some(serial) = name.and_then(|name| Serial::new(name).ok()) else {
        return;
    };
    device
        .names
        .push(((event.at, event.sequence, event.id), Some(serial.to_string())));
    device
        .first_names
        .push((event.recorded_at, event.id, serial.to_string()));
}

fn fold_one(lines: &mut BTreeSet<String>, device: &mut Device, subject: &ProviderDevice, event: &Event) {
    let uuid = subject.uuid();
    let key = (event.at, event.sequence, event.id);
    let mut present = true;
    if let Body::ReadingReceived(body) = &event.body {
        for (sequence, reading) in (event.sequence..).zip(&body.readings) {
            let at = reading.at.unwrap_or(event.at);
            lines.insert(format!(
                "reading {uuid} {} {} {sequence} {}",
                body.path,
                at.as_micros(),
                event.id
            ));
            device.reported(at);
            device.present.push((at, sequence, event.id));
        }
        heard_name(device, event, body.device_name.as_deref());
    } else if let Body::LogReceived(body) = &event.body {
        for (sequence, entry) in (event.sequence..).zip(&body.entries) {
            let at = entry.at.unwrap_or(event.at);
            lines.insert(format!(
                "log {uuid} {} {sequence} {} {}",
                at.as_micros(),
                event.id,
                entry.message
            ));
            device.reported(at);
            device.present.push((at, sequence, event.id));
        }
        heard_name(device, event, body.device_name.as_deref());
    } else if let Body::ProviderDeviceObserved(body) = &event.body {
        match &body.name {
            None => {}
            Some(None) => device.names.push((key, None)),
            Some(Some(name)) => heard_name(device, event, Some(name)),
        }
    } else if let Body::ProviderDeviceDisappeared(_) = &event.body {
        present = false;
        device.gone.push(key);
    } else if let Body::ActivityObserved(body) = &event.body {
        if let Some(Some(at)) = body.last_report {
            device.reported(at);
        }
        if let Some(Some(at)) = body.session_established_at {
            lines.insert(format!("connection {uuid} {} t ", at.as_micros()));
        }
    } else if let Body::ConnectionChanged(body) = &event.body {
        present = body.state == ConnectionState::Connected;
        let flag = if present { "t" } else { "f" };
        let session = body.session_id.as_deref().unwrap_or_default();
        lines.insert(format!(
            "connection {uuid} {} {flag} {session}",
            event.at.as_micros()
        ));
        heard_name(device, event, body.device_name.as_deref());
    } else if let Body::FirmwareReported(body) = &event.body {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        lines.insert(format!(
            "firmware {uuid} {} {} {} {} {} {}",
            body.package,
            event.at.as_micros(),
            text(&body.version),
            text(&body.target),
            text(&body.state),
            text(&body.reason)
        ));
        device.reported(event.at);
        heard_name(device, event, body.device_name.as_deref());
    } else if let Body::StateObserved(_) = &event.body {
        device.reported(event.at);
    } else if let Body::ProviderDeviceBound(body) = &event.body {
        device.bound.push((key, body.device));
    }
    if present {
        device.present.push(key);
    }
}

fn link(
    lines: &mut BTreeSet<String>,
    devices: &Devices,
    registered: &BTreeSet<DeviceId>,
    mut existing: BTreeSet<DeviceId>,
) {
    let mut found: BTreeMap<&ProviderDevice, DeviceId> = BTreeMap::new();
    for (subject, (organization, device)) in devices {
        let KnownBy::Id(_) = &subject.known_by else {
            continue;
        };
        let of_name = |name: &str| {
            DeviceId::of_serial(
                *organization,
                &Serial::new(name).expect("names were checked when heard"),
            )
        };
        let current = device
            .name()
            .map(|(_, name)| of_name(&name))
            .filter(|id| registered.contains(id));
        let first = device.first_names.iter().min().map(|(_, _, name)| of_name(name));
        if let Some(id) = device.bound().or(current).or(first) {
            found.insert(subject, id);
        }
    }
    for (subject, (organization, device)) in devices {
        let KnownBy::Name(name) = &subject.known_by else {
            continue;
        };
        let namesake = devices
            .iter()
            .filter(|(other, (_, device))| {
                other.integration == subject.integration
                    && matches!(other.known_by, KnownBy::Id(_))
                    && device.live()
                    && device.name().is_some_and(|(_, held)| held == name.as_str())
            })
            .max_by_key(|(_, (_, device))| device.name().map(|(key, _)| key))
            .and_then(|(other, _)| found.get(other).copied());
        let of_its_own = DeviceId::of_serial(*organization, name);
        found.insert(subject, device.bound().or(namesake).unwrap_or(of_its_own));
    }

    for (subject, device) in found {
        lines.insert(format!("link {} {device}", subject.uuid()));
        existing.insert(device);
    }
    lines.extend(existing.iter().map(|device| format!("device {device}")));
}
