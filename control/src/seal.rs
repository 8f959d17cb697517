//! Secrets at rest: XChaCha20-Poly1305, bound to the credential they belong to.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use rand::Rng as _;
use schema::CredentialId;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Length of a sealing key, in bytes.
const KEY_BYTES: usize = 32;
/// Length of a nonce, in bytes: long enough to be drawn at random for ever.
const NONCE_BYTES: usize = 24;
/// Keeps the id of a key apart from any other hash of it.
const KEY_ID_DOMAIN: &[u8] = b"fleetlog sealing key id\0";

/// Base64 as people and tools write it: either alphabet is taken, padded or not.
const BASE64: GeneralPurpose = lenient(&alphabet::STANDARD);
const BASE64_URL: GeneralPurpose = lenient(&alphabet::URL_SAFE);

const fn lenient(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// A key that seals credentials. There is no default.
pub struct SealingKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

/// Why a text is no [`SealingKey`]. The text is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSealingKey {
    /// Neither hex nor base64 of 32 bytes.
    #[error(
        "a sealing key is 32 random bytes, written as hex or base64 (`openssl rand -base64 32` makes one)"
    )]
    Malformed,
    /// All bytes are equal: someone's example.
    #[error("the sealing key is not random")]
    NotRandom,
}

impl SealingKey {
    /// Reads a key from a file's or variable's text; space around it is not part of it.
    pub fn from_text(text: &SecretString) -> Result<Self, InvalidSealingKey> {
        let text = text.expose_secret().trim();
        // 64 hex digits are base64 as well, so the narrower form is tried first.
        let decoded = hex::decode(text)
            .ok()
            .or_else(|| BASE64.decode(text).ok())
            .or_else(|| BASE64_URL.decode(text).ok())
            .map(Zeroizing::new)
            .ok_or(InvalidSealingKey::Malformed)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if decoded.len() != KEY_BYTES {
            return Err(InvalidSealingKey::Malformed);
        }
        key.copy_from_slice(&decoded);
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(InvalidSealingKey::NotRandom);
        }
        Ok(Self::new(key))
    }

    /// A new random key.
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::rng().fill_bytes(key.as_mut());
        Self::new(key)
    }

    /// Which key it is, without saying what it is: stored beside what it seals.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = Sha256::new()
            .chain_update(KEY_ID_DOMAIN)
            .chain_update(key.as_ref())
            .finalize();
        let id = hex::encode(&hash[..8]);
        Self { key, id }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }
}

/// A sealed secret, as it lies in Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Nonce, then the encrypted secret and its tag.
    pub bytes: Vec<u8>,
    /// Which key sealed it.
    pub key_id: String,
}

/// Why a secret cannot be unsealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// The operator's to mend: hand over that key too, as an old one.
    #[error("credential {credential} is sealed with key {key_id}, which was not given")]
    MissingKey {
        /// Whose secret it is.
        credential: CredentialId,
        /// The key that is wanted.
        key_id: String,
    },
    /// The row was damaged or forged: it is not what that key sealed for that credential.
    #[error("the sealed secret of credential {credential} is not what key {key_id} sealed for it")]
    Damaged {
        /// Whose secret it is.
        credential: CredentialId,
        /// The key that the row names.
        key_id: String,
    },
}

/// The keys at hand: one seals, all unseal.
pub struct Keyring {
    active: SealingKey,
    old: Vec<SealingKey>,
}

impl Keyring {
    /// `active` seals from now on; `old` ones only unseal what they once sealed.
    pub fn new(active: SealingKey, old: Vec<SealingKey>) -> Self {
        Self { active, old }
    }

    /// The id of the key that seals.
    pub fn active_id(&self) -> &str {
        self.active.id()
    }

