//! What a field shows when a cloud and we both say something: case by case.

use rstest::rstest;
use schema::{DeviceId, Event, ProviderDevice, Subject};
use serde_json::{Value, json};

use super::{ORGANIZATION, by_id, by_name, event, event_of, instant, named, registered, serial};
use crate::fold::{fields::Shown, resolve::State, whole};

pub(super) fn device() -> DeviceId {
    DeviceId::of_serial(ORGANIZATION, &serial("A"))
}

/// Two provider devices that are one device: known by id and called A, and known by that name only.
pub(super) fn sides() -> [ProviderDevice; 2] {
    [by_id("1"), by_name("A")]
}

pub(super) fn cloud(side: &ProviderDevice, at: i64, said: &Value) -> Event {
    event(side, "provider-device.observed", at, said)
}

pub(super) fn edit(
    at: i64,
    field: &str,
    value: &Value,
    seen: Option<(&Value, i64)>,
    strategy: &str,
) -> Event {
    let seen = seen.map_or_else(
        || json!({}),
        |(remote, at)| json!({"remote": remote, "remote_at": instant(at)}),
    );
    let change = json!({"field": field, "value": value, "seen": seen, "strategy": strategy});
    let data = json!({"serial": "A", "author": "ann", "changes": [change]});
    event_of(Subject::Device(device()), "device.edited", at, &data)
}

pub(super) fn answer(edit: &Event, fields: &[&str], at: i64, outcome: &str) -> Event {
    let data = json!({"edit": edit.id, "fields": fields, "outcome": outcome});
    event_of(Subject::Device(device()), "edit.pushed", at, &data)
}

fn field_of(events: &[Event], field: &str) -> Shown {
    let begin = [named(&by_id("1"), -10, "A"), registered("A", -10)];
    let events = begin.iter().chain(events).map(|event| (0, event));
    whole(events).fields_of(device()).remove(field).unwrap()
}

fn shows(events: &[Event], field: &str) -> (State, Value) {
    let shown = field_of(events, field);
    let value = shown
        .value
        .map(|value| serde_json::from_str(&value.text).unwrap());
    (shown.state, value.unwrap_or_default())
}

pub(super) fn metadata(value: i64) -> Value {
    json!({"v": value})
}

/// The cloud says 1 at 10 s, which somebody saw and changed to 2 at 20 s.
fn saw_and_changed(strategy: &str) -> [Event; 2] {
    let [side, _] = sides();
    [
        cloud(&side, 10, &json!({"metadata": metadata(1)})),
        edit(20, "metadata", &metadata(2), Some((&metadata(1), 10)), strategy),
    ]
}

#[test]
fn without_an_edit_the_cloud_is_shown() {
    let [side, _] = sides();
    let said = [cloud(&side, 1, &json!({"metadata": metadata(1)}))];
    assert_eq!(shows(&said, "metadata"), (State::Remote, metadata(1)));
}

#[test]
fn an_edit_is_shown_and_waits_to_be_pushed_while_the_cloud_says_what_its_author_saw() {
    let mut said = saw_and_changed("manual").to_vec();
    assert_eq!(shows(&said, "metadata"), (State::Pending, metadata(2)));
    let [side, _] = sides();
    said.push(cloud(&side, 30, &json!({"metadata": metadata(1)})));
    assert_eq!(
        shows(&said, "metadata"),
        (State::Pending, metadata(2)),
        "heard again"
    );
}

#[test]
fn an_edit_is_settled_once_the_cloud_says_the_same() {
    let [side, _] = sides();
    let [first, second] = saw_and_changed("manual");
    let said = [first, second, cloud(&side, 30, &json!({"metadata": metadata(2)}))];
    assert_eq!(shows(&said, "metadata"), (State::Settled, metadata(2)));
}

