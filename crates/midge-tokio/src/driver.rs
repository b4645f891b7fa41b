//! What a connection needs of tokio: names, sleeping, and giving way.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use midge::Instant;
use midge::driver::{Clock, Destination, Opening, Runtime, Task};
use tokio::time::Sleep;

use crate::dial::tcp;
use crate::transport::Transport;

/// Counts from the moment when it was made.
#[derive(Debug)]
pub(crate) struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

pub(crate) fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock(tokio::time::Instant::now()))
}

/// The future that serves one connection. It is ready when the connection has closed.
#[must_use = "a connection does nothing unless its driver is polled"]
pub struct Driver(Task<Tokio>);

impl Driver {
    pub(crate) fn new(driver: midge::driver::Driver, clock: Arc<TokioClock>) -> Self {
        Self(Task::new(driver, Tokio { clock, sleep: None }, tcp))
    }

    /// Opens transports by `dialler` from now on, see [`connect_through`](crate::connect_through).
    pub fn through<D, F, T>(self, dialler: D) -> Self
    where
        D: FnMut(Destination) -> F + Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: Into<Transport>,
    {
        Self(self.0.through(dialler))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

struct Tokio {
    clock: Arc<TokioClock>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Runtime for Tokio {
    type Stream = Transport;

    fn resolve(&mut self, host: String) -> Opening<Vec<IpAddr>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }

    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let at = self.clock.0 + (until - Instant::ZERO);
        while self.clock.now() < until {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            // A timer that is early wakes in vain once, which costs less than moving it each time.
            if sleep.deadline() > at || sleep.is_elapsed() {
                sleep.as_mut().reset(at);
            }
            ready!(sleep.as_mut().poll(context));
        }
        Poll::Ready(())
    }

    fn wake_later(&mut self, context: &mut Context<'_>) {
        // Woken at once, the task would run again before the reader that it has just served on a
        // current-thread runtime; so the wake waits until all others have had their turn.
        let _ = pin!(tokio::task::yield_now()).poll(context);
    }
}
