//! What an adapter turns: the face of a connection towards sockets, names and time.
//!
//! An adapter is one loop. It [turns](Driver::turn) the driver and does what the [`Turn`] says:
//! look up a name, dial, close, or wait until the socket is ready, the time has come, or the
//! waker is woken. Bytes are taken out, written or read without any lock, and given back with what
//! the system call returned.
//!
//! Two such loops are here, and what they need of a runtime or system is a trait: a [`Task`] polls
//! streams as one future, and [`Driver::run`] keeps threads on blocking ones.
//!
//! The rules:
//!
//! - Any call but [`turn`](Driver::turn), [`now`](Driver::now) and [`take_read`](Driver::take_read)
//!   may leave something to do: turn again before you wait.
//! - Writing never waits for reading, nor reading for writing.
//! - Whether the time has come is for the clock to say, not for the timer that woke you.
//! - Before a transport is closed, and before the driver is dropped, write its
//!   [farewell](Driver::farewell), as much as the socket takes without waiting. The drop closes the
//!   connection, and everything that is pending ends.
//!
//! TLS and WebSocket need nothing of an adapter: they stand between the bytes that it moves and
//! the connection, and no driver without them pays for them.

mod bytes;
mod direct;
mod gathering;
mod layered;
mod leading;
mod lending;
mod task;
mod threads;
mod transport;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::task::Context;
use std::thread;
use std::time::Duration;

use midge_proto::{
    Action, Attempt, Connection, DisconnectCause, Instant, Message, NextServer, Output, ServerUrl,
    Wait,
};

pub use bytes::{Receive, Spare, Transmit};
use direct::Reads;
pub(crate) use direct::{Beside, Direct, Reader, Reply};
pub use direct::{ReadNow, WriteNow};
pub(crate) use leading::Lead;
pub use midge_proto;
pub use task::{Opening, Runtime, Stream, Task};
pub use threads::{BlockingStream, System};

use crate::Client;
use crate::auth::Authorizing;
use crate::closing::Connecting;
use crate::handler::Calls;
use crate::options::{ConnectOptions, OptionsError};
use crate::request::Requests;
use crate::shared::{Inner, RUN_BYTES, Shared, lock};
use crate::status::Board;
use crate::waiters::Wakes;
use gathering::Gathering;
use layered::Layered;
use lending::Lending;
use transport::Transport;

/// Bytes of messages that a turn hands over while it holds the connection's lock.
const TURN_BYTES: usize = 64 * 1024;

/// Tells the time. It is read once a turn, and when a deadline is set.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an epoch that stays the same. It never goes back.
    fn now(&self) -> Instant;
}

/// The clock of the operating system, which counts from the moment when it was made.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(std::time::Instant);

impl SystemClock {
    /// A clock that begins now.
    #[expect(clippy::new_without_default, reason = "a default that differs each time is none")]
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }

    /// What the operating system calls this time.
    pub fn at(&self, time: Instant) -> std::time::Instant {
        self.0 + (time - Instant::ZERO)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

/// Where an adapter, or a dialler of the application in its place, is to lead to.
///
/// `Display` gives `host:port`, as a proxy wants it: the address when there is one, and the name
/// otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Destination {
    /// The server: one of those of the options, or one that a server told of.
    pub server: Arc<ServerUrl>,
    /// The address to try. `None`: the host is a name, and
    /// [`ConnectOptions::resolve`](crate::ConnectOptions::resolve) is false.
    pub address: Option<SocketAddr>,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => write!(f, "{}:{}", self.server.host(), self.server.port()),
        }
    }
}

