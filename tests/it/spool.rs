//! What the door does while Kafka is away and it has a spool.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Delivery, Integration, Proxy, Role, Stack, eventually, kafka_proxy, on_stack};
use tokio::join;

use crate::door::known;

/// A door with a spool, behind a proxy of its own to Kafka.
pub(crate) struct Spooling {
    pub(crate) door: Role,
    pub(crate) integration: Integration,
    pub(crate) kafka: Proxy,
    brokers: String,
    dir: PathBuf,
}

impl Spooling {
    pub(crate) async fn start(stack: &Stack, variables: &[(&str, &str)]) -> Self {
        let (kafka, brokers) = kafka_proxy().await;
        let dir = stack.folder.join("spool");
        let door = door(stack, &brokers, &dir, variables).await.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        Self {
            door,
            integration,
            kafka,
            brokers,
            dir,
        }
    }

    /// Starts the door again on its folder.
    pub(crate) async fn again(&mut self, stack: &Stack) {
        self.door = door(stack, &self.brokers, &self.dir, &[]).await;
        let path = format!("/v1/webhooks/{}", self.integration.id);
        self.integration.url = format!("{}{path}", self.door.url);
    }

    pub(crate) fn delivery(&self, n: usize) -> Delivery {
        let body = json!({ "n": n }).to_string();
        Delivery::golioth(&self.integration, &format!("sp-{}", n % 9), "/s", body)
            .header("ce-id", &format!("once-{n}"))
    }

    /// Posts until the delivery is spooled.
    async fn spooled(&self, n: usize) -> String {
        let answer = eventually("a delivery is spooled", || async {
            let answer = self.delivery(n).post().await;
            match answer.json["events"][0]["spooled"].as_bool() {
                Some(true) => Ok(answer),
                _ => Err(format!("{} {}", answer.status, answer.json)),
            }
        })
        .await;
        assert_eq!(answer.status, 202);
        id(&answer.json)
    }
}

async fn door(stack: &Stack, brokers: &str, dir: &std::path::Path, variables: &[(&str, &str)]) -> Role {
    let dir = dir.to_str().expect("a path of ours");
    let mut all = vec![("KAFKA_BROKERS", brokers), ("FLEETLOG_SPOOL_DIR", dir)];
    all.extend(variables);
    stack.role_with(&["ingest"], &all).await
}

pub(crate) fn id(answer: &Value) -> String {
    let id = answer["events"][0]["id"].as_str();
    id.unwrap_or_else(|| panic!("no id in {answer}")).to_owned()
}

/// Waits until nothing is spooled and readiness has nothing to say.
pub(crate) async fn drained(door: &Role) {
    eventually("all that was spooled is in the log", || async {
        let health = crate::outages::readiness(door).await?;
        let records = door.metric("fleetlog_ingest_spool_records").await;
        let empty = records.iter().any(|line| line.ends_with(" 0"));
        if health.0 == 200 && empty && health.1.contains("empty") {
            Ok(())
        } else {
            Err(format!("{health:?} {records:?} {}", door.log_text()))
        }
    })
    .await;
}

/// Every id of the log, with what its event says.
pub(crate) async fn in_the_log(stack: &Stack) -> BTreeMap<String, String> {
    let log = tests::read_log(&stack.log).await;
    log.into_iter()
        .map(|(_, event)| (event.id.to_string(), format!("{:?}", event.body)))
        .collect()
}

