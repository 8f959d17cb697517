//! Forgetting a device: the log copied without it, and nothing else missing.

use std::{collections::BTreeMap, time::Duration};

use schema::{Event, Topic};
use serde_json::Value;
use stream::LogConfig;
use tests::{Raw, Stack, on_stack};

use crate::{
    generations::folded,
    ownership::{rows_of_generation_equal_the_log, simulate},
};

/// A log beside the one there is; its topics are deleted in the end.
fn beside(stack: &Stack) -> LogConfig {
    LogConfig {
        prefix: format!("{}-new", stack.log.prefix),
        ..stack.log.clone()
    }
}

/// Says that some device is to be forgotten; returns its id and all its keys.
async fn erase(stack: &Stack, nth: i64) -> (String, Vec<String>) {
    let id: String = sqlx::query_scalar(
        "SELECT id::text FROM fleet.devices d
          WHERE EXISTS (SELECT FROM fleet.readings r WHERE r.device = d.id) ORDER BY serial, id OFFSET $1 LIMIT 1",
    )
    .bind(nth)
    .fetch_one(&stack.operator)
    .await
    .expect("there is one");
    let erased = stack
        .fleetlog_json(&["device", "erase", &id, "--yes", "--json"])
        .await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut keys: Vec<_> = erased["provider_devices"]
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect();
    assert!(!keys.is_empty(), "{erased}");
    keys.push(text(&erased["device"]));
    (id, keys)
}

async fn rewrite(stack: &Stack, args: &[&str]) -> (i32, Value, String) {
    let to = beside(stack).prefix;
    let args = [&["log", "rewrite", "--json", "--to", &to], args].concat();
    let (code, output, errors) = stack.try_fleetlog(&args).await;
    (code, serde_json::from_str(&output).unwrap_or_default(), errors)
}

/// How many records a topic of a log with the same partitions as another holds.
async fn n_records(like: &LogConfig, log: &LogConfig, topic: Topic) -> i64 {
    let identity = stream::topics::identify(like).await.expect("a log");
    let ends = stream::ends(log, &identity, &[topic]).await.expect("Kafka is up");
    ends.iter().map(|end| end.offset).sum()
}

