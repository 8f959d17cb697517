use proptest::prelude::*;
use rstest::rstest;
use schema::{Event, FirmwareReported};
use serde_json::{Value, json};

use crate::{
    dialect::nothing_is_lost::{any_json, leaves},
    example::{Sent, received},
};
use schema::Body;

const TIME: &str = r#""timestamp":{"nanos":250818000,"seconds":1780271992}"#;

/// A delivery as Golioth's webhook made it.
fn sent(kind: &str, body: &str) -> Sent {
    Sent::with_secret(body)
        .header("content-type", "application/json")
        .header("ce-id", "baa51655-c067-444c-a91c-6dcea73abc70")
        .header("ce-source", "golioth/app/gateway/coap")
        .header("ce-specversion", "1.0")
        .header("ce-subject", "stream")
        .header("ce-time", "2026-05-31T23:59:53.367693Z")
        .header("ce-type", kind)
}

/// The same event, forwarded whole by a relay that signs.
fn relayed(kind: &str, body: &str) -> Sent {
    Sent::signed(format!(
        r#"{{"specversion":"1.0","id":"baa51655-c067-444c-a91c-6dcea73abc70","source":"golioth/app/gateway/coap",
        "type":"{kind}","subject":"stream","datacontenttype":"application/json",
        "time":"2026-05-31T23:59:53.367693Z","data":{body}}}"#
    ))
}

fn said(event: &Event) -> Value {
    serde_json::from_slice(&event.body.encode().unwrap()).unwrap()
}

