//! Letting go: checkpoints, behind which readings may expire, and horizons, behind which histories end.

use schema::{Body, Event, Topic};
use serde_json::json;
use tests::{Delivery, Stack, eventually, on_stack};

use crate::dialects::{Rooms, rooms};

/// Sends a reading taken so many seconds ago.
async fn send(rooms: &Rooms, device: &str, seconds_ago: u64, value: u32) {
    let at = json!({ "seconds": tests::now_seconds() - seconds_ago, "nanos": 0 });
    let said = json!({ "data": { "n": value }, "device_id": device, "project_id": "p", "timestamp": at });
    Delivery::platform(&rooms.integration, &said)
        .post()
        .await
        .accepted();
}

/// Waits until so many readings are folded.
async fn folded(stack: &Stack, n_readings: i64) {
    eventually(&format!("{n_readings} readings are folded"), || async {
        let folded: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM projection_meta.offsets WHERE topic = $1",
        )
        .bind(Topic::Readings.suffix())
        .fetch_one(&stack.admin)
        .await
        .map_err(|error| error.to_string())?;
        if folded == n_readings {
            Ok(())
        } else {
            Err(format!("{folded} are"))
        }
    })
    .await;
}

/// The checkpoints in the log.
async fn checkpoints(stack: &Stack) -> Vec<Event> {
    let records = tests::read_raw(&stack.log, Topic::Checkpoints).await;
    let event = |raw: &tests::Raw| {
        let headers = raw.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
        schema::decode(headers, &raw.value).expect("an event").1
    };
    records.iter().map(event).collect()
}

#[test]
fn a_checkpoint_writes_only_what_changed_and_says_what_is_covered() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let known: i64 = 1;
        for device in ["cp-1", "cp-2", "cp-3"] {
            send(&rooms, device, 5, 1).await;
        }
        folded(&stack, known + 3).await;
        let covered = |report: &serde_json::Value| -> i64 {
            let partitions = report["partitions"].as_array().expect("a list");
            partitions
                .iter()
                .filter_map(|partition| partition["covered"].as_i64())
                .sum()
        };
        let first = stack.fleetlog_json(&["checkpoint", "--json"]).await;
        assert_eq!(covered(&first), known + 3, "{first}");
        let devices = first["provider_devices"].as_i64().expect("a number");
        assert_eq!(first["written"], devices + 3, "{first}");
        assert_eq!(first["unchanged"], 0, "{first}");

        let again = stack.fleetlog_json(&["checkpoint", "--json"]).await;
        assert_eq!(again["written"], 3, "one record for each partition: {again}");
        assert_eq!(again["unchanged"], devices, "{again}");

        send(&rooms, "cp-2", 1, 2).await;
        folded(&stack, known + 4).await;
        let output = stack.fleetlog(&["checkpoint"]).await;
        assert!(
            output.contains(&format!("4 records written, {} unchanged", devices - 1)),
            "{output}"
        );

        let newest = checkpoints(&stack).await;
        let of_device = newest
            .iter()
            .filter(|event| event.subject.to_string().ends_with("/id:cp-2"));
        let registers: Vec<_> = of_device
            .filter_map(|event| {
                let Body::CheckpointTaken(taken) = &event.body else {
                    return None;
                };
                Some(taken.registers.get().to_owned())
            })
            .collect();
        assert_eq!(registers.len(), 2);
        assert!(registers[1].contains(r#"{"n": 2}"#), "{}", registers[1]);
    });
}

#[test]
fn projectors_take_checkpoints_when_they_are_due_and_one_at_a_time() {
    on_stack(|stack| async move {
        let every = [("FLEETLOG_CHECKPOINT_INTERVAL", "1s")];
        let one = stack.role_with(&["projector"], &every).await.ready().await;
        let other = stack.role_with(&["projector"], &every).await.ready().await;
        let completed = || async {
            let taken = checkpoints(&stack).await;
            let completed = taken
                .iter()
                .filter(|event| matches!(event.body, Body::CheckpointCompleted(_)));
            completed.count()
        };
        eventually("two checkpoints were taken", || async {
            let completed = completed().await;
            if completed >= 6 {
                Ok(())
            } else {
                Err(format!("{completed} records"))
            }
        })
        .await;
        let name = "fleetlog_projector_checkpoint_age_seconds";
        eventually("their age is measured", || async {
            let ages = (one.metric(name).await.len(), other.metric(name).await.len());
            if ages == (3, 3) {
                Ok(())
            } else {
                Err(format!("{ages:?}"))
            }
        })
        .await;
    });
}

#[test]
fn a_history_ends_at_its_horizon_and_what_comes_late_stays_behind_it() {
    const DAY: u64 = 86_400;
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        for days_ago in [5, 4, 3, 0] {
            send(&rooms, "hz-1", days_ago * DAY + 1, 1).await;
        }
        folded(&stack, 5).await;
        let seen = || async {
            stack
                .rows("SELECT at FROM fleet.readings WHERE data ? 'n'")
                .await
                .len()
        };
        assert_eq!(seen().await, 4);
        let latest = stack
            .rows("SELECT * FROM fleet.readings_latest ORDER BY path, at")
            .await;

        let advance = ["horizon", "advance", "readings", "--before", "84h"];
        let (code, _, errors) = stack.try_fleetlog(&advance).await;
        assert_eq!(code, 2, "nobody can be asked");
        assert!(errors.contains("--yes"), "{errors}");
        let advanced = stack
            .fleetlog_json(&[
                "horizon", "advance", "readings", "--before", "84h", "--yes", "--json",
            ])
            .await;
        assert!(advanced["days_dropped"].as_i64() >= Some(1), "{advanced}");
        assert_eq!(seen().await, 2);
        assert_eq!(
            stack
                .rows("SELECT * FROM fleet.readings_latest ORDER BY path, at")
                .await,
            latest
        );
        let shown = stack.fleetlog(&["horizon", "show"]).await;
        assert!(
            shown.lines().any(|line| line.starts_with("readings  20")),
            "{shown}"
        );
        assert!(
            shown.lines().any(|line| line.starts_with("logs      -")),
            "{shown}"
        );
        let (code, _, errors) = stack
            .try_fleetlog(&["horizon", "advance", "readings", "--before", "85h", "--yes"])
            .await;
        assert_eq!(code, 4, "{errors}");

        // What belongs to a day that was dropped is folded and hidden, by this projector and by the next.
        send(&rooms, "hz-1", 5 * DAY, 2).await;
        folded(&stack, 6).await;
        rooms.projector.stop().await.expect("it stops");
        let next = stack.projector().await;
        let at = json!({ "seconds": tests::now_seconds() - 5 * DAY + 60, "nanos": 0 });
        let said = json!({ "data": { "n": 3 }, "device_id": "hz-1", "project_id": "p", "timestamp": at });
        Delivery::platform(&rooms.integration, &said)
            .post()
            .await
            .accepted();
        folded(&stack, 7).await;
        assert_eq!(seen().await, 2);
        next.stop().await.expect("it stops cleanly");
    });
}
