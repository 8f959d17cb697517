//! The header that carries a proof.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::InvalidScheme;

/// The name of an HTTP header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct HeaderName(String);

/// Longest header name, in bytes.
const MAX_HEADER_BYTES: usize = 64;

/// Headers that say something else, or do not arrive as they were sent.
const RESERVED: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "webhook-id",
    "webhook-timestamp",
    "x-integration-id",
];

impl HeaderName {
    /// Checks that a text can name a header that carries a proof.
    pub fn new(text: &str) -> Result<Self, InvalidScheme> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if text.is_empty() || text.len() > MAX_HEADER_BYTES || !text.bytes().all(is_token) {
            return Err(InvalidScheme::Header(
                text.chars().take(MAX_HEADER_BYTES).collect(),
            ));
        }
        let name = text.to_ascii_lowercase();
        if RESERVED.contains(&name.as_str()) || name.starts_with("ce-") {
            return Err(InvalidScheme::ReservedHeader(name));
        }
        Ok(Self(name))
    }

    /// In lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HeaderName {
    type Err = InvalidScheme;

    fn from_str(text: &str) -> Result<Self, InvalidScheme> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::usual("X-API-Key", true)]
    #[case::authorization("Authorization", true)]
    #[case::empty("", false)]
    #[case::space("x api key", false)]
    #[case::colon("x-api-key:", false)]
    #[case::line_break("x\r\ny", false)]
    #[case::umlaut("schlüssel", false)]
    #[case::framing("Content-Length", false)]
    #[case::envelope("Ce-Source", false)]
    fn a_header_that_carries_a_proof_is_a_token_without_another_meaning(
        #[case] name: &str,
        #[case] fits: bool,
    ) {
        assert_eq!(HeaderName::new(name).is_ok(), fits);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parsing_of_headers(text in ".{0,80}") {
            if let Ok(name) = HeaderName::new(&text) {
                prop_assert_eq!(HeaderName::new(name.as_str()), Ok(name));
            }
        }
    }
}
