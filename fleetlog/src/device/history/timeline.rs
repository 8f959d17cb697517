//! What was told of a device, as changes: each fact beside what was so before it.

use std::collections::{BTreeMap, VecDeque};

use schema::{Body, ConnectionState, DeviceEdited, IntegrationId, Micros, ProviderDeviceObserved};
use serde::Serialize;
use serde_json::{Value, json};

use crate::device::facts::Fact;

/// A fact, and what it changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Entry {
    /// When it happened.
    pub(super) at: Micros,
    /// When we were first told.
    pub(super) recorded_at: Micros,
    /// The event's name.
    pub(super) name: String,
    pub(super) event: schema::EventId,
    /// Of whom; none for what people say of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) provider_device: Option<String>,
    /// The integration that heard it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) integration: Option<IntegrationId>,
    /// The person who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// None: it said nothing new.
    pub(super) changes: Vec<Change>,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// Facts as changes, the newest so many.
pub(super) struct Timeline {
    /// Only changes of this field.
    field: Option<String>,
    limit: usize,
    entries: VecDeque<Entry>,
    n_left_out: u64,
    /// What was last said of each field, and by whom.
    said: BTreeMap<(Option<String>, String), Value>,
}

impl Timeline {
    pub(super) fn new(field: Option<String>, limit: usize) -> Self {
        Self {
            field,
            limit,
            entries: VecDeque::new(),
            n_left_out: 0,
            said: BTreeMap::new(),
        }
    }

    /// Takes the next fact; facts come in their order, the oldest first.
    pub(super) fn take(&mut self, fact: &Fact) {
        let (said, reason) = match fact.decoded() {
            Some(body) => (said(&body), reason(&body)),
            None => (Vec::new(), None),
        };
        let provider_device = fact.provider_device.as_ref().map(ToString::to_string);
        let mut changes = Vec::new();
        for Said { field, value, before } in said {
            let held = self
                .said
                .insert((provider_device.clone(), field.clone()), value.clone());
            let before = before.or(held).unwrap_or_default();
            if before != value {
                changes.push(Change {
                    field,
                    before,
                    after: value,
                });
            }
        }
        if let Some(wanted) = &self.field {
            changes.retain(|change| change.field == *wanted);
            if changes.is_empty() {
                return;
            }
        }
        self.entries.push_back(Entry {
            at: fact.key.at,
            recorded_at: fact.recorded_at,
            name: fact.name.clone(),
            event: fact.key.id,
            provider_device,
            integration: fact.integration,
            author: fact.author.clone(),
            reason,
            changes,
        });
        if self.entries.len() > self.limit {
            self.entries.pop_front();
            self.n_left_out += 1;
        }
    }

    /// How many older ones were left out.
    pub(super) fn n_left_out(&self) -> u64 {
        self.n_left_out
    }

    /// The newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }
}

/// What a fact says of one field; `before` where it says that too.
struct Said {
    field: String,
    value: Value,
    before: Option<Value>,
}

impl Said {
    fn new(field: impl Into<String>, value: Value) -> Self {
        Self {
            field: field.into(),
            value,
            before: None,
        }
    }

    /// Something that happened rather than a value that lasts.
    fn happened(field: &str, value: Value) -> Self {
        Self {
            before: Some(Value::Null),
            ..Self::new(field, value)
        }
    }
}

