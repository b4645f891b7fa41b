//! The protocol state of one client: this file holds the engine and the face that a driver turns.
//!
//! | concern | file |
//! |---|---|
//! | from a server's name to the first PONG, and the loss of a transport | `handshake.rs` |
//! | who is next, who was learnt; when | `servers.rs`, `choosing.rs` |
//! | what a caller asks for | `commands.rs` |
//! | what arrives | `receive.rs`, cut out of bytes by `inbound.rs` |
//! | what leaves, and what became of it | `outbound.rs`, `frames.rs`, `pings.rs`, `fates.rs` |
//! | tables | `subscriptions.rs`, `requests.rs`, `deadlines.rs`, `timers.rs` |
//! | planned ends: drain, close, move | `ending.rs` |
//! | what can be asked at any time | `getters.rs` |

mod ages;
mod choosing;
mod commands;
mod deadlines;
mod ending;
mod errors;
mod fates;
mod frames;
mod getters;
mod handshake;
mod ids;
mod inbound;
mod outbound;
mod output;
mod pings;
mod receive;
mod requests;
mod servers;
mod subscriptions;
mod timers;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::{fmt, mem};

use crate::rng::Rng;
use crate::wire::{DecodeError, ServerInfo};
use crate::{Config, ConfigError, Instant, Message};

pub use deadlines::Deadlines;
pub use errors::{
    CertificateFault, DisconnectCause, EndReason, FlushError, NotSent, PublishError, RequestError,
    SubscribeError,
};
pub use fates::{Fate, Fates, Position, Positions};
pub use frames::Batch;
pub use ids::{Attempt, FlushId, RequestId, Sid};
pub use inbound::ReadBuffer;
pub use outbound::Outbound;
pub use output::{
    Action, Candidate, CloseReason, Closed, Connected, Disconnected, Event, NextServer, Output,
    Sink, Statistics, Wait,
};
pub use timers::Timer;

use ages::Ages;
use ending::Ending;
use handshake::{Phase, Session};
use inbound::{Inbound, Received};
use requests::Requests;
use servers::Servers;
use subscriptions::Subscriptions;
use timers::Timers;

