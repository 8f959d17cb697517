//! Which generation readers see: promoted, gone back from, dropped; without a gap, whatever is killed meanwhile.

use std::{cell::Cell, time::Duration};

use serde_json::Value;
use sqlx::Connection as _;
use tests::{Role, Stack, eventually, eventually_within, on_stack};

use crate::ownership::{PARTITIONS, owned, rows_of_generation_equal_the_log, simulate};

/// All generations as `fleetlog generations list --json` shows them.
pub(crate) async fn generations(stack: &Stack) -> Vec<Value> {
    let output = stack.fleetlog(&["generations", "list", "--json"]).await;
    let lines = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"));
    lines.collect()
}

/// Names and states.
pub(crate) async fn states(stack: &Stack) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = generations(stack).await;
    all.iter()
        .map(|one| (text(&one["generation"]), text(&one["state"])))
        .collect()
}

pub(crate) fn named(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states
        .iter()
        .map(|(name, state)| ((*name).to_owned(), (*state).to_owned()))
        .collect()
}

/// A fleet whose events are all folded into `gen_1`, and whoever folded them.
pub(crate) async fn folded(stack: &Stack) -> (Role, Role) {
    let door = stack.ingest().await;
    let projector = stack.projector().await;
    simulate(stack, &door, 20, 200, "2s").await;
    rows_of_generation_equal_the_log(stack, "gen_1").await;
    (door, projector)
}

async fn switches(projector: &Role) -> u64 {
    let samples = projector
        .metric("fleetlog_projector_generation_switches_total")
        .await;
    let value = samples.first().and_then(|sample| sample.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Waits until projectors have gone on with another generation so often, and own all partitions again.
async fn switched(projectors: &[&Role], times: u64) {
    eventually(
        "the projectors go on with the generation that readers see",
        || async {
            let mut n_owned = 0;
            for projector in projectors {
                let n = switches(projector).await;
                if n < times {
                    return Err(format!("{n} of {times} times"));
                }
                n_owned += owned(projector).await;
            }
            if n_owned == PARTITIONS {
                Ok(())
            } else {
                Err(format!("{n_owned} partitions are owned"))
            }
        },
    )
    .await;
}

/// Counts devices through the view again and again until told to end: what is there never goes, and reading never fails.
async fn read_on(stack: &Stack, ended: &Cell<bool>) -> u64 {
    let (mut n_before, mut n_reads) = (0, 0);
    while !ended.get() {
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM fleet.devices")
            .fetch_one(&stack.operator)
            .await
            .expect("readers never see an error");
        assert!(n >= n_before, "{n_before} devices became {n}");
        n_before = n;
        n_reads += 1;
    }
    n_reads
}

#[test]
fn readers_see_no_gap_while_generations_change_under_traffic() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let first = stack.projector().await;
        let second = stack.role(&["projector"]).await;
        simulate(&stack, &door, 20, 200, "2s").await;
        rows_of_generation_equal_the_log(&stack, "gen_1").await;

        let ended = Cell::new(false);
        let changing = async {
            let report = stack.fleetlog_json(&["rebuild", "--json"]).await;
            assert_eq!(report["outcome"], "promoted", "{report}");
            assert_eq!(report["proof"]["digest_live"], report["proof"]["digest_new"]);
            switched(&[&first, &second], 1).await;
            let back = stack.fleetlog_json(&["generations", "rollback", "--json"]).await;
            assert_eq!((&back["from"], &back["to"]), (&"gen_2".into(), &"gen_1".into()));
            switched(&[&first, &second], 2).await;
        };
        let traffic = simulate(&stack, &door, 30, 200, "10s");
        let writing = async {
            tokio::join!(changing, traffic);
            ended.set(true);
        };
        let (n_reads, ()) = tokio::join!(read_on(&stack, &ended), writing);
        assert!(n_reads > 100, "{n_reads} reads");
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "active"), ("gen_2", "retired")])
        );
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        // Forward again: a generation that was gone back from is one to go back to.
        stack.fleetlog(&["generations", "rollback"]).await;
        switched(&[&first, &second], 3).await;
        rows_of_generation_equal_the_log(&stack, "gen_2").await;
    });
}

