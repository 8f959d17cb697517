//! What folded rows take in memory: an estimate, on the high side.
//!
//! Two parts: what every row of a table takes, which needs only their number, and the bytes of the texts they hold,
//! which a walk over all rows adds up. Between walks those of a record's rows are taken to be as many as they can be.

use std::collections::BTreeMap;

use schema::{Body, Event, KnownBy, Serial};

use crate::fold::{
    Truth,
    rows::{ActivityRow, EditRow, FirmwareRow, LogRow, Payload, ProviderDeviceRow, Said},
};

/// What the allocator adds to a text of its own.
const ALLOCATION: usize = 16;

/// What a payload takes besides its texts: an allocation of its own, with two counters.
const PAYLOAD: usize = size_of::<Payload>() + 4 * ALLOCATION;

/// Declares [`fixed`] and [`texts`]: of each table what a row takes beside its entry, and the bytes of its texts.
macro_rules! weights {
    ($($table:ident: $beside:expr, $texts:expr;)*) => {
        /// What rows take without the bytes of their texts.
        pub(super) fn fixed(truth: &Truth) -> usize {
            let Truth { $($table,)* shapes: _ } = truth;
            [$(each($table, $beside)),*].into_iter().sum()
        }

        /// The bytes of the texts that rows hold.
        pub(super) fn texts(truth: &Truth) -> usize {
            let Truth { $($table,)* shapes: _ } = truth;
            [$(of_all($table, $texts)),*].into_iter().sum()
        }
    };
}

weights! {
    provider_devices: 5 * ALLOCATION + size_of::<ProviderDeviceRow>(), |_, row| provider_device(row);
    fields: 2 * ALLOCATION, |(_, name), row| name.len() + row.value.len();
    activity: 6 * ALLOCATION + size_of::<ActivityRow>(), |_, row| of_activity(row);
    connections: 3 * ALLOCATION, |key, row| {
        key.session.len() + optional(row.reason.as_deref()) + row.evidence.len()
    };
    firmware: 6 * ALLOCATION, |key, row| key.package.len() + of_firmware(row);
    latest: ALLOCATION + PAYLOAD, |key, row| key.path.len() + payload(&row.payload);
    // What a reading holds is shared with the latest, yet counted here too: most readings are not the latest. Its path
    // is shared by all of its event.
    readings: ALLOCATION + PAYLOAD, |_, row| payload(&row.payload) + said(&row.said);
    logs: 5 * ALLOCATION, |_, row| log(row);
    registry: 2 * ALLOCATION, |_, fact| fact.name.len() + fact.body.len();
    local: 4 * ALLOCATION, |_, fact| {
        let serial = optional(fact.serial.as_ref().map(Serial::as_str));
        fact.name.len() + fact.body.len() + serial + optional(fact.author.as_deref())
    };
    edits: 7 * ALLOCATION, |key, row| key.field.len() + edit(row);
    answers: 2 * ALLOCATION, |key, row| key.field.len() + optional(row.answer.as_deref());
    horizons: ALLOCATION, |history, _| history.len();
    receipt_timed: 0, |_, _| 0;
    listening: 0, |_, _| 0;
}

fn of_all<K, V>(rows: &BTreeMap<K, V>, of: impl Fn(&K, &V) -> usize) -> usize {
    rows.iter().map(|(key, row)| of(key, row)).sum()
}

/// Entries of a tree, each with so much beside it. Nodes are two thirds full at the least after random inserts.
fn each<K, V>(rows: &BTreeMap<K, V>, beside: usize) -> usize {
    let entry = size_of::<K>() + size_of::<V>() + size_of::<usize>();
    rows.len() * (entry * 3 / 2 + beside)
}

/// The most that the texts of one record's rows take: of rows that stay, and of rows that leave with the batch.
///
/// What is written again may be longer than it was sent: `1e9` becomes ten digits, NUL becomes U+FFFD. Names stand in
/// several registers at once; where a provider device is known by its name, that is in the key. What is said of an edit
/// as a whole is kept with each of its fields.
pub(super) fn texts_of(event: &Event, key: usize, value: &[u8]) -> (usize, usize) {
    let value = value.len() + LONGEST_NUMBER * exponents(value);
    let n_fields = if let Body::DeviceEdited(body) = &event.body {
        body.changes.len()
    } else if let Body::DeviceRegistered(body) = &event.body {
        body.fields.0.len()
    } else {
        0
    };
    (128 + 3 * key + 2 * value, 128 + (2 + 8 * n_fields) * value)
}

/// Digits of the longest number that is stored as one.
const LONGEST_NUMBER: usize = 1_000;

