//! How a delivery proves who sent it.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::HeaderName;

/// How a delivery proves who sent it, with what can be set for each way and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
pub enum Scheme {
    /// `header: prefix + secret`, the same in every delivery. What Golioth really sends. Covers the whole request,
    /// since TLS carries it.
    SharedSecret {
        /// Usually `x-api-key`.
        header: HeaderName,
        /// Before the secret, e.g. `Bearer `. Usually empty.
        prefix: String,
    },
    /// `header: prefix + HMAC-SHA256(secret, body)`.
    HmacSha256 {
        /// Usually `x-golioth-signature`.
        header: HeaderName,
        /// Before the signature, e.g. `sha256=`. Usually empty.
        prefix: String,
        /// How the signature is written.
        encoding: Encoding,
    },
    /// `header: t=<unix>,v1=<hex of HMAC-SHA256(secret, "<unix>.<body>")>`.
    TimestampedHmac {
        /// Usually `x-fleetlog-signature`.
        header: HeaderName,
        /// How far the signed time may be from ours, in either direction.
        #[serde(rename = "tolerance_seconds")]
        tolerance: Tolerance,
    },
    /// Standard Webhooks 1.0.0, `v1`: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    StandardWebhooks {
        /// How far the signed time may be from ours, in either direction.
        #[serde(rename = "tolerance_seconds")]
        tolerance: Tolerance,
    },
}

/// The name of a [`Scheme`].
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum SchemeKind {
    /// See [`Scheme::SharedSecret`].
    SharedSecret,
    /// See [`Scheme::HmacSha256`].
    HmacSha256,
    /// See [`Scheme::TimestampedHmac`].
    TimestampedHmac,
    /// See [`Scheme::StandardWebhooks`].
    StandardWebhooks,
}

/// How a signature is written.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
    strum::VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Encoding {
    /// Of either case.
    Hex,
    /// The standard alphabet, padded.
    Base64,
}

/// What may be set for a scheme; `None` means the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The header that carries the proof.
    pub header: Option<String>,
    /// What stands before the secret or signature in it.
    pub prefix: Option<String>,
    /// How the signature is written.
    pub encoding: Option<Encoding>,
    /// How far the signed time may be from ours.
    pub tolerance: Option<Duration>,
}

/// What is wrong with a scheme's parameters. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScheme {
    /// Not an HTTP token of 1 to 64 bytes.
    #[error("{0:?} is not the name of an HTTP header")]
    Header(String),
    /// Connections, proxies and parsers use it for something else.
    #[error("header {0} has a meaning of its own and cannot carry a proof")]
    ReservedHeader(String),
    /// Longer than 64 bytes, beginning with a space, or not printable ASCII.
    #[error(
        "{0:?} cannot stand in a header: a prefix is at most 64 bytes of printable ASCII and begins with no space"
    )]
    Prefix(String),
    /// Zero, over an hour, or finer than a second.
    #[error("a tolerance is whole seconds, from 1 s to 1 hour")]
    Tolerance,
    /// The scheme has no such parameter; ignoring it would hide a mistake.
    #[error("scheme {scheme} has no {parameter}")]
    Needless {
        /// The scheme.
        scheme: SchemeKind,
        /// What was given.
        parameter: &'static str,
    },
}

impl Scheme {
    /// A scheme with what was asked for and the usual for the rest.
    pub fn new(kind: SchemeKind, parameters: Parameters) -> Result<Self, InvalidScheme> {
        let Parameters {
            header: given,
            prefix,
            encoding,
            tolerance,
        } = parameters;
        let header = |usual: &str| HeaderName::new(given.as_deref().unwrap_or(usual));
        let needless = |given: bool, parameter| {
            if given {
                Err(InvalidScheme::Needless {
                    scheme: kind,
                    parameter,
                })
            } else {
                Ok(())
            }
        };
        match kind {
            SchemeKind::SharedSecret => {
                needless(encoding.is_some(), "encoding")?;
                needless(tolerance.is_some(), "tolerance")?;
                Ok(Self::SharedSecret {
                    header: header("x-api-key")?,
                    prefix: checked_prefix(prefix)?,
                })
            }
            SchemeKind::HmacSha256 => {
                needless(tolerance.is_some(), "tolerance")?;
                Ok(Self::HmacSha256 {
                    header: header("x-golioth-signature")?,
                    prefix: checked_prefix(prefix)?,
                    encoding: encoding.unwrap_or(Encoding::Hex),
                })
            }
            SchemeKind::TimestampedHmac => {
                needless(prefix.is_some(), "prefix")?;
                needless(encoding.is_some(), "encoding")?;
                let tolerance = tolerance.map_or(Ok(Tolerance::USUAL), Tolerance::new)?;
                Ok(Self::TimestampedHmac {
                    header: header("x-fleetlog-signature")?,
                    tolerance,
                })
            }
            SchemeKind::StandardWebhooks => {
                needless(given.is_some(), "header of its own")?;
                needless(prefix.is_some(), "prefix")?;
                needless(encoding.is_some(), "encoding")?;
                let tolerance = tolerance.map_or(Ok(Tolerance::USUAL), Tolerance::new)?;
                Ok(Self::StandardWebhooks { tolerance })
            }
        }
    }

    /// Its name.
    pub fn kind(&self) -> SchemeKind {
        match self {
            Self::SharedSecret { .. } => SchemeKind::SharedSecret,
            Self::HmacSha256 { .. } => SchemeKind::HmacSha256,
            Self::TimestampedHmac { .. } => SchemeKind::TimestampedHmac,
            Self::StandardWebhooks { .. } => SchemeKind::StandardWebhooks,
        }
    }