/// What an adapter has to do now.
#[derive(Debug)]
#[must_use = "a turn that is not carried out stalls the connection"]
pub enum Turn {
    /// Look up the addresses of `host`, then call [`Driver::resolved`], or [`Driver::closed`]
    /// with [`DisconnectCause::Resolve`].
    Resolve {
        /// Names this try.
        attempt: Attempt,
        /// The name.
        host: String,
    },
    /// Open a transport, as a rule a TCP connection, then call [`Driver::connected`], or
    /// [`Driver::closed`] with [`DisconnectCause::Dial`]. Drop the one before, if it is still
    /// there. TLS and WebSocket are seen to by the driver.
    Connect {
        /// Names the transport.
        attempt: Attempt,
        /// Where to. Without an address, the name is the adapter's, or a proxy's, to find.
        to: Destination,
    },
    /// Write its [farewell](Driver::farewell), as much as the socket takes without waiting, then
    /// close the transport; or stop opening or looking up. It may be gone already. No answer is
    /// needed.
    Close {
        /// Names the transport.
        attempt: Attempt,
    },
    /// Do what [`Wait`] allows: with `write` and a socket that is ready, write; with `read`,
    /// read. When that is not possible, wait until it is, until `until`, or for the waker.
    Idle(Wait),
    /// There is more to do: let others run, then turn again.
    Yield,
    /// The connection is over. Drop the driver.
    Done,
}

/// Makes a connection that the returned driver serves: nothing happens until it is turned.
///
/// # Errors
///
/// [`OptionsError`] names the setting that cannot be.
pub fn connect(
    options: ConnectOptions,
    clock: Arc<dyn Clock>,
) -> Result<(Connecting, Driver), OptionsError> {
    let at_once = options.connects_in_background();
    let (config, mut settings) = options.build()?;
    let auth = std::mem::take(&mut settings.auth);
    let authorizing = Authorizing::new(auth, config.credentials.clone());
    let layered = Layered::new(config.tls);
    let connection = Connection::new(config)?;
    let inner = Inner::new(connection);
    let shared = Arc::new(Shared {
        #[cfg(feature = "jetstream")]
        in_hand: inner.in_hand.clone(),
        inner: inner.into(),
        requests: Requests::new().into(),
        board: Board::new().into(),
        clock,
        settings,
    });
    let driver = Driver {
        shared: Arc::clone(&shared),
        authorizing,
        layered,
        transport: None,
        close: None,
        wakes: Wakes::default(),
        rest: Wait::default(),
        looked: None,
        discarded: Vec::new(),
        calls: Calls::default(),
        gathering: Gathering::default(),
        lending: Lending::default(),
    };
    Ok((Connecting::new(Client::new(shared), at_once), driver))
}

/// The face of one connection towards an adapter, which owns it.
///
/// It does not keep the connection alive: that is for clients and subscriptions. When it is
/// dropped the connection is over, and every future of it ends.
pub struct Driver {
    shared: Arc<Shared>,
    authorizing: Authorizing,
    layered: Layered,
    transport: Option<Transport>,
    /// The adapter must still close this transport, of which the core has heard the end.
    close: Option<Attempt>,
    wakes: Wakes,
    /// What the core waited for in the last turn, if it had nothing to do.
    rest: Wait,
    /// The time of the next turn, if the clock was looked at in its place.
    looked: Option<Instant>,
    /// Messages that nobody gets, kept for its memory.
    discarded: Vec<Message>,
    calls: Calls,
    gathering: Gathering,
    lending: Lending,
}

