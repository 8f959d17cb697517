//! The door: what is answered, and that a 2xx is a promise.

use serde_json::json;
use stream::Position;
use tests::{Delivery, Integration, Role, Stack, eventually, hmac_hex, now_seconds, on_stack, read_log};

/// A door with one integration that has a shared secret.
async fn door(stack: &Stack) -> (Role, Integration) {
    let door = stack.ingest().await;
    let organization = stack.organization().await;
    let integration = stack.integration(&door, &organization, None).await;
    known(&integration).await;
    (door, integration)
}

/// Waits until the door has heard of the integration.
pub(crate) async fn known(integration: &Integration) {
    let probe = Delivery::platform(
        integration,
        &json!({"type": "device.telemetry", "device_name": "probe"}),
    );
    eventually("the door knows the integration", || async {
        let answer = probe.post().await;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.json))
        }
    })
    .await;
}

#[test]
fn a_202_says_where_the_event_is_and_there_it_is() {
    on_stack(|stack| async move {
        let (_door, integration) = door(&stack).await;
        let body = r#"{ "temp": 21.50, "battery": 3.30 }"#;
        let answer = Delivery::golioth(&integration, "dev-1", "/sensor", body)
            .post()
            .await
            .accepted();

        let said = &answer.json["events"][0];
        let log = read_log(&stack.log).await;
        let (position, event) = log
            .iter()
            .find(|(_, event)| event.id.to_string() == said["id"].as_str().unwrap_or_default())
            .expect("the event is in the log");
        let Position {
            topic,
            partition,
            offset,
        } = position;
        assert_eq!(said["topic"], topic.name(&stack.log.prefix));
        assert_eq!(said["partition"], *partition);
        assert_eq!(said["offset"], *offset);
        let schema::Body::ReadingReceived(reading) = &event.body else {
            panic!("a reading, not {event:?}")
        };
        assert_eq!(reading.path, "/sensor");
        let data = reading.readings[0].data.as_ref().expect("JSON is kept as JSON");
        assert_eq!(data.get(), body, "byte for byte");
    });
}

#[test]
fn the_integration_is_named_by_path_header_or_query_and_never_by_two_that_differ() {
    on_stack(|stack| async move {
        let (door, integration) = door(&stack).await;
        let any = format!("{}/v1/webhooks", door.url);
        let delivery = |url: String| Delivery {
            url,
            ..Delivery::golioth(&integration, "d", "/s", "{}")
        };

        delivery(any.clone())
            .header("x-integration-id", &integration.id)
            .post()
            .await
            .accepted();
        delivery(format!("{any}?integration_id={}", integration.id))
            .post()
            .await
            .accepted();
        let other = uuid::Uuid::new_v4().to_string();
        let conflicting = delivery(integration.url.clone())
            .header("x-integration-id", &other)
            .post()
            .await;
        assert_eq!(conflicting.status, 401);
        assert_eq!(delivery(any).post().await.status, 401, "no integration at all");
    });
}

#[test]
fn whoever_is_not_believed_learns_nothing_more_than_that() {
    on_stack(|stack| async move {
        let (door, integration) = door(&stack).await;
        let genuine = Delivery::golioth(&integration, "d", "/s", "{}");
        let unknown = format!("{}/v1/webhooks/{}", door.url, uuid::Uuid::new_v4());
        let refused = [
            genuine.clone().without("x-api-key"),
            genuine.clone().with("x-api-key", ""),
            genuine.clone().with("x-api-key", "wrong"),
            genuine.clone().header("x-api-key", &integration.secret),
            Delivery {
                url: unknown,
                ..genuine.clone()
            },
            Delivery {
                url: format!("{}/v1/webhooks/not-an-id", door.url),
                ..genuine.clone()
            },
        ];
        let mut bodies = std::collections::BTreeSet::new();
        for delivery in refused {
            let answer = delivery.post().await;
            assert_eq!(answer.status, 401, "{delivery:?}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            bodies.insert(answer.json.to_string());
        }
        assert_eq!(bodies.len(), 1, "one and the same body: {bodies:?}");
        assert!(
            bodies
                .iter()
                .all(|body| body.contains("unauthorized") && !body.contains(&integration.secret))
        );
    });
}

#[test]
fn each_refusal_has_its_status_and_says_why() {
    on_stack(|stack| async move {
        let (door, integration) = door(&stack).await;
        let good = Delivery::golioth(&integration, "d", "/s", "{}");

        let malformed = good.clone().with("ce-source", "%C0%A0").post().await;
        assert_eq!(malformed.status, 400);
        assert!(
            malformed.json["detail"]
                .as_str()
                .unwrap_or_default()
                .to_lowercase()
                .contains("ce-source")
        );

        let encoded = good.clone().header("content-encoding", "br").post().await;
        assert_eq!(encoded.status, 415, "{}", encoded.json);

        let limit = 262_144;
        let padded = |size: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(size - 8));
        Delivery::golioth(&integration, "d", "/s", padded(limit))
            .post()
            .await
            .accepted();
        let over = Delivery::golioth(&integration, "d", "/s", padded(limit + 1))
            .post()
            .await;
        assert_eq!(over.status, 413, "{}", over.json);

        let wrong_method = reqwest::get(&integration.url).await.expect("answers");
        assert_eq!(wrong_method.status(), 405);
        assert!(
            wrong_method.headers()["allow"]
                .to_str()
                .expect("text")
                .contains("POST")
        );

        for refused in [malformed, encoded, over] {
            assert_eq!(refused.headers["content-type"], "application/problem+json");
            assert!(refused.json["reason"].is_string(), "{}", refused.json);
        }
        drop(door);
    });
}

