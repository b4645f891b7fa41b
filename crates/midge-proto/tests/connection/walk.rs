//! Random runs: a driver that does everything at the worst time, against a server that keeps
//! account. After every step the contract holds, and at every end of a connection the fates of
//! all messages are what the server saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Buf, BufMut};
use midge_proto::{
    Action, Attempt, Batch, Config, Connection, Credentials, DisconnectCause, Event, Fate, Fates,
    FlushId, Instant, Output, Position, ReadBuffer, RequestError, RequestId, ServerUrl, Sid,
    SubjectRef, Wait,
};
use proptest::prelude::*;

use crate::model::{Cut, Peer, payload, subject};
use crate::rig::{INFO, config, describe};
use crate::steps::{Run, Step, run};

/// What became of a message in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Confirmed,
    Unknown,
    Dropped,
    /// Taken back.
    Withdrawn,
}

/// The one or none of the fates that holds a message.
fn place(fates: &Fates, position: u64) -> Option<End> {
    let holds = |fate: &Fate| fate.positions.contains(Position(position));
    let all = [
        (&fates.confirmed, End::Confirmed),
        (&fates.unknown, End::Unknown),
        (&fates.dropped, End::Dropped),
        (&fates.kept, End::Dropped),
    ];
    let mut places = all.into_iter().filter(|(fate, _)| holds(fate)).map(|(_, end)| end);
    let place = places.next();
    assert_eq!(places.next(), None, "{position} is in two of {fates:?}");
    place
}

struct Published {
    bytes: usize,
    request: bool,
    at: Instant,
    end: Option<End>,
    /// It was taken back while a batch was out: it is sent if it was begun.
    recalled: bool,
    /// From now on no byte of it may reach a server.
    never: bool,
}

struct Walk {
    connection: Connection,
    now: Instant,
    run: Run,
    asked: Option<Action>,
    live: Option<Attempt>,
    attempts: Vec<Attempt>,
    peers: Vec<Peer>,
    batch: Option<Batch>,
    written: usize,
    buffer: Option<ReadBuffer>,
    wait: Wait,
    paused: bool,
    moving: bool,
    subscriptions: Vec<Sid>,
    requests: Vec<(RequestId, u64)>,
    /// Each with how many messages were published before it.
    flushes: Vec<(FlushId, u64)>,
    lost_at: Instant,
    /// Every id handed out, and how many final events it got.
    ends: BTreeMap<String, usize>,
    ended: BTreeSet<u64>,
    /// Subscriptions that were told to end.
    told: BTreeSet<u64>,
    cancelled: BTreeSet<String>,
    published: Vec<Published>,
    transcript: Vec<String>,
    closed: bool,
}

fn small(run: &Run) -> Config {
    let mut config =
        config(if run.named { "one:1,127.0.0.1:2" } else { "127.0.0.1:1,127.0.0.1:2" });
    config.retry_first_connect = true;
    config.authorize = run.authorize;
    config.choose_server = run.choose;
    config.keep_requests = run.keep_requests;
    config.write_deadline = run.write_deadline.map(Duration::from_millis);
    config.max_pending = 2000;
    config.reconnect_buffer = 1500;
    config.control_reserve = 100;
    config.confirm_bytes = 700;
    config.read_chunk = 512;
    config.max_chunks = 2;
    config.max_message = 100;
    config.drain_timeout = Duration::from_secs(3);
    config.max_kept_age = run.max_kept_age.map(Duration::from_millis);
    config
}

impl Walk {
    fn new(run: &Run) -> Self {
        let mut walk = Self {
            connection: Connection::new(small(run)).unwrap(),
            now: Instant::from_nanos(1),
            run: run.clone(),
            asked: None,
            live: None,
            attempts: Vec::new(),
            peers: Vec::new(),
            batch: None,
            written: 0,
            buffer: None,
            wait: Wait::default(),
            paused: false,
            moving: false,
            subscriptions: Vec::new(),
            requests: Vec::new(),
            flushes: Vec::new(),
            lost_at: Instant::from_nanos(1),
            ends: BTreeMap::new(),
            ended: BTreeSet::new(),
            told: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            published: Vec::new(),
            transcript: Vec::new(),
            closed: false,
        };
        walk.settle();
        walk
    }

