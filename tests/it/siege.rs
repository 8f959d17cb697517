//! Attacks on the door: while they go on, a sender who behaves is answered as ever, and the door's memory stays small.

use std::{cell::Cell, future::Future, process::Command, time::Duration};

use futures_util::{StreamExt as _, future::join_all, stream};
use tests::{Delivery, Integration, Role, Stack, eventually, on_stack};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::door::known;

/// Kilobytes that a door may take beside the bytes of bodies that it lets in.
const OWN_KILOBYTES: u64 = 60 << 10;
/// Kilobytes of bodies that these doors let in.
const IN_FLIGHT_KILOBYTES: u64 = 8 << 10;
/// Kilobytes that the HTTP server may take for a connection whose client asks ahead and reads no answer: it decodes what
/// it has read, up to 128 KiB of heads, before the first of them is answered. Nothing bounds that but the connections.
const AHEAD_KILOBYTES: u64 = 6 << 10;
/// Kilobytes that a worker may take for a while to read a body of CBOR: each item is a hundred times as long in memory.
const CBOR_KILOBYTES: u64 = 24 << 10;
/// A sender who behaves is answered within this, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Deliveries of a sender who behaves, one after the other, while an attack goes on.
const DELIVERIES: usize = 40;

/// A door under attack.
struct Besieged {
    /// Kilobytes that the attack may cost beside.
    allowed: u64,
    door: Role,
    integration: Integration,
    address: std::net::SocketAddr,
}

impl Besieged {
    async fn start(stack: &Stack, variables: &[(&str, &str)]) -> Self {
        let in_flight = (IN_FLIGHT_KILOBYTES << 10).to_string();
        let mut all = vec![("FLEETLOG_MAX_BYTES_IN_FLIGHT", &*in_flight)];
        all.extend(variables);
        let door = stack.role_with(&["ingest"], &all).await.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        let address = door.url.trim_start_matches("http://").parse();
        Self {
            address: address.expect("an address"),
            allowed: 0,
            door,
            integration,
        }
    }

    /// The same where the attack may cost so many kilobytes.
    fn allowing(self, kilobytes: u64) -> Self {
        Self {
            allowed: kilobytes,
            ..self
        }
    }

    /// The path of the integration's webhook.
    fn path(&self) -> &str {
        self.integration.url.trim_start_matches(&self.door.url)
    }

    /// The head of a delivery without its end, proven or not.
    fn head(&self, secret: &str) -> String {
        format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\nce-source: d\r\nce-subject: p\r\n\
             ce-type: io.golioth.data.v1/.s/s\r\n",
            self.path()
        )
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the door takes connections")
    }

    /// Posts as a sender who behaves does; each is answered 202, and what the attack takes stays within bounds.
    async fn goes_on(&self) {
        for n in 0..DELIVERIES {
            let delivery = Delivery::golioth(&self.integration, "good", "/s", format!("{{\"n\":{n}}}"));
            let answer = timeout(PATIENCE, delivery.post()).await;
            let answer = answer.unwrap_or_else(|_| panic!("delivery {n} is not answered"));
            assert_eq!(answer.status, 202, "{n}: {}", answer.json);
        }
        self.stays_small();
    }

    fn stays_small(&self) {
        let most = self.door.most_resident_kilobytes();
        let bound = OWN_KILOBYTES + IN_FLIGHT_KILOBYTES + self.allowed;
        assert!(most < bound, "the door has taken {most} kB of {bound}");
    }

    /// The same while an attack goes on, which does not end by itself.
    async fn goes_on_under(&self, attack: impl Future<Output = ()>) {
        tokio::select! {
            () = attack => panic!("the attack has ended"),
            () = self.goes_on() => {}
        }
    }
}

/// Never ends: what was begun is held.
async fn hold<T>(_held: T) {
    std::future::pending::<()>().await;
}

#[test]
fn who_never_reads_an_answer_holds_nobody_up() {
    on_stack(|stack| async move {
        let n_deaf = 20;
        let it = Besieged::start(&stack, &[]).await;
        let it = it.allowing(AHEAD_KILOBYTES * n_deaf as u64);
        let request = |secret: &str| format!("{}content-length: 2\r\n\r\n{{}}", it.head(secret));
        let (believed, stranger) = (request(&it.integration.secret), request("wrong"));
        let deaf = |n: usize| {
            let request = if n.is_multiple_of(2) { &believed } else { &stranger };
            let piece = request.repeat(64);
            let address = it.address;
            async move {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.set_recv_buffer_size(4096).expect("a socket option");
                let mut stream = socket.connect(address).await.expect("connects");
                // As much as the door takes, up to what would be far too much to keep answers of.
                for _ in 0..200 {
                    let written = timeout(Duration::from_secs(2), stream.write_all(piece.as_bytes())).await;
                    if !matches!(written, Ok(Ok(()))) {
                        break;
                    }
                }
                stream
            }
        };
        let attack = async { hold(join_all((0..n_deaf).map(deaf)).await).await };
        it.goes_on_under(attack).await;
    });
}

