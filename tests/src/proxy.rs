//! A TCP proxy in front of a server, so that a test can take the server away from one client alone.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Forwards connections until it is cut or dropped.
pub struct Proxy {
    /// Where clients connect to.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    cut: AtomicBool,
    closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on `port` of the loopback address (0: any free one) and forwards to `server`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(port: u16, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            cut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let held = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if held.closed.load(Ordering::SeqCst) {
                    return;
                }
                forward(client, server, &held);
            }
        });
        Ok(Self { address, state })
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().expect("no thread panics").drain(..) {
            // One end may be closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
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

fn forward(client: TcpStream, server: SocketAddr, state: &Arc<State>) {
    if state.cut.load(Ordering::SeqCst) {
        return;
    }
    let Ok(upstream) = TcpStream::connect(server) else {
        return;
    };
    for (from, to) in [(&client, &upstream), (&upstream, &client)] {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        thread::spawn(move || {
            // Whichever way it ends, both directions end with it.
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Both));
            drop(from.shutdown(Shutdown::Both));
        });
    }
    let mut open = state.open.lock().expect("no thread panics");
    open.extend([client, upstream]);
    if state.cut.load(Ordering::SeqCst) {
        for stream in open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}
