//! Events that cannot be folded are set aside and hold up no other; what is not their own fault halts, and says what to
//! do.

use schema::Topic;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Delivery, Integration, Role, Stack, eventually, on_stack};

use crate::{
    dialects::{device, rooms},
    ownership::rows_of_generation_equal_the_log,
};

async fn execute(stack: &Stack, statement: &str) {
    let done = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&stack.admin)
        .await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A device with a firmware version, in one delivery of several events.
pub(crate) async fn report(to: &Integration, device: &str, version: &str) {
    let event = json!({"event": "device.updated", "timestamp": "2026-01-01T00:00:00Z", "device": {
        "id": device, "name": format!("SN-{device}"), "firmware": {"package": "main", "version": version}}});
    Delivery::platform(to, &event).post().await.accepted();
}

/// What `fleetlog dead-letters list --json` prints.
pub(crate) async fn letters(stack: &Stack, args: &[&str]) -> Vec<Value> {
    let output = stack
        .fleetlog(&[&["dead-letters", "list", "--json"], args].concat())
        .await;
    let lines = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"));
    lines.collect()
}

async fn n_letters(stack: &Stack, wanted: usize) -> Vec<Value> {
    eventually(&format!("{wanted} events are set aside"), || async {
        let letters = letters(stack, &["--kind", "event"]).await;
        if letters.len() == wanted {
            Ok(letters)
        } else {
            Err(format!("{letters:?}"))
        }
    })
    .await
}

async fn readiness(role: &Role) -> (u16, String) {
    match reqwest::get(format!("{}/health/ready", role.url)).await {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}

async fn n_halted(projector: &Role) -> usize {
    let samples = projector.metric("fleetlog_projector_halted{").await;
    samples.iter().filter(|sample| sample.ends_with(" 1")).count()
}

/// Waits until the role is not ready, since a partition is halted, and says so in these words.
async fn halted(projector: &Role, words: &[&str]) {
    eventually("it stands still and says why", || async {
        let (status, body) = readiness(projector).await;
        if status == 503 && words.iter().all(|word| body.contains(word)) {
            Ok(())
        } else {
            Err(format!("{status} {body}"))
        }
    })
    .await;
    eventually("the metric says so", || async {
        let n = n_halted(projector).await;
        if n > 0 {
            Ok(())
        } else {
            Err("none is halted".to_owned())
        }
    })
    .await;
    let log = projector.log_text();
    assert!(
        log.contains("ERROR") && words.iter().all(|word| log.contains(word)),
        "{log}"
    );
}

#[test]
fn what_is_no_event_of_ours_is_set_aside_and_its_neighbours_flow() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        report(to, "before", "1.0").await;
        let position = tests::produce(&stack.log, Topic::Events, "somebody", "no event of ours").await;
        for index in 0..12 {
            report(to, &format!("after-{index}"), "1.0").await;
        }
        for index in 0..12 {
            device(&stack, &rooms.organization, &format!("SN-after-{index}"), |_| {
                true
            })
            .await;
        }
        let aside = n_letters(&stack, 1).await;
        assert_eq!(aside[0]["id"], position.to_string());
        assert_eq!(aside[0]["reason"], "undecodable");
        assert!(
            aside[0]["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("ce_")),
            "{aside:?}"
        );
        let id = position.to_string();
        let body = stack.fleetlog(&["dead-letters", "show", &id, "--body"]).await;
        assert_eq!(body, "no event of ours");
        assert_eq!(n_halted(&rooms.projector).await, 0);
        assert!(rooms.projector.log_text().contains("is set aside"));
        let counted = rooms
            .projector
            .metric("fleetlog_projector_dead_letters_total{reason=\"undecodable\"}")
            .await;
        assert_eq!(
            counted,
            ["fleetlog_projector_dead_letters_total{reason=\"undecodable\"} 1"]
        );

        // It is tried again in vain: counted, not multiplied.
        let (code, _, errors) = stack.try_fleetlog(&["dead-letters", "redrive", &id]).await;
        assert_eq!(code, 1, "{errors}");
        let aside = n_letters(&stack, 1).await;
        assert_eq!(aside[0]["attempts"], 2);

        // A rebuild sets the same aside, and its proof holds.
        let report = stack.fleetlog_json(&["rebuild", "--json"]).await;
        assert_eq!(report["outcome"], "promoted", "{report}");
        let aside = n_letters(&stack, 1).await;
        assert_eq!(
            (&aside[0]["id"], &aside[0]["generation"]),
            (&json!(id), &json!("gen_2"))
        );
    });
}

