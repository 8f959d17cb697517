//! What explains a field: everything that was said of it, and at most one winner.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use rstest::rstest;
use schema::{DeviceId, Event};
use serde_json::json;

use super::{
    by_name,
    edits::{answer, cloud, device, edit, metadata, sides},
    event, instant,
    model::{any_step, events_of},
    named, registered,
};
use crate::fold::{
    fields::explain::{Explained, Source, Verdict},
    resolve::State,
    whole,
};

fn explained(events: &[Event], field: &str) -> Explained {
    let begin = [named(&sides()[0], -10, "A"), registered("A", -10)];
    let events = begin.iter().chain(events).map(|event| (0, event));
    whole(events).explain(device()).remove(field).unwrap()
}

/// Who said what when and what became of it, the newest first.
fn verdicts(events: &[Event], field: &str) -> Vec<(&'static str, i64, Verdict)> {
    let statements = explained(events, field).statements.into_iter();
    let start = instant(0).as_micros();
    let verdicts = statements.map(|said| {
        let source = match said.source {
            Source::Cloud(_) => "cloud",
            Source::Edit(_) => "edit",
            Source::Registration(_) => "registration",
        };
        (
            source,
            (said.key.at.as_micros() - start) / 1_000_000,
            said.verdict,
        )
    });
    verdicts.collect()
}

fn says(at: i64, value: i64) -> Event {
    cloud(&sides()[0], at, &json!({ "metadata": metadata(value) }))
}

#[rstest]
#[case("prefer_local", Verdict::Won, Verdict::Outweighed)]
#[case("prefer_remote", Verdict::Outweighed, Verdict::Won)]
#[case("manual", Verdict::Waits, Verdict::Won)]
fn where_both_changed_the_strategy_names_winner_and_loser(
    #[case] strategy: &str,
    #[case] of_edit: Verdict,
    #[case] of_cloud: Verdict,
) {
    let edit = edit(5, "metadata", &metadata(2), Some((&metadata(1), 1)), strategy);
    let events = [says(1, 1), edit, says(7, 3)];
    assert_eq!(
        verdicts(&events, "metadata"),
        [("cloud", 7, of_cloud), ("edit", 5, of_edit)]
    );
    let base = explained(&events, "metadata").shown.base.unwrap();
    assert_eq!((base.at, base.accepted), (Some(instant(1)), None));
}

#[test]
fn an_edit_is_replaced_by_the_next_and_the_cloud_says_nothing_new() {
    let first = edit(5, "metadata", &metadata(2), Some((&metadata(1), 1)), "manual");
    let second = edit(6, "metadata", &metadata(3), Some((&metadata(1), 1)), "manual");
    let expected = [
        ("edit", 6, Verdict::Won),
        ("edit", 5, Verdict::Replaced(second.id)),
        ("cloud", 1, Verdict::NothingNew),
    ];
    assert_eq!(
        verdicts(&[says(1, 1), first.clone(), second.clone()], "metadata"),
        expected
    );
    let again = says(9, 1);
    let expected = [("cloud", 9, Verdict::Unchanged), ("edit", 6, Verdict::Won)];
    assert_eq!(
        verdicts(&[says(1, 1), second.clone(), again], "metadata"),
        expected,
        "it was said later, and is what the author of the edit saw"
    );
    let accepted = answer(&second, &["metadata"], 8, "accepted");
    let events = [says(1, 1), first, second.clone(), accepted];
    let explained = explained(&events, "metadata");
    assert_eq!(explained.shown.state, State::Acknowledged);
    assert_eq!(explained.shown.base.unwrap().accepted, Some(second.id));
}

#[test]
fn of_several_clouds_the_newest_counts_and_one_that_is_gone_does_not() {
    let [_, by_name_only] = sides();
    let other = cloud(&by_name_only, 4, &json!({ "metadata": metadata(9) }));
    let expected = [("cloud", 4, Verdict::Won), ("cloud", 1, Verdict::Older)];
    assert_eq!(verdicts(&[says(1, 1), other.clone()], "metadata"), expected);

    let gone = event(
        &by_name_only,
        "provider-device.disappeared",
        6,
        &json!({"how": "reported"}),
    );
    let expected = [("cloud", 4, Verdict::Gone), ("cloud", 1, Verdict::Won)];
    assert_eq!(
        verdicts(&[says(1, 1), other.clone(), gone.clone()], "metadata"),
        expected
    );

    let back = cloud(&by_name("A"), 7, &json!({ "enabled": true }));
    let expected = [("cloud", 4, Verdict::BeforeGone), ("cloud", 1, Verdict::Won)];
    assert_eq!(verdicts(&[says(1, 1), other, gone, back], "metadata"), expected);
}

