//! `header: prefix + secret`: what Golioth really sends. TLS carries the whole request, so its headers are believed.

use subtle::ConstantTimeEq;

/// Whether a header's value is the prefix and the secret.
///
/// Constant-time in the secret's bytes; its length is no secret.
pub(crate) fn matches(secret: &[u8], prefix: &str, value: &[u8]) -> bool {
    value
        .strip_prefix(prefix.as_bytes())
        .is_some_and(|sent| !secret.is_empty() && bool::from(sent.ct_eq(secret)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::genuine("", "correct horse", true)]
    #[case::prefixed("Bearer ", "Bearer correct horse", true)]
    #[case::prefix_missing("Bearer ", "correct horse", false)]
    #[case::shorter("", "correct hors", false)]
    #[case::longer("", "correct horse ", false)]
    #[case::other_case("", "Correct horse", false)]
    #[case::empty("", "", false)]
    fn only_the_whole_secret_opens(#[case] prefix: &str, #[case] value: &str, #[case] opens: bool) {
        assert_eq!(matches(b"correct horse", prefix, value.as_bytes()), opens);
    }

    #[test]
    fn an_empty_secret_opens_nothing() {
        assert!(!matches(b"", "", b""));
    }
}
