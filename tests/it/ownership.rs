//! Projectors share partitions, hand them over, die and come back; the rows are those of one undisturbed fold.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Expected, Integration, Role, Stack, eventually, eventually_within, on_stack, read_log};

use crate::door::known;

/// Partitions of both event topics together.
pub(crate) const PARTITIONS: usize = 6;

/// Sends believable traffic through every scheme until it is done.
pub(crate) async fn simulate(stack: &Stack, door: &Role, devices: u32, rate: u32, duration: &str) {
    let organization = stack.organization().await;
    let plain = stack.integration(door, &organization, None).await;
    known(&plain).await;
    let mut targets = vec![target(&plain, "shared-secret")];
    for scheme in ["hmac-sha256", "timestamped-hmac", "standard-webhooks"] {
        let integration = stack
            .integration_with(door, &organization, &["--scheme", scheme])
            .await;
        accepts(stack, &integration, scheme).await;
        targets.push(target(&integration, scheme));
    }
    let file = stack.folder.join("targets.json");
    let all = json!({"organization_id": organization, "integrations": targets});
    std::fs::write(&file, all.to_string()).expect("a file can be written");
    let (devices, rate) = (devices.to_string(), rate.to_string());
    stack
        .fleetlog(&[
            "simulate",
            "--targets",
            file.to_str().expect("text"),
            "--devices",
            &devices,
            "--rate",
            &rate,
            "--duration",
            duration,
            "--seed",
            "11",
        ])
        .await;
}

/// Waits until the door has heard of the integration's credential.
async fn accepts(stack: &Stack, integration: &Integration, scheme: &str) {
    let secret = stack.folder.join(&integration.id);
    std::fs::write(&secret, &integration.secret).expect("a file can be written");
    let secret = secret.to_str().expect("text");
    let send = [
        "send",
        "--url",
        &integration.url,
        "--scheme",
        scheme,
        "--secret-file",
        secret,
    ];
    let delivery = ["--dialect", "platform", "--name", "probe", "--data", "{}"];
    eventually("the door knows the credential", || async {
        let (code, output, errors) = stack.try_fleetlog(&[&send[..], &delivery].concat()).await;
        if code == 0 {
            Ok(())
        } else {
            Err(format!("{output}{errors}"))
        }
    })
    .await;
}

fn target(integration: &Integration, scheme: &str) -> Value {
    json!({"name": scheme, "integration_id": integration.id, "url": integration.url, "scheme": scheme,
        "secret": integration.secret, "project": integration.project})
}

/// Waits until the rows are exactly what the log says, by a fold of the tests' own.
pub(crate) async fn rows_equal_the_log(stack: &Stack) {
    rows_of_generation_equal_the_log(stack, "gen_1").await;
}

/// The same for a generation that may not be the first.
pub(crate) async fn rows_of_generation_equal_the_log(stack: &Stack, generation: &str) {
    let log = read_log(&stack.log).await;
    assert!(log.len() > 50, "there is something to compare: {}", log.len());
    let expected = Expected::of(&log);
    eventually_within(Duration::from_secs(90), "the rows equal the log", || async {
        expected.differences(&Expected::rows(&stack.admin, generation).await)
    })
    .await;
}

async fn n_history_rows(stack: &Stack) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM gen_1.readings")
        .fetch_one(&stack.admin)
        .await
        .unwrap_or(0)
}

#[test]
fn a_projector_killed_in_mid_stream_doubles_nothing_and_loses_nothing() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        // Small batches make many transactions, so that the kill falls among them.
        let small: &[(&str, &str)] = &[("FLEETLOG_BATCH_RECORDS", "50")];
        let traffic = simulate(&stack, &door, 60, 300, "10s");
        let killings = async {
            for round in 1..=3 {
                let before = n_history_rows(&stack).await;
                let mut projector = stack.role_with(&["projector"], small).await;
                eventually("it has committed something", || async {
                    if n_history_rows(&stack).await > before {
                        Ok(())
                    } else {
                        Err(format!("round {round}"))
                    }
                })
                .await;
                projector.kill();
            }
        };
        tokio::join!(traffic, killings);
        let _last = stack.projector().await;
        rows_equal_the_log(&stack).await;
    });
}

/// How many partitions, of both topics together, a projector owns.
pub(crate) async fn owned(role: &Role) -> usize {
    let samples = role.metric("fleetlog_projector_owner_epoch{").await;
    samples.iter().filter(|sample| !sample.ends_with(" 0")).count()
}

