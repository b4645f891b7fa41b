//! A driver over a transport that is two byte strings.

use std::future::{Future, IntoFuture};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use midge::driver::midge_proto::{Attempt, Wait};
use midge::driver::{Clock, Driver, ReadNow, Turn, WriteNow};
use midge::{
    Client, CloseReason, ConnectError, ConnectOptions, Connecting, DisconnectCause, Disconnected,
    Event, Events, Instant,
};

pub(crate) const INFO: &str = r#"INFO {"server_id":"S","max_payload":8388608,"headers":true} "#;

struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// Polls a future once, which must be ready.
pub(crate) fn ready<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is not ready"),
    }
}

pub(crate) struct Rig {
    pub(crate) driver: Driver,
    pub(crate) wakes: Arc<Count>,
    pub(crate) attempt: Option<Attempt>,
    sent: Vec<u8>,
    /// The most bytes of one read.
    pub(crate) read: usize,
    /// The transport takes bytes.
    pub(crate) writable: bool,
    /// Names are looked up at once, not without end.
    pub(crate) resolvable: bool,
    pub(crate) done: bool,
}

impl Rig {
    pub(crate) fn new(options: ConnectOptions) -> (Connecting, Self) {
        let (connecting, driver) =
            midge::driver::connect(options, Arc::new(Still)).expect("the options are valid");
        let rig = Self {
            driver,
            wakes: Arc::default(),
            attempt: None,
            sent: Vec::new(),
            read: usize::MAX,
            writable: true,
            resolvable: true,
            done: false,
        };
        (connecting, rig)
    }

    /// Turns and writes until there is nothing left to do.
    pub(crate) fn run(&mut self) -> Wait {
        let waker = Waker::from(self.wakes.clone());
        for _ in 0..100_000 {
            match self.driver.turn(&mut Context::from_waker(&waker)) {
                Turn::Resolve { .. } if !self.resolvable => {}
                Turn::Resolve { attempt, .. } => {
                    self.driver.resolved(attempt, &["127.0.0.1".parse().unwrap()]);
                }
                Turn::Connect { attempt, .. } => {
                    self.attempt = Some(attempt);
                    self.driver.connected(attempt, false);
                }
                Turn::Close { attempt } => {
                    while let Some(bytes) = self.driver.farewell(attempt) {
                        assert_eq!(bytes.attempt(), Some(attempt));
                        self.sent.extend_from_slice(&bytes);
                        let written = bytes.len();
                        self.driver.settle(bytes, Ok(written));
                    }
                    self.attempt = None;
                }
                Turn::Idle(wait) => {
                    if !(wait.write && self.writable) {
                        return wait;
                    }
                    let Some(bytes) = self.driver.take_transmit(usize::MAX) else { continue };
                    // Not all at once, as a socket would.
                    let written = bytes.len().div_ceil(2);
                    self.sent.extend_from_slice(&bytes[..written]);
                    self.driver.settle(bytes, Ok(written));
                }
                Turn::Yield => {}
                Turn::Done => {
                    self.done = true;
                    return Wait::default();
                }
            }
        }
        panic!("the driver does not come to rest");
    }

    /// The transport delivers `bytes`; what follows from it is done after each read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.attempt.is_some() {
            assert!(self.run().read, "the driver reads");
            rest = &rest[self.read_once(rest)..];
            self.run();
        }
    }

    /// One read, of which nothing follows yet.
    pub(crate) fn read_once(&mut self, bytes: &[u8]) -> usize {
        let mut buffer = self.driver.take_read().expect("there is room");
        let count = bytes.len().min(buffer.len()).min(self.read);
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.driver.filled(buffer, Ok(count));
        count
    }

    /// What was written since the last call.
    pub(crate) fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// The transport ends.
    pub(crate) fn end(&mut self) {
        let attempt = self.attempt.take().expect("there is a transport");
        self.driver.closed(attempt, DisconnectCause::Eof);
        self.run();
    }
}

/// The cause of a connection that was not made.
pub(crate) fn failure(connecting: Connecting) -> DisconnectCause {
    match ready(connecting).unwrap_err() {
        ConnectError::Closed(CloseReason::NoServers { cause, .. } | CloseReason::Fatal(cause)) => {
            cause
        }
        error => panic!("{error}"),
    }
}

/// The report of a loss, which is the next event.
pub(crate) fn lost(events: &mut Events) -> Arc<Disconnected> {
    match events.try_next() {
        Some(Event::Disconnected(lost)) => lost,
        other => panic!("not lost: {other:?}"),
    }
}

/// Why options are refused.
pub(crate) fn refused(options: ConnectOptions) -> String {
    midge::driver::connect(options, Arc::new(Still)).unwrap_err().to_string()
}

/// A stream that must be left to the driver.
struct Untouched;

impl WriteNow for Untouched {
    fn write_now(&self, _bytes: &[u8]) -> io::Result<usize> {
        panic!("it is written beside the driver")
    }
}

impl ReadNow for Untouched {
    fn poll_read_ready(&self, _context: &mut Context<'_>) -> Poll<()> {
        panic!("it is looked at beside the driver")
    }

    fn poll_read(&self, _bytes: &mut [u8], _context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        panic!("it is read beside the driver")
    }
}

/// Makes more requests in a row than a driver without layers takes to step aside, over a stream that
/// nobody may touch beside it. `serve` gets what turns bytes of the client into those of the server.
pub(crate) fn asks_by_the_driver(
    client: &Client,
    rig: &mut Rig,
    mut serve: impl FnMut(&mut Rig, &dyn Fn(&str) -> String),
) {
    let stream = Arc::new(Untouched);
    let (write, read): (Arc<dyn WriteNow>, Arc<dyn ReadNow>) = (stream.clone(), stream);
    let attempt = rig.attempt.expect("there is a transport");
    rig.driver.writes_now(attempt, Arc::downgrade(&write));
    rig.driver.reads_now(attempt, Arc::downgrade(&read));
    rig.run();
    let mut context = Context::from_waker(Waker::noop());
    for number in 0..40 {
        let mut request = Box::pin(client.request("q", "x").into_future());
        assert!(request.as_mut().poll(&mut context).is_pending());
        assert!(rig.run().read, "the driver reads behind {number} requests");
        serve(rig, &|sent| {
            let line = sent.lines().find(|line| line.starts_with("PUB q ")).expect("it asks");
            format!("MSG {} 1 1\r\ny\r\n", line.split(' ').nth(2).expect("a reply subject"))
        });
        match request.as_mut().poll(&mut context) {
            Poll::Ready(Ok(reply)) => assert_eq!(reply.payload(), b"y"),
            other => panic!("request {number}: {other:?}"),
        }
    }
}