    /// Seals a credential's secret. It can be unsealed for that credential only.
    #[expect(clippy::missing_panics_doc, reason = "it cannot: the cipher takes 256 GiB")]
    pub fn seal(&self, credential: CredentialId, secret: &SecretString) -> Sealed {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: secret.expose_secret().as_bytes(),
            aad: credential.0.as_bytes(),
        };
        let encrypted = self.active.cipher().encrypt(&XNonce::from(nonce), payload);
        let mut bytes = nonce.to_vec();
        bytes.extend(encrypted.expect("a secret is far shorter than what the cipher can encrypt"));
        Sealed {
            bytes,
            key_id: self.active.id.clone(),
        }
    }

    /// Unseals a credential's secret.
    pub fn unseal(&self, credential: CredentialId, sealed: &Sealed) -> Result<SecretString, UnsealError> {
        let key_id = sealed.key_id.clone();
        let mut keys = std::iter::once(&self.active).chain(&self.old);
        let Some(key) = keys.find(|key| key.id == key_id) else {
            return Err(UnsealError::MissingKey { credential, key_id });
        };
        let unseal = || {
            let (nonce, encrypted) = sealed.bytes.split_at_checked(NONCE_BYTES)?;
            let nonce = XNonce::try_from(nonce).ok()?;
            let payload = Payload {
                msg: encrypted,
                aad: credential.0.as_bytes(),
            };
            let secret = Zeroizing::new(key.cipher().decrypt(&nonce, payload).ok()?);
            std::str::from_utf8(&secret).ok().map(SecretString::from)
        };
        unseal().ok_or(UnsealError::Damaged { credential, key_id })
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn credential(n: u128) -> CredentialId {
        CredentialId(Uuid::from_u128(n))
    }

    fn keyring(text: &str) -> Keyring {
        Keyring::new(SealingKey::from_text(&text.into()).unwrap(), Vec::new())
    }

    #[test]
    fn a_key_is_the_same_key_in_hex_and_base64() {
        let bytes = hex::decode(TEXT).unwrap();
        let id = SealingKey::from_text(&TEXT.into()).unwrap().id;
        for text in [
            general_purpose::STANDARD.encode(&bytes),
            general_purpose::URL_SAFE_NO_PAD.encode(&bytes),
            format!("  {}\n", TEXT.to_uppercase()),
        ] {
            assert_eq!(
                SealingKey::from_text(&text.into()).map(|key| key.id),
                Ok(id.clone())
            );
        }
        assert_eq!(id.len(), 16);
        assert!(!TEXT.contains(&id));
    }

    #[test]
    fn keys_that_are_short_long_or_examples_are_refused() {
        let malformed = Some(InvalidSealingKey::Malformed);
        for text in ["", "secret", &TEXT[2..], &format!("{TEXT}00"), "¡no!"] {
            assert_eq!(SealingKey::from_text(&text.into()).err(), malformed, "{text:?}");
        }
        let zeros = "0".repeat(64);
        assert_eq!(
            SealingKey::from_text(&zeros.into()).err(),
            Some(InvalidSealingKey::NotRandom)
        );
    }

    #[test]
    fn a_secret_cannot_be_moved_to_another_credential() {
        let keyring = keyring(TEXT);
        let sealed = keyring.seal(credential(1), &"It's a Secret".into());
        let moved = keyring.unseal(credential(2), &sealed);
        assert!(matches!(moved, Err(UnsealError::Damaged { .. })));
    }

    #[test]
    fn a_missing_key_is_named() {
        let old = keyring(TEXT);
        let sealed = old.seal(credential(1), &"It's a Secret".into());
        let unsealed = Keyring::new(SealingKey::generate(), Vec::new()).unseal(credential(1), &sealed);
        let key_id = old.active_id().to_owned();
        assert_eq!(
            unsealed.err(),
            Some(UnsealError::MissingKey {
                credential: credential(1),
                key_id
            })
        );
    }

    #[test]
    fn an_old_key_unseals_but_no_longer_seals() {
        let sealed = keyring(TEXT).seal(credential(1), &"It's a Secret".into());
        let old = SealingKey::from_text(&TEXT.into()).unwrap();
        let rotated = Keyring::new(SealingKey::generate(), vec![old]);
        let secret = rotated.unseal(credential(1), &sealed).unwrap();
        assert_eq!(secret.expose_secret(), "It's a Secret");
        assert_ne!(rotated.seal(credential(1), &secret).key_id, sealed.key_id);
    }

    proptest! {
        #[test]
        fn what_was_sealed_comes_back_and_is_never_sealed_alike(secret in ".{0,200}", id: u128) {
            let keyring = keyring(TEXT);
            let secret = SecretString::from(secret);
            let sealed = keyring.seal(credential(id), &secret);
            let unsealed = keyring.unseal(credential(id), &sealed).unwrap();
            prop_assert_eq!(unsealed.expose_secret(), secret.expose_secret());
            prop_assert_ne!(keyring.seal(credential(id), &secret), sealed);
        }

        #[test]
        fn an_altered_byte_is_noticed(secret in ".{1,50}", at: prop::sample::Index, by in 1_u8..) {
            let keyring = keyring(TEXT);
            let mut sealed = keyring.seal(credential(1), &SecretString::from(secret));
            let at = at.index(sealed.bytes.len());
            sealed.bytes[at] ^= by;
            prop_assert!(keyring.unseal(credential(1), &sealed).is_err());
        }

        #[test]
        fn no_bytes_break_the_unsealing(bytes: Vec<u8>) {
            let keyring = keyring(TEXT);
            let sealed = Sealed { bytes, key_id: keyring.active_id().to_owned() };
            prop_assert!(keyring.unseal(credential(1), &sealed).is_err());
        }
    }
}
