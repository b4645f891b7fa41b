//! What a connection needs of smol: names, sleeping, and streams that are opened.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_io::Timer;
use midge::Instant;
use midge::driver::{Clock, Destination, Opening, Runtime, SystemClock, Task};
use smol::net::TcpStream;

use crate::transport::Transport;

/// The future that serves one connection. It is ready when the connection has closed.
///
/// [`through`](Task::through) has streams opened by a dialler of the application, see
/// [`connect_through`](crate::connect_through).
pub type Driver = Task<Smol>;

/// Smol, as a [`Driver`] needs it.
#[derive(Debug)]
pub struct Smol {
    clock: Arc<SystemClock>,
    timer: Option<(std::time::Instant, Timer)>,
}

impl Smol {
    pub(crate) fn new(clock: Arc<SystemClock>) -> Self {
        Self { clock, timer: None }
    }
}

impl Runtime for Smol {
    type Stream = Transport;

    fn resolve(&mut self, host: String) -> Opening<Vec<IpAddr>> {
        Box::pin(async move {
            let addresses = smol::net::resolve((host, 0)).await?;
            Ok(addresses.into_iter().map(|address| address.ip()).collect())
        })
    }

    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let at = self.clock.at(until);
        while self.clock.now() < until {
            let (set, timer) = self.timer.get_or_insert_with(|| (at, Timer::at(at)));
            // A timer that is early wakes in vain once, which costs less than moving it each time.
            if *set > at {
                timer.set_at(at);
                *set = at;
            }
            ready!(Pin::new(timer).poll(context));
            self.timer = None;
        }
        Poll::Ready(())
    }

    fn wake_later(&mut self, context: &mut Context<'_>) {
        context.waker().wake_by_ref();
    }
}

/// Opens a TCP connection, as is done without a dialler: a name is looked up by the system, and
/// the first of its addresses that answers is taken; the connection has `TCP_NODELAY`.
///
/// # Errors
///
/// Those of the system.
pub async fn tcp(to: Destination) -> io::Result<TcpStream> {
    let stream = match to.address {
        Some(address) => TcpStream::connect(address).await?,
        None => TcpStream::connect((to.server.host(), to.server.port())).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