#[test]
fn a_body_in_chunks_is_counted_and_a_slow_one_ends_at_its_deadline() {
    on_stack(|stack| async move {
        let door = stack
            .role_with(&["ingest"], &[("FLEETLOG_BODY_TIMEOUT", "1s")])
            .await
            .ready()
            .await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        let address = door.url.trim_start_matches("http://").to_owned();
        let path = integration.url.trim_start_matches(&door.url).to_owned();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nce-source: d\r\nce-subject: p\r\n\
             ce-type: io.golioth.data.v1/.s/s\r\n",
            integration.secret
        );

        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(5));
        assert!(exchange(&address, &chunked).await.starts_with("HTTP/1.1 413"));

        let slow = format!("{head}content-length: 100\r\n\r\n{{\"half\":");
        assert!(exchange(&address, &slow).await.starts_with("HTTP/1.1 408"));
    });
}

/// Sends bytes and reads the beginning of the answer.
async fn exchange(address: &str, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut connection = tokio::net::TcpStream::connect(address).await.expect("connects");
    // The door may answer and close before it has read everything.
    drop(connection.write_all(request.as_bytes()).await);
    let mut answer = vec![0; 64];
    let n = tokio::time::timeout(std::time::Duration::from_secs(20), connection.read(&mut answer))
        .await
        .expect("an answer comes")
        .unwrap_or_default();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[test]
fn a_project_is_held_to_its_integration() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let bound = stack.integration(&door, &organization, Some("greenhouse")).await;
        let good = Delivery::golioth(&bound, "d", "/s", "{}");
        eventually("the door knows the integration", || async {
            if good.post().await.status == 202 {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;

        assert_eq!(
            good.clone().with("ce-subject", "elsewhere").post().await.status,
            403
        );
        assert_eq!(good.clone().without("ce-subject").post().await.status, 403);
        let wrapped = json!({"data": {"temp": 1}, "device_id": "d", "project_id": "elsewhere",
            "timestamp": {"seconds": now_seconds(), "nanos": 0}});
        let contradicting = Delivery::golioth(&bound, "d", "/s", wrapped.to_string())
            .post()
            .await;
        assert_eq!(
            contradicting.status, 403,
            "a project named anywhere in the delivery"
        );
    });
}

#[test]
fn an_abuse_ceiling_answers_429_and_is_off_by_default() {
    on_stack(|stack| async move {
        let (_door, integration) = door(&stack).await;
        sqlx::query("UPDATE control.integrations SET rate_ceiling = 1 WHERE id = $1::uuid")
            .bind(&integration.id)
            .execute(&stack.admin)
            .await
            .expect("the ceiling is set");
        let refused = eventually("the ceiling holds", || async {
            for _ in 0..5 {
                let answer = Delivery::golioth(&integration, "d", "/s", "{}").post().await;
                if answer.status == 429 {
                    return Ok(answer);
                }
            }
            Err("all five passed".to_owned())
        })
        .await;
        assert!(refused.headers.contains_key("retry-after"));
    });
}

#[test]
fn what_is_authentic_but_not_understood_is_kept_raw() {
    on_stack(|stack| async move {
        let (_door, integration) = door(&stack).await;
        let answer = Delivery::bare(&integration, "no JSON {")
            .header("x-api-key", &integration.secret)
            .header("content-type", "application/json")
            .header("authorization", "Bearer not-for-the-log")
            .post()
            .await
            .accepted();
        let letter = &answer.json["dead_letter"];
        assert!(letter["reason"].is_string(), "{}", answer.json);

        let letters = tests::read_raw(&stack.log, schema::Topic::DeadLetters).await;
        let kept = letters.last().expect("a dead letter");
        assert_eq!(kept.value, b"no JSON {");
        let all = format!("{:?}", kept.headers);
        assert!(
            !all.contains("not-for-the-log") && !all.contains(&integration.secret),
            "{all}"
        );
    });
}

/// To Prometheus a series that begins at 1 has not grown, and the first letter would wake nobody.
#[test]
fn what_alerts_watch_is_counted_from_the_start() {
    on_stack(|stack| async move {
        let (door, _integration) = door(&stack).await;
        for (name, reason) in [
            ("fleetlog_ingest_dead_letters_total", "no_device"),
            ("fleetlog_ingest_rejected_total", "log_unavailable"),
            ("fleetlog_ingest_rejected_total", "unknown_key"),
        ] {
            let line = format!("{name}{{reason=\"{reason}\"}} 0");
            let shown = door.metric(name).await;
            assert!(shown.contains(&line), "{line}: {shown:?}");
        }
    });
}

#[test]
fn a_senders_own_attributes_move_nothing_of_ours() {
    on_stack(|stack| async move {
        let (_door, integration) = door(&stack).await;
        let elsewhere = uuid::Uuid::new_v4().to_string();
        let answer = Delivery::golioth(&integration, "d-ext", "/s", "{}")
            .header("ce-organization", &elsewhere)
            .header("ce-integration", &elsewhere)
            .header("ce-logid", "00000000")
            .header("ce-partitionkey", "mine")
            .header("ce-recordedtime", "2001-01-01T00:00:00Z")
            .header("ce-flavour", "vanilla")
            .post()
            .await
            .accepted();
        let log = read_log(&stack.log).await;
        let id = answer.json["events"][0]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let (_, event) = log
            .iter()
            .find(|(_, event)| event.id.to_string() == id)
            .expect("in the log");
        assert_ne!(event.organization.to_string(), elsewhere);
        assert_eq!(
            event.integration.map(|id| id.to_string()),
            Some(integration.id.clone())
        );
        assert!(event.recorded_at.to_string().as_str() > "2026");
        let schema::Body::ReadingReceived(reading) = &event.body else {
            panic!("a reading")
        };
        assert!(
            reading.extensions.0.contains_key("flavour"),
            "kept inside data: {reading:?}"
        );

        let forged = json!({"specversion": "1.0", "id": "1", "source": "d", "subject": "p",
            "type": "io.fleetlog.device.retired.v1", "data": {"serial": "x", "author": "me"}});
        let answer = Delivery::bare(&integration, forged.to_string())
            .header("x-api-key", &integration.secret)
            .header("content-type", "application/cloudevents+json")
            .post()
            .await
            .accepted();
        assert!(answer.json["dead_letter"].is_object(), "{}", answer.json);
    });
}

#[test]
fn the_handshake_answers_the_same_for_any_id() {
    on_stack(|stack| async move {
        let (door, integration) = door(&stack).await;
        let client = reqwest::Client::new();
        for url in [
            integration.url.clone(),
            format!("{}/v1/webhooks/{}", door.url, uuid::Uuid::new_v4()),
        ] {
            let answer = client
                .request(reqwest::Method::OPTIONS, url)
                .header("webhook-request-origin", "events.example.com")
                .send()
                .await
                .expect("answers");
            assert!(answer.status().is_success());
            assert_eq!(answer.headers()["webhook-allowed-origin"], "events.example.com");
            assert!(answer.headers().contains_key("webhook-allowed-rate"));
            assert!(answer.headers()["allow"].to_str().expect("text").contains("POST"));
        }
    });
}

#[test]
fn under_a_body_signature_only_the_body_counts() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let signed = stack
            .integration_with(&door, &organization, &["--scheme", "hmac-sha256"])
            .await;
        let body = json!({"type": "device.telemetry", "device": {"id": "real"}, "telemetry": {"value": 1}});
        let genuine = Delivery::hmac(&signed, body.to_string());
        eventually("the door knows the integration", || async {
            if genuine.post().await.status == 202 {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;

        assert_eq!(
            genuine.clone().header("ce-source", "another").post().await.status,
            401
        );
        let bare = br#"{"temp": 1}"#.to_vec();
        let sole_source = Delivery::bare(&signed, bare.clone())
            .header("x-golioth-signature", &hmac_hex(signed.secret.as_bytes(), &bare))
            .header("ce-source", "dev")
            .header("ce-subject", "project")
            .header("ce-type", "io.golioth.data.v1/.s/s");
        assert_eq!(sole_source.post().await.status, 401);
        let altered = Delivery {
            body: body.to_string().replace('1', "2").into_bytes(),
            ..genuine
        };
        assert_eq!(altered.post().await.status, 401);
    });
}
