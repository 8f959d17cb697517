//! Whatever the order, the repeats and the batches: the same tables.

use proptest::{collection::vec, prelude::*, sample::Index};
use schema::{Event, ProviderDevice, Subject, arbitrary::World};
use serde_json::{Value, json};

use super::{
    ORGANIZATION, by_id, by_name, event, event_of, receipt_timed, received, registered, serial, store::Store,
};
use crate::fold::whole;

/// Events, each with the Kafka partition it is read from.
pub(super) type Log = Vec<(i32, Event)>;

const NAMES: [&str; 4] = ["A", "B", "C", " "];

fn devices() -> Vec<ProviderDevice> {
    vec![by_id("1"), by_id("2"), by_name("A"), by_name("B")]
}

/// What is said, without the receipts of its copies.
pub(super) fn any_said() -> impl Strategy<Value = Event> {
    let at = 0..6_i64;
    (
        any::<Index>(),
        any::<Index>(),
        any::<Index>(),
        at,
        0..6_i64,
        any::<bool>(),
    )
        .prop_map(|(device, kind, name, at, other, receipt)| {
            let device = device.get(&devices()).clone();
            let name = *name.get(&NAMES);
            let said = kind.get(&KINDS)(&device, name, at, other);
            if receipt { receipt_timed(said) } else { said }
        })
}

type Kind = fn(&ProviderDevice, &str, i64, i64) -> Event;

const KINDS: [Kind; 15] = [
    |device, name, at, other| {
        let own = super::instant(other).to_string();
        let data = json!({"path": "/s", "device_name": name, "readings": [{"data": {"a": other}}, {"data": {"b": 1}, "at": own}]});
        event(device, "reading.received", at, &data)
    },
    |device, _, at, other| {
        let key = format!("k{other}");
        let data = json!({"path": "/s", "readings": [{"data": {key: 1}}, {"data_base64": "AAA="}]});
        event(device, "reading.received", at, &data)
    },
    |device, name, at, other| {
        let own = super::instant(other).to_string();
        let data = json!({"device_name": name, "entries": [{"message": "m", "at": own}, {"message": "n", "metadata": {"x": other}}]});
        event(device, "log.received", at, &data)
    },
    |device, name, at, _| observed(device, at, &json!({"name": name})),
    |device, _, at, _| observed(device, at, &json!({"name": null, "enabled": true})),
    |device, name, at, other| {
        observed(
            device,
            at,
            &json!({"metadata": {"v": other}, "tags": [{"id": name}], "status": null}),
        )
    },
    |device, name, at, other| {
        observed(
            device,
            at,
            &json!({"tags_added": [{"id": name, "name": "n"}], "tags_removed": [other.to_string()]}),
        )
    },
    |device, _, at, _| {
        event(
            device,
            "provider-device.disappeared",
            at,
            &json!({"how": "reported"}),
        )
    },
    |device, name, at, _| {
        let bound = schema::DeviceId::of_serial(ORGANIZATION, &serial(if name == " " { "D" } else { name }));
        event(
            device,
            "provider-device.bound",
            at,
            &json!({"device": bound, "author": "ann"}),
        )
    },
    |device, _, at, other| {
        let stated = super::instant(other);
        event(
            device,
            "activity.observed",
            at,
            &json!({"last_report": stated, "session_established_at": stated}),
        )
    },
    |device, name, at, other| {
        let state = if other % 2 == 0 {
            "connected"
        } else {
            "disconnected"
        };
        let data = json!({"state": state, "evidence": "reported", "device_name": name, "session_id": name, "reason": other.to_string()});
        event(device, "connection.changed", at, &data)
    },
    |device, name, at, other| {
        let data = json!({"package": "main", "version": name, "device_name": name, "state_code": other});
        event(device, "firmware.reported", at, &data)
    },
    |device, _, at, other| {
        event(
            device,
            "state.observed",
            at,
            &json!({"path": "/x", "value": other}),
        )
    },
    |_, name, at, _| registered(if name == " " { "D" } else { name }, at),
    |_, name, at, other| {
        let name = if name == " " { "D" } else { name };
        let device = schema::DeviceId::of_serial(ORGANIZATION, &serial(name));
        let kind = if other % 2 == 0 {
            "device.edited"
        } else {
            "device.retired"
        };
        let data = json!({"serial": name, "author": "ann", "changes": [], "reason": other.to_string()});
        event_of(Subject::Device(device), kind, at, &data)
    },
];

