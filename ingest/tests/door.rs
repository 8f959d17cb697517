//! The door from outside: real sockets, and a broker that librdkafka simulates within the process.

use std::{net::TcpListener, num::NonZeroUsize, time::Duration};

use control::{CredentialEntry, IntegrationEntry, Parameters, Registry, Scheme, SchemeKind};
use ingest::{Behind, Config};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use schema::{CredentialId, IntegrationId, LogId, OrganizationId, Topic};
use serde_json::Value;
use service::{CancellationToken, Health, Supervisor, telemetry};
use stream::{Appender, LogConfig, LogIdentity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use uuid::Uuid;

const SECRET: &str = "It's a Secret to Everybody";
const ID: &str = "00000000-0000-0000-0000-00000000001a";

/// A door that is open until this is dropped.
struct Open {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    _broker: Option<Broker>,
}

type Broker = MockCluster<'static, DefaultProducerContext>;

/// A simulated broker with the topics of a log.
fn broker() -> Broker {
    let broker = MockCluster::new(1).expect("a simulated broker starts");
    for topic in [Topic::Events, Topic::Readings, Topic::DeadLetters] {
        broker
            .create_topic(&topic.name("door"), 4, 1)
            .expect("a topic is made");
    }
    broker
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An appender that finds a broker, or none.
fn appender(broker: Option<&Broker>) -> Appender {
    let config = LogConfig {
        brokers: broker.map_or("127.0.0.1:1".to_owned(), MockCluster::bootstrap_servers),
        prefix: "door".to_owned(),
        single_broker: true,
        properties: Vec::new(),
    };
    let log = LogIdentity {
        log_id: LogId::random(),
        partitions: 4,
    };
    Appender::to_log(&config, log, Duration::from_secs(2)).expect("a client is made")
}

fn integration(kind: SchemeKind) -> IntegrationEntry {
    let scheme = Scheme::new(kind, Parameters::default()).expect("the usual parameters suit");
    let key = scheme.key(&SECRET.into()).expect("the secret suits");
    let id = IntegrationId(ID.parse().expect("an id"));
    let mut integration = IntegrationEntry::new(id, OrganizationId(Uuid::from_u128(1)));
    integration.credentials = vec![CredentialEntry::new(
        CredentialId(Uuid::from_u128(2)),
        scheme,
        key,
    )];
    integration
}

fn open(integration: IntegrationEntry, has_broker: bool, change: impl FnOnce(&mut Config)) -> Open {
    let metrics = telemetry::init("door", Some("off")).expect("the filter is well-formed");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let mut config = Config::usual("door", NonZeroUsize::MIN);
    change(&mut config);
    let broker = has_broker.then(broker);
    let appender = appender(broker.as_ref());
    let stop = CancellationToken::new();
    let mut tasks = Supervisor::new(Duration::from_secs(5));
    tasks.start("door", |stop| {
        let behind = Behind {
            registry: Registry::fixed([integration]),
            log: appender.into(),
            spool: None,
        };
        let health = Health::default();
        ingest::run(listener, config, behind, health, metrics, stop.cancelled_owned())
    });
    let told = stop.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        drop(runtime.block_on(tasks.run_until(told.cancelled_owned())));
    });
    Open {
        address,
        stop,
        _broker: broker,
    }
}

/// An answer, as far as tests look at it.
struct Answer {
    status: u16,
    head: String,
    json: Value,
    took: Duration,
}

impl Open {
    /// Sends bytes and reads the answer.
    async fn exchange(&self, request: &[u8]) -> Answer {
        let begun = Instant::now();
        let mut connection = TcpStream::connect(self.address).await.expect("the door is open");
        // The door may answer and close before it has read everything.
        drop(connection.write_all(request).await);
        let mut answer = Vec::new();
        let read = async {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = connection.read(&mut chunk).await {
                answer.extend_from_slice(&chunk[..n]);
                if let Some(complete) = parse(&answer) {
                    return complete;
                }
            }
            panic!("no whole answer: {}", String::from_utf8_lossy(&answer));
        };
        let (status, head, json) = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("an answer comes");
        Answer {
            status,
            head,
            json,
            took: begun.elapsed(),
        }
    }

    /// Posts a delivery of Golioth's, with the right secret and more headers.
    async fn post(&self, headers: &str, body: &str) -> Answer {
        self.exchange(golioth(headers, body).as_bytes()).await
    }
}

