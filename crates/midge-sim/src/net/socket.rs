//! What a client holds of a connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use midge::driver::{ReadNow, WriteNow};

use super::{Connection, Owner};
use crate::World;

/// A client's end of a connection, for code that drives one by hand. Dropping it closes it.
#[derive(Debug)]
pub struct Socket(pub(crate) Arc<Open>);

/// What is shared with those who write and read beside a driver.
#[derive(Debug)]
pub(crate) struct Open {
    world: World,
    connection: Connection,
}

impl Socket {
    /// Which connection it belongs to.
    pub fn connection(&self) -> Connection {
        self.0.connection
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
        self.0.read(buffer, context.waker())
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
        self.0.write(bytes, Some(context.waker())).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Open {
    fn read(&self, buffer: &mut [u8], waker: &Waker) -> Poll<io::Result<usize>> {
        let read = self.world.with(|state| state.read(self.connection, buffer, waker));
        read.map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Option<io::Result<usize>> {
        self.world.with(|state| state.write(self.connection, bytes, waker))
    }
}

impl WriteNow for Open {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes, None).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }
}

impl ReadNow for Open {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.world.with(|state| state.is_readable(self.connection, context.waker())) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Of each kind there are some.
    fn tells_ahead(&self) -> bool {
        self.connection.0.is_multiple_of(2)
    }

    fn poll_read(&self, buffer: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.read(buffer, context.waker());
        if let Poll::Ready(Ok(1..)) = read {
            self.world.with(|state| state.net.read_beside += 1);
        }
        read
    }
}

impl Drop for Open {
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
        let open = |connection| Open { world: self.world.clone(), connection };
        Poll::Ready(outcome.map(|connection| Socket(Arc::new(open(connection)))))
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
