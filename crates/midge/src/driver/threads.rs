//! The loop of an adapter for blocking streams, as threads.
//!
//! One turns the driver, sleeps until the next deadline, and writes. For each transport another one
//! dials, then reads, and turns the driver itself for what it has read: neither direction waits for
//! the other. A request that is alone is written by the thread that makes it, see `direct.rs`, and
//! where these follow each other that thread reads the reply too, see `leading.rs`. They
//! share the driver behind a lock of their own, which no publisher ever takes and which is not held
//! while one of them sleeps, reads, writes, begins another thread, or ends a stream.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use midge_proto::{Attempt, DisconnectCause, Instant, Wait};

use super::transport::WRITE_BYTES;
use super::{Destination, Driver, Reads, Turn, WriteNow};
use crate::blocking::waker;

/// Threads that may be busy with attempts that were given up, besides the one that is needed.
const MAX_HELPERS: usize = 64;

/// What a driver that [runs](Driver::run) on threads needs of the operating system. Each call may
/// take its time, and an error of it fails the attempt to connect.
pub trait System: Send + Sync + 'static {
    /// What is dialled.
    type Stream: BlockingStream;

    /// Runs `work` on a thread of its own.
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Looks up the addresses of `host`.
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// Opens a stream.
    fn dial(&self, to: Destination) -> io::Result<Self::Stream>;
}

/// A stream of bytes that a [`System`] has opened. One thread reads while another writes, which may
/// be one that makes a request or publishes, and either may shut it down meanwhile.
pub trait BlockingStream: Send + Sync + 'static {
    /// Midge begins no TLS on it and counts it as secure.
    fn is_secure(&self) -> bool {
        false
    }

    /// Waits for bytes and reads some. Nothing is the end of the stream.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// [`read_within`](Self::read_within) works.
    fn reads_within(&self) -> bool {
        false
    }

    /// As [`read`](Self::read), but fails as [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing
    /// comes for so long. A thread that waits for a reply calls it, and never while another one
    /// reads. An end or error that it finds, the next read has to find too.
    fn read_within(&self, _buffer: &mut [u8], _time: Duration) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes some of the bytes, or fails as [`WouldBlock`](io::ErrorKind::WouldBlock) when none are
    /// taken for some milliseconds: deadlines are so much late while the stream takes nothing.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends the stream: reads and writes that wait, and later ones, end at once.
    fn shutdown(&self);
}

impl Driver {
    /// Serves the connection on this thread until it has closed, with the help of a thread for each
    /// transport and each name that is looked up. One that is given up ends by itself.
    ///
    /// # Panics
    ///
    /// When a handler of a subscription, a dialler or another function of the application does that
    /// the connection calls. It is closed then.
    pub fn run<S: System>(self, system: S) {
        let running = Running(Arc::new(Shared {
            state: Mutex::new(State {
                driver: self,
                link: None,
                asleep: None,
                reader_waits: false,
                over: false,
            }),
            readable: Condvar::new(),
            writer: waker(),
            system: Arc::new(system),
        }));
        let _ = running.0.write();
        // Another thread of it has panicked, or this would go on.
        assert!(running.0.lock().is_some(), "a function of the application has panicked");
    }
}

struct Shared<S: System> {
    state: Mutex<State<S::Stream>>,
    /// The driver may have room for bytes again, or the transport has ended.
    readable: Condvar,
    /// Wakes the thread that writes.
    writer: Waker,
    system: Arc<S>,
}

struct State<T> {
    driver: Driver,
    /// What is dialled, and the stream once there is one.
    link: Option<(Attempt, Option<Arc<T>>)>,
    /// The thread that writes sleeps, or is about to, with this deadline.
    asleep: Option<Option<Instant>>,
    reader_waits: bool,
    /// Nobody serves the driver any more.
    over: bool,
}

type Guard<'a, S> = MutexGuard<'a, State<<S as System>::Stream>>;

