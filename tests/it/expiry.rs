//! Readings expire behind checkpoints, and a rebuild ends as if they had not.

use std::collections::BTreeMap;

use schema::Topic;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tests::{Delivery, Stack, on_stack};

use crate::{
    generations::folded,
    ownership::{rows_of_generation_equal_the_log, simulate},
};

/// Tables that hold readings themselves.
const OF_READINGS: [&str; 2] = ["readings", "logs"];

async fn rebuild(stack: &Stack, args: &[&str]) -> (i32, Value, String) {
    let (code, output, errors) = stack.try_fleetlog(&[&["rebuild", "--json"], args].concat()).await;
    (code, serde_json::from_str(&output).unwrap_or_default(), errors)
}

/// The digests of the tables of a generation, by table.
fn digests(report: &Value, of: &str) -> BTreeMap<String, String> {
    let tables = report["proof"]["tables"].as_array().expect("tables");
    let digest = |table: &Value| {
        let text = |name: &str| table[name].as_str().expect("a text").to_owned();
        (text("table"), text(of))
    };
    let tables = tables.iter().map(digest);
    tables
        .filter(|(table, _)| !OF_READINGS.contains(&table.as_str()))
        .collect()
}

/// Lets all readings expire that are in the log now. Returns how many there were.
pub(crate) async fn expire(stack: &Stack) -> i64 {
    let log = stream::topics::identify(&stack.log).await.expect("a log");
    let ends = stream::ends(&stack.log, &log, &[Topic::Readings])
        .await
        .expect("Kafka is up");
    for end in &ends {
        tests::delete_records(&stack.log, end.topic, end.partition, end.offset).await;
    }
    ends.iter().map(|end| end.offset).sum()
}

async fn differing(stack: &Stack) -> (i32, BTreeMap<String, u64>, Value) {
    let (code, report, errors) = rebuild(stack, &["--no-promote", "--afresh"]).await;
    assert!(report.is_object(), "{code}: {errors}");
    let tables = report["proof"]["tables"].as_array().expect("tables");
    let n = |table: &Value| {
        ["n_only_live", "n_only_new", "n_changed"]
            .iter()
            .filter_map(|name| table[name].as_u64())
            .sum()
    };
    let differing = tables
        .iter()
        .map(|table| (table["table"].as_str().expect("a name").to_owned(), n(table)));
    (code, differing.filter(|(_, n)| *n > 0).collect(), report)
}

#[test]
fn readings_expire_projections_are_lost_and_a_rebuild_ends_the_same() {
    on_stack(|stack| async move {
        let (door, projector) = folded(&stack).await;
        // Some of them are timed by their receipt.
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        crate::door::known(&integration).await;
        let timed = |id: &str| {
            let value = format!(r#"{{"n": "{id}"}}"#);
            Delivery::golioth(&integration, "exp-1", "/s", value).header("ce-id", id)
        };
        timed("first").post().await.accepted();
        timed("second").post().await.accepted();
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        let (_, before, report) = differing(&stack).await;
        assert_eq!(before, BTreeMap::new());
        let held = digests(&report, "digest_live");

        // Without a checkpoint a rebuild would lose them; behind one it loses nothing but what was cut.
        stack.fleetlog(&["checkpoint"]).await;
        assert!(expire(&stack).await > 200);
        let (code, difference, report) = differing(&stack).await;
        let tables: Vec<_> = difference.keys().map(String::as_str).collect();
        assert_eq!(code, 1);
        assert_eq!(report["readings_expired"], true);
        assert!(
            !tables.is_empty() && tables.iter().all(|table| OF_READINGS.contains(table)),
            "{difference:?}: {}",
            report["proof"]["tables"]
        );
        assert_eq!(digests(&report, "digest_new"), held);

        // A copy of what expired is recognized, by the projector and by a rebuild.
        timed("first").post().await.accepted();
        // The projections are dropped, whole.
        assert!(projector.stop().await.expect("it stops").success());
        let schemas: Vec<String> = sqlx::query_scalar(
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^gen_' OR nspname IN ('fleet', 'projection_meta')",
        )
        .fetch_all(&stack.admin)
        .await
        .expect("the catalog can be read");
        let drop = format!("DROP SCHEMA {} CASCADE", schemas.join(", "));
        sqlx::raw_sql(AssertSqlSafe(drop))
            .execute(&stack.admin)
            .await
            .expect("it is dropped");
        stack.fleetlog(&["migrate"]).await;
        let (code, report, errors) = rebuild(&stack, &[]).await;
        assert_eq!((code, &report["outcome"]), (0, &"promoted".into()), "{errors}");
        let mut again = digests(&report, "digest_new");
        // The copy was one more push.
        let mut held = held;
        assert_ne!(again.remove("listening"), held.remove("listening"));
        assert_eq!(again, held);

        // Life goes on, and what is not covered may not expire.
        let next = stack.projector().await;
        simulate(&stack, &door, 20, 50, "1s").await;
        stack.fleetlog(&["checkpoint"]).await;
        timed("third").post().await.accepted();
        expire(&stack).await;
        let (code, _, errors) = rebuild(&stack, &[]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(
            errors.contains("is the first reading that the log still has")
                && errors.contains("fleetlog checkpoint"),
            "{errors}"
        );
        // What was kept from before cannot follow either, and says so before anything is changed.
        let (code, _, errors) = stack.try_fleetlog(&["generations", "rollback", "gen_1"]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains("fleetlog generations drop gen_1"), "{errors}");
        // The live generation still knows: a checkpoint is what was missing.
        tests::eventually("it is folded", || async {
            stack.fleetlog(&["checkpoint"]).await;
            let (code, report, errors) = rebuild(&stack, &["--no-promote"]).await;
            if report["readings_expired"] == true {
                Ok(())
            } else {
                Err(format!("{code}: {errors}"))
            }
        })
        .await;
        next.stop().await.expect("it stops");
    });
}

#[test]
fn behind_a_horizon_live_and_rebuilt_histories_agree() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        stack.fleetlog(&["checkpoint"]).await;
        expire(&stack).await;
        let (code, _, _) = differing(&stack).await;
        assert_eq!(code, 1, "the histories differ");
        for history in OF_READINGS {
            stack
                .fleetlog(&["horizon", "advance", history, "--before", "0s", "--yes"])
                .await;
        }
        let (code, report, errors) = rebuild(&stack, &["--afresh"]).await;
        assert_eq!((code, &report["outcome"]), (0, &"promoted".into()), "{errors}");
        assert_eq!(report["proof"]["difference"], Value::Null);
    });
}
