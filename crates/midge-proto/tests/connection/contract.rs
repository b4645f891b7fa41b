//! The ten lines of the contract of `poll`, a test each; `walk.rs` holds 1 to 7 in random runs.

use std::time::Duration;

use bytes::Buf;
use midge_proto::{
    Config, DisconnectCause, Event, FlushError, Instant, Message, Output, RequestError, RequestId,
    Sid, Sink, SubjectRef, Timer, Wait,
};
use proptest::prelude::*;

use crate::rig::{INFO, Rig, config, describe};

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
    assert_eq!(batch.as_ref(), b"PUB a 1\r\nx\r\n");
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
    transcript_of(&stream(), cuts)
}

fn transcript_of(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut rig = Rig::up(small());
    rig.run("subscribe a\n> SUB a 1");
    let mut rest = bytes;
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

#[test]
fn line_2_what_a_reply_makes_due_is_done_before_idle_whatever_the_budget() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("request q x 9s\n> SUB _INBOX.x.* 1\n> PUB q _INBOX.x.1 1\n> x");
    rig.run("drain\n! subscriptions drained\nqueues-drained");
    let inbox = rig.inbox().to_owned();
    let reply = format!("MSG {inbox}.1 1 2\r\nok\r\n");
    rig.connection.read_buf()[..reply.len()].copy_from_slice(reply.as_bytes());
    rig.connection.received(reply.len());
    let mut collect = Collect::default();
    let output = rig.connection.poll_into(rig.now, usize::MAX, &mut collect);
    assert!(matches!(output, Output::Idle(wait) if wait.write), "{output:?}");
    assert_eq!(collect.0, ["response 1 ok ok"]);
}

#[test]
fn line_8_a_large_message_without_its_line_end_is_the_same_fault_however_it_is_cut() {
    let bytes = format!("MSG a 1 3\r\nabc\r\nMSG a 1 150\r\n{}XX", "x".repeat(150));
    let whole = transcript_of(bytes.as_bytes(), &[usize::MAX]);
    assert!(!whole.iter().any(|line| line.starts_with("oversized")), "{whole:?}");
    for cut in [1, 7, 80] {
        assert_eq!(transcript_of(bytes.as_bytes(), &[cut]), whole, "{cut}");
    }
}

#[test]
fn line_1_a_batch_that_is_out_leaves_no_deadline_in_the_past() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a x\nrequest q y 1s");
    let batch = rig.connection.take_transmit(12).unwrap();
    rig.run("eof");
    let deadline = rig.wait.until.unwrap();
    assert_eq!(rig.wait.reason, Some(Timer::Request), "a request ends on time all the same");
    rig.run("+ 999ms\n+ 1ms\n! response 1 the request was not sent: its deadline passed...");
    assert!(rig.now >= deadline);
    assert_eq!(rig.wait, Wait::default(), "nothing but the batch is waited for");
    rig.run("+ 300s");
    rig.connection.settle(batch, 12);
    rig.turn();
    rig.run("! disconnected the server closed the connection; unknown 0..1; kept -; dropped -\n! connect 127.0.0.1:4222");
}

#[test]
fn line_3_what_a_move_holds_back_is_no_reason_to_write() {
    let mut small = config("127.0.0.1");
    small.control_reserve = 40;
    let mut rig = Rig::up(small);
    for _ in 0..20 {
        rig.command("subscribe a");
    }
    rig.command("reconnect");
    assert!(rig.sent().ends_with(b"UNSUB 20\r\nPING\r\n"));
    rig.run("< PONG\n> PING");
    for sid in 1..=20 {
        rig.run(&format!("unsubscribe {sid}\n! ended {sid} unsubscribed"));
    }
    rig.run("< PING");
    assert!(!rig.wait.write, "nothing of it can be written");
}

#[test]
fn line_6_flushes_of_requests_that_are_cancelled_fill_no_memory() {
    let mut config = config("127.0.0.1");
    config.control_reserve = 6000;
    let mut rig = Rig::up(config);
    rig.stalled = true;
    let subject = SubjectRef::new("q").unwrap();
    let mut flushes = 0;
    let refused = loop {
        let deadline = rig.now + Duration::from_secs(1);
        let request = rig.connection.request(subject, None, b"", deadline).unwrap();
        match rig.connection.flush() {
            Ok(flush) => rig.connection.cancel_flush(flush),
            Err(error) => break error,
        }
        rig.connection.cancel(request);
        flushes += 1;
        assert!(flushes < 10_000, "nothing bounds them");
    };
    assert_eq!(refused, FlushError::TooMany);
    assert!(flushes >= 900, "{flushes}");
}

#[test]
fn line_6_pings_of_a_server_that_reads_nothing_fill_no_memory() {
    for greeted in [false, true] {
        let mut rig = Rig::new(config("127.0.0.1"));
        if greeted {
            rig.come_up();
        } else {
            rig.command("connected");
            rig.feed(format!("{INFO}\r\n").as_bytes());
            rig.sent();
        }
        rig.stalled = true;
        for _ in 0..1000 {
            rig.feed(b"PING\r\n");
            let batch = rig.connection.take_transmit(usize::MAX).unwrap();
            assert!(batch.as_slice().len() <= 12, "{:?}", batch.as_slice());
            rig.connection.settle(batch, 0);
        }
        rig.stalled = false;
        rig.turn();
        assert_eq!(rig.sent(), b"PONG\r\nPONG\r\n", "for those before and those behind the first");
    }
}