/// How many numbers with an exponent a JSON text may have.
fn exponents(value: &[u8]) -> usize {
    // Without a branch in it, so that many bytes are looked at together.
    let may_be = |((before, at), after): ((&u8, &u8), &u8)| {
        let is_exponent = before.is_ascii_digit()
            & matches!(at, b'e' | b'E')
            & (after.is_ascii_digit() | matches!(after, b'+' | b'-'));
        usize::from(is_exponent)
    };
    let next = value.iter().skip(1);
    let after = value.iter().skip(2);
    value.iter().zip(next).zip(after).map(may_be).sum()
}

fn optional(held: Option<&str>) -> usize {
    held.map_or(0, str::len)
}

fn provider_device(row: &ProviderDeviceRow) -> usize {
    let known_by = match &row.device.known_by {
        KnownBy::Id(id) => id.as_str(),
        KnownBy::Name(name) => name.as_str(),
    };
    let name = row.name.value().and_then(Option::as_ref);
    let first = row.first_name.as_ref();
    known_by.len()
        + optional(name.map(Serial::as_str))
        + optional(first.map(|first| first.name.as_str()))
        + optional(row.gone.value().map(String::as_str))
}

fn of_activity(row: &ActivityRow) -> usize {
    let connected = row.connected.value();
    let disconnected = row.disconnected.value();
    let texts = [
        connected.and_then(|connected| connected.session.as_deref()),
        connected.map(|connected| connected.evidence.as_str()),
        disconnected.and_then(|disconnected| disconnected.session.as_deref()),
        disconnected.map(|disconnected| disconnected.evidence.as_str()),
        disconnected.and_then(|disconnected| disconnected.reason.as_deref()),
    ];
    texts.into_iter().map(optional).sum()
}

fn of_firmware(row: &FirmwareRow) -> usize {
    let said = row.version.len() + row.target.len() + row.state.len() + row.reason.len();
    said + optional(row.via.as_deref())
}

fn edit(row: &EditRow) -> usize {
    let resolves = row
        .resolves
        .iter()
        .map(|id| size_of::<String>() + id.len() + ALLOCATION);
    row.value.text.len()
        + row.seen_remote.as_ref().map_or(0, |seen| seen.text.len())
        + row.strategy.len()
        + row.author.len()
        + optional(row.reason.as_deref())
        + resolves.sum::<usize>()
}

fn payload(payload: &Payload) -> usize {
    optional(payload.content_type.as_deref())
        + optional(payload.data.as_deref())
        + payload.bytes.as_ref().map_or(0, Vec::len)
}

fn said(said: &Said) -> usize {
    optional(said.device_name.as_deref())
}

fn log(row: &LogRow) -> usize {
    optional(row.level.as_deref())
        + optional(row.module.as_deref())
        + row.message.len()
        + optional(row.metadata.as_deref())
        + said(&row.said)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schema::arbitrary::World;

    use super::*;

    fn weight(truth: &Truth) -> usize {
        fixed(truth) + texts(truth)
    }

    #[test]
    fn nothing_weighs_nothing() {
        assert_eq!(weight(&Truth::default()), 0);
    }

    #[test]
    fn a_short_number_may_be_stored_with_many_digits() {
        assert_eq!(
            exponents(br#"{"a":1e999,"b":-2.5E-7,"c":"be2","d":"1e","e":10}"#),
            2
        );
    }

    proptest! {
        #[test]
        fn what_is_joined_weighs_no_more_than_its_parts_and_no_less_than_its_texts(
            events in proptest::collection::vec(World::wide().event(), 0..40)
        ) {
            let mut together = Truth::default();
            let mut apart = 0;
            for event in &events {
                let mut alone = Truth::default();
                // What contributes nothing weighs nothing.
                _ = alone.fold(0, event);
                _ = together.fold(0, event);
                apart += weight(&alone);
            }
            prop_assert!(weight(&together) <= apart);
            let longest = together.registry.values().map(|fact| fact.body.len()).sum::<usize>();
            prop_assert!(weight(&together) >= longest);
        }

        #[test]
        fn between_walks_the_texts_are_bounded_by_their_record(event in World::wide().event()) {
            let record = schema::encode(&event, &schema::LogId::random());
            prop_assume!(record.is_ok());
            let record = record.expect("checked");
            let mut truth = Truth::default();
            _ = truth.fold(0, &event);
            let (stay, leave) = texts_of(&event, record.key.len(), &record.value);
            prop_assert!(texts(&truth) <= stay + leave);
        }
    }
}
