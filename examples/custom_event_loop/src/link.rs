//! One connection and the socket that is open for it: everything that a driver has to do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};

use bytes::Buf;
use midge_proto::{
    Action, Attempt, Config, Connection, DisconnectCause, Event, Instant, Output, ServerUrl,
    TlsMode, Wait,
};
use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::Failure;

/// How often bytes may move before the loop has its turn, so that a busy link starves no other.
const ROUNDS: usize = 16;

/// What a link has for its loop.
pub(crate) enum Next {
    /// Something happened. Ask again.
    Event(Event),
    /// There is nothing to do before this time, unless the socket becomes ready or a command comes.
    Wait(Option<Instant>),
}

pub(crate) struct Link {
    pub(crate) connection: Connection,
    token: Token,
    socket: Option<Socket>,
}

struct Socket {
    stream: TcpStream,
    /// What the connection calls it.
    attempt: Attempt,
    connected: bool,
    /// As far as is known. The poller tells of a change once, so this is remembered until the
    /// socket itself denies it.
    readable: bool,
    writable: bool,
}

impl Link {
    pub(crate) fn new(url: &str, token: Token) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut config = Config::new(vec![ServerUrl::parse(url)?], seed);
        config.tls = TlsMode::Never;
        Ok(Self { connection: Connection::new(config)?, token, socket: None })
    }

    /// The poller has news of the socket. News of an earlier one do no harm: the socket is tried.
    pub(crate) fn is_ready(&mut self, readiness: &Readiness) {
        if let Some(socket) = &mut self.socket {
            socket.readable |= readiness.is_readable() || readiness.is_error();
            socket.writable |= readiness.is_writable() || readiness.is_error();
        }
    }

    /// Does all that can be done without waiting, up to the next event.
    pub(crate) fn next(&mut self, registry: &Registry, now: Instant) -> Next {
        for _ in 0..ROUNDS {
            let wait = loop {
                match self.connection.poll(now) {
                    Output::Action(action) => self.act(action, registry, now),
                    Output::Event(event) => return Next::Event(event),
                    Output::Idle(wait) => break wait,
                    Output::Yield => {}
                }
            };
            match self.transfer(wait, now) {
                Ok(true) => {}
                Ok(false) => return Next::Wait(wait.until),
                Err(cause) => self.lost(cause, now),
            }
        }
        Next::Wait(Some(now))
    }

    fn act(&mut self, action: Action, registry: &Registry, now: Instant) {
        match action {
            // This holds up the whole loop. Who cannot have that asks a resolver elsewhere, and
            // calls `resolved` when it has answered.
            Action::Resolve { attempt, host } => match (&*host, 0).to_socket_addrs() {
                Ok(found) => {
                    let found: Vec<_> = found.map(|address| address.ip()).collect();
                    self.connection.resolved(attempt, &found, now);
                }
                Err(error) => {
                    let cause = DisconnectCause::Resolve(error.to_string());
                    self.connection.closed(attempt, cause, now);
                }
            },
            Action::Connect { attempt, address: Some(address), .. } => {
                match self.dial(attempt, address, registry) {
                    Ok(socket) => self.socket = Some(socket),
                    Err(error) => {
                        let cause = DisconnectCause::Dial(error.to_string());
                        self.connection.closed(attempt, cause, now);
                    }
                }
            }
            Action::Close { .. } => self.socket = None,
            // The configuration asks for nothing else.
            _ => {}
        }
    }

    /// Begins to connect; a socket that is writable has come so far, or failed.
    fn dial(&self, attempt: Attempt, to: SocketAddr, registry: &Registry) -> io::Result<Socket> {
        let mut stream = TcpStream::connect(to)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Socket { stream, attempt, connected: false, readable: false, writable: false })
    }

    /// Moves bytes where the connection wants to and the socket can, in both directions: neither
    /// waits for the other. False when nothing moved.
    fn transfer(&mut self, wait: Wait, now: Instant) -> Result<bool, DisconnectCause> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        if !socket.connected {
            socket.connected = socket.writable && socket.has_connected()?;
            if socket.connected {
                self.connection.connected(socket.attempt, false, now);
            }
            return Ok(socket.connected);
        }
        let mut moved = false;
        if wait.write && socket.writable {
            let out = self.connection.transmit();
            match socket.stream.write(out.chunk()) {
                Ok(count) => {
                    out.advance(count);
                    moved = true;
                }
                Err(error) => socket.writable = blocked(&error)?,
            }
        }
        if wait.read && socket.readable {
            match socket.stream.read(self.connection.read_buf()) {
                Ok(0) => return Err(DisconnectCause::Eof),
                Ok(count) => {
                    self.connection.received(count);
                    moved = true;
                }
                Err(error) => socket.readable = blocked(&error)?,
            }
        }
        Ok(moved)
    }

    fn lost(&mut self, cause: DisconnectCause, now: Instant) {
        if let Some(socket) = self.socket.take() {
            self.connection.closed(socket.attempt, cause, now);
        }
    }
}

impl Socket {
    /// How the attempt to connect has ended, if it has.
    fn has_connected(&mut self) -> Result<bool, DisconnectCause> {
        let failed = |error: io::Error| DisconnectCause::Dial(error.to_string());
        if let Some(error) = self.stream.take_error().map_err(failed)? {
            return Err(failed(error));
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                self.writable = false;
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Not ready after all, or an error.
fn blocked(error: &io::Error) -> Result<bool, DisconnectCause> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(false),
        _ => Err(DisconnectCause::Io(error.to_string())),
    }
}
