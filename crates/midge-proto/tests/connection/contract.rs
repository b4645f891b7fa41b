//! The ten lines of the contract of `poll`, a test each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Buf;
use midge_proto::{
    Action, Attempt, Config, Connection, DisconnectCause, Event, FlushId, Instant, Message, Output,
    RequestError, RequestId, Sid, Sink, SubjectRef, Timer, Wait,
};
use proptest::prelude::*;

use crate::rig::{INFO, Rig, config, describe};

/// A step of a random run.
#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Request(u64),
    CancelRequest(usize),
    Subscribe,
    Unsubscribe(usize, u64),
    DrainSubscription(usize),
    Flush,
    CancelFlush(usize),
    Reconnect,
    Pause(bool),
    Drain,
    QueuesDrained,
    Close(u64),
    /// The answer to the last action that asks for one, or the end of the transport.
    Answer,
    Fail,
    /// A frame of the server.
    Server(usize),
    /// The transport takes so many bytes.
    Write(usize),
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..300).prop_map(Step::Publish),
        2 => (1u64..5000).prop_map(Step::Request),
        1 => (0usize..4).prop_map(Step::CancelRequest),
        2 => Just(Step::Subscribe),
        1 => ((0usize..4), (0u64..4)).prop_map(|(which, max)| Step::Unsubscribe(which, max)),
        1 => (0usize..4).prop_map(Step::DrainSubscription),
        2 => Just(Step::Flush),
        1 => (0usize..4).prop_map(Step::CancelFlush),
        1 => Just(Step::Reconnect),
        1 => any::<bool>().prop_map(Step::Pause),
        8 => Just(Step::Answer),
        1 => Just(Step::Fail),
        8 => (0usize..9).prop_map(Step::Server),
        8 => (1usize..2000).prop_map(Step::Write),
        4 => (0u64..4000).prop_map(Step::Time),
    ]
}

fn last_steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Drain),
        Just(Step::QueuesDrained),
        (0u64..3000).prop_map(Step::Close),
        Just(Step::Answer),
        (0usize..9).prop_map(Step::Server),
        (1usize..2000).prop_map(Step::Write),
        (0u64..4000).prop_map(Step::Time),
    ]
}

fn run_of_steps() -> impl Strategy<Value = Vec<Step>> {
    (proptest::collection::vec(step(), 0..80), proptest::collection::vec(last_steps(), 0..20))
        .prop_map(|(mut steps, last)| {
            steps.extend(last);
            steps
        })
}

/// Drives a connection through random steps, and checks what each line of the contract says.
struct Walk {
    connection: Connection,
    now: Instant,
    asked: Option<(Attempt, bool)>,
    live: Option<Attempt>,
    greeted: bool,
    wait: Wait,
    outbound: Vec<u8>,
    subscriptions: Vec<Sid>,
    requests: Vec<RequestId>,
    flushes: Vec<FlushId>,
    /// Every id handed out, and how many final events it got.
    ends: BTreeMap<String, usize>,
    cancelled: Vec<String>,
    transcript: Vec<String>,
    closed: bool,
    published: u64,
}

fn small() -> Config {
    let mut config = config("127.0.0.1:1,127.0.0.1:2");
    config.retry_first_connect = true;
    config.max_pending = 2000;
    config.reconnect_buffer = 1500;
    config.confirm_bytes = 700;
    config.read_chunk = 512;
    config.max_message = 100;
    config.drain_timeout = Duration::from_secs(3);
    config
}

impl Walk {
    fn new() -> Self {
        let mut walk = Self {
            connection: Connection::new(small()).unwrap(),
            now: Instant::from_nanos(1),
            asked: None,
            live: None,
            greeted: false,
            wait: Wait::default(),
            outbound: Vec::new(),
            subscriptions: Vec::new(),
            requests: Vec::new(),
            flushes: Vec::new(),
            ends: BTreeMap::new(),
            cancelled: Vec::new(),
            transcript: Vec::new(),
            closed: false,
            published: 0,
        };
        walk.settle();
        walk
    }