#[test]
fn a_whole_list_of_tags_speaks_of_each() {
    let events = [
        cloud(&sides()[0], 1, &json!({ "tags": [{"id": "x"}] })),
        cloud(&sides()[0], 3, &json!({ "tags_removed": ["x"] })),
    ];
    let expected = [("cloud", 3, Verdict::Won), ("cloud", 1, Verdict::Older)];
    assert_eq!(verdicts(&events, "tag:x"), expected);
}

#[test]
fn a_serial_is_the_newest_name_of_a_cloud_that_is_there_else_what_was_registered() {
    let [cloud, other] = sides();
    let serial = |events: &[Event]| {
        let tables = whole(events.iter().map(|event| (0, event)));
        let explained = tables.explain_serial(device()).unwrap();
        let serial = tables
            .devices
            .get(&device())
            .map(|device| format!("{:?}", device.serial));
        assert_eq!(
            explained.shown.value.map(|value| value.text),
            serial,
            "it says what is shown"
        );
        explained
            .statements
            .into_iter()
            .map(|said| said.verdict)
            .collect::<Vec<_>>()
    };
    let registered = registered("A", 1);
    assert_eq!(serial(std::slice::from_ref(&registered)), [Verdict::Won]);
    let mut events = vec![registered, named(&cloud, 2, "A")];
    assert_eq!(serial(&events), [Verdict::Won, Verdict::Agrees]);
    events.push(named(&cloud, 4, "B"));
    let to = json!({"device": device(), "author": "ann"});
    events.push(event(&cloud, "provider-device.bound", 3, &to));
    assert_eq!(serial(&events), [Verdict::Won, Verdict::Overruled]);
    events.push(event(&other, "provider-device.bound", 5, &to));
    assert_eq!(serial(&events), [Verdict::Won, Verdict::Older, Verdict::Agrees]);
    events.push(event(
        &other,
        "provider-device.disappeared",
        6,
        &json!({"how": "reported"}),
    ));
    assert_eq!(serial(&events), [Verdict::Gone, Verdict::Won, Verdict::Overruled]);
}

#[test]
fn a_firmware_version_is_the_newest_that_was_reported_of_a_package_that_counts() {
    let report = |package: &str, version: &str, at| {
        event(
            &sides()[0],
            "firmware.reported",
            at,
            &json!({"package": package, "version": version}),
        )
    };
    let events = [
        named(&sides()[0], 1, "A"),
        registered("A", 1),
        report("main", "1", 2),
        report("main", "2", 3),
        report("modem", "9", 4),
        report("main", "", 5),
    ];
    let tables = whole(events.iter().map(|event| (0, event)));
    let check = |primary: &BTreeMap<_, _>, version: &str, expected: &[Verdict]| {
        let explained = tables.explain_firmware(device(), primary).unwrap();
        assert_eq!(explained.shown.value.unwrap().text, version);
        let found: Vec<_> = explained.statements.iter().map(|said| said.verdict).collect();
        assert_eq!(found, expected);
    };
    check(
        &BTreeMap::new(),
        "\"9\"",
        &[Verdict::Won, Verdict::Older, Verdict::Older],
    );
    let main = BTreeMap::from([(sides()[0].integration, "main".to_owned())]);
    check(
        &main,
        "\"2\"",
        &[Verdict::OtherPackage, Verdict::Won, Verdict::Older],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn one_statement_wins_and_it_says_what_is_shown(steps in vec(any_step(), 0..14)) {
        let tables = whole(events_of(&steps).iter().map(|event| (0, event)));
        let of: DeviceId = device();
        let fields = tables.fields_of(of);
        let explained = tables.explain(of);
        prop_assert_eq!(explained.keys().collect::<BTreeSet<_>>(), fields.keys().collect::<BTreeSet<_>>());
        for (field, Explained { shown, statements }) in &explained {
            prop_assert_eq!(Some(shown), fields.get(field));
            let won: Vec<_> = statements.iter().filter(|said| said.verdict == Verdict::Won).collect();
            prop_assert!(won.len() <= 1, "{} of {:#?}: {:#?}", field, steps, statements);
            let shows = shown.value.as_ref();
            if let [won] = won.as_slice() {
                prop_assert_eq!(Some(won.value.hash), shows.map(|value| value.hash));
            } else {
                // What both sides last agreed on is shown: the cloud has said nothing since.
                prop_assert_eq!(shown.base.as_ref().map(|base| &base.value), shows);
            }
            let n_edits = tables.truth.edits.keys().filter(|key| key.device == of && key.field == *field).count();
            let of_people = statements.iter().filter(|said| matches!(said.source, Source::Edit(_)));
            prop_assert_eq!(of_people.count(), n_edits, "every edit is told");
        }
    }
}
