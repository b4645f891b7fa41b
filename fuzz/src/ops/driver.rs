//! The driver of a run: carries out steps, and checks what the connection answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Buf;
use midge_proto::wire::ServerInfo;
use midge_proto::{
    Action, Attempt, Batch, Config, Connection, Credentials, DisconnectCause, EndReason, Event,
    Fates, FlushId, HeaderMap, Instant, Message, Output, Position, QueueGroup, ReadBuffer,
    RequestError, RequestId, ServerUrl, Sid, Sink, SubjectRef, TlsMode, Wait,
};

use super::super::describe::describe;
use super::super::input::Input;
use super::ledger::{Begun, Ledger};
use super::server::Server;

/// The largest payload that is published, and what else a frame can have.
const PAYLOAD: usize = 2500;
const AROUND: usize = 100;
/// No frame that is received whole needs more than this, see [`super::config`].
const ROOM: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    Subscription(Sid),
    Request(RequestId),
    Flush(FlushId),
}

/// What is known of an id that was handed out.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) ended: bool,
    /// Ended by the caller: no event follows.
    cancelled: bool,
    /// Of a request: its message. Of a flush: the messages before it.
    position: u64,
    pub(super) subject: Vec<u8>,
    pub(super) queue: Option<Vec<u8>>,
    /// Of a subscription: messages after which it ends, and those that came.
    pub(super) max: Option<u64>,
    pub(super) delivered: u64,
    /// The number in the last message.
    last: Option<u64>,
    pub(super) draining: bool,
    /// A drain of the connection waits for its end.
    for_replies: bool,
    /// Of a flush: the server answered.
    pub(super) flushed: bool,
}

pub(super) struct Driver {
    pub(super) config: Config,
    pub(super) connection: Connection,
    pub(super) now: Instant,
    busy: bool,
    /// The connection has heard of this time.
    told: Instant,
    pub(super) wait: Wait,
    /// Nothing happened since `wait` was returned.
    pub(super) polled: bool,
    pub(super) asked: Option<Action>,
    pub(super) live: Option<Attempt>,
    last: Attempt,
    /// Lent, and how much of it the transport took.
    pub(super) batch: Option<(Batch, usize)>,
    pub(super) read: Option<ReadBuffer>,
    pub(super) paused: bool,
    pub(super) server: Server,
    pub(super) ledger: Ledger,
    pub(super) ids: BTreeMap<Id, Facts>,
    messages: u64,
    pub(super) subscriptions_drained: bool,
    /// A move to another server was asked for, by the caller or by the server.
    pub(super) moving: bool,
    /// When the present move began at the earliest, and when it must be over.
    moving_since: Option<Instant>,
    pub(super) moved_by: Option<Instant>,
    /// When a drain must be over, and a close.
    pub(super) drained_by: Option<Instant>,
    pub(super) closed_by: Option<Instant>,
    /// Was up when last looked at.
    up: bool,
    /// Where connections may go: hosts and ports. `None` once a server has said anything at all.
    servers: Option<Vec<(String, u16)>>,
    pub(super) closed: bool,
    pub(super) events: Vec<String>,
    pub(super) written: Vec<u8>,
    /// Each step, when it was, and how many events there were before.
    steps: Vec<(u8, Instant, usize)>,
}

/// A broken promise is easier to read behind the story of the run.
impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&self.steps, &self.events);
        }
    }
}

impl Driver {
    pub(super) fn new(config: Config, busy: bool) -> Self {
        let mut driver = Self {
            connection: Connection::new(config.clone()).expect("a good configuration"),
            servers: Some(places(&config.servers)),
            config,
            now: Instant::from_nanos(1_000_000_000),
            busy,
            told: Instant::ZERO,
            wait: Wait::default(),
            polled: false,
            asked: None,
            live: None,
            last: Attempt::default(),
            batch: None,
            read: None,
            paused: false,
            server: Server::default(),
            ledger: Ledger::default(),
            ids: BTreeMap::new(),
            messages: 0,
            subscriptions_drained: false,
            moving: false,
            moving_since: None,
            moved_by: None,
            drained_by: None,
            closed_by: None,
            up: false,
            closed: false,
            events: Vec::new(),
            written: Vec::new(),
            steps: Vec::new(),
        };
        driver.settle();
        driver
    }

    // ---- polling -------------------------------------------------------------------------