    /// Polls until idle, checking as it goes.
    fn settle(&mut self) {
        let mut turns = 0;
        let wait = loop {
            turns += 1;
            assert!(turns < 10_000, "poll never comes to an end");
            match self.connection.poll(self.now) {
                Output::Action(action) => self.act(action),
                Output::Event(event) => self.happened(event),
                Output::Yield => panic!("poll never yields"),
                Output::Idle(wait) => break wait,
            }
        };
        // 1: no hot loop, and no stall.
        assert!(wait.until.is_none_or(|until| until > self.now), "{wait:?} at {:?}", self.now);
        assert_eq!(wait.until.is_some(), wait.reason.is_some());
        assert!(self.closed || self.batch.is_some() || wait.until.is_some(), "a stall");
        // 2: nothing changes by itself.
        let again = self.connection.poll(self.now);
        assert!(matches!(again, Output::Idle(again) if again == wait), "{again:?}, not {wait:?}");
        // 3: what is lent is not to be written again.
        assert!(!wait.write || self.batch.is_none());
        // 7: the end is the end.
        if self.closed {
            assert_eq!(wait, Wait::default());
        }
        // 6: bounded.
        assert!(self.connection.pending_bytes() <= 2000 + 1100);
        if !self.paused
            && self.live.is_some()
            && let Some(peer) = self.peers.last_mut()
        {
            peer.decoded();
        }
        self.wait = wait;
    }

    fn act(&mut self, action: Action) {
        assert!(!self.closed, "an action after Closed: {action:?}");
        match &action {
            Action::Resolve { attempt, .. } | Action::Connect { attempt, .. } => {
                // 4: one live attempt at most.
                assert!(self.live.is_none(), "{attempt:?} while {:?} lives", self.live);
                assert!(self.batch.is_none(), "the next attempt waits for the batch");
                self.live = Some(*attempt);
                self.attempts.push(*attempt);
                self.moving = false;
            }
            Action::StartTls { attempt, .. } | Action::Authorize { attempt, .. } => {
                assert_eq!(self.live, Some(*attempt));
            }
            Action::NextServer { next, .. } => {
                assert!(self.live.is_none(), "there is a server already");
                assert!(!next.servers.is_empty());
            }
            Action::Close { attempt } => {
                assert_eq!(self.live, Some(*attempt), "only what lives is closed");
                self.live = None;
                self.asked = None;
                return;
            }
            other => panic!("{other:?}"),
        }
        self.asked = Some(action);
    }

    fn happened(&mut self, event: Event) {
        assert!(!self.closed, "an event after Closed: {event:?}");
        self.transcript.push(describe(&event));
        let id = match &event {
            Event::Response(id, result) => {
                if let Err(RequestError::NotSent(_)) = result {
                    self.taken_back(*id);
                }
                Some(format!("{id:?}"))
            }
            Event::Flushed(id, _) => Some(format!("{id:?}")),
            Event::SubscriptionEnded(sid, _) => {
                self.ended.insert(sid.number());
                Some(format!("{sid:?}"))
            }
            _ => None,
        };
        if let Some(id) = id {
            let count =
                self.ends.get_mut(&id).unwrap_or_else(|| panic!("{id} was never handed out"));
            *count += 1;
            assert_eq!(*count, 1, "{id} ended twice");
            assert!(!self.cancelled.contains(&id), "{id} was cancelled");
        }
        match event {
            Event::Connected(facts) => {
                self.end_all(&facts.dropped, End::Dropped);
                self.check_ages();
            }
            Event::Dropped(fate) => self.end_all(&fate, End::Dropped),
            Event::Disconnected(facts) => {
                self.lost_at = self.now;
                assert_eq!(facts.end, Position(self.published.len() as u64));
                self.account(&facts.unknown, &facts.kept, &facts.dropped);
            }
            Event::Flushed(id, Ok(fates)) => self.check_flush(id, &fates),
            Event::Closed(facts) => {
                // 5: every id has ended before.
                for (id, ends) in &self.ends {
                    assert!(*ends == 1 || self.cancelled.contains(id), "{id} never ended");
                }
                let new = |fate: &Fate, end: End| self.without_ended(fate, end);
                let unknown = new(&facts.fates.unknown, End::Unknown);
                let mut dropped = new(&facts.fates.dropped, End::Dropped);
                dropped.extend(new(&facts.fates.kept, End::Dropped));
                self.account_positions(&unknown, &BTreeSet::new(), &dropped);
                self.closed = true;
                self.check_end(&facts.fates);
            }
            _ => {}
        }
    }

