//! A port at which nobody listens, for as long as a test needs it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// A port of `127.0.0.1` at which nobody listens: who dials it is refused. Nobody else gets the port
/// until this is dropped.
#[derive(Debug)]
pub struct ClosedPort {
    port: u16,
    /// Bound, and not listening.
    _socket: OwnedFd,
}

impl ClosedPort {
    /// Takes a free port.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if no port is free.
    pub fn new() -> io::Result<ClosedPort> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
        Ok(ClosedPort { port, _socket: socket })
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a server that is not there.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}