    /// Polls until idle, checking as it goes.
    fn settle(&mut self) {
        let wait = loop {
            match self.connection.poll(self.now) {
                Output::Action(action) => self.act(action),
                Output::Event(event) => self.happened(event),
                Output::Yield => panic!("poll never yields"),
                Output::Idle(wait) => break wait,
            }
        };
        // 1: no hot loop.
        assert!(wait.until.is_none_or(|until| until > self.now), "{wait:?} at {:?}", self.now);
        assert_eq!(wait.until.is_some(), wait.reason.is_some());
        // 2: nothing changes by itself.
        assert!(matches!(self.connection.poll(self.now), Output::Idle(again) if again == wait));
        // 7: the end is the end.
        if self.closed {
            assert_eq!(wait, Wait::default());
        }
        // 6: bounded.
        assert!(self.connection.pending_bytes() <= 2000 + 1100);
        self.wait = wait;
    }

    fn act(&mut self, action: Action) {
        assert!(!self.closed, "an action after Closed: {action:?}");
        match action {
            Action::Connect { attempt, .. } => {
                // 4: one live attempt at most.
                assert!(self.live.is_none(), "{attempt:?} while {:?} lives", self.live);
                self.live = Some(attempt);
                self.asked = Some((attempt, true));
                self.greeted = false;
            }
            Action::Close { attempt } => {
                assert_eq!(self.live, Some(attempt), "only what lives is closed");
                self.live = None;
                self.asked = None;
                self.greeted = false;
            }
            other => panic!("{other:?}"),
        }
    }

    fn happened(&mut self, event: Event) {
        assert!(!self.closed, "an event after Closed: {event:?}");
        self.transcript.push(describe(&event));
        let ended = match &event {
            Event::Response(id, _) => Some(format!("{id:?}")),
            Event::Flushed(id, _) => Some(format!("{id:?}")),
            Event::SubscriptionEnded(sid, _) => Some(format!("{sid:?}")),
            _ => None,
        };
        if let Some(id) = ended {
            let count =
                self.ends.get_mut(&id).unwrap_or_else(|| panic!("{id} was never handed out"));
            *count += 1;
            assert_eq!(*count, 1, "{id} ended twice");
            assert!(!self.cancelled.contains(&id), "{id} was cancelled");
        }
        if let Event::Closed(_) = event {
            // 5: every id has ended before.
            for (id, ends) in &self.ends {
                assert!(*ends == 1 || self.cancelled.contains(id), "{id} never ended");
            }
            self.closed = true;
        }
    }

    fn take(&mut self, step: &Step) {
        let subject = SubjectRef::new("some.subject").unwrap();
        match *step {
            Step::Publish(size) => {
                let payload = vec![b'p'; size];
                self.published +=
                    u64::from(self.connection.publish(subject, None, None, &payload).is_ok());
            }
            Step::Request(millis) => {
                let deadline = self.now + Duration::from_millis(millis);
                if let Ok(id) = self.connection.request(subject, None, b"q", deadline) {
                    self.published += 1;
                    self.requests.push(id);
                    self.ends.insert(format!("{id:?}"), 0);
                }
            }
            Step::CancelRequest(which) => {
                if let Some(id) = self.requests.iter().rev().nth(which).copied() {
                    if self.ends[&format!("{id:?}")] == 0 {
                        self.cancelled.push(format!("{id:?}"));
                    }
                    self.connection.cancel(id);
                }
            }
            Step::Subscribe => {
                if let Ok(sid) = self.connection.subscribe(subject, None) {
                    self.subscriptions.push(sid);
                    self.ends.insert(format!("{sid:?}"), 0);
                }
            }
            Step::Unsubscribe(which, max) => {
                if let Some(sid) = self.subscriptions.iter().rev().nth(which) {
                    self.connection.unsubscribe(*sid, (max > 0).then_some(max));
                }
            }
            Step::DrainSubscription(which) => {
                if let Some(sid) = self.subscriptions.iter().rev().nth(which) {
                    self.connection.drain_subscription(*sid);
                }
            }
            Step::Flush => {
                if let Ok(id) = self.connection.flush() {
                    self.flushes.push(id);
                    self.ends.insert(format!("{id:?}"), 0);
                }
            }
            Step::CancelFlush(which) => {
                if let Some(id) = self.flushes.iter().rev().nth(which).copied() {
                    if self.ends[&format!("{id:?}")] == 0 {
                        self.cancelled.push(format!("{id:?}"));
                    }
                    self.connection.cancel_flush(id);
                }
            }
            Step::Reconnect => self.connection.reconnect(),
            Step::Pause(paused) => self.connection.pause(paused),
            Step::Drain => self.connection.drain(),
            Step::QueuesDrained => self.connection.queues_drained(),
            Step::Close(millis) => self.connection.close(Duration::from_millis(millis)),
            Step::Answer => {
                if let Some((attempt, _)) = self.asked.take() {
                    self.connection.connected(attempt, false, self.now);
                }
            }
            Step::Fail => {
                if let Some(attempt) = self.live.take() {
                    self.asked = None;
                    self.connection.closed(attempt, DisconnectCause::Eof, self.now);
                }
            }
            Step::Server(which) => self.server(which),
            Step::Write(max) => self.write(max),
            Step::Time(millis) => self.pass(Duration::from_millis(millis)),
        }
        self.settle();
        let statistics = self.connection.statistics();
        assert_eq!(statistics.out_messages, self.published);
        let settled = statistics.confirmed + statistics.unknown + statistics.dropped;
        assert!(settled <= self.published, "{statistics:?} {:?}", self.transcript);
    }

