//! `header: prefix + HMAC-SHA256(secret, body)`: the body is proven, the moment is not.

use base64::{Engine, engine::general_purpose::STANDARD};
use control::Encoding;

use super::{Malformed, Tag, hex_tag, verify};

/// What a header claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed(Tag);

impl Claimed {
    /// Reads a header's value.
    pub(crate) fn parse(value: &[u8], prefix: &str, encoding: Encoding) -> Result<Self, Malformed> {
        let text = value
            .strip_prefix(prefix.as_bytes())
            .ok_or(Malformed::Signature)?;
        let tag = match encoding {
            Encoding::Hex => hex_tag(text),
            Encoding::Base64 => STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()),
        };
        tag.map(Self).ok_or(Malformed::Signature)
    }

    /// Whether it is the body's.
    pub(crate) fn verify(&self, key: &[u8], body: &[u8]) -> bool {
        verify(key, &[body], &[self.0])
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const HELLO: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const READING: &[u8] = br#"{"data":{"temp":32},"device_id":"612d3cecf3ee17d321adbec6","project_id":"my-first-project","timestamp":{"nanos":37421000,"seconds":1643316044}}"#;

    fn opens(prefix: &str, encoding: Encoding, value: &str, body: &[u8]) -> bool {
        Claimed::parse(value.as_bytes(), prefix, encoding).is_ok_and(|claimed| claimed.verify(SECRET, body))
    }

    #[test]
    fn the_published_signatures_verify() {
        assert!(opens(
            "sha256=",
            Encoding::Hex,
            &format!("sha256={HELLO}"),
            b"Hello, World!"
        ));
        let reading = "19856beb69adcc7413b3e67659517a81fe58b327c0fe2f5be8f4dbc8bc885522";
        assert_eq!(READING.len(), 143);
        assert!(opens("", Encoding::Hex, reading, READING));
    }

    #[test]
    fn base64_verifies_and_hexadecimal_may_be_of_either_case() {
        let base64 = STANDARD.encode(hex::decode(HELLO).unwrap());
        assert!(opens("", Encoding::Base64, &base64, b"Hello, World!"));
        assert!(opens("", Encoding::Hex, &HELLO.to_uppercase(), b"Hello, World!"));
    }

    #[rstest]
    #[case::altered_body(HELLO, b"Hello, World?")]
    #[case::empty_body(HELLO, b"")]
    #[case::truncated(&HELLO[..32], b"Hello, World!")]
    #[case::odd(&HELLO[..63], b"Hello, World!")]
    #[case::too_long(
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1700",
        b"Hello, World!"
    )]
    #[case::not_hexadecimal(
        "x57107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        b"Hello, World!"
    )]
    #[case::unasked_prefix(
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        b"Hello, World!"
    )]
    #[case::empty("", b"Hello, World!")]
    fn anything_else_does_not(#[case] value: &str, #[case] body: &[u8]) {
        assert!(!opens("", Encoding::Hex, value, body));
    }

    #[test]
    fn bodies_that_are_empty_or_not_utf8_can_be_verified() {
        for body in [&b""[..], &[0xff, 0x00, 0xc0]] {
            let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(SECRET).unwrap();
            hmac::Mac::update(&mut mac, body);
            let tag = hex::encode(hmac::Mac::finalize(mac).into_bytes());
            assert!(opens("", Encoding::Hex, &tag, body));
        }
    }
}
