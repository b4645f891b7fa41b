//! An ordered consumer against a model of a server that loses what it can.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod statuses;

use std::time::Duration;

use midge_jetstream::{
    ApiError, Created, ErrorCode, Notice, OrderedEnd, OrderedMachine, OrderedOutput, PullConfig,
    ResetCause, StatusMessage, StreamNow, Time, Verdict,
};
use midge_proto::{HeaderMap, Instant};
use proptest::prelude::*;

use statuses::STATUSES;

const SECOND: Duration = Duration::from_secs(1);

/// A consumer at the server.
#[derive(Clone, Copy, Debug)]
struct Consumer {
    serial: u64,
    next: u64,
    delivered: u64,
    asked: u64,
}

/// What the server answers to the next creations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Made,
    MadeButUnheard,
    Unheard,
    Refused,
    Gone,
}

struct World {
    machine: OrderedMachine,
    now: Instant,
    /// The last message. Each is stored at the second of its number, and some seconds more.
    last: u64,
    first: u64,
    later: i64,
    /// Where the first consumer begins.
    begin: u64,
    created: i64,
    consumers: Vec<Consumer>,
    /// The one whose inbox is read.
    read: u64,
    got: Vec<u64>,
    notices: Vec<Notice>,
    creates: usize,
    end: Option<OrderedEnd>,
    answers: Vec<Answer>,
    lost_deletes: u32,
    pulls: bool,
}

impl World {
    fn new(pulls: bool) -> Self {
        let config = PullConfig { messages: 4, ..PullConfig::consume() };
        let machine = match pulls {
            true => OrderedMachine::pull(config, false, 5),
            false => OrderedMachine::push(2 * SECOND, false, 5),
        };
        Self {
            machine,
            now: Instant::ZERO,
            last: 0,
            first: 1,
            later: 0,
            begin: 1,
            created: 1,
            consumers: Vec::new(),
            read: 0,
            got: Vec::new(),
            notices: Vec::new(),
            creates: 0,
            end: None,
            answers: Vec::new(),
            lost_deletes: 0,
            pulls,
        }
    }

    fn run(&mut self) -> Option<Instant> {
        for _ in 0..200 {
            match self.machine.poll(self.now) {
                OrderedOutput::Create { serial, from } => {
                    self.create(serial, from.unwrap_or(self.begin))
                }
                OrderedOutput::Delete { serial } => {
                    let gone = self.lost_deletes == 0;
                    if gone {
                        self.consumers.retain(|consumer| consumer.serial != serial);
                    }
                    self.lost_deletes = self.lost_deletes.saturating_sub(1);
                    self.machine.deleted(serial, gone, self.now);
                }
                OrderedOutput::Pull(request) => {
                    let serial = self.machine.serial();
                    let mut all = self.consumers.iter_mut();
                    if let Some(consumer) = all.find(|it| it.serial == serial) {
                        consumer.asked += request.messages;
                    }
                }
                OrderedOutput::Notice(notice) => self.notices.push(notice),
                OrderedOutput::End(end) => {
                    self.end = Some(end);
                    return None;
                }
                OrderedOutput::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.now), "a wait for the past");
                    return until;
                }
            }
        }
        panic!("there is always more to do")
    }

    fn create(&mut self, serial: u64, from: u64) {
        self.creates += 1;
        self.read = serial;
        assert!(self.consumers.len() <= 12, "consumers are left behind: {:?}", self.consumers);
        let answer = self.answers.pop().unwrap_or(Answer::Made);
        if matches!(answer, Answer::Made | Answer::MadeButUnheard) {
            let asked = if self.pulls { 0 } else { u64::MAX };
            self.consumers.push(Consumer { serial, next: from, delivered: 0, asked });
        }
        let error = |err_code| ApiError { code: 404, err_code, description: String::new() };
        match answer {
            Answer::Made => {
                let created = Time::from_unix_nanos(self.created.into());
                let time = |number| Some(Time::from_unix_nanos(self.stored(number).into()));
                let stream = StreamNow {
                    first: self.first,
                    first_time: time(self.first).filter(|_| self.first <= self.last),
                    last: self.last,
                    last_time: time(self.last),
                    created: Some(created),
                    now: time(self.last),
                };
                let created = Created { before: from - 1, stream: Some(stream) };
                self.machine.created(created, self.now);
            }
            Answer::MadeButUnheard | Answer::Unheard => self.machine.not_created(None, self.now),
            Answer::Refused => {
                self.machine.not_created(Some(error(ErrorCode::NOT_ENABLED)), self.now);
            }
            Answer::Gone => {
                self.machine.not_created(Some(error(ErrorCode::STREAM_NOT_FOUND)), self.now);
            }
        }
    }

    fn stored(&self, number: u64) -> i64 {
        (i64::try_from(number).unwrap() + self.later) * 1_000_000_000
    }

    fn consumer(&mut self) -> Option<&mut Consumer> {
        let serial = self.read;
        self.consumers.iter_mut().find(|consumer| consumer.serial == serial)
    }

    /// The server sends the next message, which may be lost on its way.
    fn send(&mut self, lost: bool) {
        let (now, last) = (self.now, self.last);
        let Some(consumer) = self.consumer() else { return };
        if consumer.next > last || consumer.asked == 0 {
            return;
        }
        let stream = consumer.next;
        consumer.asked -= 1;
        consumer.next += 1;
        consumer.delivered += 1;
        let number = consumer.delivered;
        if !lost {
            let stored = self.stored(stream);
            if self.machine.message(number, stream, stored, 10, now) == Verdict::Deliver {
                self.got.push(stream);
            }
            self.run();
        }
    }

    fn status(&mut self, code: u16, text: &str, last: Option<u64>) {
        if text == "Consumer Deleted" {
            let serial = self.read;
            self.consumers.retain(|consumer| consumer.serial != serial);
        }
        let mut headers = HeaderMap::new();
        headers.set_status(code, text).unwrap();
        if let Some(last) = last {
            headers.append("Nats-Last-Consumer", last.to_string()).unwrap();
        }
        let status = StatusMessage::from_headers(headers.view()).unwrap();
        self.machine.status(&status, self.now);
        self.run();
    }

    fn heartbeat(&mut self) {
        if let Some(delivered) = self.consumer().map(|consumer| consumer.delivered) {
            self.status(100, "Idle Heartbeat", Some(delivered));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run();
    }

    /// Nothing goes wrong any more, for so many seconds.
    fn calm(&mut self, seconds: u32) {
        self.answers.clear();
        self.lost_deletes = 0;
        self.machine.connected(self.now);
        self.run();
        for _ in 0..seconds {
            for _ in 0..200 {
                self.send(false);
            }
            self.heartbeat();
            self.pass(SECOND);
        }
    }
}

