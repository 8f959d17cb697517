//! What a door answers and how long each answer takes, whatever it says: for outages, where refusals are the point.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::load;

/// Answers to a load.
pub(crate) struct Answers {
    /// Status of each, and how long it took.
    each: Vec<(u16, Duration)>,
    /// How long the load lasted.
    time: Duration,
}

impl Answers {
    /// How many of a status came a second.
    pub(crate) fn per_second(&self, status: u16) -> f64 {
        let n = self.each.iter().filter(|(held, _)| *held == status).count();
        #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are small")]
        let n = n as f64;
        n / self.time.as_secs_f64()
    }

    /// The time within which so many of a thousand were answered.
    pub(crate) fn within(&self, per_mille: usize) -> Duration {
        let mut sorted: Vec<Duration> = self.each.iter().map(|(_, took)| *took).collect();
        sorted.sort();
        let place = sorted
            .len()
            .saturating_mul(per_mille)
            .div_ceil(1000)
            .saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    /// Median, 99th percentile and the longest, and which statuses there were how often.
    pub(crate) fn summary(&self) -> String {
        let mut statuses: Vec<u16> = self.each.iter().map(|(status, _)| *status).collect();
        statuses.sort_unstable();
        let counted: Vec<String> = statuses
            .chunk_by(|one, other| one == other)
            .map(|equal| format!("{} × {}", equal.len(), equal[0]))
            .collect();
        let [p50, p99, most] = [500, 990, 1000].map(|per_mille| self.within(per_mille));
        format!(
            "p50 {p50:.1?}  p99 {p99:.1?}  most {most:.1?}  ({})",
            counted.join(", ")
        )
    }
}

/// Sends requests over so many connections, each waiting for its answer: for so long, or once each.
pub(crate) fn ask(
    address: SocketAddr,
    requests: &Arc<Vec<Vec<u8>>>,
    connections: usize,
    time: Option<Duration>,
) -> Answers {
    let begun = Instant::now();
    let until = time.map(|time| begun + time);
    let each = load::each_connection(connections, |first| {
        connection(address, requests.clone(), first, until)
    });
    Answers {
        each: each.into_iter().flatten().collect(),
        time: begun.elapsed(),
    }
}

async fn connection(
    address: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    first: usize,
    until: Option<Instant>,
) -> Vec<(u16, Duration)> {
    let mut answers = Vec::new();
    let mut buffer = Vec::with_capacity(4096);
    let mut stream = None;
    for request in requests.iter().cycle().skip(first * 97 % requests.len()) {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let mut open = match stream.take() {
            Some(open) => open,
            None => connect(address).await,
        };
        let begun = Instant::now();
        // A door that refuses a body before it has read it hangs up after its answer.
        let is_sent = open.write_all(request).await.is_ok();
        if let Some(status) = load::try_answer(&mut open, &mut buffer).await {
            answers.push((status, begun.elapsed()));
            stream = Some(open).filter(|_| is_sent);
        }
        if until.is_none() {
            break;
        }
    }
    answers
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the door is open");
    stream.set_nodelay(true).expect("a socket option");
    stream
}
