//! Reading a pull consumer: every status in every state, what is lost, and random inputs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod statuses;

use std::time::Duration;

use midge_jetstream::{
    Limit, Notice, PullConfig, PullEnd, PullGroup, PullMachine, PullOutput, PullRequest,
    StatusMessage,
};
use midge_proto::{HeaderMap, Instant};
use proptest::prelude::*;

use statuses::STATUSES;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A machine, its clock, and what it said.
struct Desk {
    machine: PullMachine,
    now: Instant,
    pulls: Vec<PullRequest>,
    notices: Vec<Notice>,
    end: Option<PullEnd>,
    checks: u32,
}

impl Desk {
    fn consume(config: PullConfig) -> Self {
        Self::new(PullMachine::consume(config, 7))
    }

    fn fetch(config: PullConfig) -> Self {
        Self::new(PullMachine::fetch(config, 7, Instant::ZERO))
    }

    fn new(machine: PullMachine) -> Self {
        let (pulls, notices) = (Vec::new(), Vec::new());
        Self { machine, now: Instant::ZERO, pulls, notices, end: None, checks: 0 }
    }

    /// A machine that is connected and has asked.
    fn asked(config: PullConfig) -> Self {
        let mut desk = Self::consume(config);
        desk.machine.connected();
        desk.run();
        desk
    }

    /// Does all there is to do, and gives when to come back.
    fn run(&mut self) -> Option<Instant> {
        for _ in 0..100 {
            match self.machine.poll(self.now) {
                PullOutput::Pull(request) => {
                    assert!(request.messages >= 1 && request.bytes != Some(0));
                    self.pulls.push(request);
                }
                PullOutput::Check => self.checks += 1,
                PullOutput::Notice(notice) => self.notices.push(notice),
                PullOutput::End(end) => {
                    assert!(self.end.as_ref().is_none_or(|before| *before == end));
                    self.end = Some(end);
                    return None;
                }
                PullOutput::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.now), "a wait for the past");
                    assert_eq!(self.machine.poll(self.now), PullOutput::Wait(until), "not steady");
                    return until;
                }
            }
        }
        panic!("there is always more to do")
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run();
    }

    fn messages(&mut self, count: u64) {
        for _ in 0..count {
            self.machine.message(100, None);
            if self.machine.has_work() {
                self.run();
            }
        }
    }

    fn status(&mut self, code: u16, text: &str, headers: &[(&str, &str)]) {
        let mut map = HeaderMap::new();
        map.set_status(code, text).unwrap();
        for (name, value) in headers {
            map.append(name, value).unwrap();
        }
        let status = StatusMessage::from_headers(map.view()).unwrap();
        self.machine.status(&status, self.now);
        self.run();
    }

    fn ended(&mut self, code: u16, text: &str, rest: u64) {
        self.status(
            code,
            text,
            &[("Nats-Pending-Messages", &rest.to_string()), ("Nats-Pending-Bytes", "0")],
        );
    }

    /// Silence from here on: what comes first, and after how long.
    fn silence(&mut self) -> (bool, Duration) {
        let (pulls, from) = (self.pulls.len(), self.now);
        while self.end.is_none() && self.pulls.len() == pulls {
            let mut until = self.run();
            if self.checks > 0 && self.end.is_none() && until.is_none() {
                self.machine.checked(None, self.now);
                until = self.run();
            }
            if self.end.is_some() || self.pulls.len() > pulls {
                break;
            }
            self.now = until.expect("a machine that is connected waits for a moment");
        }
        (self.end.is_some(), self.now - from)
    }
}

fn ten() -> PullConfig {
    PullConfig { messages: 10, ..PullConfig::consume() }
}

// ---- asking ------------------------------------------------------------------------------

#[test]
fn nothing_is_asked_before_there_is_a_connection() {
    let mut desk = Desk::consume(ten());
    assert_eq!((desk.run(), desk.pulls.len()), (None, 0));
    desk.machine.connected();
    desk.run();
    let request = desk.pulls[0];
    assert_eq!((request.messages, request.bytes, request.fresh), (10, None, false));
    assert_eq!((request.expires, request.heartbeat), (Some(30 * SECOND), Some(2 * SECOND)));
}

#[test]
fn more_is_asked_for_when_half_is_left() {
    let mut desk = Desk::asked(ten());
    desk.messages(4);
    assert_eq!(desk.pulls.len(), 1);
    desk.messages(1);
    assert_eq!((desk.pulls.len(), desk.pulls[1].messages, desk.machine.pending()), (2, 5, 10));
    assert!(!desk.pulls[1].fresh);
    desk.messages(1000);
    assert_eq!((desk.pulls.len(), desk.machine.pending()), (202, 10));
}

