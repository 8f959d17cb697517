//! How what a simulated device says is written as a delivery.
//!
//! What devices send themselves goes in the device's tongue. What only a cloud knows (created, connected, firmware)
//! are platform events, in the shape its cloud prefers.

use control::SchemeKind;
use schema::Micros;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::machine::{Identity, Report, Said};
use crate::dialect::{self, Envelope, Payload, Shape, Written};

/// How the deliveries of one device are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Habit {
    /// For what the device sends.
    pub(crate) tongue: Tongue,
    /// For platform events.
    pub(crate) shape: Shape,
}

/// The dialect of what a device sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// Golioth Pipelines, JSON.
    PipelinesJson,
    /// Golioth Pipelines, CBOR as the device sent it.
    PipelinesCbor,
    /// Golioth Pipelines behind `inject-metadata`.
    Injected,
    /// The same without headers, as a relay signs it.
    InjectedBare,
    /// Structured `CloudEvents`.
    Structured,
    /// Platform events.
    Platform,
}

impl Tongue {
    /// Whether device logs have a place in it: they are stream data on the path `/logs`.
    pub(crate) fn carries_logs(self) -> bool {
        match self {
            Self::PipelinesJson | Self::PipelinesCbor | Self::Injected | Self::Structured => true,
            // Without headers there is no path.
            Self::InjectedBare | Self::Platform => false,
        }
    }
}

impl Habit {
    /// The habit of a device: the `nth` behind a door of this scheme, and the `number`th of all.
    ///
    /// Each door hears every dialect that its scheme can prove, each with every shape.
    pub(crate) fn of(scheme: SchemeKind, nth: u32, number: u32) -> Self {
        let tongues: &[Tongue] = match scheme {
            SchemeKind::SharedSecret => &[
                Tongue::PipelinesJson,
                Tongue::PipelinesCbor,
                Tongue::Injected,
                Tongue::Structured,
            ],
            // Headers are not signed, so the body says everything.
            SchemeKind::HmacSha256 | SchemeKind::TimestampedHmac | SchemeKind::StandardWebhooks => {
                &[Tongue::Platform, Tongue::Structured, Tongue::InjectedBare]
            }
        };
        let pick = |of: u32, n: usize| usize::try_from(of).unwrap_or_default() % n;
        Self {
            tongue: tongues[pick(nth, tongues.len())],
            shape: [Shape::Device, Shape::Data, Shape::Flat][pick(nth / 3 + number, 3)],
        }
    }
}

/// The parts of a telling that are not the device's.
pub(crate) struct Occasion<'a> {
    /// The Golioth project that the door is bound to.
    pub(crate) project: Option<&'a str>,
    /// When it happened.
    pub(crate) at: Micros,
    /// When the device was heard before.
    pub(crate) heard_at: Option<Micros>,
    /// The delivery's id.
    pub(crate) id: Uuid,
}

/// Writes what is said of a device.
pub(crate) fn write(identity: &Identity, habit: Habit, occasion: &Occasion<'_>, said: &Said) -> Written {
    let envelope = Envelope {
        device_id: Some(identity.id.clone()),
        device_name: Some(identity.name.clone()),
        project: occasion.project.map(str::to_owned),
        time: Some(occasion.at),
        id: Some(occasion.id.to_string()),
    };
    match said {
        Said::Measured(value) => stream(&envelope, habit, "/sensor", value),
        Said::Status(value) => stream(&envelope, habit, "/status", value),
        Said::Log {
            level,
            module,
            message,
        } => {
            let entry = json!({ "level": level, "module": module, "msg": message });
            stream(&envelope, habit, "/logs", &entry)
        }
        Said::Created => cloud(&envelope, habit, "device.created", created(identity, habit)),
        Said::Online => {
            let (name, fields) = online(habit);
            cloud(&envelope, habit, name, fields)
        }
        Said::Offline => {
            let fields = offline(habit, occasion.heard_at);
            cloud(&envelope, habit, "device.offline", fields)
        }
        Said::Firmware(report) => {
            let fields = firmware(identity, habit, report, occasion.at);
            cloud(&envelope, habit, "device.updated", fields)
        }
        Said::Renamed(name) => {
            let renamed = Envelope {
                device_name: Some(name.clone()),
                ..envelope
            };
            cloud(&renamed, habit, "device.updated", Map::new())
        }
        Said::Changed(n) => {
            let mut metadata = metadata(identity);
            metadata["revision"] = (*n).into();
            let fields = fields(json!({ "metadata": metadata }));
            cloud(&envelope, habit, "device.updated", fields)
        }
    }
}

