use control::{Parameters, SchemeKind};
use rstest::rstest;
use schema::CredentialId;
use uuid::Uuid;

use super::*;
use crate::example::{SECRET, Sent, credential, integration};

const READING: &str = r#"{"data":{"temp":32},"device_id":"612d3cecf3ee17d321adbec6","project_id":"my-first-project","timestamp":{"nanos":37421000,"seconds":1643316044}}"#;
const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn standard(signature: &str) -> Sent {
    let mut sent = Sent::with_secret(READING)
        .to(|integration| {
            integration.credentials = vec![credential(2, SchemeKind::StandardWebhooks, STANDARD)];
        })
        .header("webhook-id", "baa51655-c067-444c-a91c-6dcea73abc70")
        .header("webhook-timestamp", "1643316044")
        .received("2022-01-27T20:40:44.9Z");
    if !signature.is_empty() {
        sent = sent.header("webhook-signature", signature);
    }
    sent
}

const SIGNATURE: &str = "v1,qE5nyIMWEnWhEia+GKZJ6W9Tfztb/+eoadfmHPRO3FI=";

#[test]
fn each_way_of_proving_opens_the_door() {
    assert_eq!(Sent::with_secret(READING).refusal(), "accepted");
    assert_eq!(Sent::signed(READING).refusal(), "accepted");
    assert_eq!(Sent::timestamped(READING).refusal(), "accepted");
    assert_eq!(standard(SIGNATURE).refusal(), "accepted");
}

#[test]
fn the_event_says_which_credential_verified_it() {
    let event = standard(SIGNATURE).event();
    assert_eq!(event.credential, Some(CredentialId(Uuid::from_u128(2))));
}

#[test]
fn an_integration_without_credentials_takes_nothing() {
    let sent = Sent::with_secret(READING).to(|integration| integration.credentials.clear());
    assert_eq!(sent.refusal(), "no_credentials");
}

#[test]
fn a_proof_that_is_missing_empty_or_doubled_is_none() {
    let without = |sent: Sent, name: &str| {
        let mut sent = sent;
        sent.headers.remove(name);
        sent
    };
    let secret = without(Sent::with_secret(READING), "x-api-key");
    assert_eq!(secret.refusal(), "missing_credentials");
    assert_eq!(
        secret.clone().header("x-api-key", "").refusal(),
        "empty_credentials"
    );
    let doubled = Sent::with_secret(READING).header("x-api-key", SECRET);
    assert_eq!(doubled.refusal(), "doubled_credentials");

    let signed = without(Sent::signed(READING), "x-golioth-signature");
    assert_eq!(signed.refusal(), "missing_credentials");
    assert_eq!(
        signed.clone().header("x-golioth-signature", "").refusal(),
        "empty_credentials"
    );
    assert_eq!(
        signed.header("x-golioth-signature", "zz").refusal(),
        "malformed_signature"
    );

    assert_eq!(standard("").refusal(), "missing_credentials");
    assert_eq!(
        without(standard(SIGNATURE), "webhook-id").refusal(),
        "missing_credentials"
    );
    let doubled_id = standard(SIGNATURE).header("webhook-id", "other");
    assert_eq!(doubled_id.refusal(), "doubled_credentials");
    let dotted = without(standard(SIGNATURE), "webhook-id").header("webhook-id", "a.1");
    assert_eq!(dotted.refusal(), "malformed_message_id");
}

#[rstest]
#[case::oldest("2022-01-27T20:45:44.999999Z", "accepted")]
#[case::stale("2022-01-27T20:45:45Z", "stale")]
#[case::latest("2022-01-27T20:35:44Z", "accepted")]
#[case::future("2022-01-27T20:35:43.999999Z", "future")]
fn freshness_is_checked_at_receipt(#[case] received: &str, #[case] outcome: &str) {
    assert_eq!(standard(SIGNATURE).received(received).refusal(), outcome);
}