impl Driver {
    /// The time, by the clock that the connection was made with.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Registers the waker, does everything that is due, and says what is next.
    ///
    /// The waker is woken when there is something to do that was not before; not by time, and
    /// not by sockets.
    ///
    /// # Panics
    ///
    /// When a handler of a subscription, a provider of credentials, a function that chooses servers or
    /// waits, or a waker does. The driver is to be dropped then. Who else was to be woken is.
    pub fn turn(&mut self, context: &mut Context<'_>) -> Turn {
        let mut now = self.looked.take().unwrap_or_else(|| self.now());
        self.layered.turn();
        loop {
            if let Some(attempt) = self.close.take() {
                return Turn::Close { attempt };
            }
            if let Some((attempt, answer)) = self.authorizing.poll(context) {
                now = self.now();
                match answer {
                    Ok(credentials) => {
                        self.with(|inner| inner.connection.authorize(attempt, credentials, now));
                    }
                    Err(why) => {
                        self.ended(attempt, DisconnectCause::Credentials(why));
                        continue;
                    }
                }
            }
            let mut inner = lock(&self.shared.inner);
            if inner.is_resting(context.waker()) && self.rest.until.is_none_or(|until| now < until)
            {
                // Nothing has happened, as when a socket has become ready: the core would say the
                // same again.
                drop(inner);
                match self.rest() {
                    Some(turn) => return turn,
                    None => {
                        now = self.now();
                        continue;
                    }
                }
            }
            let old = inner.register_driver(context.waker());
            let auth = &mut self.authorizing;
            let mut step = self.shared.step(&mut inner, auth, now, &mut self.wakes);
            if let Step::Idle(wait) = &mut step {
                let plain = self.is_plain();
                inner.hand_over(plain.then_some(&mut self.gathering), now, wait);
                inner.lend_reading(plain.then_some(&mut self.lending), now, wait);
                if self.gathering.goes_on(wait.write, inner.connection.backlog()) {
                    step = Step::Turn(Turn::Yield);
                }
            }
            self.calls.take(&mut inner.router.calls);
            if let Step::Idle(wait) = step {
                // A deadline that was told stays, though nothing is due then any more: it wakes in
                // vain once, and a request that is written beside the driver needs not wake it.
                let told = self.rest.until.filter(|told| now < *told && inner.direct.is_some());
                self.rest = earlier(wait, told);
                inner.alarm = self.rest.until;
                inner.idle = self.calls.is_empty();
                inner.stuck = inner.idle && (wait.write || inner.hands_over.is_some());
            }
            if !inner.router.discarded.is_empty() {
                std::mem::swap(&mut inner.router.discarded, &mut self.discarded);
            }
            drop(inner);
            drop(old);
            self.discarded.clear();
            // Handlers first: who waited for a flush finds that they have seen what came before.
            let called = self.calls.run(&self.shared);
            self.wakes.wake();
            match step {
                // What the handlers did comes first.
                Step::Idle(_) if called => now = self.now(),
                Step::Idle(_) => match self.rest() {
                    Some(turn) => return turn,
                    None => now = self.now(),
                },
                Step::Turn(turn) => {
                    if let Turn::Close { attempt } = turn {
                        self.authorizing.forget(attempt);
                    }
                    match self.beyond_core(turn) {
                        Some(turn) => return turn,
                        None => now = self.now(),
                    }
                }
                Step::NextServer { attempt, next } => {
                    let (server, wait) = self.shared.settings.choice.decide(&next);
                    now = self.now();
                    self.with(|inner| {
                        inner.connection.next_server(attempt, server.as_deref(), wait, now);
                    });
                }
                Step::StartTls { attempt, server_name } => self.start_tls(attempt, &server_name),
                Step::Again => {}
            }
        }
    }

    /// The core waits. `None`: it has something new.
    #[inline]
    fn rest(&mut self) -> Option<Turn> {
        if self.is_plain() {
            return Some(Turn::Idle(self.rest));
        }
        self.beyond_core(Turn::Idle(self.rest))
    }

    /// What a turn of the core means for an adapter. `None`: the core has something new.
    fn beyond_core(&mut self, turn: Turn) -> Option<Turn> {
        let turn = self.through_layers(turn)?;
        self.through_transport(turn)
    }

    // ---- results -------------------------------------------------------------------------

    /// The addresses of the host, for [`Turn::Resolve`].
    pub fn resolved(&mut self, attempt: Attempt, addresses: &[IpAddr]) {
        let now = self.now();
        self.with(|inner| inner.connection.resolved(attempt, addresses, now));
    }

    /// The connection is open, for [`Turn::Connect`]. `secure` when the adapter has made it so,
    /// and TLS is not to begin on it.
    ///
    /// With TLS before INFO, and with `wss`, files of certificates and keys are read here, and
    /// otherwise by the [`turn`](Self::turn) in which TLS begins.
    pub fn connected(&mut self, attempt: Attempt, secure: bool) {
        if !self.begin_layers(attempt, secure) {
            let now = self.now();
            self.with(|inner| inner.connection.connected(attempt, secure, now));
        }
    }