fn stream(envelope: &Envelope, habit: Habit, path: &str, value: &Value) -> Written {
    let json = || Payload::Json(value.clone());
    match habit.tongue {
        Tongue::PipelinesJson => dialect::pipelines(envelope, path, &json()),
        Tongue::PipelinesCbor => dialect::pipelines(envelope, path, &Payload::cbor(value)),
        Tongue::Injected => dialect::injected(envelope, Some(path), value),
        Tongue::InjectedBare => dialect::injected(envelope, None, value),
        Tongue::Structured => dialect::structured(envelope, path, &json()),
        Tongue::Platform => {
            let mut envelope = envelope.clone();
            if habit.shape == Shape::Flat {
                // A machine heard through two doors: the cloud knows it by id, what it sends only by name.
                envelope.device_id = None;
            }
            let fields = fields(json!({ "telemetry": telemetry(value, envelope.time) }));
            dialect::platform(&envelope, habit.shape, "device.telemetry", fields)
        }
    }
}

fn cloud(envelope: &Envelope, habit: Habit, name: &str, fields: Map<String, Value>) -> Written {
    dialect::platform(envelope, habit.shape, name, fields)
}

/// One sensor's value in the form that was captured in the field; what is no single value as it is.
fn telemetry(value: &Value, at: Option<Micros>) -> Value {
    let timestamp = at.map(|at| at.to_string());
    match value.get("temp") {
        Some(degrees) => {
            json!({ "type": 2, "units": 3, "value": degrees, "sensor": "SHT40", "timestamp": timestamp })
        }
        None => value.clone(),
    }
}

fn created(identity: &Identity, habit: Habit) -> Map<String, Value> {
    let metadata = metadata(identity);
    fields(match habit.shape {
        Shape::Device | Shape::Data => json!({
            "hardwareIds": [identity.hardware_id],
            "cohortId": identity.cohort,
            "metadata": metadata,
        }),
        Shape::Flat => json!({
            "hardware_ids": [identity.hardware_id],
            "cohort_id": identity.cohort,
            "metadata": metadata,
        }),
    })
}

fn metadata(identity: &Identity) -> Value {
    json!({ "site": identity.site, "simulated": true })
}

fn online(habit: Habit) -> (&'static str, Map<String, Value>) {
    match habit.shape {
        Shape::Device | Shape::Data => ("device.online", fields(json!({ "status": "online" }))),
        Shape::Flat => (
            "device.status_changed",
            fields(json!({ "status": "online", "previous_status": "offline" })),
        ),
    }
}

fn offline(habit: Habit, heard_at: Option<Micros>) -> Map<String, Value> {
    let mut said = fields(json!({ "status": "offline" }));
    if let Some(heard_at) = heard_at {
        let key = match habit.shape {
            Shape::Device | Shape::Data => "lastSeen",
            Shape::Flat => "last_seen",
        };
        said.insert(key.to_owned(), heard_at.to_string().into());
    }
    said
}

fn firmware(identity: &Identity, habit: Habit, report: &Report, at: Micros) -> Map<String, Value> {
    let Report {
        version,
        target,
        state,
        reason,
    } = report;
    match habit.shape {
        // As Golioth's devices carry it: codes are text, and the rest of the metadata is there as well.
        Shape::Device => {
            let mut metadata = metadata(identity);
            metadata["update"] = json!({ "main": {
                "package": "main", "version": version, "target": target,
                "state": state.0, "stateCode": state.1.to_string(),
                "reason": reason.0, "reasonCode": reason.1.to_string(), "time": at.to_string(),
            } });
            fields(json!({ "metadata": metadata }))
        }
        Shape::Data | Shape::Flat => fields(json!({ "firmware": {
            "package": "main", "version": version, "target": target, "state": state.0, "reason": reason.0,
        } })),
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_hears_every_dialect_in_every_shape() {
        for n_doors in [1, 2, 3, 4] {
            let heard = |scheme| {
                let habits = (0..72).map(|nth| Habit::of(scheme, nth, nth * n_doors));
                let mut habits: Vec<_> = habits.map(|habit| format!("{habit:?}")).collect();
                habits.sort();
                habits.dedup();
                habits.len()
            };
            assert_eq!(heard(SchemeKind::SharedSecret), 12, "{n_doors} doors");
            assert_eq!(heard(SchemeKind::HmacSha256), 9, "{n_doors} doors");
        }
    }
}
