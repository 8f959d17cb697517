//! What PostgreSQL keeps of a password: RFC 5802 with SHA-256, as in RFC 7677.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// PostgreSQL's own default.
const ITERATIONS: u32 = 4096;

/// What the server checks a password with, in the form in which `ALTER ROLE … PASSWORD` takes it.
///
/// None unless the password is printable ASCII and not empty: what else there is would have to be prepared alike on
/// both sides.
pub(super) fn verifier(password: &str, salt: &[u8]) -> Option<String> {
    let printable = password
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if password.is_empty() || !printable {
        return None;
    }
    let salted = salted(password.as_bytes(), salt);
    let client_key = tag(&salted, &[b"Client Key"]);
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let server_key = tag(&salted, &[b"Server Key"]);
    let [salt, stored_key, server_key] = [salt, &stored_key, &server_key].map(|bytes| STANDARD.encode(bytes));
    Some(format!(
        "SCRAM-SHA-256${ITERATIONS}:{salt}${stored_key}:{server_key}"
    ))
}

/// PBKDF2 with HMAC-SHA256, one block.
fn salted(password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut block = tag(password, &[salt, &1_u32.to_be_bytes()]);
    let mut salted = block;
    for _ in 1..ITERATIONS {
        block = tag(password, &[&block]);
        for (sum, byte) in salted.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    salted
}

fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3: salt and iterations are given, and the proof of the exchange follows from
    /// the keys.
    #[test]
    fn the_published_exchange_is_verified() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = verifier("pencil", &salt).unwrap();
        let (start, keys) = verifier.rsplit_once('$').unwrap();
        assert_eq!(start, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");

        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                       r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                       c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (stored_key, server_key) = keys.split_once(':').unwrap();
        let signature = tag(&STANDARD.decode(server_key).unwrap(), &[message.as_bytes()]);
        assert_eq!(
            STANDARD.encode(signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );

        let client_signature = tag(&STANDARD.decode(stored_key).unwrap(), &[message.as_bytes()]);
        let client_key = tag(&salted(b"pencil", &salt), &[b"Client Key"]);
        let proof: Vec<u8> = client_key
            .iter()
            .zip(client_signature)
            .map(|(a, b)| a ^ b)
            .collect();
        assert_eq!(
            STANDARD.encode(proof),
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
    }

    #[test]
    fn what_would_need_preparation_is_refused() {
        assert_eq!(verifier("", b"salt"), None);
        assert_eq!(verifier("pässword", b"salt"), None);
        assert_eq!(verifier("a\nb", b"salt"), None);
    }
}
