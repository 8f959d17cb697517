//! The rules in SQL and their twins in Rust: they must agree on everything.

use std::collections::{BTreeMap, BTreeSet};

use projector::fold::{
    resolve::{Accepted, Edit, Known, Remote, Shows, base, conflict_id, resolve, shows},
    whole,
};
use proptest::{
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use schema::{Event, EventId, Field, Micros, PushOutcome, RawJson};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{on_stack, read_log};
use time::OffsetDateTime;
use uuid::Uuid;

use super::told::World;

/// One case: a field of that name, and what is known of it.
type Case = (&'static str, Known);

/// Names values: the one that a missing value equals, and two others.
fn values(field: &str) -> [Uuid; 3] {
    let id = |value: Value| RawJson::from_value(&value).value_id();
    if Field::is_tag_name(field) {
        [id(json!(false)), id(json!(true)), id(json!("other"))]
    } else {
        [id(Value::Null), id(json!({"v": 1})), id(json!({"v": 2}))]
    }
}

fn instant(second: i64) -> Micros {
    Micros::from_micros(1_767_225_600_000_000 + second * 1_000_000).expect("within range")
}

/// Every combination of three values at three instants, of answers and strategies.
fn every_case() -> Vec<Case> {
    let mut cases = Vec::new();
    for field in ["metadata", "tag:x", "notes"] {
        let values = values(field);
        let told = || {
            values
                .into_iter()
                .flat_map(|value| (1..4).map(move |at| (value, instant(at))))
        };
        let maybe = || std::iter::once(None).chain(told().map(Some));
        let answers = [PushOutcome::Accepted, PushOutcome::Rejected]
            .into_iter()
            .flat_map(|outcome| (1..4).map(move |at| Some((outcome, instant(at)))));
        let answers: Vec<_> = std::iter::once(None).chain(answers).collect();
        for value in values {
            for strategy in ["prefer_local", "prefer_remote", "manual", "merge", "ask"] {
                for seen in maybe() {
                    for accepted in maybe() {
                        for answer in &answers {
                            for remote in maybe() {
                                let edit = Edit {
                                    id: EventId(Uuid::nil()),
                                    value,
                                    seen: seen.map(|(value, _)| value),
                                    seen_at: seen.map(|(_, at)| at),
                                    strategy: projector::fold::fields::strategy(strategy),
                                    answer: *answer,
                                };
                                let known = Known {
                                    local: Field::is_local_name(field),
                                    absent: values[0],
                                    remote: remote.map(|(value, at)| Remote { at, value }),
                                    edit: Some(edit),
                                    accepted: accepted.map(|(value, at)| Accepted { at, value }),
                                };
                                cases.push((field, known));
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn a_field_is_decided_alike_in_sql_and_in_rust_in_every_case() {
    on_stack(|stack| async move {
        let cases = every_case();
        assert!(cases.len() > 300_000, "{}", cases.len());
        let mut met = BTreeSet::new();
        for some in cases.chunks(50_000) {
            let decided = decided(&stack.operator, some).await;
            for ((field, known), in_sql) in some.iter().zip(&decided) {
                let state = resolve(known);
                let shown = match shows(known, state) {
                    Shows::Edit => "edit",
                    Shows::Remote => "remote",
                    Shows::Base => "base",
                };
                let edit = known.edit.as_ref().expect("every case has one");
                let base = base(known.absent, edit, known.accepted);
                let from = if base.accepted { "accepted" } else { "seen" };
                let in_rust = (<&str>::from(state).to_owned(), shown.to_owned(), from.to_owned());
                assert_eq!(&in_rust, in_sql, "{field}: {known:?}");
                met.insert(in_rust.0);
            }
        }
        assert_eq!(met.len(), 9, "every state of an edited field occurs: {met:?}");
    });
}

async fn decided(pool: &PgPool, cases: &[Case]) -> Vec<(String, String, String)> {
    let edits: Vec<&Edit> = cases
        .iter()
        .filter_map(|(_, known)| known.edit.as_ref())
        .collect();
    let time = |at: Micros| at.to_datetime();
    let fields: Vec<&str> = cases.iter().map(|(field, _)| *field).collect();
    let of = |value: fn(&Edit) -> Option<Uuid>| edits.iter().map(|edit| value(edit)).collect::<Vec<_>>();
    let strategies: Vec<&str> = edits.iter().map(|edit| edit.strategy.as_str()).collect();
    let seen_at: Vec<Option<OffsetDateTime>> = edits.iter().map(|edit| edit.seen_at.map(time)).collect();
    let accepted: Vec<Option<Uuid>> = cases
        .iter()
        .map(|(_, known)| known.accepted.map(|it| it.value))
        .collect();
    let accepted_at: Vec<Option<OffsetDateTime>> = cases
        .iter()
        .map(|(_, known)| known.accepted.map(|it| time(it.at)))
        .collect();
    let answers: Vec<Option<&str>> = edits
        .iter()
        .map(|edit| {
            edit.answer.map(|(outcome, _)| match outcome {
                PushOutcome::Accepted => "accepted",
                PushOutcome::Rejected => "rejected",
            })
        })
        .collect();
    let answer_at: Vec<Option<OffsetDateTime>> = edits
        .iter()
        .map(|edit| edit.answer.map(|(_, at)| time(at)))
        .collect();
    let remote: Vec<Option<Uuid>> = cases
        .iter()
        .map(|(_, known)| known.remote.map(|it| it.value))
        .collect();
    let remote_at: Vec<Option<OffsetDateTime>> = cases
        .iter()
        .map(|(_, known)| known.remote.map(|it| time(it.at)))
        .collect();
    sqlx::query_as(
        "SELECT r.state, r.shows, r.base_from
           FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::uuid[],
                       $7::timestamptz[], $8::text[], $9::timestamptz[], $10::uuid[], $11::timestamptz[])
                WITH ORDINALITY c (field, edit, strategy, seen, seen_at, accepted, accepted_at,
                                   answer, answer_at, remote, remote_at, place)
          CROSS JOIN LATERAL fleet.resolve_field(
                c.field, c.edit, c.strategy, c.seen, c.seen_at, c.accepted, c.accepted_at,
                c.answer, c.answer_at, c.remote, c.remote_at) r
          ORDER BY c.place",
    )
    .bind(fields)
    .bind(of(|edit| Some(edit.value)))
    .bind(strategies)
    .bind(of(|edit| edit.seen))
    .bind(seen_at)
    .bind(accepted)
    .bind(accepted_at)
    .bind(answers)
    .bind(answer_at)
    .bind(remote)
    .bind(remote_at)
    .fetch_all(pool)
    .await
    .expect("the cases can be decided")
}

#[test]
fn values_and_conflicts_are_named_alike_in_sql_and_in_rust() {
    on_stack(|stack| async move {
        let (edit, remote) = (Uuid::new_v4(), Uuid::new_v4());
        let names: (Uuid, Uuid, Uuid, Uuid, String) = sqlx::query_as(
            "SELECT fleet.boolean_hash(true), fleet.boolean_hash(false), fleet.absent_hash('metadata'),
                    fleet.absent_hash('tag:x'), fleet.conflict_id($1, 'tag:ü', $2)",
        )
        .bind(edit)
        .bind(remote)
        .fetch_one(&stack.operator)
        .await
        .expect("the functions are there");
        let id = |value: Value| RawJson::from_value(&value).value_id();
        let no = id(json!(false));
        let conflict = conflict_id(EventId(edit), "tag:ü", remote);
        assert_eq!(names, (id(json!(true)), no, id(Value::Null), no, conflict));
    });
}

/// One thing that happens to one of a few devices. Instants and values are few, so that much coincides.
#[derive(Clone, Debug)]
struct Step {
    machine: usize,
    at: i64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// One of its two provider devices shows this.
    Shows(usize, Value),
    Goes(usize),
    Edits {
        field: &'static str,
        value: Value,
        seen: Option<(Value, i64)>,
        strategy: &'static str,
    },
    Answers(Index, bool),
}

const MACHINES: usize = 200;

fn edits_of(field: &'static str, value: BoxedStrategy<Value>) -> impl Strategy<Value = What> {
    let strategies = vec!["prefer_local", "prefer_remote", "manual", "merge", "ask"];
    let seen = proptest::option::of((value.clone(), 0..9_i64));
    (value, seen, select(strategies)).prop_map(move |(value, seen, strategy)| What::Edits {
        field,
        value,
        seen,
        strategy,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let metadata = || select(vec![Value::Null, json!({"v": 1}), json!({"v": 2.50, "a": "ü"})]);
    let shown = prop_oneof![
        4 => metadata().prop_map(|value| json!({"metadata": value})),
        1 => any::<bool>().prop_map(|is| json!({"enabled": is})),
        1 => select(vec![
            json!([]),
            json!([{"id": "x"}]),
            json!([{"id": "y", "name": "Y"}]),
            Value::Null
        ])
        .prop_map(|tags| json!({"tags": tags})),
        1 => select(vec!["x", "z"]).prop_map(|id| json!({"tags_added": [{"id": id}]})),
        1 => select(vec!["x", "y"]).prop_map(|id| json!({"tags_removed": [id]})),
        1 => Just(json!({"status": "fine", "blueprint": "b"})),
    ];
    let flag = || any::<bool>().prop_map(|is| json!(is));
    let note = || select(vec![json!("a"), json!("b")]);
    let edits = prop_oneof![
        4 => edits_of("metadata", metadata().boxed()),
        1 => edits_of("enabled", flag().boxed()),
        1 => edits_of("tag:x", flag().boxed()),
        1 => edits_of("tag:w", flag().boxed()),
        1 => edits_of("notes", note().boxed()),
    ];
    let what = prop_oneof![
        6 => (0..2_usize, shown).prop_map(|(side, shown)| What::Shows(side, shown)),
        1 => (0..2_usize).prop_map(What::Goes),
        4 => edits,
        2 => (any::<Index>(), any::<bool>()).prop_map(|(edit, taken)| What::Answers(edit, taken)),
    ];
    (0..MACHINES, 0..9_i64, what).prop_map(|(machine, at, what)| Step { machine, at, what })
}

fn events_of(world: &World, steps: &[Step]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut edits: BTreeMap<usize, Vec<(Event, &str)>> = BTreeMap::new();
    for machine in 0..MACHINES {
        for side in 0..2 {
            let named = json!({"name": format!("M-{machine}")});
            events.push(world.observed(&format!("{machine}-{side}"), -10, &named));
        }
    }
    for Step { machine, at, what } in steps {
        let serial = format!("M-{machine}");
        match what {
            What::Shows(side, shown) => events.push(world.observed(&format!("{machine}-{side}"), *at, shown)),
            What::Goes(side) => events.push(world.gone(&format!("{machine}-{side}"), *at)),
            What::Edits {
                field,
                value,
                seen,
                strategy,
            } => {
                let edit = world.edited(&serial, *at, (field, value.clone()), seen.clone(), strategy);
                edits.entry(*machine).or_default().push((edit.clone(), field));
                events.push(edit);
            }
            What::Answers(edit, taken) => {
                if let Some(edits) = edits.get(machine) {
                    let (edit, field) = edit.get(edits);
                    let outcome = if *taken { "accepted" } else { "rejected" };
                    events.push(world.pushed(edit, field, *at, outcome));
                }
            }
        }
    }
    events
}

/// One device a strategy whose metadata both sides changed: chance seldom leaves a field so.
fn contested(world: &World) -> Vec<Event> {
    let each = ["prefer_local", "prefer_remote", "manual"].map(|strategy| {
        let change = ("metadata", json!({"v": 1}));
        [
            world.observed(strategy, -10, &json!({"name": strategy, "metadata": {"v": 0}})),
            world.edited(strategy, 1, change, Some((json!({"v": 0}), 0)), strategy),
            world.observed(strategy, 2, &json!({"metadata": {"v": 2}})),
        ]
    });
    each.into_iter().flatten().collect()
}

/// Device, field, state, value, remote value, conflict.
type Line = (String, String, String, Value, Value, Option<String>);

#[test]
fn the_fields_of_devices_are_those_that_the_whole_log_gives() {
    on_stack(|stack| async move {
        let world = World::new(stack.clone()).await;
        let mut runner = TestRunner::deterministic();
        let steps = proptest::collection::vec(any_step(), 4_000)
            .new_tree(&mut runner)
            .expect("steps")
            .current();
        let mut events = events_of(&world, &steps);
        events.extend(contested(&world));
        world.tell(&events).await;

        let log = read_log(&stack.log).await;
        let tables = whole(log.iter().map(|(position, event)| (position.partition, event)));
        let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for device in tables.devices.keys() {
            for (field, shown) in tables.fields_of(*device) {
                let line: Line = (
                    device.to_string(),
                    field,
                    <&str>::from(shown.state).to_owned(),
                    shown.value.map_or(Value::Null, |it| value(&it.text)),
                    shown.remote.map_or(Value::Null, |it| value(&it.value.text)),
                    shown.conflict,
                );
                expected.insert(format!("{line:?}"));
            }
        }
        let rows: Vec<Line> = sqlx::query_as(
            "SELECT device::text, field, state, coalesce(value, 'null'), coalesce(remote, 'null'), conflict
               FROM fleet.device_fields",
        )
        .fetch_all(&stack.operator)
        .await
        .expect("the fields can be read");
        let shown: BTreeSet<String> = rows.iter().map(|line| format!("{line:?}")).collect();
        let missing: Vec<_> = expected.difference(&shown).take(5).collect();
        let too_many: Vec<_> = shown.difference(&expected).take(5).collect();
        assert!(
            missing.is_empty() && too_many.is_empty(),
            "missing {missing:#?}; too many {too_many:#?}"
        );
        let states: BTreeSet<&str> = expected
            .iter()
            .filter_map(|line| line.split('"').nth(5))
            .collect();
        assert_eq!(states.len(), 10, "every state occurs: {states:?}");
        what_devices_show_is_what_their_fields_show(&world).await;
    });
}

async fn what_devices_show_is_what_their_fields_show(world: &World) {
    let differing = world
        .stack
        .rows(
            "SELECT d.serial, f.field, f.value,
                    CASE f.field WHEN 'metadata' THEN d.metadata WHEN 'enabled' THEN to_jsonb(d.enabled)
                                 WHEN 'notes' THEN to_jsonb(d.notes) WHEN 'blueprint' THEN to_jsonb(d.blueprint)
                                 ELSE to_jsonb(coalesce(d.tags @> jsonb_build_array(
                                      jsonb_build_object('id', substr(f.field, 5))), false)) END AS shown
               FROM fleet.devices d
               JOIN fleet.device_fields f ON f.device = d.id
              WHERE f.field IN ('metadata', 'enabled', 'notes', 'blueprint') OR f.field LIKE 'tag:%'",
        )
        .await;
    assert!(differing.len() > MACHINES, "there are fields");
    for row in &differing {
        assert_eq!(row["value"], row["shown"], "{row}");
    }
    let counts = world
        .stack
        .rows(
            "SELECT sum(d.pending_conflicts) AS of_devices,
                    (SELECT count(*) FROM fleet.conflicts WHERE kind = 'field') AS listed,
                    (SELECT count(*) FROM fleet.device_fields WHERE conflict IS NOT NULL) AS of_fields
               FROM fleet.devices d",
        )
        .await;
    assert_eq!(counts[0]["of_devices"].as_u64(), counts[0]["listed"].as_u64());
    assert_eq!(counts[0]["of_fields"].as_u64(), counts[0]["listed"].as_u64());
    assert!(counts[0]["listed"].as_u64() > Some(0), "{counts:?}");
}
