//! What fuzzing may ask of the door: each function takes what a stranger can send, and checks what must hold of it.
//!
//! Nothing here listens, waits or knows of a log. A property that does not hold is a panic, which is what fuzzers look
//! for.
#![expect(
    clippy::missing_panics_doc,
    reason = "a property that does not hold is a panic"
)]

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use control::{CredentialEntry, Encoding, IntegrationEntry, Parameters, Scheme, SchemeKind};
use hmac::{Hmac, KeyInit, Mac};
use schema::{CredentialId, Event, IntegrationId, LogId, Micros, OrganizationId};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    authenticate::claim,
    delivery::Verified,
    envelope::{self, CloudEvent, Envelope},
    error::{Doubt, Rejection},
    normalize::{Normalized, normalize},
    payload::{Object, Payload, Readings, instant, is_gzip, parts, unpack},
    signature::{MOST_SIGNATURES, hmac_sha256, shared_secret, standard_webhooks, timestamped_hmac},
};

/// Longest unpacked body.
const LIMIT: usize = 262_144;

/// The receipt of everything.
const RECEIVED: i64 = 1_780_272_000_000_000;

const SECRET: &str = "It's a Secret to Everybody";

fn received() -> Micros {
    Micros::from_micros(RECEIVED).expect("it lies in 2026")
}

fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The same bytes with one bit turned; `None` where there is none.
fn flipped(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let bit = at.checked_rem(bytes.len() * 8)?;
    let mut other = bytes.to_vec();
    let byte = other.get_mut(bit / 8)?;
    *byte ^= 1 << (bit % 8);
    Some(other)
}

/// Header values of every scheme, with `@` where the right signature of the body goes.
///
/// What opens has the right signature among those that count; with one bit turned in body, key or what is signed beside
/// them, it does not open.
pub fn signatures(key: &[u8], value: &[u8], id: &[u8], time: &[u8], body: &[u8], flip: usize) {
    let right = |encoded: String| -> Vec<u8> {
        let mut parts = value.splitn(2, |byte| *byte == b'@');
        let mut with = parts.next().unwrap_or_default().to_vec();
        if let Some(rest) = parts.next() {
            with.extend_from_slice(encoded.as_bytes());
            with.extend_from_slice(rest);
        }
        with
    };
    let base64 = |tag: [u8; 32]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    let (other_body, other_key) = (flipped(body, flip), flipped(key, flip));
    let bodies = |check: &dyn Fn(&[u8])| other_body.iter().for_each(|body| check(body));
    // A key is padded with zeros, so one that grew by zeros is the same; turning a bit is never that.
    let keys = |check: &dyn Fn(&[u8])| other_key.iter().for_each(|key| check(key));

    for (prefix, encoding, encoded) in [
        ("", Encoding::Hex, hex::encode(tag(key, &[body]))),
        ("sha256=", Encoding::Base64, base64(tag(key, &[body]))),
    ] {
        let value = right(encoded);
        let parsed = hmac_sha256::Claimed::parse(&value, prefix, encoding);
        assert_eq!(parsed, hmac_sha256::Claimed::parse(&value, prefix, encoding));
        if let Ok(claimed) = parsed.as_ref()
            && claimed.verify(key, body)
        {
            bodies(&|other| assert!(!claimed.verify(key, other), "another body"));
            keys(&|other| assert!(!claimed.verify(other, body), "another key"));
        }
    }

    let value_of = right(hex::encode(tag(key, &[time, b".", body])));
    if let Ok(claimed) = timestamped_hmac::Claimed::parse(&value_of) {
        if claimed.verify(key, body) {
            assert!(
                value_of.windows(time.len().max(1)).any(|part| part == time),
                "a time that is not there"
            );
            bodies(&|other| assert!(!claimed.verify(key, other), "another body"));
            keys(&|other| assert!(!claimed.verify(other, body), "another key"));
        }
        let fresh = claimed.time.check(received(), 300);
        assert_eq!(fresh, claimed.time.check(received(), 300));
        assert!(fresh.is_err() || claimed.time.check(received(), 3600).is_ok());
    }

    let value_of = right(format!("v1,{}", base64(tag(key, &[id, b".", time, b".", body]))));
    if let Ok(claimed) = standard_webhooks::Claimed::parse(id, time, &value_of) {
        assert!(!id.contains(&b'.') && claimed.id.as_bytes() == id);
        if claimed.verify(key, body) {
            bodies(&|other| assert!(!claimed.verify(key, other), "another body"));
            keys(&|other| assert!(!claimed.verify(other, body), "another key"));
            for (other_id, other_time) in [(flipped(id, flip), None), (None, flipped(time, flip))] {
                let id = other_id.as_deref().unwrap_or(id);
                let time = other_time.as_deref().unwrap_or(time);
                let other = standard_webhooks::Claimed::parse(id, time, &value_of);
                let same = other == Ok(claimed.clone());
                assert!(
                    same || !other.is_ok_and(|other| other.verify(key, body)),
                    "another id or time"
                );
            }
            let right = base64(tag(key, &[id, b".", time, b".", body]));
            let considered = value_of
                .split(|byte| *byte == b' ')
                .filter_map(|part| part.strip_prefix(b"v1,"))
                .take(MOST_SIGNATURES);
            assert!(
                considered.into_iter().any(|part| part == right.as_bytes()),
                "behind as many as are considered"
            );
        }
    }

    if shared_secret::matches(key, "Bearer ", value) {
        assert!(!key.is_empty() && value.strip_prefix(b"Bearer ") == Some(key));
    }
}

