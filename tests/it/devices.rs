//! What people say of devices: edits, imports, retirement.

use std::fmt::Write as _;

use schema::{Body, DeviceEdited, Strategy};
use serde_json::{Value, json};
use tests::{Delivery, Integration, Stack, on_stack, read_log};

use crate::dialects::{device, rooms};

pub(crate) async fn say(to: &Integration, event: Value) {
    Delivery::platform(to, &event).post().await.accepted();
}

/// Runs `fleetlog device ARGS…`, which must print one JSON value.
pub(crate) async fn device_json(stack: &Stack, args: &[&str]) -> Value {
    let args: Vec<_> = ["device"]
        .iter()
        .chain(args)
        .chain(&["--json"])
        .copied()
        .collect();
    stack.fleetlog_json(&args).await
}

/// All edits in the log, in the order of the log.
async fn edits(stack: &Stack) -> Vec<DeviceEdited> {
    let events = read_log(&stack.log).await;
    let edit = |(_, event): (_, schema::Event)| {
        if let Body::DeviceEdited(body) = event.body {
            Some(body)
        } else {
            None
        }
    };
    events.into_iter().filter_map(edit).collect()
}

#[test]
fn an_edit_shows_when_the_command_returns_and_carries_what_its_author_saw() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let created = json!({"type": "device.created", "device": {"id": "e-1", "name": "SN-E",
            "metadata": {"site": "north"}, "tags": [{"id": "t1"}]}});
        say(&rooms.integration, created).await;
        device(&stack, &rooms.organization, "SN-E", |device| {
            !device["metadata"].is_null()
        })
        .await;

        let metadata = r#"metadata={"site": "south"}"#;
        let edit = [
            "edit",
            "SN-E",
            "--name",
            "South gate",
            "--set",
            metadata,
            "--tag",
            "t2",
            "--untag",
            "t1",
        ];
        let edited = device_json(&stack, &edit).await;
        let shown = device_json(&stack, &["show", "SN-E"]).await;
        assert_eq!(shown["name"], "South gate");
        assert_eq!(shown["metadata"], json!({"site": "south"}));
        let tags: Vec<_> = shown["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tag| &tag["id"])
            .collect();
        assert_eq!(tags, ["t2"]);
        let state = |field: &str| {
            let mut fields = edited["fields"].as_array().into_iter().flatten();
            fields
                .find(|row| row["field"] == field)
                .map(|row| row["state"].clone())
        };
        assert_eq!(state("name"), Some(json!("local")), "{edited}");
        assert_eq!(
            state("metadata"),
            Some(json!("pending")),
            "the cloud does not have it yet"
        );

        let again = device_json(&stack, &["edit", "SN-E", "--set", r#"metadata={"site": "west"}"#]).await;
        assert_ne!(again["edit"], edited["edit"]);
        let edits = edits(&stack).await;
        let [first, second] = edits.as_slice() else {
            panic!("{edits:?}");
        };
        let of = |edit: &DeviceEdited| {
            let mut changes = edit.changes.iter();
            changes
                .find(|change| change.field == "metadata")
                .cloned()
                .expect("it was edited")
        };
        let (first, second) = (of(first), of(second));
        let north = schema::RawJson::parse(r#"{"site":"north"}"#).expect("JSON");
        assert_eq!(first.seen.remote, Some(north.clone()));
        assert!(first.seen.remote_at.is_some() && first.seen.edit.is_none());
        assert_eq!(first.strategy, Strategy::Manual);
        assert_eq!(second.seen.remote, Some(north), "the cloud still has that");
        assert_eq!(
            second.seen.edit.map(|edit| json!(edit)),
            Some(edited["edit"].clone())
        );
    });
}

#[test]
fn the_strategy_of_the_integration_is_stamped_into_the_edit() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let strategies = json!({"metadata": "prefer_remote", "tags": "prefer_local"});
        sqlx::query("UPDATE control.integrations SET strategies = $1")
            .bind(strategies)
            .execute(&stack.admin)
            .await
            .expect("the owner may");
        let created =
            json!({"type": "device.created", "device": {"id": "s-1", "name": "SN-S", "enabled": true}});
        say(&rooms.integration, created).await;
        device(&stack, &rooms.organization, "SN-S", |_| true).await;
        let edit = [
            "edit",
            "SN-S",
            "--set",
            "metadata={}",
            "--tag",
            "t",
            "--set",
            "enabled=false",
            "--no-wait",
        ];
        device_json(&stack, &edit).await;
        let edits = edits(&stack).await;
        let strategies: Vec<_> = edits[0]
            .changes
            .iter()
            .map(|change| (change.field.as_str(), change.strategy.clone()))
            .collect();
        let expected = [
            ("metadata", Strategy::PreferRemote),
            ("enabled", Strategy::Manual),
            ("tag:t", Strategy::PreferLocal),
        ];
        assert_eq!(strategies, expected);
    });
}

