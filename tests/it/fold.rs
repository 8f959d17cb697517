//! The fold: late, doubled, deleted and old reports end in the right rows.

use serde_json::json;
use tests::{Delivery, eventually, on_stack};

use crate::dialects::{device, rooms};

#[test]
fn an_old_last_report_of_a_provider_does_not_bring_a_device_online() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let event = json!({"type": "device.updated", "device": {"id": "old-1", "name": "SN-OLD",
            "lastSeen": "2025-09-20T10:00:00Z"}});
        Delivery::platform(&rooms.integration, &event)
            .post()
            .await
            .accepted();
        let old = device(&stack, &rooms.organization, "SN-OLD", |device| {
            !device["last_report_at"].is_null()
        })
        .await;
        assert_ne!(old["connectivity"], "online");
        assert!(
            old["last_report_at"]
                .as_str()
                .is_some_and(|at| at.starts_with("2025-09-20")),
            "{old}"
        );
    });
}

#[test]
fn a_retried_delivery_with_an_id_and_no_time_changes_nothing() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let once = Delivery::golioth(to, "rt-1", "/s", r#"{"n": 1}"#).header("ce-id", "delivery-1");
        let first = once.post().await.accepted();
        let newer = Delivery::golioth(to, "rt-1", "/s", r#"{"n": 2}"#).header("ce-id", "delivery-2");
        newer.post().await.accepted();
        let newest = || async {
            stack
                .rows("SELECT path, data, at FROM fleet.readings_latest ORDER BY at")
                .await
        };
        let settled = eventually("the newer reading shows", || async {
            let rows = newest().await;
            if rows.iter().any(|row| row["data"]["n"] == json!(2)) {
                Ok(rows)
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;

        let again = once.post().await.accepted();
        assert_eq!(
            first.json["events"][0]["id"], again.json["events"][0]["id"],
            "one id for every copy"
        );
        let sentinel = Delivery::golioth(to, "rt-1", "/sentinel", "{}").header("ce-id", "delivery-3");
        sentinel.post().await.accepted();
        let after = eventually("the sentinel is folded", || async {
            let rows = newest().await;
            if rows.iter().any(|row| row["path"] == "/sentinel") {
                Ok(rows)
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
        let without: Vec<_> = after
            .into_iter()
            .filter(|row| row["path"] != "/sentinel")
            .collect();
        assert_eq!(settled, without, "the copy moved nothing");
        let history = stack
            .rows("SELECT data FROM fleet.readings WHERE path = '/s'")
            .await;
        assert_eq!(history.len(), 2, "{history:?}");
    });
}

#[test]
fn a_late_reading_joins_the_history_and_rewinds_nothing() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let now = tests::now_seconds();
        let at = |seconds_ago: u64, battery: u32| {
            let wrapped = json!({"data": {"battery": battery}, "device_id": "late-1", "project_id": "p",
                "timestamp": {"seconds": now - seconds_ago, "nanos": 0}});
            Delivery::platform(to, &wrapped)
        };
        let named = json!({"type": "device.created", "device": {"id": "late-1", "name": "SN-LATE"}});
        Delivery::platform(to, &named).post().await.accepted();
        at(10, 70).post().await.accepted();
        at(3_600, 90).post().await.accepted();
        eventually("both are in the history", || async {
            let rows = stack
                .rows("SELECT data FROM fleet.readings WHERE data ? 'battery'")
                .await;
            if rows.len() == 2 {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
        let shown = device(&stack, &rooms.organization, "SN-LATE", |device| {
            !device["battery"].is_null()
        })
        .await;
        assert_eq!(shown["battery"].to_string().parse::<f64>().ok(), Some(70.0));
    });
}

#[test]
fn a_deleted_device_is_hidden_from_the_live_ones_and_returns_with_newer_evidence() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let say = async |event: serde_json::Value| {
            Delivery::platform(to, &event).post().await.accepted();
        };
        say(json!({"type": "device.created", "device": {"id": "del-1", "name": "SN-DEL"}})).await;
        let gone = |device: &serde_json::Value| device["provider_devices"][0]["gone"] == json!(true);
        device(&stack, &rooms.organization, "SN-DEL", |device| !gone(device)).await;
        say(json!({"type": "device.deleted", "device": {"id": "del-1"}})).await;
        device(&stack, &rooms.organization, "SN-DEL", gone).await;
        Delivery::golioth(to, "del-1", "/s", "{}").post().await.accepted();
        device(&stack, &rooms.organization, "SN-DEL", |device| !gone(device)).await;
    });
}

#[test]
fn firmware_is_a_history_and_the_newest_report_is_the_version() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let report = |version: &str, at: &str| {
            json!({"type": "device.updated", "device": {"id": "fw-1", "name": "SN-FW", "firmware": {
                "package": "main", "version": version, "state": "IDLE", "time": at}}})
        };
        let to = &rooms.integration;
        for (version, at) in [
            ("1.0.0", "2026-03-01T00:00:00Z"),
            ("1.2.0", "2026-05-01T00:00:00Z"),
            ("1.1.0", "2026-04-01T00:00:00Z"),
            ("1.2.0", "2026-05-01T00:00:00Z"),
        ] {
            Delivery::platform(to, &report(version, at))
                .post()
                .await
                .accepted();
        }
        device(&stack, &rooms.organization, "SN-FW", |device| {
            device["firmware_version"] == "1.2.0"
        })
        .await;
        eventually("the history is complete", || async {
            let rows = stack
                .rows("SELECT version FROM fleet.firmware_history ORDER BY at")
                .await;
            let versions: Vec<_> = rows.iter().filter_map(|row| row["version"].as_str()).collect();
            if versions == ["1.0.0", "1.1.0", "1.2.0"] {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
    });
}

#[test]
fn sessions_are_half_open_intervals_between_connects_and_disconnects() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let at = |kind: &str, at: &str| json!({"type": kind, "device": {"id": "se-1", "name": "SN-SE"}, "timestamp": at});
        for (kind, when) in [
            ("device.online", "2026-11-01T10:00:00Z"),
            ("device.offline", "2026-11-01T11:00:00Z"),
            ("device.online", "2026-11-01T12:00:00Z"),
        ] {
            Delivery::platform(to, &at(kind, when)).post().await.accepted();
        }
        eventually("two sessions, one of them open", || async {
            let rows = stack
                .rows("SELECT * FROM fleet.sessions ORDER BY started_at")
                .await;
            match rows.as_slice() {
                [first, second]
                    if first["ended_at"]
                        .as_str()
                        .is_some_and(|end| end.starts_with("2026-11-01T11:00:00"))
                        && second["ended_at"].is_null() =>
                {
                    Ok(())
                }
                _ => Err(format!("{rows:?}")),
            }
        })
        .await;
    });
}

