//! A broker that was frozen and is back may say for a moment that there are no brokers. Whoever believes it must not be
//! lost for good.
//!
//! The mock cannot say that, so this one speaks as much of Kafka's protocol as it takes to be asked who is there.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use super::*;

/// What it can be asked, and up to which version.
const APIS: [(i16, i16); 8] = [
    (PRODUCE, 3),
    (FETCH, 4),
    (METADATA, 1),
    (FIND_COORDINATOR, 0),
    (API_VERSIONS, 0),
    (INIT_PRODUCER_ID, 0),
    (JOIN_GROUP, 2),
    (LIST_OFFSETS, 1),
];
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const UNSUPPORTED_VERSION: i16 = 35;

/// A broker that leads nothing well, but knows who is there, or has forgotten it.
struct Broker {
    config: LogConfig,
    forgetful: Arc<AtomicBool>,
    /// How often it has said that nobody is there, and that it is.
    n_said: [Arc<AtomicU32>; 2],
}

impl Broker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let broker = Self {
            config: config(&format!("127.0.0.1:{port}")),
            forgetful: Arc::default(),
            n_said: Default::default(),
        };
        let speaking = Speaking {
            port,
            topics: stream::topics::TOPICS
                .map(|topic| broker.config.topic(topic))
                .to_vec(),
            forgetful: Arc::clone(&broker.forgetful),
            n_said: broker.n_said.clone(),
        };
        // As long as the test runs.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let speaking = speaking.clone();
                // Who ends it is the other side.
                thread::spawn(move || drop(speaking.serve(connection)));
            }
        });
        broker
    }

    /// Says for a moment that there are no brokers, as long as it takes to be heard.
    async fn forget_for_a_moment(&self) {
        self.forgetful.store(true, Ordering::SeqCst);
        eventually("it is asked who is there", || {
            match self.n_said[0].load(Ordering::SeqCst) {
                0 => Err("nobody has asked".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        self.forgetful.store(false, Ordering::SeqCst);
    }

    /// Is asked so many times more who is there.
    async fn is_asked(&self, times: u32) {
        let n_asked = || self.n_said[1].load(Ordering::SeqCst);
        let before = n_asked();
        eventually("it is asked again", || match n_asked() - before {
            n if n >= times => Ok(()),
            n => Err(format!("{n} times")),
        })
        .await;
    }
}

/// One connection's part.
#[derive(Clone)]
struct Speaking {
    port: u16,
    topics: Vec<String>,
    forgetful: Arc<AtomicBool>,
    n_said: [Arc<AtomicU32>; 2],
}

impl Speaking {
    /// Answers until the other side has had enough, or asks what it does not know.
    fn serve(self, mut connection: TcpStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            connection.read_exact(&mut length)?;
            let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("a length")];
            connection.read_exact(&mut request)?;
            let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
            let Some(body) = self.answer(number(0), number(2)) else {
                return Ok(());
            };
            let mut answer = count(body.len() + 4).to_vec();
            answer.extend(&request[4..8]);
            answer.extend(body);
            connection.write_all(&answer)?;
        }
    }

    fn answer(&self, api: i16, version: i16) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        match api {
            API_VERSIONS => {
                let error = if version == 0 { 0 } else { UNSUPPORTED_VERSION };
                body.extend(error.to_be_bytes());
                body.extend(count(APIS.len()));
                for (api, newest) in APIS {
                    for number in [api, 0, newest] {
                        body.extend(number.to_be_bytes());
                    }
                }
            }
            METADATA => self.who_is_there(version, &mut body),
            FIND_COORDINATOR => {
                body.extend(COORDINATOR_NOT_AVAILABLE.to_be_bytes());
                body.extend((-1_i32).to_be_bytes());
                body.extend(text(""));
                body.extend((-1_i32).to_be_bytes());
            }
            INIT_PRODUCER_ID => {
                body.extend([0; 4 + 2]);
                body.extend(1_i64.to_be_bytes());
                body.extend(0_i16.to_be_bytes());
            }
            _ => return None,
        }
        Some(body)
    }

    fn who_is_there(&self, version: i16, body: &mut Vec<u8>) {
        let forgotten = self.forgetful.load(Ordering::SeqCst);
        body.extend(count(usize::from(!forgotten)));
        self.n_said[usize::from(!forgotten)].fetch_add(1, Ordering::SeqCst);
        if !forgotten {
            body.extend(1_i32.to_be_bytes());
            body.extend(text("127.0.0.1"));
            body.extend(i32::from(self.port).to_be_bytes());
            if version > 0 {
                body.extend(text(""));
            }
        }
        let (leader, error) = if forgotten {
            (-1_i32, LEADER_NOT_AVAILABLE)
        } else {
            (1, 0)
        };
        if version > 0 {
            body.extend(leader.to_be_bytes());
        }
        body.extend(count(self.topics.len()));
        for topic in &self.topics {
            body.extend(0_i16.to_be_bytes());
            body.extend(text(topic));
            if version > 0 {
                body.push(0);
            }
            body.extend(count(1));
            body.extend(error.to_be_bytes());
            body.extend(0_i32.to_be_bytes());
            body.extend(leader.to_be_bytes());
            for _ in ["replicas", "those in sync"] {
                body.extend(count(1));
                body.extend(1_i32.to_be_bytes());
            }
        }
    }
}

fn count(n: usize) -> [u8; 4] {
    i32::try_from(n).expect("few").to_be_bytes()
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = i16::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

#[tokio::test]
async fn an_appender_outlives_a_broker_that_says_that_there_are_none() {
    let broker = Broker::start();
    let appender = Appender::to_log(&broker.config, log("0badcafe", 1), TIMEOUT).expect("a producer is made");
    eventually("connected", || appender.health()).await;
    broker.forget_for_a_moment().await;
    eventually("an outage", || appender.health().map_or_else(Ok, Err)).await;
    eventually("connected again", || appender.health()).await;
}

#[tokio::test]
async fn a_reader_asks_again_or_says_that_it_never_will() {
    let broker = Broker::start();
    let topics = [Topic::Events];
    let mut reader =
        Reader::subscribe(&broker.config, "g", &log("0badcafe", 1), &topics, 1).expect("a consumer is made");
    eventually("connected", || reader.health()).await;
    broker.forget_for_a_moment().await;
    // librdkafka may find an address again by itself; that is as well.
    tokio::select! {
        told = reader.next(1, Duration::ZERO) => {
            let told = told.expect_err("there is nothing to read");
            assert!(matches!(told, ReadError::CutOff), "{told}");
        }
        () = broker.is_asked(5) => {}
    }
    // Whoever begins anew is connected.
    let anew =
        Reader::subscribe(&broker.config, "g", &log("0badcafe", 1), &topics, 1).expect("a consumer is made");
    eventually("connected again", || anew.health()).await;
}