/// Ten messages, or up to a hundred small ones.
fn ten_or_a_hundred() -> PullConfig {
    PullConfig { small_messages: Some(100), ..ten() }
}

#[test]
fn more_are_asked_for_while_they_are_small() {
    let mut desk = Desk::asked(ten_or_a_hundred());
    assert_eq!(desk.pulls[0].messages, 10);
    desk.messages(5);
    assert_eq!((desk.pulls.len(), desk.pulls[1].messages, desk.machine.pending()), (2, 95, 100));
    desk.messages(49);
    assert_eq!(desk.pulls.len(), 2);
    desk.messages(1);
    assert_eq!((desk.pulls.len(), desk.pulls[2].messages, desk.machine.pending()), (3, 50, 100));
}

#[test]
fn no_more_are_asked_for_than_a_mebibyte_holds_of_what_came_last() {
    let mut desk = Desk::asked(ten_or_a_hundred());
    let mut take = |count, size| {
        for _ in 0..count {
            desk.machine.message(size, None);
            desk.run();
        }
        (desk.pulls.len(), desk.machine.pending())
    };
    assert_eq!(take(5, 1 << 15), (2, 32));
    // Half of 32 is left, and of such only ten are to be.
    assert_eq!(take(16, 1 << 20), (2, 16));
    assert_eq!(take(10, 1 << 20), (2, 6));
    assert_eq!(take(1, 1 << 20), (3, 10));
    // Small ones again: those of the last requests count.
    assert_eq!(take(5, 1), (4, 100));
}

#[test]
fn small_ones_are_asked_for_as_others_after_a_loss_and_within_the_limits_of_the_server() {
    let mut desk = Desk::asked(ten_or_a_hundred());
    desk.messages(5);
    assert_eq!(desk.machine.pending(), 100);
    desk.machine.disconnected();
    desk.machine.connected();
    desk.run();
    assert_eq!(desk.machine.pending(), 10);
    desk.messages(5);
    assert_eq!(desk.machine.pending(), 100);
    // Nobody has asked for more than ten, so nobody is told.
    desk.status(409, "Exceeded MaxRequestBatch of 40", &[]);
    assert_eq!((desk.machine.pending(), desk.run()), (10, Some(desk.now + 4 * SECOND)));
    desk.messages(1_000);
    assert!((21..=40).contains(&desk.machine.pending()) && desk.notices.is_empty());
    desk.status(409, "Exceeded MaxRequestBatch of 4", &[]);
    assert_eq!(desk.notices, [Notice::LimitLowered(Limit::Messages(4))]);
    desk.messages(1_000);
    assert_eq!(desk.machine.pending(), 4);
}

/// Ten messages, or up to a thousand that are read within 100 ms.
fn ten_or_what_is_read_fast() -> PullConfig {
    PullConfig { small_messages: Some(1_000), read_within: Some(100 * MILLI), ..ten() }
}

