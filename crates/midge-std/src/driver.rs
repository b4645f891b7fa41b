//! The threads between a connection and blocking sockets.
//!
//! One turns the driver, sleeps until the next deadline, and writes. For each transport another one
//! dials, then reads, and turns the driver itself for what it has read: neither direction waits for
//! the other. They share the driver behind a lock of their own, which no publisher ever takes and
//! which is not held while one of them sleeps, reads or writes.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use midge::driver::midge_proto::{Attempt, Wait};
use midge::driver::{Destination, Transmit, Turn};
use midge::{DisconnectCause, Instant};

use crate::stream::{Stream, tcp};
use crate::wait::waker;

/// The most bytes of one write.
const WRITE_BYTES: usize = 256 * 1024;
/// How long a write may wait before deadlines are looked at again: they are so much late at most,
/// and only while the socket takes nothing.
const WRITE_WAIT: Duration = Duration::from_millis(20);
/// Threads that may be busy with attempts that were given up, besides the one that is needed.
const MAX_HELPERS: usize = 64;
/// After a write failed, so long is waited for what the server said before it closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Dialler = dyn Fn(Destination) -> io::Result<Arc<dyn Stream>> + Send + Sync;

/// What serves one connection, once a thread [runs](Self::run) it.
#[must_use = "a connection does nothing unless its driver runs"]
pub struct Driver {
    driver: midge::driver::Driver,
    dialler: Arc<Dialler>,
}

impl Driver {
    pub(crate) fn new(driver: midge::driver::Driver) -> Self {
        Self { driver, dialler: Arc::new(|to| Ok(Arc::new(tcp(to)?))) }
    }

    /// Opens streams by `dialler`, see [`connect_through`](crate::connect_through).
    pub fn through<D, S>(mut self, dialler: D) -> Self
    where
        D: Fn(Destination) -> io::Result<S> + Send + Sync + 'static,
        S: Stream,
    {
        self.dialler = Arc::new(move |to| Ok(Arc::new(dialler(to)?)));
        self
    }

    /// Serves the connection on this thread until it has closed, with the help of a thread for each
    /// transport and each name that is looked up.
    ///
    /// # Panics
    ///
    /// When a handler of a subscription or another function of the application does that the
    /// connection calls. It is closed then.
    pub fn run(self) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                driver: self.driver,
                link: Link::None,
                asleep: None,
                reader_waits: false,
                over: false,
            }),
            readable: Condvar::new(),
            writer: waker(),
            dialler: self.dialler,
            helpers: AtomicUsize::new(0),
        });
        let running = Running(shared);
        let _ = running.0.write();
        // Another thread of it has panicked, or this would go on.
        assert!(running.0.lock().is_some(), "a function of the application has panicked");
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    /// The driver may have room for bytes again, or the transport has ended.
    readable: Condvar,
    /// Wakes the thread that writes.
    writer: Waker,
    dialler: Arc<Dialler>,
    /// Threads that open and read; those that were given up included.
    helpers: AtomicUsize,
}

struct State {
    driver: midge::driver::Driver,
    link: Link,
    /// The thread that writes sleeps, or is about to, with this deadline.
    asleep: Option<Option<Instant>>,
    reader_waits: bool,
    /// Nobody serves the driver any more.
    over: bool,
}

/// What is under way with the network.
enum Link {
    None,
    /// A thread looks up a name, or dials.
    Opening(Attempt),
    /// A write may have failed, and what the server said before is still read, until then.
    Open(Attempt, Arc<dyn Stream>, Option<(DisconnectCause, Instant)>),
}

impl Link {
    fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::None => None,
            Self::Opening(attempt) | Self::Open(attempt, ..) => Some(*attempt),
        }
    }
}

impl State {
    /// What was there before is shut down: its thread may be waiting for bytes.
    fn replace(&mut self, link: Link) {
        if let Link::Open(_, stream, _) = std::mem::replace(&mut self.link, link) {
            stream.shutdown();
        }
    }

    /// What there is to write, and where to.
    fn next_write(&mut self, wait: Wait) -> Option<(Attempt, Arc<dyn Stream>, Transmit)> {
        match &self.link {
            Link::Open(attempt, stream, None) if wait.write => {
                let transmit = self.driver.take_transmit(WRITE_BYTES)?;
                Some((*attempt, Arc::clone(stream), transmit))
            }
            _ => None,
        }
    }

