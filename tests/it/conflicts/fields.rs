//! Every row of the table: what a field shows when a cloud and people here both speak of it.

use serde_json::{Value, json};
use tests::{Stack, on_stack};

use super::told::World;

/// What metadata is, by one number.
pub(crate) fn version(n: u32) -> Value {
    json!({"v": n})
}

/// A device that a cloud shows with metadata 1 since second 0.
pub(crate) async fn shown(world: &World, serials: &[&str]) {
    let shown = serials
        .iter()
        .map(|serial| world.observed(serial, 0, &json!({"name": serial, "metadata": version(1)})));
    world.tell(&shown.collect::<Vec<_>>()).await;
}

#[track_caller]
fn stands(field: &Value, state: &str, value: &Value) {
    assert_eq!(
        (&field["state"], &field["value"]),
        (&json!(state), value),
        "{field}"
    );
}

async fn device(stack: &Stack, serial: &str) -> Value {
    let mut rows = stack
        .rows(&format!("SELECT * FROM fleet.devices WHERE serial = '{serial}'"))
        .await;
    rows.pop()
        .unwrap_or_else(|| panic!("there is no device {serial}"))
}

#[test]
fn a_field_that_only_one_side_speaks_of_shows_what_that_side_says() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        shown(&world, &["A"]).await;
        stands(&world.field("A", "metadata").await, "remote", &version(1));

        let named = [
            ("name", "North gate"),
            ("notes", "on the mast"),
            ("location", "Bergen"),
        ];
        let edits = named.map(|(field, text)| world.edited("A", 5, (field, json!(text)), None, "manual"));
        world.tell(&edits).await;
        stands(&world.field("A", "notes").await, "local", &json!("on the mast"));
        let unset = world.edited("A", 6, ("notes", Value::Null), None, "manual");
        world.tell(&[unset]).await;
        stands(&world.field("A", "notes").await, "local", &Value::Null);
        let shown = device(&stack, "A").await;
        let local = ["name", "notes", "location"].map(|column| shown[column].clone());
        assert_eq!(local, [json!("North gate"), Value::Null, json!("Bergen")]);
        assert_eq!(shown["pending_conflicts"], 0);
    });
}

#[test]
fn an_edit_waits_is_taken_and_shows_until_the_cloud_changes_it() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        shown(&world, &["A"]).await;
        let edit = world.edited("A", 10, ("metadata", version(2)), Some((version(1), 0)), "manual");
        world.tell(std::slice::from_ref(&edit)).await;
        let pending = world.field("A", "metadata").await;
        stands(&pending, "pending", &version(2));
        assert_eq!(
            (&pending["push_pending"], &pending["base_from"]),
            (&json!(true), &json!("seen"))
        );
        assert_eq!(device(&stack, "A").await["metadata"], version(2));

        // Seen again, unchanged: still what the author saw.
        world
            .tell(&[world.observed("A", 20, &json!({"metadata": version(1)}))])
            .await;
        stands(&world.field("A", "metadata").await, "pending", &version(2));

        world
            .tell(&[world.pushed(&edit, "metadata", 30, "accepted")])
            .await;
        let taken = world.field("A", "metadata").await;
        stands(&taken, "acknowledged", &version(2));
        assert_eq!(
            (&taken["push_pending"], &taken["base_from"]),
            (&json!(false), &json!("accepted"))
        );
        assert_eq!(taken["answer_body"], json!({"said": "accepted"}));

        // An observation from before the answer says nothing new.
        world
            .tell(&[world.observed("A", 25, &json!({"metadata": version(1)}))])
            .await;
        stands(&world.field("A", "metadata").await, "acknowledged", &version(2));
        world
            .tell(&[world.observed("A", 40, &json!({"metadata": version(2)}))])
            .await;
        stands(&world.field("A", "metadata").await, "settled", &version(2));
        world
            .tell(&[world.observed("A", 50, &json!({"metadata": version(3)}))])
            .await;
        stands(&world.field("A", "metadata").await, "superseded", &version(3));
        assert!(stack.rows("SELECT * FROM fleet.conflicts").await.is_empty());
    });
}

