//! `fleetlog doctor` finds what is wrong, and says what to do.

use std::collections::BTreeMap;

use schema::Topic;
use serde_json::Value;
use tests::{Delivery, Stack, alter_topic, eventually, on_stack};

use crate::{door::known, poison::report};

/// The findings by what was looked at, and the exit code.
async fn look(stack: &Stack, args: &[&str]) -> (i32, BTreeMap<String, Value>) {
    let args = [&["doctor", "--json"], args].concat();
    let (code, output, errors) = stack.try_fleetlog(&args).await;
    let report: Value =
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}{errors}"));
    let findings = report["findings"].as_array().expect("findings").clone();
    let name = |finding: &Value| finding["check"].as_str().expect("a name").to_owned();
    (
        code,
        findings.iter().map(|one| (name(one), one.clone())).collect(),
    )
}

#[track_caller]
fn expect(found: &BTreeMap<String, Value>, check: &str, verdict: &str, words: &str) {
    let finding = &found[check];
    assert_eq!(finding["verdict"], verdict, "{finding}");
    assert!(
        finding.to_string().contains(words),
        "{finding} does not say {words:?}"
    );
}

#[test]
fn the_doctor_finds_nothing_where_nothing_is_wrong() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        stack.integration(&door, &organization, None).await;
        let projector = stack.projector().await;
        tests::eventually("all is projected", || async {
            let (_, found) = look(&stack, &[]).await;
            if found["lag"]["verdict"] == "ok" {
                Ok(())
            } else {
                Err(found["lag"].to_string())
            }
        })
        .await;
        let folder = stack.folder.join("spool");
        std::fs::create_dir(&folder).expect("a folder");
        let folder = folder.to_str().expect("a plain name");
        let (code, found) = look(&stack, &["--broker-clock", "--strict", "--spool-dir", folder]).await;
        assert_eq!(code, 0, "{found:#?}");
        assert!(found.values().all(|one| one["verdict"] == "ok"), "{found:#?}");
        assert_eq!(found.len(), 15, "{:?}", found.keys());
        projector.stop().await.expect("stopped");
    });
}

#[test]
fn the_doctor_names_what_is_wrong_and_what_to_do() {
    on_stack(|stack| async move {
        let organization = stack.organization().await;
        let name = format!("int-{}", stack.log.prefix);
        stack
            .fleetlog(&[
                "integration",
                "create",
                &name,
                "--organization",
                &organization,
                "--provider",
                "golioth",
                "--no-credential",
            ])
            .await;
        for statement in [
            "REVOKE SELECT ON fleet.devices FROM fleetlog_operator",
            "REVOKE INSERT ON gen_1.readings FROM fleetlog_projector",
            "DELETE FROM control.migrations WHERE version = 3",
            "UPDATE projection_meta.generations SET fold_version = 1",
        ] {
            sqlx::query(statement)
                .execute(&stack.admin)
                .await
                .expect(statement);
        }
        let folder = stack.folder.join("nowhere");
        let (code, found) = look(&stack, &["--spool-dir", folder.to_str().expect("a plain name")]).await;
        assert_eq!(code, 1);
        expect(
            &found,
            "grants",
            "failed",
            "fleetlog_operator may not read fleet.devices",
        );
        expect(
            &found,
            "grants",
            "failed",
            "fleetlog_projector may not INSERT gen_1.readings",
        );
        expect(&found, "migrations", "failed", "0003 strategies");
        expect(&found, "generations", "failed", "fleetlog rebuild");
        expect(&found, "integrations", "failed", &name);
        expect(&found, "integrations", "failed", "fleetlog credential add");
        expect(&found, "spool", "failed", "nowhere");
        expect(&found, "lag", "failed", "start `fleetlog projector`");

        // Readings that expire, and no checkpoint: nothing could be rebuilt.
        alter_topic(&stack.log, Topic::Readings, "retention.ms", "86400000").await;
        let (code, found) = look(&stack, &[]).await;
        assert_eq!(code, 1);
        expect(&found, "topics", "ok", "settings that lose nothing");
        expect(&found, "retention", "failed", "fleetlog checkpoint");

        // A setting that loses events.
        alter_topic(&stack.log, Topic::Events, "cleanup.policy", "compact").await;
        let (code, found) = look(&stack, &[]).await;
        assert_eq!(code, 1);
        expect(&found, "topics", "failed", "cleanup.policy");
        expect(&found, "lag", "skipped", "before the topics are in order");
        expect(&found, "postgres", "ok", "answers");
    });
}

#[test]
fn the_doctor_looks_at_all_else_when_one_part_is_away() {
    on_stack(|stack| async move {
        let (code, found) = look(&stack, &["--kafka-brokers", "127.0.0.1:1", "--timeout", "8s"]).await;
        assert_eq!(code, 1);
        expect(&found, "topics", "failed", "");
        expect(&found, "migrations", "ok", "all are applied");
        let away = "postgres://nobody:hunter2@127.0.0.1:1/none";
        let (code, found) = look(&stack, &["--admin-database-url", away]).await;
        assert_eq!(code, 1);
        expect(&found, "postgres", "failed", "FLEETLOG_ADMIN_DATABASE_URL");
        expect(&found, "migrations", "skipped", "PostgreSQL cannot be asked");
        expect(&found, "topics", "ok", "settings that lose nothing");
        assert!(!format!("{found:?}").contains("hunter2"));
    });
}

#[test]
fn the_doctor_finds_a_partition_that_stands_still_while_others_move() {
    on_stack(|stack| async move {
        let rooms = crate::dialects::rooms(&stack).await;
        report(&rooms.integration, "before", "1.0").await;
        let mut foreign = Vec::new();
        for _ in 0..30 {
            foreign.push(tests::produce(&stack.log, Topic::Events, "somebody", "no event of ours").await);
        }
        eventually("the doctor sees it", || async {
            let (code, found) = look(&stack, &[]).await;
            if code == 1 && found["lag"]["verdict"] == "failed" {
                expect(&found, "lag", "failed", "stands still");
                expect(
                    &found,
                    "lag",
                    "failed",
                    &format!("device-events.v1/{}@", foreign[0].partition),
                );
                Ok(())
            } else {
                Err(found["lag"].to_string())
            }
        })
        .await;
        let all = rooms.projector.metric("fleetlog_projector_halted{").await;
        let halted = all.iter().filter(|sample| sample.ends_with(" 1")).count();
        assert_eq!(halted, 1, "{all:?}");
    });
}

#[test]
fn the_doctor_counts_the_letters_that_wait_for_somebody() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        let test =
            "{\"integration_id\": \"612d3cecf3ee17d321adbec6\", \"data\": {\"msg\": \"Test Message\"}}";
        let tried = Delivery::bare(&to, test)
            .header("x-api-key", &to.secret)
            .header("ce-type", "TEST_EVENT_TYPE")
            .header("ce-source", "golioth/app/api")
            .header("ce-subject", "integration");
        tried.post().await.accepted();
        let (_, found) = look(&stack, &[]).await;
        expect(&found, "dead-letters", "ok", "1 deliveries ask for nothing");
        let nonsense = Delivery::bare(&to, "no JSON {").header("x-api-key", &to.secret);
        nonsense.post().await.accepted();
        let (_, found) = look(&stack, &[]).await;
        expect(
            &found,
            "dead-letters",
            "warning",
            "1 deliveries could not be understood",
        );
    });
}