#[test]
fn what_others_own_is_refused_with_the_owner_and_what_to_do_instead() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        device_json(
            &stack,
            &["register", "SN-O", "--organization", &rooms.organization],
        )
        .await;
        for (set, code, says) in [
            ("cohort=\"beta\"", 4, "the cloud: changing it is a deployment"),
            ("status=\"ok\"", 4, "change it there"),
            ("firmware_version=\"2\"", 4, "deploy another version"),
            ("battery=1", 4, "reports its battery in readings"),
            ("serial=\"X\"", 4, "rename it there"),
            ("tags=[]", 4, "tag:ID"),
            ("colour=\"red\"", 2, "editable are name"),
            ("enabled=\"yes\"", 2, "true or false"),
        ] {
            let (found, _, errors) = stack
                .try_fleetlog(&["device", "edit", "SN-O", "--set", set])
                .await;
            assert_eq!(found, code, "{set}: {errors}");
            assert!(errors.contains(says), "{set}: {errors}");
        }
        let field = [
            "device",
            "register",
            "SN-P",
            "--organization",
            &rooms.organization,
            "--field",
            "cohort=\"x\"",
        ];
        let (code, _, errors) = stack.try_fleetlog(&field).await;
        assert_eq!(code, 4, "{errors}");
        let (code, _, errors) = stack
            .try_fleetlog(&["device", "edit", "SN-UNKNOWN", "--name", "x"])
            .await;
        assert_eq!(code, 3, "{errors}");
        assert!(edits(&stack).await.is_empty(), "nothing of it was appended");
    });
}

#[test]
fn an_edit_that_changes_nothing_or_expects_another_value_appends_nothing() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let register = [
            "register",
            "SN-N",
            "--organization",
            &rooms.organization,
            "--field",
            r#"metadata={"a": 1, "b": [2]}"#,
        ];
        device_json(&stack, &register).await;
        let same = [
            "edit",
            "SN-N",
            "--set",
            r#"metadata={"b":[2],"a":1}"#,
            "--unset",
            "notes",
            "--untag",
            "t",
        ];
        let nothing = device_json(&stack, &same).await;
        assert_eq!(nothing["edit"], Value::Null);
        let expecting = ["device", "edit", "SN-N", "--name", "x", "--if", "name=\"y\""];
        let (code, _, errors) = stack.try_fleetlog(&expecting).await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains("name shows null"), "{errors}");
        assert!(edits(&stack).await.is_empty());
        let expecting = [
            "edit",
            "SN-N",
            "--name",
            "x",
            "--if",
            "name=null",
            "--if",
            r#"metadata={"a":1,"b":[2]}"#,
        ];
        device_json(&stack, &expecting).await;
        assert_eq!(edits(&stack).await.len(), 1);
    });
}

#[test]
fn a_retired_device_is_left_out_of_lists_until_it_is_restored() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let organization = rooms.organization.as_str();
        for serial in ["SN-1", "SN-2"] {
            device_json(&stack, &["register", serial, "--organization", organization]).await;
        }
        let retired = device_json(&stack, &["retire", "SN-1", "--reason", "frost"]).await;
        assert!(retired["retired_at"].is_string(), "{retired}");
        let (code, _, errors) = stack.try_fleetlog(&["device", "retire", "SN-1"]).await;
        assert_eq!((code, errors.contains("retired already")), (4, true), "{errors}");
        let (_, listed, hidden) = stack
            .try_fleetlog(&["device", "list", "--organization", organization])
            .await;
        assert!(listed.contains("SN-2") && !listed.contains("SN-1"), "{listed}");
        assert!(hidden.contains("1 retired device"), "{hidden}");
        let all = stack
            .fleetlog(&["device", "list", "--organization", organization, "--retired"])
            .await;
        assert!(all.contains("SN-1"), "{all}");
        let restored = device_json(&stack, &["restore", "SN-1"]).await;
        assert_eq!(restored["retired_at"], Value::Null);
        let (code, _, errors) = stack.try_fleetlog(&["device", "restore", "SN-1"]).await;
        assert_eq!((code, errors.contains("in service")), (4, true), "{errors}");
    });
}

