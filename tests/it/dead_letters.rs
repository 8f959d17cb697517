//! Deliveries that nobody understood when they were received: tried again after a fix, they end in the rows that they
//! would have made then.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use schema::{DeadLetter, EventId, Micros, Topic};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use stream::Appender;
use tests::{Delivery, Integration, Stack, eventually, on_stack, read_log, read_raw};

use crate::{
    dialects::{device, rooms},
    poison::letters,
};

/// Who may send, as rows: organizations, integrations, credentials.
const REGISTRY: [&str; 3] = ["organizations", "integrations", "credentials"];

/// What was delivered directly, and what came of it.
#[derive(Clone)]
struct Direct {
    registry: BTreeMap<&'static str, Vec<Value>>,
    letters: Vec<DeadLetter>,
    ids: Vec<String>,
    rows: BTreeMap<String, Vec<Value>>,
}

async fn registry(stack: &Stack) -> BTreeMap<&'static str, Vec<Value>> {
    let mut registry = BTreeMap::new();
    for table in REGISTRY {
        let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT to_jsonb(t) FROM control.{table} t"
        )))
        .fetch_all(&stack.admin)
        .await
        .expect("readable");
        registry.insert(table, rows);
    }
    registry
}

async fn register(stack: &Stack, registry: &BTreeMap<&'static str, Vec<Value>>) {
    for table in REGISTRY {
        for row in &registry[table] {
            let copied = format!(
                "INSERT INTO control.{table} SELECT * FROM jsonb_populate_record(NULL::control.{table}, $1)"
            );
            sqlx::query(AssertSqlSafe(copied))
                .bind(row)
                .execute(&stack.admin)
                .await
                .expect("copied");
        }
    }
}

/// All rows of all truth tables of `gen_1`.
async fn rows(stack: &Stack) -> BTreeMap<String, Vec<Value>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
          WHERE relnamespace = 'gen_1'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1",
    )
    .fetch_all(&stack.admin)
    .await
    .expect("readable");
    let mut all = BTreeMap::new();
    for table in tables {
        let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT to_jsonb(t) FROM gen_1.{table} t ORDER BY t::text"
        )))
        .fetch_all(&stack.admin)
        .await
        .expect("readable");
        all.insert(table, rows);
    }
    all
}