/// The protocol state of one client across any number of transports.
///
/// It does no I/O. Its methods are of five kinds:
///
/// - **results** of actions: [`resolved`](Self::resolved), [`connected`](Self::connected),
///   [`tls_ready`](Self::tls_ready), [`authorize`](Self::authorize), [`closed`](Self::closed),
///   [`next_server`](Self::next_server);
/// - **bytes**: [`read_buf`](Self::read_buf) and [`received`](Self::received) in,
///   [`transmit`](Self::transmit) out; for drivers that share the connection behind a lock
///   [`take_read`](Self::take_read) and [`filled`](Self::filled),
///   [`take_transmit`](Self::take_transmit) and [`settle`](Self::settle);
/// - **commands**: [`publish`](Self::publish), [`request`](Self::request),
///   [`subscribe`](Self::subscribe), [`flush`](Self::flush), [`close`](Self::close) and others;
/// - [`poll`](Self::poll), which says what to do and what happened;
/// - getters.
///
/// Results, bytes and commands may come in any order and number. Before it waits, a driver calls
/// `poll` until [`Output::Idle`], and then waits for what [`Wait`] names and for nothing else.
///
/// # The contract of `poll`
///
/// 1. `Idle.until` is later than `now`, and it is the earliest deadline there is.
/// 2. Polling again at the same `now` gives an equal `Idle`.
/// 3. Bytes that may be sent and are not lent mean `write`. They leave only by `advance` or
///    `settle`.
/// 4. There is at most one live attempt. Answers that name another change nothing.
/// 5. Every id handed out gets exactly one final event, before `Closed`; `cancel` is final itself.
/// 6. Memory is bounded by the [`Config`].
/// 7. After `Closed` there is only an empty `Idle`.
/// 8. Every way of cutting the input into reads gives the same events.
/// 9. `now` going backwards counts as no time passing.
/// 10. A driver that wakes only when [`Wait`] says so behaves like one that polls all the time.
///
/// # The loop of a driver
///
/// A driver has the socket, the clock and the sleep. A round of its loop, with any number of
/// connections:
///
/// 1. Read the clock, and give the commands that are due.
/// 2. `poll` until `Idle`. Carry out an action at once, or begin to and answer in a later round:
///    the connection has a deadline for it. What an event leads to may be a command, also to another
///    connection; that one is polled again before the wait.
/// 3. With [`Wait::write`] and a socket that is ready, write once and `advance` by what it took; with
///    [`Wait::read`], read once, whether or not there was something to write. When bytes moved, go to
///    2, after others had their turn. A socket that fails or ends is dropped, and `closed` called.
/// 4. Sleep until the earliest [`Wait::until`], or until a socket, an answer or a command is there.
///    Whether the time has come is for the clock to say, not for what woke the driver.
///
/// [`examples/custom_event_loop`](https://github.com/midge-rs/midge/tree/main/examples/custom_event_loop)
/// is a complete program of this shape: two connections and a timer on one thread, over a readiness
/// poller. With blocking reads, a read timeout takes the place of the sleep; README has such a program.
///
/// # Example
///
/// The same with a server that is a few lines of text:
///
/// ```
/// use bytes::Buf;
/// use midge_proto::{Action, Config, Connection, Event, Instant, Output, ServerUrl, SubjectRef};
///
/// let servers = vec![ServerUrl::parse("127.0.0.1").unwrap()];
/// let mut connection = Connection::new(Config::new(servers, [7; 32])).unwrap();
/// let sid = connection.subscribe(SubjectRef::new("greet.*").unwrap(), None).unwrap();
/// let now = Instant::ZERO;
/// let mut wire = Vec::new();
/// let mut answers = [
///     "INFO {\"max_payload\":1048576,\"headers\":true} \r\n",
///     "PONG\r\nMSG greet.joe 1 5\r\nhello\r\n",
/// ]
/// .iter();
/// let message = loop {
///     match connection.poll(now) {
///         Output::Action(Action::Connect { attempt, .. }) => {
///             connection.connected(attempt, false, now); // dial here
///         }
///         Output::Event(Event::Message(_, message)) => break message,
///         Output::Idle(wait) if wait.write => {
///             let out = connection.transmit(); // write to the socket here
///             wire.extend_from_slice(out.chunk());
///             let written = out.remaining();
///             out.advance(written);
///         }
///         Output::Idle(wait) if wait.read => {
///             let bytes = answers.next().unwrap().as_bytes(); // read from the socket here
///             connection.read_buf()[..bytes.len()].copy_from_slice(bytes);
///             connection.received(bytes.len());
///         }
///         _ => {}
///     }
/// };
/// assert_eq!((message.subject(), message.payload()), ("greet.joe", &b"hello"[..]));
/// assert!(wire.starts_with(b"CONNECT {") && wire.ends_with(b"SUB greet.* 1\r\nPING\r\n"));
/// # let _ = sid;
/// ```
pub struct Connection {
    config: Config,
    now: Instant,
    rng: Rng,
    phase: Phase,
    session: Session,
    servers: Servers,
    info: Option<Arc<ServerInfo>>,
    inbound: Inbound,
    outbound: Outbound,
    subscriptions: Subscriptions,
    requests: Requests,
    flushes: VecDeque<FlushId>,
    next_flush: u64,
    timers: Timers,
    ending: Ending,
    ages: Ages,
    /// Kept messages that were dropped since the last connection, as too old.
    expired: Fate,
    /// A publish was refused as full: the bytes of the smallest one.
    wants_room: Option<usize>,
    paused: bool,
    pong_due: bool,
    /// Bytes that transports had taken when `write_deadline` was last looked at.
    written: u64,
    /// Keep-alive PINGs since the last PONG.
    pings_out: u32,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    statistics: Statistics,
}