#[test]
fn an_edit_that_was_taken_is_shown_although_an_older_observation_says_otherwise() {
    let [side, _] = sides();
    let [first, second] = saw_and_changed("manual");
    let taken = answer(&second, &["metadata"], 40, "accepted");
    let late = cloud(&side, 35, &json!({"metadata": metadata(1)}));
    let said = [first, second, taken, late];
    assert_eq!(shows(&said, "metadata"), (State::Acknowledged, metadata(2)));
}

#[test]
fn what_the_cloud_changed_after_it_took_an_edit_is_no_conflict() {
    let [side, _] = sides();
    let [first, second] = saw_and_changed("manual");
    let taken = answer(&second, &["metadata"], 40, "accepted");
    let said = [
        first,
        second,
        taken,
        cloud(&side, 50, &json!({"metadata": metadata(3)})),
    ];
    assert_eq!(shows(&said, "metadata"), (State::Superseded, metadata(3)));
}

#[test]
fn an_edit_that_was_refused_is_not_shown() {
    let [first, second] = saw_and_changed("prefer_local");
    let refused = answer(&second, &["metadata"], 40, "rejected");
    assert_eq!(
        shows(&[first, second, refused], "metadata"),
        (State::Rejected, metadata(1))
    );
}

#[rstest]
#[case("prefer_local", State::Kept, 2)]
#[case("prefer_remote", State::Lost, 3)]
#[case("manual", State::Conflict, 3)]
#[case("merge", State::Conflict, 3)]
#[case("of_a_later_version", State::Conflict, 3)]
fn where_both_changed_the_strategy_of_the_edit_decides(
    #[case] strategy: &str,
    #[case] state: State,
    #[case] shown: i64,
) {
    let [side, _] = sides();
    let [first, second] = saw_and_changed(strategy);
    let said = [first, second, cloud(&side, 30, &json!({"metadata": metadata(3)}))];
    assert_eq!(shows(&said, "metadata"), (state, metadata(shown)));
    assert_eq!(
        field_of(&said, "metadata").conflict.is_some(),
        state == State::Conflict
    );
}

#[test]
fn a_value_that_flips_there_and_back_is_no_conflict_and_inherits_no_decision() {
    let [side, _] = sides();
    let [first, second] = saw_and_changed("manual");
    let mut said = vec![first, second, cloud(&side, 30, &json!({"metadata": metadata(3)}))];
    let opened = field_of(&said, "metadata").conflict.unwrap();
    said.push(cloud(&side, 40, &json!({"metadata": metadata(1)})));
    assert_eq!(
        shows(&said, "metadata"),
        (State::Pending, metadata(2)),
        "back to the base"
    );
    said.push(cloud(&side, 50, &json!({"metadata": metadata(3)})));
    assert_eq!(
        field_of(&said, "metadata").conflict.as_ref(),
        Some(&opened),
        "the same edit against the same value is the same conflict"
    );

    // Someone keeps the cloud's value; then it flips to 1 and back to 3, and nothing is asked again.
    let kept = edit(60, "metadata", &metadata(3), Some((&metadata(3), 50)), "manual");
    said.push(kept.clone());
    assert_eq!(shows(&said, "metadata"), (State::Settled, metadata(3)));
    said.push(cloud(&side, 70, &json!({"metadata": metadata(1)})));
    assert_eq!(shows(&said, "metadata"), (State::Superseded, metadata(1)));
    said.push(cloud(&side, 80, &json!({"metadata": metadata(3)})));
    assert_eq!(shows(&said, "metadata"), (State::Settled, metadata(3)));

    // Whoever decides otherwise against the same value is asked anew if it changes.
    let other = edit(90, "metadata", &metadata(4), Some((&metadata(3), 80)), "manual");
    said.extend([other, cloud(&side, 100, &json!({"metadata": metadata(1)}))]);
    let again = field_of(&said, "metadata").conflict.unwrap();
    assert_ne!(again, opened);
}