/// Deliveries that say when or by which id: what has neither could not be recognized.
fn deliveries(to: &Integration) -> Vec<Delivery> {
    let updated = json!({"event": "device.updated", "timestamp": "2026-01-01T00:00:00Z", "device": {
        "id": "d1", "name": "SN-1", "status": "online", "lastSeen": "2025-12-31T23:00:00Z",
        "metadata": {"site": "north"}, "hardwareIds": ["hw-1"], "tags": ["t1", "t2"],
        "firmware": {"package": "main", "version": "1.2.3", "state": "idle"}}});
    vec![
        Delivery::platform(to, &updated),
        // It has an id and no time, so its receipt is its time.
        Delivery::golioth(to, "d1", "/sensor", r#"{ "temp": 21.50, "battery": 77 }"#).header("ce-id", "once"),
        Delivery::golioth(
            to,
            "d1",
            "/logs",
            r#"{"level": "warn", "module": "m", "msg": "hot"}"#,
        )
        .header("ce-time", "2026-01-01T00:00:01Z"),
        Delivery::golioth(to, "d2", "/raw", vec![0_u8, 159, 146, 150])
            .with("content-type", "application/octet-stream")
            .header("ce-time", "2026-01-01T00:00:02Z"),
    ]
}

async fn folded(stack: &Stack) {
    device(stack, &organization(stack).await, "SN-1", |device| {
        device["firmware_version"] == "1.2.3" && device["battery"].is_number()
    })
    .await;
    eventually("every reading and log entry is there", || async {
        let rows = stack
            .rows("SELECT (SELECT count(*) FROM fleet.readings) AS readings, (SELECT count(*) FROM fleet.logs) AS logs")
            .await;
        if (&rows[0]["readings"], &rows[0]["logs"]) == (&json!(2), &json!(1)) {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    })
    .await;
}

async fn organization(stack: &Stack) -> String {
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM control.organizations")
        .fetch_one(&stack.admin)
        .await
        .expect("one organization");
    id.to_string()
}

/// Delivers everything to a door of its own, and notes what an earlier version would have kept instead.
async fn deliver(stack: &Stack) -> Direct {
    let door = stack.ingest().await;
    let _projector = stack.projector().await;
    let organization = stack.organization().await;
    let to = stack.integration(&door, &organization, None).await;
    let mut kept = Vec::new();
    for delivery in deliveries(&to) {
        let answer = eventually("the door knows the integration", || async {
            let answer = delivery.post().await;
            if answer.status == 202 {
                Ok(answer)
            } else {
                Err(answer.json.to_string())
            }
        })
        .await;
        let events = answer.json["events"].as_array().expect("events").clone();
        kept.push((delivery, events));
    }
    folded(stack).await;
    let log = read_log(&stack.log).await;
    let mut letters = Vec::new();
    let mut ids = Vec::new();
    for (delivery, events) in kept {
        let id_of = |event: &Value| event["id"].as_str().expect("an id").to_owned();
        let (_, event) = log
            .iter()
            .find(|(_, event)| event.id.to_string() == id_of(&events[0]))
            .expect("in the log");
        ids.extend(events.iter().map(id_of));
        letters.push(DeadLetter {
            id: EventId::random(),
            organization: event.organization,
            integration: event.integration.expect("an integration"),
            credential: event.credential,
            received_at: event.recorded_at,
            reason: "unrecognized".to_owned(),
            detail: "an earlier version did not know it".to_owned(),
            part: None,
            headers: delivery
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("ce-") || name == "content-type")
                .cloned()
                .collect(),
            body: delivery.body.clone(),
        });
    }
    Direct {
        registry: registry(stack).await,
        letters,
        ids,
        rows: rows(stack).await,
    }
}

#[test]
fn what_yesterdays_version_did_not_understand_ends_in_the_rows_it_would_have_made_then() {
    let delivered: Rc<RefCell<Option<Direct>>> = Rc::default();
    let into = delivered.clone();
    on_stack(|stack| async move {
        let direct = deliver(&stack).await;
        into.replace(Some(direct));
    });
    let direct = delivered.take().expect("it was delivered");
    on_stack(|stack| async move {
        register(&stack, &direct.registry).await;
        let appender = Appender::connect(&stack.log, Duration::from_secs(10))
            .await
            .expect("the log");
        for letter in &direct.letters {
            let record = letter.encode(&appender.log().log_id);
            let outcomes = appender.append_each([(Topic::DeadLetters, &record)]).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        }
        let n = direct.letters.len();
        assert_eq!(letters(&stack, &["--reason", "unrecognized"]).await.len(), n);
        let _projector = stack.projector().await;

        let all = [
            "dead-letters",
            "redrive",
            "--all-matching",
            "--kind",
            "delivery",
            "--json",
        ];
        let dry = stack.fleetlog(&[&all[..], &["--dry-run"]].concat()).await;
        assert_eq!(
            letters(&stack, &[]).await.len(),
            n,
            "a dry run does nothing: {dry}"
        );
        assert!(read_raw(&stack.log, Topic::Readings).await.is_empty());

        let output = stack.fleetlog(&[&all[..], &["--yes"]].concat()).await;
        let lines: Vec<Value> = output
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let made: Vec<&str> = lines
            .iter()
            .flat_map(|line| line["events"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        assert_eq!(
            sorted(made.into_iter().map(str::to_owned).collect()),
            sorted(direct.ids.clone()),
            "the ids are those that they would have had"
        );
        folded(&stack).await;
        let redriven = rows(&stack).await;
        assert_eq!(redriven.len(), direct.rows.len());
        for (table, expected) in &direct.rows {
            assert_eq!(&redriven[table], expected, "{table}");
        }

        // Understood is understood: not listed, not tried again, whatever becomes of the database.
        assert!(letters(&stack, &[]).await.is_empty());
        let id = direct.letters[0].id.to_string();
        let (code, _, errors) = stack.try_fleetlog(&["dead-letters", "redrive", &id]).await;
        assert_eq!(code, 4, "{errors}");
        stack.fleetlog(&["rebuild"]).await;
        assert!(letters(&stack, &[]).await.is_empty());
        let settled = letters(&stack, &["--all"]).await;
        assert!(
            settled.iter().all(|letter| letter["redriven_at"].is_string()),
            "{settled:?}"
        );
        let received: Vec<Micros> = direct.letters.iter().map(|letter| letter.received_at).collect();
        assert!(
            settled
                .iter()
                .all(|letter| received.iter().any(|at| letter["received_at"] == at.to_string()))
        );
    });
}

#[test]
fn what_fails_again_is_counted_and_makes_no_second_letter() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let answer = Delivery::bare(to, "no JSON {")
            .header("x-api-key", &to.secret)
            .header("content-type", "application/json")
            .post()
            .await
            .accepted();
        let id = answer.json["dead_letter"]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let body = stack.fleetlog(&["dead-letters", "show", &id, "--body"]).await;
        assert_eq!(body, "no JSON {");
        let shown = stack.fleetlog(&["dead-letters", "show", &id]).await;
        assert!(
            shown.contains("malformed_json") && !shown.contains(&to.secret),
            "{shown}"
        );
        for attempts in [2, 3] {
            let (code, output, errors) = stack
                .try_fleetlog(&["dead-letters", "redrive", &id, "--json"])
                .await;
            assert_eq!(code, 1, "{errors}");
            assert!(output.contains("malformed_json"), "{output}");
            let listed = letters(&stack, &[]).await;
            assert_eq!(listed.len(), 1, "{listed:?}");
            assert_eq!(listed[0]["attempts"], attempts);
            assert!(
                listed[0]["failed_at"].as_str() > listed[0]["received_at"].as_str(),
                "{listed:?}"
            );
        }
        let (code, _, _) = stack
            .try_fleetlog(&["dead-letters", "show", &EventId::random().to_string()])
            .await;
        assert_eq!(code, 3);

        // Of an integration that is gone it says what can be done.
        for table in ["credential_use", "credentials", "integrations"] {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM control.{table}")))
                .execute(&stack.admin)
                .await
                .expect("deleted");
        }
        let (code, output, _) = stack.try_fleetlog(&["dead-letters", "redrive", &id]).await;
        assert_eq!(code, 1);
        assert!(
            output.contains("integration is gone") && output.contains("fleetlog send"),
            "{output}"
        );
        assert_eq!(letters(&stack, &[]).await[0]["attempts"], 3, "it was not tried");
    });
}