fn running(pulls: bool) -> World {
    let mut world = World::new(pulls);
    world.last = 10;
    world.machine.connected(world.now);
    world.run();
    world.send(false);
    world.send(false);
    assert_eq!(world.got, [1, 2]);
    world
}

#[test]
fn a_gap_is_noticed_at_the_next_message_or_heartbeat_and_filled() {
    for pulls in [false, true] {
        for heartbeat in [false, true] {
            let mut world = running(pulls);
            world.send(true);
            if heartbeat {
                world.heartbeat();
            } else {
                world.send(false);
            }
            let cause = if heartbeat { ResetCause::GapAtHeartbeat } else { ResetCause::Gap };
            assert_eq!(world.notices, [Notice::Reset(cause)]);
            assert_eq!(world.consumers.len(), 1, "the old one is deleted");
            world.calm(1);
            assert_eq!(world.got, Vec::from_iter(1..=10));
        }
    }
}

#[test]
fn whatever_says_that_the_consumer_is_lost_makes_another_at_once() {
    for (code, text, cause) in [
        (409, "Consumer Deleted", ResetCause::ConsumerDeleted),
        (409, "Leadership Change", ResetCause::ConsumerLost),
        (409, "Server Shutdown", ResetCause::ConsumerLost),
        (503, "", ResetCause::ConsumerLost),
    ] {
        let mut world = running(true);
        world.status(code, text, None);
        assert_eq!((world.creates, world.notices.as_slice()), (2, &[Notice::Reset(cause)][..]));
        world.calm(1);
        assert_eq!(world.got, Vec::from_iter(1..=10));
    }
}

#[test]
fn by_subject_the_next_consumer_begins_in_the_same_way_until_all_is_new() {
    for told in [false, true] {
        let mut machine = OrderedMachine::push(SECOND, true, 5);
        let now = Instant::ZERO;
        machine.connected(now);
        let create = machine.poll(now);
        assert_eq!(create, OrderedOutput::Create { serial: 1, from: None });
        machine.created(Created { before: 7, stream: None }, now);
        if told {
            machine.all_is_new();
        }
        machine.inbox_lost(now);
        let notice = OrderedOutput::Notice(Notice::Reset(ResetCause::ConsumerLost));
        assert_eq!(machine.poll(now), notice);
        assert_eq!(machine.poll(now), OrderedOutput::Delete { serial: 1 });
        let create = machine.poll(now);
        assert_eq!(create, OrderedOutput::Create { serial: 2, from: told.then_some(8) });
    }
}