#[test]
fn two_edits_before_the_first_was_pushed_are_no_conflict() {
    let [side, _] = sides();
    let [first, second] = saw_and_changed("manual");
    let third = edit(25, "metadata", &metadata(4), Some((&metadata(1), 10)), "manual");
    let taken = answer(&second, &["metadata"], 30, "accepted");
    let shown = cloud(&side, 40, &json!({"metadata": metadata(2)}));
    assert_eq!(
        shows(&[first, second, third, taken, shown], "metadata"),
        (State::Pending, metadata(4))
    );
}

#[test]
fn a_clock_that_is_behind_does_not_lose_an_edit() {
    // Its author's clock says 5 s; he saw what was observed at 10 s, so the edit is of 10 s and a microsecond.
    let [side, _] = sides();
    let seen = cloud(&side, 10, &json!({"metadata": metadata(1)}));
    let mut behind = edit(5, "metadata", &metadata(2), Some((&metadata(1), 10)), "manual");
    behind.at = instant(10).plus(std::time::Duration::from_micros(1));
    assert_eq!(shows(&[seen, behind], "metadata"), (State::Pending, metadata(2)));
}

#[test]
fn a_resolution_decides_whether_or_not_what_it_resolves_has_come() {
    let [side, _] = sides();
    let [first, second] = saw_and_changed("manual");
    let changed = cloud(&side, 30, &json!({"metadata": metadata(3)}));
    let resolution = edit(40, "metadata", &metadata(2), Some((&metadata(3), 30)), "manual");
    let all = [first, second, changed, resolution.clone()];
    assert_eq!(shows(&all, "metadata"), (State::Pending, metadata(2)));
    assert_eq!(
        shows(std::slice::from_ref(&resolution), "metadata"),
        (State::Pending, metadata(2))
    );
}

#[test]
fn fields_that_are_ours_cannot_conflict_and_an_unset_name_is_none() {
    let said = [
        edit(1, "notes", &json!("on the mast"), None, "manual"),
        edit(2, "name", &Value::Null, None, "manual"),
    ];
    assert_eq!(shows(&said, "notes"), (State::Local, json!("on the mast")));
    let begin = [registered("A", -10)];
    let tables = whole(begin.iter().chain(&said).map(|event| (0, event)));
    assert_eq!(tables.devices.get(&device()).unwrap().name, None);
}

#[test]
fn tags_merge_each_by_itself() {
    let [side, _] = sides();
    let said = [
        cloud(&side, 10, &json!({"tags": [{"id": "blue"}, {"id": "old"}]})),
        edit(20, "tag:new", &json!(true), Some((&json!(false), 10)), "merge"),
        edit(20, "tag:old", &json!(false), Some((&json!(true), 10)), "merge"),
        cloud(
            &side,
            30,
            &json!({"tags": [{"id": "blue"}, {"id": "old"}, {"id": "red"}]}),
        ),
    ];
    assert_eq!(shows(&said, "tag:blue"), (State::Remote, json!(true)));
    assert_eq!(shows(&said, "tag:red"), (State::Remote, json!(true)));
    assert_eq!(shows(&said, "tag:new"), (State::Pending, json!(true)));
    assert_eq!(shows(&said, "tag:old"), (State::Pending, json!(false)));
}

#[test]
fn a_device_is_retired_until_it_is_restored() {
    let data = json!({"serial": "A", "author": "ann"});
    let say = |name, at| event_of(Subject::Device(device()), name, at, &data);
    let retired_at = |events: &[Event]| {
        let tables = whole(events.iter().map(|event| (0, event)));
        tables.devices.get(&device()).unwrap().retired_at
    };
    assert_eq!(retired_at(&[say("device.retired", 5)]), Some(instant(5)));
    let both = [say("device.restored", 9), say("device.retired", 5)];
    assert_eq!(retired_at(&both), None);
}

#[test]
fn an_answer_to_an_edit_that_nobody_knows_makes_no_device() {
    let unknown = edit(1, "notes", &json!(1), None, "manual");
    let lone = [answer(&unknown, &["notes"], 2, "accepted")];
    let tables = whole(lone.iter().map(|event| (0, event)));
    assert!(tables.devices.is_empty());
}