    // ---- fates -----------------------------------------------------------------------------

    fn taken_back(&mut self, id: RequestId) {
        let position = self.requests.iter().find(|(known, _)| *known == id).unwrap().1;
        let seen = self.peers.iter().any(|peer| peer.has_seen(position));
        assert!(!seen, "{id:?} is not sent, and the server saw it");
        self.published[position as usize].never = true;
    }

    fn end(&mut self, position: u64, end: End) {
        let message = &mut self.published[position as usize];
        assert!(message.end.is_none(), "{position} is {end:?} and was {:?}", message.end);
        message.end = Some(end);
    }

    fn check_size(&self, fate: &Fate) {
        let positions = fate.positions.ranges().flatten();
        let bytes: usize = positions.map(|at| self.published[at as usize].bytes).sum();
        assert_eq!((fate.messages, fate.bytes), (fate.positions.len(), bytes as u64));
    }

    /// What the report over a whole life adds to the reports before.
    fn without_ended(&self, fate: &Fate, end: End) -> BTreeSet<u64> {
        self.check_size(fate);
        let earlier = |position: &u64| {
            let before = self.published[*position as usize].end;
            assert!(before.is_none() || before == Some(end) || before == Some(End::Withdrawn));
            before.is_some()
        };
        fate.positions.ranges().flatten().filter(|position| !earlier(position)).collect()
    }

    /// A flush settles all that was published before it.
    fn check_flush(&self, id: FlushId, fates: &Fates) {
        let (_, before) = self.flushes.iter().find(|(known, _)| *known == id).unwrap();
        for position in 0..*before {
            assert!(place(fates, position).is_some(), "{position} of {before}: {fates:?}");
        }
        assert!(fates.kept.is_empty());
        let seen = |position| self.peers.iter().any(|peer| peer.has_seen(position));
        assert!(fates.confirmed.positions.ranges().flatten().all(seen));
    }

    /// The report of a whole life, against the reports on the way.
    fn check_end(&self, fates: &Fates) {
        self.check_size(&fates.confirmed);
        for (position, message) in self.published.iter().enumerate() {
            let end = match message.end {
                Some(End::Withdrawn) => Some(End::Dropped),
                end => end,
            };
            assert_eq!(place(fates, position as u64), end, "{position}");
        }
    }

    /// What still waits when a connection is there is not too old.
    fn check_ages(&self) {
        let Some(max) = self.run.max_kept_age.map(Duration::from_millis) else { return };
        for (position, message) in self.published.iter().enumerate() {
            let waits = message.end.is_none() && !message.request && !message.never;
            let age = self.now.saturating_since(message.at.max(self.lost_at));
            assert!(!waits || age < max, "{position} is {age:?} old");
        }
    }

    fn end_all(&mut self, fate: &Fate, end: End) {
        self.check_size(fate);
        self.end_positions(fate.positions.ranges().flatten(), end);
    }

    fn end_positions(&mut self, positions: impl IntoIterator<Item = u64>, end: End) {
        for position in positions {
            let seen = self.peers.iter().any(|peer| peer.has_seen(position));
            assert!(!seen || end == End::Unknown, "{position} is {end:?}, and the server saw it");
            self.end(position, end);
        }
    }

