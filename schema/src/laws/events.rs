use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{
    Body, Event, EventId, LogId, MaxRegister, Micros, OrderKey, Record, WireError,
    arbitrary::{World, instant, log_id},
    attribute, decode, encode,
};

fn read(record: &Record) -> Result<(LogId, Event), WireError> {
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| (&**name, Some(value.as_bytes())));
    decode(headers, &record.value)
}

fn key() -> impl Strategy<Value = OrderKey> {
    let few = (0_i64..3, 0_i64..3, 0_u128..3);
    few.prop_map(|(at, sequence, id)| OrderKey {
        at: Micros::from_micros(at).expect("about 1970"),
        sequence,
        id: EventId(uuid::Uuid::from_u128(id)),
    })
}

/// The content follows from the key, as it does for events.
fn joined<'a>(keys: impl IntoIterator<Item = &'a OrderKey>) -> MaxRegister<String> {
    let mut register = MaxRegister::default();
    for key in keys {
        register.join(*key, format!("{key:?}"));
    }
    register
}

proptest! {
    #[test]
    fn an_event_reads_back_as_it_was_written(event in World::wide().event(), log in log_id()) {
        let record = encode(&event, &log).expect("an event can be written");
        let (read_log, read_event) = read(&record).expect("and read");
        prop_assert_eq!(read_log, log);
        prop_assert_eq!(read_event, event);
    }

    #[test]
    fn an_event_of_a_small_world_reads_back_as_it_was_written(event in World::small().event()) {
        let record = encode(&event, &LogId::random()).expect("an event can be written");
        prop_assert_eq!(read(&record).expect("and read").1, event);
    }

    #[test]
    fn a_record_keeps_the_rules_of_cloudevents(event in World::wide().event()) {
        let record = encode(&event, &LogId::random()).expect("an event can be written");
        let names: BTreeSet<&str> = record.headers.iter().map(|(name, _)| &**name).collect();
        prop_assert_eq!(names.len(), record.headers.len(), "a name is repeated");
        for (name, value) in &record.headers {
            prop_assert!(name == "content-type" || name.strip_prefix("ce_").is_some_and(attribute::is_name));
            prop_assert!(value.chars().all(attribute::is_allowed), "{name}: {value:?}");
        }
        prop_assert_eq!(&record.key, &event.partition_key());
        prop_assert!(!record.value.is_empty(), "an empty value could be taken for a tombstone");
    }

    #[test]
    fn neither_order_nor_foreign_headers_matter_to_a_reader(
        event in World::wide().event(),
        rotated in any::<Index>(),
        repeated in any::<Index>(),
    ) {
        let mut record = encode(&event, &LogId::random()).expect("an event can be written");
        let n_headers = record.headers.len();
        for (name, _) in &mut record.headers {
            if name == "content-type" {
                *name = "Content-Type".into();
            }
        }
        record.headers.rotate_left(rotated.index(n_headers));
        let (name, _) = repeated.get(&record.headers).clone();
        // What came before loses to what comes last; what is no attribute is passed over.
        record.headers.insert(0, (name, "application/json".to_owned()));
        record.headers.push(("ce_Upper_Case".into(), String::new()));
        record.headers.push(("X-Forwarded-For".into(), "somebody".to_owned()));
        prop_assert_eq!(read(&record).expect("still an event").1, event);
    }

    #[test]
    fn a_damaged_record_is_refused_or_read_but_never_fatal(
        event in World::wide().event(),
        damaged in any::<Index>(),
        header in ".{0,20}",
        value in vec(any::<u8>(), 0..40),
        cut in any::<Index>(),
    ) {
        let record = encode(&event, &LogId::random()).expect("an event can be written");
        let mut damage = record.clone();
        let at = damaged.index(damage.headers.len());
        if let Some((_, text)) = damage.headers.get_mut(at) {
            *text = header;
        }
        drop(read(&damage));
        drop(read(&Record { value, ..record.clone() }));
        let mut truncated = record;
        truncated.value.truncate(cut.index(truncated.value.len()));
        drop(read(&truncated));
    }

    #[test]
    fn attributes_sort_as_keys_do(
        (left, right) in ((instant(), 0_i64.., any::<u128>()), (instant(), 0_i64.., any::<u128>())),
        event in World::small().event(),
    ) {
        let written = |(at, sequence, id): (Micros, i64, u128)| {
            let id = EventId(uuid::Uuid::from_u128(id));
            let event = Event { id, at, sequence, ..event.clone() };
            let record = encode(&event, &LogId::random()).expect("an event can be written");
            let header = |name| {
                let found = record.headers.iter().find(|(other, _)| other == name);
                found.expect("every event has it").1.clone()
            };
            (event.key(), (header("ce_time"), header("ce_sequence"), header("ce_id")))
        };
        let (left_key, left_text) = written(left);
        let (right_key, right_text) = written(right);
        prop_assert_eq!(left_key.cmp(&right_key), left_text.cmp(&right_text));
    }

    #[test]
    fn the_order_is_total(a in key(), b in key(), c in key()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        prop_assert!(!(a <= b && b <= c) || a <= c);
        prop_assert_eq!(a.cmp(&b), (a.at, a.sequence, a.id).cmp(&(b.at, b.sequence, b.id)));
    }

    #[test]
    fn a_register_ends_alike_however_keys_come(keys in vec(key(), 0..8).prop_shuffle()) {
        let register = joined(&keys);
        prop_assert_eq!(register.key(), keys.iter().max().copied());
        let mut sorted = keys.clone();
        sorted.sort();
        prop_assert_eq!(&joined(&sorted), &register);
        prop_assert_eq!(&joined(sorted.iter().rev().chain(&keys)), &register);
    }

    #[test]
    fn registers_join_in_any_grouping(left in vec(key(), 0..5), right in vec(key(), 0..5)) {
        let mut joined_late = joined(&left);
        if let Some((key, value)) = joined(&right).into_held() {
            joined_late.join(key, value);
        }
        prop_assert_eq!(joined_late, joined(left.iter().chain(&right)));
    }
}

#[test]
fn strategies_know_every_name() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for world in [World::wide(), World::small()] {
        for name in Body::NAMES {
            let event = world
                .event_of(name)
                .new_tree(&mut runner)
                .expect("events")
                .current();
            assert_eq!(event.body.name(), *name);
        }
    }
}
