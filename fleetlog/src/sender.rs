//! Sends deliveries as somebody else would: with a proof of who sends, over HTTP.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use control::{Encoding, InvalidSecret, Scheme};
use hmac::{Hmac, KeyInit as _, Mac as _};
use schema::Micros;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::Sha256;

use crate::dialect::Written;

/// How long a receiver may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a receiver may take to answer; `ingest` answers an outage of Kafka within 2.5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What a sender proves itself with.
pub(crate) struct Proof {
    scheme: Scheme,
    key: SecretSlice<u8>,
}

impl Proof {
    /// Takes a secret in the form in which its scheme writes it.
    pub(crate) fn new(scheme: Scheme, secret: &SecretString) -> Result<Self, InvalidSecret> {
        let key = scheme.key(secret)?;
        Ok(Self { scheme, key })
    }

    /// Whether it covers the headers as well as the body.
    pub(crate) fn covers_headers(&self) -> bool {
        matches!(self.scheme, Scheme::SharedSecret { .. })
    }

    /// The headers that prove who sends this body. `id` names the delivery, `at` is when it is sent.
    pub(crate) fn headers(&self, id: &str, at: Micros, body: &[u8]) -> Vec<(String, String)> {
        let seconds = at.as_micros().div_euclid(1_000_000);
        match &self.scheme {
            Scheme::SharedSecret { header, prefix } => {
                let secret = String::from_utf8_lossy(self.key.expose_secret());
                vec![(header.to_string(), format!("{prefix}{secret}"))]
            }
            Scheme::HmacSha256 {
                header,
                prefix,
                encoding,
            } => {
                let tag = self.tag(&[body]);
                let tag = match encoding {
                    Encoding::Hex => hex::encode(tag),
                    Encoding::Base64 => STANDARD.encode(tag),
                };
                vec![(header.to_string(), format!("{prefix}{tag}"))]
            }
            Scheme::TimestampedHmac { header, .. } => {
                let tag = hex::encode(self.tag(&[format!("{seconds}.").as_bytes(), body]));
                vec![(header.to_string(), format!("t={seconds},v1={tag}"))]
            }
            Scheme::StandardWebhooks { .. } => {
                let tag = STANDARD.encode(self.tag(&[format!("{id}.{seconds}.").as_bytes(), body]));
                vec![
                    ("webhook-id".to_owned(), id.to_owned()),
                    ("webhook-timestamp".to_owned(), seconds.to_string()),
                    ("webhook-signature".to_owned(), format!("v1,{tag}")),
                ]
            }
        }
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// What a receiver answered.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body as text.
    pub(crate) body: String,
}

/// A client for as many connections at once.
pub(crate) fn client(connections: usize) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("fleetlog/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(connections)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Posts a delivery and its proof. An error means that nobody knows whether it arrived.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    proof: Vec<(String, String)>,
    written: Written,
) -> Result<Answer, reqwest::Error> {
    let mut request = client.post(url).body(written.body);
    for (name, value) in written.headers.into_iter().chain(proof) {
        request = request.header(name, value);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let body = answer.text().await?;
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use control::{Parameters, SchemeKind};

    use super::*;

    const BODY: &[u8] = br#"{"data":{"temp":32},"device_id":"612d3cecf3ee17d321adbec6","project_id":"my-first-project","timestamp":{"nanos":37421000,"seconds":1643316044}}"#;

    fn check(kind: SchemeKind, parameters: Parameters, secret: &str, expected: &[(&str, &str)]) {
        let scheme = Scheme::new(kind, parameters).unwrap();
        let proof = Proof::new(scheme, &SecretString::from(secret)).unwrap();
        let at = "2022-01-27T20:40:44.9Z".parse().unwrap();
        let headers = proof.headers("baa51655-c067-444c-a91c-6dcea73abc70", at, BODY);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(headers, expected);
    }

    fn in_header(header: &str, prefix: &str) -> Parameters {
        Parameters {
            header: Some(header.to_owned()),
            prefix: Some(prefix.to_owned()),
            ..Parameters::default()
        }
    }

    #[test]
    fn a_shared_secret_is_sent_as_it_is() {
        let expected = [("authorization", "Bearer a secret")];
        let parameters = in_header("Authorization", "Bearer ");
        check(SchemeKind::SharedSecret, parameters, "a secret", &expected);
    }

    #[test]
    fn a_body_is_signed_as_github_signs_it() {
        let signature = "sha256=19856beb69adcc7413b3e67659517a81fe58b327c0fe2f5be8f4dbc8bc885522";
        let expected = [("x-hub-signature-256", signature)];
        let parameters = in_header("X-Hub-Signature-256", "sha256=");
        check(
            SchemeKind::HmacSha256,
            parameters,
            "It's a Secret to Everybody",
            &expected,
        );
    }

    #[test]
    fn a_time_is_signed_with_the_body_as_stripe_does() {
        let signature = "t=1643316044,v1=ee9fb0c80d34a272145ace1e781e57cc83ab91f16e347164663fc408c6fa5ecf";
        let expected = [("x-fleetlog-signature", signature)];
        check(
            SchemeKind::TimestampedHmac,
            Parameters::default(),
            "webhook_secret",
            &expected,
        );
    }

    #[test]
    fn an_id_and_a_time_are_signed_as_standard_webhooks_says() {
        let expected = [
            ("webhook-id", "baa51655-c067-444c-a91c-6dcea73abc70"),
            ("webhook-timestamp", "1643316044"),
            (
                "webhook-signature",
                "v1,qE5nyIMWEnWhEia+GKZJ6W9Tfztb/+eoadfmHPRO3FI=",
            ),
        ];
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        check(
            SchemeKind::StandardWebhooks,
            Parameters::default(),
            secret,
            &expected,
        );
    }
}
