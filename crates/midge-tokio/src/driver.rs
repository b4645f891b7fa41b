//! The loop between a connection and tokio: dial, read, write, sleep.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use midge::driver::midge_proto::{Attempt, Wait};
use midge::driver::{Clock, Destination, Turn};
use midge::{DisconnectCause, Instant};
use tokio::time::Sleep;

use crate::dial::{self, Boxed, Dialler};
use crate::transport::Transport;

/// After so many rounds, or bytes read, others get their turn.
const ROUNDS: usize = 32;
const READ_BYTES: usize = 128 * 1024;

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

/// What is under way with the network.
enum Link {
    None,
    Resolving(Attempt, Boxed<Vec<IpAddr>>),
    Dialing(Attempt, Boxed<Transport>),
    Open(Attempt, Transport),
}

impl Link {
    fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::None => None,
            Self::Resolving(attempt, _) | Self::Dialing(attempt, _) | Self::Open(attempt, _) => {
                Some(*attempt)
            }
        }
    }
}

/// What a round came to.
#[derive(PartialEq, Eq)]
enum Round {
    /// Something was done: turn again.
    Progress,
    /// Wakers are registered for all that is waited for.
    Waiting,
}

/// The future that serves one connection. It is ready when the connection has closed.
#[must_use = "a connection does nothing unless its driver is polled"]
pub struct Driver {
    driver: midge::driver::Driver,
    clock: Arc<TokioClock>,
    dialler: Dialler,
    link: Link,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Bytes read in this poll.
    read: usize,
}

impl Driver {
    pub(crate) fn new(driver: midge::driver::Driver, clock: Arc<TokioClock>) -> Self {
        Self {
            driver,
            clock,
            dialler: dial::boxed(dial::tcp),
            link: Link::None,
            sleep: None,
            read: 0,
        }
    }

    /// Opens transports by `dialler` from now on, see [`connect_through`](crate::connect_through).
    pub fn through<D, F, T>(mut self, dialler: D) -> Self
    where
        D: FnMut(Destination) -> F + Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: Into<Transport>,
    {
        self.dialler = dial::boxed(dialler);
        self
    }

    fn resolve(&mut self, attempt: Attempt, host: String) {
        let look_up = async move {
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        };
        self.link = Link::Resolving(attempt, Box::pin(look_up));
    }

    /// Lets the transport say goodbye, and gives up whatever is under way.
    fn hang_up(&mut self) {
        if let Link::Open(_, transport) = &mut self.link {
            transport.farewell(&mut self.driver);
        }
        self.link = Link::None;
    }

    /// Does what may be done without waiting.
    fn round(&mut self, context: &mut Context<'_>, wait: Wait) -> Round {
        let mut round = match self.poll_transport(context, wait) {
            Poll::Ready(()) => Round::Progress,
            Poll::Pending => Round::Waiting,
        };
        if self.poll_until(context, wait.until).is_ready() {
            round = Round::Progress;
        }
        round
    }

    /// Ready when something was done.
    fn poll_transport(&mut self, context: &mut Context<'_>, wait: Wait) -> Poll<()> {
        match &mut self.link {
            Link::None => return Poll::Pending,
            Link::Resolving(attempt, look_up) => {
                let (attempt, result) = (*attempt, ready!(look_up.as_mut().poll(context)));
                self.link = Link::None;
                match result {
                    Ok(addresses) => self.driver.resolved(attempt, &addresses),
                    Err(error) => {
                        self.driver.closed(attempt, DisconnectCause::Resolve(error.to_string()));
                    }
                }
            }
            Link::Dialing(attempt, dial) => {
                let (attempt, result) = (*attempt, ready!(dial.as_mut().poll(context)));
                self.link = Link::None;
                match result {
                    Ok(transport) => {
                        let secure = transport.is_secure();
                        self.link = Link::Open(attempt, transport);
                        self.driver.connected(attempt, secure);
                    }
                    Err(error) => {
                        self.driver.closed(attempt, DisconnectCause::Dial(error.to_string()));
                    }
                }
            }
            Link::Open(attempt, transport) => {
                let attempt = *attempt;
                let mut moved = Poll::Pending;
                let mut end = None;
                if wait.write {
                    match transport.poll_write(&mut self.driver, context) {
                        Poll::Ready(Ok(())) => moved = Poll::Ready(()),
                        Poll::Ready(Err(error)) => end = Some(io_cause(&error)),
                        Poll::Pending => {}
                    }
                } else if let Poll::Ready(Err(error)) = transport.poll_flush(context) {
                    end = Some(io_cause(&error));
                }
                // Also after a failed write: the server may have said why before it closed.
                if wait.read {
                    match transport.poll_read(&mut self.driver, context) {
                        Poll::Ready(Ok(Some(0))) => end = end.or(Some(DisconnectCause::Eof)),
                        Poll::Ready(Ok(count)) => {
                            let count = count.unwrap_or(0);
                            self.read += count;
                            moved = Poll::Ready(());
                            end = end.filter(|_| count == 0);
                        }
                        Poll::Ready(Err(error)) => end = end.or(Some(io_cause(&error))),
                        Poll::Pending => {}
                    }
                }
                let Some(cause) = end else { return moved };
                self.link = Link::None;
                self.driver.closed(attempt, cause);
            }
        }
        Poll::Ready(())
    }

    /// Ready when the clock says that the time has come; the sleep only wakes.
    fn poll_until(&mut self, context: &mut Context<'_>, until: Option<Instant>) -> Poll<()> {
        let Some(until) = until else { return Poll::Pending };
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
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.read = 0;
        if let Link::Open(_, transport) = &mut this.link {
            transport.woken();
        }
        for _ in 0..ROUNDS {
            match this.driver.turn(context) {
                Turn::Resolve { attempt, host } => this.resolve(attempt, host),
                Turn::Connect { attempt, to } => {
                    this.link = Link::None;
                    let dial = (this.dialler)(to);
                    this.link = Link::Dialing(attempt, dial);
                }
                Turn::Close { attempt } => {
                    if this.link.attempt() == Some(attempt) {
                        this.hang_up();
                    }
                }
                Turn::Idle(wait) => {
                    if this.round(context, wait) == Round::Waiting {
                        return Poll::Pending;
                    }
                }
                Turn::Yield => break,
                Turn::Done => {
                    this.link = Link::None;
                    return Poll::Ready(());
                }
            }
            if this.read >= READ_BYTES {
                break;
            }
        }
        // Woken at once, this task would run again before the reader that it has just served on a
        // current-thread runtime; so the wake waits until all others have had their turn.
        let _ = pin!(tokio::task::yield_now()).poll(context);
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("attempt", &self.link.attempt()).finish_non_exhaustive()
    }
}

fn io_cause(error: &io::Error) -> DisconnectCause {
    DisconnectCause::Io(error.to_string())
}