#[test]
fn a_pointer_that_was_wrong_shows_right_as_soon_as_it_is_changed() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let named = json!({"type": "device.created", "device": {"id": "p-1", "name": "SN-P"}});
        Delivery::platform(to, &named).post().await.accepted();
        Delivery::golioth(to, "p-1", "/power", r#"{"cells": {"charge": 41}, "battery": 3}"#)
            .post()
            .await
            .accepted();
        let battery = |wanted: f64| {
            move |device: &Value| device["battery"].to_string().parse::<f64>().ok() == Some(wanted)
        };
        device(&stack, &rooms.organization, "SN-P", battery(3.0)).await;
        let edited = stack
            .fleetlog_json(&[
                "integration",
                "edit",
                &to.id,
                "--battery-pointer",
                "/cells/charge",
                "--strategy",
                "metadata=manual",
                "--json",
            ])
            .await;
        assert_eq!(
            edited["changed"]["battery_pointers"]["after"],
            json!(["/cells/charge"])
        );
        let now = stack.devices(&rooms.organization).await;
        let found = now
            .iter()
            .find(|device| device["serial"] == "SN-P")
            .expect("it is there");
        assert!(battery(41.0)(found), "at once, without a rebuild: {found}");

        let shown = stack
            .fleetlog_json(&["integration", "show", &to.id, "--json"])
            .await;
        assert_eq!(shown["strategies"], json!({"metadata": "manual"}));
        let back = stack
            .fleetlog(&[
                "integration",
                "edit",
                &to.id,
                "--unset",
                "battery-pointers",
                "--no-strategy",
                "metadata",
            ])
            .await;
        assert!(back.contains("battery_pointers"), "{back}");
        device(&stack, &rooms.organization, "SN-P", battery(3.0)).await;
        let (code, _, errors) = stack
            .try_fleetlog(&["integration", "edit", &to.id, "--offline-timeout", "1s"])
            .await;
        assert_eq!(code, 4, "{errors}");
        let (code, _, _) = stack
            .try_fleetlog(&[
                "integration",
                "edit",
                &uuid::Uuid::new_v4().to_string(),
                "--project",
                "p",
            ])
            .await;
        assert_eq!(code, 3);

        // The trail has both changes, with what they were before.
        let log = read_log(&stack.log).await;
        let trail: Vec<_> = log
            .iter()
            .filter_map(|(_, event)| {
                if let schema::Body::IntegrationChanged(changed) = &event.body {
                    Some(changed)
                } else {
                    None
                }
            })
            .filter(|changed| changed.change == "edited")
            .collect();
        assert_eq!(trail.len(), 2, "{trail:?}");
        assert!(
            trail
                .iter()
                .all(|changed| changed.fields.0.contains_key("battery_pointers"))
        );
    });
}