impl Connection {
    /// A connection that will connect at the first `poll`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field of `config` that cannot be.
    pub fn new(mut config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = Rng::new(config.seed);
        let inbox = inbox(&config.inbox_prefix, &mut rng) + ".";
        Ok(Self {
            now: Instant::ZERO,
            phase: Phase::Waiting,
            session: Session::default(),
            servers: Servers::new(&mut config, &mut rng),
            info: None,
            inbound: Inbound::new(&config),
            outbound: Outbound::new(&config),
            subscriptions: Subscriptions::default(),
            requests: Requests::new(inbox),
            flushes: VecDeque::new(),
            next_flush: 0,
            timers: Timers::default(),
            ending: Ending::default(),
            ages: Ages::new(config.max_kept_age),
            expired: Fate::default(),
            wants_room: None,
            paused: false,
            pong_due: false,
            written: 0,
            pings_out: 0,
            // Most often there is one of them at a time, and a quiet connection keeps the memory.
            actions: VecDeque::with_capacity(1),
            events: VecDeque::with_capacity(1),
            statistics: Statistics::default(),
            rng,
            config,
        })
    }

    // ---- poll ----------------------------------------------------------------------------

    /// The next thing to do, or that happened, or what to wait for.
    pub fn poll(&mut self, now: Instant) -> Output {
        let mut one = One(None);
        loop {
            match self.poll_into(now, 1, &mut one) {
                Output::Yield => {}
                output => return output,
            }
            if let Some(event) = one.0.take() {
                return Output::Event(event);
            }
        }
    }

