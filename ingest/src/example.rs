//! Deliveries for tests, proven as real ones are.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use control::{CredentialEntry, IntegrationEntry, Parameters, Scheme, SchemeKind};
use hmac::{Hmac, KeyInit, Mac};
use schema::{CredentialId, IntegrationId, Micros, OrganizationId};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    authenticate::claim,
    delivery::Verified,
    error::Rejection,
    normalize::{Normalized, normalize},
};

/// Longest unpacked body in tests.
pub(crate) const LIMIT: usize = 262_144;

/// The secret of shared-secret and HMAC credentials.
pub(crate) const SECRET: &str = "It's a Secret to Everybody";

/// The receipt of every delivery that does not say otherwise.
pub(crate) fn received() -> Micros {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// A credential of a scheme with the usual parameters.
pub(crate) fn credential(n: u128, kind: SchemeKind, secret: &str) -> CredentialEntry {
    let scheme = Scheme::new(kind, Parameters::default()).unwrap();
    let key = scheme.key(&secret.to_owned().into()).unwrap();
    CredentialEntry::new(CredentialId(Uuid::from_u128(n)), scheme, key)
}

/// An integration with these credentials.
pub(crate) fn integration(credentials: Vec<CredentialEntry>) -> IntegrationEntry {
    let id = IntegrationId(Uuid::from_u128(0x1a));
    let mut integration = IntegrationEntry::new(id, OrganizationId(Uuid::from_u128(0x0a)));
    integration.credentials = credentials;
    integration
}

/// A delivery as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) integration: IntegrationEntry,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) received: Micros,
}

impl Sent {
    fn new(kind: SchemeKind, body: impl AsRef<[u8]>) -> Self {
        Self {
            integration: integration(vec![credential(1, kind, SECRET)]),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_ref()),
            received: received(),
        }
    }

    /// A delivery with a shared secret in `x-api-key`.
    pub(crate) fn with_secret(body: impl AsRef<[u8]>) -> Self {
        Self::new(SchemeKind::SharedSecret, body).header("x-api-key", SECRET)
    }

    /// A delivery from Golioth Pipelines.
    pub(crate) fn from_golioth(path: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with_secret(body)
            .header("ce-source", "d1")
            .header("ce-subject", "my-project")
            .header("ce-type", &format!("io.golioth.data.v1/.s{path}"))
    }

    /// A delivery whose body is signed, and nothing else.
    pub(crate) fn signed(body: impl AsRef<[u8]>) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body.as_ref());
        let tag = hex::encode(mac.finalize().into_bytes());
        Self::new(SchemeKind::HmacSha256, body).header("x-golioth-signature", &tag)
    }

    /// A delivery in Stripe's form, signed at its receipt.
    pub(crate) fn timestamped(body: impl AsRef<[u8]>) -> Self {
        let seconds = received().as_micros() / 1_000_000;
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(body.as_ref());
        let tag = hex::encode(mac.finalize().into_bytes());
        Self::new(SchemeKind::TimestampedHmac, body)
            .header("x-fleetlog-signature", &format!("t={seconds},v1={tag}"))
    }

    /// The same with one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// The same, received at another time.
    pub(crate) fn received(mut self, at: &str) -> Self {
        self.received = at.parse().unwrap();
        self
    }

    /// The same for an integration that is set up otherwise.
    pub(crate) fn to(mut self, change: impl FnOnce(&mut IntegrationEntry)) -> Self {
        change(&mut self.integration);
        self
    }

    /// Takes it through the door.
    pub(crate) fn normalized(&self) -> Result<Normalized, Rejection> {
        let claim = claim(&self.integration, &self.headers, self.received)?;
        let verified = Verified::verify(
            &self.integration,
            claim,
            &self.headers,
            self.body.clone(),
            self.received,
        )?;
        normalize(&verified, LIMIT)
    }

    /// The precise reason of its refusal.
    pub(crate) fn refusal(&self) -> &'static str {
        self.normalized()
            .map_or_else(|rejection| rejection.reason(), |_| "accepted")
    }

    /// The one event that it makes.
    pub(crate) fn event(&self) -> schema::Event {
        let normalized = self.normalized().unwrap();
        assert!(normalized.letters.is_empty(), "{:?}", normalized.letters);
        let [event] = <[_; 1]>::try_from(normalized.events).unwrap();
        event
    }

    /// The one dead letter that it makes.
    pub(crate) fn letter(&self) -> schema::DeadLetter {
        let normalized = self.normalized().unwrap();
        assert_eq!(normalized.events, []);
        let [letter] = <[_; 1]>::try_from(normalized.letters).unwrap();
        letter
    }
}
