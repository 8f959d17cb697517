//! Senders: some try again until they are believed, some never do.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tests::{Integration, hmac_hex, now_seconds};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    fleet::{Persistence, Said, Scheme},
    ledger::Ledger,
};

/// How long a sender that never looks back waits for its answer.
const ONE_TRY: Duration = Duration::from_secs(5);
/// The pause before a sender tries again: it doubles, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where deliveries go.
pub(crate) struct Receivers {
    /// Base URLs of the doors.
    pub(crate) doors: [String; 2],
    /// One integration a scheme, in the order of the schemes.
    pub(crate) integrations: Vec<(Scheme, Integration)>,
}

/// Sends everything, each at its time after `began`; persistent senders give up at `until` only.
pub(crate) async fn send_all(
    all: Vec<Said>,
    receivers: Arc<Receivers>,
    ledger: Arc<Mutex<Ledger>>,
    began: Instant,
    until: Instant,
) {
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(16)
        .build()
        .expect("a client");
    let mut senders = JoinSet::new();
    for (n, said) in all.into_iter().enumerate() {
        let sender = Sender {
            n,
            said,
            receivers: receivers.clone(),
            ledger: ledger.clone(),
            client: client.clone(),
            until,
        };
        senders.spawn(async move {
            sleep_until(began + sender.said.at).await;
            sender.send().await;
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("no sender panics");
    }
}

/// Sends one delivery that is beyond doubt to one integration through one door.
///
/// # Errors
/// It was not accepted.
pub(crate) async fn probe(
    receivers: &Receivers,
    number: usize,
    door: &str,
    ledger: &Mutex<Ledger>,
) -> Result<(), String> {
    let (scheme, integration) = &receivers.integrations[number];
    let said = Said {
        at: Duration::ZERO,
        to: number,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: br#"{"event_type": "device.telemetry", "device_name": "probe", "telemetry": {"n": 1}}"#
            .to_vec(),
        id: format!("probe-{number}"),
        persistence: Persistence::Once,
        again: 0,
    };
    let url = format!("{door}/v1/webhooks/{}", integration.id);
    let mut request = reqwest::Client::new().post(url).body(said.body.clone());
    for (name, value) in said
        .headers
        .iter()
        .chain(&proof(*scheme, &integration.secret, &said))
    {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| error.to_string())?;
    if status != 202 {
        return Err(format!("{status} {body}"));
    }
    let json = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    ledger.accepted("a probe", &json);
    Ok(())
}

struct Sender {
    n: usize,
    said: Said,
    receivers: Arc<Receivers>,
    ledger: Arc<Mutex<Ledger>>,
    client: reqwest::Client,
    until: Instant,
}

enum Outcome {
    Accepted,
    Refused,
    /// Put off, or nobody knows.
    Doubtful(String),
}

impl Sender {
    fn note(&self, what: impl FnOnce(&mut Ledger)) {
        what(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn send(&self) {
        self.note(|ledger| ledger.deliveries += 1);
        // Who is balanced to one door first is to the other next.
        let mut turn = self.n;
        let Persistence::Retries { patience } = self.said.persistence else {
            self.attempt(turn, ONE_TRY).await;
            return;
        };
        let mut n_again = self.said.again;
        let mut pause = PAUSE;
        loop {
            match self.attempt(turn, patience).await {
                Outcome::Accepted if n_again > 0 => n_again -= 1,
                Outcome::Accepted | Outcome::Refused => return,
                Outcome::Doubtful(why) if Instant::now() > self.until => {
                    let what = format!("delivery {}: {why}", self.n);
                    self.note(|ledger| ledger.never_accepted.push(what));
                    return;
                }
                Outcome::Doubtful(_) => {}
            }
            turn += 1;
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn attempt(&self, turn: usize, patience: Duration) -> Outcome {
        let (scheme, integration) = &self.receivers.integrations[self.said.to];
        let door = &self.receivers.doors[turn % 2];
        let url = format!("{door}/v1/webhooks/{}", integration.id);
        let mut request = self
            .client
            .post(url)
            .timeout(patience)
            .body(self.said.body.clone());
        let proof = proof(*scheme, &integration.secret, &self.said);
        for (name, value) in self.said.headers.iter().chain(&proof) {
            request = request.header(name, value);
        }
        self.note(|ledger| ledger.attempts += 1);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return self.unanswered(&error),
        };
        let status = answer.status().as_u16();
        let body = match answer.text().await {
            Ok(body) => body,
            Err(error) => return self.unanswered(&error),
        };
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        match status {
            202 => {
                let name = format!("delivery {} through {door}", self.n);
                self.note(|ledger| ledger.accepted(&name, &json));
                Outcome::Accepted
            }
            408 | 429 | 500.. => {
                self.note(|ledger| ledger.put_off += 1);
                Outcome::Doubtful(format!("{status} {body}"))
            }
            _ => {
                let text = String::from_utf8_lossy(&self.said.body).into_owned();
                let what = format!("delivery {} through {door}: {status} {body}: {text}", self.n);
                self.note(|ledger| ledger.refused.push(what));
                Outcome::Refused
            }
        }
    }

    fn unanswered(&self, error: &reqwest::Error) -> Outcome {
        self.note(|ledger| ledger.unanswered += 1);
        Outcome::Doubtful(error.to_string())
    }
}

/// What proves who sends this, from the schemes' own texts; made anew at each attempt, as relays do.
fn proof(scheme: Scheme, secret: &str, said: &Said) -> Vec<(String, String)> {
    let now = now_seconds();
    let header = |name: &str, value: String| (name.to_owned(), value);
    match scheme {
        Scheme::SharedSecret => vec![header("x-api-key", secret.to_owned())],
        Scheme::HmacSha256 => vec![header(
            "x-golioth-signature",
            hmac_hex(secret.as_bytes(), &said.body),
        )],
        Scheme::TimestampedHmac => {
            let signed = [format!("{now}.").as_bytes(), &said.body].concat();
            let tag = hmac_hex(secret.as_bytes(), &signed);
            vec![header("x-fleetlog-signature", format!("t={now},v1={tag}"))]
        }
        Scheme::StandardWebhooks => {
            let key = STANDARD
                .decode(secret.trim_start_matches("whsec_"))
                .expect("the key is base64");
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
            mac.update(format!("{}.{now}.", said.id).as_bytes());
            mac.update(&said.body);
            let tag = STANDARD.encode(mac.finalize().into_bytes());
            vec![
                header("webhook-id", said.id.clone()),
                header("webhook-timestamp", now.to_string()),
                header("webhook-signature", format!("v1,{tag}")),
            ]
        }
    }
}
