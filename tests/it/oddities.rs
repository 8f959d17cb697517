//! What devices and senders may send, however odd, becomes events and rows: it is data, and never stops the fold.

use serde_json::{Value, json};
use tests::{Delivery, eventually, on_stack, read_log};

use crate::{
    dialects::{device, rooms},
    door::known,
};

fn id_of(answer: &tests::Answer, index: usize) -> String {
    answer.json["events"][index]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("event {index} has an id: {}", answer.json))
        .to_owned()
}

/// Payloads that break readers, each with its media type.
fn odd_payloads() -> Vec<(&'static str, Vec<u8>)> {
    let mut payloads: Vec<(&str, Vec<u8>)> = Vec::new();
    let long = "9".repeat(1_500);
    for number in [
        "1e999999",
        "-1e999999",
        "1e-999999",
        "1e131071",
        "1e2147483647",
        "-0",
        &long,
    ] {
        let json = format!(r#"{{"battery":{number},"signal":{number},"ts":{number},"v":[{number}]}}"#);
        payloads.push(("application/json", json.into_bytes()));
        // As a time, too.
        let wrapped =
            format!(r#"{{"data":{number},"device_id":"odd","project_id":"project-1","timestamp":{number}}}"#);
        payloads.push(("application/json", wrapped.into_bytes()));
    }
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + "1" + &close.repeat(depth);
    for text in [
        r#"{"a\u0000b":"c\u0000d","device_name":"x\u0000y"}"#.to_owned(),
        r#"{"a":"\ud800","device_name":"\udc00"}"#.to_owned(),
        r#"{"\ud800":1}"#.to_owned(),
        r#"{"a":1,"a":{"b":2},"a":[3]}"#.to_owned(),
        r#"{"$serde_json::private::Number":"x"}"#.to_owned(),
        nested("[", "]", 100_000),
        nested(r#"{"a":"#, "}", 30_000),
        format!(r#"{{"{}":1}}"#, "k".repeat(200_000)),
        format!(r#"{{"device_name":"{}"}}"#, "n".repeat(5_000)),
        format!("[{}]", vec!["1e9999"; 20_000].join(",")),
        "1e999999".to_owned(),
        "{} {}".to_owned(),
        "\u{feff}{}".to_owned(),
        String::new(),
    ] {
        payloads.push(("application/json", text.into_bytes()));
    }
    for cbor in [
        "bf6161 01ff",
        "a161617f61786179ff",
        "a16161c249ffffffffffffffffff",
        "a16161f97e00",
        "a16161fbfff0000000000000",
        "a2616101616102",
        "a161610061",
        "a1616162fffe",
        "9b4000000000000000",
        "5b4000000000000000",
        "a161006100",
    ] {
        payloads.push((
            "application/cbor",
            hex::decode(cbor.replace(' ', "")).expect("hex"),
        ));
    }
    // Maps as keys of maps as keys: each would quote the one within.
    payloads.push((
        "application/cbor",
        [vec![0xa1; 200], b"\x61a".to_vec(), vec![0; 200]].concat(),
    ));
    payloads.push(("application/cbor", vec![0x81; 100_000]));
    payloads.push(("text/plain", vec![0xff, 0x00]));
    payloads.push(("image/png", Vec::new()));
    payloads
}

#[test]
fn no_payload_is_poison() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let payloads = odd_payloads();
        for (index, (content_type, body)) in payloads.iter().enumerate() {
            let delivery = Delivery::golioth(to, "odd", &format!("/odd%00-{index}"), body.clone())
                .with("content-type", content_type);
            let answer = delivery.post().await.accepted();
            assert!(
                answer.json["events"].is_array(),
                "payload {index}: {}",
                answer.json
            );
        }

        for odd in [
            "\0",
            " ",
            "",
            "a\nb",
            "\u{202e}b",
            &"n".repeat(257),
            "e\u{301}",
            &"x".repeat(70_000),
        ] {
            let event = json!({"event": "device.updated", "device": {"id": "odd", "name": odd, "status": odd,
                "cohortId": odd, "hardwareIds": [odd], "tags": [odd], "metadata": {odd: odd}, "firmwareVersion": odd}});
            // The longest is over the limit, which is an answer too.
            let status = Delivery::platform(to, &event).post().await.status;
            assert!([202, 413].contains(&status), "{odd:?}: {status}");
            let nameless = json!({"event": "device.online", "device_name": odd, "session_id": odd});
            assert_eq!(
                Delivery::platform(to, &nameless).post().await.status,
                202,
                "{odd:?}"
            );
        }
        for number in ["1e999999", "1e2147483647", "-1", "null", "true", "[]"] {
            let event = format!(
                r#"{{"event":"device.updated","device":{{"id":"odd","name":{number},"enabled":{number},"status":{number},
                "lastSeen":{number},"hardwareIds":{number},"tags":{number},"metadata":{number},
                "firmware":{{"version":{number},"stateCode":{number},"time":{number},"package":"main"}}}}}}"#
            );
            let delivery = Delivery::bare(to, event).header("x-api-key", &to.secret);
            assert_eq!(delivery.post().await.status, 202, "{number}");
        }

        let sentinel = json!({"event": "device.created", "device": {"id": "odd", "name": "SN-ODD"}});
        Delivery::platform(to, &sentinel).post().await.accepted();
        device(&stack, &rooms.organization, "SN-ODD", |_| true).await;
        eventually("every payload is a row", || async {
            let rows = stack
                .rows("SELECT count(*) AS n FROM fleet.readings_latest WHERE provider_device LIKE '%/id:odd' AND path LIKE '/odd%'")
                .await;
            let n = rows[0]["n"].as_u64().unwrap_or_default();
            if n == payloads.len() as u64 { Ok(()) } else { Err(format!("{n} of {}", payloads.len())) }
        })
        .await;
        let halted = rooms.projector.metric("fleetlog_projector_halted").await;
        assert!(
            !halted.is_empty() && halted.iter().all(|sample| sample.ends_with(" 0")),
            "{halted:?}"
        );
    });
}

