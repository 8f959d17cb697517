//! What was told of devices: as of any moment, as a history, and as what explains a field.

use serde_json::{Value, json};
use tests::{Delivery, Stack, on_stack, read_log};

use crate::{
    devices::{device_json, say},
    dialects::{device, rooms},
};

fn hours_ago(hours: u64) -> String {
    let seconds = i64::try_from(tests::now_seconds() - hours * 3_600).expect("after 1970");
    schema::Micros::from_seconds_nanos(seconds, 0)
        .expect("an instant")
        .to_string()
}

/// What `fleetlog device history --at` shows, or its exit code.
async fn as_of(stack: &Stack, serial: &str, at: &str, known_by: Option<&str>) -> Result<Value, i32> {
    let mut args = vec!["device", "history", serial, "--at", at, "--json"];
    args.extend(known_by.iter().flat_map(|known_by| ["--known-by", known_by]));
    let (code, output, _) = stack.try_fleetlog(&args).await;
    if code == 0 {
        Ok(serde_json::from_str(&output).expect("JSON"))
    } else {
        Err(code)
    }
}

#[test]
fn what_was_true_then_and_what_we_had_been_told_by_then_are_two_questions() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let began = hours_ago(0);
        let named = json!({"type": "device.created", "device": {"id": "h-1", "name": "SN-H", "metadata": {"v": 1},
            "firmware": {"package": "main", "version": "1.0", "state": "IDLE", "time": hours_ago(6)}}});
        say(&rooms.integration, named).await;
        for (kind, hours) in [("device.online", 5), ("device.offline", 3)] {
            let event =
                json!({"type": kind, "device": {"id": "h-1", "name": "SN-H"}, "timestamp": hours_ago(hours)});
            say(&rooms.integration, event).await;
        }
        Delivery::golioth(&rooms.integration, "h-1", "/s", r#"{"battery": 50}"#)
            .post()
            .await
            .accepted();
        device(&stack, &rooms.organization, "SN-H", |device| {
            device["firmware_version"] == "1.0"
                && !device["battery"].is_null()
                && !device["last_seen_offline_at"].is_null()
        })
        .await;
        device_json(
            &stack,
            &["edit", "SN-H", "--set", r#"metadata={"v": 2}"#, "--name", "gate"],
        )
        .await;

        let later = schema::Micros::from_seconds_nanos(
            i64::try_from(tests::now_seconds() + 3_600).expect("small"),
            0,
        );
        let later = later.expect("an instant").to_string();
        let now = as_of(&stack, "SN-H", &later, None).await.expect("it is known");
        let shown = device_json(&stack, &["show", "SN-H"]).await;
        assert_eq!(
            (&now["name"], &now["device"]),
            (&shown["name"], &shown["id"]),
            "as of the end is what shows now"
        );
        assert_eq!(now["fields"]["metadata"]["value"], shown["metadata"]);
        assert_eq!(now["firmware"]["main"]["version"], shown["firmware_version"]);
        assert_eq!(now["provider_devices"][0]["last_report_by"], "reading");
        let instant = |value: &Value| {
            value
                .as_str()
                .and_then(|text| text.parse::<schema::Micros>().ok())
        };
        let report = &now["provider_devices"][0]["last_report_at"];
        assert_eq!(
            instant(report),
            instant(&shown["last_report_at"]),
            "{report} {shown}"
        );

        let four = as_of(&stack, "SN-H", &hours_ago(4), None)
            .await
            .expect("it was connected then");
        let cloud = &four["provider_devices"][0];
        assert!(
            cloud["connected_at"].is_string() && cloud["disconnected_at"].is_null(),
            "{four}"
        );
        assert_eq!(four["firmware"]["main"]["version"], "1.0");
        assert!(
            four["fields"]["metadata"].is_null() && four["name"].is_null(),
            "that came later: {four}"
        );
        assert_eq!(
            as_of(&stack, "SN-H", &hours_ago(7), None).await,
            Err(3),
            "nothing had happened"
        );
        assert_eq!(
            as_of(&stack, "SN-H", &hours_ago(4), Some(&began)).await,
            Err(3),
            "nobody had told"
        );
        assert_eq!(as_of(&stack, "SN-H", &later, Some(&hours_ago(1))).await, Err(3));
    });
}

