//! Spans, from a delivery to its row, as a collector hears them.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as AnyValue},
    trace::v1::Span,
};
use prost::Message as _;
use schema::Event;
use serde_json::json;
use tests::{Delivery, Integration, Role, Stack, eventually, free_port, on_stack, read_log};

use crate::{dialects::device, door::known};

/// The trace and the span that a sender is in.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDERS_SPAN: &str = "00f067aa0ba902b7";

/// What takes spans over HTTP, as an OpenTelemetry collector does.
struct Collector {
    url: String,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    spans: Vec<Told>,
    /// Heads and bodies of all requests.
    bytes: Vec<u8>,
}

/// A span, and whose it is.
#[derive(Clone)]
struct Told {
    service: String,
    span: Span,
}

impl Told {
    fn trace(&self) -> String {
        hex::encode(&self.span.trace_id)
    }

    fn id(&self) -> String {
        hex::encode(&self.span.span_id)
    }

    fn parent(&self) -> String {
        hex::encode(&self.span.parent_span_id)
    }

    /// What it says of itself under this name; nothing if it does not.
    fn says(&self, name: &str) -> String {
        said(&self.span.attributes, name)
    }

    fn links(&self) -> Vec<String> {
        let links = self.span.links.iter();
        links
            .map(|link| format!("{}-{}", hex::encode(&link.trace_id), hex::encode(&link.span_id)))
            .collect()
    }
}

fn said(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(AnyValue::StringValue(text)) => text.clone(),
        Some(AnyValue::IntValue(number)) => number.to_string(),
        Some(AnyValue::BoolValue(truth)) => truth.to_string(),
        other => other.map(|value| format!("{value:?}")).unwrap_or_default(),
    }
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = heard.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let heard = shared.clone();
                // A connection that ends has nothing more to say.
                thread::spawn(move || drop(take(&connection, &heard)));
            }
        });
        Self {
            url: format!("http://{address}"),
            heard,
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for spans.
    async fn told(&self, what: &str, is_meant: impl Fn(&Told) -> bool) -> Told {
        eventually(what, || async {
            let heard = self.heard();
            let found = heard.spans.iter().find(|told| is_meant(told)).cloned();
            found.ok_or_else(|| {
                let names = heard.spans.iter().map(|told| told.span.name.as_str());
                format!("heard {:?}", names.collect::<Vec<_>>())
            })
        })
        .await
    }
}

/// Reads requests from a connection until it ends, and takes what they say.
fn take(mut connection: &TcpStream, all: &Mutex<Heard>) -> io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().expect("a length");
            }
            head.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let is_spans = head.starts_with("POST /v1/traces ")
            && head.contains("content-type: application/x-protobuf")
            && head.contains("authorization: Bearer t0ken");
        let request = ExportTraceServiceRequest::decode(body.as_slice());
        let status = match request {
            Ok(request) if is_spans => {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.bytes.extend_from_slice(head.as_bytes());
                all.bytes.extend_from_slice(&body);
                for of_resource in request.resource_spans {
                    let resource = of_resource.resource.unwrap_or_default();
                    let service = said(&resource.attributes, "service.name");
                    let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    all.spans.extend(spans.map(|span| Told {
                        service: service.clone(),
                        span,
                    }));
                }
                "200 OK"
            }
            Ok(_) | Err(_) => "400 Bad Request",
        };
        write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// A door and a fold that tell a collector, and an integration to deliver to.
struct Watched {
    collector: Collector,
    door: Role,
    _fold: Role,
    organization: String,
    to: Integration,
}

impl Watched {
    async fn start(stack: &Stack) -> Self {
        let collector = Collector::start();
        let configured = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken"),
        ];
        let door = stack.role_with(&["ingest"], &configured).await.ready().await;
        let named = [&configured[..], &[("OTEL_SERVICE_NAME", "the-fold")]].concat();
        let fold = stack.role_with(&["projector"], &named).await.ready().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        Self {
            collector,
            door,
            _fold: fold,
            organization,
            to,
        }
    }

    /// A delivery within a trace, of which one event comes.
    fn created(&self, id: &str, traceparent: &str) -> Delivery {
        let event = json!({"type": "device.created", "device": {"id": id, "name": format!("SN-{id}")}});
        Delivery::platform(&self.to, &event).header("traceparent", traceparent)
    }
}

/// What the log's event of a device carries on.
async fn carried(stack: &Stack, id: &str) -> String {
    let log = read_log(&stack.log).await;
    let is_of_device = |event: &Event| event.subject.to_string().ends_with(&format!("/id:{id}"));
    let (_, event) = log
        .iter()
        .find(|(_, event)| is_of_device(event))
        .expect("its event is in the log");
    event.traceparent.clone().unwrap_or_default()
}