impl<T> State<T> {
    fn serves(&self, attempt: Attempt) -> bool {
        self.link.as_ref().is_some_and(|(of, _)| *of == attempt)
    }

    fn stream(&self) -> Option<&Arc<T>> {
        self.link.as_ref()?.1.as_ref()
    }

    /// The thread that writes sleeps, and has something to do earlier. It is to be woken, once.
    fn oversleeps(&mut self, wait: Wait) -> bool {
        let earlier = |until: &mut Option<Instant>| {
            wait.until.is_some_and(|new| until.is_none_or(|until| new < until))
        };
        self.asleep.take_if(|until| wait.write || earlier(until)).is_some()
    }
}

impl<S: System> Shared<S> {
    /// `None` when all is over: the first thread has ended, or any has panicked.
    fn lock(&self) -> Option<Guard<'_, S>> {
        self.state.lock().ok().filter(|state| !state.over)
    }

    /// The same when a thread has panicked.
    fn lock_at_last(&self) -> Guard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns until there is nothing to do but to wait. `None` when all is over.
    fn turn<'a>(self: &'a Arc<Self>, mut state: Guard<'a, S>) -> Option<(Guard<'a, S>, Wait)> {
        loop {
            match state.driver.turn(&mut Context::from_waker(&self.writer)) {
                Turn::Resolve { attempt, host } => {
                    state = self.help(state, attempt, move |helper, system| {
                        helper.look_up(system, attempt, &host);
                    })?;
                }
                Turn::Connect { attempt, to } => {
                    let before = state.link.replace((attempt, None));
                    state = self.hang_up(state, before)?;
                    state = self.help(state, attempt, move |helper, system| {
                        helper.dial(system, attempt, to);
                    })?;
                }
                Turn::Close { attempt } => {
                    let link = state.link.take_if(|(of, _)| *of == attempt);
                    state = self.hang_up(state, link)?;
                }
                Turn::Idle(wait) => {
                    if state.reader_waits && (wait.read || state.stream().is_none()) {
                        state.reader_waits = false;
                        self.readable.notify_all();
                    }
                    return Some((state, wait));
                }
                Turn::Yield => {
                    drop(state);
                    thread::yield_now();
                    state = self.lock()?;
                }
                Turn::Done => return None,
            }
        }
    }

    /// Lets the transport say goodbye, and ends it; or gives up what is to become one.
    fn hang_up<'a>(
        &'a self,
        mut state: Guard<'a, S>,
        link: Option<(Attempt, Option<Arc<S::Stream>>)>,
    ) -> Option<Guard<'a, S>> {
        let Some((attempt, Some(stream))) = link else { return Some(state) };
        while let Some(transmit) = state.driver.farewell(attempt) {
            drop(state);
            let result = stream.write(&transmit);
            state = self.lock()?;
            state.driver.settle(transmit, result);
        }
        drop(state);
        stream.shutdown();
        self.lock()
    }

    /// Lets a thread of its own do what cannot be interrupted.
    fn help<'a>(
        self: &'a Arc<Self>,
        state: Guard<'a, S>,
        attempt: Attempt,
        work: impl FnOnce(&Helper<S>, &S) + Send + 'static,
    ) -> Option<Guard<'a, S>> {
        let helper = Helper(Arc::downgrade(self));
        let busy = Arc::weak_count(self) > MAX_HELPERS;
        drop(state);
        let system = Arc::clone(&self.system);
        let begun = if busy {
            Err(format!("{MAX_HELPERS} threads are still busy with earlier attempts"))
        } else {
            let spawned = self.system.spawn(Box::new(move || work(&helper, &system)));
            spawned.map_err(|error| format!("no thread for it: {error}"))
        };
        let mut state = self.lock()?;
        if let Err(why) = begun {
            state.driver.closed(attempt, DisconnectCause::Dial(why));
        }
        Some(state)
    }

    /// What the first thread does: turns, writes, sleeps. `None` at the end.
    fn write(self: &Arc<Self>) -> Option<()> {
        let mut state = self.lock()?;
        loop {
            let (mut turned, wait) = self.turn(state)?;
            if wait.write
                && let Some(stream) = turned.stream().cloned()
            {
                let taken = turned.driver.take_transmit(WRITE_BYTES);
                drop(turned);
                let written = taken.map(|transmit| (stream.write(&transmit), transmit));
                state = self.lock()?;
                if let Some((result, transmit)) = written {
                    state.driver.settle(transmit, result);
                }
            } else {
                turned.asleep = Some(wait.until);
                let left = wait.until.map(|until| until.saturating_since(turned.driver.now()));
                drop(turned);
                left.map_or_else(thread::park, thread::park_timeout);
                state = self.lock()?;
                state.asleep = None;
            }
        }
    }

    /// What the thread of a transport does: turns, wakes the other, reads. `None` at the end.
    fn read(self: &Arc<Self>, attempt: Attempt, stream: &S::Stream) -> Option<()> {
        let mut state = self.lock()?;
        loop {
            let (mut turned, wait) = self.turn(state)?;
            if !turned.serves(attempt) {
                return Some(());
            }
            let wakes = turned.oversleeps(wait);
            let room = if wait.read { turned.driver.take_read() } else { None };
            turned.reader_waits |= room.is_none();
            drop(turned);
            if wakes {
                self.writer.wake_by_ref();
            }
            if let Some(mut buffer) = room {
                let result = stream.read(&mut buffer);
                state = self.lock()?;
                state.driver.filled(buffer, result);
            } else {
                let waits = |state: &mut State<_>| state.reader_waits && state.serves(attempt);
                state = self.readable.wait_while(self.lock()?, waits).ok()?;
            }
        }
    }
}

