//! The first start: roles begin before the servers, say what they wait for, and go on by themselves.

use std::{net::SocketAddr, time::Duration};

use tests::{Delivery, Proxy, Role, Stack, eventually, eventually_within, free_port, on_stack};

use crate::{door::known, outages::readiness};

/// Within this, a role has said what it waits for. Clients of servers that are away try for longer than that.
const SAID_WITHIN: Duration = Duration::from_secs(20);

/// A place where nobody listens so far.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Where the stack's broker is.
fn broker(stack: &Stack) -> SocketAddr {
    stack.log.brokers.parse().expect("one broker, by its address")
}

/// Waits until the role has said so many times in its log that it waits for what is at this place, and says it in
/// readiness, while it is alive.
async fn waits(role: &Role, what: &str, at: SocketAddr, check: &str, times: usize) {
    let told = format!("waiting for {what} at {at}");
    eventually_within(SAID_WITHIN, "it says what it waits for, and where", || async {
        let log = role.log_text();
        let n_told = log.matches(&told).count();
        let (status, body) = readiness(role).await?;
        let readiness: serde_json::Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let check = &readiness["checks"][check];
        let detail = check["detail"].as_str().unwrap_or_default();
        if n_told >= times && status == 503 && check["ok"] == false && detail.contains("waiting") {
            Ok(())
        } else {
            Err(format!("{status} {body} {n_told} of {told:?} in {log}"))
        }
    })
    .await;
    let live = reqwest::get(format!("{}/health/live", role.url)).await;
    assert!(live.is_ok_and(|answer| answer.status().is_success()));
}

#[test]
fn a_door_without_kafka_and_postgres_says_what_it_waits_for_and_goes_on_when_they_come() {
    on_stack(|stack| async move {
        let (kafka, postgres) = (nowhere(), nowhere());
        let url = stack.through("FLEETLOG_CONTROL_DATABASE_URL", postgres);
        let brokers = kafka.to_string();
        let variables = [
            ("KAFKA_BROKERS", &*brokers),
            ("FLEETLOG_CONTROL_DATABASE_URL", &*url),
        ];
        let door = stack.role_with(&["ingest"], &variables).await;
        waits(&door, "Kafka", kafka, "kafka", 1).await;
        waits(&door, "PostgreSQL", postgres, "registry", 1).await;
        let stranger = format!("{}/v1/webhooks/{}", door.url, uuid::Uuid::new_v4());
        let refused = reqwest::Client::new().post(stranger).send().await;
        assert_eq!(
            refused.expect("it answers").status(),
            503,
            "whoever it is may be known once it can be asked"
        );
        waits(&door, "Kafka", kafka, "kafka", 2).await;
        waits(&door, "PostgreSQL", postgres, "registry", 2).await;

        let _postgres = Proxy::start(postgres.port(), stack.postgres_address()).expect("the port is free");
        let _kafka = Proxy::to_kafka_at(kafka.port(), broker(&stack)).expect("the port is free");
        let door = door.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        assert!(door.stop().await.expect("it stops").success());
    });
}

#[test]
fn a_projector_without_kafka_and_postgres_says_what_it_waits_for_and_goes_on_when_they_come() {
    on_stack(|stack| async move {
        let (kafka, postgres) = (nowhere(), nowhere());
        let url = stack.through("FLEETLOG_PROJECTOR_DATABASE_URL", postgres);
        let brokers = kafka.to_string();
        let variables = [
            ("KAFKA_BROKERS", &*brokers),
            ("FLEETLOG_PROJECTOR_DATABASE_URL", &*url),
        ];
        let projector = stack.role_with(&["projector"], &variables).await;
        for times in [1, 2] {
            waits(&projector, "Kafka", kafka, "kafka", times).await;
            waits(&projector, "PostgreSQL", postgres, "postgres", times).await;
        }
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        let body = r#"{"n": 1}"#;
        Delivery::golioth(&integration, "first-1", "/first", body)
            .post()
            .await
            .accepted();

        let _kafka = Proxy::to_kafka_at(kafka.port(), broker(&stack)).expect("the port is free");
        eventually(
            "it has found the log, and still waits for the database",
            || async {
                let (status, body) = readiness(&projector).await?;
                let found = body.contains("found the log") && body.contains("waiting for PostgreSQL");
                if status == 503 && found {
                    Ok(())
                } else {
                    Err(format!("{status} {body}"))
                }
            },
        )
        .await;
        let _postgres = Proxy::start(postgres.port(), stack.postgres_address()).expect("the port is free");
        let projector = projector.ready().await;
        eventually("what waited in the log is folded", || async {
            let rows = stack
                .rows("SELECT 1 AS one FROM fleet.readings WHERE path = '/first'")
                .await;
            if rows.len() == 1 {
                Ok(())
            } else {
                Err(format!("{} rows", rows.len()))
            }
        })
        .await;
        assert!(projector.stop().await.expect("it stops").success());
    });
}

#[test]
fn a_role_that_waits_for_its_servers_stops_when_it_is_told_to() {
    on_stack(|stack| async move {
        let (kafka, postgres) = (nowhere().to_string(), nowhere());
        let control = stack.through("FLEETLOG_CONTROL_DATABASE_URL", postgres);
        let projector = stack.through("FLEETLOG_PROJECTOR_DATABASE_URL", postgres);
        let variables = [
            ("KAFKA_BROKERS", &*kafka),
            ("FLEETLOG_CONTROL_DATABASE_URL", &*control),
            ("FLEETLOG_PROJECTOR_DATABASE_URL", &*projector),
        ];
        for role in ["ingest", "projector"] {
            let role = stack.role_with(&[role], &variables).await;
            assert!(role.stop().await.expect("it stops").success());
        }
    });
}

#[test]
fn a_projector_started_before_the_database_was_prepared_waits_for_that() {
    on_stack(|stack| async move {
        // As it is before `fleetlog migrate`: the schemas of projections are not there.
        sqlx::query("ALTER SCHEMA projection_meta RENAME TO hidden")
            .execute(&stack.admin)
            .await
            .expect("the owner may");
        let projector = stack.role(&["projector"]).await;
        waits(&projector, "PostgreSQL", stack.postgres_address(), "postgres", 1).await;
        let (_, body) = readiness(&projector).await.expect("it answers");
        assert!(body.contains("fleetlog migrate"), "{body}");
        sqlx::query("ALTER SCHEMA hidden RENAME TO projection_meta")
            .execute(&stack.admin)
            .await
            .expect("the owner may");
        let _projector = projector.ready().await;
    });
}