    /// The stream of this transport can be written beside the driver, as long as it is there. To be
    /// said behind [`connected`](Self::connected), if at all; with TLS or WebSocket it changes
    /// nothing.
    ///
    /// A request that is alone is written then by whoever makes it, in place of the driver, which is
    /// not woken for it; and a stream of messages from other threads by its publishers, 64 KiB at a
    /// time or more, while the driver has nothing to write and [`Wait::until`] is at most 1 ms ahead.
    pub fn writes_now(&mut self, attempt: Attempt, stream: Weak<dyn WriteNow>) {
        if self.layered.stack.is_none() && self.keeps(attempt) {
            self.with(|inner| inner.direct = Some(Direct::new(attempt, stream)));
        }
    }

    /// The stream of this transport can also be read beside the driver, as long as it is there. To be
    /// said behind [`writes_now`](Self::writes_now), if at all.
    ///
    /// Where requests come one after the other, and nothing else is expected, whoever waits for a
    /// reply reads it then, in place of the driver, whose [`Wait::read`] is off for as long and whose
    /// [`Wait::until`] is at most 100 ms ahead. Where the stream [tells
    /// ahead](ReadNow::tells_ahead) that there is something to read, a request wakes the driver
    /// instead, which does well to read before it writes: that may be the end.
    pub fn reads_now(&mut self, attempt: Attempt, stream: Weak<dyn ReadNow>) {
        self.reads_beside(attempt, Reads::Polled(stream));
    }

    fn reads_beside(&mut self, attempt: Attempt, reads: Reads) {
        self.with(|inner| {
            if let Some(direct) = inner.direct.as_mut().filter(|direct| direct.is_of(attempt)) {
                direct.reads(reads);
            }
        });
    }

    /// A look-up or dial failed, or the transport ended, which [`filled`](Self::filled) mostly
    /// tells. If a write has failed before, that is the cause.
    pub fn closed(&mut self, attempt: Attempt, cause: DisconnectCause) {
        self.authorizing.forget(attempt);
        let cause = self.first_cause(attempt, cause);
        if let Some(cause) = self.layered.transport_ended(attempt, cause) {
            let now = self.now();
            self.with(|inner| inner.connection.closed(attempt, cause, now));
        }
    }

    /// Something changes by the driver's own hand: it is not idle, it will turn again.
    fn with<R>(&self, run: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = lock(&self.shared.inner);
        inner.idle = false;
        run(&mut inner)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _abandoned = Abandoned(&self.shared);
        // Those of a turn that a handler has ended by a panic.
        self.wakes.wake_at_last();
    }
}

/// The driver is gone, also if waking those of its last turn panics.
struct Abandoned<'a>(&'a Shared);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// What one call of the core's engine has led to.
enum Step {
    Idle(Wait),
    Turn(Turn),
    NextServer {
        attempt: Attempt,
        next: Arc<NextServer>,
    },
    StartTls {
        attempt: Attempt,
        server_name: String,
    },
    /// Call it again.
    Again,
}

