use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::*;
use crate::telemetry;

fn settings(endpoint: &str, sampler: &str) -> Settings {
    Settings {
        endpoint: endpoint.parse().unwrap(),
        headers: HeaderMap::new(),
        service_name: None,
        sampling: Sampling::named(sampler, None).unwrap(),
    }
}

fn parent(flags: &str) -> TraceParent {
    TraceParent::parse(&format!(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
    ))
    .unwrap()
}

fn begin(traces: &Traces, parent: Option<&TraceParent>) -> Option<Span> {
    traces.begin("something", SpanKind::Internal, parent, Instant::now())
}

/// Nobody listens there.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v1/traces", listener.local_addr().unwrap())
}

#[test]
fn without_a_collector_there_is_no_span() {
    assert!(begin(&Traces::off(), None).is_none());
}

#[tokio::test]
async fn a_span_is_of_its_parents_trace_and_told_as_its_parent_is() {
    let traces = Traces::to("test", settings(&nowhere(), Sampling::USUAL)).unwrap();
    for (flags, is_told) in [("01", true), ("00", false)] {
        let span = begin(&traces, Some(&parent(flags))).unwrap();
        let carried = span.traceparent().to_string();
        assert!(
            carried.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && carried.ends_with(flags),
            "{carried}"
        );
        assert_ne!(carried, parent(flags).to_string());
        assert_eq!(span.is_recording(), is_told);
        assert_eq!(
            TraceParent::parse(&carried).map(|parent| parent.is_sampled()),
            Some(is_told)
        );
    }
    let own = begin(&traces, None).unwrap();
    assert!(own.is_recording() && own.traceparent().is_sampled());
    traces.stop().await;
}

#[tokio::test]
async fn who_samples_nothing_tells_nothing_and_says_so_to_what_follows() {
    let traces = Traces::to("test", settings(&nowhere(), "always_off")).unwrap();
    let span = begin(&traces, Some(&parent("01"))).unwrap();
    assert!(!span.is_recording() && !span.traceparent().is_sampled());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_collector_that_hangs_and_what_is_dropped_is_counted() {
    let metrics = telemetry::init("test", None).unwrap();
    // It takes connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let traces = Traces::to("test", settings(&url, "always_on")).unwrap();

    let begun = Instant::now();
    for _ in 0..2 * queue::MAX_WAITING {
        drop(begin(&traces, None));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    traces.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    let text = metrics.render();
    let line = text
        .lines()
        .find(|line| line.starts_with(r#"fleetlog_traces_spans_total{outcome="queue_full"}"#));
    let n: usize = line
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0);
    assert!(n >= queue::MAX_WAITING - 512, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_at_the_end_with_the_headers_that_were_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let collector = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&heard).contains("something") {
            let n = connection.read(&mut piece).unwrap();
            assert_ne!(n, 0, "it ended within the request");
            heard.extend_from_slice(&piece[..n]);
        }
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    });
    let mut settings = settings(&url, "always_on");
    settings.headers.insert("x-token", "t0ken".parse().unwrap());
    let traces = Traces::to("test", settings).unwrap();
    drop(begin(&traces, None));
    traces.stop().await;
    let heard = collector.join().unwrap();
    assert!(heard.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("x-token: t0ken\r\n"), "{heard}");
    assert!(
        heard.contains("content-type: application/x-protobuf\r\n"),
        "{heard}"
    );
    assert!(heard.contains("fleetlog-test"), "{heard}");
}