#[test]
fn who_sends_slowly_holds_nobody_up() {
    on_stack(|stack| async move {
        let it = Besieged::start(&stack, &[("FLEETLOG_BODY_TIMEOUT", "5s")]).await;
        let bodies = |secret: &str| format!("{}content-length: 100000\r\n\r\n", it.head(secret));
        let begun = [it.head("wrong"), bodies("wrong"), bodies(&it.integration.secret)];
        let n_given_up = Cell::new(0);
        let drip = |n: usize| {
            let begun_with = n % begun.len();
            let begun = begun[begun_with].clone();
            let (it, n_given_up) = (&it, &n_given_up);
            async move {
                // Ended at its deadline, it begins anew.
                loop {
                    let mut stream = it.connect().await;
                    let mut is_open = stream.write_all(begun.as_bytes()).await.is_ok();
                    let mut turn = tokio::time::interval(Duration::from_millis(100));
                    while is_open {
                        turn.tick().await;
                        is_open = stream.write_all(b"x").await.is_ok();
                    }
                    if begun_with == 2 {
                        n_given_up.set(n_given_up.get() + 1);
                    }
                }
            }
        };
        let others = async {
            it.goes_on().await;
            eventually(
                "bodies that its own integrations send too slowly are given up",
                || async {
                    let n = n_given_up.get();
                    if n >= 100 { Ok(()) } else { Err(n.to_string()) }
                },
            )
            .await;
            it.goes_on().await;
        };
        tokio::select! {
            _ = join_all((0..300).map(drip)) => panic!("the attack has ended"),
            () = others => {}
        }
    });
}

/// How many files this process may have open.
fn most_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    soft.unwrap_or(1024)
}

#[test]
fn ten_thousand_idle_connections_hold_nobody_up() {
    on_stack(|stack| async move {
        // As many as the machine lets a process have, beside what other tests hold at the same time.
        let n_idle = most_files().saturating_sub(2_000).min(10_000);
        if n_idle < 10_000 {
            eprintln!(
                "this machine lets a process open {} files: {n_idle} connections",
                most_files()
            );
        }
        let kept = [("FLEETLOG_KEEP_ALIVE", "10m")];
        let it = Besieged::start(&stack, &kept).await;
        // Two buffers each.
        let it = it.allowing(n_idle as u64 * 16);
        // A connection on which nothing is asked is ended after seconds, so all ask for something once.
        let ask = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
        let idle = |_| async {
            let mut stream = it.connect().await;
            stream.write_all(ask).await.expect("the door reads");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("the door answers");
            assert_eq!(&answer, b"HTTP/1.1 200");
            stream
        };
        let held: Vec<TcpStream> = stream::iter(0..n_idle)
            .map(idle)
            .buffer_unordered(200)
            .collect()
            .await;
        let open = it.door.metric("fleetlog_ingest_connections ").await;
        let n_open = open
            .first()
            .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
        let least = n_idle as f64;
        assert!(n_open.is_some_and(|n| n >= least), "{open:?}, {n_idle} were made");
        it.goes_on_under(hold(held)).await;
    });
}

#[test]
fn a_header_of_ten_thousand_signatures_holds_nobody_up() {
    on_stack(|stack| async move {
        let it = Besieged::start(&stack, &[]).await;
        let organization = stack.organization().await;
        let signed = ["--scheme", "standard-webhooks"];
        let signed = stack.integration_with(&it.door, &organization, &signed).await;
        let path = signed.url.trim_start_matches(&it.door.url).to_owned();
        let request = |n: usize| {
            let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= ".repeat(n);
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nwebhook-id: m\r\nwebhook-timestamp: {}\r\n\
                 webhook-signature: {signature}\r\ncontent-length: 2\r\n\r\n{{}}",
                tests::now_seconds()
            )
        };
        // Longer than any head may be; and as long as one may be.
        let cases = [(request(10_000), "431"), (request(2_000), "401")];
        // The registry has heard of the integration once it is not believed.
        eventually("each is refused as it should be", || async {
            for (request, expected) in &cases {
                let answer = status(&it, request).await;
                if answer != *expected {
                    return Err(format!("{answer} and not {expected}"));
                }
            }
            Ok(())
        })
        .await;
        let flood = |n: usize| {
            let (it, request) = (&it, &cases[n % 2].0);
            async move {
                loop {
                    status(it, request).await;
                }
            }
        };
        let attack = async {
            join_all((0..16).map(flood)).await;
        };
        it.goes_on_under(attack).await;
    });
}

