//! What strangers send.

use ::ingest::fuzz::{self as door, Delivery, Proof};

use crate::Input;

/// Key, header, id and time, a line each, then the body.
pub(super) fn signatures(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (key, value, id, time) = (input.line(), input.line(), input.line(), input.line());
    door::signatures(key, value, id, time, input.rest(), n_of(bytes));
}

/// Headers, a line each.
pub(super) fn headers(bytes: &[u8]) {
    door::headers(&Input::new(bytes).headers());
}

/// The media type, then the payload.
pub(super) fn payload(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let media_type = input.text();
    let media_type = Some(media_type.as_str()).filter(|media_type| !media_type.is_empty());
    door::payload(media_type, input.rest());
}

/// Packed bytes.
pub(super) fn gzip(bytes: &[u8]) {
    door::gzip(bytes);
}

/// The proof's name, `strict` after it if meant, the headers, an empty line, the body.
pub(super) fn delivery(bytes: &[u8]) {
    door::deliver(&read(bytes), n_of(bytes));
}

/// Path and media type, a line each, then what the device sends.
pub(super) fn pipelines(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = [b"io.golioth.data.v1/.s", input.line()].concat();
    let media_type = input.line();
    let headers = [
        (&b"ce-type"[..], kind.as_slice()),
        (b"ce-source", b"d1"),
        (b"content-type", media_type),
    ];
    let delivery = Delivery {
        proof: Proof::Secret,
        strict: false,
        headers: headers.to_vec(),
        body: input.rest(),
    };
    let events = door::deliver(&delivery, n_of(bytes));
    // Whoever posts stream data of a device gets an event, whatever the device sends; if the headers can be read.
    let is_plain = kind
        .iter()
        .chain(media_type)
        .all(|byte| byte.is_ascii_graphic() && *byte != b'%' && *byte != b'"');
    if is_plain && (kind.len() == 21 || kind.get(21) == Some(&b'/')) {
        assert_eq!(events.len(), 1);
    }
}

/// The type, then the body.
pub(super) fn output_streams(bytes: &[u8]) {
    const KINDS: [&[u8]; 7] = [
        b"DEVICE_STREAM_TYPE",
        b"UPDATE_DEVICE_STATE_TYPE",
        b"DELETE_DEVICE_STATE_TYPE",
        b"DEVICE_LOG_ENTRY_TYPE",
        b"DEVICE_FIRMWARE_LOG_ENTRY_TYPE",
        b"RELEASE_UPDATED_TYPE",
        b"TEST_EVENT_TYPE",
    ];
    let mut input = Input::new(bytes);
    let kind = usize::from(input.line().first().copied().unwrap_or_default());
    let kind = KINDS[kind % KINDS.len()];
    for strict in [false, true] {
        let delivery = Delivery {
            proof: Proof::Secret,
            strict,
            headers: vec![(b"ce-type", kind), (b"ce-source", b"golioth/app/gateway/coap")],
            body: input.rest(),
        };
        let events = door::deliver(&delivery, n_of(bytes));
        assert!(events.len() <= 1);
        assert!(
            events
                .iter()
                .all(|event| event.subject.to_string().contains("/id:"))
        );
    }
}

/// A body that speaks for itself, signed in each way.
pub(super) fn platform(bytes: &[u8]) {
    for (proof, strict) in [
        (Proof::Hmac, false),
        (Proof::Timestamped, true),
        (Proof::Secret, false),
    ] {
        let delivery = Delivery {
            proof,
            strict,
            headers: Vec::new(),
            body: bytes,
        };
        door::deliver(&delivery, n_of(bytes));
    }
}

/// A structured event or a batch, signed and not.
pub(super) fn cloudevents(bytes: &[u8]) {
    for proof in [Proof::Standard, Proof::Secret] {
        let delivery = Delivery {
            proof,
            strict: false,
            headers: vec![(b"content-type", b"application/cloudevents+json")],
            body: bytes,
        };
        door::deliver(&delivery, n_of(bytes));
    }
}

/// A delivery as it stands in a corpus.
pub(super) fn read(bytes: &[u8]) -> Delivery<'_> {
    let mut input = Input::new(bytes);
    let first = input.line();
    let proof = match first.first() {
        Some(b'h') => Proof::Hmac,
        Some(b't') => Proof::Timestamped,
        Some(b'w') => Proof::Standard,
        _ => Proof::Secret,
    };
    let headers = input.headers();
    Delivery {
        proof,
        strict: first.ends_with(b"strict"),
        headers,
        body: input.rest(),
    }
}

/// A number that depends on all bytes: which bit is turned.
fn n_of(bytes: &[u8]) -> usize {
    bytes.iter().fold(bytes.len(), |n, byte| {
        n.wrapping_mul(31).wrapping_add(usize::from(*byte))
    })
}
