//! What is kept beside histories and links: the newest of everything, who was heard when, and the values themselves.

use std::collections::{BTreeMap, BTreeSet};

use schema::{Body, ConnectionState, Event, Micros, Origin, ProviderDeviceObserved};
use serde_json::{Value, json};
use sqlx::PgPool;
use stream::Position;
use uuid::Uuid;

use super::Key;

/// Shapes that are kept of a path.
const MOST_SHAPES: usize = 32;

/// What the rows must be, a line each; `distinct` holds one event an id.
pub(super) fn expected(log: &[(Position, Event)], distinct: &[Event]) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    listening(&mut lines, log);
    let mut newest = Newest::default();
    for event in distinct {
        if let Body::SubjectErased(_) = &event.body {
            continue;
        }
        if let Some(device) = event.subject.device() {
            let (at, recorded_at) = (event.at.as_micros(), event.recorded_at.as_micros());
            let name = event.body.name();
            lines.insert(format!("local {device} {} {name} {at} {recorded_at}", event.id));
            values(&mut lines, device.0, event);
        }
        if let Some(subject) = event.subject.provider_device() {
            about(&mut lines, &mut newest, subject.uuid(), event);
        }
    }
    newest.tell(&mut lines);
    lines
}

/// What they are.
pub(super) async fn found(pool: &PgPool, generation: &str) -> sqlx::Result<Vec<String>> {
    let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
    let (at, recorded_at) = (micros("at"), micros("recorded_at"));
    let register = |what: &str, table: &str, of: &str| {
        let at = micros(&format!("{what}_at"));
        format!(
            "SELECT format('{what} %s %s %s', {of}, {at}, {what}_id), NULL::text
               FROM {generation}.{table} WHERE {what}_at IS NOT NULL"
        )
    };
    let queries = [
        register("connected", "activity", "provider_device"),
        register("disconnected", "activity", "provider_device"),
        register("gone", "provider_devices", "id"),
        register("seen", "provider_devices", "id"),
        format!(
            "SELECT format('listening %s %s %s', integration, partition, {}), NULL::text
               FROM {generation}.listening WHERE last_push_at IS NOT NULL",
            micros("last_push_at")
        ),
        format!(
            "SELECT format('receipt %s %s %s', provider_device, id, {at}), NULL::text
               FROM {generation}.receipt_timed"
        ),
        format!(
            "SELECT format('fact %s %s %s %s %s %s', provider_device, id, name, {at}, sequence, {recorded_at}), NULL::text
               FROM {generation}.registry_facts"
        ),
        format!(
            "SELECT format('local %s %s %s %s %s', device, id, name, {at}, {recorded_at}), NULL::text
               FROM {generation}.local_facts"
        ),
        format!(
            "SELECT format('field %s %s %s %s %s', provider_device, field, {at}, sequence, id), value::text
               FROM {generation}.field_registers"
        ),
        format!("SELECT format('value %s %s %s', device, field, id), value::text FROM {generation}.field_edits"),
        format!(
            "SELECT format('latest %s %s %s %s %s', provider_device, path, {at}, sequence, id),
                    coalesce(data::text, 'null')
               FROM {generation}.readings_latest"
        ),
        format!(
            "SELECT format('measured %s %s %s', id, sequence, {recorded_at}), coalesce(data::text, 'null')
               FROM {generation}.readings"
        ),
    ];
    let mut lines = Vec::new();
    for query in queries {
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_all(pool).await?;
        lines.extend(rows.into_iter().map(|(line, value)| match value {
            Some(value) => format!("{line} {}", sorted(&value)),
            None => line,
        }));
    }
    Ok(lines)
}

