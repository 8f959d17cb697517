//! Standard Webhooks 1.0.0, `v1`: `webhook-id`, `webhook-timestamp`, `webhook-signature`. Body, id and moment are
//! proven.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{MOST_SIGNATURES, Malformed, SignedTime, Tag, verify};

/// What the three headers claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The message's id, the same for every attempt to deliver it.
    pub(crate) id: String,
    /// When it was signed.
    pub(crate) time: SignedTime,
    tags: Vec<Tag>,
}

impl Claimed {
    /// Reads the headers' values. Signatures of versions other than `v1` are ignored.
    pub(crate) fn parse(id: &[u8], time: &[u8], signatures: &[u8]) -> Result<Self, Malformed> {
        // With a dot in it, `a.1` at 2 and `a` at `1.2…` would sign the same text.
        let plain = !id.is_empty() && id.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
        let id = str::from_utf8(id)
            .ok()
            .filter(|_| plain)
            .ok_or(Malformed::MessageId)?;
        let time = SignedTime::parse(time)?;
        let tags: Vec<Tag> = signatures
            .split(|byte| *byte == b' ')
            .filter_map(|signature| signature.strip_prefix(b"v1,"))
            .take(MOST_SIGNATURES)
            .filter_map(|text| STANDARD.decode(text).ok()?.try_into().ok())
            .collect();
        if tags.is_empty() {
            return Err(Malformed::Signature);
        }
        Ok(Self {
            id: id.to_owned(),
            time,
            tags,
        })
    }

    /// Whether one of the signatures is that of id, time and body.
    pub(crate) fn verify(&self, key: &[u8], body: &[u8]) -> bool {
        let parts = [self.id.as_bytes(), b".", self.time.as_bytes(), b".", body];
        verify(key, &parts, &self.tags)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const FIRST: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn opens(secret: &str, id: &str, time: &str, signatures: &str, body: &[u8]) -> bool {
        let key = STANDARD.decode(secret).unwrap();
        Claimed::parse(id.as_bytes(), time.as_bytes(), signatures.as_bytes())
            .is_ok_and(|claimed| claimed.verify(&key, body))
    }

    #[rstest]
    #[case(
        FIRST,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )]
    #[case(
        SECOND,
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        "1649367553",
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
    )]
    #[case(FIRST, "baa51655-c067-444c-a91c-6dcea73abc70", "1643316044",
        r#"{"data":{"temp":32},"device_id":"612d3cecf3ee17d321adbec6","project_id":"my-first-project","timestamp":{"nanos":37421000,"seconds":1643316044}}"#,
        "v1,qE5nyIMWEnWhEia+GKZJ6W9Tfztb/+eoadfmHPRO3FI=")]
    fn the_published_signatures_verify(
        #[case] secret: &str,
        #[case] id: &str,
        #[case] time: &str,
        #[case] body: &str,
        #[case] signature: &str,
    ) {
        assert!(opens(secret, id, time, signature, body.as_bytes()));
        let rotating = format!("v1a,other v1,AAAA {signature}");
        assert!(opens(secret, id, time, &rotating, body.as_bytes()));

        assert!(!opens(secret, "other", time, signature, body.as_bytes()));
        assert!(!opens(secret, id, "1614265331", signature, body.as_bytes()));
        assert!(!opens(secret, id, time, signature, b"{}"));
        assert!(!opens(
            secret,
            id,
            time,
            &signature.replace("v1,", "v2,"),
            body.as_bytes()
        ));
        assert!(!opens(secret, id, time, &signature[..24], body.as_bytes()));
    }

    #[test]
    fn what_is_signed_can_be_split_in_one_way_only() {
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let refused = Claimed::parse(b"a.1", b"2", signature.as_bytes());
        assert_eq!(refused, Err(Malformed::MessageId));
        assert!(Claimed::parse(b"a", b"1", signature.as_bytes()).is_ok());
    }

    #[rstest]
    #[case::empty_id("", "1", Malformed::MessageId)]
    #[case::space_in_id("a b", "1", Malformed::MessageId)]
    #[case::umlaut_in_id("ä", "1", Malformed::MessageId)]
    #[case::bad_time("a", "1.0", Malformed::Timestamp)]
    #[case::no_signature("a", "1", Malformed::Signature)]
    fn malformed_headers_are_no_proof(#[case] id: &str, #[case] time: &str, #[case] why: Malformed) {
        assert_eq!(
            Claimed::parse(id.as_bytes(), time.as_bytes(), b"v1,AAAA"),
            Err(why)
        );
    }
}