#[test]
fn missed_heartbeats_and_a_new_connection_make_another() {
    for pulls in [false, true] {
        let mut world = running(pulls);
        world.pass(3 * SECOND);
        world.pass(SECOND);
        assert_eq!(world.notices, [Notice::Reset(ResetCause::HeartbeatsMissed)]);
        let mut world = running(pulls);
        world.machine.disconnected();
        world.pass(100 * SECOND);
        assert_eq!((world.creates, world.notices.len()), (1, 0));
        world.machine.connected(world.now);
        world.run();
        assert_eq!((world.creates, world.consumers.len()), (2, 1));
        assert_eq!(world.notices, [Notice::Reset(ResetCause::Reconnected)]);
    }
}

#[test]
fn a_heartbeat_that_waits_unread_behind_a_stall_costs_no_consumer() {
    for pulls in [false, true] {
        for late in [1, 500, 2_000, 60_000].map(Duration::from_millis) {
            let mut world = running(pulls);
            world.now = world.now + 4 * SECOND + late;
            let again = world.run().unwrap();
            assert!(again <= world.now + 2 * SECOND, "{late:?}, pulls: {pulls}");
            world.heartbeat();
            world.pass(3 * SECOND);
            assert_eq!((world.creates, &*world.notices), (1, &[][..]), "{late:?}, pulls: {pulls}");
            world.pass(SECOND + late);
            world.now = world.run().unwrap();
            world.run();
            assert_eq!(world.notices, [Notice::Reset(ResetCause::HeartbeatsMissed)]);
        }
    }
}

#[test]
fn during_an_outage_attempts_become_seldom() {
    let mut world = running(false);
    world.consumers.clear();
    world.answers = vec![Answer::Unheard; 100];
    world.status(503, "", None);
    while world.now < Instant::ZERO + 60 * SECOND {
        let until = world.run().unwrap();
        world.now = until;
    }
    assert!((12..40).contains(&world.creates), "{}", world.creates);
    assert_eq!(world.end, None);
    world.calm(6);
    assert_eq!(world.got, Vec::from_iter(1..=10));
    assert_eq!(world.consumers.len(), 1);
}

/// What nobody heard of is not there, and nothing is asked for it.
#[test]
fn a_consumer_that_nobody_heard_of_is_not_deleted() {
    let mut machine = OrderedMachine::push(SECOND, false, 1);
    let mut now = Instant::ZERO;
    machine.connected(now);
    for serial in 1..10 {
        assert_eq!(machine.poll(now), OrderedOutput::Create { serial, from: None });
        machine.nobody_heard(now);
        assert_eq!(machine.poll(now), OrderedOutput::Notice(Notice::CreateFailed(None)));
        if serial > 1 {
            let OrderedOutput::Wait(Some(until)) = machine.poll(now) else { panic!("it waits") };
            assert!(until >= now + SECOND / 10 && until <= now + 5 * SECOND);
            now = until;
        }
    }
}

#[test]
fn a_consumer_that_could_not_be_deleted_is_deleted_later() {
    let mut world = running(false);
    world.lost_deletes = 2;
    world.send(true);
    world.heartbeat();
    assert_eq!(world.consumers.len(), 2);
    for _ in 0..11 {
        world.heartbeat();
        world.pass(SECOND);
    }
    assert_eq!((world.consumers.len(), world.creates), (1, 2));
}

/// During an outage nobody says whether consumers are made, and most are not.
#[test]
fn a_consumer_that_was_made_is_deleted_however_many_were_asked_for_in_vain() {
    let mut world = running(false);
    world.lost_deletes = 1000;
    world.answers = vec![Answer::Unheard; 100];
    world.status(503, "", None);
    while world.creates < 60 {
        world.now = world.run().unwrap();
    }
    assert_eq!(world.consumers.len(), 1, "nobody could delete it");
    world.calm(20);
    assert_eq!(world.got, Vec::from_iter(1..=10));
    assert_eq!(world.consumers.len(), 1, "the one that is read");
    assert_ne!(world.consumers[0].serial, 1);
}

