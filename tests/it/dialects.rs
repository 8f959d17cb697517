//! Each dialect, from `POST` to the row in `fleet.devices`.

use serde_json::{Value, json};
use tests::{Delivery, Integration, Stack, eventually, on_stack};

use crate::door::known;

/// A door, a fold, an organization and an integration with a shared secret.
pub(crate) struct Rooms {
    pub(crate) door: tests::Role,
    pub(crate) projector: tests::Role,
    pub(crate) organization: String,
    pub(crate) integration: Integration,
}

pub(crate) async fn rooms(stack: &Stack) -> Rooms {
    let door = stack.ingest().await;
    let projector = stack.projector().await;
    let organization = stack.organization().await;
    let integration = stack.integration(&door, &organization, None).await;
    known(&integration).await;
    Rooms {
        door,
        projector,
        organization,
        integration,
    }
}

/// Waits for the device with this serial to look as `check` wants.
pub(crate) async fn device(
    stack: &Stack,
    organization: &str,
    serial: &str,
    check: impl Fn(&Value) -> bool,
) -> Value {
    eventually(&format!("device {serial} is as expected"), || async {
        let devices = stack.devices(organization).await;
        let found = devices.iter().find(|device| device["serial"] == serial);
        match found {
            Some(device) if check(device) => Ok(device.clone()),
            Some(device) => Err(format!("it is {device}")),
            None => Err(format!("there are {devices:?}")),
        }
    })
    .await
}

#[test]
fn golioth_pipelines_with_json_cbor_text_and_bytes() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let named = json!({"type": "device.created", "device": {"id": "gp-1", "name": "SN-GP-1"}});
        Delivery::platform(to, &named).post().await.accepted();
        Delivery::golioth(to, "gp-1", "/sensor", r#"{"temp": 21.5, "battery": 87}"#)
            .post()
            .await
            .accepted();
        // CBOR: {"signal": -71}
        Delivery::golioth(
            to,
            "gp-1",
            "/radio",
            vec![0xa1, 0x66, b's', b'i', b'g', b'n', b'a', b'l', 0x38, 0x46],
        )
        .with("content-type", "application/cbor")
        .post()
        .await
        .accepted();
        Delivery::golioth(to, "gp-1", "/note", "just text")
            .with("content-type", "text/plain")
            .post()
            .await
            .accepted();
        Delivery::golioth(to, "gp-1", "/raw", vec![0_u8, 159, 146, 150])
            .with("content-type", "application/octet-stream")
            .post()
            .await
            .accepted();
        Delivery::golioth(to, "gp-1", "/list", r#"[{"v": 1}, {"v": 2}, {"v": 3}]"#)
            .post()
            .await
            .accepted();

        let seen = device(&stack, &rooms.organization, "SN-GP-1", |device| {
            device["connectivity"] == "online" && !device["signal"].is_null() && !device["battery"].is_null()
        })
        .await;
        assert_eq!(seen["battery"].to_string().parse::<f64>().ok(), Some(87.0));
        assert_eq!(seen["signal"].to_string().parse::<f64>().ok(), Some(-71.0));

        eventually("every reading is in the history", || async {
            let rows = stack
                .rows("SELECT path, data, encode(bytes, 'escape') AS bytes FROM fleet.readings ORDER BY path, sequence")
                .await;
            let of = |path: &str| rows.iter().filter(|row| row["path"] == path).collect::<Vec<_>>();
            let list: Vec<String> = of("/list").iter().map(|row| row["data"]["v"].to_string()).collect();
            if list == ["1", "2", "3"] && of("/raw").len() == 1 && of("/note").len() == 1 {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
    });
}

#[test]
fn inject_metadata_bodies_and_structured_cloud_events() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        for (id, serial) in [("im-1", "SN-IM"), ("ce-1", "SN-CE")] {
            let named = json!({"type": "device.created", "device": {"id": id, "name": serial}});
            Delivery::platform(to, &named).post().await.accepted();
        }
        let wrapped = json!({"data": {"battery": 55}, "device_id": "im-1", "project_id": "p",
            "timestamp": {"seconds": tests::now_seconds(), "nanos": 5000}});
        Delivery::platform(to, &wrapped).post().await.accepted();
        let structured = json!({"specversion": "1.0", "id": "m-1", "source": "ce-1", "subject": "p",
            "type": "io.golioth.data.v1/.s/env", "datacontenttype": "application/json", "data": {"battery": 44}});
        Delivery::platform(to, &structured)
            .with("content-type", "application/cloudevents+json")
            .post()
            .await
            .accepted();
        let battery = |wanted: f64| {
            move |device: &Value| device["battery"].to_string().parse::<f64>().ok() == Some(wanted)
        };
        device(&stack, &rooms.organization, "SN-IM", battery(55.0)).await;
        device(&stack, &rooms.organization, "SN-CE", battery(44.0)).await;
    });
}