fn observed(device: &ProviderDevice, at: i64, data: &Value) -> Event {
    event(device, "provider-device.observed", at, data)
}

/// Every copy of what is said, with the Kafka partition it is read from.
pub(super) fn copies(said: impl Strategy<Value = Event>, n: usize) -> impl Strategy<Value = Log> {
    let copied = (said, vec(0..8_i64, 1..3), 0..2_i32).prop_map(|(said, receipts, partition)| {
        let copy = |at| (partition, received(said.clone(), at));
        receipts.into_iter().map(copy).collect::<Vec<_>>()
    });
    vec(copied, 0..n).prop_map(|copies| copies.into_iter().flatten().collect())
}

/// The same events in another order, some of them again, cut into batches.
fn histories(events: impl Strategy<Value = Log>) -> impl Strategy<Value = (Log, Vec<Log>)> {
    events.prop_flat_map(|events| {
        let again: Vec<_> = events.iter().chain(events.iter().step_by(3)).cloned().collect();
        let shuffled = Just(again).prop_shuffle();
        (Just(events), shuffled, vec(1..9_usize, 1..60)).prop_map(|(events, shuffled, sizes)| {
            let mut rest = shuffled.into_iter().peekable();
            let mut sizes = sizes.into_iter().cycle();
            let mut batches = Vec::new();
            while rest.peek().is_some() {
                batches.push(rest.by_ref().take(sizes.next().unwrap_or(1)).collect());
            }
            (events, batches)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_any_repeats_and_any_batches_end_in_the_same_tables(
        (events, batches) in histories(copies(any_said(), 24))
    ) {
        let mut store = Store::default();
        for batch in &batches {
            store.commit(batch);
        }
        let whole = whole(events.iter().map(|(partition, event)| (*partition, event)));
        let tables = store.tables();
        // One by one, so that a difference is short enough to read.
        prop_assert_eq!(&tables.truth.provider_devices, &whole.truth.provider_devices);
        prop_assert_eq!(&tables.truth.activity, &whole.truth.activity);
        prop_assert_eq!(&tables.truth.latest, &whole.truth.latest);
        prop_assert_eq!(&tables.truth.readings, &whole.truth.readings);
        prop_assert_eq!(&tables.truth.logs, &whole.truth.logs);
        prop_assert_eq!(&tables.truth.connections, &whole.truth.connections);
        prop_assert_eq!(&tables.truth.firmware, &whole.truth.firmware);
        prop_assert_eq!(tables, whole);
    }

    #[test]
    fn of_many_shapes_the_newest_stay_however_they_arrive(
        (events, batches) in histories(copies(any_shape(), 90))
    ) {
        let mut store = Store::default();
        for batch in &batches {
            store.commit(batch);
        }
        let tables = store.tables();
        let expected = whole(events.iter().map(|(partition, event)| (*partition, event)));
        prop_assert_eq!(&tables, &expected);
        prop_assert!(tables.truth.latest.len() <= crate::fold::MAX_SHAPES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_catalogue_of_events_says_order_is_no_matter(
        (events, batches) in histories(copies(World::small().event(), 40))
    ) {
        let mut store = Store::default();
        for batch in &batches {
            store.commit(batch);
        }
        let expected = whole(events.iter().map(|(partition, event)| (*partition, event)));
        prop_assert_eq!(store.tables(), expected);
    }

    #[test]
    fn anything_that_can_be_written_can_be_folded(
        (events, batches) in histories(copies(World::wide().event(), 12))
    ) {
        let mut store = Store::default();
        for batch in &batches {
            store.commit(batch);
        }
        let expected = whole(events.iter().map(|(partition, event)| (*partition, event)));
        prop_assert_eq!(store.tables(), expected);
    }
}

/// One of more shapes than are kept, at one of few instants, so that many tie but for their ids.
fn any_shape() -> impl Strategy<Value = Event> {
    (0..45_u32, 0..20_i64, any::<bool>()).prop_map(|(shape, at, receipt)| {
        let reading = super::reading(&by_id("1"), at, &json!({ shape.to_string(): at }));
        if receipt { receipt_timed(reading) } else { reading }
    })
}