    /// Polls until idle, and checks the contract.
    pub(super) fn settle(&mut self) {
        if std::mem::replace(&mut self.polled, true) {
            return;
        }
        let mut polls = 0;
        let wait = loop {
            polls += 1;
            assert!(polls < 10_000, "poll never comes to rest");
            match self.poll() {
                Output::Action(action) => self.act(action),
                Output::Event(event) => self.happened(&event),
                Output::Yield => assert!(self.busy, "poll never yields"),
                Output::Idle(wait) => break wait,
            }
        };
        // 1: no hot loop.
        assert!(wait.until.is_none_or(|until| until > self.now), "{wait:?} at {:?}", self.now);
        assert_eq!(wait.until.is_some(), wait.reason.is_some());
        // 2 and 9: nothing changes by itself, nor by a clock that goes back.
        for now in [self.now, Instant::ZERO] {
            assert!(matches!(self.connection.poll(now), Output::Idle(again) if again == wait));
        }
        // 7: the end is the end.
        if self.closed {
            assert_eq!(wait, Wait::default());
            assert!(self.connection.is_closed());
        }
        // 6: bounded.
        let bound = self.config.max_pending.max(self.config.reconnect_buffer);
        let pending = self.connection.pending_bytes();
        assert!(pending <= bound + PAYLOAD + AROUND, "{pending} bytes wait");
        assert!(self.connection.subscriptions() <= self.config.max_subscriptions);
        assert!(self.connection.requests() <= self.config.max_requests);
        self.wait = wait;
        // Lent is lent once.
        assert!(self.batch.is_none() || !wait.write, "`write` while a batch is out");
        assert!(self.read.is_none() || self.connection.take_read().is_none());
        self.check_planned_ends();
        let trusted = !self.server.tainted;
        let idle = self.batch.is_none() && self.read.is_none() && !self.paused;
        let exact = trusted && idle && self.connection.is_connected();
        if std::mem::replace(&mut self.up, self.connection.is_connected()) && !self.up {
            self.ledger.lost_at = self.now;
        }
        let fates = self.connection.fates();
        self.ledger.age_all(&fates.dropped, self.config.max_kept_age, self.now);
        self.ledger.check(&self.connection.statistics(), fates, exact, trusted);
    }

    /// Moves, drains and closes are over in time, unless a batch holds them up, or a pause a move.
    fn check_planned_ends(&mut self) {
        if self.paused {
            let later = self.now + self.config.move_timeout;
            self.moved_by = self.moved_by.map(|end| end.max(later));
        }
        if self.batch.is_some() || self.closed {
            return;
        }
        for end in [self.drained_by, self.closed_by].into_iter().flatten() {
            assert!(self.now < end, "the end is late: {:?}", self.wait);
        }
        // A close takes the place of a move, and so does the end of a drain.
        let ends = self.closed_by.or(self.drained_by).is_some();
        let stays = !ends && self.connection.is_connected();
        if let Some(end) = self.moved_by.filter(|_| stays) {
            assert!(self.now < end, "the move is late: {:?}", self.wait);
        }
    }

    fn poll(&mut self) -> Output {
        if !self.busy {
            return self.connection.poll(self.now);
        }
        // 9: once a time is known, an earlier one means the same.
        let now = if self.told == self.now { Instant::ZERO } else { self.now };
        self.told = self.now;
        let mut collected = Collected(Vec::new());
        let output = self.connection.poll_into(now, 300, &mut collected);
        for event in collected.0 {
            self.happened(&event);
        }
        output
    }

    fn act(&mut self, action: Action) {
        assert!(!self.closed, "an action after Closed: {action:?}");
        // 4: one live attempt at most.
        match &action {
            Action::Resolve { attempt, .. } | Action::Connect { attempt, .. } => {
                assert!(self.batch.is_none(), "{action:?} while a batch is out");
                self.check_place(&action);
                assert_eq!(self.live.replace(*attempt), None, "{action:?}");
                assert!(*attempt > self.last, "{action:?} is not new");
                self.last = *attempt;
                self.server = Server::default();
            }
            Action::StartTls { attempt, .. } | Action::Authorize { attempt, .. } => {
                assert_eq!(self.live, Some(*attempt), "{action:?}");
            }
            Action::Close { attempt } => {
                match self.live.take() {
                    Some(live) => assert_eq!(live, *attempt, "only what lives is closed"),
                    // It came and went between two polls.
                    None => assert!(*attempt > self.last, "{action:?} is old"),
                }
                self.last = *attempt;
                self.asked = None;
                return;
            }
            other => panic!("{other:?}"),
        }
        self.asked = Some(action);
    }

