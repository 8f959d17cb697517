//! Some devices folded again from the log: drift is found and put right while everything goes on.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Delivery, Stack, eventually, on_stack};

use crate::{
    dialects::{device, rooms},
    generations::folded,
    ownership::{rows_of_generation_equal_the_log, simulate},
};

async fn execute(stack: &Stack, statement: &str) -> u64 {
    let done = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&stack.admin)
        .await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"))
        .rows_affected()
}

/// Runs `fleetlog audit` over all devices; returns its exit code and report.
async fn audit(stack: &Stack) -> (i32, Value) {
    let (code, output, errors) = stack.try_fleetlog(&["audit", "--sample", "1000", "--json"]).await;
    let report = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}{errors}"));
    (code, report)
}

/// Rows that differ, by table and kind.
fn drift(report: &Value) -> Vec<(String, u64, u64, u64)> {
    let tables = report["tables"].as_array().expect("tables").iter();
    let of = |table: &Value, kind: &str| table[kind].as_u64().expect("a number");
    tables
        .map(|table| {
            let name = table["table"].as_str().expect("a name").to_owned();
            (
                name,
                of(table, "n_only_live"),
                of(table, "n_only_new"),
                of(table, "n_changed"),
            )
        })
        .filter(|(_, live, new, changed)| live + new + changed > 0)
        .collect()
}

#[test]
fn an_audit_under_traffic_finds_no_drift_where_there_is_none() {
    on_stack(|stack| async move {
        let (door, _projector) = folded(&stack).await;
        let audits = async {
            for _ in 0..4 {
                let (code, report) = audit(&stack).await;
                assert_eq!((code, drift(&report)), (0, Vec::new()), "{report}");
                assert!(report["devices"].as_u64() >= Some(20), "{report}");
            }
        };
        tokio::join!(simulate(&stack, &door, 20, 200, "6s"), audits);
    });
}

#[test]
fn an_audit_names_what_was_done_by_hand_and_says_so_to_prometheus() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        let linked = "UPDATE gen_1.links SET via = 'bound' WHERE via <> 'bound'";
        assert!(execute(&stack, linked).await > 0);
        let n_deleted = execute(&stack, "DELETE FROM gen_1.connections WHERE connected").await;
        let file = stack.folder.join("audit.prom");
        let path = file.to_str().expect("text");
        let args = ["audit", "--sample", "1000", "--seed", "5", "--metrics-file", path];
        let (code, text, errors) = stack.try_fleetlog(&args).await;
        assert_eq!(code, 1, "{text}{errors}");
        assert!(errors.contains("--seed 5"), "{errors}");
        assert!(text.contains("via: live \"bound\""), "{text}");
        let metrics = std::fs::read_to_string(&file).expect("the metrics are written");
        let line = format!("fleetlog_audit_drift_rows{{table=\"connections\"}} {n_deleted}");
        assert!(metrics.lines().any(|said| said == line), "{line}: {metrics}");
        let (_, again) = audit(&stack).await;
        let tables: Vec<_> = drift(&again).into_iter().map(|(table, ..)| table).collect();
        assert_eq!(tables, ["connections", "links"]);
    });
}

#[test]
fn one_device_is_put_right_while_its_events_go_on() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let named = |name: &str| json!({"type": "device.updated", "device": {"id": "one-1", "name": name}});
        let reading = |n: u32| Delivery::golioth(to, "one-1", "/s", format!("{{\"n\": {n}}}"));
        // Renamed, and heard by its old name too: three that hang together.
        Delivery::platform(to, &named("SN-OLD")).post().await.accepted();
        reading(0).post().await.accepted();
        Delivery::platform(to, &named("SN-NEW")).post().await.accepted();
        let other = json!({"type": "device.created", "device": {"id": "one-2", "name": "SN-OTHER"}});
        Delivery::platform(to, &other).post().await.accepted();
        device(&stack, &rooms.organization, "SN-NEW", |_| true).await;
        device(&stack, &rooms.organization, "SN-OTHER", |_| true).await;

        let of = "(SELECT id FROM gen_1.provider_devices WHERE external_id = 'one-1')";
        execute(
            &stack,
            &format!("DELETE FROM gen_1.readings WHERE provider_device = {of}"),
        )
        .await;
        execute(
            &stack,
            &format!("DELETE FROM gen_1.links WHERE provider_device = {of}"),
        )
        .await;
        execute(
            &stack,
            &format!(
                "INSERT INTO gen_1.field_registers
                 SELECT provider_device, organization, 'invented', 'true', id, at, sequence, id
                   FROM gen_1.registry_facts WHERE provider_device = {of} LIMIT 1"
            ),
        )
        .await;
        execute(
            &stack,
            "UPDATE gen_1.provider_devices SET name = 'SN-LIE' WHERE external_id = 'one-1'",
        )
        .await;
        execute(
            &stack,
            "UPDATE gen_1.devices SET name = 'a lie' WHERE serial = 'SN-OTHER'",
        )
        .await;

        let writing = async {
            for n in 1..=60 {
                reading(n).post().await.accepted();
            }
        };
        let repairing = async {
            stack
                .fleetlog_json(&["rebuild", "--device", "SN-OLD", "--json"])
                .await
        };
        let ((), report) = tokio::join!(writing, repairing);
        assert_eq!(report["repaired"], true, "{report}");
        let tables: Vec<_> = drift(&report).into_iter().map(|(table, ..)| table).collect();
        for table in ["field_registers", "links", "provider_devices", "readings"] {
            assert!(
                tables.iter().any(|found| found == table),
                "{table} is missing in {tables:?}"
            );
        }
        // The other one is as it was made: nobody asked for it.
        let lies: i64 = sqlx::query_scalar("SELECT count(*) FROM gen_1.devices WHERE name = 'a lie'")
            .fetch_one(&stack.admin)
            .await
            .expect("it can be counted");
        assert_eq!(lies, 1);
        stack.fleetlog(&["rebuild", "--device", "SN-OTHER"]).await;
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        let (code, report) = audit(&stack).await;
        assert_eq!((code, drift(&report)), (0, Vec::new()));

        // Its projector went on at once, and knows what it is called now.
        reading(99).post().await.accepted();
        eventually("a further reading is folded", || async {
            let rows = stack
                .rows("SELECT data FROM fleet.readings WHERE data @> '{\"n\": 99}'")
                .await;
            if rows.len() == 1 {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
        let (code, _, errors) = stack.try_fleetlog(&["rebuild", "--device", "SN-NONE"]).await;
        assert_eq!(code, 3, "{errors}");
    });
}
