//! Why a delivery is refused: what happened, whose fault it is, and whether sending it again can help.

use std::{borrow::Cow, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde::Serialize;
use strum::IntoStaticStr;

/// The media type of RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

/// How long a sender should wait before it tries again after an outage or while we are busy.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// A delivery, or other request, that is refused.
///
/// `4xx` means that sending it again cannot help, `5xx` means: send it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// It does not prove who sent it, or not all of what it says.
    #[error("{0}")]
    Unauthorized(#[from] Doubt),
    /// Authentic, but a header of the envelope is not there or holds what it cannot.
    #[error("header {header} {problem}")]
    MalformedEnvelope {
        /// The header's name.
        header: Cow<'static, str>,
        /// What is wrong with it, as the end of a sentence.
        problem: &'static str,
    },
    /// It names another project than the integration is bound to.
    #[error("the delivery names a project that this integration is not bound to")]
    OtherProject,
    /// It names no project, and the integration is bound to one.
    #[error("the delivery names no project, and this integration is bound to one")]
    NoProject,
    /// The body is longer than the limit, as declared or as received.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The longest body that passes, in bytes.
        limit: usize,
    },
    /// The body is longer than the limit once it is unpacked.
    #[error("the unpacked body is longer than {limit} bytes")]
    UnpackedTooLarge {
        /// The longest body that passes, in bytes.
        limit: usize,
    },
    /// A content encoding other than identity and gzip.
    #[error("the content encoding is neither identity nor gzip")]
    UnsupportedEncoding,
    /// The body did not arrive within its deadline.
    #[error("the body did not arrive within {} s", .within.as_secs_f64())]
    BodyTimeout {
        /// The deadline.
        within: Duration,
    },
    /// The connection ended, or broke its framing, within the body.
    #[error("the body ended before it was complete")]
    BodyIncomplete,
    /// More deliveries a second than the integration's ceiling allows.
    #[error("more deliveries per second than this integration may send")]
    CeilingReached {
        /// When the next one may pass.
        retry_after: Duration,
    },
    /// There are as many bytes in flight as there may be.
    #[error("too many deliveries are in flight")]
    Busy,
    /// It cannot be told whether the integration exists, or whether the credential is right.
    #[error("the integration cannot be looked up")]
    RegistryUnavailable,
    /// The log could not be reached in time. The delivery may or may not be in it.
    #[error("the event log is unavailable")]
    LogUnavailable,
    /// The route takes other methods.
    #[error("this route takes POST and OPTIONS")]
    MethodNotAllowed,
    /// There is no such route.
    #[error("there is nothing here")]
    NotFound,
    /// A webhook handshake names an origin that is no DNS name.
    #[error("header WebHook-Request-Origin is not a DNS name")]
    MalformedOrigin,
}

/// Why a delivery is not believed. Senders are told none of this; metrics and logs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, thiserror::Error)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Doubt {
    /// No such integration, or none named.
    #[error("there is no such integration")]
    UnknownIntegration,
    /// Path, header and query name different integrations.
    #[error("path, header and query name different integrations")]
    ConflictingIntegration,
    /// The integration has no credential.
    #[error("the integration has no credential")]
    NoCredentials,
    /// No header that any credential of the integration asks for, or not all of them.
    #[error("the delivery carries no proof of its sender")]
    MissingCredentials,
    /// A header that should hold a proof is empty.
    #[error("a header that proves the sender is empty")]
    EmptyCredentials,
    /// A header that should hold a proof is there twice.
    #[error("a header that proves the sender is there twice")]
    DoubledCredentials,
    /// The signature is not of the right form or length.
    #[error("the signature is malformed")]
    MalformedSignature,
    /// The signed time is missing, doubled or not 1 to 11 digits.
    #[error("the signed time is malformed")]
    MalformedTimestamp,
    /// The message id is empty, not printable ASCII, or has a dot in it.
    #[error("the message id is malformed")]
    MalformedMessageId,
    /// The signature belongs to another body or key.
    #[error("no signature matches")]
    BadSignature,
    /// The shared secret is not one of ours.
    #[error("the secret is unknown")]
    UnknownKey,
    /// It was signed too long ago.
    #[error("the signed time is too far in the past")]
    Stale,
    /// It was signed in the future.
    #[error("the signed time is too far in the future")]
    Future,
    /// The proof is right, but its credential has expired.
    #[error("the credential has expired")]
    ExpiredCredential,
    /// The proof is right, but its credential is not valid before a later time.
    #[error("the credential is not valid before a later time")]
    PrematureCredential,
    /// Under a body signature, an unsigned header says what the signed bytes do not.
    #[error("an unsigned header says what the signed body does not")]
    UnsignedEnvelope,
    /// The integration refuses what could be replayed for ever.
    #[error("neither a time nor an id is signed, and the integration refuses that")]
    ReplayableRefused,
}