    /// What it was made of, with the usual filled in.
    pub fn parameters(&self) -> Parameters {
        match self {
            Self::SharedSecret { header, prefix } => Parameters {
                header: Some(header.to_string()),
                prefix: Some(prefix.clone()),
                ..Parameters::default()
            },
            Self::HmacSha256 {
                header,
                prefix,
                encoding,
            } => Parameters {
                header: Some(header.to_string()),
                prefix: Some(prefix.clone()),
                encoding: Some(*encoding),
                tolerance: None,
            },
            Self::TimestampedHmac { header, tolerance } => Parameters {
                header: Some(header.to_string()),
                tolerance: Some(tolerance.duration()),
                ..Parameters::default()
            },
            Self::StandardWebhooks { tolerance } => Parameters {
                tolerance: Some(tolerance.duration()),
                ..Parameters::default()
            },
        }
    }
}

/// Longest prefix, in bytes.
const MAX_PREFIX_BYTES: usize = 64;

/// How far a signed time may be from ours, in either direction: 1 s to 1 hour, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance(u32);

impl Tolerance {
    /// Five minutes.
    pub const USUAL: Self = Self(300);

    /// A longer tolerance than an hour would make a stolen delivery worth keeping.
    const MAX_SECONDS: u64 = 3600;

    /// Checks that a duration can be a tolerance.
    pub fn new(duration: Duration) -> Result<Self, InvalidScheme> {
        let seconds = duration.as_secs();
        if !(1..=Self::MAX_SECONDS).contains(&seconds) || duration.subsec_nanos() != 0 {
            return Err(InvalidScheme::Tolerance);
        }
        u32::try_from(seconds)
            .map(Self)
            .map_err(|_| InvalidScheme::Tolerance)
    }

    /// In seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl Serialize for Tolerance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

fn checked_prefix(prefix: Option<String>) -> Result<String, InvalidScheme> {
    let prefix = prefix.unwrap_or_default();
    let printable = prefix.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    // HTTP strips leading spaces from a header's value: such a prefix would never match.
    if prefix.len() > MAX_PREFIX_BYTES || !printable || prefix.starts_with(' ') {
        return Err(InvalidScheme::Prefix(
            prefix.chars().take(MAX_PREFIX_BYTES).collect(),
        ));
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use rstest::rstest;

    use super::*;

    const KINDS: [SchemeKind; 4] = [
        SchemeKind::SharedSecret,
        SchemeKind::HmacSha256,
        SchemeKind::TimestampedHmac,
        SchemeKind::StandardWebhooks,
    ];

    #[rstest]
    #[case::shared_secret(SchemeKind::SharedSecret, "shared-secret", Some("x-api-key"))]
    #[case::hmac(SchemeKind::HmacSha256, "hmac-sha256", Some("x-golioth-signature"))]
    #[case::timestamped(SchemeKind::TimestampedHmac, "timestamped-hmac", Some("x-fleetlog-signature"))]
    #[case::standard(SchemeKind::StandardWebhooks, "standard-webhooks", None)]
    fn each_scheme_has_a_name_and_a_usual_header(
        #[case] kind: SchemeKind,
        #[case] name: &str,
        #[case] header: Option<&str>,
    ) {
        let scheme = Scheme::new(kind, Parameters::default()).unwrap();
        assert_eq!(scheme.parameters().header.as_deref(), header);
        assert_eq!(kind.to_string(), name);
        assert_eq!(name.parse(), Ok(kind));
        assert_eq!(serde_json::to_value(&scheme).unwrap()["scheme"], name);
    }

    #[rstest]
    #[case::none(0, 0, false)]
    #[case::least(1, 0, true)]
    #[case::most(3600, 0, true)]
    #[case::over_an_hour(3601, 0, false)]
    #[case::finer_than_a_second(300, 1, false)]
    fn a_tolerance_is_at_most_an_hour(#[case] seconds: u64, #[case] nanos: u32, #[case] fits: bool) {
        assert_eq!(Tolerance::new(Duration::new(seconds, nanos)).is_ok(), fits);
    }

    #[test]
    fn a_parameter_that_a_scheme_does_not_have_is_refused() {
        let parameters = Parameters {
            tolerance: Some(Duration::from_mins(1)),
            ..Parameters::default()
        };
        let refused = Scheme::new(SchemeKind::SharedSecret, parameters);
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("scheme shared-secret has no tolerance".to_owned())
        );
    }

    #[test]
    fn a_prefix_that_http_would_strip_is_refused() {
        let parameters = |prefix: &str| Parameters {
            prefix: Some(prefix.to_owned()),
            ..Parameters::default()
        };
        assert!(Scheme::new(SchemeKind::SharedSecret, parameters("Bearer ")).is_ok());
        assert!(Scheme::new(SchemeKind::SharedSecret, parameters(" Bearer")).is_err());
        assert!(Scheme::new(SchemeKind::SharedSecret, parameters("Bearer\n")).is_err());
    }

    proptest! {
        #[test]
        fn what_a_scheme_was_made_of_makes_it_again(
            kind in prop::sample::select(&KINDS[..]),
            header in option::of("[a-zA-Z0-9-]{0,70}"),
            prefix in option::of(".{0,70}"),
            encoding in option::of(prop::sample::select(&[Encoding::Hex, Encoding::Base64][..])),
            tolerance in option::of((0..5000_u64).prop_map(Duration::from_secs)),
        ) {
            let parameters = Parameters { header, prefix, encoding, tolerance };
            if let Ok(scheme) = Scheme::new(kind, parameters) {
                prop_assert_eq!(scheme.kind(), kind);
                prop_assert_eq!(Scheme::new(kind, scheme.parameters()), Ok(scheme));
            }
        }
    }
}
