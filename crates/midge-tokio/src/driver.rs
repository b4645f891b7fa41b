//! What a connection needs of tokio: names, sleeping, and giving way.

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use midge::Instant;
use midge::driver::{Clock, Opening, Runtime, Task};
use tokio::task::unconstrained;
use tokio::time::Sleep;

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
///
/// [`through`](Task::through) has streams opened by a dialler of the application, see
/// [`connect_through`](crate::connect_through).
pub type Driver = Task<Tokio>;

/// Tokio, as a [`Driver`] needs it.
#[derive(Debug)]
pub struct Tokio {
    clock: Arc<TokioClock>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Who `sleep` wakes.
    sleeper: Option<Waker>,
}

impl Tokio {
    pub(crate) fn new(clock: Arc<TokioClock>) -> Self {
        Self { clock, sleep: None, sleeper: None }
    }
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
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            // A timer that is early wakes in vain once, which costs less than moving it each time.
            if sleep.deadline() > at || sleep.is_elapsed() {
                sleep.as_mut().reset(at);
                self.sleeper = None;
            }
            if self.sleeper.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                return Poll::Pending;
            }
            // The driver has just looked at the clock, so that it is looked at again only when a
            // timer has run out.
            // Not held up by the task's share of this poll: else nobody would be woken later.
            if pin!(unconstrained(sleep.as_mut())).poll(context).is_pending() {
                self.sleeper = Some(context.waker().clone());
                return Poll::Pending;
            }
            if self.clock.now() >= until {
                return Poll::Ready(());
            }
        }
    }

    fn wake_later(&mut self, context: &mut Context<'_>) {
        // Woken at once, the task would run again before the reader that it has just served on a
        // current-thread runtime; so the wake waits until all others have had their turn.
        let _ = pin!(tokio::task::yield_now()).poll(context);
    }
}
