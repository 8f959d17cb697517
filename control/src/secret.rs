//! What a secret must be, for each scheme.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use zeroize::Zeroizing;

use crate::{Scheme, SchemeKind};

/// Shortest secret, in bytes: shorter ones can be guessed from a single signed delivery.
const MIN_BYTES: usize = 8;
/// Shortest key of Standard Webhooks, in bytes, by its specification.
const MIN_STANDARD_KEY_BYTES: usize = 24;
/// Longest secret, in bytes.
const MAX_BYTES: usize = 4096;
/// Length of the keys we make, in bytes.
const GENERATED_BYTES: usize = 32;
/// How Standard Webhooks marks its secrets.
const STANDARD_MARK: &str = "whsec_";

/// Base64 as people paste it: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with a secret. The configuration is at fault; the secret itself is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Could be guessed.
    #[error("the secret has {got} bytes, {scheme} needs at least {least}")]
    TooShort {
        /// The scheme.
        scheme: SchemeKind,
        /// Its length in bytes, for Standard Webhooks after decoding.
        got: usize,
        /// The least length in bytes.
        least: usize,
    },
    /// Longer than 4096 bytes.
    #[error("the secret has more than 4096 bytes")]
    TooLong,
    /// A shared secret travels in a header, which carries printable ASCII and is trimmed.
    #[error("a shared secret travels in a header: printable ASCII only, no space at either end")]
    NotForHeaders,
    /// Standard Webhooks writes keys as `whsec_` and base64.
    #[error("a secret of Standard Webhooks is written `whsec_` and base64")]
    NotBase64,
}

/// A secret as it stands in a file, whose last line break is not part of it.
pub fn secret_from_text(text: &str) -> SecretString {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    SecretString::from(text)
}

impl Scheme {
    /// The key that proofs are made and checked with: a secret's bytes, decoded where the scheme writes it encoded.
    pub fn key(&self, secret: &SecretString) -> Result<SecretSlice<u8>, InvalidSecret> {
        let text = secret.expose_secret();
        if text.len() > MAX_BYTES {
            return Err(InvalidSecret::TooLong);
        }
        let least = |bytes: &[u8], least: usize| {
            let scheme = self.kind();
            let got = bytes.len();
            if got < least {
                Err(InvalidSecret::TooShort { scheme, got, least })
            } else {
                Ok(())
            }
        };
        match self {
            Self::SharedSecret { .. } => {
                least(text.as_bytes(), MIN_BYTES)?;
                let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
                if !printable || text.trim() != text {
                    return Err(InvalidSecret::NotForHeaders);
                }
                Ok(text.as_bytes().to_vec().into())
            }
            Self::HmacSha256 { .. } | Self::TimestampedHmac { .. } => {
                least(text.as_bytes(), MIN_BYTES)?;
                Ok(text.as_bytes().to_vec().into())
            }
            Self::StandardWebhooks { .. } => {
                let encoded = text.strip_prefix(STANDARD_MARK).unwrap_or(text);
                let key = BASE64.decode(encoded).map_err(|_| InvalidSecret::NotBase64)?;
                let key = SecretSlice::from(key);
                least(key.expose_secret(), MIN_STANDARD_KEY_BYTES)?;
                Ok(key)
            }
        }
    }

    /// A new secret of 256 random bits, written as the scheme writes it.
    pub fn generate_secret(&self) -> SecretString {
        let mut bytes = Zeroizing::new([0_u8; GENERATED_BYTES]);
        rand::rng().fill_bytes(bytes.as_mut());
        match self {
            Self::SharedSecret { .. } | Self::HmacSha256 { .. } | Self::TimestampedHmac { .. } => {
                general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_ref()).into()
            }
            Self::StandardWebhooks { .. } => {
                let encoded = Zeroizing::new(general_purpose::STANDARD.encode(bytes.as_ref()));
                format!("{STANDARD_MARK}{}", encoded.as_str()).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::Parameters;

    fn key(kind: SchemeKind, secret: &str) -> Result<Vec<u8>, InvalidSecret> {
        let scheme = Scheme::new(kind, Parameters::default()).unwrap();
        scheme
            .key(&SecretString::from(secret))
            .map(|key| key.expose_secret().to_vec())
    }

    #[test]
    fn a_standard_webhooks_key_is_decoded_with_or_without_its_mark() {
        let marked = key(
            SchemeKind::StandardWebhooks,
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        )
        .unwrap();
        let bare = key(SchemeKind::StandardWebhooks, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(marked.len(), 24);
        assert_eq!(marked, bare);
    }

    #[rstest]
    #[case::empty(SchemeKind::HmacSha256, "")]
    #[case::guessable(SchemeKind::SharedSecret, "seven77")]
    #[case::short_key(SchemeKind::StandardWebhooks, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa==")]
    #[case::no_base64(SchemeKind::StandardWebhooks, "whsec_It's a Secret to Everybody, really")]
    #[case::not_for_headers(SchemeKind::SharedSecret, "schlüssel-schlüssel")]
    #[case::line_break(SchemeKind::SharedSecret, "secret-secret\n")]
    fn a_secret_that_cannot_work_is_refused(#[case] kind: SchemeKind, #[case] secret: &str) {
        let refused = key(kind, secret).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|text| secret.is_empty() || !text.contains(secret)));
    }

    #[test]
    fn a_file_ends_with_a_line_break_that_is_not_part_of_the_secret() {
        for text in [
            "It's a Secret to Everybody",
            "It's a Secret to Everybody\n",
            "It's a Secret to Everybody\r\n",
        ] {
            assert_eq!(
                secret_from_text(text).expose_secret(),
                "It's a Secret to Everybody"
            );
        }
    }

    #[test]
    fn generated_secrets_suit_their_scheme_and_differ() {
        for kind in [
            SchemeKind::SharedSecret,
            SchemeKind::HmacSha256,
            SchemeKind::TimestampedHmac,
            SchemeKind::StandardWebhooks,
        ] {
            let scheme = Scheme::new(kind, Parameters::default()).unwrap();
            let one = scheme.key(&scheme.generate_secret()).unwrap();
            let other = scheme.key(&scheme.generate_secret()).unwrap();
            assert!(one.expose_secret().len() >= GENERATED_BYTES);
            assert_ne!(one.expose_secret(), other.expose_secret());
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_with_is_the_bytes_of_the_text(secret in ".{8,100}") {
            prop_assert_eq!(key(SchemeKind::HmacSha256, &secret), Ok(secret.into_bytes()));
        }

        #[test]
        fn no_text_breaks_the_decoding_of_keys(secret in ".{0,200}") {
            let decoded = key(SchemeKind::StandardWebhooks, &secret);
            prop_assert!(decoded.is_ok_and(|key| key.len() >= 24) || key(SchemeKind::StandardWebhooks, &secret).is_err());
        }
    }
}