/// The first thread is over, in good order or by a panic of the application.
struct Running<S: System>(Arc<Shared<S>>);

impl<S: System> Drop for Running<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock_at_last();
        state.over = true;
        let link = state.link.take();
        drop(state);
        self.0.readable.notify_all();
        // It is still there after a panic only, and one of a stream is enough.
        if let Some((_, Some(stream))) = link {
            stream.shutdown();
        }
    }
}

/// A thread that opens and reads. When it ends the other one has to look; and all is over when code
/// of the application panics on it, with the lock held or without. Until there is something to
/// tell, it does not keep the driver from ending.
struct Helper<S: System>(Weak<Shared<S>>);

impl<S: System> Drop for Helper<S> {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else { return };
        if thread::panicking() {
            shared.lock_at_last().over = true;
        }
        shared.writer.wake_by_ref();
    }
}

impl<S: System> Helper<S> {
    fn look_up(&self, system: &S, attempt: Attempt, host: &str) {
        let found = system.resolve(host);
        let Some(shared) = self.0.upgrade() else { return };
        let Some(mut state) = shared.lock() else { return };
        match found {
            Ok(addresses) => state.driver.resolved(attempt, &addresses),
            Err(error) => state.driver.closed(attempt, DisconnectCause::Resolve(error.to_string())),
        }
    }

    fn dial(&self, system: &S, attempt: Attempt, to: Destination) {
        let dialled = system.dial(to).map(Arc::new);
        let Some(shared) = self.0.upgrade() else { return };
        let Some(mut state) = shared.lock() else { return };
        match &dialled {
            Ok(stream) if state.serves(attempt) => {
                state.link = Some((attempt, Some(Arc::clone(stream))));
                state.driver.connected(attempt, stream.is_secure());
                let now: Arc<dyn WriteNow> = stream.clone();
                state.driver.writes_now(attempt, Arc::downgrade(&now));
                if stream.reads_within() {
                    let reads: Arc<dyn BlockingStream> = stream.clone();
                    let reads = Reads::Blocking(Arc::downgrade(&reads));
                    state.driver.reads_beside(attempt, reads);
                }
                drop(state);
                let _ = shared.read(attempt, stream);
            }
            Ok(_) => {}
            Err(error) => state.driver.closed(attempt, DisconnectCause::Dial(error.to_string())),
        }
    }
}