#[test]
fn two_projectors_share_the_partitions_and_hand_over() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let first = stack.projector().await;
        let second = stack.role(&["projector"]).await;
        eventually("each owns some partitions", || async {
            let (a, b) = (owned(&first).await, owned(&second).await);
            if a > 0 && b > 0 {
                Ok(())
            } else {
                Err(format!("{a} and {b}"))
            }
        })
        .await;
        simulate(&stack, &door, 30, 300, "3s").await;
        assert!(first.stop().await.expect("it stops").success());
        eventually("the other owns all", || async {
            let n = owned(&second).await;
            if n == PARTITIONS {
                Ok(())
            } else {
                Err(n.to_string())
            }
        })
        .await;
        rows_equal_the_log(&stack).await;
    });
}

#[test]
fn several_writers_of_one_projector_share_the_partitions_and_report_as_one() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let projector = stack.role(&["projector", "--writers", "2"]).await.ready().await;
        eventually("both own partitions", || async {
            let n: i64 = sqlx::query_scalar("SELECT count(DISTINCT owner) FROM projection_meta.offsets")
                .fetch_one(&stack.admin)
                .await
                .expect("the offsets can be read");
            if n == 2 && owned(&projector).await == PARTITIONS {
                Ok(())
            } else {
                Err(n.to_string())
            }
        })
        .await;
        simulate(&stack, &door, 30, 300, "3s").await;
        rows_equal_the_log(&stack).await;
        eventually("both say that nothing is behind", || async {
            let health = reqwest::get(format!("{}/health/ready", projector.url)).await;
            let health = health.expect("it answers").text().await.expect("text");
            if health.matches("owned, 0 events behind").count() == 2 {
                Ok(())
            } else {
                Err(health)
            }
        })
        .await;
        assert!(projector.stop().await.expect("it stops").success());
    });
}

async fn epochs(stack: &Stack) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(owner_epoch), 0)::bigint FROM projection_meta.offsets")
        .fetch_one(&stack.admin)
        .await
        .expect("the offsets can be read")
}

#[test]
fn a_projector_that_slept_through_its_succession_changes_nothing() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let zombie = stack.projector().await;
        simulate(&stack, &door, 20, 200, "2s").await;
        rows_equal_the_log(&stack).await;

        let before = epochs(&stack).await;
        // Frozen, not dead: it will wake up believing that it still owns everything.
        zombie.signal("STOP");
        let successor = stack.role(&["projector"]).await;
        eventually("the successor owns the partitions", || async {
            let raised = epochs(&stack).await - before;
            if raised >= 6 && owned(&successor).await == PARTITIONS {
                Ok(())
            } else {
                Err(raised.to_string())
            }
        })
        .await;
        zombie.signal("CONT");
        simulate(&stack, &door, 20, 200, "3s").await;
        rows_equal_the_log(&stack).await;
    });
}

#[test]
fn a_transaction_under_an_old_epoch_fails_whole() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let projector = stack.projector().await;
        simulate(&stack, &door, 10, 100, "1s").await;
        rows_equal_the_log(&stack).await;
        // Someone else has become the owner, behind this projector's back.
        sqlx::query("UPDATE projection_meta.offsets SET owner_epoch = owner_epoch + 1, owner = 'another'")
            .execute(&stack.admin)
            .await
            .expect("the owner may write");
        let (places, rows) = (stolen(&stack).await, Expected::rows(&stack.admin, "gen_1").await);
        let notices = async {
            eventually("it notices", || async {
                let samples = projector.metric("fleetlog_projector_fenced_total").await;
                if samples.iter().any(|sample| !sample.ends_with(" 0")) {
                    Ok(())
                } else {
                    Err(format!("{samples:?}"))
                }
            })
            .await;
            // Rows first: what is still stolen after they were read was stolen while they were.
            let rows_now = Expected::rows(&stack.admin, "gen_1").await;
            assert_eq!(places, stolen(&stack).await, "no position moved");
            rows.differences(&rows_now).expect("no row moved");
        };
        tokio::join!(simulate(&stack, &door, 10, 100, "2s"), notices);
        // It may claim the partitions anew, under a higher epoch, or leave them to whoever has them; a second one
        // settles that.
        let _second = stack.projector().await;
        rows_equal_the_log(&stack).await;
    });
}

/// Where the partitions stand that another owns.
async fn stolen(stack: &Stack) -> Vec<(String, i32, i64)> {
    sqlx::query_as(
        "SELECT topic, partition, next_offset FROM projection_meta.offsets
          WHERE owner = 'another' ORDER BY topic, partition",
    )
    .fetch_all(&stack.admin)
    .await
    .expect("the offsets can be read")
}