#[test]
fn an_edit_that_the_cloud_refuses_is_not_shown() {
    on_stack(|stack| async move {
        let world = World::new(stack).await;
        shown(&world, &["A"]).await;
        let edit = world.edited(
            "A",
            10,
            ("metadata", version(2)),
            Some((version(1), 0)),
            "prefer_local",
        );
        let refused = world.pushed(&edit, "metadata", 20, "rejected");
        world.tell(&[edit, refused]).await;
        let rejected = world.field("A", "metadata").await;
        stands(&rejected, "rejected", &version(1));
        assert_eq!(rejected["edit"], version(2), "what was refused can be seen");
        assert_eq!(rejected["push_pending"], false);
    });
}

#[test]
fn where_both_changed_the_strategy_of_the_edit_decides() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        let cases = [
            ("prefer_local", "kept", 2, true),
            ("prefer_remote", "lost", 3, false),
            ("manual", "conflict", 3, false),
            ("merge", "conflict", 3, false),
            ("of_tomorrow", "conflict", 3, false),
        ];
        let serials = cases.map(|(strategy, ..)| strategy);
        shown(&world, &serials).await;
        let mut said = Vec::new();
        for serial in serials {
            said.push(world.edited(
                serial,
                10,
                ("metadata", version(2)),
                Some((version(1), 0)),
                serial,
            ));
            said.push(world.observed(serial, 20, &json!({"metadata": version(3)})));
        }
        world.tell(&said).await;
        for (strategy, state, value, pushed) in cases {
            let field = world.field(strategy, "metadata").await;
            stands(&field, state, &version(value));
            assert_eq!(field["push_pending"], pushed, "{field}");
            let device = device(&stack, strategy).await;
            assert_eq!(device["metadata"], version(value));
            assert_eq!(device["pending_conflicts"], u32::from(state == "conflict"));
        }
        let listed = stack.rows("SELECT * FROM fleet.conflicts ORDER BY serial").await;
        let serials: Vec<_> = listed.iter().filter_map(|row| row["serial"].as_str()).collect();
        assert_eq!(serials, ["manual", "merge", "of_tomorrow"]);
        let sides = ["local", "remote", "base"].map(|side| listed[0][side].clone());
        assert_eq!(sides, [version(2), version(3), version(1)]);
        let summary = stack
            .rows("SELECT conflicts, identity_conflicts FROM fleet.summary")
            .await;
        assert_eq!(summary[0], json!({"conflicts": 3, "identity_conflicts": 0}));
    });
}

#[test]
fn two_saves_before_the_first_was_pushed_are_no_conflict() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        shown(&world, &["A"]).await;
        let first = world.edited("A", 10, ("metadata", version(2)), Some((version(1), 0)), "manual");
        let second = world.edited("A", 11, ("metadata", version(3)), Some((version(1), 0)), "manual");
        world.tell(&[first.clone(), second.clone()]).await;
        // The first one is pushed, and the cloud shows it: that is not a change of the cloud's.
        let taken = world.pushed(&first, "metadata", 20, "accepted");
        world
            .tell(&[taken, world.observed("A", 21, &json!({"metadata": version(2)}))])
            .await;
        let field = world.field("A", "metadata").await;
        stands(&field, "pending", &version(3));
        assert_eq!(
            (&field["base"], &field["push_pending"]),
            (&version(2), &json!(true))
        );
        let taken = world.pushed(&second, "metadata", 30, "accepted");
        world
            .tell(&[taken, world.observed("A", 31, &json!({"metadata": version(3)}))])
            .await;
        stands(&world.field("A", "metadata").await, "settled", &version(3));
        assert!(
            stack
                .rows("SELECT * FROM fleet.conflict_history")
                .await
                .is_empty()
        );
    });
}

#[test]
fn a_value_that_flips_there_and_back_is_no_conflict_and_the_same_one_when_it_flips_again() {
    on_stack(|stack| async move {
        let world = World::new(stack).await;
        shown(&world, &["A"]).await;
        let edit = world.edited("A", 10, ("metadata", version(2)), Some((version(1), 0)), "manual");
        world
            .tell(&[edit, world.observed("A", 20, &json!({"metadata": version(3)}))])
            .await;
        let opened = world.field("A", "metadata").await;
        stands(&opened, "conflict", &version(3));
        world
            .tell(&[world.observed("A", 30, &json!({"metadata": version(1)}))])
            .await;
        stands(&world.field("A", "metadata").await, "pending", &version(2));
        world
            .tell(&[world.observed("A", 40, &json!({"metadata": version(3)}))])
            .await;
        let again = world.field("A", "metadata").await;
        assert_eq!(again["conflict"], opened["conflict"]);
        world
            .tell(&[world.observed("A", 50, &json!({"metadata": version(4)}))])
            .await;
        let other = world.field("A", "metadata").await;
        stands(&other, "conflict", &version(4));
        assert_ne!(
            other["conflict"], opened["conflict"],
            "another value is another conflict"
        );
    });
}