#[test]
fn a_generation_is_promoted_once_it_is_proved_and_dropped_once_nobody_sees_it() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        let refused = |args: &'static [&'static str]| {
            let stack = &stack;
            async move {
                let (code, output, errors) = stack.try_fleetlog(args).await;
                (code, format!("{output}{errors}"))
            }
        };
        assert_eq!(refused(&["generations", "promote"]).await.0, 4, "there is none");
        assert_eq!(refused(&["generations", "rollback"]).await.0, 4, "there is none");

        let report = stack.fleetlog_json(&["rebuild", "--no-promote", "--json"]).await;
        assert_eq!(report["outcome"], "proved", "{report}");
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "active"), ("gen_2", "building")])
        );
        let (code, said) = refused(&["generations", "drop", "gen_1"]).await;
        assert_eq!(code, 4, "{said}");
        assert_eq!(refused(&["generations", "drop", "gen_7"]).await.0, 3);
        assert_eq!(refused(&["generations", "promote", "gen_1"]).await.0, 4);

        stack.fleetlog(&["generations", "promote", "gen_2"]).await;
        switched(&[&projector], 1).await;
        let (code, said) = refused(&["generations", "promote", "gen_1"]).await;
        assert_eq!(
            (code, said.contains("generations rollback gen_1")),
            (4, true),
            "{said}"
        );
        stack.fleetlog(&["generations", "drop", "gen_1"]).await;
        assert_eq!(states(&stack).await, named(&[("gen_2", "active")]));
        let schemas: Vec<String> =
            sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'gen%'")
                .fetch_all(&stack.admin)
                .await
                .expect("the catalog can be read");
        assert_eq!(schemas, ["gen_2"]);
    });
}

/// Waits until somebody waits for the views, which a reader holds.
async fn waits_for_views(stack: &Stack) {
    eventually("a promotion waits for a reader", || async {
        let n: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
              WHERE NOT l.granted AND l.mode = 'AccessExclusiveLock' AND c.relnamespace = 'fleet'::regnamespace",
        )
        .fetch_one(&stack.admin)
        .await
        .expect("the locks can be read");
        if n > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

#[test]
fn a_promotion_or_rollback_that_is_killed_has_changed_nothing_and_can_be_done_again() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        stack.fleetlog(&["rebuild", "--no-promote"]).await;
        let seen = |first: &'static str, second: &'static str| named(&[("gen_1", first), ("gen_2", second)]);
        let rounds = [
            ("promote", seen("active", "building"), seen("retired", "active")),
            ("rollback", seen("retired", "active"), seen("active", "retired")),
        ];
        for (n, (change, before, after)) in (1..).zip(rounds) {
            let args = &["generations", change];
            let reader = stack.pool_as("operator");
            let mut held = reader.acquire().await.expect("a connection");
            let mut transaction = held.begin().await.expect("a transaction");
            sqlx::query("SELECT count(*) FROM fleet.devices")
                .execute(&mut *transaction)
                .await
                .expect("it can be read");
            // All is done but the last: the views are replaced, then it would commit.
            let mut change = stack.start(args);
            waits_for_views(&stack).await;
            change.kill();
            transaction.rollback().await.expect("it ends");
            assert_eq!(states(&stack).await, before);
            eventually("nobody has the turn any more", || async {
                let (code, output, errors) = stack.try_fleetlog(args).await;
                if code == 0 {
                    Ok(())
                } else {
                    Err(format!("{output}{errors}"))
                }
            })
            .await;
            assert_eq!(states(&stack).await, after);
            switched(&[&projector], n).await;
        }
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
    });
}

