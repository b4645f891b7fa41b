//! A connection of the core alone, driven at the worst of times, with the contract of `poll` held
//! against it.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use midge_proto::{
    Action, Attempt, Batch, Config, ConfigError, Connection, Credentials, DisconnectCause, Event,
    Instant, Message, Output, ReadBuffer, RequestError, RequestId, Sid, Sink, Wait,
};

use crate::meter::Inside;
use crate::net::{Dial, LookUp, Owner, Socket};
use crate::world::Alarm;
use crate::{Rng, World};

/// Polls without an end in sight are a loop that never waits.
const MAX_POLLS: usize = 100_000;

/// A [`midge_proto::Connection`] in the world, without the client around it.
///
/// What drives it is no adapter but a trial: it reads and writes as little or as much as the seed
/// says, lends buffers out and gives them back late, answers attempts that are over, lets the
/// clock go back, and checks after every poll that the [contract](midge_proto::Connection) is kept,
/// as far as one run can show it: lines 1 to 7 and 9, of line 1 that no deadline is past. A breach is
/// a panic, which ends the run with its seed.
#[derive(Clone)]
pub struct CoreClient {
    inner: Arc<Mutex<Inner>>,
    owner: Owner,
}

struct Inner {
    world: World,
    core: Core,
    events: VecDeque<Event>,
    reader: Option<Waker>,
    driver: Option<Waker>,
}

/// The connection, every call into which is told to the [meter](crate::meter()).
struct Core {
    connection: Connection,
    owner: Owner,
    config: Config,
}

impl Core {
    fn call<T>(&mut self, run: impl FnOnce(&mut Connection) -> T) -> T {
        let _inside = Inside::of(self.owner, &self.config);
        run(&mut self.connection)
    }
}

impl CoreClient {
    pub(crate) fn new(config: Config, world: &World) -> Result<Self, ConfigError> {
        let bound = Bound::of(&config);
        let owner = world.with(|state| state.net.number());
        let own = config.clone();
        let inside = Inside::of(owner, &own);
        let connection = Connection::new(config);
        drop(inside);
        let inner = Inner {
            world: world.clone(),
            core: Core { connection: connection?, owner, config: own },
            events: VecDeque::new(),
            reader: None,
            driver: None,
        };
        let client = Self { inner: Arc::new(Mutex::new(inner)), owner };
        drop(world.spawn(Driver {
            client: client.clone(),
            world: world.clone(),
            rng: world.rng(),
            bound,
            live: None,
            old: Vec::new(),
            opening: None,
            socket: None,
            batch: None,
            buffer: None,
            alarm: Alarm::default(),
            closed: false,
        }));
        Ok(client)
    }

