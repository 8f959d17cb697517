//! Deliveries as senders make them. Signatures are computed here from the schemes' own texts, not by the product.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::Integration;

/// One delivery to be posted.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where to.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, where it is JSON.
    pub json: Value,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// Fails the test unless the delivery was accepted.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "most tests only want to know that it was accepted"
    )]
    pub fn accepted(self) -> Self {
        assert_eq!(self.status, 202, "{}", self.json);
        self
    }
}

/// Lower-case hexadecimal HMAC-SHA256.
pub fn hmac_hex(secret: &[u8], message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a sender reads its own clock")]
pub fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

impl Delivery {
    /// To an integration, without any credential.
    pub fn bare(to: &Integration, body: impl Into<Vec<u8>>) -> Self {
        Self {
            url: to.url.clone(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Golioth Pipelines: binary mode with the static header that Golioth really sends.
    pub fn golioth(to: &Integration, device: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::bare(to, body)
            .header("x-api-key", &to.secret)
            .header("ce-source", device)
            .header("ce-subject", to.project.as_deref().unwrap_or("project-1"))
            .header("ce-type", &format!("io.golioth.data.v1/.s{path}"))
            .header("content-type", "application/json")
    }

    /// A platform event with the static header.
    pub fn platform(to: &Integration, event: &Value) -> Self {
        Self::bare(to, event.to_string())
            .header("x-api-key", &to.secret)
            .header("content-type", "application/json")
    }

    /// Signed with `X-Golioth-Signature`.
    pub fn hmac(to: &Integration, body: impl Into<Vec<u8>>) -> Self {
        let delivery = Self::bare(to, body);
        let signature = hmac_hex(to.secret.as_bytes(), &delivery.body);
        delivery
            .header("x-golioth-signature", &signature)
            .header("content-type", "application/json")
    }

    /// With one more header; an equal name is sent twice.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| held != name);
        self
    }

    /// With another value for a header.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// Posts it.
    pub async fn post(&self) -> Answer {
        self.try_post().await.expect("the door answers")
    }

    /// Posts it; the connection may fail.
    pub async fn try_post(&self) -> reqwest::Result<Answer> {
        let mut request = reqwest::Client::new().post(&self.url).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap_or_default();
        Ok(Answer {
            status,
            headers,
            json: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        })
    }
}
