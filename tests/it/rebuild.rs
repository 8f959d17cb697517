//! Rebuild: what was done by hand is found and named, what is refused is explained, what is killed is gone on with.

use std::time::Duration;

use serde_json::Value;
use sqlx::AssertSqlSafe;
use tests::{Stack, eventually, on_stack};

use crate::{
    generations::{folded, generations, named, states},
    ownership::{rows_of_generation_equal_the_log, simulate},
};

/// Runs `fleetlog rebuild` and returns its exit code, report and errors.
async fn rebuild(stack: &Stack, args: &[&str]) -> (i32, Value, String) {
    let (code, output, errors) = stack.try_fleetlog(&[&["rebuild", "--json"], args].concat()).await;
    (code, serde_json::from_str(&output).unwrap_or_default(), errors)
}

async fn execute(stack: &Stack, statement: String) -> u64 {
    let done = sqlx::query(AssertSqlSafe(statement.clone()))
        .execute(&stack.admin)
        .await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"))
        .rows_affected()
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["proof"]["tables"].as_array().expect("tables");
    let found = tables.iter().find(|table| table["table"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing in {report}"))
}

/// The truth tables of `gen_1`, each with the first column of its key.
async fn tables(stack: &Stack) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT c.relname::text, a.attname::text
           FROM pg_class c
           JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
          WHERE c.relnamespace = 'gen_1'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname <> 'device_anchor'
          ORDER BY 1",
    )
    .fetch_all(&stack.admin)
    .await
    .expect("the catalog can be read")
}

/// Adds, deletes and changes a row of a table by hand. Says what could be done: nothing where there are no two rows.
async fn tamper(stack: &Stack, table: &str, key: &str) -> bool {
    let n: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM gen_1.{table}")))
        .fetch_one(&stack.admin)
        .await
        .expect("it can be counted");
    if n < 3 {
        return false;
    }
    // In an order that what is changed does not change.
    let one = |offset: i32| {
        format!(
            "(t.tableoid, t.ctid) IN (SELECT x.tableoid, x.ctid FROM gen_1.{table} x
              ORDER BY x.{key}, (to_jsonb(x) - 'organization')::text OFFSET {offset} LIMIT 1)"
        )
    };
    // The last first: each changes where the next ones are.
    let n = execute(
        stack,
        format!(
            "UPDATE gen_1.{table} t SET organization = gen_random_uuid() WHERE {}",
            one(2)
        ),
    )
    .await;
    assert_eq!(n, 1, "{table}");
    let n = execute(stack, format!("DELETE FROM gen_1.{table} t WHERE {}", one(1))).await;
    assert_eq!(n, 1, "{table}");
    let n = execute(
        stack,
        format!(
            "INSERT INTO gen_1.{table}
             SELECT (jsonb_populate_record(t, jsonb_build_object('{key}', gen_random_uuid()))).*
               FROM gen_1.{table} t WHERE {}",
            one(0)
        ),
    )
    .await;
    assert_eq!(n, 1, "{table}");
    true
}