    /// Looks at the connection, or gives it a command, at the present time.
    pub fn with<T>(&self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.world.now();
        let result = inner.core.call(|connection| run(connection, now));
        let driver = inner.driver.take();
        drop(inner);
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// The next event. Messages and responses are among them, in the order in which they came.
    pub fn event(&self) -> impl Future<Output = Event> + Send + use<> {
        let client = self.clone();
        poll_fn(move |context| {
            let mut inner = client.lock();
            match inner.events.pop_front() {
                Some(event) => Poll::Ready(event),
                None => {
                    inner.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// The number by which the [`meter`](crate::meter()) knows it, unique in a run.
    pub fn number(&self) -> u64 {
        self.owner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CoreClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreClient").finish_non_exhaustive()
    }
}

/// The bytes that may wait to be written (DESIGN: bounds).
struct Bound {
    pending: usize,
    control: usize,
}

impl Bound {
    fn of(config: &Config) -> Self {
        Self {
            pending: config.max_pending.max(config.reconnect_buffer),
            // A PING or two besides, of which each is as good as many.
            control: config.control_reserve + 64,
        }
    }
}

struct Events<'a>(&'a mut VecDeque<Event>, &'a Inside<'a>);

impl Sink for Events<'_> {
    fn message(&mut self, sid: Sid, message: Message) {
        self.1.leave(|| self.0.push_back(Event::Message(sid, message)));
    }

    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>) {
        self.1.leave(|| self.0.push_back(Event::Response(id, result)));
    }
}

/// What is being opened, and for what.
enum Opening {
    Names(Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>),
    Stream(Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>),
}

struct Driver {
    client: CoreClient,
    world: World,
    rng: Rng,
    bound: Bound,
    live: Option<Attempt>,
    old: Vec<Attempt>,
    opening: Option<Opening>,
    socket: Option<Socket>,
    /// What is lent, and how much of it is written.
    batch: Option<(Batch, usize)>,
    buffer: Option<ReadBuffer>,
    alarm: Alarm,
    closed: bool,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let client = this.client.clone();
        let mut inner = client.lock();
        inner.driver = Some(context.waker().clone());
        let progress = this.round(&mut inner, context);
        let reader = match inner.events.is_empty() {
            true => None,
            false => inner.reader.take(),
        };
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
        if this.closed {
            return Poll::Ready(());
        }
        if progress {
            // Others get their turn after every move.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Driver {
    /// One move. True when there may be another one at once.
    fn round(&mut self, inner: &mut Inner, context: &mut Context<'_>) -> bool {
        let now = self.world.now();
        let wait = self.settle(inner, now);
        if self.closed {
            return false;
        }
        if self.rng.one_in(8) {
            self.trick(&mut inner.core, wait, now);
        }
        let core = &mut inner.core;
        if self.poll_opening(core, now, context) {
            return true;
        }
        // Which direction goes first is chance, and neither waits for the other.
        let write_first = self.rng.one_in(2);
        let moved = match write_first {
            true => self.write(core, wait, now, context) || self.read(core, wait, now, context),
            false => self.read(core, wait, now, context) || self.write(core, wait, now, context),
        };
        moved || self.alarm.poll(&self.world, wait.until, context).is_ready()
    }

    // ---- the contract ------------------------------------------------------------------------

    /// Polls until there is nothing to do but to wait.
    fn settle(&mut self, inner: &mut Inner, now: Instant) -> Wait {
        let by_one = self.rng.one_in(4);
        let budget = 1 + self.rng.index(5000);
        let Inner { core, events, .. } = inner;
        let mut polls = 0;
        let wait = loop {
            polls += 1;
            assert!(polls < MAX_POLLS, "line 1: poll comes to no end");
            let output = match by_one {
                true => core.call(|connection| connection.poll(now)),
                false => {
                    let inside = Inside::of(core.owner, &core.config);
                    core.connection.poll_into(now, budget, &mut Events(events, &inside))
                }
            };
            match output {
                Output::Action(action) => self.act(core, action, now),
                Output::Event(event) => {
                    assert!(!self.closed, "line 7: {event:?} after Closed");
                    if let Event::Closed(_) = event {
                        let requests = core.connection.requests();
                        assert_eq!(requests, 0, "line 5: requests have not ended before Closed");
                        self.closed = true;
                    }
                    events.push_back(event);
                }
                Output::Yield => {}
                Output::Idle(wait) => break wait,
            }
        };
        assert!(wait.until.is_none_or(|until| until > now), "line 1: {wait:?} at {now:?}");
        assert_eq!(wait.until.is_some(), wait.reason.is_some(), "{wait:?}");
        assert!(
            self.closed || self.batch.is_some() || wait.until.is_some(),
            "line 1: nothing will ever wake it: {wait:?}"
        );
        let again = core.call(|connection| connection.poll(now));
        assert!(
            matches!(again, Output::Idle(again) if again == wait),
            "line 2: {again:?} after {wait:?}"
        );
        assert!(!wait.write || self.batch.is_none(), "line 3: what is lent is not to be written");
        let pending = core.connection.pending_bytes();
        let most = self.bound.pending + self.bound.control;
        assert!(pending <= most, "line 6: {pending} bytes wait, more than {most}");
        if self.closed {
            assert_eq!(wait, Wait::default(), "line 7");
        }
        wait
    }

    /// What must change nothing.
    fn trick(&mut self, core: &mut Core, before: Wait, now: Instant) {
        if self.rng.one_in(2) {
            for old in self.old.iter().rev().take(3).copied() {
                core.call(|connection| {
                    connection.resolved(old, &[IpAddr::from([10, 9, 9, 9])], now);
                    connection.connected(old, true, now);
                    connection.tls_ready(old, now);
                    connection.authorize(old, Credentials::default(), now);
                    connection.closed(old, DisconnectCause::Eof, now);
                });
            }
            let after = core.call(|connection| connection.poll(now));
            assert!(
                matches!(after, Output::Idle(after) if after == before),
                "line 4: {after:?} after an answer to an old attempt, and {before:?} before"
            );
        } else {
            let earlier = Instant::from_nanos(now.as_nanos() / 2);
            let after = core.call(|connection| connection.poll(earlier));
            assert!(
                matches!(after, Output::Idle(after) if after == before),
                "line 9: {after:?} at an earlier time, and {before:?} before"
            );
        }
    }

    fn act(&mut self, core: &mut Core, action: Action, now: Instant) {
        assert!(!self.closed, "line 7: {action:?} after Closed");
        match action {
            Action::Resolve { attempt, host } => {
                self.begins(attempt);
                let names = LookUp::of(self.world.clone(), host);
                self.opening = Some(Opening::Names(Box::pin(names)));
            }
            Action::Connect { attempt, address, server } => {
                self.begins(attempt);
                let address = address.unwrap_or_else(|| {
                    SocketAddr::new(IpAddr::from([10, 255, 255, 255]), server.port())
                });
                let dial = Dial::new(self.world.clone(), self.client.owner, address);
                self.opening = Some(Opening::Stream(Box::pin(dial)));
            }
            Action::Authorize { attempt, .. } => {
                assert_eq!(self.live, Some(attempt), "line 4");
                core.call(|connection| {
                    connection.authorize(attempt, Credentials::default(), now);
                });
            }
            Action::Close { attempt } => {
                assert_eq!(self.live, Some(attempt), "line 4: only what lives is closed");
                self.ends();
            }
            other => panic!("nothing here can carry out {other:?}"),
        }
    }

    fn begins(&mut self, attempt: Attempt) {
        assert!(self.live.is_none(), "line 4: {attempt:?} while {:?} lives", self.live);
        assert!(self.batch.is_none(), "the next attempt waits for what is lent");
        self.live = Some(attempt);
    }

    fn ends(&mut self) {
        self.old.extend(self.live.take());
        self.opening = None;
        self.socket = None;
    }

    // ---- the transport -----------------------------------------------------------------------

    fn poll_opening(&mut self, core: &mut Core, now: Instant, context: &mut Context<'_>) -> bool {
        let Some(attempt) = self.live else { return false };
        match &mut self.opening {
            Some(Opening::Names(names)) => {
                let Poll::Ready(result) = names.as_mut().poll(context) else { return false };
                // The answer ends this attempt; the dial has a number of its own.
                self.ends();
                match result {
                    Ok(addresses) => {
                        core.call(|connection| connection.resolved(attempt, &addresses, now));
                    }
                    Err(error) => {
                        let cause = DisconnectCause::Resolve(error.to_string());
                        core.call(|connection| connection.closed(attempt, cause, now));
                    }
                }
            }
            Some(Opening::Stream(dial)) => {
                let Poll::Ready(result) = dial.as_mut().poll(context) else { return false };
                self.opening = None;
                match result {
                    Ok(socket) => {
                        self.socket = Some(socket);
                        core.call(|connection| connection.connected(attempt, false, now));
                    }
                    Err(error) => {
                        self.ends();
                        let cause = DisconnectCause::Dial(error.to_string());
                        core.call(|connection| connection.closed(attempt, cause, now));
                    }
                }
            }
            None => return false,
        }
        true
    }

    fn lost(&mut self, core: &mut Core, cause: DisconnectCause, now: Instant) {
        if let Some(attempt) = self.live {
            self.ends();
            core.call(|connection| connection.closed(attempt, cause, now));
        }
    }

    fn write(
        &mut self,
        core: &mut Core,
        wait: Wait,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        if let Some((batch, written)) = self.batch.take() {
            // Given back late, after the transport has ended perhaps.
            core.call(|connection| connection.settle(batch, written));
            return true;
        }
        if !wait.write {
            let waiting = core.call(|connection| connection.transmit().remaining());
            assert_eq!(waiting, 0, "line 3: bytes that may be sent, and no `write`");
            return false;
        }
        let Some(socket) = &mut self.socket else { panic!("`write` without a transport") };
        let result = match self.rng.one_in(2) {
            true => {
                core.call(|connection| connection.transmit().remaining());
                // What is prepared is only looked at here.
                let result = socket.poll_write(core.connection.transmit().chunk(), context);
                if let Poll::Ready(Ok(count)) = &result {
                    core.call(|connection| connection.transmit().advance(*count));
                }
                result
            }
            false => {
                let most = 1 + self.rng.index(300_000);
                let batch = core.call(|connection| connection.take_transmit(most));
                let Some(batch) = batch else { return true };
                let result = socket.poll_write(batch.as_slice(), context);
                let written = match &result {
                    Poll::Ready(Ok(count)) => *count,
                    _ => 0,
                };
                match self.rng.one_in(2) && written > 0 {
                    true => self.batch = Some((batch, written)),
                    false => core.call(|connection| connection.settle(batch, written)),
                }
                result
            }
        };
        match result {
            Poll::Ready(Ok(_)) => true,
            Poll::Ready(Err(error)) => {
                self.lost(core, DisconnectCause::Io(error.to_string()), now);
                true
            }
            Poll::Pending => false,
        }
    }

    fn read(
        &mut self,
        core: &mut Core,
        wait: Wait,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        if let Some(mut buffer) = self.buffer.take() {
            // Given back late. What an old transport has brought is no longer of interest.
            let old = self.live != Some(buffer.attempt());
            let count = if old { self.rng.index(buffer.len() + 1) } else { 0 };
            buffer[..count].fill(b'?');
            core.call(|connection| connection.filled(buffer, count));
            return true;
        }
        if !wait.read {
            return false;
        }
        let Some(socket) = &mut self.socket else { panic!("`read` without a transport") };
        let result = match self.rng.one_in(2) {
            true => {
                core.call(|connection| connection.read_buf().len());
                // What is prepared is only filled here.
                let buffer = core.connection.read_buf();
                assert!(!buffer.is_empty(), "`read` without room");
                let result = socket.poll_read(buffer, context);
                if let Poll::Ready(Ok(count)) = &result {
                    core.call(|connection| connection.received(*count));
                }
                result
            }
            false => {
                let buffer = core.call(Connection::take_read);
                let Some(mut buffer) = buffer else { return true };
                let result = socket.poll_read(&mut buffer, context);
                match &result {
                    Poll::Ready(Ok(count)) => {
                        core.call(|connection| connection.filled(buffer, *count));
                    }
                    _ if self.rng.one_in(2) => self.buffer = Some(buffer),
                    _ => core.call(|connection| connection.filled(buffer, 0)),
                }
                result
            }
        };
        match result {
            Poll::Ready(Ok(0)) => self.lost(core, DisconnectCause::Eof, now),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => {
                self.lost(core, DisconnectCause::Io(error.to_string()), now);
            }
            Poll::Pending => return false,
        }
        true
    }
}
