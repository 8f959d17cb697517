//! Which device is which: two doors, renames, races.

use serde_json::{Value, json};
use tests::{Delivery, Integration, Stack, eventually, on_stack};

use crate::dialects::{device, rooms};

async fn say(to: &Integration, event: Value) {
    Delivery::platform(to, &event).post().await.accepted();
}

fn created(id: &str, name: &str) -> Value {
    json!({"type": "device.created", "device": {"id": id, "name": name}})
}

/// How many devices an organization has, once the sentinel device sent last is among them.
async fn devices_after_sentinel(stack: &Stack, organization: &str, to: &Integration) -> Vec<Value> {
    // The sentinel may be folded before others: partitions are read side by side. So each partition gets some.
    let marks: Vec<String> = (0..24).map(|n| format!("sentinel-{n}")).collect();
    for mark in &marks {
        say(to, created(mark, mark)).await;
    }
    eventually("everything sent before is folded", || async {
        let devices = stack.devices(organization).await;
        let (sentinels, others): (Vec<_>, Vec<_>) = devices.into_iter().partition(|device| {
            device["serial"]
                .as_str()
                .is_some_and(|serial| serial.starts_with("sentinel-"))
        });
        if sentinels.len() == marks.len() {
            Ok(others)
        } else {
            Err(format!("{} sentinels", sentinels.len()))
        }
    })
    .await
}

fn serials(devices: &[Value]) -> Vec<String> {
    let mut serials: Vec<_> = devices
        .iter()
        .map(|device| device["serial"].as_str().unwrap_or_default().to_owned())
        .collect();
    serials.retain(|serial| serial != "probe");
    serials.sort();
    serials
}

#[test]
fn a_rename_in_the_cloud_keeps_the_devices_id() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        say(&rooms.integration, created("r-1", "OLD")).await;
        let before = device(&stack, &rooms.organization, "OLD", |_| true).await;
        say(
            &rooms.integration,
            json!({"type": "device.updated", "device": {"id": "r-1", "name": "NEW"}}),
        )
        .await;
        let after = device(&stack, &rooms.organization, "NEW", |_| true).await;
        assert_eq!(before["id"], after["id"]);
        let all = devices_after_sentinel(&stack, &rooms.organization, &rooms.integration).await;
        assert_eq!(serials(&all), ["NEW"]);
    });
}

#[test]
fn one_machine_heard_by_name_and_by_id_is_one_device_also_after_a_rename() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        // Heard by name first, by id later.
        say(
            to,
            json!({"event": "device.telemetry", "device_name": "M-1", "telemetry": {"value": 1}}),
        )
        .await;
        Delivery::golioth(to, "id-1", "/s", r#"{"battery": 50}"#)
            .post()
            .await
            .accepted();
        say(to, created("id-1", "M-1")).await;
        let joined = device(&stack, &rooms.organization, "M-1", |device| {
            device["provider_devices"]
                .as_array()
                .is_some_and(|held| held.len() == 2)
        })
        .await;

        say(
            to,
            json!({"type": "device.updated", "device": {"id": "id-1", "name": "M-2"}}),
        )
        .await;
        say(
            to,
            json!({"event": "device.telemetry", "device_name": "M-2", "telemetry": {"value": 2}}),
        )
        .await;
        let renamed = device(&stack, &rooms.organization, "M-2", |device| {
            device["provider_devices"]
                .as_array()
                .is_some_and(|held| held.len() >= 2)
        })
        .await;
        assert_eq!(joined["id"], renamed["id"], "the id stays");
    });
}

#[test]
fn an_id_alone_is_listed_as_unidentified_until_it_has_a_name() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        Delivery::golioth(&rooms.integration, "nameless", "/s", "{}")
            .post()
            .await
            .accepted();
        let listed = || async {
            let rows = stack.rows("SELECT * FROM fleet.unidentified").await;
            Ok::<_, String>(rows.iter().any(|row| row.to_string().contains("nameless")))
        };
        eventually("it is listed", || async {
            if listed().await? { Ok(()) } else { Err("no".into()) }
        })
        .await;
        say(&rooms.integration, created("nameless", "NAMED")).await;
        device(&stack, &rooms.organization, "NAMED", |device| {
            !device["last_report_at"].is_null()
        })
        .await;
        eventually("it is no longer listed", || async {
            if listed().await? {
                Err("yes".into())
            } else {
                Ok(())
            }
        })
        .await;
    });
}