#[test]
fn times_paths_and_ids_are_read_as_they_are_meant() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        let golioth =
            |path: &str| Delivery::golioth(&to, "d", path, r#"{"level":"info","module":"m","msg":"x"}"#);

        let sent = [
            golioth("/s").header("ce-time", "2099-01-01T00:00:00Z"),
            golioth("/s").header("ce-time", "1971-01-01T00:00:00Z"),
            golioth(""),
            golioth("/"),
            golioth("/logs/"),
            golioth("/a%2Fb").with("ce-source", "%22d%C3%A9%22"),
        ];
        let mut ids = Vec::new();
        for delivery in &sent {
            ids.push(id_of(&delivery.post().await.accepted(), 0));
        }
        let log = read_log(&stack.log).await;
        let events: Vec<_> = ids
            .iter()
            .map(|id| {
                &log.iter()
                    .find(|(_, event)| event.id.to_string() == *id)
                    .expect("in the log")
                    .1
            })
            .collect();
        for disbelieved in &events[..2] {
            assert_eq!(disbelieved.at, disbelieved.recorded_at);
            assert!(disbelieved.claimed_at.is_some(), "{disbelieved:?}");
        }
        let path = |index: usize| {
            let body = &events[index].body;
            if let schema::Body::ReadingReceived(reading) = body {
                reading.path.clone()
            } else {
                body.name().to_owned()
            }
        };
        assert_eq!(
            [path(2), path(3), path(4), path(5)],
            ["/", "/", "log.received", "/a/b"]
        );
        assert!(
            events[5].subject.to_string().ends_with("/id:\"dé\""),
            "{}",
            events[5].subject
        );

        for (header, value, named) in [
            ("ce-time", "yesterday", "ce-time"),
            ("ce-source", "twice", "ce-source"),
            ("ce-foo", "%C0%A0", "ce-foo"),
            ("ce-source", "a%00b", "ce-source"),
        ] {
            let malformed = if header == "ce-source" && value != "twice" {
                golioth("/s").with(header, value)
            } else {
                golioth("/s").header(header, value)
            };
            let answer = malformed.post().await;
            assert_eq!(answer.status, 400, "{header}: {}", answer.json);
            let detail = answer.json["detail"].as_str().unwrap_or_default().to_lowercase();
            assert!(detail.contains(named), "{detail}");
        }
        let doubled = golioth("/s")
            .header("ce-foo", "a")
            .header("ce-foo", "b")
            .post()
            .await;
        assert_eq!(doubled.status, 400);
    });
}

