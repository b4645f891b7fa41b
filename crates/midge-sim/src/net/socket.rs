//! What a client holds of a connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::{Connection, Owner};
use crate::World;

/// A client's end of a connection, for code that drives one by hand. Dropping it closes it.
#[derive(Debug)]
pub struct Socket {
    world: World,
    connection: Connection,
}

impl Socket {
    /// Which connection it belongs to.
    pub fn connection(&self) -> Connection {
        self.connection
    }

    /// Reads what has arrived. Nothing is the end.
    ///
    /// # Errors
    ///
    /// `ConnectionReset` once the connection is cut.
    pub fn poll_read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let read = self.world.with(|state| state.read(self.connection, buffer, context.waker()));
        read.map_or(Poll::Pending, Poll::Ready)
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` once the connection is cut.
    pub fn poll_write(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.write(bytes, Some(context.waker())).map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Option<io::Result<usize>> {
        self.world.with(|state| state.write(self.connection, bytes, waker))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.world.with(|state| state.hang_up(self.connection));
    }
}

/// A connection that is being opened.
pub(crate) struct Dial {
    world: World,
    dial: Option<u64>,
}

impl Dial {
    pub(crate) fn new(world: World, owner: Owner, address: SocketAddr) -> Self {
        let dial = world.with(|state| state.dial(owner, address));
        Self { world, dial: Some(dial) }
    }
}

impl Future for Dial {
    type Output = io::Result<Socket>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(dial) = self.dial else { return Poll::Pending };
        let Some(outcome) = self.world.with(|state| state.dialled(dial, context.waker())) else {
            return Poll::Pending;
        };
        self.dial = None;
        Poll::Ready(outcome.map(|connection| Socket { world: self.world.clone(), connection }))
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        if let Some(dial) = self.dial.take() {
            self.world.with(|state| state.give_up(dial));
        }
    }
}

/// A name that is being looked up.
pub(crate) struct LookUp;

impl LookUp {
    pub(crate) async fn of(world: World, host: String) -> io::Result<Vec<IpAddr>> {
        let delay = world.with(|state| state.net.link.latency * 2);
        world.sleep(delay).await;
        let found = world.with(|state| state.net.names.get(&host).cloned());
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
    }
}
