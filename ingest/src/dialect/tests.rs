use rstest::rstest;
use schema::{Event, Origin, ReadingReceived};
use serde_json::json;

use super::*;
use crate::example::{Sent, received};

pub(super) fn reading(event: &Event) -> &ReadingReceived {
    let Body::ReadingReceived(reading) = &event.body else {
        panic!("{} is no reading", event.body.name())
    };
    reading
}

fn data(event: &Event) -> Vec<String> {
    let readings = reading(event).readings.iter();
    readings
        .map(|reading| reading.data.as_ref().unwrap().get().to_owned())
        .collect()
}

const WRAPPED: &str = r#"{"data":{"temp":32},"device_id":"d1","project_id":"my-project","timestamp":{"nanos":1000,"seconds":1780271990}}"#;

#[test]
fn stream_data_is_a_reading_of_the_device_in_the_source() {
    let event = Sent::from_golioth("/sensor/", r#"{"temp": 32.50}"#)
        .header("content-type", "application/json")
        .header("ce-time", "2026-05-31T23:59:50.5Z")
        .header("ce-id", "aa12dc4c")
        .header("ce-organization", "someone-else")
        .event();
    assert_eq!(
        event.subject.to_string(),
        format!("{}/id:d1", event.integration.unwrap())
    );
    assert_eq!(reading(&event).path, "/sensor");
    assert_eq!(data(&event), [r#"{"temp": 32.50}"#]);
    assert_eq!(event.at.to_string(), "2026-05-31T23:59:50.500000Z");
    assert_eq!(event.recorded_at, received());
    assert_eq!(event.origin, Origin::Push);
    assert_eq!(
        event.organization,
        crate::example::integration(vec![]).organization
    );
    assert_eq!(
        event.source,
        format!("/integrations/{}", event.integration.unwrap())
    );
    assert!(!event.receipt_timed && !event.replayable && event.claimed_at.is_none());
    assert_eq!(
        serde_json::to_value(&reading(&event).extensions).unwrap(),
        json!({ "id": "aa12dc4c", "subject": "my-project", "organization": "someone-else" })
    );
}

#[test]
fn a_copy_has_the_same_id_and_another_content_another() {
    let sent = |body: &str| Sent::from_golioth("/sensor", body).header("ce-id", "7");
    let first = sent(r#"{"a":1}"#).event();
    let copy = sent(r#"{ "a": 1 }"#).received("2026-06-01T00:10:00Z").event();
    assert_eq!(first.id, copy.id);
    assert!(first.receipt_timed && copy.receipt_timed);
    assert_ne!(first.id, sent(r#"{"a":2}"#).event().id);
    assert_ne!(
        first.id,
        sent(r#"{"a":1}"#)
            .header("ce-time", "2026-05-31T00:00:00Z")
            .event()
            .id
    );
}

#[test]
fn without_id_and_time_equal_readings_stay_two() {
    let sent = Sent::from_golioth("/sensor", "1");
    let event = sent.event();
    assert_ne!(event.id, sent.event().id);
    assert!(!event.receipt_timed && !event.replayable);
}

#[test]
fn a_time_that_is_not_believed_is_kept_as_a_claim() {
    let sent = Sent::from_golioth("/sensor", "1").header("ce-time", "1970-01-01T00:00:00Z");
    let event = sent.event();
    assert_eq!(event.at, received());
    assert_eq!(
        event.claimed_at.unwrap().to_string(),
        "1970-01-01T00:00:00.000000Z"
    );
    assert!(event.receipt_timed);
}

#[test]
fn the_envelope_wins_over_a_wrapped_body_and_a_contradiction_is_flagged() {
    let agreeing = Sent::from_golioth("/sensor", WRAPPED).event();
    assert_eq!(data(&agreeing), [r#"{"temp":32}"#]);
    assert_eq!(agreeing.at.to_string(), "2026-05-31T23:59:50.000001Z");
    assert!(reading(&agreeing).extra.is_empty());

    let other = WRAPPED.replace("d1", "d2").replace("my-project", "their-project");
    let event = Sent::from_golioth("/sensor", other).event();
    assert!(event.subject.to_string().ends_with("/id:d1"));
    assert_eq!(
        reading(&event).extra["contradicted"],
        json!({ "device_id": "d2", "project_id": "their-project" })
    );
}

#[test]
fn a_payload_that_only_resembles_a_wrapped_one_is_the_devices_own() {
    for body in [
        r#"{"data":1,"device_id":"d1"}"#,
        r#"{"data":1,"device_id":"d1","project_id":"p","more":1}"#,
    ] {
        assert_eq!(data(&Sent::from_golioth("/x", body).event()), [body]);
    }
}

#[test]
fn logs_arrive_on_their_path_and_what_is_no_log_stays_a_reading() {
    let cbor = hex::decode("a3656c6576656c6477617266").unwrap();
    assert!(matches!(
        Sent::from_golioth("/logs", r#"{"msg":"up"}"#).event().body,
        Body::LogReceived(_)
    ));
    assert!(matches!(
        Sent::from_golioth("/logs/", r#"{"msg":"up"}"#).event().body,
        Body::LogReceived(_)
    ));
    assert_eq!(
        reading(&Sent::from_golioth("/logs", r#"{"level":"info"}"#).event()).path,
        "/logs"
    );
    assert_eq!(
        reading(&Sent::from_golioth("/logs/x", r#"{"msg":"up"}"#).event()).path,
        "/logs/x"
    );
    let broken = Sent::from_golioth("/logs", &cbor).header("content-type", "application/cbor");
    let event = broken.event();
    assert_eq!(reading(&event).readings[0].data_base64.as_ref().unwrap().0, cbor);
}

#[test]
fn a_header_that_is_missing_or_malformed_is_named() {
    let without = |name: &str| {
        let mut sent = Sent::from_golioth("/x", "1");
        sent.headers.remove(name);
        sent.normalized().unwrap_err().to_string()
    };
    assert_eq!(without("ce-source"), "header Ce-Source is missing");
    assert_eq!(without("ce-type"), "header Ce-Type is missing");
    let long = Sent::from_golioth("/x", "1").to(|_| {});
    let mut long = long;
    long.headers.remove("ce-source");
    let long = long.header("ce-source", &"x".repeat(257));
    assert!(
        long.normalized()
            .unwrap_err()
            .to_string()
            .starts_with("header Ce-Source is no device id")
    );
}

#[test]
fn a_device_that_chooses_body_and_media_type_cannot_speak_for_another() {
    let cloudevent =
        r#"{"specversion":"1.0","id":"1","source":"d2","type":"io.golioth.data.v1/.s/x","data":1}"#;
    let event = Sent::from_golioth("/x", cloudevent)
        .header("content-type", "application/cloudevents+json")
        .event();
    assert!(event.subject.to_string().ends_with("/id:d1"));
    let platform = Sent::from_golioth("/x", r#"{"event":"device.deleted","device_id":"d2"}"#).event();
    assert!(platform.subject.to_string().ends_with("/id:d1"));
}

#[test]
fn under_a_signature_the_body_alone_counts() {
    let event = Sent::signed(WRAPPED)
        .header("ce-id", "unsigned")
        .header("ce-time", "yesterday")
        .header("content-type", "image/png")
        .event();
    assert!(event.subject.to_string().ends_with("/id:d1"));
    assert_eq!(reading(&event).path, "/");
    assert_eq!(event.at.to_string(), "2026-05-31T23:59:50.000001Z");
    assert!(!event.replayable && !event.receipt_timed);
}

#[rstest]
#[case::same_source("ce-source", "d1", "accepted")]
#[case::other_source("ce-source", "d2", "unsigned_envelope")]
#[case::unreadable_source("ce-source", "%C0%A0", "unsigned_envelope")]
#[case::same_subject("ce-subject", "my-project", "accepted")]
#[case::other_subject("ce-subject", "their-project", "unsigned_envelope")]
#[case::root_type("ce-type", "io.golioth.data.v1/.s/", "accepted")]
#[case::a_path_that_is_not_signed("ce-type", "io.golioth.data.v1/.s/sensor", "unsigned_envelope")]
#[case::another_dialect("ce-type", "DEVICE_STREAM_TYPE", "unsigned_envelope")]
fn an_unsigned_header_must_not_say_more_than_the_body(
    #[case] name: &str,
    #[case] value: &str,
    #[case] outcome: &str,
) {
    assert_eq!(Sent::signed(WRAPPED).header(name, value).refusal(), outcome);
    assert_eq!(Sent::timestamped(WRAPPED).header(name, value).refusal(), outcome);
}

#[test]
fn an_unsigned_header_is_never_the_sole_source() {
    let sole = Sent::signed(r#"{"temp":32}"#)
        .header("ce-source", "d1")
        .header("ce-type", "io.golioth.data.v1/.s/x");
    assert_eq!(sole.refusal(), "unsigned_envelope");
    assert_eq!(Sent::signed(r#"{"temp":32}"#).letter().reason, "unrecognized");
}

#[test]
fn what_has_neither_time_nor_id_under_a_bare_signature_can_be_replayed() {
    let body = r#"{"data":{"temp":32},"device_id":"d1"}"#;
    assert!(Sent::signed(body).event().replayable);
    assert!(!Sent::timestamped(body).event().replayable);
    assert!(!Sent::with_secret(body).event().replayable);
    let strict = |sent: Sent| {
        sent.to(|integration| integration.refuse_replayable = true)
            .refusal()
    };
    assert_eq!(strict(Sent::signed(body)), "replayable_refused");
    assert_eq!(strict(Sent::timestamped(body)), "accepted");
    assert_eq!(strict(Sent::signed(WRAPPED)), "accepted");
}

#[test]
fn structured_cloudevents_speak_for_themselves() {
    let body = r#"{"specversion":"1.0","id":"7","source":"d1","type":"io.golioth.data.v1/.s/sensor",
        "subject":"my-project","time":"2026-05-31T23:59:50Z","datacontenttype":"application/cbor",
        "data_base64":"oWFhAQ==","organization":"x"}"#;
    for sent in [Sent::with_secret(body), Sent::signed(body)] {
        let event = sent.event();
        assert_eq!(reading(&event).path, "/sensor");
        assert_eq!(data(&event), [r#"{"a":1}"#]);
        assert_eq!(event.at.to_string(), "2026-05-31T23:59:50.000000Z");
        assert_eq!(reading(&event).extensions.0["organization"].get(), r#""x""#);
    }
    let source = |value| Sent::signed(body).header("ce-source", value).refusal();
    assert_eq!((source("d1"), source("d2")), ("accepted", "unsigned_envelope"));
}

#[test]
fn a_batch_is_taken_apart_and_what_is_not_understood_of_it_is_kept() {
    let event = |id: &str, kind: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"d{id}","type":"{kind}","data":{{"n":{id}}}}}"#)
    };
    let stream = "io.golioth.data.v1/.s/x";
    let body = format!(
        "[{}, {},{}]",
        event("1", stream),
        event("2", "com.example"),
        event("3", stream)
    );
    let normalized = Sent::signed(&body).normalized().unwrap();
    assert_eq!(normalized.events.len(), 2);
    assert_eq!(normalized.letters.len(), 1);
    assert_eq!(normalized.letters[0].reason, "unknown_type");
    assert_eq!(normalized.letters[0].body, event("2", "com.example").as_bytes());

    // An event is the same in whatever batch it comes.
    let alone = Sent::signed(event("3", stream)).event();
    assert_eq!(alone.key().id, normalized.events[1].key().id);
    assert_eq!(alone.sequence, normalized.events[1].sequence);
}

#[rstest]
#[case::nothing("", "unrecognized")]
#[case::text("hello", "unrecognized")]
#[case::json("{}", "unrecognized")]
#[case::array("[1]", "unrecognized")]
#[case::empty_array("[]", "unrecognized")]
#[case::broken("{\"event\":", "malformed_json")]
#[case::unknown_event(r#"{"event":"device.exploded","device_id":"d"}"#, "unknown_type")]
#[case::ours(r#"{"type":"io.fleetlog.device.edited.v1"}"#, "reserved_type")]
#[case::no_device(r#"{"event":"device.online"}"#, "no_device")]
#[case::invalid_device("{\"event\":\"device.online\",\"device_id\":\"a\\u0000\"}", "invalid_device")]
#[case::cloudevent(r#"{"specversion":"2.0","type":"t","source":"s"}"#, "malformed_cloudevent")]
#[case::cloudevent_type(r#"{"specversion":"1.0","type":"t","source":"s"}"#, "unknown_type")]
#[case::our_cloudevent(
    r#"{"specversion":"1.0","type":"io.fleetlog.x.v1","source":"s"}"#,
    "reserved_type"
)]
#[case::output_stream_of_nothing(
    r#"{"specversion":"1.0","type":"DEVICE_STREAM_TYPE","source":"s"}"#,
    "incomplete"
)]
fn what_is_authentic_but_not_understood_is_kept_raw(#[case] body: &str, #[case] reason: &str) {
    for sent in [Sent::with_secret(body), Sent::signed(body)] {
        let letter = sent.letter();
        assert_eq!(letter.reason, reason);
        assert_eq!(letter.body, body.as_bytes());
        assert_eq!(letter.received_at, received());
    }
}

#[rstest]
#[case("io.fleetlog.device.edited.v1", "reserved_type")]
#[case("IO.Fleetlog.x", "reserved_type")]
#[case("com.example", "unknown_type")]
fn types_in_headers_that_nobody_reads_are_dead_letters(#[case] kind: &str, #[case] reason: &str) {
    let letter = Sent::with_secret("{}").header("ce-type", kind).letter();
    assert_eq!(letter.reason, reason);
}

#[test]
fn believed_headers_say_id_and_time_of_a_body_that_says_the_rest() {
    let sent = || {
        Sent::with_secret(r#"{"data":1,"device_id":"d1"}"#)
            .header("ce-id", "7")
            .header("ce-time", "2026-05-31T12:00:00Z")
    };
    let event = sent().event();
    assert_eq!(event.at.to_string(), "2026-05-31T12:00:00.000000Z");
    assert_eq!(event.id, sent().event().id);
}

#[test]
fn what_is_meant_as_json_but_is_none_is_told_apart() {
    let sent = |media_type| Sent::with_secret("no JSON {").header("content-type", media_type);
    assert_eq!(sent("application/json").letter().reason, "malformed_json");
    assert_eq!(sent("text/plain").letter().reason, "unrecognized");
}

#[test]
fn an_unsigned_media_type_changes_nothing_that_is_kept() {
    let sent = |media_type| Sent::signed(WRAPPED).header("content-type", media_type);
    let (one, other) = (sent("application/json").event(), sent("image/png").event());
    assert_eq!((one.id, one.body), (other.id, other.body));
}

#[test]
fn a_dead_letter_keeps_the_envelope_and_no_credential() {
    let letter = Sent::with_secret("?")
        .header("content-type", "text/plain")
        .header("ce-type", "com.example")
        .header("ce-foo", "bar")
        .header("cookie", "session")
        .header("authorization", "Bearer x")
        .letter();
    let mut names: Vec<&str> = letter.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ce-foo", "ce-type", "content-type"]);
}

#[test]
fn packed_bodies_are_unpacked_after_they_are_verified() {
    use std::io::Write;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(WRAPPED.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();

    let event = Sent::signed(&packed).event();
    assert_eq!(data(&event), [r#"{"temp":32}"#]);
    let event = Sent::from_golioth("/x", &packed)
        .header("content-encoding", "gzip")
        .event();
    assert_eq!(data(&event), [r#"{"temp":32}"#]);
    // Without the header they are the device's own bytes.
    let event = Sent::from_golioth("/x", &packed).event();
    assert_eq!(
        reading(&event).readings[0].data_base64.as_ref().unwrap().0,
        packed
    );
    let letter = Sent::from_golioth("/x", "{}")
        .header("content-encoding", "gzip")
        .letter();
    assert_eq!(
        (letter.reason.as_str(), letter.body.as_slice()),
        ("malformed_gzip", &b"{}"[..])
    );
    let cut_short = Sent::signed(&packed[..20]);
    assert_eq!(cut_short.letter().reason, "malformed_gzip");
    assert_eq!(cut_short.header("ce-source", "d1").refusal(), "unsigned_envelope");

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![b' '; crate::example::LIMIT + 1]).unwrap();
    assert_eq!(
        Sent::signed(encoder.finish().unwrap()).refusal(),
        "unpacked_too_large"
    );
}

#[test]
fn elements_that_say_their_own_times_make_a_delivery_recognizable() {
    let sent = || {
        Sent::from_golioth("/x", r#"[{"ts":1780271990,"a":1},{"ts":1780271991,"a":2}]"#)
            .to(|integration| integration.reading_time_field = Some("ts".to_owned()))
    };
    let event = sent().event();
    assert_eq!(event.id, sent().event().id);
    assert_eq!(event.at, received());
    assert!(event.receipt_timed);
    assert_eq!(
        reading(&event).readings[1].at.unwrap().to_string(),
        "2026-05-31T23:59:51.000000Z"
    );

    let single = Sent::from_golioth("/x", r#"{"ts":1780271990}"#)
        .to(|integration| integration.reading_time_field = Some("ts".to_owned()));
    assert_eq!(single.event().at.to_string(), "2026-05-31T23:59:50.000000Z");
}
