//! People decide conflicts with `fleetlog conflicts`.

use schema::Event;
use serde_json::{Value, json};
use tests::{Stack, on_stack};

use super::{
    fields::{shown, version},
    told::World,
};

/// Devices whose metadata both sides changed: 2 here, 3 in the cloud.
async fn in_conflict(world: &World, serials: &[&str]) {
    shown(world, serials).await;
    let mut said = Vec::new();
    for serial in serials {
        said.push(world.edited(
            serial,
            10,
            ("metadata", version(2)),
            Some((version(1), 0)),
            "manual",
        ));
        said.push(world.observed(serial, 20, &json!({"metadata": version(3)})));
    }
    world.tell(&said).await;
}

async fn list(stack: &Stack, options: &[&str]) -> Vec<Value> {
    let args = [&["conflicts", "list", "--json"], options].concat();
    let lines = stack.fleetlog(&args).await;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

async fn conflict_of(stack: &Stack, serial: &str) -> String {
    let listed = list(stack, &["--device", serial]).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]["conflict"].as_str().expect("an id").to_owned()
}

async fn resolve(stack: &Stack, args: &[&str]) -> Vec<Value> {
    let args = [&["conflicts", "resolve", "--json"], args].concat();
    let lines = stack.fleetlog(&args).await;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

#[test]
fn a_decision_shows_is_kept_and_settles_the_conflict_for_good() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        in_conflict(&world, &["LOCAL", "REMOTE", "OTHER"]).await;
        let mut decided = Vec::new();
        for (serial, decision, value, state) in [
            ("LOCAL", &["--keep-local"][..], version(2), "pending"),
            ("REMOTE", &["--keep-remote"], version(3), "settled"),
            ("OTHER", &["--value", r#"{"v": 4}"#], version(4), "pending"),
        ] {
            let conflict = conflict_of(&stack, serial).await;
            let args = [
                &[conflict.as_str(), "--note", "asked", "--author", "bea"],
                decision,
            ]
            .concat();
            let told = resolve(&stack, &args).await;
            assert_eq!(
                (&told[0]["value"], &told[0]["state"]),
                (&value, &json!(state)),
                "{told:?}"
            );
            let field = world.field(serial, "metadata").await;
            assert_eq!(
                (&field["value"], &field["state"]),
                (&value, &json!(state)),
                "{field}"
            );
            assert_eq!(field["edit_author"], "bea");
            decided.push(conflict);
        }
        assert!(list(&stack, &[]).await.is_empty());

        let history = stack
            .rows("SELECT * FROM fleet.conflict_history ORDER BY serial")
            .await;
        let told: Vec<_> = history
            .iter()
            .map(|row| {
                (
                    row["serial"].clone(),
                    row["decision"].clone(),
                    row["value"].clone(),
                )
            })
            .collect();
        let expected = [
            ("LOCAL", "keep_local", 2),
            ("OTHER", "value", 4),
            ("REMOTE", "keep_remote", 3),
        ];
        let expected =
            expected.map(|(serial, decision, value)| (json!(serial), json!(decision), version(value)));
        assert_eq!(told, expected);
        for row in &history {
            let sides = ["local", "remote", "author", "reason"].map(|side| row[side].clone());
            assert_eq!(sides, [version(2), version(3), json!("bea"), json!("asked")]);
        }

        // The cloud changes what was decided: after keeping its value that is no conflict, after deciding against it it is.
        let changes =
            ["LOCAL", "REMOTE"].map(|serial| world.observed(serial, 3_700, &json!({"metadata": version(5)})));
        world.tell(&changes).await;
        assert_eq!(world.field("REMOTE", "metadata").await["state"], "superseded");
        assert_ne!(
            conflict_of(&stack, "LOCAL").await,
            decided[0],
            "another value is another conflict"
        );
    });
}

#[test]
fn what_cannot_be_decided_is_refused_with_the_reason_and_changes_nothing() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        in_conflict(&world, &["A", "B"]).await;
        let (a, b) = (conflict_of(&stack, "A").await, conflict_of(&stack, "B").await);
        resolve(&stack, &[&a, "--keep-remote"]).await;
        let before = tests::read_log(&stack.log).await.len();
        let unknown = "0".repeat(32);
        for (code, words, args) in [
            (
                4,
                "decided already: keep_remote by",
                vec![a.as_str(), "--keep-local"],
            ),
            // One that cannot be decided keeps the others from being decided.
            (4, "decided already", vec![&b, &a, "--keep-local"]),
            (3, "there is no conflict", vec![&unknown, "--keep-local"]),
            (
                4,
                "--keep-local, --keep-remote or --value",
                vec![&b, "--same-device"],
            ),
            (2, "metadata is an object", vec![&b, "--value", "7"]),
            (2, "", vec![&b, "--keep-local", "--keep-remote"]),
            (2, "", vec![&b]),
            (2, "", vec!["--keep-local"]),
            (
                2,
                "--all-matching",
                vec![&b, "--keep-local", "--field", "metadata"],
            ),
            (2, "--yes", vec!["--all-matching", "--keep-local"]),
            (2, "--field", vec!["--all-matching", "--value", "{}", "--yes"]),
        ] {
            let args = [&["conflicts", "resolve"], &args[..]].concat();
            let (got, output, errors) = stack.try_fleetlog(&args).await;
            assert_eq!(got, code, "{args:?}: {output}{errors}");
            assert!(errors.contains(words), "{args:?}: {errors}");
        }
        assert_eq!(
            tests::read_log(&stack.log).await.len(),
            before,
            "nothing was appended"
        );
        assert_eq!(world.field("B", "metadata").await["state"], "conflict");
    });
}

