//! What operators configure.

use std::time::Duration;

use ::control::{
    Encoding, HeaderName, Keyring, Name, Parameters, Scheme, SchemeKind, Sealed, SealingKey, UnsealError,
    secret_from_text,
};
use ::schema::CredentialId;
use secrecy::ExposeSecret as _;
use strum::VariantNames as _;

use crate::Input;

/// Header, prefix, tolerance in seconds, name and secret, a line each.
pub(super) fn configuration(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (header, prefix, seconds) = (input.text(), input.text(), input.text());
    if let Ok(name) = HeaderName::new(&header) {
        assert_eq!(HeaderName::new(name.as_str()).as_ref(), Ok(&name));
        assert!(name.as_str().len() <= 64 && name.as_str().is_ascii());
    }
    let name = input.text();
    if let Ok(name) = Name::new(&name) {
        assert_eq!(Name::new(name.as_str()).as_ref(), Ok(&name));
    }
    let text = String::from_utf8_lossy(input.rest()).into_owned();
    let secret = secret_from_text(&text);
    assert!(text.starts_with(secret.expose_secret()));
    for kind in SchemeKind::VARIANTS {
        let kind: SchemeKind = kind.parse().expect("a scheme's own name");
        for encoding in [None, Some(Encoding::Base64)] {
            let parameters = Parameters {
                header: Some(header.clone()).filter(|header| !header.is_empty()),
                prefix: Some(prefix.clone()).filter(|prefix| !prefix.is_empty()),
                encoding,
                tolerance: seconds.parse().ok().map(Duration::from_secs),
            };
            let Ok(scheme) = Scheme::new(kind, parameters) else {
                continue;
            };
            assert_eq!(scheme.kind(), kind);
            assert_eq!(
                Scheme::new(kind, scheme.parameters()).as_ref(),
                Ok(&scheme),
                "a scheme is read back"
            );
            match scheme.key(&secret) {
                Ok(key) => {
                    let n_bytes = key.expose_secret().len();
                    assert!((8..=text.len()).contains(&n_bytes));
                }
                Err(error) => {
                    let told = error.to_string();
                    assert!(
                        text.trim().len() < 8 || !told.contains(text.trim()),
                        "an error tells the secret"
                    );
                }
            }
        }
    }
}

/// A sealing key, a secret, and what is done to it, a line each; then what may lie in the database.
pub(super) fn sealed(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let text = input.text();
    if let Ok(key) = SealingKey::from_text(&text.as_str().into()) {
        let same =
            SealingKey::from_text(&format!(" {text}\n").into()).expect("space around is not part of it");
        assert_eq!(key.id(), same.id());
        assert!(
            !text.contains(key.id()) || text.len() <= 16,
            "a key's name tells the key"
        );
    }
    let own =
        SealingKey::from_text(&"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".into())
            .expect("32 bytes that differ");
    let keyring = Keyring::new(own, Vec::new());
    let (credential, other) = (
        CredentialId(uuid::Uuid::from_u128(1)),
        CredentialId(uuid::Uuid::from_u128(2)),
    );
    let secret = input.text();
    let sealed = keyring.seal(credential, &secret.as_str().into());
    let unsealed = keyring.unseal(credential, &sealed).expect("it was sealed for it");
    assert_eq!(unsealed.expose_secret(), secret);
    assert!(keyring.unseal(other, &sealed).is_err(), "it is another's");
    let flip = input.line().iter().fold(0_usize, |n, byte| {
        n.wrapping_mul(7).wrapping_add(usize::from(*byte))
    }) % 100_000;
    let mut damaged = sealed.clone();
    let at = flip % damaged.bytes.len();
    damaged.bytes[at] ^= 1 << (flip % 8);
    let refused = keyring.unseal(credential, &damaged);
    assert!(
        matches!(refused, Err(UnsealError::Damaged { .. })),
        "damage is noticed"
    );
    let forged = Sealed {
        bytes: input.rest().to_vec(),
        key_id: keyring.active_id().to_owned(),
    };
    assert!(
        keyring.unseal(credential, &forged).is_err(),
        "nobody forges a seal"
    );
}
