//! What an adapter turns: the face of a connection towards sockets, names and time.
//!
//! An adapter is one loop. It [turns](Driver::turn) the driver and does what the [`Turn`] says:
//! look up a name, dial, close, or wait until the socket is ready, the time has come, or the
//! waker is woken. Bytes are taken out, written or read without any lock, and given back.
//!
//! The rules:
//!
//! - Any call but [`turn`](Driver::turn) and [`now`](Driver::now) may leave something to do: turn
//!   again before you wait.
//! - Writing never waits for reading, nor reading for writing.
//! - Whether the time has come is for the clock to say, not for the timer that woke you.
//! - Before the driver is dropped, write once more what the socket takes without waiting. The
//!   drop closes the connection, and everything that is pending ends.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use midge_proto::{
    Action, Attempt, Batch, Connection, DisconnectCause, Instant, Message, Output, ReadBuffer,
    Scheme, ServerUrl, Wait,
};

pub use midge_proto;

use crate::Client;
use crate::auth::Authorizing;
use crate::closing::Connecting;
use crate::handler::Calls;
use crate::options::{ConnectOptions, OptionsError};
use crate::request::Requests;
use crate::shared::{Inner, Room, Shared, lock};
use crate::status::Board;
use crate::waiters::Wakes;

/// Bytes of messages that a turn hands over while it holds the connection's lock.
const TURN_BYTES: usize = 64 * 1024;

/// Tells the time. It is read once a turn, and when a deadline is set.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an epoch that stays the same. It never goes back.
    fn now(&self) -> Instant;
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
    /// Open a TCP connection, then call [`Driver::connected`], or [`Driver::closed`] with
    /// [`DisconnectCause::Dial`]. Drop the one before, if it is still there.
    Connect {
        /// Names the transport.
        attempt: Attempt,
        /// Where to.
        address: SocketAddr,
        /// The server that this address belongs to.
        server: Arc<ServerUrl>,
    },
    /// Close the transport, or stop opening or looking up. No answer is needed.
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
    let connection = Connection::new(config)?;
    let shared = Arc::new(Shared {
        inner: Inner::new(connection).into(),
        requests: Requests::new().into(),
        board: Board::new().into(),
        clock,
        settings,
    });
    let driver = Driver {
        shared: Arc::clone(&shared),
        authorizing,
        wakes: Wakes::default(),
        discarded: Vec::new(),
        calls: Calls::default(),
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
    wakes: Wakes,
    /// Messages that nobody gets, kept for its memory.
    discarded: Vec<Message>,
    calls: Calls,
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
    /// When a handler of a subscription or a provider of credentials does. The driver is to be
    /// dropped then.
    pub fn turn(&mut self, context: &mut Context<'_>) -> Turn {
        let mut now = self.now();
        loop {
            if let Some((attempt, answer)) = self.authorizing.poll(context) {
                now = self.now();
                match answer {
                    Ok(credentials) => {
                        self.with(|inner| inner.connection.authorize(attempt, credentials, now));
                    }
                    Err(why) => {
                        self.closed(attempt, DisconnectCause::Credentials(why));
                        return Turn::Close { attempt };
                    }
                }
            }
            let mut inner = lock(&self.shared.inner);
            let old = inner.register_driver(context.waker());
            let auth = &mut self.authorizing;
            let turn = self.shared.step(&mut inner, auth, now, &mut self.wakes);
            self.calls.take(&mut inner.router.calls);
            inner.idle = self.calls.is_empty() && matches!(turn, Some(Turn::Idle(_)));
            std::mem::swap(&mut inner.router.discarded, &mut self.discarded);
            drop(inner);
            drop(old);
            self.wakes.wake();
            self.discarded.clear();
            let called = self.calls.run(&self.shared);
            match turn {
                // What the handlers did comes first.
                Some(Turn::Idle(_)) if called => now = self.now(),
                Some(turn) => {
                    if let Turn::Close { attempt } = turn {
                        self.authorizing.forget(attempt);
                    }
                    return turn;
                }
                None => {}
            }
        }
    }

    // ---- results -------------------------------------------------------------------------

    /// The addresses of the host, for [`Turn::Resolve`].
    pub fn resolved(&mut self, attempt: Attempt, addresses: &[IpAddr]) {
        let now = self.now();
        self.with(|inner| inner.connection.resolved(attempt, addresses, now));
    }

    /// The connection is open, for [`Turn::Connect`]. `secure` when the adapter has made it so.
    pub fn connected(&mut self, attempt: Attempt, secure: bool) {
        let now = self.now();
        self.with(|inner| inner.connection.connected(attempt, secure, now));
    }

    /// A look-up or dial failed, or the connection ended.
    pub fn closed(&mut self, attempt: Attempt, cause: DisconnectCause) {
        let now = self.now();
        self.authorizing.forget(attempt);
        self.with(|inner| inner.connection.closed(attempt, cause, now));
    }

    // ---- bytes ---------------------------------------------------------------------------

    /// Up to about `max` bytes to write; give them back with [`settle`](Self::settle).
    pub fn take_transmit(&mut self, max: usize) -> Option<Transmit> {
        let batch = self.with(|inner| inner.connection.take_transmit(max))?;
        Some(Transmit { shared: Arc::clone(&self.shared), batch: Some(batch) })
    }

    /// The socket took the first `written` bytes.
    pub fn settle(&mut self, mut transmit: Transmit, written: usize) {
        let Some(batch) = transmit.batch.take() else { return };
        let wakes = &mut self.wakes;
        let mut inner = lock(&self.shared.inner);
        inner.idle = false;
        inner.connection.settle(batch, written);
        // The core does not tell of room for control operations: writing frees it.
        inner.wake_room(Room::Control, wakes);
        drop(inner);
        wakes.wake();
    }

    /// Room for a read; give it back with [`filled`](Self::filled). `None` unless [`Wait::read`].
    pub fn take_read(&mut self) -> Option<ReadBuffer> {
        self.with(|inner| inner.connection.take_read())
    }

    /// The socket gave `count` bytes, which now stand at the start of `buffer`.
    pub fn filled(&mut self, buffer: ReadBuffer, count: usize) {
        self.with(|inner| inner.connection.filled(buffer, count));
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
        self.shared.abandon();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Bytes on their way to the socket. Dropped without [`Driver::settle`], they count as handed
/// out, so their messages may or may not have arrived, and the transport as lost.
#[must_use = "bytes that are not settled end the connection to the server"]
pub struct Transmit {
    shared: Arc<Shared>,
    batch: Option<Batch>,
}

impl Transmit {
    /// The transport that the bytes are for.
    pub fn attempt(&self) -> Option<Attempt> {
        self.batch.as_ref().map(Batch::attempt)
    }
}

impl Deref for Transmit {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.batch.as_ref().map_or(&[], Batch::as_slice)
    }
}

impl Drop for Transmit {
    fn drop(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let now = self.shared.clock.now();
        let abandoned = self.shared.command(|inner| {
            let (attempt, all) = (batch.attempt(), batch.as_slice().len());
            inner.connection.settle(batch, all);
            let cause = DisconnectCause::Io("bytes were not accounted for".into());
            inner.connection.closed(attempt, cause, now);
            inner.abandoned
        });
        if abandoned {
            self.shared.abandon();
        }
    }
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit").field("len", &self.len()).finish()
    }
}