    fn server(&mut self, which: usize) {
        let last = self.subscriptions.last().map_or(1, |sid| sid.number());
        let message = format!("MSG some.subject {last} 3\r\nabc\r\n");
        let large = format!("MSG some.subject {last} 150\r\n{}\r\n", "x".repeat(150));
        let frame = if !self.greeted {
            self.greeted = true;
            format!("{INFO}\r\n")
        } else {
            match which {
                0..=2 => "PONG\r\n".to_owned(),
                3 => "PING\r\n".to_owned(),
                4 => large,
                5 => "-ERR 'Permissions Violation for Subscription to \"some.subject\"'\r\n"
                    .to_owned(),
                6 => "INFO {\"max_payload\":64,\"headers\":true}\r\n".to_owned(),
                _ => message,
            }
        };
        let mut bytes = frame.as_bytes();
        while self.wait.read && !bytes.is_empty() {
            let room = self.connection.read_buf();
            assert!(!room.is_empty(), "`read` without room");
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.connection.received(count);
            bytes = &bytes[count..];
            self.settle();
        }
        if !bytes.is_empty() && bytes.len() == frame.len() && frame.starts_with("INFO {\"server_id")
        {
            self.greeted = false;
        }
    }

    fn write(&mut self, max: usize) {
        let out = self.connection.transmit();
        let count = out.remaining().min(max);
        // 3: bytes that may be sent mean `write`.
        assert!(self.wait.write || out.remaining() == 0, "bytes without `write`");
        self.outbound.extend_from_slice(&out.chunk()[..count]);
        out.advance(count);
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

    /// Lines 1 to 7, after every step of random runs, to the end of the connection.
    #[test]
    fn the_contract_holds_in_random_runs(steps in run_of_steps()) {
        let mut walk = Walk::new();
        for step in &steps {
            walk.take(step);
        }
        walk.take(&Step::Close(0));
        walk.take(&Step::Time(1));
        prop_assert!(walk.closed, "a close without lingering closes");
        let statistics = walk.connection.statistics();
        prop_assert_eq!(
            statistics.confirmed + statistics.unknown + statistics.dropped,
            walk.published,
            "the fates account for every publish: {:?}", statistics
        );
    }
}

#[test]
fn line_1_idle_reports_the_earliest_deadline_and_never_a_past_one() {
    let mut rig = Rig::up(config("127.0.0.1"));
    assert_eq!(rig.wait.reason, Some(Timer::Ping));
    let ping = rig.wait.until.unwrap();
    let subject = SubjectRef::new("q").unwrap();
    let deadline = rig.now + Duration::from_secs(3);
    rig.connection.request(subject, None, b"", deadline).unwrap();
    rig.turn();
    rig.sent();
    rig.turn();
    assert_eq!(rig.wait.reason, Some(Timer::Confirm), "the request is to be confirmed first");
    rig.run("+ 100ms\n> PING\n< PONG");
    assert_eq!((rig.wait.until, rig.wait.reason), (Some(deadline), Some(Timer::Request)));
    rig.run("+ 2900ms\n! response 1 no reply came in time...");
    assert_eq!((rig.wait.until, rig.wait.reason), (Some(ping), Some(Timer::Ping)));
}

#[test]
fn line_2_polling_again_at_the_same_time_gives_an_equal_idle() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("publish a x\n> PUB a 1\n> x");
    for _ in 0..3 {
        assert!(matches!(rig.connection.poll(rig.now), Output::Idle(wait) if wait == rig.wait));
    }
}