/// The status that a request is answered with on a connection of its own; empty if it is only hung up on.
async fn status(it: &Besieged, request: &str) -> String {
    let mut stream = it.connect().await;
    // The door may answer and hang up before it has read everything.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = [0; 12];
    match timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .expect("an answer comes")
    {
        Ok(_) => String::from_utf8_lossy(&answer[9..]).into_owned(),
        Err(_) => String::new(),
    }
}

/// What a pipe of commands prints: bodies that would take more memory here than they are worth.
fn piped(commands: &str) -> Vec<u8> {
    let run = Command::new("/bin/sh").args(["-c", commands]).output();
    let run = run.expect("a shell is there");
    assert!(
        run.status.success() && !run.stdout.is_empty(),
        "{commands}: {run:?}"
    );
    run.stdout
}

#[test]
fn bodies_that_unfold_to_far_more_than_they_are_hold_nobody_up() {
    on_stack(|stack| async move {
        let it = Besieged::start(&stack, &[("FLEETLOG_WORKERS", "2")]).await;
        let it = it.allowing(2 * CBOR_KILOBYTES);
        let deliver = |body: &[u8], kind: &str, coding: &str| {
            let delivery = Delivery::golioth(&it.integration, "bomb", "/s", body);
            let delivery = delivery.with("content-type", kind);
            if coding.is_empty() {
                delivery
            } else {
                delivery.header("content-encoding", coding)
            }
        };
        let longest = 262_144;
        let cbor = |head: &[u8], item: &[u8]| {
            let n_items = (longest - head.len()) / item.len();
            [head, &item.repeat(n_items)].concat()
        };
        let json = "application/json";
        let bombs = [
            (
                deliver(
                    &piped("head -c 64M /dev/zero | tr '\\0' ' ' | gzip -9c"),
                    json,
                    "gzip",
                ),
                413,
            ),
            (
                deliver(
                    &piped("head -c 128M /dev/zero | gzip -9c | gzip -9c"),
                    json,
                    "gzip",
                ),
                202,
            ),
            // A list of as many items as fit, said to be so many, or beyond all bounds; text of no end; lists in lists.
            (
                deliver(&cbor(&[0x9a, 0, 3, 0xff, 0xfb], &[0xf6]), "application/cbor", ""),
                202,
            ),
            (
                deliver(
                    &cbor(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[0xf6]),
                    "application/cbor",
                    "",
                ),
                202,
            ),
            (
                deliver(
                    &cbor(&[0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b"x"),
                    "application/cbor",
                    "",
                ),
                202,
            ),
            (deliver(&cbor(&[], &[0x81]), "application/cbor", ""), 202),
            (
                deliver(&cbor(&[0xbf], &[0x80, 0x80]), "application/cbor", ""),
                202,
            ),
            (deliver("[".repeat(longest).as_bytes(), json, ""), 202),
        ];
        for (n, (bomb, expected)) in bombs.iter().enumerate() {
            let answer = bomb.post().await;
            assert_eq!(answer.status, *expected, "{n}: {}", answer.json);
        }
        let flood = |n: usize| {
            let (bomb, _) = &bombs[n % bombs.len()];
            async move {
                loop {
                    // Beyond what may be in flight they are told so.
                    let answer = bomb.post().await;
                    assert!(matches!(answer.status, 202 | 413 | 503), "{n}: {}", answer.json);
                }
            }
        };
        let attack = async {
            join_all((0..8).map(flood)).await;
        };
        it.goes_on_under(attack).await;
    });
}

#[test]
fn what_the_http_server_refuses_by_itself_is_counted_as_connections_without_a_request() {
    on_stack(|stack| async move {
        let it = Besieged::start(&stack, &[]).await;
        let counted = || async {
            let lines = it
                .door
                .metric("fleetlog_ingest_connections_without_request_total")
                .await;
            lines
                .first()
                .and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let before = counted().await;
        let head = it.head(&it.integration.secret);
        let refused = [
            ("no HTTP at all\r\n\r\n".to_owned(), "400"),
            (
                format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{{}}"),
                "400",
            ),
            (format!("{head}content-length: two\r\n\r\n{{}}"), "400"),
            (format!("{head}x: {}\r\n\r\n", "y".repeat(200_000)), "431"),
            // A head that does not end.
            (head.clone(), "408"),
        ];
        for (request, expected) in &refused {
            assert_eq!(status(&it, request).await, *expected, "{request:.200}");
        }
        eventually("each is counted", || async {
            let n = counted().await - before;
            if n == refused.len() as u64 {
                Ok(())
            } else {
                Err(n.to_string())
            }
        })
        .await;
        // Whoever asks for something is not among them.
        it.goes_on().await;
        assert_eq!(counted().await - before, refused.len() as u64);
    });
}