    /// The end of a connection: the fates are those that the server saw.
    fn account(&mut self, unknown: &Fate, kept: &Fate, dropped: &Fate) {
        for fate in [unknown, kept, dropped] {
            self.check_size(fate);
        }
        let [unknown, kept, dropped] = [unknown, kept, dropped]
            .map(|fate| fate.positions.ranges().flatten().collect::<BTreeSet<_>>());
        self.account_positions(&unknown, &kept, &dropped);
    }

    fn account_positions(
        &mut self,
        unknown: &BTreeSet<u64>,
        kept: &BTreeSet<u64>,
        dropped: &BTreeSet<u64>,
    ) {
        assert!(self.batch.is_none(), "the fates wait for the batch");
        let (mut frames, mut cut, mut least, mut most) = (Vec::new(), Cut::Nothing, 0, 0);
        if let Some(peer) = self.peers.last_mut().filter(|peer| !peer.accounted) {
            peer.accounted = true;
            (frames, cut) = (peer.frames.clone(), peer.cut());
            (least, most) = peer.confirmed();
        }
        let mut confirmed = 0;
        for (index, position) in frames.iter().enumerate() {
            if unknown.contains(position) {
                assert!(index >= least, "{position} is confirmed: {index} of {least}");
            } else {
                assert!(index < most, "{position} is not confirmed: {index} of {most}");
                assert_eq!(index, confirmed, "what is confirmed comes first");
                confirmed += 1;
                self.end(*position, End::Confirmed);
            }
        }
        for &position in unknown {
            let cut = cut == Cut::Unclear || cut == Cut::Publish(position);
            assert!(cut || frames.binary_search(&position).is_ok(), "{position} was not sent");
        }
        if let Cut::Publish(position) = cut {
            assert!(unknown.contains(&position), "{position} was begun");
        }
        self.end_positions(unknown.iter().copied(), End::Unknown);
        self.end_positions(dropped.iter().copied(), End::Dropped);
        for position in 0..self.published.len() as u64 {
            let waits = kept.contains(&position);
            let message = &mut self.published[position as usize];
            if message.end.is_none() && !waits {
                let back = message.request || message.never || message.recalled;
                assert!(back, "{position} is in no fate");
                message.end = Some(End::Withdrawn);
                message.never = true;
            } else {
                assert!(
                    message.end.is_none() || !waits,
                    "{position} is kept, and {:?}",
                    message.end
                );
            }
            let keeps = self.run.keep_requests || !message.request;
            assert!(!waits || keeps, "a request is not kept over a loss");
        }
    }

    fn count(&self, end: End) -> u64 {
        self.published.iter().filter(|message| message.end == Some(end)).count() as u64
    }

    fn accept(&mut self, before: usize, request: bool) {
        let bytes = self.connection.pending_bytes() - before;
        self.published.push(Published {
            bytes,
            request,
            at: self.now,
            end: None,
            recalled: false,
            never: false,
        });
    }

    // ---- steps -----------------------------------------------------------------------------

