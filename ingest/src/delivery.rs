//! A delivery whose sender is proven, and what of it may be believed.

use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use control::{IntegrationEntry, Scheme};
use schema::{CredentialId, DeadLetter, Micros};

use crate::{
    authenticate::{Claim, Proof},
    error::Rejection,
};

/// What of a delivery a proof vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The whole request: the sender knows the secret, and TLS carries headers and body.
    Request,
    /// The body, and what was signed beside it. Headers are hearsay.
    Body {
        /// The message id, where the scheme signs one.
        message_id: Option<String>,
        /// Whether a time was signed, so that the delivery cannot be replayed for ever.
        timed: bool,
    },
}

/// A delivery whose sender is proven.
///
/// The fields are private and [`verify`](Self::verify) and [`of_letter`](Self::of_letter), for what was verified before,
/// are the only constructors, so holding one *is* the proof. What makes events of deliveries never sees another.
#[derive(Debug)]
pub(crate) struct Verified<'r> {
    integration: &'r IntegrationEntry,
    proof: Proof,
    headers: &'r HeaderMap,
    body: Bytes,
    received: Micros,
    /// Which event of a batch it is, if it was kept apart from the others.
    part: Option<u32>,
}

impl<'r> Verified<'r> {
    /// Proves the claim with the body, exactly as it was received at the door.
    pub(crate) fn verify(
        integration: &'r IntegrationEntry,
        claim: Claim<'_>,
        headers: &'r HeaderMap,
        body: Bytes,
        received: Micros,
    ) -> Result<Self, Rejection> {
        let proof = claim.prove(integration, &body, received)?;
        Ok(Self {
            integration,
            proof,
            headers,
            body,
            received,
            part: None,
        })
    }

    /// A delivery that was verified when it was received, and kept since then: only a door writes dead letters. `scheme`
    /// is that of the credential that verified it, which need not be live any more.
    pub(crate) fn of_letter(
        integration: &'r IntegrationEntry,
        letter: &DeadLetter,
        (credential, scheme): (CredentialId, &Scheme),
        headers: &'r HeaderMap,
    ) -> Self {
        Self {
            integration,
            proof: Proof::of_letter(credential, scheme, headers),
            headers,
            body: Bytes::copy_from_slice(&letter.body),
            received: letter.received_at,
            part: letter.part,
        }
    }

    /// Who sent it.
    pub(crate) fn integration(&self) -> &'r IntegrationEntry {
        self.integration
    }

    /// The credential that verified it.
    pub(crate) fn credential(&self) -> CredentialId {
        self.proof.credential()
    }

    /// What may be believed.
    pub(crate) fn trust(&self) -> &Trust {
        self.proof.trust()
    }

    /// The headers of the request; what they say is hearsay under [`Trust::Body`].
    pub(crate) fn headers(&self) -> &'r HeaderMap {
        self.headers
    }

    /// The body as it came over the wire.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Which event of a batch it is, if it was kept apart from the others.
    pub(crate) fn part(&self) -> Option<u32> {
        self.part
    }

    /// When it was received.
    pub(crate) fn received(&self) -> Micros {
        self.received
    }
}