#[test]
fn rows_that_were_written_deleted_or_changed_by_hand_are_found_and_named() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        let organization = stack.organization().await;
        for serial in ["SN-A", "SN-B", "SN-C"] {
            stack
                .fleetlog(&[
                    "device",
                    "register",
                    serial,
                    "--organization",
                    &organization,
                    "--name",
                    "n",
                ])
                .await;
        }
        assert!(projector.stop().await.expect("it stops").success());

        let mut tampered = Vec::new();
        for (name, key) in tables(&stack).await {
            if tamper(&stack, &name, &key).await {
                tampered.push((name, key));
            }
        }
        assert!(tampered.len() >= 12, "{tampered:?}");

        let (code, report, errors) = rebuild(&stack, &[]).await;
        assert_eq!((code, &report["outcome"]), (1, &"differs".into()), "{errors}");
        for (name, key) in &tampered {
            let found = table(&report, name);
            for kind in ["n_only_live", "n_only_new", "n_changed"] {
                assert_eq!(found[kind], 1, "{kind}: {found}");
            }
            let rows = found["first"].as_array().expect("rows");
            assert_eq!(rows.len(), 3, "{found}");
            for row in rows {
                assert!(row["key"][key].is_string(), "{row}");
            }
            let changed = rows
                .iter()
                .find(|row| row["of"] == "both")
                .expect("the changed row");
            let columns = changed["columns"].as_array().expect("columns");
            assert_eq!(columns.len(), 1, "{changed}");
            assert_eq!(columns[0]["column"], "organization");
        }
        for found in report["proof"]["tables"].as_array().expect("tables") {
            let is_tampered = tampered.iter().any(|(name, _)| found["table"] == *name);
            assert_eq!(
                found["digest_live"] != found["digest_new"],
                is_tampered,
                "{found}"
            );
        }
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "active"), ("gen_2", "building")])
        );

        // In words, too; a further rebuild begins anew, and finds the same.
        let (code, text, errors) = stack.try_fleetlog(&["rebuild"]).await;
        assert_eq!(code, 1, "{errors}");
        assert!(text.contains("organization: live "), "{text}");
        let digest = report["proof"]["difference"].as_str().expect("a digest");
        assert!(
            text.contains(digest),
            "the same difference has the same digest: {text}"
        );

        // What differs is accepted: the tables are what the log says again.
        let (code, report, errors) = rebuild(&stack, &["--accept", digest]).await;
        assert_eq!((code, &report["outcome"]), (0, &"promoted".into()), "{errors}");
        let active = report["generation"].as_str().expect("a name");
        let _projector = stack.projector().await;
        rows_of_generation_equal_the_log(&stack, active).await;
    });
}

#[test]
fn of_a_changed_rule_only_the_rows_that_it_changes_differ() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        // As if another rule had named devices.
        let n = execute(
            &stack,
            "UPDATE gen_1.devices SET name = 'as the old rule said'".to_owned(),
        )
        .await;
        let (code, report, errors) = rebuild(&stack, &[]).await;
        assert_eq!(code, 1, "{errors}");
        for found in report["proof"]["tables"].as_array().expect("tables") {
            let expected = if found["table"] == "devices" { n } else { 0 };
            assert_eq!(found["n_changed"], expected, "{found}");
        }
    });
}

#[test]
fn a_rebuild_fills_a_database_whose_projections_were_lost() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        simulate(&stack, &door, 20, 200, "2s").await;
        // No projector has ever run: there is nothing but the log.
        let (code, report, errors) = rebuild(&stack, &[]).await;
        assert_eq!((code, &report["outcome"]), (0, &"promoted".into()), "{errors}");
        assert_eq!(report["proof"]["live_is_empty"], true);
        rows_of_generation_equal_the_log(&stack, "gen_2").await;
        let _projector = stack.projector().await;
        simulate(&stack, &door, 20, 200, "1s").await;
        rows_of_generation_equal_the_log(&stack, "gen_2").await;
    });
}

#[test]
fn only_one_is_at_work_at_a_time_and_a_log_that_is_another_is_refused() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        assert!(projector.stop().await.expect("it stops").success());
        let mut other = stack.admin.acquire().await.expect("a connection");
        sqlx::query("SELECT pg_advisory_lock(hashtextextended('fleetlog rebuild', 0))")
            .execute(&mut *other)
            .await
            .expect("the turn can be taken");
        for args in [
            &["rebuild"][..],
            &["generations", "rollback"],
            &["generations", "drop", "gen_1"],
        ] {
            let (code, _, errors) = stack.try_fleetlog(args).await;
            assert_eq!(code, 5, "{errors}");
            assert!(
                errors.contains("another rebuild or rollback is at work"),
                "{errors}"
            );
        }
        sqlx::query("SELECT pg_advisory_unlock_all()")
            .execute(&mut *other)
            .await
            .expect("it can be given back");

        stream::topics::delete(&stack.log)
            .await
            .expect("the topics can be deleted");
        stack.fleetlog(&["topics", "create", "--partitions", "3"]).await;
        let (code, _, errors) = stack.try_fleetlog(&["rebuild"]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(
            errors.contains("the topics were deleted and made again"),
            "{errors}"
        );
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "active")]),
            "nothing is left of it"
        );
    });
}

#[test]
fn a_log_whose_beginning_is_gone_is_refused() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        tests::delete_records(&stack.log, schema::Topic::Readings, 1, 3).await;
        let (code, _, errors) = stack.try_fleetlog(&["rebuild"]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains("device-readings.v1/1@3"), "{errors}");
        tests::delete_records(&stack.log, schema::Topic::Events, 2, 1).await;
        let (code, _, errors) = stack.try_fleetlog(&["rebuild"]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains("device-events.v1/2@1"), "{errors}");
        assert!(errors.contains("what came before is gone"), "{errors}");
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "active")]),
            "nothing is left of it"
        );
    });
}