    /// A connection goes to a server of the pool.
    fn check_place(&self, action: &Action) {
        let Some(servers) = &self.servers else { return };
        let known = match action {
            Action::Resolve { host, .. } => servers.iter().any(|(known, _)| known == host),
            Action::Connect { address: None, server, .. } => {
                assert!(!self.config.resolve && server.ip().is_none(), "{action:?}");
                servers.iter().any(|(known, _)| known == server.host())
            }
            // A name was looked up before, and may have left the pool since.
            Action::Connect { server, .. } if server.ip().is_none() => true,
            Action::Connect { server, .. } => {
                let place = (server.host().to_owned(), server.port());
                servers.contains(&place)
            }
            _ => true,
        };
        assert!(known, "{action:?} is not one of {servers:?}");
    }

    fn happened(&mut self, event: &Event) {
        assert!(!self.closed, "an event after Closed: {event:?}");
        self.events.push(describe(event));
        match event {
            Event::Message(sid, message) => {
                let number = message.payload().split(|byte| *byte == b'.').next();
                let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
                let number = number.and_then(|digits| digits.parse().ok());
                self.delivered(*sid, number);
            }
            Event::Oversized { sid, length } => {
                assert!(*length > self.config.max_message);
                self.delivered(*sid, None);
            }
            Event::Response(id, result) => {
                let trusted = !self.server.tainted;
                let position = self.ended(Id::Request(*id)).position;
                match result {
                    Ok(message) if trusted => {
                        assert_eq!(message.payload(), position.to_string().as_bytes());
                    }
                    Err(RequestError::NotSent(_)) => self.ledger.dropped(position),
                    Err(_) => self.ledger.withdrawn(position),
                    Ok(_) => {}
                }
            }
            Event::Flushed(id, result) => {
                let facts = self.ended(Id::Flush(*id));
                facts.flushed = result.is_ok();
                let position = facts.position;
                let proven = result.is_err() || self.server.tainted;
                assert!(proven || self.ledger.is_flushed(position), "{id:?} proves nothing");
                if let Ok(fates) = result {
                    let settled = |position| place(fates, position) == 1;
                    assert!((0..position).all(settled), "{id:?} leaves open: {fates:?}");
                    assert!(fates.kept.is_empty(), "{fates:?}");
                }
            }
            Event::SubscriptionEnded(sid, why) => {
                let facts = self.ended(Id::Subscription(*sid));
                let drained = matches!(why, EndReason::Drained | EndReason::Disconnected);
                assert!(!drained || facts.draining, "nobody drained {sid:?}");
            }
            Event::Connected(facts) => {
                let greeted = self.server.pinged || self.batch.is_some();
                assert!(greeted, "up before a PING was written");
                self.ledger.up(&facts.dropped, self.config.max_kept_age, self.now);
                self.up = true;
                // An INFO before this one may have said it.
                self.moving =
                    self.config.leave_lame_duck.is_some() && (self.moving || facts.info.lame_duck);
                (self.moving_since, self.moved_by) = (None, None);
            }
            Event::Dropped(fate) => {
                fate.positions.ranges().flatten().for_each(|at| self.ledger.dropped(at));
            }
            Event::LameDuck if self.config.leave_lame_duck.is_some() => {
                self.moving_since = self.moving_since.or(Some(self.now));
            }
            Event::Disconnected(facts) => {
                let asked = self.moving || self.server.tainted;
                assert!(asked || facts.cause != DisconnectCause::Requested, "nobody asked");
                let (begun, trusted) = (self.server.begun(), !self.server.tainted);
                let kept = Some(&facts.kept);
                assert!(self.batch.is_none(), "lost while a batch is out");
                assert_eq!(facts.end.0, self.ledger.published());
                let in_time = self.moving_since.is_some_and(|since| {
                    self.now.saturating_since(since) < self.config.move_timeout
                });
                if facts.cause == DisconnectCause::Requested && in_time && trusted {
                    assert!(facts.unknown.is_empty(), "a planned move loses {:?}", facts.unknown);
                }
                let unknown: Vec<u64> = facts.unknown.positions.ranges().flatten().collect();
                let dropped = self.ledger.news(&facts.dropped);
                self.ledger.lost(&unknown, kept, &dropped, begun, trusted);
                (self.moving_since, self.moved_by) = (None, None);
                assert!(facts.kept.bytes <= self.config.reconnect_buffer as u64);
                self.server = Server::default();
            }
            Event::SubscriptionsDrained => self.subscriptions_drained = true,
            Event::Closed(facts) => {
                let (begun, trusted) = (self.server.begun(), !self.server.tainted);
                let unknown = self.ledger.news(&facts.fates.unknown);
                let mut dropped = self.ledger.news(&facts.fates.dropped);
                dropped.extend(self.ledger.news(&facts.fates.kept));
                assert!(self.batch.is_none(), "closed while a batch is out");
                self.ledger.lost(&unknown, None, &dropped, begun, trusted);
                let settled = |position| place(&facts.fates, position) == 1;
                assert!((0..self.ledger.published()).all(settled), "{:?}", facts.fates);
                // 5: every id has ended before.
                for (id, facts) in &self.ids {
                    assert!(facts.ended, "{id:?} never ended");
                }
                self.closed = true;
            }
            _ => {}
        }
    }

