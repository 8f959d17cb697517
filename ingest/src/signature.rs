//! Proofs over the exact bytes received: before parsing, before decompression, in constant time.
//!
//! Everything here is a function of its arguments. What a header says is parsed first, which costs little and tells
//! nobody anything; only then is a body worth reading.

pub(crate) mod hmac_sha256;
pub(crate) mod shared_secret;
pub(crate) mod standard_webhooks;
pub(crate) mod timestamped_hmac;

use ::hmac::{Hmac, KeyInit, Mac};
use schema::Micros;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Most signatures of one delivery that are considered; what a header holds beyond is ignored.
pub(crate) const MOST_SIGNATURES: usize = 8;

/// An HMAC-SHA256, whole: truncated ones are none.
pub(crate) type Tag = [u8; 32];

/// Why a header is no proof at all, whatever the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// No signature of the right form and length.
    Signature,
    /// Not 1 to 11 digits, missing, or said twice.
    Timestamp,
    /// A message id that is empty, not ASCII, or would make the signed text ambiguous.
    MessageId,
}

/// Why a signed time does not prove that a delivery is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFresh {
    /// Too far in the past.
    Stale,
    /// Too far in the future.
    Future,
}

/// Seconds since 1970 as a sender signed them: the literal text is what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedTime {
    text: String,
    seconds: i64,
}

impl SignedTime {
    /// Reads 1 to 11 ASCII digits and nothing else.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        if text.is_empty() || text.len() > 11 || !text.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::Timestamp);
        }
        let text = String::from_utf8_lossy(text).into_owned();
        let seconds = text.parse().map_err(|_| Malformed::Timestamp)?;
        Ok(Self { text, seconds })
    }

    /// Checks that it is within the tolerance, in either direction, of the second of the receipt.
    pub(crate) fn check(&self, received: Micros, tolerance_seconds: u32) -> Result<(), NotFresh> {
        let age = received.as_micros().div_euclid(1_000_000) - self.seconds;
        if age > i64::from(tolerance_seconds) {
            Err(NotFresh::Stale)
        } else if age < -i64::from(tolerance_seconds) {
            Err(NotFresh::Future)
        } else {
            Ok(())
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Whether any of the claimed tags is the HMAC-SHA256 of the parts, one after the other.
fn verify(key: &[u8], parts: &[&[u8]], claimed: &[Tag]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts keys of any length");
    for part in parts {
        mac.update(part);
    }
    let tag = mac.finalize().into_bytes();
    let mut matches = subtle::Choice::from(0);
    for claimed in claimed.iter().take(MOST_SIGNATURES) {
        matches |= tag.as_slice().ct_eq(claimed);
    }
    matches.into()
}

/// Reads a whole tag in hexadecimal of either case.
fn hex_tag(text: &[u8]) -> Option<Tag> {
    let mut tag = Tag::default();
    hex::decode_to_slice(text, &mut tag).ok()?;
    Some(tag)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(seconds: i64) -> Micros {
        Micros::from_seconds_nanos(seconds, 999_999_999).unwrap()
    }

    /// RFC 4231, test case 1.
    #[test]
    fn the_published_hmac_is_computed() {
        let tag = hex_tag(b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7").unwrap();
        assert!(verify(&[0x0b; 20], &[b"Hi ", b"There"], &[tag]));
        assert!(!verify(&[0x0b; 20], &[b"Hi There!"], &[tag]));
    }

    #[test]
    fn only_the_first_eight_signatures_count() {
        let tag = hex_tag(b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7").unwrap();
        let mut tags = vec![[0; 32]; 7];
        tags.push(tag);
        assert!(verify(&[0x0b; 20], &[b"Hi There"], &tags));
        tags.insert(0, [0; 32]);
        assert!(!verify(&[0x0b; 20], &[b"Hi There"], &tags));
    }

    #[rstest]
    #[case::digits("1614265330", true)]
    #[case::zero("0", true)]
    #[case::leading_zeros("00000000001", true)]
    #[case::eleven("99999999999", true)]
    #[case::twelve("001614265330", false)]
    #[case::minus("-9223372036854775808", false)]
    #[case::plus("+1", false)]
    #[case::fraction("1.0", false)]
    #[case::space(" 1", false)]
    #[case::space_after("1 ", false)]
    #[case::empty("", false)]
    #[case::other_digits("\u{661}", false)]
    fn a_signed_time_is_one_to_eleven_digits(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(SignedTime::parse(text.as_bytes()).is_ok(), accepted);
    }

    #[rstest]
    #[case::now(0, Ok(()))]
    #[case::oldest(-300, Ok(()))]
    #[case::stale(-301, Err(NotFresh::Stale))]
    #[case::latest(300, Ok(()))]
    #[case::future(301, Err(NotFresh::Future))]
    fn both_directions_of_the_tolerance_are_checked(
        #[case] offset: i64,
        #[case] expected: Result<(), NotFresh>,
    ) {
        let now = 1_614_265_330;
        let signed = SignedTime::parse((now + offset).to_string().as_bytes()).unwrap();
        assert_eq!(signed.check(at(now), 300), expected);
    }
}