#[test]
fn line_3_bytes_leave_only_by_advance_or_settle() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a x");
    assert!(rig.wait.write);
    for _ in 0..3 {
        assert_eq!(rig.connection.transmit().chunk(), b"PUB a 1\r\nx\r\n");
    }
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.turn();
    assert!(!rig.wait.write, "what is lent is not to be written again");
    rig.connection.settle(batch, 0);
    rig.turn();
    assert!(rig.wait.write);
    assert_eq!(rig.connection.transmit().chunk(), b"PUB a 1\r\nx\r\n");
}

#[test]
fn line_4_answers_of_an_old_attempt_change_nothing() {
    let mut rig = Rig::new(config("127.0.0.1:1,127.0.0.1:2"));
    let old = rig.attempt.unwrap();
    rig.run("! connect 127.0.0.1:1\nrefused\n! failed ...\n! connect 127.0.0.1:2");
    rig.connection.connected(old, false, rig.now);
    rig.connection.closed(old, DisconnectCause::Eof, rig.now);
    rig.connection.tls_ready(old, rig.now);
    rig.turn();
    rig.run("");
    assert!(!rig.wait.read, "the second attempt is still being dialled");
    rig.command("connected");
    assert!(rig.wait.read);
    rig.connection.closed(old, DisconnectCause::Eof, rig.now);
    rig.turn();
    assert!(rig.wait.read);
}

#[test]
fn line_5_every_id_ends_exactly_once_before_closed() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "stall
        subscribe a
        request q x 9s
        flush
        cancel-flush 1
        flush
        close 0s
        ! close
        ! response 1 the request was not sent: the connection closed
        ! flush failed: the connection is closed
        ! ended 1 the connection closed
        ! closed ...",
    );
}

#[test]
fn line_6_memory_is_bounded_whatever_the_server_sends() {
    let mut rig = Rig::up(small());
    rig.stalled = true;
    for _ in 0..2000 {
        rig.feed(b"PING\r\n-ERR 'Permissions Violation for Publish to \"a\"'\r\n+OK\r\n");
        rig.log();
    }
    let mut room = 0;
    for piece in vec![b'x'; 1 << 20].chunks(100) {
        if rig.wait.read {
            rig.feed(if room == 0 { b"MSG a 1 1048576\r\n" } else { piece });
            room = room.max(rig.connection.read_buf().len());
        }
    }
    assert!(room <= 8 * 1024, "{room}");
}

#[test]
fn line_7_after_closed_there_is_only_an_empty_idle() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("close 0s\n! close\n! closed ...");
    for later in [0, 1, 1_000_000] {
        let now = rig.now + Duration::from_secs(later);
        assert!(matches!(rig.connection.poll(now), Output::Idle(wait) if wait == Wait::default()));
    }
}

/// What the server sends in the tests of cuts: messages, replies, control frames, errors.
fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    for round in 0..20 {
        bytes.extend_from_slice(format!("MSG a 1 {round}\r\n{}\r\n", "x".repeat(round)).as_bytes());
        bytes
            .extend_from_slice(b"PING\r\nHMSG a 1 r 17 19\r\nNATS/1.0\r\nA:b\r\n\r\nhi\r\n+OK\r\n");
        bytes.extend_from_slice(format!("MSG a 1 120\r\n{}\r\n", "y".repeat(120)).as_bytes());
        bytes.extend_from_slice(b"-ERR 'Permissions Violation for Publish to \"p\"'\r\npong\n");
        bytes.extend_from_slice(b"INFO {\"headers\":true,\"max_payload\":1000,\"ldm\":true} \r\n");
    }
    bytes
}

