//! `header: t=<unix>,v1=<hex>[,v1=…]` over `t.body`: Stripe's form. Body and moment are proven.

use super::{MOST_SIGNATURES, Malformed, SignedTime, Tag, hex_tag, verify};

/// What a header claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// When it was signed.
    pub(crate) time: SignedTime,
    tags: Vec<Tag>,
}

impl Claimed {
    /// Reads a header's value. Schemes other than `v1` are ignored.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let mut time = None;
        let mut n_signatures = 0;
        let mut tags = Vec::new();
        for part in value.split(|byte| *byte == b',') {
            if let Some(text) = part.strip_prefix(b"t=") {
                // Two times would leave open which of them was signed.
                if time.replace(SignedTime::parse(text)?).is_some() {
                    return Err(Malformed::Timestamp);
                }
            } else if let Some(text) = part.strip_prefix(b"v1=") {
                n_signatures += 1;
                if n_signatures <= MOST_SIGNATURES {
                    tags.extend(hex_tag(text));
                }
            }
        }
        let time = time.ok_or(Malformed::Timestamp)?;
        if tags.is_empty() {
            return Err(Malformed::Signature);
        }
        Ok(Self { time, tags })
    }

    /// Whether one of the signatures is the body's.
    pub(crate) fn verify(&self, key: &[u8], body: &[u8]) -> bool {
        verify(key, &[self.time.as_bytes(), b".", body], &self.tags)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const READING: &[u8] = br#"{"data":{"temp":32},"device_id":"612d3cecf3ee17d321adbec6","project_id":"my-first-project","timestamp":{"nanos":37421000,"seconds":1643316044}}"#;
    const TAG: &str = "ee9fb0c80d34a272145ace1e781e57cc83ab91f16e347164663fc408c6fa5ecf";

    fn opens(value: &str, body: &[u8]) -> bool {
        Claimed::parse(value.as_bytes()).is_ok_and(|claimed| claimed.verify(b"webhook_secret", body))
    }

    #[test]
    fn the_published_signature_verifies() {
        assert!(opens(&format!("t=1643316044,v1={TAG}"), READING));
        assert!(opens(&format!("v0=00,v1={TAG},t=1643316044"), READING));
    }

    #[test]
    fn one_good_signature_among_several_is_enough_while_secrets_rotate() {
        let other = "0".repeat(64);
        assert!(opens(
            &format!("t=1643316044,v1={other},v1=short,v1={TAG}"),
            READING
        ));
    }

    #[test]
    fn the_literal_text_of_the_time_is_signed() {
        assert!(!opens(&format!("t=01643316044,v1={TAG}"), READING));
        assert!(!opens(&format!("t=1643316045,v1={TAG}"), READING));
    }

    #[rstest]
    #[case::no_time("v1=00", Malformed::Timestamp)]
    #[case::two_times("t=1,t=1,v1=00", Malformed::Timestamp)]
    #[case::bad_time("t=+1,v1=00", Malformed::Timestamp)]
    #[case::space("t= 1,v1=00", Malformed::Timestamp)]
    #[case::no_signature("t=1", Malformed::Signature)]
    #[case::no_whole_signature("t=1,v1=00", Malformed::Signature)]
    #[case::other_scheme(
        "t=1,v0=ee9fb0c80d34a272145ace1e781e57cc83ab91f16e347164663fc408c6fa5ecf",
        Malformed::Signature
    )]
    #[case::empty("", Malformed::Timestamp)]
    fn a_header_without_a_time_and_a_signature_is_no_proof(#[case] value: &str, #[case] why: Malformed) {
        assert_eq!(Claimed::parse(value.as_bytes()), Err(why));
    }

    #[test]
    fn ten_thousand_signatures_are_not_tried() {
        let mut value = "t=1643316044".to_owned();
        for _ in 0..10_000 {
            value.push_str(",v1=");
            value.push_str(&"0".repeat(64));
        }
        value.push_str(",v1=");
        value.push_str(TAG);
        let claimed = Claimed::parse(value.as_bytes()).unwrap();
        assert_eq!(claimed.tags.len(), MOST_SIGNATURES);
        assert!(!claimed.verify(b"webhook_secret", READING));
    }
}