#[test]
fn twice_as_many_are_asked_for_each_time_while_they_are_read_fast() {
    let mut desk = Desk::asked(ten_or_what_is_read_fast());
    let mut asked = Vec::new();
    for _ in 0..2_000 {
        let before = desk.pulls.len();
        desk.messages(1);
        if desk.pulls.len() > before {
            asked.push(desk.machine.pending());
        }
    }
    assert_eq!(asked[..8], [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
}

#[test]
fn no_more_are_asked_for_than_were_read_within_the_time() {
    let mut desk = Desk::asked(ten_or_what_is_read_fast());
    let mut take = |count, time| {
        for _ in 0..count {
            desk.now = desk.now + time;
            desk.messages(1);
        }
        desk.machine.pending()
    };
    // 500 a second are 50 in 100 ms.
    take(500, 2 * MILLI);
    assert!((26..=50).contains(&take(1, 2 * MILLI)));
    assert!(take(5_000, MILLI / 100) > 400);
    assert!(take(1_000, 20 * MILLI) <= 10);
}

#[test]
fn who_reads_in_bursts_is_not_sent_more_than_twice_of_one() {
    for burst in [1, 7, 30, 100, 250] {
        let mut desk = Desk::asked(ten_or_what_is_read_fast());
        for _ in 0..50 {
            desk.messages(burst);
            assert!(desk.machine.pending() <= (2 * burst).max(20), "{burst}: {:?}", desk.machine);
            desk.now = desk.now + SECOND;
        }
        assert!(burst < 30 || desk.pulls.iter().any(|pull| pull.messages > 10));
    }
}

#[test]
fn who_says_when_to_ask_again_or_for_how_many_bytes_or_shares_with_a_group_is_not_given_more() {
    for config in [
        PullConfig { refill_messages: Some(2), ..ten_or_a_hundred() },
        PullConfig { bytes: Some(100_000), ..ten_or_a_hundred() },
        PullConfig { group: Some(PullGroup::new("jobs")), ..ten_or_a_hundred() },
    ] {
        assert_eq!(config.most_messages(), 10);
        let mut desk = Desk::asked(config);
        desk.messages(30);
        assert!(desk.pulls.iter().all(|pull| pull.messages <= 10), "{:?}", desk.pulls);
    }
    let mut fetch = Desk::fetch(ten_or_a_hundred());
    fetch.machine.connected();
    fetch.run();
    assert_eq!(fetch.machine.pending(), 10);
}

#[test]
fn messages_one_at_a_time_do_not_stall() {
    let mut desk = Desk::asked(PullConfig { messages: 1, ..PullConfig::consume() });
    desk.messages(50);
    assert_eq!((desk.pulls.len(), desk.machine.pending()), (51, 1));
}

#[test]
fn by_bytes_more_is_asked_for_when_half_of_the_bytes_is_left() {
    let mut desk = Desk::asked(PullConfig::consume().by_bytes(1000));
    assert_eq!((desk.pulls[0].messages, desk.pulls[0].bytes), (1_000_000, Some(1000)));
    desk.messages(4);
    assert_eq!(desk.pulls.len(), 1);
    desk.messages(1);
    assert_eq!((desk.pulls.len(), desk.pulls[1].bytes), (2, Some(500)));
}

#[test]
fn with_messages_and_bytes_neither_is_exceeded_and_no_request_is_for_a_few_bytes() {
    let mut desk = Desk::asked(PullConfig { bytes: Some(1000), ..ten() });
    assert_eq!((desk.pulls[0].messages, desk.pulls[0].bytes), (10, Some(1000)));
    for _ in 0..6 {
        desk.machine.message(10, None);
        desk.run();
    }
    assert_eq!(desk.pulls.len(), 1, "94 % of the bytes are still to come");
    for _ in 0..4 {
        desk.machine.message(10, None);
        desk.run();
    }
    assert_eq!(
        (desk.pulls.len(), desk.pulls[1].messages, desk.pulls[1].bytes),
        (2, 10, Some(1000))
    );
}

#[test]
fn it_ends_after_so_many_messages_and_never_asks_for_more() {
    let mut desk = Desk::asked(PullConfig { limit: Some(13), ..ten() });
    desk.messages(12);
    assert_eq!(desk.pulls.iter().map(|pull| pull.messages).sum::<u64>(), 13);
    desk.messages(1);
    desk.run();
    assert_eq!(desk.end, Some(PullEnd::Done));
}

#[test]
fn what_a_request_has_not_got_is_taken_off() {
    let mut desk = Desk::asked(ten());
    desk.messages(3);
    desk.now = desk.now + 30 * SECOND;
    desk.ended(408, "Request Timeout", 7);
    assert_eq!((desk.pulls.len(), desk.pulls[1].messages, desk.pulls[1].fresh), (2, 10, false));
    assert_eq!(desk.notices, []);
}

// ---- statuses ----------------------------------------------------------------------------

#[test]
fn another_leader_is_asked_at_once() {
    for text in ["Leadership Change", "leadership change", "Server Shutdown"] {
        let mut desk = Desk::asked(ten());
        desk.ended(409, text, 10);
        assert_eq!(desk.pulls.len(), 2, "{text}");
        assert_eq!(desk.notices.len(), 1);
    }
}

#[test]
fn nobody_there_is_asked_again_at_once_and_then_more_and_more_seldom() {
    let mut desk = Desk::asked(ten());
    desk.status(503, "", &[]);
    assert_eq!((desk.pulls.len(), desk.pulls[1].fresh), (2, true));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let from = desk.now;
        desk.status(503, "", &[]);
        while let before = desk.pulls.len()
            && let Some(until) = desk.run()
            && desk.pulls.len() == before
        {
            desk.now = until;
            desk.run();
            if desk.pulls.len() > before {
                break;
            }
        }
        waits.push(desk.now - from);
    }
    assert!(waits.iter().all(|wait| (100 * MILLI..=5 * SECOND).contains(wait)), "{waits:?}");
    assert!(waits[11] > 2 * SECOND);
    desk.messages(1);
    desk.status(503, "", &[]);
    assert_eq!(desk.run(), Some(desk.now + 4 * SECOND), "after a message it is asked at once");
}

#[test]
fn a_consumer_that_is_gone_ends_it() {
    for (code, text, end) in [
        (409, "Consumer Deleted", PullEnd::ConsumerDeleted),
        (409, "Consumer is push based", PullEnd::PushBased),
        (412, "Required Api Level", PullEnd::Refused(412, "Required Api Level".into())),
    ] {
        let mut desk = Desk::asked(ten());
        desk.status(code, text, &[]);
        assert_eq!(desk.end, Some(end));
    }
}

#[test]
fn limits_of_the_consumer_are_kept_to() {
    let mut desk = Desk::asked(PullConfig { bytes: Some(1 << 20), ..ten() });
    desk.status(409, "Exceeded MaxRequestBatch of 4", &[]);
    assert_eq!(desk.pulls[1].messages, 4);
    desk.now = desk.now + SECOND;
    desk.status(409, "Exceeded MaxRequestMaxBytes of 1000", &[]);
    desk.pass(SECOND);
    assert_eq!(desk.pulls[2].bytes, Some(1000));
    desk.status(409, "Exceeded MaxRequestExpires of 16s", &[]);
    desk.pass(SECOND);
    assert_eq!(desk.pulls[3].expires, Some(16 * SECOND));
    desk.status(409, "Exceeded MaxRequestExpires of 300ms", &[]);
    desk.pass(SECOND);
    assert_eq!((desk.pulls[4].expires, desk.pulls[4].heartbeat), (Some(300 * MILLI), None));
    assert_eq!(
        desk.notices,
        [
            Notice::LimitLowered(Limit::Messages(4)),
            Notice::LimitLowered(Limit::Bytes(1000)),
            Notice::LimitLowered(Limit::Expires(16 * SECOND)),
            Notice::LimitLowered(Limit::Expires(300 * MILLI)),
        ]
    );
    // Without heartbeats, the end of its time tells that a request was lost.
    assert_eq!(desk.silence(), (false, SECOND + 300 * MILLI));
    assert_eq!(desk.notices.last(), Some(&Notice::HeartbeatsMissed));
}

#[test]
fn requests_that_end_at_once_come_seldom() {
    let mut desk = Desk::asked(ten());
    desk.status(409, "Exceeded MaxRequestExpires of 1ms", &[]);
    while desk.now < Instant::ZERO + 60 * SECOND {
        let waiting = desk.machine.pending();
        if waiting > 0 {
            desk.now = desk.now + 2 * MILLI;
            desk.ended(408, "Request Timeout", waiting);
        } else {
            let until = desk.run().unwrap();
            desk.now = until;
            desk.run();
        }
    }
    assert!(desk.pulls.len() < 40, "{} requests", desk.pulls.len());
}

#[test]
fn a_pin_is_sent_along_and_dropped_when_another_has_it() {
    let group = Some(PullGroup::new("jobs"));
    let mut desk = Desk::asked(PullConfig { group, ..ten() });
    let json = |desk: &Desk| {
        let mut out = Vec::new();
        desk.machine.write_request(desk.pulls.last().unwrap(), &mut out);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap()
    };
    assert_eq!((&json(&desk)["group"], &json(&desk)["id"]), (&"jobs".into(), &().into()));
    for _ in 0..5 {
        desk.machine.message(10, Some("abc"));
        desk.run();
    }
    assert_eq!((desk.pulls.len(), &json(&desk)["id"]), (2, &"abc".into()));
    desk.ended(423, "Nats-Wrong-Pin-Id", 10);
    assert_eq!((desk.pulls.len(), &json(&desk)["id"]), (3, &().into()));
    assert_eq!(desk.notices, [Notice::Pinned, Notice::Unpinned]);
}

#[test]
fn whether_the_consumer_exists_is_found_out_if_that_is_wanted() {
    let mut desk = Desk::asked(PullConfig { abort_when_missing: true, ..ten() });
    desk.status(503, "", &[]);
    assert_eq!((desk.checks, desk.pulls.len()), (1, 1));
    desk.machine.checked(Some(true), desk.now);
    desk.pass(SECOND);
    assert_eq!(desk.pulls.len(), 2);
    desk.status(503, "", &[]);
    desk.machine.checked(Some(false), desk.now);
    desk.run();
    assert_eq!((desk.checks, desk.end), (2, Some(PullEnd::Missing)));
}

// ---- losses ------------------------------------------------------------------------------

#[test]
fn two_missed_heartbeats_mean_that_the_request_is_lost() {
    let mut desk = Desk::asked(ten());
    desk.pass(3 * SECOND);
    desk.status(100, "Idle Heartbeat", &[]);
    desk.pass(4 * SECOND - MILLI);
    assert_eq!(desk.pulls.len(), 1);
    desk.pass(MILLI);
    assert_eq!((desk.pulls.len(), desk.pulls[1].fresh, desk.pulls[1].messages), (2, true, 10));
    assert_eq!(desk.notices, [Notice::HeartbeatsMissed]);
}

#[test]
fn a_silence_is_told_once_however_long_it_lasts() {
    let mut desk = Desk::asked(ten());
    for _ in 0..100 {
        desk.pass(SECOND);
    }
    assert!(desk.pulls.len() > 10, "it asks again and again");
    assert_eq!(desk.notices, [Notice::HeartbeatsMissed]);
    desk.status(100, "Idle Heartbeat", &[]);
    desk.messages(1);
    for _ in 0..10 {
        desk.pass(SECOND);
    }
    assert_eq!(desk.notices, [Notice::HeartbeatsMissed, Notice::HeartbeatsMissed], "another one");
}

#[test]
fn who_looks_very_late_gives_what_came_meanwhile_a_chance() {
    let mut desk = Desk::asked(ten());
    desk.pass(20 * SECOND);
    assert_eq!(desk.notices, []);
    desk.status(100, "Idle Heartbeat", &[]);
    desk.pass(3 * SECOND);
    assert_eq!(desk.notices, []);
    desk.pass(20 * SECOND);
    desk.pass(20 * SECOND);
    assert_eq!(desk.notices, [Notice::HeartbeatsMissed], "but only once");
}

/// However long a process was stopped, it hears nothing before it has read what came meanwhile.
#[test]
fn a_heartbeat_that_waits_unread_behind_a_stall_is_not_missed() {
    for late in [1, 10, 100, 500, 1_900, 2_000, 2_100, 60_000].map(|it| it * MILLI) {
        let config = PullConfig { expires: 4 * SECOND, heartbeat: Some(2 * SECOND), ..ten() };
        let mut desk = Desk::asked(config);
        for round in 0..3 {
            desk.now = desk.now + 4 * SECOND + late;
            let again = desk.run().expect("it looks again");
            let (least, most) = (desk.now + 250 * MILLI, desk.now + 2 * SECOND);
            assert!((least..=most).contains(&again), "{late:?}, {round}");
            assert_eq!((desk.pulls.len(), &*desk.notices), (1, &[][..]), "{late:?}, {round}");
            desk.status(100, "Idle Heartbeat", &[]);
        }
        assert_eq!(desk.run(), Some(desk.now + 4 * SECOND));
    }
}

#[test]
fn a_server_that_is_silent_behind_a_stall_is_told_of_at_the_second_look() {
    for late in [MILLI, 500 * MILLI, 2 * SECOND, 60 * SECOND] {
        let mut desk = Desk::asked(ten());
        desk.pass(4 * SECOND + late);
        assert_eq!(desk.notices, []);
        // The second one may be as late.
        desk.now = desk.run().expect("it looks again") + late;
        desk.run();
        assert_eq!(desk.notices, [Notice::HeartbeatsMissed], "{late:?}");
        assert_eq!((desk.pulls.len(), desk.pulls[1].fresh), (2, true), "{late:?}");
    }
}

#[test]
fn without_a_connection_nothing_is_missed_and_behind_it_one_request_is_out() {
    let mut desk = Desk::asked(ten());
    desk.messages(5);
    assert_eq!(desk.pulls.len(), 2);
    desk.machine.disconnected();
    desk.pass(3600 * SECOND);
    assert_eq!((desk.pulls.len(), desk.notices.len()), (2, 0));
    desk.machine.connected();
    desk.run();
    assert_eq!((desk.pulls.len(), desk.pulls[2].messages, desk.pulls[2].fresh), (3, 10, true));
    assert_eq!(desk.machine.pending(), 10);
}

#[test]
fn a_request_that_cannot_be_sent_is_sent_later() {
    let mut desk = Desk::asked(ten());
    for _ in 0..10 {
        let pulls = desk.pulls.len();
        desk.machine.not_sent(desk.now);
        desk.silence();
        assert_eq!(desk.pulls.len(), pulls + 1);
    }
    assert!(desk.now - Instant::ZERO > 5 * SECOND);
}

// ---- once --------------------------------------------------------------------------------

fn fetch() -> Desk {
    let config = PullConfig { expires: 10 * SECOND, ..PullConfig::fetch(10) };
    let mut desk = Desk::fetch(config);
    desk.machine.connected();
    desk.run();
    desk
}

#[test]
fn a_fetch_ends_with_its_last_message_or_its_time() {
    let mut desk = fetch();
    desk.messages(10);
    desk.run();
    assert_eq!((desk.pulls.len(), desk.end), (1, Some(PullEnd::Done)));

    let mut desk = fetch();
    desk.messages(3);
    desk.now = desk.now + 10 * SECOND;
    desk.ended(408, "Request Timeout", 7);
    assert_eq!((desk.pulls.len(), desk.end), (1, Some(PullEnd::Expired)));

    let config = PullConfig { expires: SECOND, ..PullConfig::fetch(10) };
    let mut desk = Desk::fetch(config);
    desk.machine.connected();
    assert_eq!(desk.silence(), (false, Duration::ZERO));
    assert_eq!(desk.silence(), (true, 3 * SECOND), "the server's word did not come");
    assert_eq!(desk.end, Some(PullEnd::Expired));
}

#[test]
fn a_fetch_goes_on_at_another_leader_with_what_is_left() {
    let mut desk = fetch();
    desk.messages(3);
    desk.now = desk.now + 4 * SECOND;
    desk.ended(409, "Leadership Change", 7);
    let request = desk.pulls[1];
    assert_eq!((request.messages, request.expires), (7, Some(6 * SECOND)));
    assert_eq!(desk.end, None);
}

#[test]
fn a_fetch_that_does_not_wait_ends_when_there_is_nothing() {
    let mut desk = Desk::fetch(PullConfig { no_wait: true, ..PullConfig::fetch(10) });
    desk.machine.connected();
    desk.run();
    assert_eq!((desk.pulls[0].expires, desk.pulls[0].heartbeat), (None, None));
    desk.messages(2);
    desk.status(404, "No Messages", &[]);
    assert_eq!(desk.end, Some(PullEnd::NoMessages));
}

#[test]
fn a_fetch_that_does_not_wait_ends_when_nothing_has_come_for_two_seconds() {
    let mut desk = Desk::fetch(PullConfig { no_wait: true, ..PullConfig::fetch(10) });
    desk.machine.connected();
    assert_eq!(desk.run(), Some(desk.now + 2 * SECOND));
    desk.now = desk.now + SECOND;
    desk.messages(2);
    assert_eq!(desk.run(), Some(desk.now + 2 * SECOND));
    desk.pass(2 * SECOND);
    assert_eq!((desk.end, desk.notices), (Some(PullEnd::Expired), Vec::new()));
}

#[test]
fn a_fetch_by_bytes_ends_when_the_next_message_does_not_fit() {
    let mut desk = Desk::fetch(PullConfig::fetch(1).by_bytes(250));
    desk.machine.connected();
    desk.run();
    desk.messages(2);
    desk.ended(409, "Message Size Exceeds MaxBytes", 999_998);
    assert_eq!(desk.end, Some(PullEnd::Done));

    let mut desk = Desk::fetch(PullConfig::fetch(1).by_bytes(25));
    desk.machine.connected();
    desk.run();
    desk.ended(409, "Message Size Exceeds MaxBytes", 1_000_000);
    assert_eq!(desk.end, Some(PullEnd::MessageTooLarge));
}

#[test]
fn a_fetch_goes_on_behind_a_request_that_got_all_but_bytes() {
    let mut desk = Desk::fetch(PullConfig { bytes: Some(100_000), ..PullConfig::fetch(10) });
    desk.machine.connected();
    desk.run();
    desk.status(409, "Exceeded MaxRequestBatch of 4", &[]);
    for (request, rest) in [(1, 4), (2, 4), (3, 2)] {
        assert_eq!(desk.pulls[request].messages, rest);
        desk.messages(rest);
        // Behind the next request, of which it says nothing.
        let left = desk.pulls[request].bytes.unwrap() - rest * 100;
        let bytes = [("Nats-Pending-Messages", "0"), ("Nats-Pending-Bytes", &left.to_string())];
        desk.status(409, "Batch Completed", &bytes);
    }
    assert_eq!((desk.pulls.len(), desk.end), (4, Some(PullEnd::Done)));
}

#[test]
fn a_fetch_from_nobody_ends_after_a_few_attempts_and_without_a_connection_says_so() {
    let mut desk = fetch();
    while desk.end.is_none() {
        let pulls = desk.pulls.len();
        desk.status(503, "", &[]);
        if desk.pulls.len() == pulls {
            desk.silence();
        }
    }
    assert_eq!(desk.end, Some(PullEnd::NoResponders));
    assert!(desk.now - Instant::ZERO < 4 * SECOND, "{:?}", desk.now);

    let mut desk = fetch();
    desk.machine.disconnected();
    assert_eq!(desk.run(), Some(Instant::ZERO + 10 * SECOND));
    desk.pass(10 * SECOND);
    assert_eq!(desk.end, Some(PullEnd::Disconnected));
}

#[test]
fn a_fetch_whose_request_was_lost_asks_again() {
    let mut desk = fetch();
    assert_eq!(desk.silence(), (false, 4 * SECOND));
    assert!(desk.pulls[1].fresh);
    assert_eq!(desk.pulls[1].expires, Some(6 * SECOND));
}

#[test]
fn a_short_wait_asks_each_time() {
    let mut desk = Desk::fetch(PullConfig { expires: 5 * MILLI, ..PullConfig::fetch(1) });
    desk.machine.connected();
    desk.run();
    for round in 1..=3 {
        assert_eq!((desk.pulls.len(), &desk.end), (round, &None));
        desk.now = desk.now + 5 * MILLI;
        desk.ended(408, "Request Timeout", 1);
        assert_eq!(desk.end.take(), Some(PullEnd::Expired));
        desk.machine.again(5 * MILLI, desk.now);
        desk.run();
    }
}

/// A request with no time left would be one that never expires.
#[test]
fn a_fetch_whose_time_was_over_before_it_began_asks_for_nothing() {
    for late in [SECOND, 2 * SECOND, 9 * SECOND] {
        let mut desk = Desk::fetch(PullConfig { expires: SECOND, ..PullConfig::fetch(10) });
        desk.machine.connected();
        desk.pass(late);
        assert_eq!((desk.pulls.len(), desk.end), (0, Some(PullEnd::Expired)));
    }
}

/// Delivered while the process stood still, they lie in the socket: the driver reads them only after
/// the first look.
#[test]
fn a_fetch_whose_time_passed_while_the_process_stood_still_reads_what_came() {
    for (expires, late) in [(SECOND, MILLI), (10 * SECOND, 20 * SECOND), (SECOND, 600 * SECOND)] {
        let mut desk = Desk::fetch(PullConfig { expires, ..PullConfig::fetch(10) });
        desk.machine.connected();
        desk.run();
        desk.pass(expires + 2 * SECOND + late);
        assert_eq!(desk.end, None, "{late:?} late");
        desk.messages(3);
        desk.ended(408, "Request Timeout", 7);
        assert_eq!((desk.machine.delivered(), desk.pulls.len()), (3, 1));
        assert_eq!(desk.end, Some(PullEnd::Expired));
    }
}

#[test]
fn a_fetch_that_is_looked_at_too_late_has_two_seconds_at_most_and_once() {
    for (late, longest) in [(MILLI, 10 * MILLI), (SECOND, SECOND), (600 * SECOND, 2 * SECOND)] {
        let config = PullConfig { expires: SECOND, ..PullConfig::fetch(10) };
        let mut desk = Desk::fetch(config);
        desk.machine.connected();
        desk.run();
        for _ in 0..2 {
            desk.pass(3 * SECOND + late);
            assert_eq!(desk.end, None, "{late:?} late");
            assert_eq!(desk.run(), Some(desk.now + longest));
            // As late again: now it is over.
            desk.pass(longest + late);
            assert_eq!(desk.end.take(), Some(PullEnd::Expired), "{late:?} late");
            desk.machine.again(SECOND, desk.now);
            desk.run();
        }
    }
}

/// What was not asked for does not come, and neither does anything without a connection.
#[test]
fn a_late_look_with_nothing_outstanding_ends_a_fetch() {
    let mut desk = fetch();
    desk.machine.disconnected();
    desk.pass(60 * SECOND);
    assert_eq!(desk.end, Some(PullEnd::Disconnected));
    let mut desk = fetch();
    desk.machine.connected();
    desk.pass(60 * SECOND);
    assert_eq!(desk.end, Some(PullEnd::Expired));
}

// ---- every status in every state ---------------------------------------------------------

fn states() -> Vec<(&'static str, Desk)> {
    let configs = [
        ten(),
        PullConfig { abort_when_missing: true, group: Some(PullGroup::new("g")), ..ten() },
        PullConfig { bytes: Some(500), ..ten() },
    ];
    let mut states = Vec::new();
    for config in configs {
        let fetching = || Desk::fetch(PullConfig { expires: 10 * SECOND, ..config.clone() });
        for once in [false, true] {
            let make = || if once { fetching() } else { Desk::consume(config.clone()) };
            states.push(("new", make()));
            let connected = || {
                let mut desk = make();
                desk.machine.connected();
                desk.run();
                desk
            };
            states.push(("asked", connected()));
            let mut desk = connected();
            desk.messages(3);
            states.push(("some came", desk));
            let mut desk = connected();
            for _ in 0..4 {
                desk.status(503, "", &[]);
            }
            states.push(("waits to ask again", desk));
            let mut desk = connected();
            desk.machine.disconnected();
            desk.run();
            states.push(("disconnected", desk));
            let mut desk = connected();
            desk.machine.stop();
            desk.run();
            states.push(("stopped", desk));
        }
    }
    states
}

#[test]
fn no_status_in_any_state_stalls_it() {
    for (code, text) in STATUSES {
        for headers in [&[][..], &[("Nats-Pending-Messages", "7"), ("Nats-Pending-Bytes", "70")]] {
            for (state, mut desk) in states() {
                let was = desk.end.clone();
                desk.status(*code, text, headers);
                if was.is_some() {
                    assert_eq!(desk.end, was, "an end is final");
                    continue;
                }
                desk.machine.connected();
                let pulled = desk.pulls.len();
                desk.run();
                if desk.end.is_some() || desk.pulls.len() > pulled {
                    continue;
                }
                let (_, after) = desk.silence();
                assert!(after <= 12 * SECOND, "{code} {text} while {state}: {after:?}");
            }
        }
    }
}

// ---- random inputs -----------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Message(usize),
    Late(usize),
    Status(usize, Option<u64>, Option<u64>),
    Connected,
    Disconnected,
    NotSent,
    Checked(Option<bool>),
    Pass(u64),
    ToTheWait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..300usize).prop_map(Step::Message),
        1 => (0..300usize).prop_map(Step::Late),
        6 => (0..STATUSES.len(), any::<Option<u64>>(), any::<Option<u64>>())
            .prop_map(|(a, b, c)| Step::Status(a, b.map(|it| it % 20), c)),
        1 => Just(Step::Connected),
        1 => Just(Step::Disconnected),
        1 => Just(Step::NotSent),
        1 => any::<Option<bool>>().prop_map(Step::Checked),
        3 => (0..10_000u64).prop_map(Step::Pass),
        4 => Just(Step::ToTheWait),
    ]
}