#[test]
fn tags_are_booleans_that_merge_without_conflicts() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        let tags = |ids: &[&str]| json!({"tags": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
        let mut named = tags(&["a", "b"]);
        named["name"] = json!("T");
        world.tell(&[world.observed("T", 0, &named)]).await;
        let saw = |is: bool| Some((json!(is), 0));
        world
            .tell(&[
                world.edited("T", 10, ("tag:c", json!(true)), saw(false), "manual"),
                world.edited("T", 11, ("tag:a", json!(false)), saw(true), "manual"),
                // Meanwhile the cloud takes b away and adds d and e, one by one and as a list.
                world.observed(
                    "T",
                    20,
                    &json!({"tags_removed": ["b"], "tags_added": [{"id": "d"}]}),
                ),
                world.observed("T", 21, &tags(&["a", "d", "e"])),
            ])
            .await;
        for (tag, state, is) in [
            ("a", "pending", false),
            ("b", "remote", false),
            ("c", "pending", true),
            ("d", "remote", true),
            ("e", "remote", true),
        ] {
            stands(&world.field("T", &format!("tag:{tag}")).await, state, &json!(is));
        }
        let shown = device(&stack, "T").await;
        let ids: Vec<_> = shown["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tag| tag["id"].as_str())
            .collect();
        assert_eq!(ids, ["c", "d", "e"]);
        world.tell(&[world.observed("T", 30, &tags(&["c", "d"]))]).await;
        stands(&world.field("T", "tag:a").await, "settled", &json!(false));
        stands(&world.field("T", "tag:c").await, "settled", &json!(true));
        assert!(stack.rows("SELECT * FROM fleet.conflicts").await.is_empty());
    });
}

#[test]
fn where_no_cloud_of_a_device_takes_a_field_the_edit_overrides_it_here() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await.at_a("mqtt").await;
        shown(&world, &["A"]).await;
        let edit = world.edited(
            "A",
            10,
            ("metadata", version(2)),
            Some((version(1), 0)),
            "prefer_local",
        );
        world
            .tell(&[edit, world.observed("A", 20, &json!({"metadata": version(3)}))])
            .await;
        let field = world.field("A", "metadata").await;
        stands(&field, "kept", &version(2));
        assert_eq!(field["push_pending"], false);
    });
}

#[test]
fn a_device_that_returned_shows_nothing_of_what_was_said_before_it_went() {
    on_stack(|stack| async move {
        let world = World::new(stack).await;
        shown(&world, &["A"]).await;
        let edit = world.edited("A", 10, ("metadata", version(2)), Some((version(1), 0)), "manual");
        world.tell(&[edit, world.gone("A", 20)]).await;
        assert_eq!(
            world.field("A", "metadata").await["remote"],
            version(1),
            "all it was is kept"
        );
        world
            .tell(&[world.observed("A", 30, &json!({"enabled": true}))])
            .await;
        let field = world.field("A", "metadata").await;
        stands(&field, "pending", &version(2));
        assert_eq!(field["remote_at"], Value::Null);
    });
}

#[test]
fn an_organization_sees_its_own_conflicts() {
    on_stack(|stack| async move {
        let mine = World::new(stack.clone()).await;
        let theirs = mine.another().await;
        for world in [&mine, &theirs] {
            shown(world, &["A"]).await;
            let edit = world.edited("A", 10, ("metadata", version(2)), Some((version(1), 0)), "manual");
            world
                .tell(&[edit, world.observed("A", 20, &json!({"metadata": version(3)}))])
                .await;
        }
        let api = stack.pool_as("api");
        let mut connection = api.acquire().await.expect("a connection");
        for world in [&mine, &theirs] {
            sqlx::query("SELECT set_config('fleetlog.organization', $1, false)")
                .bind(world.organization.to_string())
                .execute(&mut *connection)
                .await
                .expect("a setting");
            for view in ["conflicts", "conflict_history", "device_fields"] {
                let query = format!("SELECT DISTINCT organization FROM fleet.{view}");
                let seen: Vec<uuid::Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                    .fetch_all(&mut *connection)
                    .await
                    .expect("readable");
                assert_eq!(seen, [world.organization.0], "fleet.{view}");
            }
        }
    });
}