    /// A write has come back.
    fn wrote(&mut self, attempt: Attempt, transmit: Transmit, result: io::Result<usize>) {
        self.driver.settle(transmit, result.as_ref().map_or(0, |count| *count));
        let failure = match result {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(_) => return,
            Err(error) if is_temporary(&error) => return,
            Err(error) => error,
        };
        match &mut self.link {
            // The server may have said why before it closed; that is still read.
            Link::Open(open, _, failed) if *open == attempt => {
                *failed = Some((io_cause(&failure), self.driver.now() + LAST_WORDS));
            }
            _ => {}
        }
    }

    /// When the thread that writes is to look again; `None` when there is something to do at once.
    fn sleeps(&mut self, wait: Wait) -> Option<Option<Instant>> {
        let Link::Open(attempt, _, Some((cause, until))) = &self.link else {
            return Some(wait.until);
        };
        // When nothing is read, nothing more is heard.
        if wait.read && self.driver.now() < *until {
            return Some(Some(wait.until.map_or(*until, |earlier| earlier.min(*until))));
        }
        let (attempt, cause) = (*attempt, cause.clone());
        self.ended(attempt, cause);
        None
    }

    /// The thread that writes sleeps, and has something to do earlier.
    fn oversleeps(&self, wait: Wait) -> bool {
        let Some(until) = self.asleep else { return false };
        let earlier = wait.until.is_some_and(|new| until.is_none_or(|until| new < until));
        wait.write || earlier
    }

    /// The transport of `attempt` has ended, or does not come about.
    fn ended(&mut self, attempt: Attempt, cause: DisconnectCause) {
        if self.link.attempt() == Some(attempt) {
            let mut cause = cause;
            if let Link::Open(_, stream, failed) = std::mem::replace(&mut self.link, Link::None) {
                stream.shutdown();
                cause = failed.map_or(cause, |(cause, _)| cause);
            }
            self.driver.closed(attempt, cause);
        }
    }
}

impl Shared {
    /// `None` when all is over: the first thread has ended, or any has panicked.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.state.lock().ok().filter(|state| !state.over)
    }

    /// The same when a thread has panicked.
    fn lock_at_last(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns until there is nothing to do but to wait. `None` when all is over.
    fn turn<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
    ) -> Option<(MutexGuard<'a, State>, Wait)> {
        loop {
            match state.driver.turn(&mut Context::from_waker(&self.writer)) {
                Turn::Resolve { attempt, host } => {
                    self.open(&mut state, attempt, move |shared| look_up(shared, attempt, &host));
                }
                Turn::Connect { attempt, to } => {
                    self.open(&mut state, attempt, move |shared| dial(shared, attempt, to));
                }
                Turn::Close { attempt } => {
                    if state.link.attempt() == Some(attempt) {
                        state = self.hang_up(state)?;
                    }
                }
                Turn::Idle(wait) => {
                    if state.reader_waits && (wait.read || !matches!(state.link, Link::Open(..))) {
                        state.reader_waits = false;
                        self.readable.notify_one();
                    }
                    return Some((state, wait));
                }
                Turn::Yield => {
                    drop(state);
                    thread::yield_now();
                    state = self.lock()?;
                }
                Turn::Done => {
                    drop(self.hang_up(state));
                    return None;
                }
            }
        }
    }

    /// Lets the transport say goodbye, and ends it; or gives up what is to become one.
    fn hang_up<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
    ) -> Option<MutexGuard<'a, State>> {
        let Link::Open(_, stream, failed) = std::mem::replace(&mut state.link, Link::None) else {
            return Some(state);
        };
        while failed.is_none()
            && let Some(transmit) = state.driver.take_transmit(WRITE_BYTES)
        {
            drop(state);
            let written = stream.write(&transmit).unwrap_or(0);
            state = self.lock()?;
            let all = written == transmit.len();
            state.driver.settle(transmit, written);
            if !all {
                break;
            }
        }
        stream.shutdown();
        Some(state)
    }

    /// Lets a thread of its own do what cannot be interrupted. One that is given up ends by itself.
    fn open(
        self: &Arc<Self>,
        state: &mut State,
        attempt: Attempt,
        run: impl FnOnce(&Weak<Self>) + Send + 'static,
    ) {
        state.replace(Link::Opening(attempt));
        if self.helpers.fetch_add(1, Ordering::Relaxed) >= MAX_HELPERS {
            self.helpers.fetch_sub(1, Ordering::Relaxed);
            let full = format!("{MAX_HELPERS} threads are still busy with earlier attempts");
            return state.ended(attempt, DisconnectCause::Dial(full));
        }
        let helper = Helper(Arc::downgrade(self));
        let thread = thread::Builder::new().name("midge-read".into());
        if let Err(error) = thread.spawn(move || run(&helper.0)) {
            state.ended(attempt, DisconnectCause::Dial(format!("no thread for it: {error}")));
        }
    }

    /// What the first thread does: turns, writes, sleeps. `None` at the end.
    fn write(self: &Arc<Self>) -> Option<()> {
        let mut state = self.lock()?;
        loop {
            let (mut turned, wait) = self.turn(state)?;
            if let Some((attempt, stream, transmit)) = turned.next_write(wait) {
                drop(turned);
                let result = stream.write(&transmit);
                state = self.lock()?;
                state.wrote(attempt, transmit, result);
            } else if let Some(until) = turned.sleeps(wait) {
                turned.asleep = Some(until);
                let left = until.map(|until| until.saturating_since(turned.driver.now()));
                drop(turned);
                left.map_or_else(thread::park, thread::park_timeout);
                state = self.lock()?;
                state.asleep = None;
            } else {
                state = turned;
            }
        }
    }

    /// What the thread of a transport does: reads, turns, wakes the other. `None` at the end.
    fn read(self: &Arc<Self>, attempt: Attempt, stream: &dyn Stream) -> Option<()> {
        let mut state = self.lock()?;
        while state.link.attempt() == Some(attempt) {
            let Some(mut buffer) = state.driver.take_read() else {
                state.reader_waits = true;
                state = self.readable.wait(state).ok()?;
                continue;
            };
            drop(state);
            let read = stream.read(&mut buffer);
            state = self.lock()?;
            state.driver.filled(buffer, read.as_ref().map_or(0, |count| *count));
            match read {
                Ok(0) => state.ended(attempt, DisconnectCause::Eof),
                Ok(_) => {}
                Err(error) if is_temporary(&error) => {}
                Err(error) => state.ended(attempt, io_cause(&error)),
            }
            let (turned, wait) = self.turn(state)?;
            state = turned;
            if state.oversleeps(wait) {
                self.writer.wake_by_ref();
            }
        }
        Some(())
    }
}