fn golioth(headers: &str, body: &str) -> String {
    format!(
        "POST /v1/webhooks/{ID} HTTP/1.1\r\nhost: door\r\nx-api-key: {SECRET}\r\nce-source: d1\r\n\
         ce-type: io.golioth.data.v1/.s/x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn parse(answer: &[u8]) -> Option<(u16, String, Value)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(Some(0), |length| length.parse().ok())?;
    if body.len() < length {
        return None;
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let json = serde_json::from_str(body).unwrap_or_default();
    Some((status, head, json))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_accepted_once_the_log_holds_it() {
    let door = open(integration(SchemeKind::SharedSecret), true, |_| {});
    let answer = door.post("", r#"{"temp":32}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.json);
    let event = &answer.json["events"][0];
    assert_eq!(event["topic"], "door.device-readings.v1");
    assert_eq!(event["offset"], 0);
    assert!(event["id"].is_string() && event["partition"].is_number());
    assert!(answer.json.get("dead_letter").is_none());

    // One after the other on one connection, and packed ones.
    let twice = golioth("", "1").repeat(2);
    assert_eq!(door.exchange(twice.as_bytes()).await.status, 202);

    let letter = door
        .post(
            "ce-foo: bar\r\nx-integration-id: 00000000-0000-0000-0000-00000000001a\r\n",
            "1",
        )
        .await;
    assert_eq!(letter.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_kept_under_its_reason() {
    let door = open(integration(SchemeKind::SharedSecret), true, |_| {});
    let request = format!(
        "POST /v1/webhooks?integration_id={ID} HTTP/1.1\r\nhost: door\r\nx-api-key: {SECRET}\r\ncontent-length: 1\r\n\r\n?"
    );
    let answer = door.exchange(request.as_bytes()).await;
    assert_eq!(answer.status, 202, "{}", answer.json);
    assert_eq!(answer.json["dead_letter"]["reason"], "unrecognized");
    assert_eq!(answer.json["dead_letter"]["topic"], "door.dead-letters.v1");
    assert!(answer.json.get("events").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_status() {
    let door = open(integration(SchemeKind::SharedSecret), true, |config| {
        config.max_body_bytes = 64;
        config.body_timeout = Duration::from_millis(200);
    });
    assert_eq!(door.post("", &" ".repeat(64)).await.status, 202);
    assert_eq!(door.post("", &" ".repeat(65)).await.status, 413);
    let declared = golioth("", "").replace("content-length: 0", "content-length: 65");
    let declared = door.exchange(declared.as_bytes()).await;
    assert_eq!(declared.status, 413);
    assert_eq!(declared.json["reason"], "too_large");
    let chunked = golioth("", "").replace("content-length: 0", "transfer-encoding: chunked")
        + &format!("41\r\n{}\r\n0\r\n\r\n", " ".repeat(65));
    assert_eq!(door.exchange(chunked.as_bytes()).await.status, 413);
    let slow = golioth("", "").replace("content-length: 0", "content-length: 10") + "{";
    let slow = door.exchange(slow.as_bytes()).await;
    assert_eq!(
        (slow.status, slow.json["reason"].as_str()),
        (408, Some("body_timeout"))
    );
    assert!(slow.head.contains("connection: close"));

    let packed = door.post("content-encoding: br\r\n", "{}").await;
    assert_eq!(
        (packed.status, packed.json["reason"].as_str()),
        (415, Some("unsupported_encoding"))
    );
    assert!(packed.head.contains("accept-encoding: gzip, identity"));
    assert_eq!(door.post("content-encoding: gzip\r\n", "{}").await.status, 202);
    assert_eq!(door.post("ce-time: now\r\n", "{}").await.status, 400);
    let conflicting = "x-integration-id: 00000000-0000-0000-0000-00000000001b\r\n";
    assert_eq!(door.post(conflicting, "{}").await.status, 401);

    let get = door
        .exchange(b"GET /v1/webhooks HTTP/1.1\r\nhost: door\r\n\r\n")
        .await;
    assert_eq!(get.status, 405);
    assert!(get.head.contains("allow: post, options"));
    assert!(get.head.contains("content-type: application/problem+json"));
    assert_eq!(
        door.exchange(b"GET /x HTTP/1.1\r\nhost: door\r\n\r\n")
            .await
            .status,
        404
    );
    let live = door
        .exchange(b"GET /health/live HTTP/1.1\r\nhost: door\r\n\r\n")
        .await;
    assert_eq!(live.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_far_over_the_limit_is_refused_in_words() {
    let door = open(integration(SchemeKind::SharedSecret), true, |_| {});
    let answer = door.post("", &" ".repeat(3 * 262_144)).await;
    assert_eq!(
        (answer.status, answer.json["reason"].as_str()),
        (413, Some("too_large"))
    );
    assert_eq!(door.post("", &" ".repeat(262_144)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_at_shutdown_is_answered() {
    let door = open(integration(SchemeKind::SharedSecret), true, |_| {});
    let mut open = TcpStream::connect(door.address).await.expect("the door is open");
    let request = golioth("", r#"{"temp":32}"#);
    let (first, rest) = request.split_at(request.len() - 5);
    open.write_all(first.as_bytes()).await.expect("it is taken");
    // Another delivery proves that the first one's head was read meanwhile.
    assert_eq!(door.post("", "1").await.status, 202);

    door.stop.cancel();
    while TcpStream::connect(door.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    open.write_all(rest.as_bytes()).await.expect("it is still taken");
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_believed_learns_nothing() {
    let door = open(integration(SchemeKind::SharedSecret), true, |_| {});
    let genuine = golioth("", "{}");
    let mut bodies = Vec::new();
    for refused in [
        genuine.replace("x-api-key: It", "x-api-key: No"),
        genuine.replace("x-api-key", "x-other-key"),
        genuine.replace("000001a", "000001b"),
        genuine.replace(ID, "none"),
    ] {
        let answer = door.exchange(refused.as_bytes()).await;
        assert_eq!(answer.status, 401);
        assert!(answer.head.contains("www-authenticate"));
        bodies.push(answer.json.to_string());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(
        door.exchange(genuine.as_bytes()).await.status,
        202,
        "nobody is locked out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_answers_the_same_for_any_id() {
    let door = open(integration(SchemeKind::SharedSecret), true, |_| {});
    for id in [ID, "none"] {
        let ask = |origin: &str| {
            format!(
                "OPTIONS /v1/webhooks/{id} HTTP/1.1\r\nhost: door\r\nwebhook-request-origin: {origin}\r\n\r\n"
            )
        };
        let answer = door.exchange(ask("events.example.com").as_bytes()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("webhook-allowed-origin: events.example.com"));
        assert!(answer.head.contains("webhook-allowed-rate: *"));
        assert!(answer.head.contains("allow: post"));
        assert_eq!(door.exchange(ask("https://x").as_bytes()).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_in_time_and_then_at_once() {
    let door = open(integration(SchemeKind::SharedSecret), false, |_| {});
    let first = door.post("", "{}").await;
    assert_eq!(
        (first.status, first.json["reason"].as_str()),
        (503, Some("log_unavailable"))
    );
    assert!(first.head.contains("retry-after: 1"));
    assert!(first.took < Duration::from_millis(2500), "{:?}", first.took);

    let second = door.post("", "{}").await;
    assert_eq!(second.status, 503);
    assert!(second.took < Duration::from_millis(500), "{:?}", second.took);

    let ready = door
        .exchange(b"GET /health/ready HTTP/1.1\r\nhost: door\r\n\r\n")
        .await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json["checks"]["kafka"]["ok"], false);
    assert_eq!(ready.json["checks"]["registry"]["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_bodies_are_bounded_and_verified_ones_go_on() {
    let mut both = integration(SchemeKind::SharedSecret);
    both.credentials
        .extend(integration(SchemeKind::HmacSha256).credentials);
    let door = open(both, true, |config| config.max_bytes_in_flight = 8000);
    let unverified = |length: usize| {
        let tag = "0".repeat(64);
        format!(
            "POST /v1/webhooks/{ID} HTTP/1.1\r\nhost: door\r\nx-golioth-signature: {tag}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // A body that is a byte short of its end holds its room.
    let mut holding = TcpStream::connect(door.address).await.unwrap();
    holding.write_all(unverified(1000).as_bytes()).await.unwrap();
    holding.write_all(&[b' '; 999]).await.unwrap();

    let probe = unverified(10) + &" ".repeat(10);
    let deadline = Instant::now() + Duration::from_secs(10);
    let busy = loop {
        let answer = door.exchange(probe.as_bytes()).await;
        if answer.status == 503 || Instant::now() > deadline {
            break answer;
        }
    };
    assert_eq!((busy.status, busy.json["reason"].as_str()), (503, Some("busy")));
    assert!(busy.head.contains("retry-after"));
    assert_eq!(door.post("", "{}").await.status, 202);

    drop(holding);
    let refused = loop {
        let answer = door.exchange(probe.as_bytes()).await;
        if answer.status == 401 || Instant::now() > deadline {
            break answer;
        }
    };
    assert_eq!(refused.status, 401, "what was held is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abuse_ceiling_is_told_with_when_to_come_again() {
    let mut limited = integration(SchemeKind::SharedSecret);
    limited.rate_ceiling = std::num::NonZeroU32::new(1);
    let door = open(limited, true, |_| {});
    assert_eq!(door.post("", "{}").await.status, 202);
    let refused = door.post("", "{}").await;
    assert_eq!(
        (refused.status, refused.json["reason"].as_str()),
        (429, Some("ceiling_reached"))
    );
    assert!(refused.head.contains("retry-after: 1"));
}