#[test]
fn a_rebuild_that_is_killed_while_it_promotes_is_gone_on_with() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        let reader = stack.pool_as("operator");
        let mut held = reader.acquire().await.expect("a connection");
        let mut transaction = held.begin().await.expect("a transaction");
        sqlx::query("SELECT count(*) FROM fleet.devices")
            .execute(&mut *transaction)
            .await
            .expect("it can be read");
        let mut rebuild = stack.start(&["rebuild"]);
        waits_for_views(&stack).await;
        rebuild.kill();
        transaction.rollback().await.expect("it ends");
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "active"), ("gen_2", "building")])
        );
        eventually("nobody has the turn any more", || async {
            let (code, output, errors) = stack.try_fleetlog(&["rebuild"]).await;
            if code == 0 {
                Ok(())
            } else {
                Err(format!("{output}{errors}"))
            }
        })
        .await;
        assert_eq!(
            states(&stack).await,
            named(&[("gen_1", "retired"), ("gen_2", "active")])
        );
        switched(&[&projector], 1).await;
        rows_of_generation_equal_the_log(&stack, "gen_2").await;
    });
}

#[test]
fn a_reader_that_holds_the_views_delays_a_promotion_and_nobody_behind_it() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        stack.fleetlog(&["rebuild", "--no-promote"]).await;
        let reader = stack.pool_as("operator");
        let mut held = reader.acquire().await.expect("a connection");
        let mut transaction = held.begin().await.expect("a transaction");
        sqlx::query("SELECT count(*) FROM fleet.devices")
            .execute(&mut *transaction)
            .await
            .expect("it can be read");
        let mut promotion = stack.start(&["generations", "promote"]);
        waits_for_views(&stack).await;
        // Whoever queues behind the promotion gets through when that gives up its try.
        let behind =
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM fleet.devices").fetch_one(&stack.operator);
        let read = tokio::time::timeout(Duration::from_secs(15), behind).await;
        read.expect("no reader waits longer than a try takes")
            .expect("it can be read");
        transaction.rollback().await.expect("it ends");
        eventually_within(Duration::from_mins(1), "the promotion ends", || {
            let ended = promotion.ended();
            let errors = promotion.errors();
            async move {
                match ended {
                    Some(0) => Ok(()),
                    Some(code) => panic!("{code}: {errors}"),
                    None => Err("it is under way".to_owned()),
                }
            }
        })
        .await;
        switched(&[&projector], 1).await;
    });
}

#[test]
fn a_generation_of_another_fold_version_is_read_on_and_a_rebuild_is_due() {
    on_stack(|stack| async move {
        let (_door, projector) = folded(&stack).await;
        assert!(projector.stop().await.expect("it stops").success());
        sqlx::query("UPDATE projection_meta.generations SET fold_version = 1")
            .execute(&stack.admin)
            .await
            .expect("the owner may write");

        let migrated = stack.fleetlog(&["migrate"]).await;
        assert!(migrated.contains("A rebuild is due"), "{migrated}");
        let (code, _, errors) = stack
            .try_fleetlog(&["projector", "--listen", "127.0.0.1:0"])
            .await;
        assert_eq!((code, errors.contains("fleetlog rebuild")), (4, true), "{errors}");
        assert!(
            !stack.rows("SELECT serial FROM fleet.devices").await.is_empty(),
            "readers go on"
        );

        let (code, report, errors) = stack.try_fleetlog(&["rebuild", "--json"]).await;
        assert_eq!(code, 1, "{report}{errors}");
        let report: Value = serde_json::from_str(&report).expect("a report");
        assert_eq!(report["outcome"], "differs");
        assert_eq!(
            report["proof"]["digest_live"], report["proof"]["digest_new"],
            "no row differs"
        );
        let digest = report["proof"]["difference"]
            .as_str()
            .expect("a digest")
            .to_owned();
        assert!(errors.contains(&digest), "{errors}");
        let (_, told, _) = stack.try_fleetlog(&["rebuild", "--afresh"]).await;
        assert!(
            told.contains("gen_1 was filled by version 1 of the fold"),
            "it says why what has equal rows is not promoted: {told}"
        );
        let (code, _, errors) = stack
            .try_fleetlog(&["generations", "promote", "--accept", "1234"])
            .await;
        assert_eq!(code, 4, "{errors}");
        stack
            .fleetlog(&["generations", "promote", "--accept", &digest])
            .await;
        let _projector = stack.projector().await;
        rows_of_generation_equal_the_log(&stack, "gen_2").await;

        let (code, _, errors) = stack.try_fleetlog(&["generations", "rollback"]).await;
        assert_eq!(
            code, 4,
            "only the version that filled it can go on with it: {errors}"
        );
    });
}