#[test]
fn platform_events_in_their_three_shapes() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let deliveries = [
            json!({"event": "device.created", "device": {"id": "pf-1", "name": "SN-PF-1", "hardwareIds": ["hw-1"],
                "cohortId": "beta", "metadata": {"site": "north"}}}),
            json!({"event_type": "device.updated", "data": {"deviceId": "pf-2", "deviceName": "SN-PF-2",
                "firmwareVersion": "2.1.0", "cohortId": "stable"}}),
            json!({"type": "device.online", "device_id": "pf-3", "device_name": "SN-PF-3"}),
            json!({"event": "device.telemetry", "device_name": "SN-PF-3",
                "telemetry": {"type": 2, "units": 3, "value": 78.3, "sensor": "SHT40",
                    "timestamp": "2026-02-15T17:00:00Z"}}),
            json!({"event": "device.status_changed", "device": {"id": "pf-1", "status": "online"},
                "previous_status": "offline"}),
            json!({"type": "device.updated", "device": {"id": "pf-1", "firmware": {"package": "main",
                "version": "1.4.2", "state": "IDLE", "reason": "firmware updated successfully"}}}),
        ];
        for delivery in &deliveries {
            Delivery::platform(to, delivery).post().await.accepted();
        }
        let first = device(&stack, &rooms.organization, "SN-PF-1", |device| {
            device["connectivity"] == "online" && device["firmware_version"] == "1.4.2"
        })
        .await;
        assert_eq!(first["hardware_ids"], json!(["hw-1"]));
        assert_eq!(first["cohort"], "beta");
        assert_eq!(first["metadata"]["site"], "north");
        device(&stack, &rooms.organization, "SN-PF-2", |device| {
            device["firmware_version"] == "2.1.0" && device["cohort"] == "stable"
        })
        .await;
        device(&stack, &rooms.organization, "SN-PF-3", |device| {
            device["connectivity"] == "online"
        })
        .await;

        let offline = json!({"event": "device.offline", "device": {"id": "pf-1"}});
        Delivery::platform(to, &offline).post().await.accepted();
        let down = device(&stack, &rooms.organization, "SN-PF-1", |device| {
            device["connectivity"] == "offline"
        })
        .await;
        assert_eq!(down["connectivity_basis"], "reported");
        assert!(down["last_seen_offline_at"].is_string());
    });
}

#[test]
fn a_log_line_is_kept_as_a_log() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let entry = r#"{"level": "warn", "module": "net", "msg": "link lost", "rssi": -99}"#;
        Delivery::golioth(&rooms.integration, "lg-1", "/logs", entry)
            .post()
            .await
            .accepted();
        eventually("the log line is there", || async {
            let rows = stack
                .rows("SELECT level, module, message, metadata FROM fleet.logs")
                .await;
            let wanted = json!({"level": "warn", "module": "net", "message": "link lost"});
            let found = rows.iter().any(|row| {
                ["level", "module", "message"]
                    .iter()
                    .all(|field| row[*field] == wanted[*field])
                    && row["metadata"]["rssi"] == json!(-99)
            });
            if found { Ok(()) } else { Err(format!("{rows:?}")) }
        })
        .await;
    });
}

/// What Golioth's Output Streams posted, by type.
fn output_stream(to: &Integration, kind: &str, subject: &str, id: &str, body: &Value) -> Delivery {
    Delivery::bare(to, body.to_string())
        .header("x-api-key", &to.secret)
        .header("content-type", "application/json")
        .header("ce-id", id)
        .header("ce-source", "golioth/app/gateway/coap")
        .header("ce-specversion", "1.0")
        .header("ce-subject", subject)
        .header("ce-type", kind)
}

