//! The loop of an adapter for an async runtime, as one future.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use midge_proto::{Attempt, DisconnectCause, Instant, Wait};

use super::bytes::{Incoming, Spare};
use super::transport::{Resume, WRITE_BYTES};
use super::{Destination, Driver, ReadNow, Turn, WriteNow};

/// After so many rounds, or bytes read, others get their turn.
const ROUNDS: usize = 32;
const READ_BYTES: usize = 128 * 1024;

/// A look-up, or a dial.
pub type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// What opens streams: an adapter by itself, or the application in its place.
type Dialler<S> = Box<dyn FnMut(Destination) -> Opening<S> + Send>;

/// What a [`Task`] needs of an async runtime.
pub trait Runtime {
    /// What is dialled.
    type Stream: Stream;

    /// Looks up the addresses of `host`.
    fn resolve(&mut self, host: String) -> Opening<Vec<IpAddr>>;

    /// Ready once the clock of the connection has reached `until`, however early or late a timer of
    /// the runtime fires. One time is waited for, the last one asked for.
    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()>;

    /// Wakes the task again after others had their turn.
    fn wake_later(&mut self, context: &mut Context<'_>);
}

/// A stream of bytes that a [`Runtime`] has opened. What is not ready wakes the task when it is.
pub trait Stream {
    /// Midge begins no TLS on it and counts it as secure.
    fn is_secure(&self) -> bool {
        false
    }

