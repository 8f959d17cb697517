//! What was known at a moment is what the events of then make, and nothing else.

use proptest::{collection::vec, prelude::*};
use schema::{Body, DeviceId, Event, ProviderDevice, arbitrary::World};
use serde_json::json;

use super::{by_id, edits, event, instant, laws, named, receipt_timed, received, registered};
use crate::fold::{
    Tables,
    as_of::{AsOf, Moment, View},
    rows::ReportedBy,
    whole,
};

/// The facts that tables keep, folded again as of a moment.
fn folded_again(tables: &Tables, moment: Moment) -> Tables {
    let truth = &tables.truth;
    let device = |key| truth.provider_devices.get(key).map(|row| row.device.clone());
    let mut as_of = AsOf::new(moment);
    // Newest ids first: their order is no matter.
    for ((key, id), fact) in truth.registry.iter().rev() {
        as_of.registry(&device(key).unwrap(), *id, fact);
    }
    for (key, row) in &truth.logs {
        as_of.heard(&device(&key.device).unwrap(), key.key, &row.said, ReportedBy::Log);
    }
    for (key, row) in truth.readings.iter().rev() {
        as_of.heard(
            &device(&key.device).unwrap(),
            key.key,
            &row.said,
            ReportedBy::Reading,
        );
    }
    for ((device, id), fact) in truth.local.iter().rev() {
        as_of.local(*device, *id, fact);
    }
    as_of.tables()
}

fn folded(events: &[Event]) -> Tables {
    whole(events.iter().map(|event| (0, event)))
}

/// Every device of either, as both have it.
fn same(one: &Tables, other: &Tables) -> Result<(), TestCaseError> {
    let devices: Vec<DeviceId> = one.devices.keys().chain(other.devices.keys()).copied().collect();
    for device in devices {
        prop_assert_eq!(View::of(one, device), View::of(other, device));
    }
    Ok(())
}

/// Registers of readings that a checkpoint tells are in no fact.
fn is_fact(event: &Event) -> bool {
    !matches!(event.body, Body::CheckpointTaken(_))
}

fn is_reading(event: &Event) -> bool {
    matches!(event.body, Body::ReadingReceived(_) | Body::LogReceived(_))
}

/// What people say has its own time, so that copies do not differ in it.
fn has_one_time(event: &Event) -> bool {
    !event.receipt_timed || event.subject.provider_device().is_some()
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let events = prop_oneof![
        laws::copies(laws::any_said(), 24).prop_map(|log| log.into_iter().map(|(_, event)| event).collect()),
        vec(World::small().event().prop_filter("a fact", is_fact), 0..40),
    ];
    events.prop_map(|mut events| {
        events.retain(has_one_time);
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn as_of_the_end_is_what_is_shown_now(events in any_events()) {
        let tables = folded(&events);
        same(&folded_again(&tables, Moment::END), &tables)?;
    }

    #[test]
    fn what_we_knew_by_then_is_the_fold_of_what_we_had_been_told(events in any_events(), by in 0..8_i64) {
        let moment = Moment { known_by: instant(by), ..Moment::END };
        let told: Vec<_> = events.iter().filter(|event| event.recorded_at <= moment.known_by).cloned().collect();
        same(&folded_again(&folded(&events), moment), &folded(&told))?;
    }

    #[test]
    fn what_was_true_then_is_the_fold_of_what_had_happened(events in any_events(), at in 0..8_i64) {
        // Of one reading or log event a part may have happened later than the rest.
        let events: Vec<_> = events.into_iter().filter(|event| !is_reading(event)).collect();
        let moment = Moment { at: instant(at), ..Moment::END };
        let happened: Vec<_> = events.iter().filter(|event| event.at <= moment.at).cloned().collect();
        same(&folded_again(&folded(&events), moment), &folded(&happened))?;
    }

    #[test]
    fn before_anything_nothing_is_known(events in any_events()) {
        let early = schema::Micros::MIN;
        let tables = folded(&events);
        for moment in [Moment { known_by: early, ..Moment::END }, Moment { at: early, ..Moment::END }] {
            prop_assert_eq!(folded_again(&tables, moment), Tables::default());
        }
    }
}

fn view(events: &[Event], at: i64, known_by: i64) -> Option<View> {
    let moment = Moment {
        at: instant(at),
        known_by: instant(known_by),
    };
    View::of(&folded_again(&folded(events), moment), edits::device())
}

fn side() -> ProviderDevice {
    by_id("1")
}

#[test]
fn what_happened_early_and_was_told_late_was_true_before_it_was_known() {
    let late = received(edits::edit(5, "notes", &json!("wet"), None, "manual"), 20);
    let events = [registered("A", 1), late];
    let notes = |at, known_by| {
        view(&events, at, known_by)?
            .fields
            .remove("notes")?
            .value
            .map(|value| value.text)
    };
    assert_eq!(notes(10, 10), None, "it had happened, and nobody had told");
    assert_eq!(notes(4, 30), None, "it had not happened");
    assert_eq!(notes(10, 30).as_deref(), Some(r#""wet""#));
}

#[test]
fn links_names_and_firmware_are_those_of_then() {
    let report = |version: &str, at| {
        event(
            &side(),
            "firmware.reported",
            at,
            &json!({"package": "main", "version": version, "target": "3"}),
        )
    };
    let events = [
        named(&side(), 1, "A"),
        registered("A", 2),
        report("1", 3),
        report("", 5),
        named(&side(), 7, "B"),
        report("2", 8),
    ];
    let then = view(&events, 6, 99).unwrap();
    assert_eq!(then.device.serial, "A");
    assert_eq!(then.linked.len(), 1);
    let firmware = then.firmware.get("main").unwrap();
    assert_eq!(firmware.version, Some((instant(3), "1".to_owned())));
    assert_eq!(firmware.newest.0, instant(5));
    let now = view(&events, 99, 99).unwrap();
    assert_eq!(
        now.device.serial, "B",
        "the device keeps its id and shows the new name"
    );
    assert_eq!(view(&events, 0, 99), None);
}

#[test]
fn a_copy_of_a_receipt_timed_event_that_came_earlier_counts_from_then() {
    let said = receipt_timed(event(
        &side(),
        "provider-device.observed",
        9,
        &json!({"name": "A"}),
    ));
    let events = [received(said.clone(), 9), received(said, 4)];
    assert!(view(&events, 5, 5).is_some());
    assert!(view(&events, 3, 99).is_none());
}