#[test]
fn output_streams_in_all_their_types() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let named = json!({"type": "device.created", "device": {"id": "os-1", "name": "SN-OS-1"}});
        Delivery::platform(to, &named).post().await.accepted();
        let time = json!({"seconds": tests::now_seconds(), "nanos": 250_818_000});
        let deliveries = [
            (
                "DEVICE_STREAM_TYPE",
                "stream",
                json!({"data": {"battery": 61}, "device_id": "os-1", "project_id": "p", "timestamp": time}),
            ),
            (
                "UPDATE_DEVICE_STATE_TYPE",
                "state",
                json!({"device_id": "os-1", "path": "cmd/light", "data": "on", "timestamp": time}),
            ),
            (
                "UPDATE_DEVICE_STATE_TYPE",
                "state",
                json!({"device_id": "os-1", "path": "cmd/fan", "data": 3, "timestamp": time}),
            ),
            (
                "DELETE_DEVICE_STATE_TYPE",
                "state",
                json!({"device_id": "os-1", "path": "cmd/old", "timestamp": time}),
            ),
            (
                "DEVICE_LOG_ENTRY_TYPE",
                "logs",
                json!({"device_id": "os-1", "level": 3, "message": "Hello", "metadata": {"n": 1},
                "module": "default", "project_id": "p", "timestamp": time}),
            ),
            (
                "DEVICE_FIRMWARE_LOG_ENTRY_TYPE",
                "logs",
                json!({"device_id": "os-1", "version": "1.0.7", "target": "1.0.8",
                "package": "main", "stateCode": "0", "reasonCode": "1", "project_id": "p", "timestamp": time}),
            ),
        ];
        for (index, (kind, subject, body)) in deliveries.iter().enumerate() {
            let delivery = output_stream(to, kind, subject, &format!("os-{index}"), body);
            let answer = delivery.post().await.accepted();
            assert_eq!(
                answer.json["events"].as_array().map(Vec::len),
                Some(1),
                "{}",
                answer.json
            );
            // A retry is the same event.
            let again = delivery.post().await.accepted();
            assert_eq!(answer.json["events"][0]["id"], again.json["events"][0]["id"]);
        }
        let seen = device(&stack, &rooms.organization, "SN-OS-1", |device| {
            device["firmware_version"] == "1.0.7"
                && !device["battery"].is_null()
                && device["connectivity"] == "online"
        })
        .await;
        assert_eq!(seen["battery"].to_string().parse::<f64>().ok(), Some(61.0));
        eventually("the log line is there once, with its level by name", || async {
            let rows = stack
                .rows("SELECT level, module, message, metadata FROM fleet.logs")
                .await;
            let wanted =
                json!({"level": "warn", "module": "default", "message": "Hello", "metadata": {"n": 1}});
            if rows == [wanted] {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
        eventually("the states are kept as facts", || async {
            let rows = stack
                .rows("SELECT body->>'path' AS path, body->'value' AS value, body->'deleted' AS deleted FROM fleet.facts
                    WHERE name = 'state.observed' ORDER BY path")
                .await;
            let wanted = [
                json!({"path": "/cmd/fan", "value": 3, "deleted": false}),
                json!({"path": "/cmd/light", "value": "on", "deleted": false}),
                json!({"path": "/cmd/old", "value": null, "deleted": true}),
            ];
            if rows == wanted { Ok(()) } else { Err(format!("{rows:?}")) }
        })
        .await;
    });
}

#[test]
fn published_shapes_become_rows_or_letters_that_say_what_to_do() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let letters = [
            (
                "RELEASE_UPDATED_TYPE",
                json!({"release_id": "612d3cecf3ee17d321adbec6"}),
                "not_of_a_device",
            ),
            (
                "TEST_EVENT_TYPE",
                json!({"integration_id": "612d3cecf3ee17d321adbec6", "data": {"msg": "Test Message"},
                "project_id": "p"}),
                "test_event",
            ),
            (
                "SEND_DEVICE_UPDATE_TYPE",
                json!({"deviceId": "os-1"}),
                "unknown_type",
            ),
            ("DEVICE_STREAM_TYPE", json!({"device_id": "os-1"}), "incomplete"),
            ("DEVICE_STREAM_TYPE", json!({"data": 1}), "no_device"),
        ];
        for (kind, body, reason) in &letters {
            let answer = output_stream(to, kind, "integration", "1", body)
                .post()
                .await
                .accepted();
            let letter = &answer.json["dead_letter"];
            assert_eq!(letter["reason"], *reason);
            let detail = letter["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("; "), "{detail}");
            assert_eq!(
                letter["topic"]
                    .as_str()
                    .map(|topic| topic.ends_with("dead-letters.v1")),
                Some(true)
            );
        }
        let frame = json!({"result": {"data": {"deviceId": "os-1", "data": {"temp": 29}}}});
        let answer = Delivery::platform(to, &frame).post().await.accepted();
        assert_eq!(answer.json["dead_letter"]["reason"], "unrecognized");

        let readings: [(&str, &str, &[u8]); 5] = [
            ("/value", "application/json", b"42"),
            (
                "/position",
                "application/json",
                br#"[{"ts":1626362266059,"speed":5},{"ts":1626362276059,"speed":10}]"#,
            ),
            (
                "/location",
                "application/json",
                br#"{"latitude":50.664189000,"longitude":17.942112000,"accuracy":65}"#,
            ),
            ("/camera", "image/png", b"\x89PNG\r\n\x1a\n"),
            ("/note", "application/json", br#"{"original":"hello, world!"}"#),
        ];
        for (path, media_type, body) in readings {
            let delivery = Delivery::golioth(to, "ps-1", path, body).with("content-type", media_type);
            delivery.post().await.accepted();
        }
        eventually("every reading is in the history", || async {
            let rows = stack
                .rows("SELECT path, data, encode(bytes, 'hex') AS bytes FROM fleet.readings WHERE path <> '/telemetry'
                    ORDER BY path, sequence")
                .await;
            let paths: Vec<_> = rows.iter().map(|row| row["path"].as_str().unwrap_or_default()).collect();
            let wanted = ["/camera", "/location", "/note", "/position", "/position", "/value"];
            if paths == wanted && rows[0]["bytes"] == "89504e470d0a1a0a" && rows[5]["data"] == 42 {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
    });
}