#[test]
fn it_ends_when_the_stream_is_gone_and_only_then() {
    let mut world = running(false);
    world.answers = vec![Answer::Gone, Answer::Gone, Answer::Refused, Answer::Gone, Answer::Gone];
    world.status(409, "Consumer Deleted", None);
    world.calm(0);
    while world.creates < 6 {
        world.now = world.run().unwrap();
    }
    assert_eq!(world.end, None);
    world.answers = vec![Answer::Gone; 5];
    world.status(409, "Consumer Deleted", None);
    while world.end.is_none() {
        match world.run() {
            Some(until) => world.now = until,
            None => break,
        }
    }
    assert!(matches!(world.end, Some(OrderedEnd::StreamGone(_))));
}

#[test]
fn a_stream_that_was_made_anew_is_read_from_its_beginning_and_that_is_said() {
    let mut world = running(false);
    world.calm(1);
    (world.last, world.created) = (3, 2);
    world.consumers.clear();
    world.status(409, "Consumer Deleted", None);
    world.calm(6);
    assert!(world.notices.contains(&Notice::StreamReplaced));
    assert_eq!(world.got, Vec::from_iter((1..=10).chain(1..=3)));
}

#[test]
fn a_stream_that_has_lost_its_end_is_told_and_nothing_comes_twice() {
    let mut world = running(false);
    world.calm(1);
    world.last = 8;
    world.status(409, "Leadership Change", None);
    world.calm(1);
    assert!(world.notices.contains(&Notice::StreamBehind { handed_out: 10, last: 8 }));
    world.last = 12;
    world.calm(3);
    assert_eq!(world.got, Vec::from_iter(1..=12));
}

#[test]
fn a_stream_that_gives_its_numbers_again_is_read_from_its_beginning_and_that_is_said() {
    // It has lost all it had, and got as many messages since: none, fewer, more than were handed out.
    for pulls in [false, true] {
        for last in [0, 1, 4, 10, 15] {
            let mut world = running(pulls);
            world.calm(1);
            world.notices.clear();
            (world.last, world.later) = (last, 20);
            world.status(409, "Leadership Change", None);
            world.calm(3);
            assert!(world.notices.contains(&Notice::StreamReplaced), "{last}");
            world.last = 20;
            world.calm(3);
            assert_eq!(world.got, Vec::from_iter((1..=10).chain(1..=20)), "{last}");
        }
        // Nothing was handed out yet.
        let mut world = World::new(pulls);
        (world.first, world.last, world.begin) = (11, 10, 11);
        world.machine.connected(world.now);
        world.run();
        world.machine.all_is_new();
        (world.first, world.last, world.later) = (1, 2, 20);
        world.status(409, "Leadership Change", None);
        world.calm(3);
        assert!(world.notices.contains(&Notice::StreamReplaced));
        assert_eq!(world.got, [1, 2]);
        // It begins with a message to come.
        let mut world = World::new(pulls);
        world.last = 10;
        world.begin = 21;
        world.machine.connected(world.now);
        world.run();
        for last in [15, 22] {
            world.last = last;
            world.status(409, "Leadership Change", None);
            world.calm(3);
        }
        assert_eq!(world.got, [21, 22]);
        assert!(!world.notices.contains(&Notice::StreamReplaced));
    }
}

#[test]
fn a_clock_that_was_set_back_by_a_second_makes_no_stream_a_new_one() {
    for pulls in [false, true] {
        for (later, replaced) in [(10, false), (11, true)] {
            let mut world = running(pulls);
            world.calm(1);
            // Message 1 seems to be stored a second after message 10, or two.
            (world.last, world.later) = (11, later);
            world.status(409, "Leadership Change", None);
            world.calm(1);
            assert_eq!(world.notices.contains(&Notice::StreamReplaced), replaced);
            assert_eq!(world.got.get(10), Some(if replaced { &1 } else { &11 }));
        }
    }
}

#[test]
fn a_stream_that_has_lost_its_end_and_goes_on_is_read_from_its_beginning() {
    for pulls in [false, true] {
        let mut world = running(pulls);
        world.calm(1);
        world.last = 8;
        world.status(409, "Leadership Change", None);
        world.calm(1);
        assert!(world.notices.contains(&Notice::StreamBehind { handed_out: 10, last: 8 }));
        assert!(!world.notices.contains(&Notice::StreamReplaced), "it may lag behind");
        // Servers begin behind the last one that there is.
        world.consumer().unwrap().next = 9;
        (world.last, world.later) = (9, 20);
        world.calm(3);
        assert!(world.notices.contains(&Notice::StreamReplaced));
        assert_eq!(world.got, Vec::from_iter((1..=10).chain(1..=9)));
    }
}