#[test]
fn what_postgres_refuses_is_set_aside_and_folded_after_the_fix() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        execute(
            &stack,
            "ALTER TABLE gen_1.firmware_reports ADD CONSTRAINT no_poison CHECK (version <> 'poison')",
        )
        .await;
        for index in 0..40 {
            let version = if index % 13 == 5 { "poison" } else { "1.0" };
            report(to, &format!("d{index}"), version).await;
        }
        let aside = n_letters(&stack, 3).await;
        for letter in &aside {
            assert_eq!(
                (&letter["reason"], &letter["sqlstate"]),
                (&json!("refused_constraint"), &json!("23514"))
            );
            assert_eq!(letter["event"], "firmware.reported.v1");
            assert!(
                letter["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.contains("no_poison")),
                "{letter}"
            );
            assert_eq!(letter["integration"], json!(to.id));
        }
        // The rest of the same deliveries is there.
        device(&stack, &rooms.organization, "SN-d5", |device| {
            device["firmware_version"].is_null()
        })
        .await;
        device(&stack, &rooms.organization, "SN-d39", |device| {
            device["firmware_version"] == "1.0"
        })
        .await;
        assert_eq!(n_halted(&rooms.projector).await, 0);
        // What is set aside is no drift.
        stack.fleetlog(&["audit", "--sample", "1000"]).await;

        let all = [
            "dead-letters",
            "redrive",
            "--all-matching",
            "--kind",
            "event",
            "--yes",
        ];
        let (code, output, _) = stack.try_fleetlog(&all).await;
        assert_eq!(code, 1, "{output}");
        assert!(output.contains("0 understood, 3 failed again"), "{output}");
        assert!(
            n_letters(&stack, 3)
                .await
                .iter()
                .all(|letter| letter["attempts"] == 2)
        );

        execute(
            &stack,
            "ALTER TABLE gen_1.firmware_reports DROP CONSTRAINT no_poison",
        )
        .await;
        let dry = stack.fleetlog(&[&all[..], &["--dry-run"]].concat()).await;
        assert!(dry.contains("3 would be understood"), "{dry}");
        n_letters(&stack, 3).await;
        let (code, _, errors) = stack.try_fleetlog(&all[..5]).await;
        assert_eq!(code, 2, "without a terminal nobody can be asked");
        assert!(errors.contains("3 dead letters"), "{errors}");
        let done = stack.fleetlog(&all).await;
        assert!(done.contains("3 understood, 0 failed again"), "{done}");
        n_letters(&stack, 0).await;
        let settled = letters(&stack, &["--kind", "event", "--all"]).await;
        assert!(
            settled.len() == 3 && settled.iter().all(|letter| letter["redriven_at"].is_string()),
            "{settled:?}"
        );
        device(&stack, &rooms.organization, "SN-d5", |device| {
            device["firmware_version"] == "poison"
        })
        .await;

        // The projector goes on, and the rows are those of the whole log.
        report(to, "d5", "2.0").await;
        report(to, "last", "1.0").await;
        device(&stack, &rooms.organization, "SN-last", |_| true).await;
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        let report = stack.fleetlog_json(&["rebuild", "--json"]).await;
        assert_eq!(report["outcome"], "promoted", "{report}");
        n_letters(&stack, 0).await;
    });
}

#[test]
fn a_missing_grant_halts_loudly_and_is_gone_on_from_by_itself() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        report(to, "before", "1.0").await;
        device(&stack, &rooms.organization, "SN-before", |_| true).await;
        execute(
            &stack,
            "REVOKE ALL ON gen_1.firmware_reports FROM fleetlog_projector",
        )
        .await;
        report(to, "stuck", "1.0").await;
        halted(&rooms.projector, &["firmware_reports", "a grant is missing"]).await;

        // Other partitions go on: what says nothing of firmware is written.
        for index in 0..50 {
            let event = json!({"event": "device.created", "device": {"id": format!("o{index}"), "name": format!("SN-o{index}")}});
            Delivery::platform(to, &event).post().await.accepted();
        }
        eventually("devices of other partitions appear", || async {
            let devices = stack.devices(&rooms.organization).await;
            let n = devices
                .iter()
                .filter(|device| device["serial"].to_string().contains("SN-o"))
                .count();
            if n > 0 {
                Ok(())
            } else {
                Err(format!("{devices:?}"))
            }
        })
        .await;
        assert!(
            letters(&stack, &[]).await.is_empty(),
            "nothing is the events' fault"
        );

        execute(
            &stack,
            "GRANT ALL ON gen_1.firmware_reports TO fleetlog_projector",
        )
        .await;
        device(&stack, &rooms.organization, "SN-stuck", |device| {
            device["firmware_version"] == "1.0"
        })
        .await;
        for index in 0..20 {
            device(&stack, &rooms.organization, &format!("SN-o{index}"), |_| true).await;
        }
        eventually("it is ready again", || async {
            let (status, body) = readiness(&rooms.projector).await;
            if status == 200 && n_halted(&rooms.projector).await == 0 {
                Ok(())
            } else {
                Err(body)
            }
        })
        .await;
        assert!(letters(&stack, &[]).await.is_empty());
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
    });
}

#[test]
fn where_more_than_one_in_a_hundred_is_at_fault_it_halts_until_somebody_says_that_it_is_meant() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        report(to, "before", "1.0").await;
        device(&stack, &rooms.organization, "SN-before", |_| true).await;
        for index in 0..30 {
            tests::produce(
                &stack.log,
                Topic::Events,
                &format!("k{index}"),
                "no event of ours",
            )
            .await;
        }
        halted(
            &rooms.projector,
            &["more than 1 %", "--max-set-aside-percent 100"],
        )
        .await;
        let n = letters(&stack, &[]).await.len();
        assert!(n <= 10, "{n} are set aside");
        report(to, "behind", "1.0").await;

        rooms.projector.stop().await.expect("it stops");
        let meant: &[(&str, &str)] = &[("FLEETLOG_MAX_SET_ASIDE_PERCENT", "100")];
        let projector = stack.role_with(&["projector"], meant).await;
        n_letters(&stack, 30).await;
        device(&stack, &rooms.organization, "SN-behind", |_| true).await;
        assert_eq!(n_halted(&projector).await, 0);
        let counts = stack.fleetlog(&["dead-letters", "list", "--count"]).await;
        assert!(
            counts
                .lines()
                .any(|line| line.starts_with("30 ") && line.contains("undecodable")),
            "{counts}"
        );

        // What was let pass there may pass in a rebuild.
        let report = stack.fleetlog_json(&["rebuild", "--json"]).await;
        assert_eq!(report["outcome"], "promoted", "{report}");
        n_letters(&stack, 30).await;
    });
}
