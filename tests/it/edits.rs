//! What people decide here ends in the same rows, whatever the order in which it comes.

use std::time::Duration;

use schema::{
    DeviceId, Event, EventId, ExternalId, IntegrationId, Micros, OrganizationId, Origin, ProviderDevice,
    Serial, Subject,
};
use serde_json::{Value, json};
use stream::Appender;
use tests::{on_stack, told};
use uuid::Uuid;

use crate::ownership::rows_equal_the_log;

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
const INTEGRATION: IntegrationId = IntegrationId(Uuid::from_u128(2));
/// Few, so that much is said of each.
const DEVICES: u64 = 8;
const FIELDS: [&str; 4] = ["name", "notes", "metadata", "tag:blue"];

/// A sequence of numbers that is the same in every run (Knuth's linear congruential generator, MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn event(subject: Subject, name: &str, at: u64, said: &Value) -> Event {
    let instant = 1_767_225_600_000_000 + i64::try_from(at).expect("small") * 1_000_000;
    let at = Micros::from_micros(instant).expect("in range");
    let content = format!("{subject} {name} {at} {said}");
    Event {
        id: EventId(Uuid::new_v5(&Uuid::nil(), content.as_bytes())),
        organization: ORGANIZATION,
        integration: Some(INTEGRATION),
        origin: Origin::User,
        ..told(subject, at, tests::said(name, said))
    }
}

fn anything(numbers: &mut Numbers, edits: &mut Vec<(DeviceId, EventId, &'static str)>) -> Event {
    let serial = format!("S-{}", numbers.below(DEVICES));
    let device = DeviceId::of_serial(ORGANIZATION, &Serial::new(&serial).expect("a serial"));
    let at = numbers.below(40);
    let field = FIELDS[usize::try_from(numbers.below(4)).expect("small")];
    let value = match field {
        "tag:blue" => json!(numbers.below(2) == 0),
        "metadata" => json!({"v": numbers.below(3)}),
        _ if numbers.below(4) == 0 => Value::Null,
        _ => json!(format!("text {}", numbers.below(3))),
    };
    let said = json!({"serial": serial, "author": "ann"});
    match numbers.below(8) {
        0 => {
            let said = json!({"serial": serial, "author": "ann", "fields": {field: value}});
            event(Subject::Device(device), "device.registered", at, &said)
        }
        1..=3 => {
            let change = json!({"field": field, "value": value, "seen": {}, "strategy": "manual"});
            let said = json!({"serial": serial, "author": "ann", "changes": [change]});
            let edit = event(Subject::Device(device), "device.edited", at, &said);
            edits.push((device, edit.id, field));
            edit
        }
        4 if !edits.is_empty() => {
            let n = numbers.below(u64::try_from(edits.len()).expect("few"));
            let (device, edit, field) = edits[usize::try_from(n).expect("few")];
            let outcome = if numbers.below(2) == 0 {
                "accepted"
            } else {
                "rejected"
            };
            let said = json!({"edit": edit, "fields": [field], "outcome": outcome});
            event(Subject::Device(device), "edit.pushed", at, &said)
        }
        5 => event(Subject::Device(device), "device.retired", at, &said),
        6 => event(Subject::Device(device), "device.restored", at, &said),
        _ => {
            let id = ExternalId::new(&format!("id-{}", numbers.below(DEVICES))).expect("an id");
            let seen = json!({"name": serial, "metadata": value, "tags": [{"id": "blue"}]});
            let subject = Subject::ProviderDevice(ProviderDevice::by_id(INTEGRATION, id));
            event(subject, "provider-device.observed", at, &seen)
        }
    }
}

#[test]
fn edits_answers_and_retirements_end_in_the_rows_of_the_tests_own_fold() {
    on_stack(|stack| async move {
        let appender = Appender::connect(&stack.log, Duration::from_secs(10))
            .await
            .expect("the log");
        let (mut numbers, mut edits) = (Numbers(7), Vec::new());
        let said: Vec<Event> = (0..300).map(|_| anything(&mut numbers, &mut edits)).collect();
        // Two projectors with small batches, while half of it comes again in another order.
        let small: &[(&str, &str)] = &[("FLEETLOG_BATCH_RECORDS", "7")];
        let first = stack.role_with(&["projector"], small).await;
        let second = stack.role_with(&["projector"], small).await;
        for chunk in said.chunks(50) {
            appender.append_all(chunk).await.expect("appended");
        }
        let again: Vec<Event> = said.iter().rev().step_by(2).cloned().collect();
        appender.append_all(&again).await.expect("appended");
        rows_equal_the_log(&stack).await;
        first.stop().await.expect("it stops");
        second.stop().await.expect("it stops");
    });
}

#[test]
fn an_edit_under_another_name_links_whoever_has_the_name_that_the_device_comes_from() {
    on_stack(|stack| async move {
        let appender = Appender::connect(&stack.log, Duration::from_secs(10))
            .await
            .expect("the log");
        let named = |id: &str, name: &str, at: u64| {
            let id = ExternalId::new(id).expect("an id");
            let subject = Subject::ProviderDevice(ProviderDevice::by_id(INTEGRATION, id));
            event(subject, "provider-device.observed", at, &json!({"name": name}))
        };
        // Of twenty pairs: one comes from S, is called T when it is edited, and S again; the other takes the name S.
        let (mut before, mut edits) = (Vec::new(), Vec::new());
        for n in 0..20 {
            let (own, other) = (format!("S-{n}"), format!("T-{n}"));
            let (first, second) = (format!("first-{n}"), format!("second-{n}"));
            before.extend([
                named(&first, &own, 1),
                named(&first, &other, 2),
                named(&first, &own, 4),
            ]);
            before.extend([named(&second, &format!("U-{n}"), 1), named(&second, &own, 5)]);
            let device = DeviceId::of_serial(ORGANIZATION, &Serial::new(&own).expect("a serial"));
            let change = json!({"field": "notes", "value": "x", "seen": {}, "strategy": "manual"});
            let said = json!({"serial": other, "author": "ann", "changes": [change]});
            edits.push(event(Subject::Device(device), "device.edited", 3, &said));
        }
        let _projector = stack.projector().await;
        // The edits come last, whatever the partitions.
        appender.append_all(&before).await.expect("appended");
        rows_equal_the_log(&stack).await;
        appender.append_all(&edits).await.expect("appended");
        rows_equal_the_log(&stack).await;
        let rebuilt = stack.fleetlog_json(&["rebuild", "--json"]).await;
        assert_eq!(rebuilt["outcome"], "promoted", "{rebuilt}");
    });
}