fn header<'a>(raw: &'a Raw, name: &str) -> &'a str {
    let found = raw.headers.iter().find(|(held, _)| held == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// What a topic says of whom, by event id and value, without what opens a log: how often each is there.
async fn contents(log: &LogConfig, topic: Topic, without: &[String]) -> BTreeMap<(String, Vec<u8>), usize> {
    let mut contents = BTreeMap::new();
    for raw in tests::read_raw(log, topic).await {
        let is_opening = header(&raw, "ce_type") == "io.fleetlog.log.opened.v1";
        if !is_opening && !without.iter().any(|key| header(&raw, "ce_partitionkey") == key) {
            let key = (header(&raw, "ce_id").to_owned(), raw.value);
            *contents.entry(key).or_default() += 1;
        }
    }
    contents
}

/// That the new log is the old one without these keys, record by record.
async fn is_the_log_without(stack: &Stack, keys: &[String]) {
    let new = beside(stack);
    for topic in [Topic::Events, Topic::Readings] {
        let expected = contents(&stack.log, topic, keys).await;
        let copied = contents(&new, topic, &[]).await;
        assert_eq!(expected.len(), copied.len(), "{topic:?}");
        assert!(expected == copied, "{topic:?} differs");
    }
    let identity = stream::topics::check(&new)
        .await
        .expect("the new log is in order");
    for (position, event) in tests::read_log(&new).await {
        let event: Event = event;
        let partition = stream::partition_of(event.partition_key().as_bytes(), identity.partitions);
        let is_of_its_own = matches!(event.body, schema::Body::LogOpened(_));
        assert!(is_of_its_own || position.partition == partition, "{position}");
    }
}

#[test]
fn the_log_is_rewritten_without_a_device_and_only_that_is_missing() {
    on_stack(|stack| async move {
        let (door, projector) = folded(&stack).await;
        let (code, _, errors) = rewrite(&stack, &["--dry-run"]).await;
        assert_eq!(code, 3, "{errors}");
        let (device, keys) = erase(&stack, 2).await;

        let (code, report, errors) = rewrite(&stack, &["--dry-run"]).await;
        assert_eq!((code, &report["target"]), (0, &Value::Null), "{errors}");
        let left_out = |report: &Value| report["topics"]["device-readings.v1"]["left_out"].as_u64();
        assert!(left_out(&report) > Some(0), "{report}");

        // While everything runs.
        let (code, first, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 0, "{errors}{first}");
        assert_eq!(first["missing"]["only_erased"], true);
        assert_eq!(first["promoted"], false);
        assert_eq!(left_out(&first), left_out(&report));
        let missing = first["missing"]["tables"].as_array().expect("tables");
        for table in [
            "devices",
            "links",
            "provider_devices",
            "readings",
            "readings_latest",
        ] {
            let row = missing.iter().find(|row| row["table"] == table);
            let row = row.unwrap_or_else(|| panic!("{table} in {missing:?}"));
            assert!(row["missing"].as_u64() > Some(0), "{row}");
            assert_eq!(
                (&row["missing"], &row["otherwise"]),
                (&row["erased"], &0.into()),
                "{row}"
            );
        }
        is_the_log_without(&stack, &keys).await;
        let listed = stack.fleetlog(&["generations", "list"]).await;
        assert!(
            listed.contains("`fleetlog log rewrite --promote` lets readers see it"),
            "{listed}"
        );

        // Run again, it copies only what came since.
        simulate(&stack, &door, 20, 100, "1s").await;
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        let (code, again, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 0, "{errors}{again}");
        is_the_log_without(&stack, &keys).await;

        // Once nobody appends, readers go over.
        assert!(door.stop().await.expect("it stops").success());
        let (code, last, errors) = rewrite(&stack, &["--promote"]).await;
        assert_eq!((code, &last["promoted"]), (0, &true.into()), "{errors}{last}");
        drop(projector);
        let listed = stack.fleetlog(&["generations", "list"]).await;
        assert!(listed.contains("of another log than the active one"), "{listed}");
        let shown = stack.rows("SELECT id FROM fleet.devices").await;
        assert!(!shown.is_empty() && shown.iter().all(|row| row["id"] != device.as_str()));
        let new = beside(&stack);
        let prefix = [("FLEETLOG_TOPIC_PREFIX", new.prefix.as_str())];
        let next = stack.role_with(&["projector"], &prefix).await.ready().await;
        next.stop().await.expect("it stops");

        stream::topics::delete(&new).await.expect("deleted");
    });
}

#[test]
fn a_copying_that_is_killed_is_gone_on_with_and_doubles_nothing() {
    on_stack(|stack| async move {
        let (door, _projector) = folded(&stack).await;
        simulate(&stack, &door, 200, 2_000, "4s").await;
        rows_of_generation_equal_the_log(&stack, "gen_1").await;
        let (_, keys) = erase(&stack, 0).await;
        let new = beside(&stack);
        stack
            .fleetlog(&[
                "topics",
                "create",
                "--partitions",
                "3",
                "--topic-prefix",
                &new.prefix,
            ])
            .await;
        let whole = n_records(&stack.log, &stack.log, Topic::Readings).await;
        let mut n_caught = 0;
        for topic in [Topic::Events, Topic::Readings, Topic::Readings, Topic::Readings] {
            let n_before = n_records(&stack.log, &new, topic).await;
            let mut run = stack.start(&["log", "rewrite", "--no-proof", "--to", &new.prefix]);
            let mut turn = tokio::time::interval(Duration::from_millis(1));
            while run.ended().is_none() {
                turn.tick().await;
                if n_records(&stack.log, &new, topic).await > n_before {
                    run.kill();
                    n_caught += 1;
                    break;
                }
            }
        }
        assert!(n_caught > 0, "no copying was caught");
        assert!(whole > 1_000, "{whole} readings");
        let (code, report, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 0, "{errors}{report}");
        assert_eq!(report["missing"]["only_erased"], true, "{report}");
        is_the_log_without(&stack, &keys).await;

        // Who is erased afterwards is in the new log already.
        erase(&stack, 1).await;
        let (code, _, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains("was erased since"), "{errors}");
        stream::topics::delete(&new).await.expect("deleted");
    });
}

#[test]
fn a_log_is_not_copied_into_another_one() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        erase(&stack, 0).await;
        let new = beside(&stack);
        stack
            .fleetlog(&[
                "topics",
                "create",
                "--partitions",
                "3",
                "--topic-prefix",
                &new.prefix,
            ])
            .await;
        let appended = tests::produce(&new, Topic::Readings, "somebody", "{}").await;
        let (code, _, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(errors.contains(&format!("{appended} was not copied")), "{errors}");
        let same = stack.log.prefix.clone();
        let (code, _, errors) = stack.try_fleetlog(&["log", "rewrite", "--to", &same]).await;
        assert_eq!(code, 2, "{errors}");
        stream::topics::delete(&new).await.expect("deleted");
    });
}

#[test]
fn what_expired_readings_made_of_registers_goes_over_with_the_checkpoints() {
    on_stack(|stack| async move {
        let (_door, _projector) = folded(&stack).await;
        let (device, _) = erase(&stack, 1).await;
        crate::expiry::expire(&stack).await;
        let (code, _, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 4, "{errors}");
        assert!(
            errors.contains("no checkpoint covers what came before"),
            "{errors}"
        );
        stack.fleetlog(&["checkpoint"]).await;
        for history in ["readings", "logs"] {
            stack
                .fleetlog(&["horizon", "advance", history, "--before", "0s", "--yes"])
                .await;
        }
        let (code, report, errors) = rewrite(&stack, &[]).await;
        assert_eq!(code, 0, "{errors}{report}");
        assert_eq!(report["missing"]["only_erased"], true);
        let latest = |generation: &str| {
            let query = format!("SELECT count(*) FROM {generation}.readings_latest");
            let pool = stack.admin.clone();
            async move {
                let n: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                    .fetch_one(&pool)
                    .await
                    .expect("it can be counted");
                n
            }
        };
        let (old, new) = (latest("gen_1").await, latest("gen_2").await);
        assert!(new > 0 && new < old, "{new} of {old}");
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM gen_2.devices WHERE id = $1::text::uuid")
            .bind(device)
            .fetch_one(&stack.admin)
            .await
            .expect("it can be counted");
        assert_eq!(left, 0);
        stream::topics::delete(&beside(&stack)).await.expect("deleted");
    });
}