/// JSON as text that is the same for equal values.
fn sorted(text: &str) -> String {
    fn write(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let fields: BTreeMap<_, _> = fields.iter().collect();
                let fields = fields
                    .into_iter()
                    .map(|(key, field)| format!("{key:?}:{}", write(field)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(",")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        }
    }
    write(&serde_json::from_str(text).expect("JSON"))
}

/// When each integration was last pushed from, whichever copy it was.
fn listening(lines: &mut BTreeSet<String>, log: &[(Position, Event)]) {
    let mut heard: BTreeMap<(Uuid, i32), Micros> = BTreeMap::new();
    for (position, event) in log {
        if let (Origin::Push, Some(integration)) = (event.origin, event.integration) {
            let newest = heard
                .entry((integration.0, position.partition))
                .or_insert(event.recorded_at);
            *newest = event.recorded_at.max(*newest);
        }
    }
    let line = |((integration, partition), at): (_, Micros)| {
        format!("listening {integration} {partition} {}", at.as_micros())
    };
    lines.extend(heard.into_iter().map(line));
}

/// What people said, field by field.
fn values(lines: &mut BTreeSet<String>, device: Uuid, event: &Event) {
    let mut line = |field: &str, value: &str| {
        lines.insert(format!("value {device} {field} {} {}", event.id, sorted(value)));
    };
    if let Body::DeviceRegistered(body) = &event.body {
        for (field, value) in &body.fields.0 {
            line(field, value.get());
        }
    } else if let Body::DeviceEdited(body) = &event.body {
        for change in &body.changes {
            line(&change.field, change.value.get());
        }
    }
}

/// The newest reading of each shape.
type Shapes = BTreeMap<BTreeSet<String>, (Key, String)>;

/// The newest of each kind, by provider device.
#[derive(Default)]
struct Newest {
    registers: BTreeMap<(&'static str, Uuid), Key>,
    fields: BTreeMap<(Uuid, String), (Key, String)>,
    latest: BTreeMap<(Uuid, String), Shapes>,
}

impl Newest {
    fn register(&mut self, kind: &'static str, device: Uuid, key: Key) {
        let held = self.registers.entry((kind, device)).or_insert(key);
        *held = key.max(*held);
    }

    fn field(&mut self, device: Uuid, field: &str, key: Key, value: String) {
        let held = self.fields.entry((device, field.to_owned()));
        let held = held.or_insert_with(|| (key, value.clone()));
        if held.0 < key {
            *held = (key, value);
        }
    }

    fn latest(&mut self, device: Uuid, path: &str, shape: BTreeSet<String>, reading: (Key, String)) {
        let shapes = self.latest.entry((device, path.to_owned())).or_default();
        let held = shapes.entry(shape).or_insert_with(|| reading.clone());
        if held.0 < reading.0 {
            *held = reading;
        }
    }

    fn tell(self, lines: &mut BTreeSet<String>) {
        for ((kind, device), (at, _, id)) in self.registers {
            lines.insert(format!("{kind} {device} {} {id}", at.as_micros()));
        }
        for ((device, field), ((at, sequence, id), value)) in self.fields {
            let at = at.as_micros();
            lines.insert(format!("field {device} {field} {at} {sequence} {id} {value}"));
        }
        for ((device, path), shapes) in self.latest {
            let mut shapes: Vec<_> = shapes.into_values().collect();
            shapes.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
            for ((at, sequence, id), value) in shapes.into_iter().take(MOST_SHAPES) {
                let at = at.as_micros();
                lines.insert(format!("latest {device} {path} {at} {sequence} {id} {value}"));
            }
        }
    }
}

fn about(lines: &mut BTreeSet<String>, newest: &mut Newest, device: Uuid, event: &Event) {
    let key = (event.at, event.sequence, event.id);
    let (at, recorded_at) = (event.at.as_micros(), event.recorded_at.as_micros());
    if event.receipt_timed {
        lines.insert(format!("receipt {device} {} {at}", event.id));
    }
    if let Body::ReadingReceived(body) = &event.body {
        for (sequence, reading) in (event.sequence..).zip(&body.readings) {
            let value = reading.data.as_ref().map_or("null", |data| data.get());
            let text = sorted(value);
            let key = (reading.at.unwrap_or(event.at), sequence, event.id);
            let shape = reading.data.as_ref().map_or_else(no_shape, |_| shape(value));
            newest.latest(device, &body.path, shape, (key, text.clone()));
            lines.insert(format!("measured {} {sequence} {recorded_at} {text}", event.id));
        }
        return;
    }
    if let Body::LogReceived(_) = &event.body {
        return;
    }
    let (name, sequence) = (event.body.name(), event.sequence);
    lines.insert(format!(
        "fact {device} {} {name} {at} {sequence} {recorded_at}",
        event.id
    ));
    let mut is_evidence = true;
    if let Body::ProviderDeviceObserved(body) = &event.body {
        observed(newest, device, key, body);
    } else if let Body::ProviderDeviceDisappeared(_) = &event.body {
        is_evidence = false;
        newest.register("gone", device, key);
    } else if let Body::ActivityObserved(body) = &event.body {
        if let Some(Some(at)) = body.session_established_at {
            newest.register("connected", device, (at, event.sequence, event.id));
        }
    } else if let Body::ConnectionChanged(body) = &event.body {
        is_evidence = body.state == ConnectionState::Connected;
        let kind = if is_evidence { "connected" } else { "disconnected" };
        newest.register(kind, device, key);
    }
    if is_evidence {
        newest.register("seen", device, key);
    }
}

fn observed(newest: &mut Newest, device: Uuid, key: Key, body: &ProviderDeviceObserved) {
    let said = serde_json::to_value(body).expect("an observation is JSON");
    for field in [
        "enabled",
        "status",
        "hardware_ids",
        "tags",
        "cohort",
        "blueprint",
        "metadata",
    ] {
        if let Some(value) = said.get(field) {
            newest.field(device, field, key, sorted(&value.to_string()));
        }
    }
    for tag in &body.tags_added {
        let mut added = json!({"present": true});
        if let Some(name) = &tag.name {
            added["name"] = name.as_str().into();
        }
        let value = sorted(&added.to_string());
        newest.field(device, &format!("tag:{}", tag.id), key, value);
    }
    for id in &body.tags_removed {
        let value = sorted(r#"{"present": false}"#);
        newest.field(device, &format!("tag:{id}"), key, value);
    }
}

/// The shape of what is not JSON.
fn no_shape() -> BTreeSet<String> {
    BTreeSet::from(["bytes".to_owned()])
}

/// Which leaves a payload has: scalars and what is empty; elements of arrays are all alike.
fn shape(text: &str) -> BTreeSet<String> {
    fn collect(value: &Value, place: &str, leaves: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, field) in fields {
                    collect(field, &format!("{place}/{key:?}"), leaves);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    collect(item, &format!("{place}/*"), leaves);
                }
            }
            Value::Array(_) => _ = leaves.insert(format!("{place}/*")),
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                leaves.insert(place.to_owned());
            }
        }
    }
    let mut leaves = BTreeSet::new();
    collect(&serde_json::from_str(text).expect("JSON"), "", &mut leaves);
    leaves
}