#[test]
fn what_the_body_says_counts_and_the_envelope_is_kept() {
    let body = format!(r#"{{"data":{{"temp": 32}},"device_id":"d1","project_id":"my-project",{TIME}}}"#);
    for sent in [
        sent("DEVICE_STREAM_TYPE", &body),
        relayed("DEVICE_STREAM_TYPE", &body),
    ] {
        let event = sent.event();
        assert!(event.subject.to_string().ends_with("/id:d1"));
        // The body's time is the reading's; the envelope's is when Golioth passed it on.
        assert_eq!(event.at.to_string(), "2026-05-31T23:59:52.250818Z");
        let said = said(&event);
        assert_eq!(said["path"], "/");
        assert_eq!(said["readings"][0]["data"], json!({ "temp": 32 }));
        assert_eq!(said["extensions"]["source"], "golioth/app/gateway/coap");
        assert_eq!(said["payload"], json!({ "project_id": "my-project" }));
        assert_eq!(event.id, sent.received("2026-06-01T00:10:00Z").event().id);
    }
}

#[test]
fn state_is_observed_or_gone_by_the_clouds_word() {
    let updated = format!(r#"{{"device_id":"d1","path":"cmd/light","data":"on",{TIME}}}"#);
    let event = sent("UPDATE_DEVICE_STATE_TYPE", &updated).event();
    assert_eq!(event.body.name(), "state.observed");
    let heard = said(&event);
    assert_eq!(
        (&heard["path"], &heard["value"], &heard["deleted"]),
        (&json!("/cmd/light"), &json!("on"), &json!(false))
    );

    let deleted = format!(r#"{{"device_id":"d1","path":"cmd/light",{TIME}}}"#);
    let heard = said(&sent("DELETE_DEVICE_STATE_TYPE", &deleted).event());
    assert_eq!(
        (&heard["path"], &heard["deleted"]),
        (&json!("/cmd/light"), &json!(true))
    );
    assert!(heard.get("value").is_none());

    // However old: the cloud stated it then.
    let old = r#"{"deviceId":"d1","data":null,"timestamp":"2022-01-21T20:23:32Z"}"#;
    let event = sent("UPDATE_DEVICE_STATE_TYPE", old).event();
    assert_eq!(event.at.to_string(), "2022-01-21T20:23:32.000000Z");
    let heard = said(&event);
    assert_eq!((&heard["path"], &heard["value"]), (&json!("/"), &Value::Null));
    assert!(heard.as_object().unwrap().contains_key("value"));
}

#[rstest]
#[case::number("2", "info")]
#[case::name("\"WARN\"", "warn")]
#[case::number_as_text("\"4\"", "error")]
#[case::none("0", "none")]
#[case::unknown_number("9", "9")]
#[case::unknown_name("\"Loud\"", "Loud")]
fn a_level_has_the_name_that_stream_logs_give_it(#[case] level: &str, #[case] name: &str) {
    let body = format!(
        r#"{{"device_id":"d1","level":{level},"message":"Hello","metadata":{{"n": 1.50}},"module":"default","moduleId":"7","type":1,"project_id":"p",{TIME}}}"#
    );
    let event = sent("DEVICE_LOG_ENTRY_TYPE", &body).event();
    assert_eq!(event.body.name(), "log.received");
    let said = said(&event);
    let entry = &said["entries"][0];
    assert_eq!(entry["level"], name);
    assert_eq!(entry["message"], "Hello");
    assert_eq!(entry["module"], "default");
    assert_eq!(entry["metadata"].to_string(), r#"{"n":1.50}"#);
    assert_eq!(
        said["payload"],
        json!({ "moduleId": "7", "type": 1, "project_id": "p" })
    );
}

#[test]
fn a_log_without_message_is_an_empty_line() {
    // Protobuf leaves out what is empty.
    let event = sent("DEVICE_LOG_ENTRY_TYPE", r#"{"device_id":"d1"}"#).event();
    assert_eq!(said(&event)["entries"][0]["message"], "");
    assert_eq!(event.at.to_string(), "2026-05-31T23:59:53.367693Z");
}

#[rstest]
#[case("0", "0", Some("idle"), Some("ready state"))]
#[case("1", "0", Some("downloading"), Some("ready state"))]
#[case("3", "1", Some("updating"), Some("firmware updated successfully"))]
#[case("4", "11", None, None)]
#[case("-1", "x", None, None)]
fn firmware_codes_are_named_as_the_cloud_names_them(
    #[case] state_code: &str,
    #[case] reason_code: &str,
    #[case] state: Option<&str>,
    #[case] reason: Option<&str>,
) {
    let body = format!(
        r#"{{"device_id":"d1","version":"1.0.0","target":"1.0.1","package":"main","stateCode":"{state_code}","reasonCode":"{reason_code}","project_id":"p",{TIME}}}"#
    );
    let event = sent("DEVICE_FIRMWARE_LOG_ENTRY_TYPE", &body).event();
    let Body::FirmwareReported(FirmwareReported {
        version,
        target,
        package,
        state: heard_state,
        reason: heard_reason,
        extra,
        ..
    }) = &event.body
    else {
        panic!("firmware was reported")
    };
    assert_eq!(
        (version.as_deref(), target.as_deref(), package.as_str()),
        (Some("1.0.0"), Some("1.0.1"), "main")
    );
    assert_eq!((heard_state.as_deref(), heard_reason.as_deref()), (state, reason));
    assert_eq!(extra["payload"]["reasonCode"], reason_code);
}

#[rstest]
#[case::release(
    "RELEASE_UPDATED_TYPE",
    r#"{"release_id":"612d3cecf3ee17d321adbec6"}"#,
    "not_of_a_device"
)]
#[case::test(
    "TEST_EVENT_TYPE",
    r#"{"integration_id":"612d","data":{"msg":"Test Message"},"project_id":"p"}"#,
    "test_event"
)]
#[case::internal(
    "SEND_DEVICE_UPDATE_TYPE",
    r#"{"device_id":"d1","blobStorePath":"x"}"#,
    "unknown_type"
)]
#[case::unknown("UNKNOWN_CLOUD_EVENT", "{}", "unknown_type")]
#[case::other_case("device_stream_type", "{}", "unknown_type")]
#[case::nobody("DEVICE_STREAM_TYPE", r#"{"data":1}"#, "no_device")]
#[case::no_id("DEVICE_STREAM_TYPE", r#"{"data":1,"device_id":"\u0000"}"#, "invalid_device")]
#[case::no_data("DEVICE_STREAM_TYPE", r#"{"device_id":"d1"}"#, "incomplete")]
#[case::no_value("UPDATE_DEVICE_STATE_TYPE", r#"{"device_id":"d1","path":"x"}"#, "incomplete")]
#[case::no_report("DEVICE_FIRMWARE_LOG_ENTRY_TYPE", r#"{"device_id":"d1"}"#, "incomplete")]
fn what_makes_no_event_is_kept_raw_and_says_what_to_do(
    #[case] kind: &str,
    #[case] body: &str,
    #[case] reason: &str,
) {
    for (sent, whole) in [(sent(kind, body), true), (relayed(kind, body), false)] {
        let letter = sent.letter();
        assert_eq!(letter.reason, reason);
        assert_eq!(letter.body == body.as_bytes(), whole);
        assert!(letter.detail.contains("; "), "{}", letter.detail);
    }
}