/// Headers that are believed: read alike each time, and what is read is no longer than what was sent.
pub fn headers(pairs: &[(&[u8], &[u8])]) {
    let headers = header_map(pairs);
    let hearsay = envelope::hearsay(&headers);
    match Envelope::from_headers(&headers) {
        Ok(envelope) => {
            assert_eq!(Ok(&envelope), Envelope::from_headers(&headers).as_ref());
            let heard = hearsay.expect("what can be believed can be heard");
            assert_eq!(
                heard,
                [
                    envelope.source.clone(),
                    envelope.subject.clone(),
                    envelope.kind.clone()
                ]
            );
            assert!(envelope.extensions.len() <= headers.len());
            let sent: usize = pairs.iter().map(|(_, value)| value.len()).sum();
            // Escapes of JSON write one byte as six.
            let kept: usize = envelope.kept("").0.values().map(|value| value.get().len()).sum();
            assert!(kept <= sent * 6 + 2 * pairs.len(), "{kept} of {sent}");
        }
        Err(rejection) => assert_eq!(rejection.reason(), "malformed_envelope"),
    }
}

fn header_map(pairs: &[(&[u8], &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A payload under a media type: bytes survive, and readings are as many as there are parts.
pub fn payload(media_type: Option<&str>, bytes: &[u8]) {
    let decode = || Payload::decode(media_type, bytes.into());
    let decoded = decode();
    assert_eq!(decoded, decode());
    match &decoded {
        Payload::Bytes(kept) => assert_eq!(&**kept, bytes),
        Payload::Json(text) => {
            let is_own_text = text.as_bytes() == bytes;
            assert!(is_own_text || serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
            // Each level of keys within keys quotes the one within, and there are four.
            assert!(
                text.len() <= bytes.len() * 256 + 64,
                "{} of {}",
                text.len(),
                bytes.len()
            );
        }
    }
    for time_field in [None, Some("ts")] {
        let read = Readings::read(decode(), time_field, received());
        assert!(!read.all.is_empty());
        let expected = match &decoded {
            Payload::Json(text) => parts(text).map_or(1, |parts| parts.len()),
            Payload::Bytes(_) => 1,
        };
        assert_eq!(read.all.len(), expected);
        for reading in &read.all {
            assert!(reading.data.is_some() != reading.data_base64.is_some());
            let held = (reading.at, reading.claimed_at);
            assert!(held.0.is_none() || held.1.is_none());
            assert!(
                reading
                    .at
                    .is_none_or(|at| at <= received().plus(schema::BELIEVED_AHEAD))
            );
        }
        if let [reading] = read.all.as_slice() {
            match (&reading.data, &reading.data_base64, &decoded) {
                (Some(data), None, Payload::Json(text)) => assert!(text.contains(data.get())),
                (None, Some(kept), Payload::Json(text)) => assert_eq!(kept.0, text.as_bytes()),
                (None, Some(kept), Payload::Bytes(_)) => assert_eq!(kept.0, bytes),
                _ => panic!("bytes became JSON"),
            }
        }
    }
    if let Some(text) = Payload::recognize(bytes)
        && let Some(object) = Object::parse(&text)
    {
        // Members are neither lost nor made up.
        let whole = object.without(|_, _| false);
        let n_members = object.members().count();
        let again = whole.as_deref().and_then(Object::parse);
        assert_eq!(again.map_or(0, |again| again.members().count()), n_members);
        for (name, value) in object.members() {
            if let Some(at) = instant(value) {
                let text = at.to_string();
                assert_eq!(text.parse().ok(), Some(at), "{text}");
            }
            assert!(object.position(name).is_some());
        }
        if envelope::looks_structured(&object) {
            match CloudEvent::read(&object) {
                Ok(event) => {
                    assert!(event.envelope.source.is_some() && event.envelope.kind.is_some());
                    assert!(event.envelope.extensions.len() <= n_members);
                }
                Err(member) => assert!(!member.is_empty()),
            }
        }
    }
}

/// Packed bytes: what comes out is bounded, and what goes in comes out.
pub fn gzip(bytes: &[u8]) {
    for limit in [0, 1000, LIMIT] {
        let unpacked = unpack(bytes, limit);
        assert_eq!(unpacked, unpack(bytes, limit));
        assert!(unpacked.is_ok_and(|unpacked| unpacked.len() <= limit) || unpack(bytes, limit).is_err());
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory takes bytes");
    let packed = encoder.finish().expect("memory takes bytes");
    assert!(is_gzip(&packed));
    assert_eq!(unpack(&packed, bytes.len()).as_deref(), Ok(bytes));
}

/// How a delivery is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A static header: headers are believed.
    Secret,
    /// A signature over the body.
    Hmac,
    /// A signature over body and time.
    Timestamped,
    /// A signature over body, time and id.
    Standard,
}

/// A delivery that a stranger with a credential sends.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// How it is proven.
    pub proof: Proof,
    /// Whether the integration is bound to the project `p`, and reads times of elements from `ts`.
    pub strict: bool,
    /// Its other headers.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    /// Its body.
    pub body: &'a [u8],
}

/// Takes a delivery through verification and all dialects, and gives the events that it makes.
pub fn deliver(delivery: &Delivery<'_>, flip: usize) -> Vec<Event> {
    let integration = integration(delivery);
    let headers = proven(delivery);
    let through = |body: Bytes| -> Result<Normalized, Rejection> {
        let claim = claim(&integration, &headers, received())?;
        let verified = Verified::verify(&integration, claim, &headers, body, received())?;
        normalize(&verified, LIMIT)
    };
    let body = Bytes::copy_from_slice(delivery.body);
    if delivery.proof != Proof::Secret
        && let Some(other) = flipped(delivery.body, flip)
    {
        let refused = through(other.into()).expect_err("another body is not believed");
        let doubts = [Doubt::BadSignature, Doubt::DoubledCredentials];
        assert!(
            doubts.iter().any(|doubt| refused == Rejection::from(*doubt)),
            "{refused:?}"
        );
    }
    let (normalized, again) = match (through(body.clone()), through(body)) {
        (Ok(normalized), Ok(again)) => (normalized, again),
        (Err(refused), Err(again)) => {
            assert_eq!(refused, again);
            return Vec::new();
        }
        (one, other) => panic!("{one:?} and then {other:?}"),
    };
    check(delivery, &normalized, &again);
    normalized.events
}

fn check(delivery: &Delivery<'_>, normalized: &Normalized, again: &Normalized) {
    assert_eq!(normalized.events.len(), again.events.len());
    assert_eq!(normalized.letters.len(), again.letters.len());
    assert!(
        !normalized.events.is_empty() || !normalized.letters.is_empty(),
        "it vanished"
    );
    for (letter, again) in normalized.letters.iter().zip(&again.letters) {
        assert_eq!(
            (&letter.reason, &letter.detail, &letter.body),
            (&again.reason, &again.detail, &again.body)
        );
        assert!(
            letter.detail.contains("; ") && letter.detail.len() < 1000,
            "{}",
            letter.detail
        );
        // A letter is all of it, unless the rest became events or letters of their own.
        let is_part = normalized.events.len() + normalized.letters.len() > 1 || normalized.dialect.is_some();
        assert!(is_part || letter.body == delivery.body);
        let leaked = letter.headers.iter().any(|(_, value)| value.contains(SECRET));
        assert!(
            !leaked
                || delivery
                    .headers
                    .iter()
                    .any(|(_, value)| value.windows(5).any(|part| part == b"It's "))
        );
    }
    let log = LogId::new("00000000").expect("eight digits name a log");
    let mut written = 0;
    for (event, copy) in normalized.events.iter().zip(&again.events) {
        let is_random = !event.receipt_timed && event.at == event.recorded_at && event.id != copy.id;
        assert!(
            event.id == copy.id || is_random,
            "a copy has another id: {event:?}"
        );
        assert_eq!(
            (&event.subject, event.at, &event.body),
            (&copy.subject, copy.at, &copy.body)
        );
        assert_eq!(event.recorded_at, received());
        assert_eq!(event.origin, schema::Origin::Push);
        assert!(
            event.at <= received().plus(schema::BELIEVED_AHEAD),
            "believed too far ahead"
        );
        assert!(schema::Body::NAMES.contains(&event.body.name()));
        let Ok(record) = schema::encode(event, &log) else {
            continue;
        };
        written += record.value.len();
        let pairs = record.headers.iter();
        let pairs = pairs.map(|(name, value)| (&**name, Some(value.as_bytes())));
        let decoded = schema::decode(pairs, &record.value).expect("what is written can be read");
        assert_eq!(decoded, (log.clone(), event.clone()));
    }
    let unpacked = delivery.body.len().max(normalized.n_bytes_unpacked);
    let sent: usize = unpacked
        + delivery
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
    assert!(written <= sent * 256 + 300_000, "{written} bytes of {sent}");
    assert!(normalized.events.len() <= sent + 1);
}

fn integration(delivery: &Delivery<'_>) -> IntegrationEntry {
    let kind = match delivery.proof {
        Proof::Secret => SchemeKind::SharedSecret,
        Proof::Hmac => SchemeKind::HmacSha256,
        Proof::Timestamped => SchemeKind::TimestampedHmac,
        Proof::Standard => SchemeKind::StandardWebhooks,
    };
    let secret = if delivery.proof == Proof::Standard {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    } else {
        SECRET
    };
    let scheme = Scheme::new(kind, Parameters::default()).expect("the usual parameters suit");
    let key = scheme.key(&secret.into()).expect("the secret suits");
    let id = IntegrationId(Uuid::from_u128(0x1a));
    let mut integration = IntegrationEntry::new(id, OrganizationId(Uuid::from_u128(0x0a)));
    integration.credentials = vec![CredentialEntry::new(
        CredentialId(Uuid::from_u128(1)),
        scheme,
        key,
    )];
    if delivery.strict {
        integration.project = Some("p".to_owned());
        integration.reading_time_field = Some("ts".to_owned());
    }
    integration
}

/// The headers with the right proof.
fn proven(delivery: &Delivery<'_>) -> HeaderMap {
    let mut headers = header_map(&delivery.headers);
    let seconds = (RECEIVED / 1_000_000).to_string();
    let key = SECRET.as_bytes();
    let (name, value) = match delivery.proof {
        Proof::Secret => ("x-api-key", SECRET.to_owned()),
        Proof::Hmac => ("x-golioth-signature", hex::encode(tag(key, &[delivery.body]))),
        Proof::Timestamped => {
            let tag = tag(key, &[seconds.as_bytes(), b".", delivery.body]);
            (
                "x-fleetlog-signature",
                format!("t={seconds},v1={}", hex::encode(tag)),
            )
        }
        Proof::Standard => {
            let engine = &base64::engine::general_purpose::STANDARD;
            let key = base64::Engine::decode(engine, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
            let tag = tag(&key, &[b"msg_1.", seconds.as_bytes(), b".", delivery.body]);
            for (name, value) in [("webhook-id", "msg_1"), ("webhook-timestamp", &seconds)] {
                let value = HeaderValue::from_str(value).expect("plain text");
                headers.insert(HeaderName::from_static(name), value);
            }
            (
                "webhook-signature",
                format!("v1,{}", base64::Engine::encode(engine, tag)),
            )
        }
    };
    let value = HeaderValue::from_str(&value).expect("plain text");
    headers.insert(HeaderName::from_static(name), value);
    headers
}