impl Shared {
    /// Calls the core's engine once and hands on what it gives.
    fn step(
        &self,
        inner: &mut Inner,
        auth: &mut Authorizing,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Step {
        if let Some(action) = inner.deferred.take() {
            return inner.act(action, auth);
        }
        self.expire(inner, now, wakes);
        let output = inner.connection.poll_into(now, TURN_BYTES, &mut inner.router);
        let changed = self.deliver(inner, now, wakes);
        match output {
            Output::Event(event) => {
                self.note(inner, event, now, wakes);
                Step::Again
            }
            Output::Yield => Step::Turn(Turn::Yield),
            Output::Idle(_) if inner.connection.is_closed() => Step::Turn(Turn::Done),
            Output::Idle(_) if changed => Step::Again,
            Output::Idle(wait) => {
                let own = inner.timers.next();
                if own.is_some_and(|own| own <= now) {
                    return Step::Again;
                }
                if inner.wake_publishers(wakes) {
                    return Step::Turn(Turn::Yield);
                }
                Step::Idle(earlier(wait, own))
            }
            Output::Action(action) => inner.act(action, auth),
        }
    }

    /// Nobody turns the driver any more: closes the connection and ends all that is pending.
    fn abandon(&self) {
        let now = self.clock.now();
        let mut wakes = Wakes::default();
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        inner.abandoned = true;
        inner.connection.close(Duration::ZERO);
        loop {
            let output = inner.connection.poll_into(now, TURN_BYTES, &mut inner.router);
            self.deliver(inner, now, &mut wakes);
            match output {
                Output::Event(event) => self.note(inner, event, now, &mut wakes),
                Output::Action(_) | Output::Yield => {}
                Output::Idle(_) => break,
            }
        }
        let discarded = std::mem::take(&mut inner.router.discarded);
        let mut calls = Calls::default();
        calls.take(&mut inner.router.calls);
        drop(guard);
        drop((discarded, calls));
        wakes.wake_at_last();
    }
}

fn earlier(wait: Wait, own: Option<Instant>) -> Wait {
    match own {
        Some(own) if wait.until.is_none_or(|until| own < until) => {
            Wait { until: Some(own), reason: None, ..wait }
        }
        _ => wait,
    }
}

impl Inner {
    /// Leaves writing to publishers for a while, if they are about to write much.
    fn hand_over(&mut self, gathering: Option<&mut Gathering>, now: Instant, wait: &mut Wait) {
        let before = self.hands_over.take();
        let Some(gathering) = gathering.filter(|_| self.direct.is_some()) else { return };
        let waited = std::mem::take(&mut self.waited);
        if waited > 0 && self.publisher != Some(thread::current().id()) {
            gathering.waited(waited);
        }
        let run = self.connection.backlog() >= RUN_BYTES;
        self.hands_over = gathering.hands_over(now, *wait, run, before, self.beside);
        if self.hands_over != before {
            self.beside = 0;
        }
        if self.hands_over.is_some() {
            *wait = Wait { write: false, ..earlier(*wait, self.hands_over) };
        }
    }

    /// Leaves reading to requests for a while, if they come one after the other.
    fn lend_reading(&mut self, lending: Option<&mut Lending>, now: Instant, wait: &mut Wait) {
        self.reader = None;
        self.reads_first = false;
        let before = self.lends_reading.take();
        let beside = (std::mem::take(&mut self.alone), std::mem::take(&mut self.led));
        let may = self.direct.as_ref().is_some_and(Direct::may_read);
        let Some(lending) = lending.filter(|_| may) else { return };
        // The inbox that requests share is a subscription.
        let free = wait.read
            && !wait.write
            && self.hands_over.is_none()
            && self.connection.is_connected()
            && self.connection.requests() == 0
            && !self.connection.expects_pong()
            && self.connection.subscriptions() <= 1
            && self.flushes.is_empty();
        self.lends_reading = lending.lends(now, before, beside, free);
        if self.lends_reading.is_some() {
            *wait = Wait { read: false, ..earlier(*wait, self.lends_reading) };
        }
    }

    fn act(&mut self, action: Action, auth: &mut Authorizing) -> Step {
        Step::Turn(match action {
            Action::Resolve { attempt, host } => Turn::Resolve { attempt, host },
            Action::Connect { attempt, address, server } => {
                auth.connects_to(&server);
                Turn::Connect { attempt, to: Destination { server, address } }
            }
            Action::NextServer { attempt, next } => return Step::NextServer { attempt, next },
            Action::StartTls { attempt, server_name } => {
                return Step::StartTls { attempt, server_name };
            }
            Action::Authorize { attempt, nonce } => {
                auth.ask(attempt, nonce);
                return Step::Again;
            }
            Action::Close { attempt } => Turn::Close { attempt },
            _ => return Step::Again,
        })
    }
}