fn transcript_of_cuts(cuts: &[usize]) -> Vec<String> {
    let mut rig = Rig::up(small());
    rig.run("subscribe a\n> SUB a 1");
    let bytes = stream();
    let mut rest = &bytes[..];
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            return rig.log();
        }
        let (piece, tail) = rest.split_at((*cut).min(rest.len()));
        rig.feed(piece);
        rest = tail;
    }
    unreachable!("there is at least one cut")
}

proptest! {
    #[test]
    fn line_8_every_way_of_cutting_the_input_gives_the_same_events(
        cuts in proptest::collection::vec(1usize..400, 1..30)
    ) {
        prop_assert_eq!(transcript_of_cuts(&cuts), transcript_of_cuts(&[usize::MAX]));
    }
}

#[test]
fn line_8_a_byte_at_a_time_gives_the_same_events_too() {
    let whole = transcript_of_cuts(&[usize::MAX]);
    assert_eq!(transcript_of_cuts(&[1]), whole);
    assert_eq!(whole.iter().filter(|line| line.starts_with("message")).count(), 40);
}

#[test]
fn line_9_time_going_backwards_counts_as_no_time_passing() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let before = rig.wait;
    rig.now = Instant::ZERO;
    rig.turn();
    assert_eq!(rig.wait, before);
    rig.command("eof");
    rig.log();
    assert!(rig.wait.until.unwrap() >= Instant::from_nanos(1_000_000_000));
}

/// The same scenario for a driver that wakes only for `Wait`, and for one that polls all the time.
fn transcript_of_driver(busy: bool) -> Vec<String> {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    let mut log = Vec::new();
    let subject = SubjectRef::new("q").unwrap();
    for round in 0..6u64 {
        let deadline = rig.now + Duration::from_millis(700 * round);
        let _ = rig.connection.request(subject, None, b"x", deadline);
        let _ = rig.connection.flush();
        if round == 2 {
            rig.command("eof");
        }
        if round == 4 {
            rig.command("connected");
            rig.feed(format!("{INFO}\r\n").as_bytes());
            rig.feed(b"PONG\r\n");
        }
        let end = rig.now + Duration::from_secs(70);
        if busy {
            while rig.now < end {
                rig.now = rig.now + Duration::from_millis(50);
                rig.turn();
            }
        } else {
            rig.turn();
            rig.advance(end.saturating_since(rig.now));
        }
        log.extend(rig.log());
    }
    log
}

#[test]
fn line_10_waking_only_for_wait_is_like_polling_all_the_time() {
    let lazy = transcript_of_driver(false);
    assert_eq!(transcript_of_driver(true), lazy);
    assert!(lazy.len() > 8, "{lazy:?}");
}

#[derive(Default)]
struct Collect(Vec<String>);

impl Sink for Collect {
    fn message(&mut self, sid: Sid, message: Message) {
        self.0.push(describe(&Event::Message(sid, message)));
    }

    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>) {
        self.0.push(describe(&Event::Response(id, result)));
    }
}

#[test]
fn every_budget_gives_the_same_transcript() {
    let transcript = |budget: usize| {
        let mut rig = Rig::up(small());
        rig.stalled = true;
        rig.run("subscribe a\nrequest q x 1s");
        let mut collect = Collect::default();
        let mut yields = 0;
        for piece in stream().chunks(300) {
            rig.connection.read_buf()[..piece.len()].copy_from_slice(piece);
            rig.connection.received(piece.len());
            loop {
                match rig.connection.poll_into(rig.now, budget, &mut collect) {
                    Output::Event(event) => collect.0.push(describe(&event)),
                    Output::Action(action) => collect.0.push(format!("{action:?}")),
                    Output::Yield => yields += 1,
                    Output::Idle(_) => break,
                }
            }
        }
        (collect.0, yields)
    };
    let (one, yields_of_one) = transcript(1);
    let (all, yields_of_all) = transcript(usize::MAX);
    assert_eq!(one, all);
    assert_eq!(transcript(200).0, all);
    assert!(yields_of_one > 40 && yields_of_all == 0, "{yields_of_one} {yields_of_all}");
    let mut polled = Vec::new();
    let mut rig = Rig::up(small());
    rig.stalled = true;
    rig.run("subscribe a\nrequest q x 1s");
    for piece in stream().chunks(300) {
        rig.feed(piece);
        polled.extend(rig.log());
    }
    assert_eq!(polled, all);
}
