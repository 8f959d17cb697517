//! What a fleet and its clouds say in one schedule: pure, and the same for the same schedule but for the time it starts.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use schema::Micros;
use serde_json::{Value, json};

use crate::schedule::Schedule;

/// How an integration is proven; headers count only under the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    SharedSecret,
    HmacSha256,
    TimestampedHmac,
    StandardWebhooks,
}

impl Scheme {
    /// One integration of each.
    pub(crate) const ALL: [Self; 4] = [
        Self::SharedSecret,
        Self::HmacSha256,
        Self::TimestampedHmac,
        Self::StandardWebhooks,
    ];

    /// As the command is told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SharedSecret => "shared-secret",
            Self::HmacSha256 => "hmac-sha256",
            Self::TimestampedHmac => "timestamped-hmac",
            Self::StandardWebhooks => "standard-webhooks",
        }
    }
}

/// How long a sender persists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Until it is accepted, waiting this long for each answer.
    Retries { patience: Duration },
    /// It sends once, and does not look back.
    Once,
}

/// One delivery before it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// When it is first sent, after the beginning.
    pub(crate) at: Duration,
    /// The number of the integration.
    pub(crate) to: usize,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Names the delivery where the scheme signs an id.
    pub(crate) id: String,
    pub(crate) persistence: Persistence,
    /// How often it is sent again although it was accepted.
    pub(crate) again: u32,
}

/// The serial number that a device has at first.
pub(crate) fn serial(device: usize) -> String {
    format!("CH-{device:03}")
}

/// A device's id in its cloud.
fn external_id(device: usize) -> String {
    format!("65a0000{device:017x}")
}

/// All that is said, in order of time.
pub(crate) fn said(schedule: &Schedule, start: Micros) -> Vec<Said> {
    let mut rng = ChaCha8Rng::seed_from_u64(schedule.seed);
    rng.set_stream(1);
    // Every device is named soon, most by their cloud first.
    let created = (0..schedule.devices).map(|device| (Some(device), 0.1));
    let others = (schedule.devices..schedule.deliveries).map(|_| (None, 1.0));
    let mut all: Vec<Said> = created
        .chain(others)
        .map(|(created, within)| {
            let at = schedule.traffic.mul_f64(rng.random_range(0.0..within));
            let device = created.unwrap_or_else(|| rng.random_range(0..schedule.devices));
            let mut telling = Telling {
                scheme: Scheme::ALL[device % Scheme::ALL.len()],
                device,
                at: happened(&mut rng, start.plus(at)),
                rng: &mut rng,
                headers: Vec::new(),
            };
            let body = if created.is_some() {
                telling.created()
            } else {
                telling.anything()
            };
            let headers = telling.headers;
            let persistence = if rng.random_ratio(1, 5) {
                Persistence::Once
            } else {
                let millis = rng.random_range(400..5_000);
                Persistence::Retries {
                    patience: Duration::from_millis(millis),
                }
            };
            Said {
                at,
                to: device % Scheme::ALL.len(),
                headers,
                body,
                id: format!("msg_{:016x}", rng.random::<u64>()),
                persistence,
                again: if rng.random_ratio(1, 12) {
                    rng.random_range(1..=2)
                } else {
                    0
                },
            }
        })
        .collect();
    all.sort_by_key(|said| said.at);
    all
}

/// Most things are said when they happen; some are late, some very late, some ahead of their time.
fn happened(rng: &mut ChaCha8Rng, now: Micros) -> Micros {
    match rng.random_range(0..20) {
        0..14 => now,
        14..17 => now.minus(Duration::from_millis(rng.random_range(0..20_000))),
        17 => now.minus(Duration::from_secs(rng.random_range(60..200_000))),
        18 => now.plus(Duration::from_secs(rng.random_range(1..120))),
        // On the second: instants meet.
        _ => Micros::from_seconds_nanos(now.as_micros() / 1_000_000, 0).expect("a second of today"),
    }
}

/// One thing being told.
struct Telling<'a> {
    scheme: Scheme,
    device: usize,
    at: Micros,
    rng: &'a mut ChaCha8Rng,
    headers: Vec<(String, String)>,
}

