//! A load generator that costs little: prepared requests over kept-alive connections, answers read to their end.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::Arc,
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

/// Runs so many connections, each told its number, on a thread and a runtime of their own; returns what each came to.
pub(crate) fn each_connection<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    connections: usize,
    connection: impl Fn(usize) -> F + Sync,
) -> Vec<T> {
    let load = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let tasks: JoinSet<T> = (0..connections).map(&connection).collect();
            tasks.join_all().await
        })
    };
    thread::scope(|scope| scope.spawn(load).join().expect("no panic"))
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
    let begun = Instant::now();
    let until = begun + time;
    let accepted = each_connection(connections, |first| {
        connection(address, requests.clone(), first, until)
    });
    let n: u32 = accepted.into_iter().sum();
    f64::from(n) / begun.elapsed().as_secs_f64()
}

/// Sends until the time is over; returns how many were accepted, which must be all.
async fn connection(address: SocketAddr, requests: Arc<Vec<Vec<u8>>>, first: usize, until: Instant) -> u32 {
    let mut stream = TcpStream::connect(address).await.expect("the door is open");
    stream.set_nodelay(true).expect("a socket option");
    let mut buffer = Vec::with_capacity(4096);
    let mut accepted = 0;
    for request in requests.iter().cycle().skip(first * 97 % requests.len()) {
        if Instant::now() >= until {
            break;
        }
        stream.write_all(request).await.expect("the door reads");
        let status = answer(&mut stream, &mut buffer).await;
        assert!(matches!(status, 200 | 202), "a delivery is refused with {status}");
        accepted += 1;
    }
    accepted
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