#[test]
fn another_body_or_secret_is_refused_under_its_reason() {
    let mut altered = Sent::signed(READING);
    altered.body = bytes::Bytes::from_static(b"{}");
    assert_eq!(altered.refusal(), "bad_signature");

    let other = Sent::with_secret(READING).to(|integration| {
        integration.credentials = vec![credential(3, SchemeKind::SharedSecret, "another secret")];
    });
    assert_eq!(other.refusal(), "unknown_key");
}

#[test]
fn a_weaker_scheme_does_not_mend_a_stronger_one() {
    let both = |sent: Sent| {
        sent.to(|integration| {
            integration.credentials = vec![
                credential(1, SchemeKind::SharedSecret, SECRET),
                credential(2, SchemeKind::StandardWebhooks, STANDARD),
                credential(4, SchemeKind::HmacSha256, SECRET),
            ];
        })
    };
    assert_eq!(both(Sent::with_secret(READING)).refusal(), "accepted");
    assert_eq!(
        both(standard("v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")).refusal(),
        "bad_signature"
    );
    assert_eq!(
        both(standard(SIGNATURE))
            .received("2026-01-01T00:00:00Z")
            .refusal(),
        "stale"
    );
    assert_eq!(both(standard("garbage")).refusal(), "malformed_signature");
    assert_eq!(
        both(Sent::with_secret(READING).header("x-golioth-signature", &"0".repeat(64))).refusal(),
        "bad_signature"
    );
    // Only the schemes of the integration's own credentials count.
    let hmac_only = Sent::with_secret(READING)
        .to(|integration| integration.credentials = vec![credential(4, SchemeKind::HmacSha256, SECRET)]);
    assert_eq!(hmac_only.refusal(), "missing_credentials");
}

#[test]
fn a_header_that_two_schemes_share_is_read_as_either() {
    let header = || Parameters {
        header: Some("x-golioth-signature".to_owned()),
        ..Parameters::default()
    };
    let scheme = Scheme::new(SchemeKind::TimestampedHmac, header()).unwrap();
    let key = scheme.key(&SECRET.into()).unwrap();
    let timestamped = CredentialEntry::new(CredentialId(Uuid::from_u128(5)), scheme, key);
    let sent = Sent::signed(READING).to(|integration| integration.credentials.insert(0, timestamped));
    assert_eq!(sent.event().credential, Some(CredentialId(Uuid::from_u128(1))));
}

#[test]
fn several_credentials_are_live_while_secrets_rotate_and_a_dead_one_is_named() {
    let rotating = |change: fn(&mut CredentialEntry)| {
        Sent::signed(READING).to(|integration| {
            integration
                .credentials
                .insert(0, credential(9, SchemeKind::HmacSha256, "the next secret"));
            change(&mut integration.credentials[1]);
        })
    };
    let now = crate::example::received();
    assert_eq!(rotating(|_| {}).refusal(), "accepted");
    assert_eq!(
        rotating(|old| old.expires_at = Some(crate::example::received())).refusal(),
        "expired_credential"
    );
    assert_eq!(
        rotating(|old| old.not_before = Some("2027-01-01T00:00:00Z".parse().unwrap())).refusal(),
        "premature_credential"
    );
    let secret =
        Sent::with_secret(READING).to(|integration| integration.credentials[0].expires_at = Some(now));
    assert_eq!(secret.refusal(), "expired_credential");
}

#[test]
fn what_an_unreadable_credential_might_verify_is_told_to_come_again() {
    let sent = Sent::with_secret(READING).to(|integration| {
        integration.credentials.clear();
        integration.n_unreadable = 1;
    });
    assert_eq!(sent.refusal(), "registry_unavailable");
}

#[test]
fn a_shared_secret_opens_before_the_body_is_read_and_a_signature_does_not() {
    let headers =
        |sent: &Sent| claim(&sent.integration, &sent.headers, sent.received).map(|claim| claim.is_proven());
    assert_eq!(headers(&Sent::with_secret("")), Ok(true));
    assert_eq!(headers(&Sent::signed("")), Ok(false));
    let nothing = integration(vec![credential(1, SchemeKind::HmacSha256, SECRET)]);
    assert!(claim(&nothing, &HeaderMap::new(), crate::example::received()).is_err());
}