    fn take(&mut self, step: &Step) {
        let number = self.published.len() as u64;
        let before = self.connection.pending_bytes();
        let text = subject(number);
        let subject = SubjectRef::new(&text).unwrap();
        match *step {
            Step::Publish(size) => {
                let payload = payload(number, size);
                if let Ok(position) = self.connection.publish(subject, None, None, &payload) {
                    assert_eq!(position, Position(number));
                    self.accept(before, false);
                }
            }
            Step::PublishRequest(size) => {
                let (payload, reply) = (payload(number, size), SubjectRef::new("r").unwrap());
                if let Ok(position) =
                    self.connection.publish_request(subject, reply, None, &payload)
                {
                    assert_eq!(position, Position(number));
                    self.accept(before, true);
                }
            }
            Step::Withdraw(which) => {
                let position = number.saturating_sub(1 + which);
                if self.connection.withdraw(Position(position)) {
                    let message = &mut self.published[position as usize];
                    assert!(message.end.is_none() && !message.never);
                    message.never = true;
                } else if let Some(message) = self.published.get_mut(position as usize) {
                    message.recalled |= self.batch.is_some();
                }
            }
            Step::Request(millis) => {
                let deadline = self.now + Duration::from_millis(millis);
                let payload = payload(number, 0);
                if let Ok(id) = self.connection.request(subject, None, &payload, deadline) {
                    self.accept(before, true);
                    self.requests.push((id, number));
                    self.ends.insert(format!("{id:?}"), 0);
                }
            }
            Step::CancelRequest(which) => {
                if let Some((id, position)) = self.requests.iter().rev().nth(which).copied()
                    && self.ends[&format!("{id:?}")] == 0
                    && self.cancelled.insert(format!("{id:?}"))
                {
                    self.connection.cancel(id);
                    let peer = self.peers.last();
                    let clear = peer.is_none_or(|peer| peer.cut() != Cut::Unclear);
                    let seen = self.peers.iter().any(|peer| peer.has_seen(position));
                    let message = &mut self.published[position as usize];
                    if clear && !seen && message.end.is_none() {
                        message.never = true;
                    }
                }
            }
            Step::Subscribe(replies) => {
                let subject = SubjectRef::new("s.x").unwrap();
                let made = match replies {
                    true => self.connection.subscribe_replies(subject),
                    false => self.connection.subscribe(subject, None),
                };
                if let Ok(sid) = made {
                    self.subscriptions.push(sid);
                    self.ends.insert(format!("{sid:?}"), 0);
                }
            }
            Step::Unsubscribe(which, max) => {
                if let Some(sid) = self.subscriptions.iter().rev().nth(which) {
                    self.told.insert(sid.number());
                    self.connection.unsubscribe(*sid, (max > 0).then_some(max));
                }
            }
            Step::DrainSubscription(which) => {
                if let Some(sid) = self.subscriptions.iter().rev().nth(which) {
                    self.told.insert(sid.number());
                    self.connection.drain_subscription(*sid);
                }
            }
            Step::Flush => {
                if let Ok(id) = self.connection.flush() {
                    self.flushes.push((id, number));
                    self.ends.insert(format!("{id:?}"), 0);
                }
            }
            Step::CancelFlush(which) => {
                if let Some((id, _)) = self.flushes.iter().rev().nth(which).copied() {
                    if self.ends[&format!("{id:?}")] == 0 {
                        self.cancelled.insert(format!("{id:?}"));
                    }
                    self.connection.cancel_flush(id);
                }
            }
            Step::Reconnect => {
                self.moving = true;
                self.connection.reconnect();
            }
            Step::SetServers(count) => {
                let urls = (0..count).map(|at| format!("127.0.0.{count}:{}", at + 1));
                let urls = urls.map(|url| ServerUrl::parse(&url).unwrap());
                self.connection.set_servers(urls.collect());
            }
            Step::Pause(paused) => {
                self.paused = paused;
                self.connection.pause(paused);
            }
            Step::Drain => {
                self.told.extend(self.subscriptions.iter().map(|sid| sid.number()));
                self.connection.drain();
            }
            Step::QueuesDrained => self.connection.queues_drained(),
            Step::Close(millis) => self.connection.close(Duration::from_millis(millis)),
            Step::Answer => self.answer(),
            Step::Fail => {
                if let Some(attempt) = self.live.take() {
                    self.asked = None;
                    self.connection.closed(attempt, DisconnectCause::Eof, self.now);
                }
            }
            Step::Late => self.answer_late(),
            Step::ComeUp => {
                let round =
                    [Step::Answer, Step::Read(usize::MAX), Step::Write(usize::MAX), Step::Serve];
                for step in round.iter().cycle().take(20) {
                    self.take(step);
                }
            }
            Step::Serve => {
                if let Some(peer) = self.peers.last_mut() {
                    peer.answer();
                }
            }
            Step::Say(which) => self.say(which),
            Step::Read(most) => self.read(most),
            Step::TakeRead => {
                if self.buffer.is_none() {
                    self.buffer = self.connection.take_spare();
                }
            }
            Step::Fill(most) => self.fill(most),
            Step::Write(max) => self.write(max),
            Step::Take(max, written) => self.take_batch(max, written),
            Step::Settle => self.settle_batch(),
            Step::Time(millis) => self.pass(Duration::from_millis(millis)),
        }
        self.settle();
        self.check();
    }