#[test]
fn many_conflicts_are_listed_by_filters_and_decided_at_once() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        let serials: Vec<String> = (0..40).map(|n| format!("M-{n:02}")).collect();
        let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
        in_conflict(&world, &serials).await;
        let organization = world.organization.to_string();
        let integration = world.integration.to_string();
        for (n, options) in [
            (40, vec![]),
            (
                40,
                vec![
                    "--organization",
                    &organization,
                    "--kind",
                    "field",
                    "--integration",
                    &integration,
                ],
            ),
            (40, vec!["--older-than", "10m"]),
            (0, vec!["--older-than", "2h"]),
            (0, vec!["--field", "enabled"]),
            (0, vec!["--kind", "two_names"]),
            (1, vec!["--device", "M-07"]),
            (3, vec!["--limit", "3"]),
        ] {
            assert_eq!(list(&stack, &options).await.len(), n, "{options:?}");
        }
        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "resolve", "--all-matching", "--keep-remote"])
            .await;
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains("40 conflicts of 40 devices"), "{errors}");

        let told = resolve(
            &stack,
            &["--all-matching", "--device", "M-07", "--keep-local", "--yes"],
        )
        .await;
        assert_eq!(told.len(), 1);
        let told = resolve(
            &stack,
            &["--all-matching", "--field", "metadata", "--keep-remote", "--yes"],
        )
        .await;
        assert_eq!(told.len(), 39);
        assert!(told.iter().all(|row| row["state"] == "settled"), "{told:?}");
        assert!(list(&stack, &[]).await.is_empty());
        let none = stack
            .fleetlog(&["conflicts", "resolve", "--all-matching", "--keep-remote", "--yes"])
            .await;
        assert!(none.contains("no conflict"), "{none}");
        let decided = stack
            .rows("SELECT decision, count(*) FROM fleet.conflict_history GROUP BY 1 ORDER BY 1")
            .await;
        assert_eq!(
            decided,
            [
                json!({"decision": "keep_local", "count": 1}),
                json!({"decision": "keep_remote", "count": 39})
            ]
        );
        crate::ownership::rows_equal_the_log(&stack).await;
    });
}

#[test]
fn a_decision_that_arrives_before_what_it_decides_ends_the_same() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        shown(&world, &["A"]).await;
        let edit = world.edited("A", 10, ("metadata", version(2)), Some((version(1), 0)), "manual");
        let field = projector::fold::resolve::conflict_id(
            edit.id,
            "metadata",
            schema::RawJson::from_value(&version(3)).value_id(),
        );
        let change = json!({"field": "metadata", "value": version(2), "strategy": "manual",
            "seen": {"remote": version(3), "remote_at": world.at(20), "edit": edit.id}});
        let data = json!({"serial": "A", "author": "bea", "changes": [change], "resolves": [field]});
        let decision = world.event(edit.subject.clone(), "device.edited", 30, &data);
        world.tell(&[decision]).await;
        world
            .tell(&[world.observed("A", 20, &json!({"metadata": version(3)})), edit])
            .await;
        assert_eq!(world.field("A", "metadata").await["state"], "pending");
        let history = stack
            .rows("SELECT decision, local FROM fleet.conflict_history")
            .await;
        assert_eq!(history, [json!({"decision": "keep_local", "local": version(2)})]);
    });
}

#[test]
fn a_conflict_is_shown_with_both_sides_and_what_each_decision_would_do() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        in_conflict(&world, &["A"]).await;
        let conflict = conflict_of(&stack, "A").await;
        let told = stack.fleetlog(&["conflicts", "show", &conflict]).await;
        for words in [
            "ann",
            r#"{"v": 2}"#,
            r#"{"v": 3}"#,
            r#"{"v": 1}"#,
            "--keep-local",
            "--keep-remote",
            "--value",
        ] {
            assert!(told.contains(words), "{words} in {told}");
        }
        let row = stack
            .fleetlog_json(&["conflicts", "show", &conflict, "--json"])
            .await;
        assert_eq!(row["local"], version(2));
        let position = stack
            .fleetlog_json(&[
                "conflicts",
                "resolve",
                &conflict,
                "--keep-local",
                "--no-wait",
                "--json",
            ])
            .await;
        assert!(position["position"]["offset"].is_number(), "{position}");
        tests::eventually("it is decided", || async {
            let told = stack.fleetlog(&["conflicts", "show", &conflict]).await;
            if told.contains("keep_local") {
                Ok(())
            } else {
                Err(told)
            }
        })
        .await;
        let (code, _, errors) = stack.try_fleetlog(&["conflicts", "show", &"f".repeat(32)]).await;
        assert_eq!(code, 3, "{errors}");
    });
}