/// The first thread is over, in good order or by a panic of the application.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.lock_at_last();
        state.over = true;
        self.0.readable.notify_all();
        // It is still there after a panic only, and one of a stream is enough.
        state.replace(Link::None);
    }
}

/// A thread that opens and reads. When it ends the other one has to look; and all is over when code
/// of the application panics on it, with the lock held or without.
struct Helper(Weak<Shared>);

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.helpers.fetch_sub(1, Ordering::Relaxed);
        if thread::panicking() {
            shared.lock_at_last().over = true;
        }
        shared.writer.wake_by_ref();
    }
}

fn look_up(shared: &Weak<Shared>, attempt: Attempt, host: &str) {
    let result = (host, 0).to_socket_addrs();
    let Some(shared) = shared.upgrade() else { return };
    let Some(mut state) = shared.lock() else { return };
    if state.link.attempt() == Some(attempt) {
        match result {
            Ok(addresses) => {
                let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
                state.link = Link::None;
                state.driver.resolved(attempt, &addresses);
            }
            Err(error) => state.ended(attempt, DisconnectCause::Resolve(error.to_string())),
        }
    }
}

fn dial(shared: &Weak<Shared>, attempt: Attempt, to: Destination) {
    let Some(dialler) = shared.upgrade().map(|shared| Arc::clone(&shared.dialler)) else { return };
    let result = dialler(to);
    let Some(shared) = shared.upgrade() else { return };
    let Some(mut state) = shared.lock() else { return };
    if state.link.attempt() != Some(attempt) {
        return;
    }
    let opened = result.and_then(|stream| {
        stream.set_write_timeout(WRITE_WAIT)?;
        Ok(stream)
    });
    match opened {
        Ok(stream) => {
            state.link = Link::Open(attempt, Arc::clone(&stream), None);
            state.driver.connected(attempt, stream.is_secure());
            drop(state);
            shared.writer.wake_by_ref();
            let _ = shared.read(attempt, &*stream);
        }
        Err(error) => state.ended(attempt, DisconnectCause::Dial(error.to_string())),
    }
}

fn is_temporary(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn io_cause(error: &io::Error) -> DisconnectCause {
    DisconnectCause::Io(error.to_string())
}
