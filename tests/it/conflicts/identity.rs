//! Doubts about which device is which, and deciding them.

use serde_json::{Value, json};
use tests::{Stack, on_stack};

use super::told::World;

async fn pending(stack: &Stack) -> Vec<Value> {
    stack
        .rows("SELECT * FROM fleet.conflicts ORDER BY kind, serial")
        .await
}

/// The one pending conflict, which is of this kind.
async fn only(stack: &Stack, kind: &str) -> (String, Value) {
    let rows = pending(stack).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["kind"], kind, "{rows:?}");
    (
        rows[0]["conflict"].as_str().expect("an id").to_owned(),
        rows[0].clone(),
    )
}

async fn decide(stack: &Stack, args: &[&str]) {
    let args = [&["conflicts", "resolve", "--note", "looked at it"], args].concat();
    stack.fleetlog(&args).await;
}

async fn linked(stack: &Stack, serial: &str) -> Vec<usize> {
    let rows = stack
        .rows(&format!(
            "SELECT jsonb_array_length(provider_devices) AS n FROM fleet.devices WHERE serial = '{serial}' ORDER BY 1"
        ))
        .await;
    let n = rows.iter().filter_map(|row| row["n"].as_u64());
    n.filter_map(|n| usize::try_from(n).ok()).collect()
}

#[test]
fn two_machines_under_one_serial_number_are_told_apart_or_said_to_be_one() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        let named = json!({"name": "SN-1"});
        world
            .tell(&[world.observed("one", 0, &named), world.observed("two", 5, &named)])
            .await;
        assert_eq!(linked(&stack, "SN-1").await, [2]);
        let (conflict, row) = only(&stack, "two_provider_devices").await;
        assert_eq!(row["device"], world.device("SN-1").to_string());

        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "resolve", &conflict, "--create-duplicate"])
            .await;
        assert_eq!(code, 2, "{errors}");
        assert!(
            errors.contains("--provider-device") && errors.contains("id:two"),
            "{errors}"
        );
        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "resolve", &conflict, "--keep-local"])
            .await;
        assert_eq!(code, 4, "{errors}");

        let two = world.provider_device("two").to_string();
        decide(
            &stack,
            &[&conflict, "--create-duplicate", "--provider-device", &two],
        )
        .await;
        assert_eq!(
            linked(&stack, "SN-1").await,
            [1, 1],
            "two devices show one serial number, on purpose"
        );
        assert!(pending(&stack).await.is_empty());
        let history = stack.rows("SELECT * FROM fleet.conflict_history").await;
        assert_eq!(history.len(), 1, "{history:?}");
        assert_eq!(
            [
                &history[0]["conflict"],
                &history[0]["decision"],
                &history[0]["reason"],
                &history[0]["value"]
            ],
            [
                &json!(conflict),
                &json!("create_duplicate"),
                &json!("looked at it"),
                &json!(two)
            ]
        );

        // A third one is in doubt again, and turns out to be the first one's second module.
        world.tell(&[world.observed("three", 50, &named)]).await;
        let (third, _) = only(&stack, "two_provider_devices").await;
        assert_ne!(third, conflict);
        decide(&stack, &[&third, "--same-device"]).await;
        assert!(pending(&stack).await.is_empty());
        assert_eq!(linked(&stack, "SN-1").await, [1, 2]);
        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "resolve", &third, "--same-device"])
            .await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains("decided already"), "{errors}");
    });
}