/// Those that a rebuild can be caught in; promoting is caught in `generations`.
const PHASES: [&str; 5] = ["load", "index", "derive", "catch-up", "prove"];

/// In which phase the rebuild of a generation says it is.
async fn phase(stack: &Stack) -> Option<String> {
    sqlx::query_scalar(
        "SELECT phase FROM projection_meta.rebuilds JOIN projection_meta.generations USING (generation)
          WHERE state = 'building' AND proof IS NULL",
    )
    .fetch_optional(&stack.admin)
    .await
    .expect("it can be read")
}

/// Waits until a rebuild is in this phase and kills it there. `false` if it was through before that was seen.
async fn kill_in(stack: &Stack, wanted: &str) -> bool {
    let mut rebuild = stack.start(&["rebuild", "--no-promote"]);
    let mut turn = tokio::time::interval(Duration::from_millis(1));
    while rebuild.ended().is_none() {
        turn.tick().await;
        if phase(stack).await.as_deref() == Some(wanted) {
            rebuild.kill();
            // It may have gone on before it died.
            return phase(stack).await.as_deref() == Some(wanted);
        }
    }
    assert_eq!(rebuild.ended(), Some(0), "{}", rebuild.errors());
    false
}

#[test]
fn a_rebuild_that_is_killed_in_any_phase_is_gone_on_with_and_leaves_nothing() {
    on_stack(|stack| async move {
        let (door, _projector) = folded(&stack).await;
        simulate(&stack, &door, 40, 400, "4s").await;
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        for wanted in PHASES {
            let mut n_tries = 0;
            while !kill_in(&stack, wanted).await {
                n_tries += 1;
                assert!(n_tries < 20, "no rebuild was caught in phase {wanted}");
            }
            let left = generations(&stack).await;
            let mut stopped = left
                .iter()
                .filter(|one| one["state"] == "building" && one["rebuild"]["proof"].is_null());
            let one = stopped.next().unwrap_or_else(|| panic!("it is shown: {left:?}"));
            assert_eq!((&one["rebuild"]["phase"], stopped.next()), (&wanted.into(), None));

            eventually("it is gone on with", || async {
                let (code, report, errors) = rebuild(&stack, &[]).await;
                if code == 5 {
                    // The server has not noticed yet that whoever had the turn is dead.
                    return Err(errors);
                }
                assert_eq!(
                    (code, &report["outcome"]),
                    (0, &"promoted".into()),
                    "{errors}{report}"
                );
                assert_eq!(report["generation"], one["generation"], "{wanted}");
                Ok(())
            })
            .await;
            let all = generations(&stack).await;
            assert!(all.iter().all(|one| one["state"] != "building"), "{all:?}");
        }
    });
}

#[test]
fn a_rebuild_that_is_told_to_stop_says_so_and_is_gone_on_with() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        // It cannot compare what somebody else has locked, so it is there to be stopped.
        let mut other = stack.admin.begin().await.expect("a transaction");
        sqlx::query("LOCK TABLE gen_1.activity IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *other)
            .await
            .expect("it can be locked");
        let mut stopped = stack.start(&["rebuild"]);
        eventually("it compares", || async {
            match phase(&stack).await {
                Some(phase) if phase == "prove" => Ok(()),
                phase => Err(format!("{phase:?}")),
            }
        })
        .await;
        stopped.signal("TERM");
        eventually("it stops", || {
            let ended = stopped.ended();
            let errors = stopped.errors();
            async move {
                match ended {
                    Some(code) => {
                        assert_eq!(code, 5, "{errors}");
                        assert!(errors.contains("goes on where it was"), "{errors}");
                        Ok(())
                    }
                    None => Err("it runs".to_owned()),
                }
            }
        })
        .await;
        other.rollback().await.expect("it ends");
        let (code, report, errors) = rebuild(&stack, &[]).await;
        assert_eq!((code, &report["outcome"]), (0, &"promoted".into()), "{errors}");
        assert_eq!(report["generation"], "gen_2");
    });
}
