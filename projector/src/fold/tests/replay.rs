//! What other strategies would have decided.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;
use schema::{Event, EventId, Micros, OrderKey, ProviderDevice, Strategy as Policy};
use serde_json::{Value, json};

use super::{
    by_id,
    edits::{answer, cloud, device, edit, metadata},
    event_of, instant, named,
};
use crate::fold::{
    Truth,
    fields::strategy,
    replay::{Contest, Outcome, Replay, Side},
    resolve::conflict_id,
    rows::{LocalFact, RegistryFact, Stored},
    whole,
};

enum Fact<'a> {
    Registry(&'a ProviderDevice, &'a RegistryFact),
    Local(&'a LocalFact),
}

/// What is kept of the events, in order.
fn facts(truth: &Truth) -> BTreeMap<(Micros, i64, EventId), Fact<'_>> {
    let registry = truth.registry.iter().map(|((key, id), fact)| {
        let provider_device = &truth.provider_devices.get(key).unwrap().device;
        (
            (fact.at, fact.sequence, *id),
            Fact::Registry(provider_device, fact),
        )
    });
    let local = truth
        .local
        .iter()
        .map(|((_, id), fact)| ((fact.at, fact.sequence, *id), Fact::Local(fact)));
    registry.chain(local).collect()
}

fn replayed(events: &[Event], policy: Policy) -> Vec<Contest> {
    let strategies = BTreeMap::from([("metadata".to_owned(), policy)]);
    let tables = whole(events.iter().map(|event| (0, event)));
    let mut replay = Replay::new(device(), &strategies);
    for ((_, _, id), fact) in facts(&tables.truth) {
        match fact {
            Fact::Registry(provider_device, fact) => replay.registry(provider_device, id, fact),
            Fact::Local(fact) => replay.local(id, fact),
        }
    }
    replay.end()
}

/// An edit of what the cloud showed first, and the cloud's change after it.
fn both_changed(stamped: &str) -> [Event; 4] {
    let side = by_id("1");
    [
        named(&side, -10, "A"),
        cloud(&side, 0, &json!({"metadata": metadata(1)})),
        edit(10, "metadata", &metadata(2), Some((&metadata(1), 0)), stamped),
        cloud(&side, 20, &json!({"metadata": metadata(3)})),
    ]
}

/// A decision about the conflict of [`both_changed`].
fn decision(events: &[Event; 4], value: &Value) -> Event {
    let [_, _, edit, _] = events;
    let remote = Stored::new(&schema::RawJson::from_value(&metadata(3)));
    let conflict = conflict_id(edit.id, "metadata", remote.hash);
    let change = json!({"field": "metadata", "value": value, "strategy": "manual",
        "seen": {"remote": metadata(3), "remote_at": instant(20), "edit": edit.id}});
    let data = json!({"serial": "A", "author": "bea", "changes": [change], "resolves": [conflict]});
    event_of(edit.subject.clone(), "device.edited", 30, &data)
}

#[rstest]
#[case("prefer_local", "prefer_local", Outcome::Local, Outcome::Local, false)]
#[case("prefer_local", "prefer_remote", Outcome::Local, Outcome::Remote, true)]
#[case("prefer_remote", "manual", Outcome::Remote, Outcome::Waits, true)]
#[case("manual", "prefer_local", Outcome::Waits, Outcome::Local, true)]
#[case("manual", "merge", Outcome::Waits, Outcome::Waits, false)]
fn where_both_changed_another_strategy_would_have_decided_otherwise(
    #[case] stamped: &str,
    #[case] other: &str,
    #[case] then: Outcome,
    #[case] would: Outcome,
    #[case] differs: bool,
) {
    let events = both_changed(stamped);
    let contests = replayed(&events, strategy(other));
    let [contest] = contests.as_slice() else {
        panic!("{contests:?}");
    };
    assert_eq!((&contest.then, &contest.would), (&then, &would));
    assert_eq!(contest.differs(), differs);
    assert_eq!(contest.key, events.last().unwrap().key(), "since then");
    assert_eq!(
        (contest.local.text.as_str(), contest.remote.text.as_str()),
        (r#"{"v":2}"#, r#"{"v":3}"#)
    );
}

#[rstest]
#[case(metadata(2), Side::KeepLocal, false)]
#[case(metadata(3), Side::KeepRemote, true)]
#[case(metadata(4), Side::Value, true)]
fn what_a_person_decided_is_told_with_their_name(
    #[case] value: Value,
    #[case] side: Side,
    #[case] differs: bool,
) {
    let events = both_changed("manual");
    let mut all = events.to_vec();
    all.push(decision(&events, &value));
    let contests = replayed(&all, Policy::PreferLocal);
    let [contest] = contests.as_slice() else {
        panic!("{contests:?}");
    };
    assert_eq!(contest.then, Outcome::Decided(side, "bea".to_owned()));
    assert_eq!(contest.differs(), differs);
}

#[test]
fn a_conflict_that_passed_by_itself_was_overtaken_and_is_told_once() {
    let mut events = both_changed("manual").to_vec();
    for (at, value) in [(30, 1), (40, 3), (50, 1)] {
        events.push(cloud(&by_id("1"), at, &json!({"metadata": metadata(value)})));
    }
    let contests = replayed(&events, Policy::PreferRemote);
    let told: Vec<_> = contests.iter().map(|contest| &contest.then).collect();
    assert_eq!(told, [&Outcome::Overtaken]);
}

#[test]
fn what_only_one_side_changed_is_no_contest() {
    let [name, first, edit, later] = both_changed("manual");
    let taken = answer(&edit, &["metadata"], 15, "accepted");
    assert_eq!(
        replayed(&[name, first, edit, taken, later], Policy::PreferLocal),
        []
    );
    let events = both_changed("manual");
    let other = BTreeMap::from([("enabled".to_owned(), Policy::PreferLocal)]);
    assert_eq!(Replay::new(device(), &other).end(), []);
    assert_eq!(events.len(), 4);
}

proptest! {
    /// The strategies that were stamped decide what was decided.
    #[test]
    fn the_strategy_of_that_day_would_have_decided_as_it_did(
        changes in proptest::collection::vec((any::<bool>(), 0_i64..40, 1_i64..4, 0_i64..40), 1..14),
        stamped in proptest::sample::select(vec!["prefer_local", "prefer_remote", "manual"]),
    ) {
        let side = by_id("1");
        let mut events = vec![named(&side, -10, "A")];
        for (ours, at, value, seen) in changes {
            let value = metadata(value);
            events.push(if ours {
                edit(at, "metadata", &value, Some((&metadata(1), seen)), stamped)
            } else {
                cloud(&side, at, &json!({"metadata": value}))
            });
        }
        let contests = replayed(&events, strategy(stamped));
        for contest in &contests {
            prop_assert!(!contest.differs(), "{:?}", contest);
        }
        let keys: Vec<OrderKey> = contests.iter().map(|contest| contest.key).collect();
        prop_assert!(keys.is_sorted(), "{:?}", keys);
        let open = whole(events.iter().map(|event| (0, event)))
            .fields_of(device())
            .remove("metadata")
            .and_then(|shown| shown.conflict);
        let waiting = contests.iter().find(|contest| contest.then == Outcome::Waits);
        prop_assert_eq!(waiting.map(|contest| &contest.conflict), open.as_ref());
    }
}
