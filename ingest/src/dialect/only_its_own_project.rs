//! An integration that is bound to a project takes nothing of another, wherever it is named.

use rstest::rstest;
use serde_json::json;

use crate::example::Sent;

const WRAPPED: &str = r#"{"data":{"temp":32},"device_id":"d1","project_id":"my-project","timestamp":{"nanos":1000,"seconds":1780271990}}"#;

#[rstest]
#[case::same(Some("my-project"), "accepted")]
#[case::other(Some("their-project"), "other_project")]
#[case::none(None, "no_project")]
fn a_bound_integration_takes_its_own_project_only(#[case] subject: Option<&str>, #[case] outcome: &str) {
    let mut sent =
        Sent::from_golioth("/x", "1").to(|integration| integration.project = Some("my-project".to_owned()));
    sent.headers.remove("ce-subject");
    if let Some(subject) = subject {
        sent = sent.header("ce-subject", subject);
    }
    assert_eq!(sent.refusal(), outcome);
}

#[test]
fn a_project_is_looked_for_anywhere_in_a_delivery() {
    let bound = |sent: Sent| {
        sent.to(|integration| integration.project = Some("my-project".to_owned()))
            .refusal()
    };
    let other = WRAPPED.replace("my-project", "their-project");
    assert_eq!(bound(Sent::from_golioth("/x", &other)), "other_project");
    assert_eq!(bound(Sent::signed(&other)), "other_project");
    assert_eq!(bound(Sent::signed(WRAPPED)), "accepted");
    assert_eq!(
        bound(Sent::signed(r#"{"data":1,"device_id":"d1"}"#)),
        "no_project"
    );
    assert_eq!(
        bound(Sent::signed(r#"{"event":"device.online","device_id":"d1"}"#)),
        "accepted"
    );
    assert_eq!(
        bound(Sent::signed(
            r#"{"event":"device.online","device_id":"d1","project_id":"x"}"#
        )),
        "other_project"
    );
}

/// What becomes of a body that nothing but the body speaks for, at an integration of `my-project`.
fn outcome(body: &str) -> &'static str {
    Sent::signed(body)
        .to(|integration| integration.project = Some("my-project".to_owned()))
        .refusal()
}

#[rstest]
#[case::in_the_device(r#"{"event":"device.online","device":{"id":"d1","project_id":"theirs"}}"#)]
#[case::in_the_data(r#"{"event":"device.online","data":{"deviceId":"d1","projectId":"theirs"}}"#)]
#[case::beside_the_right_one(
    r#"{"event":"device.online","device_id":"d1","project_id":"my-project","projectId":"theirs"}"#
)]
#[case::said_twice(r#"{"event":"device.online","device_id":"d1","project":"theirs","project":"my-project"}"#)]
#[case::by_its_id(r#"{"event":"device.online","device_id":"d1","project":{"id":"theirs","name":"mine"}}"#)]
fn a_platform_event_names_it_in_many_places(#[case] body: &str) {
    assert_eq!(outcome(body), "other_project");
    assert_eq!(outcome(&body.replace("theirs", "my-project")), "accepted");
}

#[rstest]
#[case::under_another_name(json!({"data": 1, "device_id": "d1", "project_id": "my-project", "projectId": "theirs"}).to_string())]
#[case::said_twice(r#"{"data":1,"device_id":"d1","project_id":"theirs","project_id":"my-project"}"#.to_owned())]
fn a_wrapped_body_names_one_project(#[case] body: String) {
    assert_eq!(outcome(&body), "other_project");
    assert_eq!(outcome(&body.replace("theirs", "my-project")), "accepted");
}