/// What it may be at when a status comes.
fn states(pulls: bool) -> Vec<(&'static str, World)> {
    let mut not_connected = World::new(pulls);
    not_connected.last = 10;
    let mut waits = running(pulls);
    waits.answers = vec![Answer::Unheard; 3];
    waits.status(409, "Consumer Deleted", None);
    let mut disconnected = running(pulls);
    disconnected.machine.disconnected();
    disconnected.run();
    let mut silent = running(pulls);
    silent.pass(3 * SECOND);
    let mut left_behind = running(pulls);
    left_behind.lost_deletes = 1;
    left_behind.send(true);
    left_behind.heartbeat();
    vec![
        ("not connected yet", not_connected),
        ("reading", running(pulls)),
        ("waiting to make a consumer", waits),
        ("disconnected", disconnected),
        ("missing heartbeats", silent),
        ("with a consumer left behind", left_behind),
    ]
}

#[test]
fn no_status_in_any_state_ends_it_or_costs_a_message() {
    for pulls in [false, true] {
        for (code, text) in STATUSES {
            for (state, mut world) in states(pulls) {
                world.status(*code, text, None);
                world.status(*code, text, Some(77));
                assert_eq!(world.end, None, "{code} {text} while {state}");
                world.calm(15);
                let all = Vec::from_iter(1..=10);
                assert_eq!(world.got, all, "{code} {text} while {state}, pulls: {pulls}");
                assert!(world.consumers.len() <= 1, "{code} {text} while {state}");
            }
        }
    }
}

#[test]
fn no_status_while_a_consumer_is_made_costs_a_message() {
    for pulls in [false, true] {
        for (code, text) in STATUSES {
            let mut world = World::new(pulls);
            world.last = 10;
            world.machine.connected(world.now);
            let making = world.machine.poll(world.now);
            let OrderedOutput::Create { serial, from } = making else { panic!("{making:?}") };
            world.status(*code, text, None);
            world.status(*code, text, Some(77));
            world.create(serial, from.unwrap_or(1));
            assert_eq!((&world.end, world.creates), (&None, 1), "{code} {text}");
            world.calm(15);
            let all = Vec::from_iter(1..=10);
            assert_eq!(world.got, all, "{code} {text}, pulls: {pulls}");
            assert!(world.consumers.len() <= 1, "{code} {text}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish,
    Send(bool),
    Heartbeat,
    Kill,
    Status(u16, &'static str),
    Connected,
    Disconnected,
    Answer(Answer),
    LoseDeletes(u32),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Publish),
        8 => prop::bool::weighted(0.2).prop_map(Step::Send),
        3 => Just(Step::Heartbeat),
        1 => Just(Step::Kill),
        1 => prop::sample::select(STATUSES).prop_map(|(code, text)| Step::Status(code, text)),
        2 => Just(Step::Connected),
        1 => Just(Step::Disconnected),
        2 => prop::sample::select(vec![
            Answer::Made, Answer::MadeButUnheard, Answer::Unheard, Answer::Refused,
        ]).prop_map(Step::Answer),
        1 => (0..3u32).prop_map(Step::LoseDeletes),
        4 => (0..5000u32).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_stream_is_read_in_order_and_without_gaps(
        pulls: bool, steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut world = World::new(pulls);
        for step in steps {
            match step {
                Step::Publish => world.last += 1,
                Step::Send(lost) => world.send(lost),
                Step::Heartbeat => world.heartbeat(),
                Step::Kill => world.consumers.clear(),
                Step::Status(code, text) => world.status(code, text, None),
                Step::Connected => world.machine.connected(world.now),
                Step::Disconnected => world.machine.disconnected(),
                Step::Answer(answer) => world.answers.push(answer),
                Step::LoseDeletes(count) => world.lost_deletes = count,
                Step::Pass(millis) => world.now = world.now + Duration::from_millis(millis.into()),
            }
            world.run();
        }
        world.calm(20);
        prop_assert_eq!(&world.got, &Vec::from_iter(1..=world.last));
        prop_assert_eq!(world.end, None);
        prop_assert!(world.consumers.len() <= 1, "left behind: {:?}", world.consumers);
    }
}