    fn check(&self) {
        let statistics = self.connection.statistics();
        assert_eq!(statistics.out_messages, self.published.len() as u64);
        let settled = statistics.confirmed + statistics.unknown + statistics.dropped;
        assert!(settled <= statistics.out_messages, "{statistics:?}");
        let idle = !self.wait.write && self.batch.is_none() && self.connection.is_connected();
        let Some(peer) = self.peers.last().filter(|peer| idle && !peer.refused && !self.moving)
        else {
            return;
        };
        // All is written: the server's table is ours.
        let table: BTreeSet<_> = peer.subscriptions().collect();
        for sid in &table {
            assert!(!self.ended.contains(sid), "{sid} has ended here, and not there");
        }
        for sid in self.subscriptions.iter().map(|sid| sid.number()) {
            let lives = !self.ended.contains(&sid) && !self.told.contains(&sid);
            assert!(!lives || table.contains(&sid), "{sid} lives here, and not there");
        }
    }

    fn answer(&mut self) {
        let now = self.now;
        match self.asked.take() {
            Some(Action::Resolve { attempt, .. }) => {
                self.live = None;
                let ips = ["127.0.0.8", "127.0.0.9"].map(|ip| ip.parse().unwrap());
                self.connection.resolved(attempt, &ips, now);
            }
            Some(Action::Connect { attempt, .. }) => {
                let info = match self.run.tls {
                    true => INFO.replace('{', "{\"tls_required\":true,"),
                    false => INFO.to_owned(),
                };
                self.peers.push(Peer::new(attempt, &info));
                self.connection.connected(attempt, false, now);
            }
            Some(Action::StartTls { attempt, .. }) => self.connection.tls_ready(attempt, now),
            Some(Action::Authorize { attempt, .. }) => {
                self.connection.authorize(attempt, Credentials::default(), now);
            }
            Some(Action::NextServer { attempt, next }) => {
                // By turns: another one at once, the same one later, whatever it would be.
                let (server, wait) = match next.failed % 3 {
                    0 => (next.servers.last(), Some(Duration::ZERO)),
                    1 => (next.servers.first(), Some(Duration::from_millis(700))),
                    _ => (None, None),
                };
                let server = server.map(|candidate| &*candidate.server);
                self.connection.next_server(attempt, server, wait, now);
                self.attempts.push(attempt);
            }
            _ => {}
        }
    }

    /// 4: answers that name another attempt than the live one change nothing.
    fn answer_late(&mut self) {
        let now = self.now;
        for &old in self.attempts.iter().filter(|attempt| Some(**attempt) != self.live) {
            self.connection.next_server(old, None, Some(Duration::ZERO), now);
            self.connection.resolved(old, &["127.0.0.1".parse().unwrap()], now);
            self.connection.connected(old, true, now);
            self.connection.tls_ready(old, now);
            self.connection.authorize(old, Credentials::default(), now);
            self.connection.closed(old, DisconnectCause::Eof, now);
        }
        assert!(matches!(self.connection.poll(now), Output::Idle(again) if again == self.wait));
    }

    fn say(&mut self, which: usize) {
        let Some(peer) = self.peers.last_mut() else { return };
        match which {
            0 => peer.lie(),
            1 => peer.say(b"PING\r\n"),
            2 => {
                peer.refused = true;
                peer.say(b"-ERR 'Permissions Violation for Subscription to \"s.x\"'\r\n");
            }
            3 => peer.say(b"INFO {\"max_payload\":64,\"headers\":true,\"ldm\":true}\r\n"),
            4 => peer.say(b"INFO {\"max_payload\":64,\"connect_urls\":[\"127.0.0.1:7\"]}\r\n"),
            5 => peer.expel(),
            6 => peer.deliver(0, 150),
            which => peer.deliver(which - 6, 10 * which),
        }
    }