    fn delivered(&mut self, sid: Sid, number: Option<u64>) {
        let trusted = !self.server.tainted;
        let facts = self.ids.get_mut(&Id::Subscription(sid)).expect("handed out");
        assert!(!facts.ended, "a message after the end of {sid:?}");
        // A handshake goes on while paused, and messages may come before its PONG; so does what came
        // before a transport's end.
        let goes_on = !self.up || self.live.is_none();
        assert!(!self.paused || goes_on, "a message for {sid:?} while paused");
        assert!(self.closed_by.is_none(), "a message for {sid:?} after a close");
        facts.delivered += 1;
        assert!(facts.max.is_none_or(|max| facts.delivered <= max), "too many for {sid:?}");
        if let Some(number) = number.filter(|_| trusted) {
            assert!(facts.last.is_none_or(|last| last < number), "out of order for {sid:?}");
            facts.last = Some(number);
        }
    }

    /// 5: exactly one final event.
    fn ended(&mut self, id: Id) -> &mut Facts {
        let facts = self.ids.get_mut(&id).unwrap_or_else(|| panic!("{id:?} was not handed out"));
        assert!(!facts.cancelled, "an event for {id:?}, which was cancelled");
        assert!(!std::mem::replace(&mut facts.ended, true), "{id:?} ended twice");
        facts
    }

