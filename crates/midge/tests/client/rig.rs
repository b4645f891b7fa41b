//! A client and its driver, turned by hand over a transport that is two byte strings.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use midge::driver::midge_proto::{Attempt, Wait};
use midge::driver::{Clock, Driver, ReadNow, Turn, WriteNow};
use midge::{Client, ConnectOptions, Instant};

const INFO: &str = r#"INFO {"server_id":"S","max_payload":1048576,"headers":true,"proto":1} "#;

#[derive(Default)]
pub(crate) struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
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
    /// How often it was woken since the last call.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A future that is polled by hand.
pub(crate) struct Task<F> {
    future: Pin<Box<F>>,
    pub(crate) wakes: Arc<Count>,
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: impl IntoFuture<IntoFuture = F>) -> Self {
        Self { future: Box::pin(future.into_future()), wakes: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future is not ready"),
        }
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

/// A driver and the other end of its transport.
pub(crate) struct Rig {
    pub(crate) driver: Driver,
    clock: Arc<TestClock>,
    /// How often the driver's waker was woken.
    pub(crate) wakes: Arc<Count>,
    attempt: Option<Attempt>,
    /// A dial that is not answered, since the transport was cut.
    dialing: Option<Attempt>,
    dialable: bool,
    /// The hosts that were dialled.
    pub(crate) dialed: Vec<String>,
    /// The address that was dialled last.
    pub(crate) address: Option<SocketAddr>,
    sent: Vec<u8>,
    /// What the present server was sent before it answered.
    greeting: String,
    /// The transport takes bytes.
    pub(crate) writable: bool,
    pub(crate) done: bool,
}

impl Rig {
    /// The transport can be written beside the driver too.
    pub(crate) fn writes_now(&mut self, stream: Weak<dyn WriteNow>) {
        self.driver.writes_now(self.attempt.expect("there is a transport"), stream);
        self.run();
    }

    /// It can be read so, too.
    pub(crate) fn reads_now(&mut self, stream: Weak<dyn ReadNow>) {
        self.driver.reads_now(self.attempt.expect("there is a transport"), stream);
        self.run();
    }

    /// The transport ends, as the driver reads it.
    pub(crate) fn end(&mut self) {
        let buffer = self.driver.take_read().expect("the driver reads");
        self.driver.filled(buffer, Ok(0));
        self.run();
    }

    /// The transport is about to be closed, and takes what is written before that.
    #[cfg(feature = "jetstream")]
    pub(crate) fn farewell(&mut self) {
        let attempt = self.attempt.expect("there is a transport");
        while let Some(bytes) = self.driver.farewell(attempt) {
            self.sent.extend_from_slice(&bytes);
            let written = bytes.len();
            self.driver.settle(bytes, Ok(written));
        }
    }

    /// A client that is connected.
    pub(crate) fn connected(options: ConnectOptions) -> (Client, Self) {
        let (connecting, mut rig) = Self::new(options);
        let mut connecting = Task::new(connecting);
        assert!(connecting.poll().is_pending());
        rig.greet();
        assert_eq!(connecting.wakes.take(), 1);
        (connecting.ready().expect("the server has greeted"), rig)
    }

    pub(crate) fn new(options: ConnectOptions) -> (midge::Connecting, Self) {
        let clock = Arc::new(TestClock::default());
        let (connecting, driver) =
            midge::driver::connect(options, clock.clone()).expect("the options are valid");
        let rig = Self {
            driver,
            clock,
            wakes: Arc::default(),
            attempt: None,
            dialing: None,
            dialable: true,
            dialed: Vec::new(),
            address: None,
            sent: Vec::new(),
            greeting: String::new(),
            writable: true,
            done: false,
        };
        (connecting, rig)
    }

    /// There is a transport that was not closed.
    pub(crate) fn is_open(&self) -> bool {
        self.attempt.is_some()
    }

    /// Dialing works again; the server has not said anything yet.
    pub(crate) fn reopen(&mut self) {
        self.dialable = true;
        if let Some(attempt) = self.dialing.take() {
            self.open(attempt);
        }
        self.run();
    }

    /// Dials, and plays a server's part of the handshake.
    pub(crate) fn greet(&mut self) {
        self.reopen();
        self.receive(&format!("{INFO}\r\n"));
        self.greeting = self.take_sent();
        assert!(self.greeting.ends_with("PING\r\n"));
        self.receive("PONG\r\n");
    }

    fn open(&mut self, attempt: Attempt) {
        self.attempt = Some(attempt);
        self.driver.connected(attempt, false);
    }

    pub(crate) fn turn(&mut self) -> Turn {
        let waker = Waker::from(self.wakes.clone());
        self.driver.turn(&mut Context::from_waker(&waker))
    }

    /// Turns and writes until there is nothing left to do.
    pub(crate) fn run(&mut self) -> Wait {
        loop {
            match self.turn() {
                Turn::Resolve { .. } => panic!("the servers of these tests are addresses"),
                Turn::Connect { attempt, to } => {
                    self.address = to.address;
                    self.dialed.push(to.server.host().to_owned());
                    match self.dialable {
                        true => self.open(attempt),
                        false => self.dialing = Some(attempt),
                    }
                }
                Turn::Close { attempt } => {
                    assert_eq!(self.attempt.take(), Some(attempt));
                }
                Turn::Idle(wait) => {
                    if !(wait.write && self.writable) {
                        return wait;
                    }
                    let Some(bytes) = self.driver.take_transmit(usize::MAX) else { continue };
                    self.sent.extend_from_slice(&bytes);
                    let written = bytes.len();
                    self.driver.settle(bytes, Ok(written));
                }
                Turn::Yield => {}
                Turn::Done => {
                    self.done = true;
                    return Wait::default();
                }
            }
        }
    }

    /// The transport delivers `bytes`, as one read.
    pub(crate) fn receive(&mut self, bytes: &str) -> Wait {
        self.feed(bytes);
        self.run()
    }

    /// The transport delivers `bytes`, in as many reads as it takes, and nothing is done about
    /// them yet.
    pub(crate) fn feed(&mut self, bytes: &str) {
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            let mut buffer = self.driver.take_read().expect("the driver reads");
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            self.driver.filled(buffer, Ok(count));
            rest = &rest[count..];
        }
    }

    /// What was written since the last call.
    pub(crate) fn take_sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.sent)).expect("these tests send text")
    }

    /// What the present server was sent before it answered, once.
    #[cfg(feature = "jetstream")]
    pub(crate) fn announced(&mut self) -> String {
        std::mem::take(&mut self.greeting)
    }

    /// The present server was told of a subscription to `subject` when it was connected to.
    pub(crate) fn announces(&self, subject: &str) -> bool {
        self.greeting.lines().any(|line| line.starts_with(&format!("SUB {subject} ")))
    }

    /// The number under which the present server knows the subscription to `subject`.
    pub(crate) fn subscription_to(&self, subject: &str) -> String {
        let subscribed = |line: &&str| line.starts_with(&format!("SUB {subject} "));
        let line = self.greeting.lines().find(subscribed).expect("it was announced");
        line.rsplit(' ').next().expect("a line has a last word").to_owned()
    }

    /// The transport breaks, and dialing takes until `greet`.
    pub(crate) fn cut(&mut self) {
        let attempt = self.attempt.take().expect("there is a transport");
        let cause = midge::DisconnectCause::Io("cut".into());
        self.driver.closed(attempt, cause);
        self.dialable = false;
        self.run();
    }

    /// Dialing takes until `greet`, or `refuse`.
    pub(crate) fn unreachable(&mut self) {
        self.dialable = false;
    }

    /// A dial is not answered yet.
    pub(crate) fn is_dialing(&self) -> bool {
        self.dialing.is_some()
    }

    /// The dial that is not answered is refused.
    pub(crate) fn refuse(&mut self) -> Wait {
        let attempt = self.dialing.take().expect("something is dialled");
        self.driver.closed(attempt, midge::DisconnectCause::Dial("refused".into()));
        self.run()
    }

    pub(crate) fn sleep(&mut self, duration: Duration) -> Wait {
        self.pass(duration);
        self.run()
    }

    /// Time passes, and the driver does nothing.
    pub(crate) fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).expect("tests are shorter than that");
        self.clock.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

/// Options with a server that is an address.
pub(crate) fn options() -> ConnectOptions {
    // Without jitter, a second is longer than the first waits.
    ConnectOptions::new("127.0.0.1")
        .ping_interval(Duration::from_secs(3600))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO)
}

/// A message for the subscription `sid`.
pub(crate) fn message(sid: midge::Sid, payload: &str) -> String {
    format!("MSG s {} {}\r\n{payload}\r\n", sid.number(), payload.len())
}