fn said(body: &Body) -> Vec<Said> {
    match body {
        Body::ProviderDeviceObserved(body) => observed(body),
        Body::ProviderDeviceDisappeared(body) => vec![Said::happened("gone", json!(body.how))],
        Body::ActivityObserved(body) => {
            let report = body.last_report.map(|at| Said::new("last_report", json!(at)));
            let session = body
                .session_established_at
                .map(|at| Said::new("session_established", json!(at)));
            report.into_iter().chain(session).collect()
        }
        Body::ConnectionChanged(body) => {
            let connected = body.state == ConnectionState::Connected;
            let mut what = vec![if connected { "connected" } else { "disconnected" }.to_owned()];
            what.extend(body.session_id.iter().map(|session| format!("session {session}")));
            what.extend(body.reason.clone());
            vec![Said::happened("connection", json!(what.join(", ")))]
        }
        Body::FirmwareReported(body) => {
            let says = |name: &str, text: &Option<String>| {
                let text = text.as_deref().filter(|text| !text.is_empty())?;
                Some(format!("{name}{text}"))
            };
            let parts = [
                says("", &body.version),
                says("to ", &body.target),
                says("", &body.state),
                says("", &body.reason),
            ];
            let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
            vec![Said::new(format!("firmware {}", body.package), json!(text))]
        }
        Body::StateObserved(body) => {
            let value = body.value.as_ref().and_then(|value| value.value().ok());
            vec![Said::new(
                format!("state {}", body.path),
                value.unwrap_or_default(),
            )]
        }
        Body::SettingsObserved(body) => {
            let status = body
                .status
                .as_ref()
                .map(|status| Said::new("settings", json!(status)));
            let version = body
                .reported_version
                .as_ref()
                .map(|version| Said::new("settings_version", json!(version)));
            status.into_iter().chain(version).collect()
        }
        Body::ProviderDeviceBound(body) => vec![Said {
            before: body.seen_device.map(|device| json!(device)),
            ..Said::new("device", json!(body.device))
        }],
        Body::DeviceRegistered(body) => {
            let fields = body.fields.0.iter();
            let fields = fields.map(|(field, value)| Said::new(field, value.value().unwrap_or_default()));
            std::iter::once(Said::new("serial", json!(body.serial)))
                .chain(fields)
                .collect()
        }
        Body::DeviceEdited(body) => edited(body),
        Body::DeviceRetired(_) => vec![Said::new("retired", json!(true))],
        Body::DeviceRestored(_) => vec![Said::new("retired", json!(false))],
        Body::EditPushed(body) => {
            let answer = body.answer.as_ref().and_then(|answer| answer.value().ok());
            let outcome = match answer {
                Some(answer) => json!({ "outcome": body.outcome, "answer": answer }),
                None => json!(body.outcome),
            };
            let push = |field: &String| Said::happened(&format!("push of {field}"), outcome.clone());
            body.fields.iter().map(push).collect()
        }
        Body::ReadingReceived(_)
        | Body::LogReceived(_)
        | Body::DeploymentRequested(_)
        | Body::DeploymentSettled(_)
        | Body::SyncStarted(_)
        | Body::SyncCompleted(_)
        | Body::IntegrationChanged(_)
        | Body::SubjectErased(_)
        | Body::LogOpened(_)
        | Body::CheckpointTaken(_)
        | Body::CheckpointCompleted(_)
        | Body::HorizonAdvanced(_)
        | Body::Unknown { .. } => Vec::new(),
    }
}

fn observed(body: &ProviderDeviceObserved) -> Vec<Said> {
    let mut said = Vec::new();
    let mut say = |field: &str, value: Option<Value>| said.extend(value.map(|value| Said::new(field, value)));
    say("serial", body.name.as_ref().map(|name| json!(name)));
    say("enabled", body.enabled.map(|enabled| json!(enabled)));
    say("status", body.status.as_ref().map(|status| json!(status)));
    say("hardware_ids", body.hardware_ids.as_ref().map(|ids| json!(ids)));
    say("tags", body.tags.as_ref().map(|tags| json!(tags)));
    say("cohort", body.cohort.as_ref().map(|cohort| json!(cohort)));
    say(
        "blueprint",
        body.blueprint.as_ref().map(|blueprint| json!(blueprint)),
    );
    let metadata = body.metadata.as_ref();
    say(
        "metadata",
        metadata.map(|value| {
            value
                .as_ref()
                .and_then(|value| value.value().ok())
                .unwrap_or_default()
        }),
    );
    for tag in &body.tags_added {
        say(&format!("tag:{}", tag.id), Some(json!(true)));
    }
    for id in &body.tags_removed {
        say(&format!("tag:{id}"), Some(json!(false)));
    }
    said
}

/// What an edit replaces is the edit before it, else what its author saw of the cloud.
fn edited(body: &DeviceEdited) -> Vec<Said> {
    let mut said: Vec<_> = body
        .changes
        .iter()
        .map(|change| {
            let seen = change.seen.remote.as_ref().filter(|_| change.seen.edit.is_none());
            Said {
                before: seen.and_then(|seen| seen.value().ok()),
                ..Said::new(&change.field, change.value.value().unwrap_or_default())
            }
        })
        .collect();
    if !body.resolves.is_empty() {
        said.push(Said::happened("decided", json!(body.resolves)));
    }
    said
}

