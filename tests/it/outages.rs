//! Outages of the servers behind the roles.

use std::time::{Duration, Instant};

use tests::{Delivery, Proxy, Role, eventually, on_stack};

use crate::door::known;

/// Status and body of a role's readiness.
pub(crate) async fn readiness(role: &Role) -> Result<(u16, String), String> {
    let answer = reqwest::get(format!("{}/health/ready", role.url))
        .await
        .map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.unwrap_or_default()))
}

#[test]
fn a_kafka_outage_is_a_503_with_retry_after_and_passes_by_itself() {
    on_stack(|stack| async move {
        // A listener of the broker that is advertised under this proxy's address: only this door loses the broker.
        let (proxy, brokers) = tests::kafka_proxy().await;
        let door = stack
            .role_with(&["ingest"], &[("KAFKA_BROKERS", &brokers)])
            .await
            .ready()
            .await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;

        proxy.cut();
        let delivery = Delivery::golioth(&integration, "out-1", "/s", r#"{"n": 1}"#).header("ce-id", "once");
        let begun = Instant::now();
        let refused = delivery.post().await;
        let taken = begun.elapsed();
        assert_eq!(refused.status, 503, "{}", refused.json);
        assert!(refused.headers.contains_key("retry-after"));
        // The promise is 2.5 s, and a busy machine may add to it; a door that waits for the broker takes for ever.
        assert!(taken < Duration::from_secs(10), "{taken:?}");
        eventually("readiness says so", || async {
            let (status, body) = readiness(&door).await?;
            if status == 503 && body.contains("kafka") {
                Ok(())
            } else {
                Err(body)
            }
        })
        .await;

        proxy.restore();
        let accepted = eventually("deliveries are accepted again", || async {
            let answer = delivery.post().await;
            if answer.status == 202 {
                Ok(answer)
            } else {
                Err(answer.json.to_string())
            }
        })
        .await;
        let id = accepted.json["events"][0]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let log = tests::read_log(&stack.log).await;
        assert!(log.iter().any(|(_, event)| event.id.to_string() == id));
    });
}

#[test]
fn a_postgres_outage_stops_nobody_at_the_door_and_the_fold_resumes() {
    on_stack(|stack| async move {
        let proxy = Proxy::start(0, stack.postgres_address()).expect("a port is free");
        let variable = |name| (name, stack.through(name, proxy.address));
        let (name, url) = variable("FLEETLOG_CONTROL_DATABASE_URL");
        let door = stack.role_with(&["ingest"], &[(name, &url)]).await.ready().await;
        let (name, url) = variable("FLEETLOG_PROJECTOR_DATABASE_URL");
        let projector = stack
            .role_with(&["projector"], &[(name, &url)])
            .await
            .ready()
            .await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;

        proxy.cut();
        let during = Delivery::golioth(&integration, "pg-1", "/s", r#"{"n": 1}"#);
        for _ in 0..5 {
            during.post().await.accepted();
        }
        eventually("the door is ready and says what it serves from", || async {
            let (status, body) = readiness(&door).await?;
            if status == 200 && body.contains("last known") {
                Ok(())
            } else {
                Err(format!("{status} {body}"))
            }
        })
        .await;
        let stranger = format!("{}/v1/webhooks/{}", door.url, uuid::Uuid::new_v4());
        let unknown = Delivery {
            url: stranger,
            ..during.clone()
        }
        .post()
        .await;
        assert_eq!(
            unknown.status, 503,
            "an unknown integration may be a new one: {}",
            unknown.json
        );

        eventually("what waits is seen to get older", || async {
            let shown = projector
                .metric("fleetlog_projector_oldest_event_age_seconds{")
                .await;
            let age = shown
                .iter()
                .filter_map(|line| line.split(' ').next_back()?.parse::<f64>().ok());
            if age.fold(0.0, f64::max) > 3.0 {
                Ok(())
            } else {
                Err(format!("{shown:?}"))
            }
        })
        .await;

        proxy.restore();
        eventually("what was accepted meanwhile is folded", || async {
            let rows = stack
                .rows("SELECT 1 AS one FROM fleet.readings WHERE path = '/s'")
                .await;
            if rows.len() == 5 {
                Ok(())
            } else {
                Err(format!("{} rows", rows.len()))
            }
        })
        .await;
    });
}

#[test]
fn a_door_that_starts_without_postgres_says_what_it_waits_for() {
    on_stack(|stack| async move {
        let proxy = Proxy::start(0, stack.postgres_address()).expect("a port is free");
        proxy.cut();
        let url = stack.through("FLEETLOG_CONTROL_DATABASE_URL", proxy.address);
        let door = stack
            .role_with(&["ingest"], &[("FLEETLOG_CONTROL_DATABASE_URL", &url)])
            .await;
        eventually("it is live, not ready, and says why", || async {
            let (status, body) = readiness(&door).await?;
            let why = body.to_lowercase().contains("postgres");
            if status == 503 && why {
                Ok(())
            } else {
                Err(format!("{status} {body}"))
            }
        })
        .await;
        proxy.restore();
        let door = door.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
    });
}

#[test]
fn a_command_whose_session_postgres_ends_says_that_it_is_unavailable() {
    on_stack(|stack| async move {
        // It waits for a lock, and is in the middle of a statement when the server lets it go.
        let mut held = stack.admin.begin().await.expect("a transaction");
        sqlx::query("LOCK TABLE gen_1.devices IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *held)
            .await
            .expect("the owner may");
        let organization = stack.organization().await;
        let mut command = stack.start(&["device", "list", "--organization", &organization]);
        eventually("it is let go", || async {
            let ended: i64 = sqlx::query_scalar(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'fleetlog'",
            )
            .fetch_one(&stack.admin)
            .await
            .map_err(|error| error.to_string())?;
            if ended > 0 {
                Ok(())
            } else {
                Err("it does not wait yet".to_owned())
            }
        })
        .await;
        let code = eventually("it ends", || {
            let ended = command.ended().ok_or_else(|| "not yet".to_owned());
            async { ended }
        })
        .await;
        let said = command.errors();
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("run the command again"), "{said}");
        held.rollback().await.expect("it can");
    });
}