impl Rejection {
    /// The precise reason, for metrics and logs: stable, low in cardinality.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthorized(doubt) => doubt.into(),
            Self::MalformedEnvelope { .. } => "malformed_envelope",
            Self::OtherProject => "other_project",
            Self::NoProject => "no_project",
            Self::TooLarge { .. } => "too_large",
            Self::UnpackedTooLarge { .. } => "unpacked_too_large",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::BodyTimeout { .. } => "body_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::CeilingReached { .. } => "ceiling_reached",
            Self::Busy => "busy",
            Self::RegistryUnavailable => "registry_unavailable",
            Self::LogUnavailable => "log_unavailable",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotFound => "not_found",
            Self::MalformedOrigin => "malformed_origin",
        }
    }

    /// The reason that the sender is told: whoever is not believed learns nothing.
    fn public_reason(&self) -> &'static str {
        if let Self::Unauthorized(_) = self {
            "unauthorized"
        } else {
            self.reason()
        }
    }

    /// What the sender is told in words.
    fn detail(&self) -> String {
        if let Self::Unauthorized(_) = self {
            return "The delivery does not prove that it comes from this integration.".to_owned();
        }
        let sentence = self.to_string();
        let mut letters = sentence.chars();
        let first = letters.next().map(char::to_uppercase);
        first.into_iter().flatten().chain(letters).chain(['.']).collect()
    }

    /// How long the sender should wait, where waiting can help.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CeilingReached { retry_after } => Some(*retry_after),
            Self::Busy | Self::RegistryUnavailable | Self::LogUnavailable => Some(COME_AGAIN),
            Self::Unauthorized(_)
            | Self::MalformedEnvelope { .. }
            | Self::OtherProject
            | Self::NoProject
            | Self::TooLarge { .. }
            | Self::UnpackedTooLarge { .. }
            | Self::UnsupportedEncoding
            | Self::BodyTimeout { .. }
            | Self::BodyIncomplete
            | Self::MethodNotAllowed
            | Self::NotFound
            | Self::MalformedOrigin => None,
        }
    }
}

/// The body of RFC 9457.
#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    reason: &'static str,
    detail: String,
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::MalformedEnvelope { .. } | Self::BodyIncomplete | Self::MalformedOrigin => {
                StatusCode::BAD_REQUEST
            }
            Self::OtherProject | Self::NoProject => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } | Self::UnpackedTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::CeilingReached { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::RegistryUnavailable | Self::LogUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let reason = self.public_reason();
        let mut answer = HttpResponse::build(status);
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            answer.insert_header((RETRY_AFTER, seconds.max(1).to_string()));
        }
        match status {
            StatusCode::UNAUTHORIZED => answer.insert_header((WWW_AUTHENTICATE, "Webhook")),
            StatusCode::METHOD_NOT_ALLOWED => answer.insert_header((ALLOW, "POST, OPTIONS")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => answer.insert_header((ACCEPT_ENCODING, "gzip, identity")),
            // What is left of a body that came too late is not worth waiting for.
            StatusCode::REQUEST_TIMEOUT => answer.force_close(),
            _ => &mut answer,
        };
        answer.content_type(PROBLEM_JSON).json(Problem {
            kind: format!("urn:fleetlog:problem:{reason}"),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            reason,
            detail: self.detail(),
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn answer(rejection: Rejection) -> (HttpResponse, Value) {
        let (head, body) = rejection.error_response().into_parts();
        let body = to_bytes(body).await.unwrap();
        (head.map_into_boxed_body(), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn whoever_is_not_believed_learns_nothing() {
        let (head, unknown) = answer(Doubt::UnknownIntegration.into()).await;
        let (_, wrong) = answer(Doubt::BadSignature.into()).await;
        assert_eq!(unknown, wrong);
        assert_eq!(head.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            head.headers().get("content-type").unwrap(),
            "application/problem+json"
        );
        assert_eq!(unknown["reason"], "unauthorized");
        assert_eq!(Rejection::from(Doubt::BadSignature).reason(), "bad_signature");
    }

    #[tokio::test]
    async fn a_problem_says_which_header_is_wrong() {
        let (_, problem) = answer(Rejection::MalformedEnvelope {
            header: Cow::Borrowed("Ce-Source"),
            problem: "is missing",
        })
        .await;
        let expected = json!({
            "type": "urn:fleetlog:problem:malformed_envelope",
            "title": "Bad Request",
            "status": 400,
            "reason": "malformed_envelope",
            "detail": "Header Ce-Source is missing.",
        });
        assert_eq!(problem, expected);
    }

    #[tokio::test]
    async fn where_waiting_can_help_the_answer_says_how_long() {
        let (head, _) = answer(Rejection::LogUnavailable).await;
        assert_eq!(head.headers().get("retry-after").unwrap(), "1");
        let retry_after = Duration::from_millis(2100);
        let (head, _) = answer(Rejection::CeilingReached { retry_after }).await;
        assert_eq!(head.headers().get("retry-after").unwrap(), "3");
    }
}