fn reason(body: &Body) -> Option<String> {
    if let Body::DeviceRegistered(body) = body {
        body.reason.clone()
    } else if let Body::DeviceEdited(body) = body {
        body.reason.clone()
    } else if let Body::DeviceRetired(body) = body {
        body.reason.clone()
    } else if let Body::DeviceRestored(body) = body {
        body.reason.clone()
    } else if let Body::ProviderDeviceBound(body) = body {
        body.reason.clone()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use schema::{DeviceId, EventId, OrderKey, OrganizationId, ProviderDevice};
    use uuid::Uuid;

    use super::*;

    fn fact(at: i64, name: &str, body: &Value) -> Fact {
        let at = Micros::from_micros(at).unwrap();
        let of_cloud = name.starts_with("provider") || name.starts_with("connection");
        let provider_device: ProviderDevice = format!("{}/id:x", Uuid::from_u128(1)).parse().unwrap();
        Fact {
            key: OrderKey {
                at,
                sequence: 0,
                id: EventId(Uuid::from_u128(7)),
            },
            recorded_at: at,
            name: name.to_owned(),
            organization: OrganizationId(Uuid::from_u128(2)),
            device: Some(DeviceId(Uuid::from_u128(3))),
            integration: of_cloud.then_some(provider_device.integration),
            provider_device: of_cloud.then_some(provider_device),
            origin: None,
            author: body.get("author").and_then(Value::as_str).map(str::to_owned),
            body: body.to_string(),
        }
    }

    fn timeline(field: Option<&str>, limit: usize) -> Vec<String> {
        let mut timeline = Timeline::new(field.map(str::to_owned), limit);
        let change = json!({"field": "metadata", "value": {"a": 3}, "seen": {"remote": {"a": 2}}, "strategy": "manual"});
        for fact in [
            fact(
                1,
                "provider-device.observed",
                &json!({"name": "S", "metadata": {"a": 1}, "enabled": true}),
            ),
            fact(
                2,
                "provider-device.observed",
                &json!({"name": "S", "metadata": {"a": 1}, "enabled": true}),
            ),
            fact(3, "provider-device.observed", &json!({"metadata": {"a": 2}})),
            fact(
                4,
                "device.edited",
                &json!({"serial": "S", "author": "ann", "changes": [change], "resolves": ["c"]}),
            ),
            fact(
                5,
                "connection.changed",
                &json!({"state": "disconnected", "evidence": "reported", "session_id": "9"}),
            ),
        ] {
            timeline.take(&fact);
        }
        assert_eq!(timeline.n_left_out() > 0, limit < 5 && field.is_none());
        let entry = |entry: &Entry| {
            let changes = entry
                .changes
                .iter()
                .map(|change| format!("{} {}>{}", change.field, change.before, change.after));
            format!(
                "{} {}: {}",
                entry.at.as_micros(),
                entry.author.as_deref().unwrap_or("cloud"),
                changes.collect::<Vec<_>>().join("; ")
            )
        };
        timeline.newest_first().map(entry).collect()
    }

    #[test]
    fn facts_are_told_as_changes_the_newest_first() {
        assert_eq!(
            timeline(None, 9),
            [
                "5 cloud: connection null>\"disconnected, session 9\"".to_owned(),
                "4 ann: metadata {\"a\":2}>{\"a\":3}; decided null>[\"c\"]".to_owned(),
                "3 cloud: metadata {\"a\":1}>{\"a\":2}".to_owned(),
                "2 cloud: ".to_owned(),
                "1 cloud: serial null>\"S\"; enabled null>true; metadata null>{\"a\":1}".to_owned(),
            ]
        );
    }

    #[test]
    fn of_one_field_only_its_changes_are_told() {
        assert_eq!(timeline(Some("metadata"), 9).len(), 3);
        assert_eq!(timeline(Some("enabled"), 9).len(), 1);
        assert_eq!(timeline(None, 2).len(), 2);
    }
}