fn config() -> impl Strategy<Value = PullConfig> {
    let numbers = (1..30u64, any::<Option<u8>>(), any::<Option<u16>>(), any::<Option<u8>>());
    (numbers, 0..40u32, any::<(bool, bool, bool)>()).prop_map(
        |((messages, small, bytes, limit), seconds, (no_wait, fast, abort_when_missing))| {
            PullConfig {
                messages,
                small_messages: small.map(u64::from),
                read_within: fast.then_some(SECOND),
                bytes: bytes.map(u64::from),
                limit: limit.map(u64::from),
                expires: seconds * SECOND,
                no_wait,
                abort_when_missing,
                ..PullConfig::consume()
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_never_stalls_never_spins_and_never_asks_for_too_much(
        config in config(), once: bool, steps in prop::collection::vec(step(), 0..80),
    ) {
        let most = if once { config.messages } else { config.most_messages() };
        let mut desk = if once { Desk::fetch(config) } else { Desk::consume(config) };
        let mut connected = false;
        let mut reasons = 1;
        let mut until = desk.run();
        for step in steps {
            match step {
                Step::Message(size) => { desk.machine.message(size, None); reasons += 2; }
                Step::Late(size) => { desk.machine.late_message(size); reasons += 2; }
                Step::Status(at, messages, bytes) => {
                    let (code, text) = STATUSES[at];
                    let mut headers = Vec::new();
                    let (messages, bytes) = (messages.map(|it| it.to_string()), bytes.map(|it| it.to_string()));
                    if let Some(value) = &messages { headers.push(("Nats-Pending-Messages", value.as_str())); }
                    if let Some(value) = &bytes { headers.push(("Nats-Pending-Bytes", value.as_str())); }
                    desk.status(code, text, &headers);
                }
                Step::Connected => { desk.machine.connected(); connected = true; reasons += 2; }
                Step::Disconnected => { desk.machine.disconnected(); connected = false; }
                Step::NotSent => desk.machine.not_sent(desk.now),
                Step::Checked(exists) => desk.machine.checked(exists, desk.now),
                Step::Pass(millis) => desk.now = desk.now + MILLI * u32::try_from(millis).unwrap(),
                Step::ToTheWait => desk.now = until.map_or(desk.now, |until| until.max(desk.now)),
            }
            until = desk.run();
            prop_assert!(desk.machine.pending() <= most);
        }
        // At most one in 100 ms, in the long run, but for those that had a reason.
        let bound = reasons + 3 + (desk.now - Instant::ZERO).as_millis() as usize / 100;
        prop_assert!(desk.pulls.len() <= bound, "{} pulls, {bound}", desk.pulls.len());
        if desk.end.is_none() {
            if !connected { desk.machine.connected(); }
            desk.machine.checked(None, desk.now);
            let (_, after) = desk.silence();
            prop_assert!(after <= 45 * SECOND, "{after:?}");
            if !once { prop_assert!(after <= 12 * SECOND, "{after:?}"); }
        }
    }
}