#[test]
fn a_thousand_devices_are_imported_once_however_often_the_file_is() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let file = stack.folder.join("fleet.csv");
        let write = |name: &str| {
            let mut text = "serial,name,notes,metadata,tags\n".to_owned();
            for n in 0..1_000 {
                writeln!(
                    text,
                    "SN-{n:04},{name} {n},\"a \"\"{n}\"\",\nb\",\"{{\"\"n\"\": {n}}}\",t1;t2"
                )
                .expect("a text");
            }
            std::fs::write(&file, text).expect("the file can be written");
        };
        let path = file.to_str().expect("a plain path");
        let import = ["import", path, "--organization", &rooms.organization];
        let count = |registered: u32, edited: u32, unchanged: u32| {
            json!({"dry_run": false, "records": 1_000, "registered": registered, "edited": edited,
                   "unchanged": unchanged, "refused": 0})
        };
        write("Gate");
        assert_eq!(device_json(&stack, &import).await, count(1_000, 0, 0));
        let shown = device_json(&stack, &["show", "SN-0042"]).await;
        assert_eq!(shown["notes"], "a \"42\",\nb");
        assert_eq!(
            (&shown["metadata"]["n"], &shown["name"]),
            (&json!(42), &json!("Gate 42"))
        );
        assert_eq!(shown["tags"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            device_json(&stack, &import).await,
            count(0, 0, 1_000),
            "it is safe to repeat"
        );
        write("Door");
        assert_eq!(device_json(&stack, &import).await, count(0, 1_000, 0));
        assert_eq!(edits(&stack).await.len(), 1_000);
    });
}

#[test]
fn what_an_import_refuses_is_named_with_line_reason_and_advice_and_the_rest_is_imported() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let organization = rooms.organization.as_str();
        device_json(&stack, &["register", "SN-OUT", "--organization", organization]).await;
        device_json(&stack, &["retire", "SN-OUT"]).await;
        let file = stack.folder.join("mixed.csv");
        let text = "serial,name,enabled\nSN-A,Ä,TRUE\n,x,\nSN-B,5\" pipe,\nSN-A,twice,\nSN-C,x,perhaps\nSN-D,x\n\
                    SN-OUT,x,\nSN-E,,false\n";
        std::fs::write(&file, text).expect("the file can be written");
        let report = stack.folder.join("refused.jsonl");
        let (file, report) = (file.to_str().expect("plain"), report.to_str().expect("plain"));

        let dry = [
            "device",
            "import",
            file,
            "--organization",
            organization,
            "--dry-run",
        ];
        let (code, shown, _) = stack.try_fleetlog(&dry).await;
        assert_eq!(code, 1, "{shown}");
        assert!(
            shown.contains("line 2: SN-A would be registered: enabled, name"),
            "{shown}"
        );
        let before = read_log(&stack.log).await.len();

        let import = [
            "device",
            "import",
            file,
            "--organization",
            organization,
            "--report",
            report,
            "--json",
        ];
        let (code, shown, errors) = stack.try_fleetlog(&import).await;
        assert_eq!(code, 1, "{errors}");
        assert!(
            shown.contains(r#""registered":2"#) && shown.contains(r#""refused":6"#),
            "{shown}"
        );
        let kept = std::fs::read_to_string(report).expect("the report is there");
        let kept: Vec<Value> = kept
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect();
        let mut lines: Vec<_> = kept
            .iter()
            .filter_map(|refusal| refusal["line"].as_u64())
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8], "{kept:?}");
        for refusal in &kept {
            let said = |key: &str| refusal[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(said("reason") && said("advice"), "{refusal}");
        }
        assert!(
            errors.contains("line 2 already") && errors.contains("fleetlog device restore"),
            "{errors}"
        );
        assert_eq!(
            read_log(&stack.log).await.len(),
            before + 2,
            "the dry run appended nothing"
        );
        assert_eq!(device_json(&stack, &["show", "SN-A"]).await["name"], "Ä");
    });
}

#[test]
fn imported_first_and_seen_first_end_in_the_same_device() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let organization = rooms.organization.as_str();
        let created =
            |id: &str, name: &str| json!({"type": "device.created", "device": {"id": id, "name": name}});
        say(&rooms.integration, created("b", "SN-B")).await;
        let seen = device(&stack, organization, "SN-B", |_| true).await;
        let file = stack.folder.join("two.jsonl");
        let text =
            "{\"serial\":\"SN-A\",\"name\":\"a\"}\n{\"serial\":\" SN-B \",\"name\":\"b\",\"notes\":null}\n";
        std::fs::write(&file, text).expect("the file can be written");
        let file = file.to_str().expect("plain");
        let count = device_json(&stack, &["import", file, "--organization", organization]).await;
        assert_eq!(
            (&count["registered"], &count["edited"]),
            (&json!(1), &json!(1)),
            "{count}"
        );
        say(&rooms.integration, created("a", "SN-A")).await;
        let has_cloud = |device: &Value| {
            device["provider_devices"]
                .as_array()
                .is_some_and(|held| held.len() == 1)
        };
        let imported = device(&stack, organization, "SN-A", has_cloud).await;
        assert_eq!(imported["name"], "a");
        let both = device(&stack, organization, "SN-B", |device| device["name"] == "b").await;
        assert_eq!(both["id"], seen["id"]);
    });
}
