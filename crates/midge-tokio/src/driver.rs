//! The loop between a connection and tokio: dial, read, write, sleep.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use midge::driver::midge_proto::{Attempt, Wait};
use midge::driver::{Clock, Turn};
use midge::{DisconnectCause, Instant, ServerUrl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The most bytes of one write.
const WRITE_BYTES: usize = 256 * 1024;
/// After so many rounds, or bytes read, others get their turn.
const ROUNDS: usize = 32;
const READ_BYTES: usize = 128 * 1024;

type Boxed<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

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
enum Transport {
    None,
    Resolving(Attempt, Boxed<Vec<IpAddr>>),
    Dialing(Attempt, Boxed<TcpStream>),
    Open(Attempt, TcpStream),
}

impl Transport {
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
    transport: Transport,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Bytes read in this poll.
    read: usize,
}

impl Driver {
    pub(crate) fn new(driver: midge::driver::Driver, clock: Arc<TokioClock>) -> Self {
        Self { driver, clock, transport: Transport::None, sleep: None, read: 0 }
    }

    fn resolve(&mut self, attempt: Attempt, host: String) {
        let look_up = async move {
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        };
        self.transport = Transport::Resolving(attempt, Box::pin(look_up));
    }

    fn dial(&mut self, attempt: Attempt, server: Arc<ServerUrl>, address: Option<SocketAddr>) {
        let dial = async move {
            let stream = match address {
                Some(address) => TcpStream::connect(address).await?,
                None => TcpStream::connect((server.host(), server.port())).await?,
            };
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        self.transport = Transport::Dialing(attempt, Box::pin(dial));
    }

    /// Writes what the socket takes without waiting, before it is closed.
    fn write_once(&mut self) {
        let Transport::Open(_, stream) = &self.transport else { return };
        while let Some(transmit) = self.driver.take_transmit(WRITE_BYTES) {
            let written = stream.try_write(&transmit).unwrap_or(0);
            let all = written == transmit.len();
            self.driver.settle(transmit, written);
            if !all {
                return;
            }
        }
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
        match &mut self.transport {
            Transport::None => return Poll::Pending,
            Transport::Resolving(attempt, look_up) => {
                let (attempt, result) = (*attempt, ready!(look_up.as_mut().poll(context)));
                self.transport = Transport::None;
                match result {
                    Ok(addresses) => self.driver.resolved(attempt, &addresses),
                    Err(error) => {
                        self.driver.closed(attempt, DisconnectCause::Resolve(error.to_string()));
                    }
                }
            }
            Transport::Dialing(attempt, dial) => {
                let (attempt, result) = (*attempt, ready!(dial.as_mut().poll(context)));
                self.transport = Transport::None;
                match result {
                    Ok(stream) => {
                        self.transport = Transport::Open(attempt, stream);
                        self.driver.connected(attempt, false);
                    }
                    Err(error) => {
                        self.driver.closed(attempt, DisconnectCause::Dial(error.to_string()));
                    }
                }
            }
            Transport::Open(attempt, stream) => {
                let attempt = *attempt;
                let mut moved = Poll::Pending;
                let mut end = None;
                if wait.write {
                    match poll_write(&mut self.driver, stream, context) {
                        Poll::Ready(Ok(())) => moved = Poll::Ready(()),
                        Poll::Ready(Err(error)) => end = Some(io_cause(&error)),
                        Poll::Pending => {}
                    }
                }
                // Also after a failed write: the server may have said why before it closed.
                if wait.read {
                    match poll_read(&mut self.driver, stream, context) {
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
                self.transport = Transport::None;
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
        for _ in 0..ROUNDS {
            match this.driver.turn(context) {
                Turn::Resolve { attempt, host } => this.resolve(attempt, host),
                Turn::Connect { attempt, address, server } => {
                    this.dial(attempt, server, address);
                }
                Turn::Close { attempt } => {
                    if this.transport.attempt() == Some(attempt) {
                        this.write_once();
                        this.transport = Transport::None;
                    }
                }
                Turn::Idle(wait) => {
                    if this.round(context, wait) == Round::Waiting {
                        return Poll::Pending;
                    }
                }
                Turn::Yield => break,
                Turn::Done => {
                    this.transport = Transport::None;
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
        self.write_once();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("attempt", &self.transport.attempt()).finish_non_exhaustive()
    }
}

/// Ready when the driver must turn again.
fn poll_write(
    driver: &mut midge::driver::Driver,
    stream: &mut TcpStream,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    ready!(stream.poll_write_ready(context))?;
    let Some(transmit) = driver.take_transmit(WRITE_BYTES) else { return Poll::Ready(Ok(())) };
    let (written, result) = match Pin::new(stream).poll_write(context, &transmit) {
        Poll::Ready(Ok(0)) => (0, Err(io::ErrorKind::WriteZero.into())),
        Poll::Ready(Ok(written)) => (written, Ok(())),
        Poll::Ready(Err(error)) => (0, Err(error)),
        // It was not ready after all; now that is known.
        Poll::Pending => (0, Ok(())),
    };
    driver.settle(transmit, written);
    Poll::Ready(result)
}

/// Ready with the bytes that were read, 0 at the end of the stream; `None` when the driver must
/// turn again all the same.
fn poll_read(
    driver: &mut midge::driver::Driver,
    stream: &mut TcpStream,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<usize>>> {
    ready!(stream.poll_read_ready(context))?;
    let Some(mut buffer) = driver.take_read() else { return Poll::Ready(Ok(None)) };
    let mut room = ReadBuf::new(&mut buffer);
    let result = match Pin::new(stream).poll_read(context, &mut room) {
        Poll::Ready(result) => result.map(|()| Some(room.filled().len())),
        Poll::Pending => Ok(None),
    };
    driver.filled(buffer, result.as_ref().map_or(0, |count| count.unwrap_or(0)));
    Poll::Ready(result)
}

fn io_cause(error: &io::Error) -> DisconnectCause {
    DisconnectCause::Io(error.to_string())
}