impl Telling<'_> {
    fn header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn json(&mut self, value: &Value) -> Vec<u8> {
        self.header("content-type", "application/json");
        value.to_string().into_bytes()
    }

    fn created(&mut self) -> Vec<u8> {
        let fields =
            json!({"metadata": {"site": self.device % 3}, "hardwareIds": [format!("hw-{}", self.device)]});
        self.platform("device.created", Some(serial(self.device)), fields)
    }

    fn anything(&mut self) -> Vec<u8> {
        match self.rng.random_range(0..100) {
            0..34 => self.reading(),
            34..44 => self.injected(),
            44..54 => self.structured("/sensor"),
            54..58 => self.batch(),
            58..64 => self.log(),
            64..72 => self.connection(),
            72..80 => self.firmware(),
            80..86 => self.updated(),
            86..92 => self.renamed(),
            92..95 => self.telemetry(),
            95..97 => self.platform("device.deleted", None, json!({})),
            _ => self.nonsense(),
        }
    }

    fn measured(&mut self) -> Value {
        let n: u32 = self.rng.random_range(0..10_000);
        match self.rng.random_range(0..6) {
            0 => json!({"temp": f64::from(n) / 100.0, "battery": n % 100}),
            1 => json!({"signal": -i64::from(n % 120)}),
            2 => json!([{"temp": n}, {"temp": n + 1}]),
            3 => json!(n),
            4 => json!({"text": format!("ü {n}"), "deep": {"list": [1, null, n]}}),
            _ => json!({"temp": n, "humidity": n % 101}),
        }
    }

    /// Golioth Pipelines, with and without id and time. Where headers are not signed, the body says it all.
    fn reading(&mut self) -> Vec<u8> {
        if self.scheme != Scheme::SharedSecret {
            return if self.rng.random() {
                self.injected()
            } else {
                self.structured("/sensor")
            };
        }
        let path = ["/sensor", "/status", "/deep/path"][self.rng.random_range(0..3)];
        self.envelope(path);
        let value = self.measured();
        self.json(&value)
    }

    fn envelope(&mut self, path: &str) {
        self.header("ce-type", &format!("io.golioth.data.v1/.s{path}"));
        self.header("ce-source", &external_id(self.device));
        self.header("ce-subject", "chaos");
        let (id, time) = (self.rng.random_ratio(3, 4), self.rng.random_ratio(2, 3));
        if id {
            let id = format!("ce-{:016x}", self.rng.random::<u64>());
            self.header("ce-id", &id);
        }
        if time {
            let time = self.at.to_string();
            self.header("ce-time", &time);
        }
    }

    fn injected(&mut self) -> Vec<u8> {
        let micros = self.at.as_micros();
        let (seconds, nanos) = (micros / 1_000_000, micros % 1_000_000 * 1_000);
        let value = json!({"data": self.measured(), "device_id": external_id(self.device), "project_id": "chaos",
            "timestamp": {"seconds": seconds, "nanos": nanos}});
        self.json(&value)
    }

    fn event(&mut self, device: usize, path: &str) -> Value {
        json!({"specversion": "1.0", "type": format!("io.golioth.data.v1/.s{path}"), "source": external_id(device),
            "subject": "chaos", "id": format!("se-{:016x}", self.rng.random::<u64>()), "time": self.at.to_string(),
            "datacontenttype": "application/json", "data": self.measured()})
    }

    fn structured(&mut self, path: &str) -> Vec<u8> {
        let event = self.event(self.device, path);
        self.header("content-type", "application/cloudevents+json");
        event.to_string().into_bytes()
    }

    fn batch(&mut self) -> Vec<u8> {
        let n = self.rng.random_range(1..6);
        // Of one integration: every fourth device.
        let events: Vec<Value> = (0..n)
            .map(|n| self.event(self.device % 4 + 4 * n, "/batch"))
            .collect();
        self.header("content-type", "application/cloudevents-batch+json");
        Value::from(events).to_string().into_bytes()
    }

    fn log(&mut self) -> Vec<u8> {
        let n: u32 = self.rng.random_range(0..1_000);
        let entry = json!({"level": "warn", "module": "modem", "msg": format!("weak signal {n}")});
        if self.scheme == Scheme::SharedSecret {
            self.envelope("/logs");
            return self.json(&entry);
        }
        let mut event = self.event(self.device, "/logs");
        event["data"] = entry;
        self.header("content-type", "application/cloudevents+json");
        event.to_string().into_bytes()
    }

    fn connection(&mut self) -> Vec<u8> {
        let online = self.rng.random();
        let name = if online { "device.online" } else { "device.offline" };
        let status = if online { "online" } else { "offline" };
        self.platform(name, None, json!({"status": status}))
    }

    fn firmware(&mut self) -> Vec<u8> {
        let version = format!("1.{}.0", self.rng.random_range(0..4));
        let package = ["main", "modem"][self.rng.random_range(0..2)];
        let fields = json!({"firmware": {"package": package, "version": version, "target": "1.9.0",
            "state": "IDLE", "reason": "ready state"}});
        self.platform("device.updated", None, fields)
    }

    fn updated(&mut self) -> Vec<u8> {
        let n: u32 = self.rng.random_range(0..5);
        let fields = match n {
            0 => json!({"metadata": null}),
            1 => json!({"lastSeen": self.at.minus(Duration::from_secs(30)).to_string()}),
            2 => json!({"cohortId": "beta", "status": "online"}),
            _ => json!({"metadata": {"site": n, "n": self.rng.random_range(0..4)}}),
        };
        self.platform("device.updated", None, fields)
    }

    /// To a name of its own, or to that of another device.
    fn renamed(&mut self) -> Vec<u8> {
        let name = match self.rng.random_range(0..3) {
            0 => serial(self.device),
            1 => serial(self.device.saturating_sub(4)),
            _ => format!("{}-{}", serial(self.device), self.rng.random_range(0..2)),
        };
        self.platform("device.updated", Some(name), json!({}))
    }

    fn telemetry(&mut self) -> Vec<u8> {
        let value = self.measured();
        let mut event =
            json!({"event_type": "device.telemetry", "timestamp": self.at.to_string(), "telemetry": value});
        if self.rng.random() {
            event["device_id"] = external_id(self.device).into();
        }
        event["device_name"] = serial(self.device).into();
        self.json(&event)
    }

    /// Authentic, and nothing that can be understood.
    fn nonsense(&mut self) -> Vec<u8> {
        let n: u64 = self.rng.random();
        if self.rng.random() {
            return self.json(&json!({"type": "something.else", "n": n}));
        }
        self.header("content-type", "text/plain");
        [b"\xff\x00 ".as_slice(), n.to_string().as_bytes()].concat()
    }

    fn platform(&mut self, name: &str, device_name: Option<String>, fields: Value) -> Vec<u8> {
        let (id, at) = (external_id(self.device), self.at.to_string());
        let event_id = self.rng.random_ratio(2, 3);
        let timed = self.rng.random_ratio(3, 4);
        let mut event = match self.rng.random_range(0..3) {
            0 => {
                let mut device = fields;
                device["id"] = id.into();
                if let Some(name) = device_name {
                    device["name"] = name.into();
                }
                json!({"event": name, "device": device})
            }
            1 => {
                let mut data = fields;
                data["deviceId"] = id.into();
                if let Some(name) = device_name {
                    data["deviceName"] = name.into();
                }
                json!({"type": name, "data": data})
            }
            _ => {
                let mut flat = fields;
                flat["event_type"] = name.into();
                flat["device_id"] = id.into();
                if let Some(name) = device_name {
                    flat["device_name"] = name.into();
                }
                flat
            }
        };
        event["project_id"] = "chaos".into();
        if event_id {
            event["event_id"] = format!("pe-{:016x}", self.rng.random::<u64>()).into();
        }
        if timed {
            event["timestamp"] = at.into();
        }
        self.json(&event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::TRAFFIC;

    #[test]
    fn a_schedule_says_the_same_whenever_it_starts() {
        let schedule = Schedule::draw(7, TRAFFIC);
        let start = Micros::from_micros(1_790_000_000_000_000).unwrap();
        let all = said(&schedule, start);
        assert_eq!(all, said(&schedule, start));
        assert_eq!(all.len(), schedule.deliveries);
        let later = said(&schedule, start.plus(Duration::from_hours(1)));
        let frame = |said: &Said| (said.at, said.to, said.id.clone(), said.persistence, said.again);
        assert_eq!(
            all.iter().map(frame).collect::<Vec<_>>(),
            later.iter().map(frame).collect::<Vec<_>>()
        );
    }

    #[test]
    fn headers_say_nothing_where_they_are_not_signed() {
        for seed in 0..20 {
            let all = said(&Schedule::draw(seed, TRAFFIC), Micros::from_micros(0).unwrap());
            let ce = |said: &Said| said.headers.iter().any(|(name, _)| name.starts_with("ce-"));
            assert!(all.iter().all(|said| said.to == 0 || !ce(said)));
            assert!(all.iter().any(ce));
        }
    }
}