impl Shared {
    /// Calls the core's engine once and hands on what it gives. `None`: call again.
    fn step(
        &self,
        inner: &mut Inner,
        auth: &mut Authorizing,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Turn> {
        self.expire(inner, now, wakes);
        let output = inner.connection.poll_into(now, TURN_BYTES, &mut inner.router);
        let changed = self.deliver(inner, now, wakes);
        match output {
            Output::Event(event) => {
                self.note(inner, event, now, wakes);
                None
            }
            Output::Yield => Some(Turn::Yield),
            Output::Idle(_) if inner.connection.is_closed() => Some(Turn::Done),
            Output::Idle(_) if changed => None,
            Output::Idle(wait) => {
                let own = inner.timers.next();
                if own.is_some_and(|own| own <= now) {
                    return None;
                }
                Some(Turn::Idle(earlier(wait, own)))
            }
            Output::Action(action) => inner.act(action, auth, now),
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
        wakes.wake();
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

// Where layers between socket and core will stand: TLS and WebSocket. Until then what needs one
// is refused here, and here only.
impl Inner {
    fn act(&mut self, action: Action, auth: &mut Authorizing, now: Instant) -> Option<Turn> {
        match action {
            Action::Resolve { attempt, host } => Some(Turn::Resolve { attempt, host }),
            Action::Connect { attempt, address, server } => {
                if let Scheme::Ws | Scheme::Wss = server.scheme() {
                    let cause = "WebSocket is not supported yet: use a nats URL".into();
                    self.connection.closed(attempt, DisconnectCause::Dial(cause), now);
                    return None;
                }
                auth.connects_to(&server);
                Some(Turn::Connect { attempt, address, server })
            }
            Action::StartTls { attempt, .. } => {
                self.connection.closed(attempt, DisconnectCause::TlsUnavailable, now);
                Some(Turn::Close { attempt })
            }
            Action::Authorize { attempt, nonce } => {
                auth.ask(attempt, nonce);
                None
            }
            Action::Close { attempt } => Some(Turn::Close { attempt }),
            _ => None,
        }
    }
}
