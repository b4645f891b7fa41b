//! The adapter of the simulator: what a connection of a [`midge::Client`] needs of the world.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use midge::driver::{Destination, Opening, ReadNow, Runtime, Stream, Task, WriteNow};
use midge_proto::Instant;

use crate::World;
use crate::net::{Dial, LookUp, Owner, Socket};
use crate::world::Alarm;

/// What serves one connection. It is ready when the connection has closed.
#[derive(Debug)]
#[must_use = "a connection does nothing unless its driver is polled"]
pub struct Driver {
    task: Task<Simulated>,
    owner: Owner,
}

impl Driver {
    pub(crate) fn new(driver: midge::driver::Driver, world: World) -> Self {
        let dialler = world.clone();
        let owner = world.with(|state| state.net.number());
        let dial = move |to| dial(dialler.clone(), owner, to);
        Self { task: Task::new(driver, Simulated { world, alarm: Alarm::default() }, dial), owner }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.task).poll(context)
    }
}

async fn dial(world: World, owner: Owner, to: Destination) -> io::Result<Socket> {
    let address = match to.address {
        Some(address) => address,
        None => {
            let host = to.server.host().to_owned();
            let found = LookUp::of(world.clone(), host).await?;
            let ip = found.first().ok_or(io::ErrorKind::NotFound)?;
            SocketAddr::new(*ip, to.server.port())
        }
    };
    Dial::new(world, owner, address).await
}

#[derive(Debug)]
struct Simulated {
    world: World,
    alarm: Alarm,
}

impl Runtime for Simulated {
    type Stream = Socket;

    fn resolve(&mut self, host: String) -> Opening<Vec<IpAddr>> {
        Box::pin(LookUp::of(self.world.clone(), host))
    }

    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(&self.world, Some(until), context)
    }

    fn wake_later(&mut self, context: &mut Context<'_>) {
        context.waker().wake_by_ref();
    }
}

impl Stream for Socket {
    fn poll_write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Self::poll_write(self, bytes, context)
    }

    fn poll_read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        Self::poll_read(self, buffer, context)
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn write_now(&self) -> Option<Weak<dyn WriteNow>> {
        let beside: Arc<dyn WriteNow> = self.0.clone();
        Some(Arc::downgrade(&beside))
    }

    fn read_now(&self) -> Option<Weak<dyn ReadNow>> {
        let beside: Arc<dyn ReadNow> = self.0.clone();
        Some(Arc::downgrade(&beside))
    }

    fn write_last(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.write(bytes, None).map_or(Poll::Pending, Poll::Ready)
    }
}