#[test]
fn what_is_no_object_is_no_event() {
    assert_eq!(
        sent("DEVICE_STREAM_TYPE", "hello").letter().reason,
        "malformed_json"
    );
    assert_eq!(relayed("DEVICE_STREAM_TYPE", "[1]").letter().reason, "incomplete");
}

#[rstest]
#[case::same(r#""my-project""#, "accepted")]
#[case::other(r#""theirs""#, "other_project")]
#[case::none("null", "no_project")]
fn a_bound_integration_takes_its_own_project_only(#[case] project: &str, #[case] outcome: &str) {
    let body = format!(r#"{{"data":1,"device_id":"d1","projectId":{project}}}"#);
    let bound = |sent: Sent| sent.to(|integration| integration.project = Some("my-project".to_owned()));
    assert_eq!(bound(sent("DEVICE_STREAM_TYPE", &body)).refusal(), outcome);
    let release = format!(r#"{{"release_id":"1","project_id":{project}}}"#);
    let outcome = if outcome == "no_project" {
        "accepted"
    } else {
        outcome
    };
    assert_eq!(bound(sent("RELEASE_UPDATED_TYPE", &release)).refusal(), outcome);
}

#[test]
fn unsigned_headers_cannot_say_which_event_it_is() {
    let body = format!(r#"{{"data":1,"device_id":"d1",{TIME}}}"#);
    let unsigned = Sent::signed(&body).header("ce-type", "DEVICE_STREAM_TYPE");
    assert_eq!(unsigned.refusal(), "unsigned_envelope");
    let repeated = relayed("DEVICE_STREAM_TYPE", &body).header("ce-type", "DEVICE_STREAM_TYPE");
    assert_eq!(repeated.event().at, sent("DEVICE_STREAM_TYPE", &body).event().at);
}

#[test]
fn a_time_that_the_device_cannot_have_meant_is_a_claim() {
    let body = r#"{"data":1,"device_id":"d1","timestamp":{"seconds":1}}"#;
    let event = sent("DEVICE_STREAM_TYPE", body).event();
    assert_eq!(event.at, received());
    assert!(event.receipt_timed && event.claimed_at.is_some());
}

proptest! {
    #[test]
    fn no_event_loses_a_leaf(
        kind in "(DEVICE_STREAM|UPDATE_DEVICE_STATE|DELETE_DEVICE_STATE|DEVICE_LOG_ENTRY|DEVICE_FIRMWARE_LOG_ENTRY)_TYPE",
        data in any_json(),
        more in any_json(),
    ) {
        let mut members = serde_json::Map::from_iter([
            ("device_id".to_owned(), Value::from("d1")),
            ("data".to_owned(), data),
            ("metadata".to_owned(), more.clone()),
        ]);
        if let Value::Object(more) = more {
            for (name, value) in more {
                members.entry(name).or_insert(value);
            }
        }
        let body = Value::Object(members);
        let text = body.to_string();
        let normalized = sent(&kind, &text).normalized().unwrap();
        if let [letter] = normalized.letters.as_slice() {
            prop_assert_eq!(&letter.body, text.as_bytes());
            return Ok(());
        }
        let (mut kept, mut sent) = (vec!["\"d1\"".to_owned()], Vec::new());
        leaves(&said(&normalized.events[0]), &mut kept);
        leaves(&body, &mut sent);
        for leaf in sent {
            prop_assert!(kept.contains(&leaf), "{leaf} is lost");
        }
    }
}
