//! Who sends this? Headers first, which costs little; then the body.
//!
//! [`claim`] reads from the headers alone what a delivery claims, and refuses what cannot be proven whatever the
//! body. [`Claim::prove`] takes the body and is the only way to a [`Proof`].

use actix_web::http::header::HeaderMap;
use control::{CredentialEntry, IntegrationEntry, Scheme};
use schema::{CredentialId, Micros};

use crate::{
    delivery::Trust,
    error::{Doubt, Rejection},
    signature::{Malformed, NotFresh, hmac_sha256, shared_secret, standard_webhooks, timestamped_hmac},
};

/// What the headers of a delivery claim.
#[derive(Debug)]
pub(crate) enum Claim<'a> {
    /// A shared secret that is one of ours: nothing is left to be proven.
    Opened(&'a CredentialEntry),
    /// Signatures of well-formed, fresh headers, each to be tried with its credential's key.
    Signed(Vec<Candidate<'a>>),
}

/// A credential, and what the headers claim in its scheme.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    credential: &'a CredentialEntry,
    signature: Signature,
}

#[derive(Debug)]
enum Signature {
    Hmac(hmac_sha256::Claimed),
    Timestamped(timestamped_hmac::Claimed),
    Standard(standard_webhooks::Claimed),
}

/// Who sent a body, and what of the delivery that vouches for. Only [`Claim::prove`] makes one, or has made it before
/// the delivery became a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    credential: CredentialId,
    trust: Trust,
}

impl Proof {
    /// What vouched for a delivery when it was received: freshness and signature were checked then, once.
    pub(crate) fn of_letter(credential: CredentialId, scheme: &Scheme, headers: &HeaderMap) -> Self {
        let message_id = || {
            headers
                .get(MESSAGE_ID)
                .and_then(|id| id.to_str().ok())
                .map(str::to_owned)
        };
        let trust = match scheme {
            Scheme::SharedSecret { .. } => Trust::Request,
            Scheme::HmacSha256 { .. } => Trust::Body {
                message_id: None,
                timed: false,
            },
            Scheme::TimestampedHmac { .. } => Trust::Body {
                message_id: None,
                timed: true,
            },
            Scheme::StandardWebhooks { .. } => Trust::Body {
                message_id: message_id(),
                timed: true,
            },
        };
        Self { credential, trust }
    }

    /// The credential that verified it.
    pub(crate) fn credential(&self) -> CredentialId {
        self.credential
    }

    /// What may be believed.
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }
}

/// From the strongest to the weakest. The strongest way that a delivery uses decides alone: a broken signature is not
/// mended by a secret beside it.
const STRENGTHS: [Strength; 3] = [Strength::BodyAndTime, Strength::Body, Strength::Secret];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    BodyAndTime,
    Body,
    Secret,
}

fn strength(scheme: &Scheme) -> Strength {
    match scheme {
        Scheme::StandardWebhooks { .. } | Scheme::TimestampedHmac { .. } => Strength::BodyAndTime,
        Scheme::HmacSha256 { .. } => Strength::Body,
        Scheme::SharedSecret { .. } => Strength::Secret,
    }
}

/// Reads what the headers claim.
///
/// Only schemes of the integration's own credentials count. Credentials that are not live are tried too, so that the
/// reason can name them, but prove nothing.
pub(crate) fn claim<'a>(
    integration: &'a IntegrationEntry,
    headers: &HeaderMap,
    received: Micros,
) -> Result<Claim<'a>, Rejection> {
    let unverified = |doubt| Err(unverified(integration, doubt));
    if integration.credentials.is_empty() {
        return unverified(Doubt::NoCredentials);
    }
    // A header whose value was not of the form that a stronger scheme asks for may still be a weaker one's.
    let mut malformed: Option<(&str, Doubt)> = None;
    for level in STRENGTHS {
        let mut candidates = Vec::new();
        let mut refused: Option<(&str, Doubt)> = None;
        let of_level = |entry: &&CredentialEntry| strength(&entry.scheme) == level;
        for credential in integration.credentials.iter().filter(of_level) {
            let header = carrier(&credential.scheme);
            if malformed.is_some_and(|(other, _)| other != header) {
                continue;
            }
            let value = match only(headers, header) {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                Err(doubt) => return unverified(doubt),
            };
            match parse(credential, headers, value, received) {
                Ok(Parsed::Opened) if credential.is_live(received) => return Ok(Claim::Opened(credential)),
                Ok(Parsed::Opened) => refused = Some((header, lifeless(credential, received))),
                Ok(Parsed::Signed(signature)) => candidates.push(Candidate {
                    credential,
                    signature,
                }),
                Err(doubt) => {
                    refused.get_or_insert((header, doubt));
                }
            }
        }
        if !candidates.is_empty() {
            return Ok(Claim::Signed(candidates));
        }
        match refused {
            Some((header, doubt @ (Doubt::MalformedSignature | Doubt::MalformedTimestamp))) => {
                malformed.get_or_insert((header, doubt));
            }
            Some((_, doubt)) => return unverified(malformed.map_or(doubt, |(_, first)| first)),
            None => {}
        }
    }
    unverified(malformed.map_or(Doubt::MissingCredentials, |(_, doubt)| doubt))
}

