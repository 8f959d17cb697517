//! Connections as the door sees them, to count what the HTTP server refuses by itself.
//!
//! The server answers without us where it cannot read a request at all: 400 to what is no HTTP, 431 to a head that is
//! too long, 408 to one that does not arrive; with an empty body each, and without telling. What can be told of that is
//! that a connection ended on which no request had come through.

use std::cell::Cell;

use crate::metrics::{CONNECTIONS, CONNECTIONS_WITHOUT_REQUEST};

/// A connection, kept by the server until it ends.
#[derive(Debug)]
pub(crate) struct Connection {
    has_asked: Cell<bool>,
}

impl Connection {
    /// It has been accepted.
    pub(crate) fn begin() -> Self {
        ::metrics::gauge!(CONNECTIONS).increment(1);
        Self {
            has_asked: Cell::new(false),
        }
    }

    /// A request has come through.
    pub(crate) fn asks(&self) {
        self.has_asked.set(true);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        ::metrics::gauge!(CONNECTIONS).decrement(1);
        if !self.has_asked.get() {
            ::metrics::counter!(CONNECTIONS_WITHOUT_REQUEST).increment(1);
        }
    }
}
