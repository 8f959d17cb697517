//! Roles of the database and of the process.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::Executor as _;
use tests::{Delivery, eventually, on_stack};

use crate::dialects::{device, rooms};

#[test]
fn the_reading_roles_cannot_write_and_see_no_secret() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let event = json!({"type": "device.created", "device": {"id": "ro-1", "name": "SN-RO"}});
        Delivery::platform(&rooms.integration, &event)
            .post()
            .await
            .accepted();
        device(&stack, &rooms.organization, "SN-RO", |_| true).await;
        for role in ["operator", "api"] {
            let pool = stack.pool_as(role);
            for statement in [
                "DELETE FROM gen_1.devices",
                "INSERT INTO gen_1.device_anchor VALUES (gen_random_uuid())",
                "UPDATE projection_meta.offsets SET next_offset = 0",
                "UPDATE control.integrations SET name = 'x'",
                "TRUNCATE gen_1.readings",
                "DROP VIEW fleet.devices",
                "CREATE TABLE fleet.mine ()",
                "SELECT * FROM control.credentials",
            ] {
                let error = pool.execute(statement).await.expect_err(statement).to_string();
                let refused = error.contains("permission denied") || error.contains("must be owner");
                assert!(refused, "{role}, {statement}: {error}");
            }
        }
        let refused = stack
            .pool_as("ingest")
            .execute("SELECT * FROM fleet.devices")
            .await;
        assert!(refused.is_err(), "the door reads no projection");
    });
}

#[test]
fn what_is_read_is_not_compiled_first() {
    on_stack(|stack| async move {
        for role in ["operator", "api", "ingest", "projector"] {
            let compiled: String = sqlx::query_scalar("SHOW jit")
                .fetch_one(&stack.pool_as(role))
                .await
                .expect("a setting");
            assert_eq!(compiled, "off", "{role}");
        }
    });
}

#[test]
fn an_organization_sees_its_own_and_without_one_nothing_is_seen() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let other = stack.organization().await;
        let elsewhere = stack.integration(&rooms.door, &other, None).await;
        crate::door::known(&elsewhere).await;
        for (to, id) in [(&rooms.integration, "mine"), (&elsewhere, "theirs")] {
            let event = json!({"type": "device.created", "device": {"id": id, "name": id}});
            Delivery::platform(to, &event).post().await.accepted();
            Delivery::golioth(to, id, "/s", r#"{"v": 1}"#)
                .post()
                .await
                .accepted();
        }
        device(&stack, &rooms.organization, "mine", |device| {
            !device["last_report_at"].is_null()
        })
        .await;
        device(&stack, &other, "theirs", |device| {
            !device["last_report_at"].is_null()
        })
        .await;

        let api = stack.pool_as("api");
        let mut connection = api.acquire().await.expect("a connection");
        let views: Vec<String> =
            sqlx::query_scalar("SELECT viewname::text FROM pg_views WHERE schemaname = 'fleet'")
                .fetch_all(&mut *connection)
                .await
                .expect("the catalogue can be read");
        assert!(views.len() >= 9, "{views:?}");
        for view in views {
            let query = format!("SELECT count(*) FROM fleet.{view}");
            let n: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .fetch_one(&mut *connection)
                .await
                .unwrap_or_else(|error| panic!("fleet.{view}: {error}"));
            assert_eq!(n, 0, "fleet.{view} without an organization");
        }
        sqlx::query("SELECT set_config('fleetlog.organization', $1, false)")
            .bind(&rooms.organization)
            .execute(&mut *connection)
            .await
            .expect("a setting");
        let seen: Vec<String> = sqlx::query_scalar("SELECT serial FROM fleet.devices ORDER BY serial")
            .fetch_all(&mut *connection)
            .await
            .expect("readable");
        assert!(
            seen.contains(&"mine".to_owned()) && !seen.contains(&"theirs".to_owned()),
            "{seen:?}"
        );
    });
}

#[test]
fn every_column_of_every_view_is_explained() {
    on_stack(|stack| async move {
        let bare: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname || '.' || a.attname
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind = 'v'
               AND col_description(c.oid, a.attnum) IS NULL",
        )
        .fetch_all(&stack.admin)
        .await
        .expect("the catalogue can be read");
        assert!(bare.is_empty(), "{bare:?}");
    });
}

#[test]
fn a_door_asked_to_stop_under_load_loses_nothing_it_has_acknowledged() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let (door, integration) = (rooms.door, rooms.integration);
        let send = async {
            let mut accepted = Vec::new();
            for n in 0.. {
                let delivery = Delivery::golioth(&integration, "stop-1", "/s", format!("{{\"n\":{n}}}"));
                match delivery.try_post().await {
                    Ok(answer) if answer.status == 202 => {
                        accepted.push(
                            answer.json["events"][0]["id"]
                                .as_str()
                                .unwrap_or_default()
                                .to_owned(),
                        );
                    }
                    Ok(_) | Err(_) => break,
                }
            }
            accepted
        };
        let stop = async {
            eventually("some are accepted", || async {
                let n = stack
                    .rows("SELECT 1 AS one FROM fleet.readings WHERE path = '/s'")
                    .await
                    .len();
                if n > 5 { Ok(()) } else { Err(n.to_string()) }
            })
            .await;
            door.stop().await.expect("the door stops")
        };
        let (accepted, status) = tokio::join!(send, stop);
        assert!(status.success(), "{status}");
        let log = tests::read_log(&stack.log).await;
        let held: BTreeSet<String> = log.iter().map(|(_, event)| event.id.to_string()).collect();
        assert!(!accepted.is_empty());
        for id in &accepted {
            assert!(held.contains(id), "acknowledged and lost: {id}");
        }
        assert!(
            rooms
                .projector
                .stop()
                .await
                .expect("the projector stops")
                .success()
        );
    });
}

#[test]
fn all_roles_run_in_one_process_for_small_fleets() {
    on_stack(|stack| async move {
        let all = stack.role(&["run"]).await.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&all, &organization, None).await;
        crate::door::known(&integration).await;
        let event = json!({"type": "device.online", "device": {"id": "one-1", "name": "SN-ONE"}});
        Delivery::platform(&integration, &event).post().await.accepted();
        device(&stack, &organization, "SN-ONE", |device| {
            device["connectivity"] == "online"
        })
        .await;
        let metrics = all.metric("fleetlog_").await;
        for room in ["fleetlog_ingest", "fleetlog_projector"] {
            assert!(
                metrics.iter().any(|line| line.starts_with(room)),
                "{room}: {metrics:?}"
            );
        }
        assert!(all.stop().await.expect("it stops").success());
    });
}

#[test]
fn simulated_fleets_end_in_the_rows_that_the_log_says() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let _projector = stack.projector().await;
        crate::ownership::simulate(&stack, &door, 12, 120, "3s").await;
        crate::ownership::rows_equal_the_log(&stack).await;
        let summary: Vec<Value> = stack.rows("SELECT * FROM fleet.summary").await;
        assert!(!summary.is_empty());
    });
}