#[test]
fn a_provider_device_deleted_by_hand_is_back_with_its_next_reading() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let read = async |n: i64| {
            let body = json!({"n": n}).to_string();
            let reading = Delivery::golioth(&rooms.integration, "hand-1", "/s", body);
            reading.post().await.accepted();
            eventually("it is in the history", || async {
                let count = "SELECT count(*) FROM gen_1.readings r
                               JOIN gen_1.provider_devices p ON p.id = r.provider_device
                              WHERE p.external_id = 'hand-1'";
                let found: i64 = sqlx::query_scalar(count)
                    .fetch_one(&stack.admin)
                    .await
                    .expect("the owner may read");
                if found == n {
                    Ok(())
                } else {
                    Err(found.to_string())
                }
            })
            .await;
        };
        read(1).await;
        // Another knows nothing of it, and finds no row of it but those that hang on it.
        assert!(rooms.projector.stop().await.expect("it stops").success());
        sqlx::query("DELETE FROM gen_1.provider_devices")
            .execute(&stack.admin)
            .await
            .expect("the owner may delete");
        let _projector = stack.projector().await;
        read(2).await;
        let newest = stack
            .rows("SELECT data FROM fleet.readings_latest WHERE provider_device LIKE '%:hand-1'")
            .await;
        assert_eq!(newest, [json!({"data": {"n": 2}})]);
    });
}