#[test]
fn registered_first_and_seen_first_end_in_the_same_device() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let register = |serial: &'static str, name: &'static str| {
            let stack = stack.clone();
            let organization = rooms.organization.clone();
            async move {
                stack
                    .fleetlog(&[
                        "device",
                        "register",
                        serial,
                        "--organization",
                        &organization,
                        "--name",
                        name,
                        "--json",
                    ])
                    .await
            }
        };
        register("SN-A", "first").await;
        say(&rooms.integration, created("a", "SN-A")).await;
        say(&rooms.integration, created("b", "SN-B")).await;
        device(&stack, &rooms.organization, "SN-B", |_| true).await;
        register("SN-B", "second").await;
        for (serial, name) in [("SN-A", "first"), ("SN-B", "second")] {
            let found = device(&stack, &rooms.organization, serial, |device| {
                device["name"] == name
                    && device["provider_devices"]
                        .as_array()
                        .is_some_and(|held| held.len() == 1)
            })
            .await;
            assert!(found["registered_at"].is_string());
        }
        let all = devices_after_sentinel(&stack, &rooms.organization, &rooms.integration).await;
        assert_eq!(serials(&all), ["SN-A", "SN-B"]);
    });
}

#[test]
fn a_rename_and_a_registration_that_race_in_two_partitions_end_alike_every_time() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        // A second projector shares the partitions, so that both halves of the race have their own transactions.
        let second = stack.projector().await;
        let machines: Vec<String> = (0..12).map(|n| format!("race-{n}")).collect();
        for machine in &machines {
            say(&rooms.integration, created(machine, &format!("{machine}-old"))).await;
        }
        for machine in &machines {
            device(&stack, &rooms.organization, &format!("{machine}-old"), |_| true).await;
        }
        for machine in &machines {
            let serial = format!("{machine}-new");
            let rename = json!({"type": "device.updated", "device": {"id": machine, "name": serial}});
            let register = [
                "device",
                "register",
                &serial,
                "--organization",
                &rooms.organization,
                "--no-wait",
                "--json",
            ];
            tokio::join!(say(&rooms.integration, rename), stack.fleetlog(&register));
        }
        let all = devices_after_sentinel(&stack, &rooms.organization, &rooms.integration).await;
        let expected: Vec<String> = machines.iter().map(|machine| format!("{machine}-new")).collect();
        for machine in &machines {
            let serial = format!("{machine}-new");
            let found = device(&stack, &rooms.organization, &serial, |device| {
                device["provider_devices"]
                    .as_array()
                    .is_some_and(|held| held.len() == 1)
            })
            .await;
            let organization = rooms.organization.parse().expect("an id");
            let wanted = schema::DeviceId::of_serial(organization, &serial.parse().expect("a serial"));
            assert_eq!(
                found["id"],
                wanted.to_string(),
                "the registered device has the facts"
            );
        }
        let mut expected = expected;
        expected.sort();
        assert_eq!(
            serials(&all),
            expected,
            "no device is left without a link or a local fact"
        );
        crate::ownership::rows_equal_the_log(&stack).await;
        drop(second);
    });
}

#[test]
fn an_explicit_binding_beats_names_and_a_duplicate_is_a_device_of_its_own() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let organization = &rooms.organization;
        say(&rooms.integration, created("x", "SN-X")).await;
        say(&rooms.integration, created("y", "SN-Y")).await;
        let x = device(&stack, organization, "SN-X", |_| true).await;
        device(&stack, organization, "SN-Y", |_| true).await;
        let x_id = x["id"].as_str().expect("an id");
        let provider_device = format!("{}/id:y", rooms.integration.id);
        stack
            .fleetlog(&["device", "bind", &provider_device, "--device", x_id])
            .await;
        eventually("both are on one device", || async {
            let devices = stack.devices(organization).await;
            let of_x = devices.iter().find(|device| device["id"] == x["id"]);
            let held = of_x
                .and_then(|device| device["provider_devices"].as_array())
                .map_or(0, Vec::len);
            if held == 2 {
                Ok(())
            } else {
                Err(format!("{devices:?}"))
            }
        })
        .await;
        let conflicts = stack.rows("SELECT * FROM fleet.identity_conflicts").await;
        assert!(!conflicts.is_empty(), "two live devices on one are a conflict");

        stack
            .fleetlog(&["device", "bind", &provider_device, "--duplicate"])
            .await;
        eventually("the duplicate stands alone", || async {
            let devices = stack.devices(organization).await;
            let apart = devices
                .iter()
                .filter(|device| {
                    device["serial"] != "probe"
                        && device["provider_devices"]
                            .as_array()
                            .is_some_and(|held| held.len() == 1)
                })
                .count();
            if apart == 2 {
                Ok(())
            } else {
                Err(format!("{devices:?}"))
            }
        })
        .await;
    });
}

#[test]
fn what_a_cloud_never_named_is_what_a_person_says_it_is() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        Delivery::golioth(&rooms.integration, "mute", "/s", r#"{"battery": 61}"#)
            .post()
            .await
            .accepted();
        eventually("it is listed", || async {
            let rows = stack.rows("SELECT * FROM fleet.unidentified").await;
            if rows.is_empty() {
                Err("no".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
        let provider_device = format!("{}/id:mute", rooms.integration.id);
        stack
            .fleetlog(&["device", "bind", &provider_device, "--serial", "SN-MUTE"])
            .await;
        let named = device(&stack, &rooms.organization, "SN-MUTE", |device| {
            !device["battery"].is_null()
        })
        .await;
        assert!(named["registered_at"].is_string(), "{named}");
    });
}