#[test]
fn a_device_is_known_as_it_was_linked_then() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let organization = rooms.organization.as_str();
        let created =
            |id: &str, name: &str| json!({"type": "device.created", "device": {"id": id, "name": name}});
        say(&rooms.integration, created("x", "SN-X")).await;
        say(&rooms.integration, created("y", "SN-Y")).await;
        let x = device(&stack, organization, "SN-X", |_| true).await;
        device(&stack, organization, "SN-Y", |_| true).await;
        let x = x["id"].as_str().expect("an id").to_owned();
        let provider_device = format!("{}/id:y", rooms.integration.id);
        let moment = || async {
            let rows = stack.rows("SELECT clock_timestamp() AS now").await;
            rows[0]["now"].as_str().expect("an instant").to_owned()
        };
        let apart = moment().await;
        stack
            .fleetlog(&["device", "bind", &provider_device, "--device", &x])
            .await;
        let together = moment().await;
        stack
            .fleetlog(&["device", "bind", &provider_device, "--duplicate"])
            .await;
        let linked = |at: String| {
            let (stack, x) = (stack.clone(), x.clone());
            async move {
                let then = as_of(&stack, &x, &at, None).await.expect("it is known");
                then["provider_devices"].as_array().map(Vec::len)
            }
        };
        assert_eq!(linked(apart).await, Some(1));
        assert_eq!(
            linked(together).await,
            Some(2),
            "what has left it since was part of it then"
        );
        assert_eq!(linked(moment().await).await, Some(1));
    });
}

/// Updates a table of the active generation, as its owner.
async fn by_hand(stack: &Stack, table_and_values: &str) {
    let active = stack
        .rows("SELECT generation FROM projection_meta.generations WHERE state = 'active'")
        .await;
    let generation = active[0]["generation"].as_str().expect("a name");
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE {generation}.{table_and_values}"
    )))
    .execute(&stack.admin)
    .await
    .expect("the owner may");
}

#[test]
fn an_explanation_names_winner_and_losers_and_where_they_lie_in_the_log() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let update = |value: u32| json!({"type": "device.updated", "device": {"id": "x-1", "name": "SN-X", "metadata": {"v": value}}});
        say(&rooms.integration, update(1)).await;
        device(&stack, &rooms.organization, "SN-X", |device| {
            device["metadata"]["v"] == 1
        })
        .await;
        let edited = device_json(&stack, &["edit", "SN-X", "--set", r#"metadata={"v": 2}"#]).await;
        let pending = device_json(&stack, &["explain", "SN-X", "metadata"]).await;
        assert_eq!(
            (&pending["state"], &pending["shows"]["v"]),
            (&json!("pending"), &json!(2)),
            "{pending}"
        );
        assert_eq!(
            (&pending["base"]["value"]["v"], &pending["base"]["from"]),
            (&json!(1), &json!("seen"))
        );

        say(&rooms.integration, update(3)).await;
        device(&stack, &rooms.organization, "SN-X", |device| {
            device["metadata"]["v"] == 3
        })
        .await;
        let explained = device_json(&stack, &["explain", "SN-X", "metadata"]).await;
        assert_eq!(
            (&explained["state"], &explained["strategy"]),
            (&json!("conflict"), &json!("manual"))
        );
        let conflicts = stack
            .rows("SELECT conflict FROM fleet.device_fields WHERE state = 'conflict'")
            .await;
        assert_eq!(explained["conflict"], conflicts[0]["conflict"]);
        let statements = explained["statements"].as_array().expect("statements");
        let verdicts: Vec<_> = statements
            .iter()
            .map(|said| (&said["side"], &said["verdict"]))
            .collect();
        assert_eq!(
            verdicts,
            [
                (&json!("cloud"), &json!("won")),
                (&json!("edit"), &json!("waits"))
            ],
            "{explained}"
        );
        assert_eq!(statements[1]["event"], edited["edit"]);
        assert_eq!(
            statements[1]["position"], edited["position"],
            "where it was appended"
        );
        let events = read_log(&stack.log).await;
        for said in statements {
            let found = events.iter().find(|(position, _)| {
                json!(position.topic.suffix()) == said["position"]["topic"]
                    && json!(position.partition) == said["position"]["partition"]
                    && json!(position.offset) == said["position"]["offset"]
            });
            let (_, event) = found.unwrap_or_else(|| panic!("nothing lies at {}", said["position"]));
            assert_eq!(json!(event.id), said["event"]);
        }

        let serial = device_json(&stack, &["explain", "SN-X", "serial"]).await;
        let said: Vec<_> = serial["statements"].as_array().into_iter().flatten().collect();
        let told = said.iter().map(|said| (&said["side"], &said["verdict"]));
        assert_eq!(serial["shows"], "SN-X");
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (&json!("cloud"), &json!("won")),
                (&json!("registration"), &json!("agrees"))
            ]
        );

        let text = stack.fleetlog(&["device", "explain", "SN-X"]).await;
        assert!(
            text.contains("a person has to decide") && text.contains("device-events.v1/"),
            "{text}"
        );
        let (code, _, errors) = stack
            .try_fleetlog(&["device", "explain", "SN-X", "battery"])
            .await;
        assert_eq!((code, errors.contains("fleet.gauges")), (3, true), "{errors}");

        // A row that somebody wrote by hand is found: the facts say otherwise.
        by_hand(
            &stack,
            "field_registers SET value = '{\"v\": 9}', value_hash = gen_random_uuid() WHERE field = 'metadata'",
        )
        .await;
        let (code, _, errors) = stack.try_fleetlog(&["device", "explain", "SN-X"]).await;
        assert_eq!(
            (code, errors.contains("something else of metadata")),
            (1, true),
            "{errors}"
        );
        // So is the name that lists show, though nobody ever gave one.
        by_hand(&stack, "devices SET name = 'by hand'").await;
        let (_, _, errors) = stack.try_fleetlog(&["device", "explain", "SN-X"]).await;
        assert!(errors.contains("something else of metadata, name"), "{errors}");
    });
}