    /// Ready when a write is worth trying, if only for its error.
    fn poll_write_ready(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Ready when a read is worth trying, if only for its error.
    fn poll_read_ready(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Writes some of the bytes.
    fn poll_write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Reads some bytes. Nothing is the end of the stream.
    fn poll_read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>;

    /// As [`poll_read`](Self::poll_read), into memory that need not be initialised. By default it is.
    fn poll_read_spare(
        &mut self,
        spare: &mut Spare<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_read(spare.initialised(), context)
    }

    /// Writes the stream beside its task, as long as it is there. Only for a stream that holds
    /// nothing back.
    fn write_now(&self) -> Option<Weak<dyn WriteNow>> {
        None
    }

    /// Reads the stream beside its task, as long as it is there. Only for one that is
    /// [written](Self::write_now) so, too.
    fn read_now(&self) -> Option<Weak<dyn ReadNow>> {
        None
    }

    /// Lets go of what the stream holds back.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes what it takes without waiting, outside of the task perhaps.
    fn write_last(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Is about to be dropped, and says so to the other side if that needs no waiting.
    fn close(&mut self) {}
}

/// What is under way with the network.
enum Link<S> {
    None,
    Resolving(Attempt, Opening<Vec<IpAddr>>),
    Dialing(Attempt, Opening<S>),
    Open(Attempt, Transport<S>),
}

impl<S> Link<S> {
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
///
/// An adapter for an async runtime is its [`Runtime`]; this is the rest of it. Whoever drives a
/// connection in another way turns the [`Driver`] itself.
#[must_use = "a connection does nothing unless its task is polled"]
pub struct Task<R: Runtime> {
    driver: Driver,
    runtime: R,
    dialler: Dialler<R::Stream>,
    link: Link<R::Stream>,
    /// Bytes read in this poll.
    read: usize,
    /// The last poll ended in a turn that let others run.
    gave_way: bool,
}

impl<R: Runtime> Task<R> {
    /// A task that turns `driver` and opens streams by `dialler`.
    pub fn new<D, F, S>(driver: Driver, runtime: R, dialler: D) -> Self
    where
        D: FnMut(Destination) -> F + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: Into<R::Stream>,
    {
        let dialler = boxed(dialler);
        Self { driver, runtime, dialler, link: Link::None, read: 0, gave_way: false }
    }

    /// Opens streams by `dialler` from now on.
    pub fn through<D, F, S>(mut self, dialler: D) -> Self
    where
        D: FnMut(Destination) -> F + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: Into<R::Stream>,
    {
        self.dialler = boxed(dialler);
        self
    }

    /// Lets the transport say goodbye, and gives up whatever is under way.
    fn hang_up(&mut self) {
        if let Link::Open(attempt, transport) = &mut self.link {
            transport.farewell(*attempt, &mut self.driver);
        }
        self.link = Link::None;
    }

    /// What is known to be worth doing before the first turn of a poll, which accounts for it.
    fn resume(&mut self, context: &mut Context<'_>) -> Round {
        let Link::Open(attempt, transport) = &mut self.link else { return Round::Progress };
        (transport.write_waits, transport.read_waits) = (false, false);
        if std::mem::take(&mut self.gave_way) {
            // The turn says how often that may be. If it were only written here, and there were more
            // to write each time, nothing would be read.
            return Round::Progress;
        }
        match self.driver.resume(*attempt, context) {
            Resume::Rest(wait) => {
                // It is most often the stream that has woken the task.
                transport.eager = true;
                self.round(context, wait)
            }
            Resume::Read => {
                transport.eager = true;
                if let Poll::Ready(count) = transport.poll_read(&mut self.driver, context) {
                    self.read += count;
                }
                Round::Progress
            }
            Resume::Write => {
                if let Poll::Ready(Err(error)) = transport.poll_write(&mut self.driver, context) {
                    self.driver.write_failed(*attempt, &error);
                }
                Round::Progress
            }
            Resume::Turn => Round::Progress,
        }
    }

    /// Does what may be done without waiting.
    fn round(&mut self, context: &mut Context<'_>, wait: Wait) -> Round {
        if self.poll_link(context, wait).is_ready() {
            // The turn that follows looks at the clock by itself.
            return Round::Progress;
        }
        match wait.until {
            Some(until) if self.runtime.poll_until(until, context).is_ready() => Round::Progress,
            _ => Round::Waiting,
        }
    }

    /// Ready when the driver must turn again.
    fn poll_link(&mut self, context: &mut Context<'_>, wait: Wait) -> Poll<()> {
        let driver = &mut self.driver;
        match &mut self.link {
            Link::None => return Poll::Pending,
            Link::Resolving(attempt, look_up) => {
                let (attempt, result) = (*attempt, ready!(look_up.as_mut().poll(context)));
                self.link = Link::None;
                match result {
                    Ok(addresses) => driver.resolved(attempt, &addresses),
                    Err(error) => {
                        driver.closed(attempt, DisconnectCause::Resolve(error.to_string()));
                    }
                }
            }
            Link::Dialing(attempt, dial) => {
                let (attempt, result) = (*attempt, ready!(dial.as_mut().poll(context)));
                self.link = Link::None;
                match result {
                    Ok(stream) => {
                        let secure = stream.is_secure();
                        let (write, read) = (stream.write_now(), stream.read_now());
                        self.link = Link::Open(attempt, Transport::new(stream));
                        driver.connected(attempt, secure);
                        if let Some(write) = write {
                            driver.writes_now(attempt, write);
                        }
                        if let Some(read) = read {
                            driver.reads_now(attempt, read);
                        }
                    }
                    Err(error) => {
                        driver.closed(attempt, DisconnectCause::Dial(error.to_string()));
                    }
                }
            }
            Link::Open(attempt, transport) => {
                let wrote = match wait.write {
                    true => transport.poll_write(driver, context),
                    false => transport.poll_flush(context),
                };
                if let Poll::Ready(Err(error)) = &wrote {
                    driver.write_failed(*attempt, error);
                }
                // Also after a failed write, which may be known before that there is something to
                // read: the server may have said why before it closed.
                let read = match wait.read {
                    true => transport.poll_read(driver, context),
                    false => Poll::Pending,
                };
                if let Poll::Ready(count) = read {
                    self.read += count;
                } else if !matches!(wrote, Poll::Ready(Ok(true) | Err(_))) {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<R: Runtime + Unpin> Future for Task<R>
where
    R::Stream: Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.read = 0;
        if this.resume(context) == Round::Waiting {
            return Poll::Pending;
        }
        for _ in 0..ROUNDS {
            match this.driver.turn(context) {
                Turn::Resolve { attempt, host } => {
                    this.link = Link::Resolving(attempt, this.runtime.resolve(host));
                }
                Turn::Connect { attempt, to } => {
                    this.link = Link::None;
                    this.link = Link::Dialing(attempt, (this.dialler)(to));
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
                Turn::Yield => {
                    this.gave_way = true;
                    break;
                }
                Turn::Done => {
                    this.link = Link::None;
                    return Poll::Ready(());
                }
            }
            if this.read >= READ_BYTES {
                break;
            }
        }
        this.runtime.wake_later(context);
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Task<R> {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl<R: Runtime> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("attempt", &self.link.attempt()).finish_non_exhaustive()
    }
}

/// A stream that is open, and what is known of it.
struct Transport<S> {
    stream: S,
    /// Bytes written since the last flush.
    unflushed: usize,
    /// It was not ready in this poll, and wakes the task when it is.
    write_waits: bool,
    read_waits: bool,
    /// The last write was not taken: the next one is tried once the stream says that it is ready.
    full: bool,
    /// The next read is tried without asking whether the stream is ready.
    eager: bool,
}

impl<S: Stream> Transport<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            unflushed: 0,
            write_waits: false,
            read_waits: false,
            full: false,
            eager: false,
        }
    }

    /// Ready with true when the driver must turn again. An error is one of a flush.
    fn poll_write(
        &mut self,
        driver: &mut Driver,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.write_waits {
            return Poll::Pending;
        }
        if self.unflushed >= WRITE_BYTES {
            ready!(self.poll_flush(context))?;
        }
        if self.full {
            ready!(self.stream.poll_write_ready(context));
        }
        if let Some(transmit) = driver.take_transmit(WRITE_BYTES) {
            let polled = self.stream.poll_write(&transmit, context);
            self.full = polled.is_pending();
            self.write_waits = self.full;
            let written = at_once(polled, transmit.len());
            self.unflushed += written.as_ref().map_or(0, |count| *count);
            driver.settle(transmit, written);
        }
        Poll::Ready(Ok(true))
    }

    /// Ready when the driver must turn again, with the count of bytes that were read.
    fn poll_read(&mut self, driver: &mut Driver, context: &mut Context<'_>) -> Poll<usize> {
        if self.read_waits {
            return Poll::Pending;
        }
        if !std::mem::take(&mut self.eager) {
            ready!(self.stream.poll_read_ready(context));
        }
        let Some(mut buffer) = driver.take_room() else {
            // Who reads beside the driver wakes it then.
            return if driver.is_read_beside() { Poll::Pending } else { Poll::Ready(0) };
        };
        let polled = match &mut buffer.0 {
            Incoming::Core(room) => self.stream.poll_read_spare(&mut Spare(room), context),
            Incoming::Wire(_) => self.stream.poll_read(&mut buffer, context),
        };
        self.read_waits = polled.is_pending();
        let read = at_once(polled, buffer.len());
        let count = read.as_ref().map_or(0, |count| *count);
        driver.filled(buffer, read);
        Poll::Ready(count)
    }

    /// Ready with false when nothing is held back: of that the driver hears nothing.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.unflushed > 0 {
            let flushed = ready!(self.stream.poll_flush(context));
            self.unflushed = 0;
            flushed?;
        }
        Poll::Ready(Ok(false))
    }

    /// Before it is dropped: writes what it takes without waiting.
    fn farewell(&mut self, attempt: Attempt, driver: &mut Driver) {
        while let Some(transmit) = driver.farewell(attempt) {
            let written = at_once(self.stream.write_last(&transmit), transmit.len());
            driver.settle(transmit, written);
        }
        self.stream.close();
    }
}

/// What the call of a socket that does not wait would have returned, for so many bytes at most.
fn at_once(polled: Poll<io::Result<usize>>, most: usize) -> io::Result<usize> {
    match polled {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        // Nobody would be woken when it is worth trying again.
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::other(error))
        }
        Poll::Ready(result) => result.map(|count| count.min(most)),
    }
}

fn boxed<D, F, S, T>(mut dialler: D) -> Dialler<T>
where
    D: FnMut(Destination) -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: Into<T>,
{
    Box::new(move |to| {
        let dial = dialler(to);
        Box::pin(async move { Ok(dial.await?.into()) })
    })
}