#[test]
fn a_batch_of_several_devices_is_an_event_each_and_what_is_not_understood_is_kept_beside() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let to = &rooms.integration;
        let event = |device: &str, kind: &str| {
            json!({"specversion": "1.0", "id": device, "source": device, "type": kind, "subject": "project-1",
                "organization": "another", "sequence": "9", "data": {"event": "device.created", "id": device, "name": format!("SN-{device}")}})
        };
        let batch = Value::from_iter([
            event("b1", "device.created"),
            event("b2", "device.created"),
            event("b3", "io.fleetlog.device.retired.v1"),
            event("b4", "nobody.knows"),
            event("b5", "io.golioth.data.v1/.s/s"),
        ]);
        let delivery =
            Delivery::platform(to, &batch).with("content-type", "application/cloudevents-batch+json");
        let answer = delivery.post().await.accepted();
        assert_eq!(
            answer.json["events"].as_array().map(Vec::len),
            Some(3),
            "{}",
            answer.json
        );
        let reasons: Vec<_> = answer.json["dead_letters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|letter| &letter["reason"])
            .collect();
        assert_eq!(reasons, ["reserved_type", "unknown_type"]);
        for serial in ["SN-b1", "SN-b2"] {
            device(&stack, &rooms.organization, serial, |_| true).await;
        }
        let again = delivery.post().await.accepted();
        let ids = |answer: &tests::Answer| (0..3).map(|index| id_of(answer, index)).collect::<Vec<_>>();
        assert_eq!(ids(&answer), ids(&again), "a retry is recognized");

        // Of a doubled member the last counts, for the device as for its data.
        let doubled = r#"{"event":"device.created","device_id":"evil","device_id":"b6","name":"SN-evil","name":"SN-b6"}"#;
        Delivery::bare(to, doubled)
            .header("x-api-key", &to.secret)
            .post()
            .await
            .accepted();
        device(&stack, &rooms.organization, "SN-b6", |_| true).await;
        let serials: Vec<_> = stack.devices(&rooms.organization).await;
        assert!(
            serials.iter().all(|device| device["serial"] != "SN-evil"),
            "{serials:?}"
        );
        drop(rooms.door);
    });
}

#[test]
fn what_could_be_replayed_for_ever_is_marked() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack
            .integration_with(&door, &organization, &["--scheme", "hmac-sha256"])
            .await;
        let timeless = r#"{"event":"device.online","device_id":"d"}"#;
        let timed = r#"{"event":"device.online","device_id":"d","timestamp":"2026-01-01T00:00:00Z"}"#;
        eventually("the door knows the integration", || async {
            let answer = Delivery::hmac(&to, timed).post().await;
            if answer.status == 202 {
                Ok(())
            } else {
                Err(answer.json.to_string())
            }
        })
        .await;
        let first = Delivery::hmac(&to, timeless).post().await.accepted();
        let second = Delivery::hmac(&to, timeless).post().await.accepted();
        assert_ne!(
            id_of(&first, 0),
            id_of(&second, 0),
            "nobody can tell a reading from its repeat"
        );
        let log = read_log(&stack.log).await;
        let marked = log
            .iter()
            .filter(|(_, event)| event.replayable)
            .map(|(_, event)| event.id.to_string());
        let mut marked: Vec<_> = marked.collect();
        marked.sort();
        let mut expected = vec![id_of(&first, 0), id_of(&second, 0)];
        expected.sort();
        assert_eq!(marked, expected);
    });
}