    // ---- steps ---------------------------------------------------------------------------

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        self.steps.push((operation, self.now, self.events.len()));
        match operation & 31 {
            0 => self.publish(input, false, operation & 32 != 0),
            1 => self.publish(input, true, operation & 32 != 0),
            2 => self.request(input),
            3 if operation & 32 != 0 => self.withdraw(input),
            3 => self.cancel(input),
            4 => self.subscribe(input, operation & 32 != 0),
            5 => {
                let max = input.byte() % 8;
                self.unsubscribe(input, (max > 0).then_some(u64::from(max)));
            }
            6 => {
                if let Some(sid) = self.subscription(input) {
                    self.known(sid).draining = true;
                    self.connection.drain_subscription(sid);
                }
            }
            7 => drop(self.flush()),
            8 => {
                if let Some(Id::Flush(id)) = self.pick(input, |id| matches!(id, Id::Flush(_))) {
                    self.cancelled(Id::Flush(id));
                    self.connection.cancel_flush(id);
                }
            }
            9 => {
                self.moving = true;
                if self.connection.is_connected() {
                    self.moving_since = self.moving_since.or(Some(self.now));
                    self.moved_by = self.moved_by.or(Some(self.now + self.config.move_timeout));
                }
                self.connection.reconnect();
            }
            10 => self.pause(input.byte() % 2 == 1),
            11 => {
                let urls = [&["127.0.0.1:3"][..], &["c.example:4", "127.0.0.1:1"], &[]];
                let urls = urls[usize::from(input.byte() % 3)].iter();
                let urls: Vec<_> = urls.map(|url| ServerUrl::parse(url).expect("a URL")).collect();
                if let Some(servers) = self.servers.as_mut().filter(|_| !urls.is_empty()) {
                    *servers = places(&urls);
                }
                self.connection.set_servers(urls);
            }
            12 => self.answer(input.byte()),
            13 => self.fail(input.byte()),
            14 => self.answer_late(input.byte()),
            15 | 16 => self.server_says(input),
            17 => drop(self.feed(input.number())),
            18 => drop(self.write(input.number())),
            19 => {
                let max = input.number();
                self.take_batch(max);
            }
            20 => self.settle_batch(input.number()),
            21 => {
                if self.read.is_none() {
                    self.read = self.connection.take_read();
                }
            }
            22 => self.give_back(input.number()),
            23 | 24 => self.pass(Duration::from_millis(input.number() as u64)),
            25 => {
                if input.byte() % 4 == 3 {
                    self.drain();
                }
            }
            26 => self.connection.queues_drained(),
            27 => {
                let millis = input.number() as u64;
                if input.byte() % 4 == 3 {
                    self.close(Duration::from_millis(millis));
                }
            }
            28 => self.write_batch(input.number()),
            _ => self.go(),
        }
        self.polled = false;
        if operation < 128 {
            self.settle();
        }
    }

    fn publish(&mut self, input: &mut Input<'_>, with_headers: bool, request: bool) {
        let mut headers = HeaderMap::new();
        headers.append("A", "b").expect("a header");
        let headers = with_headers.then_some(&headers);
        let payload = self.payload(input.number());
        let result = if request {
            self.connection.publish_request(subject(), replies(), headers, &payload)
        } else {
            self.connection.publish(subject(), None, headers, &payload)
        };
        if let Ok(position) = result {
            assert!(self.closed_by.is_none() && !self.closed, "a publish after a close");
            assert_eq!(position.0, self.ledger.accepted(self.now, request));
        }
    }

    /// Takes back one of the last messages.
    fn withdraw(&mut self, input: &mut Input<'_>) {
        let back = u64::from(input.byte() % 8) + 1;
        let Some(position) = self.ledger.published().checked_sub(back) else { return };
        let untouched = self.ledger.is_untouched(position) && self.server.begun() == Begun::Nothing;
        if self.connection.withdraw(Position(position)) {
            self.ledger.dropped(position);
        } else {
            let held = self.batch.is_some() || !untouched;
            assert!(held, "message {position} cannot be taken back");
            self.ledger.withdrawn(position);
        }
    }

    pub(super) fn drain(&mut self) {
        self.polled = false;
        if self.closed_by.is_none() {
            let end = self.now + self.config.drain_timeout;
            self.drained_by = self.drained_by.or(Some(end));
        }
        self.connection.drain();
        for (id, facts) in &mut self.ids {
            let drains = matches!(id, Id::Subscription(_)) && !facts.for_replies;
            facts.draining |= drains && !facts.ended;
        }
    }

    pub(super) fn close(&mut self, linger: Duration) {
        self.polled = false;
        let linger = if self.connection.is_connected() { linger } else { Duration::ZERO };
        let end = self.now + linger;
        self.closed_by = Some(self.closed_by.map_or(end, |before| before.min(end)));
        self.connection.close(linger);
    }

    /// Says which message it is of.
    fn payload(&self, size: usize) -> Vec<u8> {
        let mut payload = self.ledger.published().to_string().into_bytes();
        payload.resize(payload.len().max(size % PAYLOAD), b'.');
        payload
    }

    fn request(&mut self, input: &mut Input<'_>) {
        let deadline = self.now + Duration::from_millis(input.number() as u64);
        let payload = self.payload(0);
        if let Ok(id) = self.connection.request(subject(), None, &payload, deadline) {
            assert!(self.drained_by.is_none(), "a request after a drain");
            let position = self.ledger.accepted(self.now, true);
            self.handed_out(Id::Request(id), Facts { position, ..Facts::default() });
        }
    }

    fn cancel(&mut self, input: &mut Input<'_>) {
        let Some(Id::Request(id)) = self.pick(input, |id| matches!(id, Id::Request(_))) else {
            return;
        };
        let waits = !self.ids[&Id::Request(id)].ended;
        self.cancelled(Id::Request(id));
        let before = self.connection.statistics().dropped;
        self.connection.cancel(id);
        match self.connection.statistics().dropped - before {
            0 if !waits => {}
            0 => self.ledger.withdrawn(self.ids[&Id::Request(id)].position),
            1 => self.ledger.dropped(self.ids[&Id::Request(id)].position),
            more => panic!("a cancel drops {more} messages"),
        }
    }

    fn cancelled(&mut self, id: Id) {
        if let Some(facts) = self.ids.get_mut(&id).filter(|facts| !facts.ended) {
            facts.ended = true;
            facts.cancelled = true;
        }
    }

    fn subscribe(&mut self, input: &mut Input<'_>, for_replies: bool) {
        let kind = input.byte();
        let text = ["a", "b.*.c", "d.>"][usize::from(kind % 3)];
        let queue = (kind >= 128 && !for_replies).then(|| QueueGroup::new("q").expect("a name"));
        let subject = SubjectRef::new(text).expect("a subject");
        let result = if for_replies {
            self.connection.subscribe_replies(subject)
        } else {
            self.connection.subscribe(subject, queue.as_ref())
        };
        if let Ok(sid) = result {
            assert!(self.drained_by.is_none(), "a subscription after a drain");
            let queue = queue.map(|queue| queue.as_bytes().to_vec());
            let facts = Facts { subject: text.into(), queue, for_replies, ..Facts::default() };
            self.handed_out(Id::Subscription(sid), facts);
        }
    }

    fn unsubscribe(&mut self, input: &mut Input<'_>, max: Option<u64>) {
        let Some(sid) = self.subscription(input) else { return };
        let facts = self.known(sid);
        if let Some(max) = max.filter(|max| !facts.ended && *max > facts.delivered) {
            // The server may have ended it at the smaller one by now.
            facts.max = Some(facts.max.map_or(max, |smaller| smaller.min(max)));
        }
        self.connection.unsubscribe(sid, max);
    }

    pub(super) fn flush(&mut self) -> Option<Id> {
        self.polled = false;
        let id = Id::Flush(self.connection.flush().ok()?);
        let position = self.ledger.published();
        self.handed_out(id, Facts { position, ..Facts::default() });
        Some(id)
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.connection.pause(paused);
        self.polled = false;
    }

    fn handed_out(&mut self, id: Id, facts: Facts) {
        assert!(!self.closed, "{id:?} is handed out after Closed");
        assert!(self.ids.insert(id, facts).is_none(), "{id:?} is handed out twice");
    }

    fn known(&mut self, sid: Sid) -> &mut Facts {
        self.ids.get_mut(&Id::Subscription(sid)).expect("handed out")
    }

    fn subscription(&mut self, input: &mut Input<'_>) -> Option<Sid> {
        match self.pick(input, |id| matches!(id, Id::Subscription(_)))? {
            Id::Subscription(sid) => Some(sid),
            _ => None,
        }
    }

    /// One of the ids, also one that has ended: low choices are new ones.
    fn pick(&self, input: &mut Input<'_>, kind: impl Fn(&Id) -> bool) -> Option<Id> {
        let nth = usize::from(input.byte() % 16);
        self.ids.keys().rev().filter(|id| kind(id)).nth(nth).copied()
    }

    // ---- actions -------------------------------------------------------------------------

    /// Carries out what was asked for last.
    pub(super) fn answer(&mut self, how: u8) {
        let now = self.now;
        self.polled &= self.asked.is_none();
        match self.asked.take() {
            Some(Action::Resolve { attempt, .. }) => {
                let all = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
                let all = all.map(IpAddr::V4);
                self.live = None;
                self.connection.resolved(attempt, &all[usize::from(how % 3)..], now);
            }
            Some(Action::Connect { attempt, server, .. }) => {
                let web = matches!(server.scheme(), midge_proto::Scheme::Wss);
                let secure = self.config.tls == TlsMode::First || web;
                self.server = Server::new(&info(how));
                self.connection.connected(attempt, secure, now);
            }
            Some(Action::StartTls { attempt, .. }) => self.connection.tls_ready(attempt, now),
            Some(Action::Authorize { attempt, .. }) => {
                let token = Some("t".to_owned());
                let credentials = Credentials { token, ..Credentials::default() };
                self.connection.authorize(attempt, credentials, now);
            }
            _ => {}
        }
    }

    pub(super) fn fail(&mut self, how: u8) {
        let Some(attempt) = self.live.take() else { return };
        self.polled = false;
        self.asked = None;
        let cause = match how % 4 {
            0 => DisconnectCause::Eof,
            1 => DisconnectCause::Io("reset".to_owned()),
            2 => DisconnectCause::Dial("refused".to_owned()),
            _ => DisconnectCause::Tls("no".to_owned()),
        };
        self.connection.closed(attempt, cause, self.now);
    }

    /// Answers for the attempt before the one that lives change nothing.
    fn answer_late(&mut self, how: u8) {
        if self.live.is_some() {
            return;
        }
        let (attempt, now) = (self.last, self.now);
        match how % 5 {
            0 => self.connection.closed(attempt, DisconnectCause::Eof, now),
            1 => self.connection.connected(attempt, true, now),
            2 => self.connection.tls_ready(attempt, now),
            3 => self.connection.authorize(attempt, Credentials::default(), now),
            _ => self.connection.resolved(attempt, &[], now),
        }
    }

    // ---- bytes ---------------------------------------------------------------------------

    fn server_says(&mut self, input: &mut Input<'_>) {
        if self.live.is_none() || matches!(self.asked, Some(Action::Connect { .. })) {
            return;
        }
        match input.byte() % 16 {
            0..=2 => drop(self.server.pong()),
            3..=5 => {
                self.messages += 1;
                self.server.message(input, self.messages, 0);
            }
            6 => {
                self.messages += 1;
                let size = self.config.max_message + input.number() % 3000;
                self.server.message(input, self.messages, size);
            }
            7..=9 => self.server.reply(input),
            10 => self.server.ping(),
            11 => {
                let how = input.byte();
                self.moving |= info(how).lame_duck && self.config.leave_lame_duck.is_some();
                self.server.info(&info(how));
            }
            12 | 13 => self.server.error(input),
            14 => self.server.ok(),
            _ => {
                let raw = input.counted();
                self.servers = None;
                self.server.raw(raw);
            }
        }
        self.feed(usize::MAX);
    }

    /// Up to `most` bytes of what the server said arrive.
    pub(super) fn feed(&mut self, most: usize) -> bool {
        let mut left = most;
        let mut fed = false;
        while left > 0 && self.live.is_some() && self.read.is_none() && self.wait.read {
            let bytes = self.server.pending();
            let room = self.connection.read_buf();
            assert!(!room.is_empty() || !self.polled, "`read` without room");
            assert!(room.len() <= ROOM, "{} bytes of room", room.len());
            let count = room.len().min(bytes.len()).min(left);
            if count == 0 {
                break;
            }
            room[..count].copy_from_slice(&bytes[..count]);
            self.connection.received(count);
            self.server.took(count, &mut self.ledger);
            self.polled = false;
            self.settle();
            left -= count;
            fed = true;
        }
        fed
    }

    /// Gives the read buffer back with up to `most` bytes of what the server said.
    pub(super) fn give_back(&mut self, most: usize) {
        let Some(mut buffer) = self.read.take() else { return };
        let mut count = 0;
        if self.live == Some(buffer.attempt()) {
            let bytes = self.server.pending();
            count = buffer.len().min(bytes.len()).min(most);
            buffer[..count].copy_from_slice(&bytes[..count]);
            self.server.took(count, &mut self.ledger);
        }
        self.connection.filled(buffer, count);
        self.polled = false;
    }

    /// The transport takes up to `most` bytes.
    pub(super) fn write(&mut self, most: usize) -> bool {
        if self.live.is_none() {
            return false;
        }
        let out = self.connection.transmit();
        let count = out.remaining().min(most);
        // 3: bytes that may be sent mean `write`.
        assert!(count == 0 || !self.polled || self.wait.write, "{count} bytes without `write`");
        if out.remaining() == 0 && self.wait.write && self.polled {
            // What was to be written has been withdrawn: it must not be promised again.
            self.polled = false;
            self.settle();
            assert!(!self.wait.write, "`write`, and nothing to write");
            return false;
        }
        self.written.extend_from_slice(&out.chunk()[..count]);
        self.server.receive(&out.chunk()[..count], &mut self.ledger);
        out.advance(count);
        self.polled = false;
        count > 0
    }

    fn take_batch(&mut self, max: usize) {
        if self.batch.is_some() {
            assert!(self.connection.take_transmit(max).is_none(), "two batches are out");
            return;
        }
        match self.connection.take_transmit(max) {
            Some(batch) => {
                // That a transport has ended shows with the next poll.
                assert!(self.live.is_none_or(|live| live == batch.attempt()));
                assert!(max == 0 || !batch.as_slice().is_empty(), "an empty batch");
                // 3: bytes that may be sent mean `write`.
                assert!(!self.polled || self.wait.write, "a batch without `write`");
                self.batch = Some((batch, 0));
            }
            None if self.wait.write && self.polled => {
                self.polled = false;
                self.settle();
                assert!(!self.wait.write, "`write`, and nothing to write");
            }
            None => {}
        }
    }

    /// The transport takes up to `most` more bytes of the batch, of which nobody knows yet.
    fn write_batch(&mut self, most: usize) {
        let Some((batch, taken)) = &mut self.batch else { return };
        if self.live == Some(batch.attempt()) {
            let rest = &batch.as_slice()[*taken..];
            let rest = &rest[..rest.len().min(most)];
            *taken += rest.len();
            self.written.extend_from_slice(rest);
            self.server.receive(rest, &mut self.ledger);
        }
    }

    /// Gives the batch back after up to `most` more bytes of it.
    pub(super) fn settle_batch(&mut self, most: usize) {
        self.write_batch(most);
        let Some((batch, taken)) = self.batch.take() else { return };
        self.connection.settle(batch, taken);
        self.polled = false;
    }

    // ---- time ----------------------------------------------------------------------------

    fn pass(&mut self, by: Duration) {
        self.settle();
        let end = self.now + by;
        while let Some(until) = self.wait.until.filter(|until| *until <= end) {
            self.wake(until);
        }
        self.wake(end);
    }

    /// Polls at `at`, and when busy also at times before that at which nothing is due.
    pub(super) fn wake(&mut self, at: Instant) {
        if self.busy {
            let half = at.saturating_since(self.now) / 2;
            let start = self.now;
            for between in [half / 2, half] {
                self.now = start + between;
                self.polled = false;
                self.settle();
            }
        }
        self.now = at;
        self.polled = false;
        self.settle();
    }
}