    fn read(&mut self, most: usize) {
        if !self.wait.read || self.buffer.is_some() {
            return;
        }
        let room = self.connection.read_buf();
        assert!(!room.is_empty(), "`read` without room");
        let Some(peer) = self.peers.last_mut() else { panic!("a read before a transport") };
        let count = peer.pending().len().min(most).min(room.len());
        room[..count].copy_from_slice(&peer.pending()[..count]);
        peer.read(count);
        self.connection.received(count);
    }

    fn fill(&mut self, most: usize) {
        let Some(mut buffer) = self.buffer.take() else { return };
        let spare = most.is_multiple_of(2);
        if !spare {
            buffer.initialise();
        }
        if self.live != Some(buffer.attempt()) {
            // What an old transport delivers late is of no concern.
            let count = buffer.room().min(most);
            buffer.spare().put_bytes(b'?', count);
            return self.connection.filled(buffer, count);
        }
        let peer = self.peers.last_mut().unwrap();
        let count = peer.pending().len().min(most).min(buffer.room());
        if spare {
            buffer.spare().put_slice(&peer.pending()[..count]);
        } else {
            buffer[..count].copy_from_slice(&peer.pending()[..count]);
        }
        peer.read(count);
        self.connection.filled(buffer, count);
    }

    fn write(&mut self, max: usize) {
        let out = self.connection.transmit();
        let count = out.remaining().min(max);
        // 3: bytes that may be sent mean `write`.
        assert!(self.wait.write || out.remaining() == 0, "bytes without `write`");
        if count > 0 {
            self.peers.last_mut().unwrap().take(&out.chunk()[..count]);
            out.advance(count);
        }
        self.check_never();
    }

    fn take_batch(&mut self, max: usize, written: usize) {
        if let Some(batch) = self.connection.take_transmit(max) {
            assert!(self.batch.is_none(), "two batches");
            assert!(self.wait.write && batch.as_slice().len() <= max);
            self.written = batch.as_slice().len().min(written);
            let peer = self.peers.last_mut().unwrap();
            assert_eq!(peer.attempt, batch.attempt());
            peer.take(&batch.as_slice()[..self.written]);
            self.batch = Some(batch);
            self.check_never();
        }
    }

    fn settle_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.connection.settle(batch, self.written);
        }
    }

    fn check_never(&self) {
        for (position, _) in self.published.iter().enumerate().filter(|(_, message)| message.never)
        {
            let seen = self.peers.iter().any(|peer| peer.has_seen(position as u64));
            assert!(!seen, "{position} was taken back, and sent");
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(until) = self.wait.until.filter(|until| *until <= end) {
            self.now = until;
            self.settle();
        }
        self.now = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    /// To the end of the connection; then no message is without a fate, and each has one.
    #[test]
    fn the_contract_and_the_fates_hold_in_random_runs(run in run()) {
        let mut walk = Walk::new(&run);
        for step in &run.steps {
            walk.take(step);
        }
        walk.take(&Step::Settle);
        walk.take(&Step::Close(0));
        walk.take(&Step::Time(1));
        prop_assert!(walk.closed, "a close without lingering closes");
        let statistics = walk.connection.statistics();
        prop_assert_eq!(
            (statistics.confirmed, statistics.unknown, statistics.dropped),
            (
                walk.count(End::Confirmed),
                walk.count(End::Unknown),
                walk.count(End::Dropped) + walk.count(End::Withdrawn),
            ),
            "{:?}", walk.transcript
        );
        // All frames of all transports: none twice, and only those that may be there.
        let mut sent = BTreeSet::new();
        for peer in &walk.peers {
            for number in &peer.frames {
                prop_assert!(sent.insert(*number), "{} was sent twice", number);
            }
        }
        for (position, message) in walk.published.iter().enumerate() {
            let here = sent.contains(&(position as u64));
            match message.end {
                Some(End::Confirmed) => prop_assert!(here, "{} is confirmed", position),
                Some(End::Unknown) => {}
                end => prop_assert!(!here && end.is_some(), "{} is {:?}", position, end),
            }
        }
    }
}