#[test]
fn an_edit_after_what_a_fast_clock_said_was_told_when_it_was_made() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let now = i64::try_from(tests::now_seconds()).expect("after 1970");
        let ahead = |seconds| {
            schema::Micros::from_seconds_nanos(now + seconds, 0)
                .expect("an instant")
                .to_string()
        };
        let fast = json!({"type": "device.updated", "timestamp": ahead(50),
            "device": {"id": "f-1", "name": "SN-F", "metadata": {"v": 1}}});
        say(&rooms.integration, fast).await;
        device(&stack, &rooms.organization, "SN-F", |device| {
            device["metadata"]["v"] == 1
        })
        .await;
        device_json(&stack, &["edit", "SN-F", "--set", r#"metadata={"v": 2}"#]).await;
        let explained = device_json(&stack, &["explain", "SN-F", "metadata"]).await;
        assert_eq!(explained["shows"]["v"], 2, "{explained}");
        let edit = &explained["statements"][0];
        assert_eq!(edit["side"], "edit", "{explained}");
        assert!(edit["position"].is_object(), "{explained}");
        let then = as_of(&stack, "SN-F", &ahead(51), Some(&ahead(40))).await;
        assert_eq!(
            then.expect("it was known")["fields"]["metadata"]["value"]["v"],
            2,
            "we had been told by then"
        );
    });
}

#[test]
fn a_history_tells_what_each_fact_changed_the_newest_first() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let created = json!({"type": "device.created", "device": {"id": "t-1", "name": "SN-H", "metadata": {"v": 1},
            "firmware": {"package": "main", "version": "1.0", "state": "IDLE"}}});
        say(&rooms.integration, created).await;
        say(
            &rooms.integration,
            json!({"type": "device.offline", "device": {"id": "t-1", "name": "SN-H"}}),
        )
        .await;
        device(&stack, &rooms.organization, "SN-H", |device| {
            !device["last_seen_offline_at"].is_null()
        })
        .await;
        device_json(
            &stack,
            &["edit", "SN-H", "--set", r#"metadata={"v": 2}"#, "--name", "gate"],
        )
        .await;
        device_json(&stack, &["edit", "SN-H", "--name", "door"]).await;
        let told = stack
            .fleetlog(&["device", "history", "SN-H", "--field", "name", "--json"])
            .await;
        let told: Vec<Value> = told
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let after: Vec<_> = told.iter().map(|entry| &entry["changes"][0]["after"]).collect();
        assert_eq!(after, ["door", "gate"], "the newest first");
        assert_eq!(told[0]["changes"][0]["before"], "gate");
        let all = stack.fleetlog(&["device", "history", "SN-H"]).await;
        for said in [
            "device.edited",
            "connection.changed",
            "firmware.reported",
            "disconnected",
            "{\"v\":1} → {\"v\":2}",
        ] {
            assert!(all.contains(said), "{said} in {all}");
        }
        let (_, few, errors) = stack
            .try_fleetlog(&["device", "history", "SN-H", "--limit", "1", "--json"])
            .await;
        assert_eq!(few.lines().count(), 1);
        assert!(errors.contains("older facts are left out"), "{errors}");
    });
}

#[test]
fn a_machine_that_was_renamed_was_part_of_the_device_of_its_name_of_then() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let organization = rooms.organization.as_str();
        for serial in ["SN-OLD", "SN-NEW"] {
            device_json(&stack, &["register", serial, "--organization", organization]).await;
        }
        let moment = || async {
            let rows = stack.rows("SELECT clock_timestamp() AS now").await;
            rows[0]["now"].as_str().expect("an instant").to_owned()
        };
        let named = |name: &str| json!({"type": "device.updated", "device": {"id": "m-1", "name": name}});
        let has_cloud = |device: &Value| {
            device["provider_devices"]
                .as_array()
                .is_some_and(|held| held.len() == 1)
        };
        say(&rooms.integration, named("SN-OLD")).await;
        device(&stack, organization, "SN-OLD", has_cloud).await;
        let before = moment().await;
        say(&rooms.integration, named("SN-NEW")).await;
        device(&stack, organization, "SN-NEW", has_cloud).await;
        let after = moment().await;

        let mut held = Vec::new();
        for (serial, at) in [
            ("SN-OLD", &before),
            ("SN-NEW", &before),
            ("SN-OLD", &after),
            ("SN-NEW", &after),
        ] {
            let then = as_of(&stack, serial, at, None)
                .await
                .expect("both were registered");
            held.push(then["provider_devices"].as_array().map(Vec::len));
        }
        assert_eq!(held, [Some(1), Some(0), Some(0), Some(1)]);
    });
}
