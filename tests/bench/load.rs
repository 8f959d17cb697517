//! A load generator that costs little: prepared requests over kept-alive connections, answers read to their end.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tests::Delivery;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// Writes a delivery as the bytes of an HTTP request.
pub(crate) fn request(delivery: &Delivery) -> Vec<u8> {
    let url = delivery.url.trim_start_matches("http://");
    let (host, path) = url.split_once('/').expect("the URL has a path");
    let mut head = format!("POST /{path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in &delivery.headers {
        write!(head, "{name}: {value}\r\n").expect("a string grows");
    }
    write!(head, "content-length: {}\r\n\r\n", delivery.body.len()).expect("a string grows");
    [head.as_bytes(), &delivery.body].concat()
}

/// Sends requests over so many connections for so long; returns accepted deliveries per second.
///
/// Connections take the prepared requests in turn, so that keys spread over the partitions.
pub(crate) fn run(
    address: SocketAddr,
    requests: &Arc<Vec<Vec<u8>>>,
    connections: usize,
    time: Duration,
) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(AtomicU64::new(0));
    let refused = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let generator = {
        let (stop, accepted, refused, requests) =
            (stop.clone(), accepted.clone(), refused.clone(), requests.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                for first in 0..connections {
                    let counted = (stop.clone(), accepted.clone(), refused.clone());
                    tasks.spawn(connection(address, requests.clone(), first, counted));
                }
                while tasks.join_next().await.is_some() {}
            });
        })
    };
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let taken = begun.elapsed();
    let n = accepted.load(Ordering::Relaxed);
    generator.join().expect("no panic");
    assert_eq!(refused.load(Ordering::Relaxed), 0, "every delivery is accepted");
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are small")]
    let n = n as f64;
    n / taken.as_secs_f64()
}

type Counted = (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>);

async fn connection(address: SocketAddr, requests: Arc<Vec<Vec<u8>>>, first: usize, totals: Counted) {
    let (stop, accepted, refused) = totals;
    let mut stream = TcpStream::connect(address).await.expect("the door is open");
    stream.set_nodelay(true).expect("a socket option");
    let mut buffer = Vec::with_capacity(4096);
    for request in requests.iter().cycle().skip(first * 97 % requests.len()) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        stream.write_all(request).await.expect("the door reads");
        let status = answer(&mut stream, &mut buffer).await;
        let total = if matches!(status, 200 | 202) {
            &accepted
        } else {
            &refused
        };
        total.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads one answer and returns its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> u16 {
    try_answer(stream, buffer).await.expect("the door answers")
}

/// Reads one answer and returns its status; none if the door hung up.
pub(crate) async fn try_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).expect("headers are ASCII");
        let length = text.split_once("content-length: ").map_or(0, |(_, rest)| {
            let digits = rest.split("\r\n").next().unwrap_or_default();
            digits.parse().expect("a length")
        });
        if buffer.len() >= head + 4 + length {
            let status = text.get(9..12).and_then(|status| status.parse().ok());
            return Some(status.unwrap_or(0));
        }
    }
}
