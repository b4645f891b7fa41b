//! The loop: bytes between the core and a network that never waits.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::SocketAddr;

use bytes::Buf;
use midge_proto::{Action, Attempt, Connection, DisconnectCause, Event, Instant, Output, Wait};

/// One TCP connection at a time, of which no call waits.
pub trait Network {
    /// What can go wrong.
    type Error: fmt::Display;

    /// The time, from any beginning on, and never backwards.
    fn now(&self) -> Instant;

    /// Begins to connect. A connection that there was is gone.
    ///
    /// # Errors
    ///
    /// The attempt is over.
    fn connect(&mut self, address: SocketAddr) -> Result<(), Self::Error>;

    /// Whether the connection is there.
    ///
    /// # Errors
    ///
    /// It cannot be had.
    fn is_connected(&mut self) -> Result<bool, Self::Error>;

    /// Reads what is there. `None`: nothing yet. `Some(0)`: the other end has closed.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Self::Error>;

    /// Writes as much as fits now, perhaps nothing, and returns how much.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error>;

    /// Closes the connection, or gives up opening it.
    fn disconnect(&mut self);
}

/// Drives a [`Connection`] over a [`Network`].
#[derive(Debug)]
pub struct Driver<N> {
    connection: Connection,
    network: N,
    transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    None,
    Opening(Attempt),
    Open(Attempt),
}

impl<N: Network> Driver<N> {
    /// Nothing happens before the first [`turn`](Self::turn).
    pub fn new(connection: Connection, network: N) -> Self {
        Self { connection, network, transport: Transport::None }
    }

    /// The connection, for commands. [`turn`](Self::turn) carries them out.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The time by the clock of the network.
    pub fn now(&self) -> Instant {
        self.network.now()
    }

    /// Does all that can be done without waiting, and tells `told` what happened. What it does in
    /// answer to that is carried out in the same turn.
    ///
    /// Call it again when the time is that of `Wait::until`, after commands, and often: a network
    /// that does not tell when it is ready must be asked.
    pub fn turn(&mut self, mut told: impl FnMut(&mut Connection, Event)) -> Wait {
        loop {
            match self.connection.poll(self.network.now()) {
                Output::Action(action) => self.act(action),
                Output::Event(event) => told(&mut self.connection, event),
                Output::Yield => {}
                Output::Idle(wait) => match self.move_bytes(wait) {
                    Ok(true) => {}
                    Ok(false) => return wait,
                    Err(cause) => self.lose(cause),
                },
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { attempt, address: Some(address), .. } => {
                self.transport = Transport::Opening(attempt);
                if let Err(error) = self.network.connect(address) {
                    self.lose(failed(&error));
                }
            }
            Action::Close { .. } => {
                self.transport = Transport::None;
                self.network.disconnect();
            }
            // A device without names and keys.
            Action::Resolve { attempt, .. }
            | Action::Connect { attempt, .. }
            | Action::StartTls { attempt, .. }
            | Action::Authorize { attempt, .. } => {
                let cause = "this device knows no names, no TLS and no keys";
                let now = self.network.now();
                self.connection.closed(attempt, DisconnectCause::Io(cause.into()), now);
            }
            // Asked for only when the configuration says so; the core goes on by itself.
            _ => {}
        }
    }

    /// Moves what can be moved. Returns false when nothing could.
    fn move_bytes(&mut self, wait: Wait) -> Result<bool, DisconnectCause> {
        match self.transport {
            Transport::None => return Ok(false),
            Transport::Open(_) => {}
            Transport::Opening(attempt) => {
                if !self.network.is_connected().map_err(|error| failed(&error))? {
                    return Ok(false);
                }
                self.connection.connected(attempt, false, self.network.now());
                self.transport = Transport::Open(attempt);
                return Ok(true);
            }
        }
        let mut moved = false;
        if wait.write {
            let out = self.connection.transmit();
            let written = self.network.write(out.chunk()).map_err(|error| failed(&error))?;
            out.advance(written.min(out.remaining()));
            moved |= written > 0;
        }
        if wait.read {
            let read = self.network.read(self.connection.read_buf());
            match read.map_err(|error| failed(&error))? {
                None => {}
                Some(0) => return Err(DisconnectCause::Eof),
                Some(count) => {
                    self.connection.received(count);
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    fn lose(&mut self, cause: DisconnectCause) {
        self.network.disconnect();
        if let Transport::Opening(attempt) | Transport::Open(attempt) = self.transport {
            self.transport = Transport::None;
            self.connection.closed(attempt, cause, self.network.now());
        }
    }
}

fn failed(error: &impl fmt::Display) -> DisconnectCause {
    let text: String = error.to_string();
    DisconnectCause::Io(text)
}