#[test]
fn every_delivery_accepted_under_load_during_an_outage_is_in_the_log_afterwards_as_it_was_sent() {
    on_stack(|stack| async move {
        let it = Spooling::start(&stack, &[]).await;
        let (next, stop) = (Cell::new(0_usize), Cell::new(false));
        let accepted = RefCell::new(BTreeMap::new());
        let (n_spooled, n_direct_again, is_cut) = (Cell::new(0), Cell::new(0), Cell::new(false));
        let send = || async {
            while !stop.get() {
                let n = next.replace(next.get() + 1);
                let Ok(answer) = it.delivery(n).try_post().await else {
                    continue;
                };
                assert_eq!(
                    answer.status, 202,
                    "with a spool nobody is refused: {}",
                    answer.json
                );
                if answer.json["events"][0]["spooled"] == true {
                    n_spooled.set(n_spooled.get() + 1);
                } else if n_spooled.get() > 0 && !is_cut.get() {
                    n_direct_again.set(n_direct_again.get() + 1);
                }
                accepted.borrow_mut().insert(id(&answer.json), n);
            }
        };
        let senders = join_all((0..16).map(|_| send()));
        let conduct = async {
            let reached = |what: &'static str, n: &'static str, count: usize, least: usize| {
                if count >= least {
                    Ok(())
                } else {
                    Err(format!("{what}: {count} {n}"))
                }
            };
            eventually("some go to the log", || async {
                reached("before", "accepted", accepted.borrow().len(), 100)
            })
            .await;
            is_cut.set(true);
            it.kafka.cut();
            eventually("many are spooled", || async {
                reached("during", "spooled", n_spooled.get(), 500)
            })
            .await;
            is_cut.set(false);
            it.kafka.restore();
            eventually("the log takes deliveries directly again", || async {
                reached("after", "direct", n_direct_again.get(), 100)
            })
            .await;
            stop.set(true);
        };
        join!(senders, conduct);
        drained(&it.door).await;
        let log = in_the_log(&stack).await;
        let accepted = accepted.into_inner();
        assert!(accepted.len() > 600, "{}", accepted.len());
        for (id, n) in &accepted {
            let body = log.get(id).unwrap_or_else(|| panic!("lost: {id}, {n}"));
            assert!(body.contains(&json!({ "n": n }).to_string()), "{n}: {body}");
        }
        for name in ["spooled_records_total", "spool_drained_records_total"] {
            let counted = it.door.metric(&format!("fleetlog_ingest_{name}")).await;
            assert!(counted.iter().all(|line| !line.ends_with(" 0")), "{counted:?}");
        }
    });
}

#[test]
fn a_door_killed_while_it_spools_loses_nothing_it_has_acknowledged() {
    on_stack(|stack| async move {
        let mut it = Spooling::start(&stack, &[]).await;
        it.kafka.cut();
        let mut accepted = BTreeSet::from([it.spooled(0).await]);
        // Killed in the middle of writing.
        let posted = {
            let deliveries: Vec<Delivery> = (1..60).map(|n| it.delivery(n)).collect();
            let post = |delivery: Delivery| async move { delivery.try_post().await.ok() };
            let all = join_all(deliveries.into_iter().map(post));
            let kill = async {
                let before = it.door.metric("fleetlog_ingest_spooled_records_total").await;
                eventually("it writes", || async {
                    let now = it.door.metric("fleetlog_ingest_spooled_records_total").await;
                    if now == before {
                        Err("not yet".to_owned())
                    } else {
                        Ok(())
                    }
                })
                .await;
                it.door.signal("KILL");
            };
            join!(all, kill).0
        };
        for answer in posted.into_iter().flatten() {
            if answer.status == 202 {
                accepted.insert(id(&answer.json));
            }
        }
        // Whatever the file system made of what was being written, beyond what was committed.
        for file in std::fs::read_dir(&it.dir).expect("the folder is there").flatten() {
            if file.path().extension().is_some_and(|ending| ending == "redb") {
                let mut bytes = std::fs::read(file.path()).expect("it can be read");
                bytes.extend([0xA5; 777]);
                std::fs::write(file.path(), bytes).expect("it can be written");
            }
        }
        // Still without Kafka: it takes deliveries from the first moment on.
        it.again(&stack).await;
        accepted.insert(it.spooled(100).await);
        it.kafka.restore();
        drained(&it.door).await;
        let log = in_the_log(&stack).await;
        for id in &accepted {
            assert!(log.contains_key(id), "acknowledged and lost: {id}");
        }
        assert!(accepted.len() > 2, "{accepted:?}");
    });
}