    /// Hands messages and replies to `sink` until `budget` bytes of input are spent
    /// ([`Output::Yield`]), or there is an action, another event, or nothing to do.
    ///
    /// At least one message is handed over when there is one, however small the budget.
    pub fn poll_into(&mut self, now: Instant, budget: usize, sink: &mut impl Sink) -> Output {
        self.now = self.now.max(now);
        let mut spent = 0;
        // Messages make nothing else due: while they stream, the timers are not looked at again.
        let mut settled = false;
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Output::Action(action);
            }
            match self.events.pop_front() {
                Some(Event::Response(id, result)) => {
                    sink.response(id, result);
                    spent += 1;
                }
                Some(event) => return Output::Event(event),
                None if matches!(self.phase, Phase::Closed) => return Output::Idle(Wait::default()),
                None if !settled && self.step() => {}
                None if self.may_receive() => match self.next_frame(budget - spent) {
                    Ok(Some(received)) => {
                        settled = matches!(received, Received::Messages(_));
                        spent += self.receive(received, sink);
                    }
                    Ok(None) if mem::take(&mut settled) && self.step() => {}
                    Ok(None) if self.read_out() => {}
                    Ok(None) => return Output::Idle(self.wait()),
                    Err(error) => {
                        settled = false;
                        self.fail(DisconnectCause::Protocol(error));
                    }
                },
                None => return Output::Idle(self.wait()),
            }
            if spent >= budget {
                return Output::Yield;
            }
        }
    }

    /// What has come next, in messages of about `budget` bytes.
    #[inline]
    fn next_frame(&mut self, budget: usize) -> Result<Option<Received>, DecodeError> {
        if self.inbound.undecoded().is_empty() {
            return Ok(None);
        }
        // A message in the place of INFO is for nobody.
        let subscriptions = match self.phase {
            Phase::Info => &mut Subscriptions::default(),
            _ => &mut self.subscriptions,
        };
        self.inbound.next(budget, subscriptions)
    }

    /// Does one thing that is due without input. False when nothing is.
    #[inline]
    fn step(&mut self) -> bool {
        !self.is_quiet(self.now) && self.step_of_any_kind()
    }

    /// Seen at a glance that nothing is due without input, as is most often the case.
    fn is_quiet(&self, now: Instant) -> bool {
        self.is_quiet_but_confirm(now)
            && (self.outbound.since_ping() == 0 || self.timers.is_set(Timer::Confirm))
    }

    /// The same, but for the timer of what was published first since the last PING.
    fn is_quiet_but_confirm(&self, now: Instant) -> bool {
        self.is_connected()
            && self.timers.next().is_none_or(|(at, _)| now < at)
            && self.requests.next_deadline().is_none_or(|at| now < at)
            && !self.timers.are_asked()
            && !self.outbound.has_answer()
            && !self.ending.has_begun()
            && !self.session.lowered
            && self.wants_room.is_none()
            && self.config.write_deadline.is_none()
    }

    fn step_of_any_kind(&mut self) -> bool {
        self.timers.start_asked(self.now);
        self.watch_kept();
        if !self.may_receive() && self.read_out() {
            return true;
        }
        if matches!(self.phase, Phase::Lost(_)) {
            // Until the batch is back, only requests can end.
            return if self.outbound.is_lent() {
                self.expire_request()
            } else {
                self.finish_loss()
            };
        }
        if self.ending.is_closing() && !self.is_connected() {
            self.shut();
            return true;
        }
        if matches!(self.phase, Phase::Waiting) {
            if self.ask_for_server() {
                return true;
            }
            if !self.timers.is_set(Timer::Reconnect) {
                return self.begin_attempt();
            }
        }
        self.watch_writing();
        if let Some(timer) = self.timers.expire(self.now) {
            self.expired(timer);
            return true;
        }
        if self.expire_request() {
            return true;
        }
        if self.drop_unfit() {
            return true;
        }
        if let Some(answer) = self.outbound.next_answer() {
            self.answered(answer);
            return true;
        }
        if self.wants_room.is_some_and(|length| {
            self.outbound.user_bytes() <= self.user_bound() / 2 && self.has_room(length)
        }) {
            self.wants_room = None;
            self.events.push_back(Event::Writable);
            return true;
        }
        if self.is_connected()
            && self.outbound.since_ping() > 0
            && self.outbound.may_confirm()
            && !self.timers.is_set(Timer::Confirm)
        {
            self.timers.set(Timer::Confirm, self.now + self.config.confirm_interval);
        }
        self.step_ending()
    }

    fn expire_request(&mut self) -> bool {
        let expired = self.requests.expire(self.now);
        if let Some(id) = expired {
            self.request_timed_out(id);
        }
        expired.is_some()
    }

    fn expired(&mut self, timer: Timer) {
        match timer {
            Timer::Attempt if matches!(self.phase, Phase::Info) => {
                self.fail(DisconnectCause::NoInfo);
            }
            Timer::Attempt if matches!(self.phase, Phase::Choosing) => self.end_choice(true),
            Timer::Attempt => self.fail(DisconnectCause::TimedOut),
            // The attempt begins because the timer no longer runs.
            Timer::Reconnect | Timer::Request => {}
            Timer::Ping => self.keep_alive(),
            Timer::Write => self.fail(DisconnectCause::WriteTimedOut),
            Timer::Confirm => {
                if self.outbound.since_ping() > 0 {
                    self.outbound.confirm();
                }
            }
            Timer::LameDuck => self.leave_lame_duck(),
            // What it waits for may lie unread in front of us.
            Timer::Move if self.paused => {
                self.timers.set(Timer::Move, self.now + self.config.move_timeout);
            }
            Timer::Move => self.fail(DisconnectCause::Requested),
            Timer::Drain => self.drain_timed_out(),
            Timer::Close => self.shut(),
            Timer::Kept => {
                if let Some(below) = self.ages.expire(self.now) {
                    let expired = self.outbound.expire_below(below);
                    Fates::settle(&mut self.expired, &expired, self.config.max_ranges);
                }
            }
        }
    }

    /// Messages that wait for a connection grow old from now on.
    fn watch_kept(&mut self) {
        if !self.is_connected() {
            self.ages.note(self.now, self.outbound.next_position());
            if let Some(due) = self.ages.due() {
                self.timers.set(Timer::Kept, due);
            }
        }
    }

    /// Bytes for the transport wait for so long, and no longer.
    fn watch_writing(&mut self) {
        let Some(deadline) = self.config.write_deadline else { return };
        let written = self.outbound.out_bytes();
        let progress = mem::replace(&mut self.written, written) != written;
        let waiting = self.is_connected() && (self.outbound.is_lent() || self.has_output());
        if progress || !waiting {
            self.timers.stop(Timer::Write);
        }
        if waiting && !self.timers.is_set(Timer::Write) {
            self.timers.set(Timer::Write, self.now + deadline);
        }
    }

    /// A PING to see whether the server lives, unless too many went unanswered.
    fn keep_alive(&mut self) {
        self.timers.set(Timer::Ping, self.now + self.config.ping_interval);
        self.inbound.look_for_quiet();
        if self.paused {
            // The answer may lie unread in front of us.
            return;
        }
        if self.pings_out >= self.config.max_pings_out {
            return self.fail(DisconnectCause::Stale);
        }
        self.pings_out += 1;
        self.outbound.ping(None, 0);
    }

    /// What `poll` at `now` would give but for bytes that were read since the last one, if it is seen
    /// at a glance that this is `Idle`: with [`Wait::write`] a driver may write then, and poll once for
    /// that and for what it was woken for.
    pub fn rest(&self, now: Instant) -> Option<Wait> {
        self.rests(now).then(|| self.wait())
    }

    /// Whether [`rest`](Self::rest) gives something, for who knows what.
    #[inline]
    pub fn rests(&self, now: Instant) -> bool {
        self.actions.is_empty() && self.events.is_empty() && self.is_quiet(now)
    }

    /// Whether it rests, but for the timer of a PING that is to confirm what was just published: for
    /// who polls again before that interval is over.
    #[inline]
    pub fn rests_but_confirm(&self, now: Instant) -> bool {
        self.actions.is_empty() && self.events.is_empty() && self.is_quiet_but_confirm(now)
    }

    fn wait(&self) -> Wait {
        let lost = matches!(self.phase, Phase::Lost(_));
        let timer = self.timers.next().filter(|_| !lost);
        let next = match (timer, self.requests.next_deadline()) {
            (timer, Some(at)) if timer.is_none_or(|(earlier, _)| at < earlier) => {
                Some((at, Timer::Request))
            }
            (timer, _) => timer,
        };
        Wait {
            until: next.map(|(at, _)| at),
            reason: next.map(|(_, timer)| timer),
            read: self.may_receive(),
            write: self.has_output(),
        }
    }

    fn may_receive(&self) -> bool {
        match self.phase {
            Phase::Info | Phase::Authorizing | Phase::Greeting => true,
            // A close waits for its PONG whatever is unread, and hands nothing over. What came before
            // the end of a transport has nowhere else to wait.
            Phase::Up => !self.paused || self.ending.is_closing() || self.session.has_ended(),
            _ => false,
        }
    }

    fn has_output(&self) -> bool {
        let due = || match self.phase {
            Phase::Greeting => !self.session.pinged || self.pong_due,
            Phase::Up => self.has_control_due() && !self.outbound.is_held(),
            _ => false,
        };
        let may = matches!(self.phase, Phase::Up | Phase::Greeting) && !self.outbound.is_lent();
        may && (self.outbound.is_ready() || due())
    }

    /// There are control operations that `prepare` would write.
    fn has_control_due(&self) -> bool {
        self.pong_due && !self.outbound.has_pong()
            || self.subscriptions.has_unsubs()
            || self.subscriptions.needs_drain_ping()
    }

    // ---- bytes ---------------------------------------------------------------------------

    /// Room for bytes from the transport: at least as much as the frame needs that is being
    /// received. Empty unless [`Wait::read`]. Call [`received`](Self::received) with the count.
    pub fn read_buf(&mut self) -> &mut [u8] {
        if self.may_receive() { self.inbound.room() } else { &mut [] }
    }

    /// The transport delivered `count` bytes into [`read_buf`](Self::read_buf).
    pub fn received(&mut self, count: usize) {
        self.inbound.received(count);
        if count > 0 {
            self.heard(self.session.secure);
        }
    }

    /// Bytes came, through TLS or not.
    fn heard(&mut self, secure: bool) {
        if matches!(self.phase, Phase::Tls) || secure != self.session.secure {
            // They were read before TLS began.
            self.fail(DisconnectCause::TlsInjection);
        }
    }

    /// The read buffer, to be filled while the connection is not locked. `None` unless
    /// [`Wait::read`], and while one is out.
    pub fn take_read(&mut self) -> Option<ReadBuffer> {
        let mut buffer = self.take_spare()?;
        buffer.initialise();
        Some(buffer)
    }

    /// As [`take_read`](Self::take_read), for who reads into [`ReadBuffer::spare`]: a slice as long as
    /// its room the buffer is only once it is [initialised](ReadBuffer::initialise).
    pub fn take_spare(&mut self) -> Option<ReadBuffer> {
        if self.may_receive() {
            self.inbound.lend(self.session.attempt, self.session.secure)
        } else {
            None
        }
    }

    /// Takes back a read buffer, with `count` bytes from the transport in it.
    pub fn filled(&mut self, buffer: ReadBuffer, count: usize) {
        let current = buffer.attempt() == self.session.attempt && self.session.alive;
        let secure = buffer.secure();
        self.inbound.give_back(buffer, if current { count } else { 0 });
        if count > 0 && current {
            self.heard(secure);
        }
    }

    /// The bytes to send, for a driver that owns the connection alone: write
    /// [`chunk`](bytes::Buf::chunk), then [`advance`](bytes::Buf::advance) by what was written.
    pub fn transmit(&mut self) -> &mut Outbound {
        self.prepare();
        &mut self.outbound
    }

    /// Up to about `max` bytes to send, to be written while the connection is not locked.
    /// `None` when there is nothing to send, and while a batch is out.
    pub fn take_transmit(&mut self, max: usize) -> Option<Batch> {
        self.prepare();
        if !matches!(self.phase, Phase::Greeting | Phase::Up) {
            return None;
        }
        self.outbound.lend(self.session.attempt, max)
    }

    /// Takes back a batch of which the transport took the first `written` bytes.
    pub fn settle(&mut self, batch: Batch, written: usize) {
        self.outbound.settle(batch, written);
    }

    /// Puts what is due into the outbound queue.
    fn prepare(&mut self) {
        if self.outbound.is_lent() {
            return;
        }
        match self.phase {
            Phase::Greeting => self.fill_handshake(),
            Phase::Up => {
                self.drop_unfit();
                if self.has_control_due() {
                    self.prepare_control();
                }
                self.outbound.prepare();
            }
            _ => {}
        }
    }

    fn prepare_control(&mut self) {
        if self.pong_due && !self.outbound.has_pong() {
            self.pong_due = false;
            self.outbound.answer_ping();
        }
        self.write_unsubs();
        if !self.subscriptions.has_unsubs()
            && let Some(number) = self.subscriptions.next_drain_ping()
        {
            self.outbound.ping(None, number);
        }
    }

    /// A subject that nobody else uses, for replies.
    pub fn new_inbox(&mut self) -> String {
        inbox(&self.config.inbox_prefix, &mut self.rng)
    }
}

/// Buffers are not shown: they hold credentials and messages.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("phase", &self.phase)
            .field("server", &self.session.server)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

fn inbox(prefix: &str, rng: &mut Rng) -> String {
    let mut inbox = String::from(prefix);
    inbox.push('.');
    inbox.push_str(&rng.token());
    inbox
}

/// Keeps the one message or reply that a budget of 1 allows.
struct One(Option<Event>);

impl Sink for One {
    fn message(&mut self, sid: Sid, message: Message) {
        self.0 = Some(Event::Message(sid, message));
    }

    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>) {
        self.0 = Some(Event::Response(id, result));
    }
}
