//! The laws of the fold: any order, any repeats, any batches end in the same tables.

mod as_of;
mod checkpoint;
mod edits;
mod explain;
mod laws;
mod model;
mod replay;
mod rules;
mod store;

use schema::{
    Body, Event, EventId, ExternalId, IntegrationId, Micros, OrganizationId, Origin, ProviderDevice, Serial,
    Subject,
};
use serde_json::{Value, json};
use uuid::Uuid;

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
const INTEGRATION: IntegrationId = IntegrationId(Uuid::from_u128(2));

/// 2026-01-01T00:00:00Z and so many seconds.
fn instant(seconds: i64) -> Micros {
    Micros::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).unwrap()
}

fn by_id(id: &str) -> ProviderDevice {
    ProviderDevice::by_id(INTEGRATION, ExternalId::new(id).unwrap())
}

fn by_name(name: &str) -> ProviderDevice {
    ProviderDevice::by_name(INTEGRATION, serial(name))
}

fn serial(name: &str) -> Serial {
    Serial::new(name).unwrap()
}

/// An event whose id covers its content, as those of producers do.
fn event(device: &ProviderDevice, name: &str, at: i64, data: &Value) -> Event {
    event_of(Subject::ProviderDevice(device.clone()), name, at, data)
}

fn event_of(subject: Subject, name: &str, at: i64, data: &Value) -> Event {
    let content = format!("{subject} {name} {at} {data}");
    Event {
        id: EventId(Uuid::new_v5(&Uuid::nil(), content.as_bytes())),
        subject,
        at: instant(at),
        sequence: 0,
        recorded_at: instant(at),
        claimed_at: None,
        receipt_timed: false,
        organization: ORGANIZATION,
        integration: Some(INTEGRATION),
        origin: Origin::Push,
        credential: None,
        replayable: false,
        traceparent: None,
        source: String::new(),
        extensions: std::collections::BTreeMap::default(),
        body: Body::decode(name, data.to_string().as_bytes()).unwrap().unwrap(),
    }
}

fn reading(device: &ProviderDevice, at: i64, data: &Value) -> Event {
    let data = json!({ "path": "/s", "readings": [{ "data": data }] });
    event(device, "reading.received", at, &data)
}

fn named(device: &ProviderDevice, at: i64, name: &str) -> Event {
    event(device, "provider-device.observed", at, &json!({ "name": name }))
}

fn registered(name: &str, at: i64) -> Event {
    let device = schema::DeviceId::of_serial(ORGANIZATION, &serial(name));
    let data = json!({ "serial": name, "fields": { "name": format!("our {name}") }, "author": "ann" });
    event_of(Subject::Device(device), "device.registered", at, &data)
}

/// A copy that was received at another time; with it a receipt-timed event's `at`.
fn received(mut event: Event, at: i64) -> Event {
    event.recorded_at = instant(at);
    if event.receipt_timed {
        event.at = event.recorded_at;
    }
    event
}

fn receipt_timed(mut event: Event) -> Event {
    // Its `at` is no part of its identity.
    let content = format!("{} {:?}", event.subject, event.body);
    event.id = EventId(Uuid::new_v5(&Uuid::max(), content.as_bytes()));
    event.receipt_timed = true;
    event
}