#[test]
fn a_door_told_to_stop_during_an_outage_leaves_what_is_spooled_to_the_next_start() {
    on_stack(|stack| async move {
        let mut it = Spooling::start(&stack, &[]).await;
        it.kafka.cut();
        let ids = [it.spooled(1).await, it.spooled(2).await];
        it.door.signal("TERM");
        eventually("it says what is left", || async {
            let log = it.door.log_text();
            if log.contains("for the next start") && log.contains("\"stopped\"") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
        it.kafka.restore();
        it.again(&stack).await;
        drained(&it.door).await;
        let log = in_the_log(&stack).await;
        assert!(ids.iter().all(|id| log.contains_key(id)), "{ids:?}");
    });
}

#[test]
fn a_door_told_to_stop_when_kafka_is_back_drains_first() {
    on_stack(|stack| async move {
        let it = Spooling::start(&stack, &[]).await;
        it.kafka.cut();
        let mut ids = Vec::new();
        for n in 0..50 {
            ids.push(it.spooled(n).await);
        }
        it.kafka.restore();
        it.door.signal("TERM");
        it.door.stopped().await;
        let text = it.door.log_text();
        assert!(text.contains("the spool is empty"), "{text}");
        let log = in_the_log(&stack).await;
        assert!(ids.iter().all(|id| log.contains_key(id)), "{ids:?}");
    });
}

#[test]
fn a_second_process_is_refused_a_folder_that_is_taken() {
    on_stack(|stack| async move {
        let dir = stack.folder.join("spool");
        let dir = dir.to_str().expect("a path of ours");
        let _first = stack.role_with(&["ingest"], &[("FLEETLOG_SPOOL_DIR", dir)]).await;
        let second = ["ingest", "--listen", "127.0.0.1:0", "--spool-dir", dir];
        let (code, _, errors) = stack.try_fleetlog(&second).await;
        assert_eq!(code, 4, "{errors}");
        assert!(
            errors.contains(dir) && errors.contains("another process"),
            "{errors}"
        );
    });
}

#[test]
fn a_full_spool_is_a_503_with_retry_after_and_passes_by_itself() {
    on_stack(|stack| async move {
        let it = Spooling::start(&stack, &[("FLEETLOG_SPOOL_MAX_BYTES", "5000")]).await;
        it.kafka.cut();
        let mut ids = vec![it.spooled(0).await];
        let refused = loop {
            let answer = it.delivery(ids.len()).post().await;
            if answer.status != 202 {
                break answer;
            }
            ids.push(id(&answer.json));
        };
        assert_eq!(
            (refused.status, refused.json["reason"].as_str()),
            (503, Some("log_unavailable"))
        );
        assert!(refused.headers.contains_key("retry-after"));
        assert!((2..10).contains(&ids.len()), "{}", ids.len());
        let counted = it.door.metric("fleetlog_ingest_not_spooled_total").await;
        assert!(counted.iter().any(|line| line.contains("full")), "{counted:?}");
        eventually("it is not ready, and says why", || async {
            let (status, body) = crate::outages::readiness(&it.door).await?;
            if status == 503 && body.contains("wait for the log") && body.contains("full") {
                Ok(())
            } else {
                Err(format!("{status} {body}"))
            }
        })
        .await;
        it.kafka.restore();
        drained(&it.door).await;
        it.delivery(99).post().await.accepted();
        let log = in_the_log(&stack).await;
        assert!(ids.iter().all(|id| log.contains_key(id)), "{ids:?}");
    });
}

#[test]
fn a_disk_without_room_closes_the_spool_and_loses_nothing_that_was_acknowledged() {
    on_stack(|stack| async move {
        let mut it = Spooling::start(&stack, &[]).await;
        it.door.kill();
        let dir = it.dir.to_str().expect("a path of ours");
        // No file of this process may be longer: the same as a full disk to whoever writes.
        let variables = [("KAFKA_BROKERS", &*it.brokers), ("FLEETLOG_SPOOL_DIR", dir)];
        it.door = stack.role_with_files_of(3 << 20, &["ingest"], &variables).await;
        it.integration.url = format!("{}/v1/webhooks/{}", it.door.url, it.integration.id);
        let door = it.door;
        it.door = door.ready().await;
        it.kafka.cut();
        let mut accepted = vec![it.spooled(0).await];
        let refused = loop {
            let n = accepted.len();
            let body = json!({ "n": n, "much": "x".repeat(60_000) }).to_string();
            let delivery = Delivery::golioth(&it.integration, "sp-1", "/s", body);
            let answer = delivery.header("ce-id", &format!("large-{n}")).post().await;
            if answer.status != 202 {
                break answer;
            }
            accepted.push(id(&answer.json));
            assert!(n < 1000, "the limit is in force");
        };
        assert_eq!(refused.status, 503, "{}", refused.json);
        let failures = it.door.metric("fleetlog_ingest_spool_failures_total").await;
        assert!(failures.iter().any(|line| !line.ends_with(" 0")), "{failures:?}");
        let (_, body) = crate::outages::readiness(&it.door).await.expect("it is alive");
        assert!(body.contains("cannot be written to"), "{body}");
        // With room again, and after a crash.
        it.door.kill();
        it.again(&stack).await;
        it.kafka.restore();
        drained(&it.door).await;
        let log = in_the_log(&stack).await;
        for id in &accepted {
            assert!(log.contains_key(id), "acknowledged and lost: {id}");
        }
    });
}