impl Claim<'_> {
    /// Whether the sender is known before a byte of the body is read.
    pub(crate) fn is_proven(&self) -> bool {
        matches!(self, Self::Opened(_))
    }

    /// Proves that the body, exactly as received, is the sender's.
    pub(crate) fn prove(
        self,
        integration: &IntegrationEntry,
        body: &[u8],
        received: Micros,
    ) -> Result<Proof, Rejection> {
        let candidates = match self {
            Self::Opened(credential) => {
                return Ok(Proof {
                    credential: credential.id,
                    trust: Trust::Request,
                });
            }
            Self::Signed(candidates) => candidates,
        };
        let mut doubt = Doubt::BadSignature;
        for Candidate {
            credential,
            signature,
        } in candidates
        {
            let key = credential.key();
            let genuine = match &signature {
                Signature::Hmac(claimed) => claimed.verify(key, body),
                Signature::Timestamped(claimed) => claimed.verify(key, body),
                Signature::Standard(claimed) => claimed.verify(key, body),
            };
            if genuine && credential.is_live(received) {
                let (message_id, timed) = match signature {
                    Signature::Hmac(_) => (None, false),
                    Signature::Timestamped(_) => (None, true),
                    Signature::Standard(claimed) => (Some(claimed.id), true),
                };
                return Ok(Proof {
                    credential: credential.id,
                    trust: Trust::Body { message_id, timed },
                });
            }
            if genuine {
                doubt = lifeless(credential, received);
            }
        }
        Err(unverified(integration, doubt))
    }
}

enum Parsed {
    Opened,
    Signed(Signature),
}

/// Reads the header of one credential's scheme; its freshness is checked here, once.
fn parse(
    credential: &CredentialEntry,
    headers: &HeaderMap,
    value: &[u8],
    received: Micros,
) -> Result<Parsed, Doubt> {
    match &credential.scheme {
        Scheme::SharedSecret { prefix, .. } => shared_secret::matches(credential.key(), prefix, value)
            .then_some(Parsed::Opened)
            .ok_or(Doubt::UnknownKey),
        Scheme::HmacSha256 { prefix, encoding, .. } => {
            let claimed = hmac_sha256::Claimed::parse(value, prefix, *encoding)?;
            Ok(Parsed::Signed(Signature::Hmac(claimed)))
        }
        Scheme::TimestampedHmac { tolerance, .. } => {
            let claimed = timestamped_hmac::Claimed::parse(value)?;
            claimed.time.check(received, tolerance.seconds())?;
            Ok(Parsed::Signed(Signature::Timestamped(claimed)))
        }
        Scheme::StandardWebhooks { tolerance } => {
            let companion = |name| only(headers, name)?.ok_or(Doubt::MissingCredentials);
            let claimed =
                standard_webhooks::Claimed::parse(companion(MESSAGE_ID)?, companion(MESSAGE_TIME)?, value)?;
            claimed.time.check(received, tolerance.seconds())?;
            Ok(Parsed::Signed(Signature::Standard(claimed)))
        }
    }
}

/// The id that Standard Webhooks gives a message.
pub(crate) const MESSAGE_ID: &str = "webhook-id";
const MESSAGE_TIME: &str = "webhook-timestamp";
const MESSAGE_SIGNATURE: &str = "webhook-signature";

/// The header that a scheme's proof stands in.
pub(crate) fn carrier(scheme: &Scheme) -> &str {
    match scheme {
        Scheme::SharedSecret { header, .. }
        | Scheme::HmacSha256 { header, .. }
        | Scheme::TimestampedHmac { header, .. } => header.as_str(),
        Scheme::StandardWebhooks { .. } => MESSAGE_SIGNATURE,
    }
}

/// The one value of a header that proves something: doubled or empty it proves nothing.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h [u8]>, Doubt> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Doubt::DoubledCredentials);
    }
    if value.is_empty() {
        return Err(Doubt::EmptyCredentials);
    }
    Ok(Some(value.as_bytes()))
}

fn lifeless(credential: &CredentialEntry, received: Micros) -> Doubt {
    if credential
        .not_before
        .is_some_and(|not_before| received < not_before)
    {
        Doubt::PrematureCredential
    } else {
        Doubt::ExpiredCredential
    }
}

/// With credentials that cannot be unsealed, what none of the others verifies is not proven wrong.
fn unverified(integration: &IntegrationEntry, doubt: Doubt) -> Rejection {
    if integration.n_unreadable > 0 {
        Rejection::RegistryUnavailable
    } else {
        Rejection::Unauthorized(doubt)
    }
}

impl From<Malformed> for Doubt {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Signature => Self::MalformedSignature,
            Malformed::Timestamp => Self::MalformedTimestamp,
            Malformed::MessageId => Self::MalformedMessageId,
        }
    }
}

impl From<NotFresh> for Doubt {
    fn from(not_fresh: NotFresh) -> Self {
        match not_fresh {
            NotFresh::Stale => Self::Stale,
            NotFresh::Future => Self::Future,
        }
    }
}

#[cfg(test)]
mod tests;