#[test]
fn a_delivery_is_followed_from_its_sender_to_its_row() {
    on_stack(|stack| async move {
        let watched = Watched::start(&stack).await;
        let Watched { collector, to, .. } = &watched;
        let context = format!("00-{TRACE}-{SENDERS_SPAN}-01");
        let answer = watched.created("tr-1", &context).post().await.accepted();
        let is = |name: &'static str| move |told: &Told| told.span.name == name && told.trace() == TRACE;
        let delivered = collector
            .told("the delivery is told", is("fleetlog.deliver"))
            .await;
        assert_eq!(delivered.parent(), SENDERS_SPAN);
        let n_events = answer.json["events"].as_array().map_or(0, Vec::len);
        assert_eq!(delivered.service, "fleetlog-ingest");
        assert_eq!(delivered.says("http.response.status_code"), "202");
        assert_eq!(delivered.says("fleetlog.outcome"), "accepted");
        assert_eq!(delivered.says("fleetlog.integration"), to.id);
        assert_eq!(delivered.says("fleetlog.dialect"), "platform");
        assert_eq!(delivered.says("fleetlog.spooled"), "false");
        assert_eq!(delivered.says("fleetlog.events"), n_events.to_string());
        assert_eq!(
            carried(&stack, "tr-1").await,
            format!("00-{TRACE}-{}-01", delivered.id())
        );

        let place = &answer.json["events"][0];
        let projected = collector
            .told("the row is told", |told| {
                is("fleetlog.project")(told) && place["id"] == told.says("messaging.message.id")
            })
            .await;
        assert_eq!(projected.parent(), delivered.id());
        assert_eq!(projected.service, "the-fold");
        let (topic, partition) = (
            projected.says("fleetlog.topic"),
            projected.says("messaging.destination.partition.id"),
        );
        assert_eq!(place["topic"], format!("{}.{topic}", stack.log.prefix));
        assert_eq!(partition, place["partition"].to_string());
        assert_eq!(
            projected.says("messaging.kafka.offset"),
            place["offset"].to_string()
        );
        assert_eq!(projected.says("fleetlog.generation"), "gen_1");
        // Its span ended with its commit, so the row is there.
        let devices = stack.devices(&watched.organization).await;
        assert!(
            devices.iter().any(|device| device["serial"] == "SN-tr-1"),
            "{devices:?}"
        );

        let committed = collector
            .told("the transaction is told", |told| {
                let link = format!("{TRACE}-{}", delivered.id());
                told.span.name == "fleetlog.commit" && told.links().contains(&link)
            })
            .await;
        assert_eq!(
            projected.links(),
            [format!("{}-{}", committed.trace(), committed.id())]
        );
        let partitions = committed.says("fleetlog.partitions");
        assert!(
            partitions.contains(&format!("{topic}/{partition}")),
            "{partitions}"
        );
    });
}

#[test]
fn what_its_sender_does_not_sample_is_told_by_nobody_and_a_stranger_decides_nothing() {
    on_stack(|stack| async move {
        let watched = Watched::start(&stack).await;
        let unsampled = format!("00-{TRACE}-{SENDERS_SPAN}-00");
        watched.created("tr-2", &unsampled).post().await.accepted();
        let carried = carried(&stack, "tr-2").await;
        assert!(
            carried.starts_with(&format!("00-{TRACE}-")) && carried.ends_with("-00"),
            "{carried}"
        );
        assert!(!carried.contains(SENDERS_SPAN), "{carried}");

        let strangers_trace = "11111111111111111111111111111111";
        let stranger = watched
            .created("tr-3", &format!("00-{strangers_trace}-{SENDERS_SPAN}-01"))
            .with("x-api-key", "no such secret");
        assert_eq!(stranger.post().await.status, 401);
        let refused = watched
            .collector
            .told("the refusal is told", |told| {
                told.says("fleetlog.outcome") == "unknown_key"
            })
            .await;
        assert_eq!(refused.says("http.response.status_code"), "401");

        // By the time that a later delivery is told as projected, the earlier ones would have been.
        let later = format!("00-0af7651916cd43dd8448eb211c80319c-{SENDERS_SPAN}-01");
        device(&stack, &watched.organization, "SN-tr-2", |_| true).await;
        watched.created("tr-4", &later).post().await.accepted();
        watched
            .collector
            .told("a later row is told", |told| {
                told.span.name == "fleetlog.project" && later.contains(&told.trace())
            })
            .await;
        watched.door.stop().await.expect("it stops");
        let all = watched.collector.heard();
        let traces: Vec<_> = all.spans.iter().map(Told::trace).collect();
        let may_be_told = |trace: &String| trace != TRACE && trace != strangers_trace;
        assert!(traces.iter().all(may_be_told), "{traces:?}");
        let text = String::from_utf8_lossy(&all.bytes);
        for hidden in [watched.to.secret.as_str(), "no such secret", "SN-tr-4"] {
            assert!(!text.contains(hidden), "{hidden} is told");
        }
    });
}

#[test]
fn a_collector_that_is_away_changes_nothing() {
    on_stack(|stack| async move {
        let nowhere = format!("http://127.0.0.1:{}", free_port());
        let configured = [("OTEL_EXPORTER_OTLP_ENDPOINT", nowhere.as_str())];
        let door = stack.role_with(&["ingest"], &configured).await.ready().await;
        let fold = stack.role_with(&["projector"], &configured).await.ready().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        let begun = Instant::now();
        for n in 0..50 {
            let serial = format!("SN-{n}");
            let event = json!({"type": "device.created", "device": {"id": serial, "name": serial}});
            Delivery::platform(&to, &event).post().await.accepted();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        device(&stack, &organization, "SN-49", |_| true).await;

        for role in [&door, &fold] {
            eventually("lost spans are counted", || async {
                let counted = role.metric("fleetlog_traces_spans_total").await;
                let is_lost = |line: &String| line.contains(r#"outcome="failed""#);
                if counted.iter().any(is_lost) {
                    Ok(())
                } else {
                    Err(format!("{counted:?}"))
                }
            })
            .await;
            let log = role.log_text();
            assert_eq!(
                log.matches("spans do not arrive at the collector").count(),
                1,
                "{log}"
            );
        }
        for role in [door, fold] {
            let begun = Instant::now();
            let status = role.stop().await.expect("it stops");
            assert!(status.success(), "{status}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
    });
}
