//! A TCP proxy in front of a server, so that a test can take the server away from one client alone, or make it slow.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Longest answer of a broker that is passed on, in bytes.
const MAX_FRAME_BYTES: usize = 64 << 20;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It passes.
    Free,
    /// It passes in time: each piece is held back this long.
    Slow(Duration),
    /// Connections break, and new ones are refused.
    Cut,
    /// Nothing passes in either direction, and nobody is told: packets are lost.
    Lost,
    /// The server hears everything, and its answers are lost: what it did is not known.
    Deaf,
}

/// Forwards connections until it is dropped.
pub struct Proxy {
    /// Where clients connect to.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    /// Where the server sends its clients, if it speaks Kafka: its answers then name the proxy instead.
    advertised: Option<[u8; 13]>,
    here: [u8; 13],
    closed: AtomicBool,
    passage: Mutex<Passage>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// Listens on `port` of the loopback address (0: any free one) and forwards to `server`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(port: u16, server: SocketAddr) -> io::Result<Self> {
        Self::begin(port, server, None)
    }

    /// The same in front of a Kafka broker, at any free port: a broker tells its clients where else to connect to,
    /// and that must be here. Each client can so have a proxy of its own.
    ///
    /// # Errors
    /// No port is free.
    pub fn to_kafka(broker: SocketAddr) -> io::Result<Self> {
        Self::to_kafka_at(0, broker)
    }

    /// The same at a port of one's own.
    ///
    /// # Errors
    /// The port is taken.
    pub fn to_kafka_at(port: u16, broker: SocketAddr) -> io::Result<Self> {
        Self::begin(port, broker, Some(as_kafka_writes(broker)))
    }

    fn begin(port: u16, server: SocketAddr, advertised: Option<[u8; 13]>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server,
            advertised,
            here: as_kafka_writes(address),
            closed: AtomicBool::new(false),
            passage: Mutex::new(Passage::Free),
            changed: Condvar::new(),
            open: Mutex::default(),
        });
        let held = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if held.closed.load(Ordering::SeqCst) {
                    return;
                }
                held.forward(client);
            }
        });
        Ok(Self { address, state })
    }

    /// From now on, this becomes of what is sent, on all connections.
    pub fn set(&self, passage: Passage) {
        self.state.set(passage);
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        self.set(Passage::Cut);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.set(Passage::Free);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.state.closed.store(true, Ordering::SeqCst);
        // Wakes whoever waits for the next connection, so that the port is free again.
        drop(TcpStream::connect(self.address));
    }
}

impl State {
    fn passage(&self) -> MutexGuard<'_, Passage> {
        self.passage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, passage: Passage) {
        let before = std::mem::replace(&mut *self.passage(), passage);
        // Answers that were lost do not come after all: their connections are gone.
        if passage == Passage::Cut || (before == Passage::Deaf && passage != Passage::Deaf) {
            for stream in self.open().drain(..) {
                // One end may be closed already.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        self.changed.notify_all();
    }

    fn forward(self: &Arc<Self>, client: TcpStream) {
        if *self.passage() == Passage::Cut {
            return;
        }
        let Ok(upstream) = TcpStream::connect(self.server) else {
            return;
        };
        for stream in [&client, &upstream] {
            // Only a matter of speed.
            drop(stream.set_nodelay(true));
        }
        let ways = [
            (Direction::ToServer, &client, &upstream),
            (Direction::ToClient, &upstream, &client),
        ];
        for (direction, from, to) in ways {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                return;
            };
            let held = self.clone();
            thread::spawn(move || {
                // Whichever way it ends, both directions end with it.
                drop(held.copy(direction, &from, &to));
                drop(to.shutdown(Shutdown::Both));
                drop(from.shutdown(Shutdown::Both));
            });
        }
        let mut open = self.open();
        // Those that have ended need not be remembered.
        open.retain(|stream| stream.peer_addr().is_ok());
        open.extend([client, upstream]);
        drop(open);
        if *self.passage() == Passage::Cut {
            self.set(Passage::Cut);
        }
    }

    fn copy(&self, direction: Direction, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut piece = vec![0; 64 << 10];
        loop {
            let n = match self.advertised {
                Some(advertised) if direction == Direction::ToClient => {
                    read_frame(from, &mut piece)?;
                    rename(&mut piece, &advertised, &self.here);
                    piece.len()
                }
                Some(_) | None => from.read(&mut piece)?,
            };
            if n == 0 {
                return Ok(());
            }
            self.wait(direction)?;
            to.write_all(&piece[..n])?;
        }
    }

    /// Waits until a piece may pass.
    fn wait(&self, direction: Direction) -> io::Result<()> {
        let mut passage = self.passage();
        loop {
            match *passage {
                Passage::Free => return Ok(()),
                Passage::Deaf if direction == Direction::ToServer => return Ok(()),
                Passage::Slow(pause) => {
                    // Until the pause is over, or the passage another.
                    let is_slow = |passage: &mut Passage| *passage == Passage::Slow(pause);
                    let waited = self.changed.wait_timeout_while(passage, pause, is_slow);
                    let (changed, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() {
                        return Ok(());
                    }
                    passage = changed;
                }
                Passage::Cut => return Err(io::ErrorKind::ConnectionReset.into()),
                Passage::Lost | Passage::Deaf => {
                    let changed = self.changed.wait(passage);
                    passage = changed.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// A broker's address as its answers hold it: the host as text, then the port. Of one length on the loopback address.
fn as_kafka_writes(address: SocketAddr) -> [u8; 13] {
    let mut written = *b"127.0.0.1\0\0\0\0";
    written[9..].copy_from_slice(&u32::from(address.port()).to_be_bytes());
    written
}

/// Reads one answer of a broker: its length, and as many bytes.
fn read_frame(mut from: &TcpStream, frame: &mut Vec<u8>) -> io::Result<()> {
    frame.resize(4, 0);
    from.read_exact(frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..])
}

/// Writes one address over another wherever it stands.
fn rename(frame: &mut [u8], from: &[u8; 13], to: &[u8; 13]) {
    let mut place = 0;
    while let Some(found) = frame[place..]
        .windows(from.len())
        .position(|window| window == from)
    {
        place += found;
        frame[place..place + to.len()].copy_from_slice(to);
        place += to.len();
    }
}