#[test]
fn a_rename_between_two_devices_that_people_registered_waits_for_a_person() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        world
            .tell(&[
                world.registered("OLD", 0),
                world.registered("NEW", 1),
                world.observed("p", 10, &json!({"name": "OLD"})),
                world.observed("p", 20, &json!({"name": "NEW"})),
            ])
            .await;
        let (conflict, row) = only(&stack, "two_names").await;
        assert_eq!(row["serial"], "NEW");
        assert_eq!(row["device"], world.device("NEW").to_string());
        let old = world.device("OLD").to_string();
        let shown = stack.fleetlog(&["conflicts", "show", &conflict]).await;
        let names_both = [("OLD", &old), ("NEW", &world.device("NEW").to_string())]
            .iter()
            .all(|(serial, id)| shown.contains(&format!("{id}  {serial}")));
        assert!(names_both && shown.contains("--to"), "{shown}");
        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "list", "--device", "NOBODY"])
            .await;
        assert_eq!((code, errors.contains("no device NOBODY")), (3, true), "{errors}");
        decide(&stack, &[&conflict, "--same-device", "--to", &old]).await;
        assert!(pending(&stack).await.is_empty());
        let bound = stack
            .rows("SELECT device, linked_via FROM fleet.provider_devices")
            .await;
        assert_eq!(bound, [json!({"device": old, "linked_via": "bound"})]);
        // The cloud goes on saying the name: what a person said stays.
        world
            .tell(&[world.observed("p", 3_700, &json!({"name": "NEW"}))])
            .await;
        assert!(pending(&stack).await.iter().all(|row| row["kind"] != "two_names"));
    });
}

#[test]
fn a_device_that_people_know_and_that_comes_back_waits_for_a_person() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        world
            .tell(&[
                world.registered("KNOWN", 0),
                world.observed("known", 5, &json!({"name": "KNOWN"})),
                world.observed("stranger", 5, &json!({"name": "STRANGER"})),
            ])
            .await;
        world
            .tell(&[world.gone("known", 10), world.gone("stranger", 10)])
            .await;
        assert!(pending(&stack).await.is_empty());
        let back = |id| world.observed(id, 20, &json!({"status": "back"}));
        world.tell(&[back("known"), back("stranger")]).await;
        let (conflict, row) = only(&stack, "reappeared").await;
        assert_eq!(row["serial"], "KNOWN");
        // It goes on being seen: it is the same conflict, opened when it came back.
        world
            .tell(&[world.observed("known", 30, &json!({"status": "fine"}))])
            .await;
        let (again, later) = only(&stack, "reappeared").await;
        assert_eq!(
            (again, &later["opened_at"]),
            (conflict.clone(), &row["opened_at"])
        );

        decide(&stack, &[&conflict, "--same-device"]).await;
        assert!(pending(&stack).await.is_empty());
        world.tell(&[world.gone("known", 3_700)]).await;
        world
            .tell(&[world.observed("known", 3_710, &json!({"status": "back"}))])
            .await;
        let (other, _) = only(&stack, "reappeared").await;
        assert_ne!(other, conflict, "each time it comes back it is asked anew");
        let data = json!({"serial": "KNOWN", "author": "ann"});
        let subject = schema::Subject::Device(world.device("KNOWN"));
        world
            .tell(&[world.event(subject, "device.retired", 3_720, &data)])
            .await;
        assert!(pending(&stack).await.is_empty(), "out of service: somebody knows");
    });
}

#[test]
fn two_devices_that_show_one_serial_number_are_one_or_meant_to_be_two() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        // The first was called A, the second is called B since ever; now the first is called B as well.
        world
            .tell(&[
                world.observed("first", 0, &json!({"name": "A"})),
                world.observed("second", 1, &json!({"name": "B"})),
            ])
            .await;
        world
            .tell(&[world.observed("first", 10, &json!({"name": "B"}))])
            .await;
        let (conflict, row) = only(&stack, "same_serial").await;
        assert_eq!(row["devices"].as_array().map(Vec::len), Some(2), "{row}");
        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "resolve", &conflict, "--same-device"])
            .await;
        assert_eq!(code, 2, "{errors}");
        let first = world.provider_device("first").to_string();
        decide(
            &stack,
            &[&conflict, "--create-duplicate", "--provider-device", &first],
        )
        .await;
        assert!(pending(&stack).await.is_empty());
        let devices = stack
            .rows("SELECT p.external_id, p.device FROM fleet.provider_devices p ORDER BY 1")
            .await;
        assert_eq!(
            devices[0]["device"],
            world.device("A").to_string(),
            "it stays the device it was"
        );
        assert_eq!(devices[1]["device"], world.device("B").to_string());
    });
}