const NAMES: [&str; 32] = [
    "publish",
    "publish with headers",
    "request",
    "cancel",
    "subscribe",
    "unsubscribe",
    "drain a subscription",
    "flush",
    "cancel a flush",
    "reconnect",
    "pause",
    "set servers",
    "answer an action",
    "fail",
    "answer late",
    "server",
    "server",
    "feed",
    "write",
    "take a batch",
    "settle the batch",
    "take the read buffer",
    "give the read buffer back",
    "time",
    "time",
    "drain",
    "queues drained",
    "close",
    "write the batch",
    "go",
    "go",
    "go",
];

#[allow(clippy::print_stderr, reason = "libFuzzer and cargo show it with the panic")]
fn tell(steps: &[(u8, Instant, usize)], events: &[String]) {
    let mut told = 0;
    for &(operation, now, before) in steps {
        events[told..before].iter().for_each(|event| eprintln!("      ! {event}"));
        told = before;
        let unpolled = if operation < 128 { "" } else { " (unpolled)" };
        eprintln!("{now:?} {}{unpolled}", NAMES[usize::from(operation & 31)]);
    }
    events[told..].iter().for_each(|event| eprintln!("      ! {event}"));
}

fn subject() -> SubjectRef<'static> {
    SubjectRef::new("p").expect("a subject")
}

