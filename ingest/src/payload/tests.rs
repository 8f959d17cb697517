use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn received() -> Micros {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn read(media_type: Option<&str>, bytes: &[u8]) -> Readings {
    Readings::read(
        Payload::decode(media_type, Cow::Borrowed(bytes)),
        Some("ts"),
        received(),
    )
}

fn shown(readings: &Readings) -> Vec<String> {
    let show = |reading: &Reading| match (&reading.data, &reading.data_base64) {
        (Some(data), None) => data.get().to_owned(),
        (None, Some(bytes)) => format!("bytes:{}", hex::encode(&bytes.0)),
        (Some(_), Some(_)) | (None, None) => panic!("a reading holds exactly one of JSON and bytes"),
    };
    readings.all.iter().map(show).collect()
}

#[rstest]
#[case::object(Some("application/json"), br#" {"temp": 1.50} "#, &[r#"{"temp": 1.50}"#])]
#[case::parameters(Some("Application/JSON; charset=utf-8"), b"21.50", &["21.50"])]
#[case::suffix(Some("application/senml+json"), b"[1, 2]", &["[1, 2]"])]
#[case::array_of_objects(Some("application/json"), br#"[{"a":1}, {"a": 2}]"#, &[r#"{"a":1}"#, r#"{"a": 2}"#])]
#[case::mixed_array(Some("application/json"), br#"[{"a":1}, 2]"#, &[r#"[{"a":1}, 2]"#])]
#[case::empty_array(Some("application/json"), b"[]", &["[]"])]
#[case::cbor(Some("application/cbor"), &[0xa1, 0x61, 0x61, 0x01], &[r#"{"a":1}"#])]
#[case::cbor_array(Some("application/cbor"), &[0x81, 0xa1, 0x61, 0x61, 0x01], &[r#"{"a":1}"#])]
#[case::broken_cbor(Some("application/cbor"), &[0xa1, 0x61], &["bytes:a161"])]
#[case::broken_json(Some("application/json"), b"{", &["bytes:7b"])]
#[case::not_utf8(Some("application/json"), &[b'"', 0xff, b'"'], &["bytes:22ff22"])]
#[case::text(Some("text/plain"), b"21", &["bytes:3231"])]
#[case::image(Some("image/png"), &[0x89, 0x50], &["bytes:8950"])]
#[case::no_type_json(None, b"21", &["21"])]
#[case::no_type_bytes(None, &[0x00], &["bytes:00"])]
#[case::empty(None, b"", &["bytes:"])]
#[case::empty_json(Some("application/json"), b" ", &["bytes:20"])]
fn any_payload_becomes_readings(
    #[case] media_type: Option<&str>,
    #[case] bytes: &[u8],
    #[case] expected: &[&str],
) {
    assert_eq!(shown(&read(media_type, bytes)), expected);
}

#[test]
fn an_element_says_its_own_time_in_the_named_field() {
    let read = read(
        None,
        br#"[{"ts":1780271990000},{"ts":"2031-01-01T00:00:00Z"},{"ts":null}]"#,
    );
    let times: Vec<_> = read
        .all
        .iter()
        .map(|reading| {
            (
                reading.at.map(|at| at.to_string()),
                reading.claimed_at.map(|at| at.to_string()),
            )
        })
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        times,
        [
            (text("2026-05-31T23:59:50.000000Z"), None),
            (None, text("2031-01-01T00:00:00.000000Z")),
            (None, None),
        ]
    );
    assert!(!read.all_timed);
}

#[test]
fn a_name_counts_where_all_that_say_one_agree() {
    let name = |bytes: &[u8]| read(None, bytes).device_name;
    assert_eq!(
        name(br#"{"device_name":"M260600008"}"#).as_deref(),
        Some("M260600008")
    );
    assert_eq!(
        name(br#"[{"device_name":"a"},{},{"device_name":"a"}]"#).as_deref(),
        Some("a")
    );
    assert_eq!(name(br#"[{"device_name":"a"},{"device_name":"b"}]"#), None);
    assert_eq!(name(br#"{"device_name":7}"#), None);
}

#[test]
fn a_huge_array_stays_one_reading() {
    let huge = format!("[{}]", vec!["{}"; MOST_ELEMENTS + 1].join(","));
    assert_eq!(read(None, huge.as_bytes()).all.len(), 1);
}

proptest! {
    #[test]
    fn no_byte_of_a_payload_is_lost(
        media_type in prop::option::of(prop::sample::select(&["application/json", "text/plain", "image/png", "x"][..])),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let read = read(media_type, &bytes);
        prop_assert_eq!(read.all.len(), 1);
        let reading = &read.all[0];
        let kept = reading
            .data
            .as_ref()
            .map(|data| data.get().as_bytes())
            .or_else(|| reading.data_base64.as_ref().map(|bytes| bytes.0.as_slice()))
            .unwrap();
        // JSON is kept without the white space around it.
        prop_assert!(kept == bytes || kept == bytes.trim_ascii());
    }

    #[test]
    fn cbor_that_cannot_be_decoded_is_kept_as_it_is(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let read = read(Some("application/cbor"), &bytes);
        let decoded = cbor::to_json(&bytes);
        let first = &read.all[0];
        match decoded {
            None => prop_assert_eq!(&first.data_base64.as_ref().unwrap().0, &bytes),
            Some(_) => prop_assert!(first.data.is_some()),
        }
    }
}
