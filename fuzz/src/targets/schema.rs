//! What lies in logs and payloads.

use ::schema::{
    Claimant, DeviceId, EventId, ExternalId, LogId, MAX_STORED_STRING_BYTES, MaxRegister, Micros, OrderKey,
    OrganizationId, ProviderDevice, RawJson, Serial, believe, decode, encode, storable, storable_text,
};
use serde_json::Value;

use crate::Input;

/// A record's headers, an empty line, its value.
pub(super) fn wire(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let headers = input.headers();
    let names: Vec<_> = headers
        .iter()
        .map(|(name, _)| String::from_utf8_lossy(name))
        .collect();
    let pairs = || {
        names
            .iter()
            .zip(&headers)
            .map(|(name, (_, value))| (&**name, Some(*value)))
    };
    let (log, event) = match (decode(pairs(), input.rest()), decode(pairs(), input.rest())) {
        (Ok(event), Ok(again)) => {
            assert_eq!(event, again);
            event
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            return;
        }
        (one, other) => panic!("{one:?} and then {other:?}"),
    };
    let record = encode(&event, &log).expect("what was read can be written");
    let pairs = record
        .headers
        .iter()
        .map(|(name, value)| (&**name, Some(value.as_bytes())));
    let (other_log, other) = decode(pairs, &record.value).expect("what was written can be read");
    // What CloudEvents forbids in attributes is replaced, once and for all.
    let is_replaced = record.headers.iter().any(|(_, value)| value.contains('\u{fffd}'));
    assert!(
        is_replaced || (&other_log, &other) == (&log, &event),
        "{event:?} and then {other:?}"
    );
    let again = encode(&other, &other_log).expect("what was read can be written");
    assert_eq!(again, record, "writing is a fixed point");
}

/// A JSON text.
pub(super) fn json(bytes: &[u8]) {
    let Ok(raw) = RawJson::from_slice(bytes) else {
        return;
    };
    let canonical = raw.canonical();
    let again = RawJson::parse(&canonical).expect("a canonical form is JSON");
    assert_eq!(
        again.canonical(),
        canonical,
        "the canonical form is a fixed point"
    );
    assert_eq!(
        (again.content_hash(), again.value_id()),
        (raw.content_hash(), raw.value_id())
    );
    assert_eq!(again, raw);
    // Exponents gain a sign, escapes become what they stand for.
    assert!(
        canonical.len() <= bytes.len() * 6 + 16,
        "{} of {}",
        canonical.len(),
        bytes.len()
    );

    let Ok(value) = raw.value() else {
        return;
    };
    let stored = storable(value);
    assert_eq!(
        storable(stored.clone()),
        stored,
        "what is stored is stored again as it is"
    );
    let text = stored.to_string();
    // What comes back from the database is the same.
    let read = RawJson::parse(&text).expect("a value prints as JSON");
    let read = read.value().expect("what is stored is not nested too deep");
    assert_eq!(storable(read), stored);
    check_stored(&stored, 0);
}

fn check_stored(value: &Value, depth: usize) {
    assert!(depth < 110);
    let check_text = |text: &str| {
        assert!(!text.contains('\0') && text.len() <= MAX_STORED_STRING_BYTES);
        assert_eq!(storable_text(text), text);
    };
    match value {
        Value::String(text) => check_text(text),
        Value::Array(values) => values.iter().for_each(|value| check_stored(value, depth + 1)),
        Value::Object(members) => {
            for (name, value) in members {
                check_text(name);
                check_stored(value, depth + 1);
            }
        }
        Value::Number(number) => assert!(number.to_string().len() <= 1_100),
        Value::Null | Value::Bool(_) => {}
    }
}

/// A text that may be an id, an instant, or a device; then two numbers.
pub(super) fn identity(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let text = input.text();
    if let Ok(serial) = Serial::new(&text) {
        assert_eq!(
            Serial::new(serial.as_str()).as_ref(),
            Ok(&serial),
            "a serial is canonical once read"
        );
        let organization = OrganizationId(uuid::Uuid::nil());
        assert_eq!(
            DeviceId::of_serial(organization, &serial),
            DeviceId::of_serial(organization, &serial)
        );
        let integration = ::schema::IntegrationId(uuid::Uuid::from_u128(7));
        for device in [
            Some(ProviderDevice::by_name(integration, serial)),
            ExternalId::new(&text)
                .ok()
                .map(|id| ProviderDevice::by_id(integration, id)),
        ]
        .into_iter()
        .flatten()
        {
            let written = device.to_string();
            assert_eq!(
                written.parse::<ProviderDevice>().ok().as_ref(),
                Some(&device),
                "{written}"
            );
        }
    }
    if let Ok(id) = LogId::new(&text) {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(device) = text.parse::<ProviderDevice>() {
        assert_eq!(device.to_string().parse::<ProviderDevice>().ok(), Some(device));
    }
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string().parse::<EventId>().ok(), Some(id));
    }
    let mut instants = Vec::new();
    if let Ok(at) = text.parse::<Micros>() {
        assert_eq!(at.to_string().parse::<Micros>().ok(), Some(at));
        instants.push(at);
    }
    for line in [input.line(), input.line()] {
        let number = String::from_utf8_lossy(line).parse::<i64>().unwrap_or_default();
        instants.extend(Micros::from_micros(number));
    }
    let received = Micros::from_micros(1_780_272_000_000_000).expect("it lies in 2026");
    for at in &instants {
        for claimant in [Claimant::Device, Claimant::Provider] {
            let timing = believe(Some(*at), claimant, received);
            assert!(timing.at <= received.plus(::schema::BELIEVED_AHEAD));
            assert_eq!(timing.disbelieved.is_some(), timing.at != *at);
        }
    }
    order(&instants);
}

/// The greatest key wins, whoever comes first and however often.
fn order(instants: &[Micros]) {
    let key = |(n, at): (usize, &Micros)| OrderKey {
        at: *at,
        sequence: i64::try_from(n % 2).unwrap_or_default(),
        id: EventId(uuid::Uuid::from_u128(n as u128)),
    };
    let keys: Vec<_> = instants.iter().enumerate().map(key).collect();
    let joined = |keys: &mut dyn Iterator<Item = &OrderKey>| {
        let mut register = MaxRegister::default();
        for key in keys {
            register.join(*key, key.id);
            register.join(*key, key.id);
        }
        register.into_held()
    };
    let forwards = joined(&mut keys.iter());
    assert_eq!(forwards, joined(&mut keys.iter().rev()));
    assert_eq!(forwards.map(|(key, _)| key), keys.iter().max().copied());
}