#[test]
fn what_waits_is_counted_by_field_age_and_integration() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        in_conflict(&world, &["A", "B", "C"]).await;
        // Counted when a projector starts, and every half minute.
        let projector = stack.projector().await;
        let integration = world.integration.to_string();
        let samples = tests::eventually("they are counted", || async {
            let samples = projector.metric("fleetlog_conflicts_pending").await;
            if samples.is_empty() {
                Err("not yet".to_owned())
            } else {
                Ok(samples)
            }
        })
        .await;
        assert_eq!(samples.len(), 1, "{samples:?}");
        let labels = [
            "age=\"1h\"",
            "field=\"metadata\"",
            "kind=\"field\"",
            integration.as_str(),
        ];
        for label in labels {
            assert!(samples[0].contains(label), "{label} in {samples:?}");
        }
        assert!(samples[0].ends_with(" 3"), "{samples:?}");
        let oldest = projector.metric("fleetlog_conflicts_oldest_age_seconds").await;
        let age = oldest[0]
            .rsplit(' ')
            .next()
            .and_then(|age| age.parse::<f64>().ok());
        assert!(age > Some(3_000.0), "{oldest:?}");
    });
}

#[test]
fn a_dry_run_tells_decisions_about_what_came_late() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        shown(&world, &["A"]).await;
        let edit = world.edited("A", 30, ("metadata", version(2)), Some((version(1), 0)), "manual");
        let late = |at, value, told| Event {
            recorded_at: world.at(told),
            ..world.observed("A", at, &json!({"metadata": version(value)}))
        };
        world.tell(&[edit, late(20, 3, 40)]).await;
        let conflict = conflict_of(&stack, "A").await;
        resolve(&stack, &[&conflict, "--keep-local", "--author", "bea"]).await;
        // It happened before the edit, and hides what was decided from whoever goes by the time alone.
        world.tell(&[late(25, 4, 3_700)]).await;

        let lines = stack
            .fleetlog(&[
                "conflicts",
                "replay",
                "--json",
                "--strategy",
                "metadata=prefer_remote",
            ])
            .await;
        let told: Vec<_> = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"))
            .map(|row| {
                (
                    row["conflict"].clone(),
                    row["decided"].clone(),
                    row["decided_by"].clone(),
                )
            })
            .collect();
        let open = conflict_of(&stack, "A").await;
        assert_eq!(
            told,
            [
                (json!(conflict), json!("keep_local"), json!("bea")),
                (json!(open), json!("waits"), Value::Null)
            ]
        );
    });
}

#[test]
fn a_dry_run_tells_what_another_strategy_would_have_decided() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        in_conflict(&world, &["A", "B", "C"]).await;
        shown(&world, &["D"]).await;
        world
            .tell(&[
                world.edited(
                    "D",
                    10,
                    ("metadata", version(2)),
                    Some((version(1), 0)),
                    "prefer_local",
                ),
                world.observed("D", 20, &json!({"metadata": version(3)})),
            ])
            .await;
        for (serial, decision) in [("A", "--keep-local"), ("B", "--keep-remote")] {
            let conflict = conflict_of(&stack, serial).await;
            resolve(&stack, &[&conflict, decision, "--author", "bea"]).await;
        }
        let before = tests::read_log(&stack.log).await.len();
        let replayed = |options: &[&str]| {
            let args = [&["conflicts", "replay", "--json", "--strategy"], options].concat();
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            let stack = stack.clone();
            async move {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let lines = stack.fleetlog(&args).await;
                let rows = lines.lines().map(|line| {
                    let row: Value = serde_json::from_str(line).expect("a JSON object a line");
                    let of = |column: &str| row[column].as_str().unwrap_or("-").to_owned();
                    [of("serial"), of("decided"), of("decided_by"), of("would_be")].join(" ")
                });
                rows.collect::<Vec<String>>()
            }
        };
        assert_eq!(
            replayed(&["metadata=prefer_local"]).await,
            [
                "A keep_local bea local",
                "B keep_remote bea local",
                "C waits - local",
                "D local - local"
            ]
        );
        assert_eq!(
            replayed(&["metadata=prefer_remote", "--differing"]).await,
            ["A keep_local bea remote", "C waits - remote", "D local - remote"]
        );
        assert_eq!(
            replayed(&["metadata=manual", "--differing"]).await,
            ["D local - waits"]
        );
        assert!(replayed(&["metadata=manual", "--since", "10m"]).await.is_empty());
        assert!(replayed(&["enabled=prefer_local"]).await.is_empty());
        assert_eq!(
            tests::read_log(&stack.log).await.len(),
            before,
            "nothing was appended"
        );
        let (code, _, errors) = stack
            .try_fleetlog(&["conflicts", "replay", "--strategy", "notes=manual"])
            .await;
        assert_eq!(code, 2, "{errors}");
    });
}