fn replies() -> SubjectRef<'static> {
    SubjectRef::new("r").expect("a subject")
}

/// The servers that may be connected to while these are set: besides, those that [`info`] names.
fn places(urls: &[ServerUrl]) -> Vec<(String, u16)> {
    let learnt = [("10.0.0.9", 5), ("d.example", 6), ("10.0.0.8", 7)];
    let learnt = learnt.map(|(host, port)| (host.to_owned(), port));
    urls.iter().map(|url| (url.host().to_owned(), url.port())).chain(learnt).collect()
}

/// How many fates the message has.
fn place(fates: &Fates, position: u64) -> usize {
    let all = [&fates.confirmed, &fates.unknown, &fates.kept, &fates.dropped];
    all.iter().filter(|fate| fate.positions.contains(Position(position))).count()
}

/// What servers say of themselves.
fn info(how: u8) -> ServerInfo {
    let mut info = ServerInfo {
        server_id: "S".to_owned(),
        headers: how & 1 == 0,
        max_payload: if how & 2 == 0 { 1 << 20 } else { 300 },
        tls_available: how & 4 == 0,
        tls_required: how & 8 != 0,
        auth_required: how & 16 != 0,
        lame_duck: how & 32 != 0,
        ..ServerInfo::default()
    };
    if how & 64 != 0 {
        info.connect_urls = vec!["10.0.0.9:5".to_owned(), "d.example:6".to_owned()];
    }
    if how & 128 != 0 {
        info.nonce = Some("n".to_owned());
        info.connect_urls = vec!["10.0.0.8:7".to_owned(), "no host".to_owned()];
    }
    info
}

/// Messages and replies in the order in which they come.
struct Collected(Vec<Event>);

impl Sink for Collected {
    fn message(&mut self, sid: Sid, message: Message) {
        self.0.push(Event::Message(sid, message));
    }

    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>) {
        self.0.push(Event::Response(id, result));
    }
}
