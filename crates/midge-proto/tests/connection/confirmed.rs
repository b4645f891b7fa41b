//! Confirmed, by a PONG; and the flush, which waits for it.

use std::time::Duration;

use midge_proto::{Event, Output, Position, SubjectRef};

use crate::rig::{INFO, Rig, config, in_none};

#[test]
fn what_was_written_before_an_answered_ping_is_confirmed() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a x
        > PUB a 1
        > x
        flush
        > PING
        publish a y
        > PUB a 1
        > y
        < PONG
        ! flushed",
    );
    let statistics = rig.connection.statistics();
    assert_eq!((statistics.out_messages, statistics.confirmed), (2, 1));
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown 1..2; kept -; dropped -
        ! connect 127.0.0.1:4222",
    );
    assert_eq!(rig.connection.statistics().unknown, 1);
}

#[test]
fn kept_messages_are_confirmed_at_the_same_intervals_as_others() {
    let mut config = config("127.0.0.1");
    config.confirm_bytes = 30;
    let mut rig = Rig::new(config);
    rig.log();
    for number in 0..7 {
        rig.command(&format!("publish a {number}"));
    }
    rig.command("connected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.sent();
    rig.feed(b"PONG\r\n");
    let sent = String::from_utf8(rig.sent()).unwrap();
    let lines: Vec<_> = sent.lines().filter(|line| !line.starts_with("PUB")).collect();
    assert_eq!(lines, ["0", "1", "2", "PING", "3", "4", "5", "PING", "6"]);
}

#[test]
fn a_ping_is_added_after_so_many_bytes_and_after_so_much_time() {
    let mut config = config("127.0.0.1");
    config.confirm_bytes = 20;
    let mut rig = Rig::up(config);
    rig.run(
        "publish a 1
        > PUB a 1
        > 1
        + 99ms
        + 1ms
        > PING
        publish a 12345678
        > PUB a 8
        > 12345678
        publish a 2
        > PUB a 1
        > 2
        > PING
        < PONG
        < PONG",
    );
    assert_eq!(rig.connection.statistics().confirmed, 3);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.sent(), b"", "confirmed messages need no more PINGs");
}

#[test]
fn a_pong_that_answers_nothing_confirms_nothing() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a x
        > PUB a 1
        > x
        < PONG
        stall
        flush
        < PONG
        eof
        ! flush failed: the connection to nats://127.0.0.1:4222 was lost before it answered (the server closed the connection); of what was published, 1 may be lost, 0 will be sent to the next server, 0 will not be sent
        ! disconnected the server closed the connection; unknown 0..1; kept -; dropped -
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn a_pong_too_many_answers_no_later_ping() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "flush
        > PING
        < PONG
        ! flushed
        < PONG
        < PONG
        publish a x
        > PUB a 1
        > x
        flush
        > PING",
    );
    assert_eq!(rig.connection.statistics().confirmed, 0);
    rig.run("< PONG\n! flushed");
}

#[test]
fn a_ping_that_waits_serves_only_for_what_stands_before_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "stall
        publish a 1
        flush
        flush
        publish a 2
        flush
        unstall
        > PUB a 1
        > 1
        > PING
        > PUB a 1
        > 2
        > PING
        < PONG
        ! flushed
        ! flushed",
    );
    assert_eq!(rig.connection.statistics().confirmed, 1);
    rig.run("< PONG\n! flushed");
    assert_eq!(rig.connection.statistics().confirmed, 2);
}

#[test]
fn a_pong_may_come_before_the_batch_with_its_ping_is_settled() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a one\nflush");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.run("< PONG");
    let written = batch.as_slice().len();
    rig.connection.settle(batch, written);
    rig.turn();
    rig.run("! flushed");
    assert_eq!(rig.connection.statistics().confirmed, 1);
}

#[test]
fn a_pong_may_come_before_the_batch_with_nothing_but_its_ping_is_settled() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("publish a one\n> PUB a 3\n> one\nstall\nflush");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    assert_eq!(batch.as_slice(), b"PING\r\n");
    rig.run("< PONG");
    rig.connection.settle(batch, 6);
    rig.turn();
    rig.run("! flushed");
    assert_eq!(rig.connection.statistics().confirmed, 1);
}

#[test]
fn positions_that_are_in_no_fate_are_confirmed() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("publish a x\n> PUB a 1\n> x\nflush\n> PING\n< PONG\n! flushed");
    let fates = rig.connection.fates();
    assert!(!fates.confirmed.positions.is_empty() && fates.unknown.positions.is_empty());
    assert!(in_none(&[&fates.unknown.positions, &fates.dropped.positions], 0));
    assert_eq!(Position(12).to_string(), "12");
}

#[test]
fn a_pong_that_came_before_the_settled_loss_confirms() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a one\nflush\npublish a two");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    let written = batch.as_slice().len();
    rig.run("< PONG\neof");
    rig.connection.settle(batch, written);
    rig.turn();
    rig.run(
        "! flushed
        ! disconnected the server closed the connection; unknown 1..2; kept -; dropped -
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn a_pong_for_a_ping_that_came_back_unwritten_confirms_nothing() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a one\nflush");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.run("< PONG");
    rig.connection.settle(batch, 4);
    rig.run("< PONG\nunstall\n> a 3\n> one\n> PING\n< PONG\n! flushed");
}

#[test]
fn a_flush_tells_what_was_lost_before_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a 1
        > PUB a 1
        > 1
        eof
        ! disconnected the server closed the connection; unknown 0..1; kept -; dropped -
        ! connect 127.0.0.1:4222
        publish a 2
        publish a 3
        withdraw 1
        ! withdrawn",
    );
    rig.come_up();
    rig.run(
        "flush
        > PING
        < PONG
        ! flushed; confirmed 2..3; unknown 0..1; dropped 1..2",
    );
}

#[test]
fn a_flush_that_has_ended_but_was_not_polled_can_still_be_cancelled() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let ids = [0; 3].map(|_| rig.connection.flush().unwrap());
    rig.turn();
    rig.sent();
    rig.connection.read_buf()[..6].copy_from_slice(b"PONG\r\n");
    rig.connection.received(6);
    // The first is polled, the others are not.
    assert!(
        matches!(rig.connection.poll(rig.now), Output::Event(Event::Flushed(id, Ok(_))) if id == ids[0])
    );
    rig.connection.cancel_flush(ids[1]);
    assert!(
        matches!(rig.connection.poll(rig.now), Output::Event(Event::Flushed(id, Ok(_))) if id == ids[2])
    );
    rig.run("");
}

#[test]
fn a_flush_of_what_waits_for_a_connection_tells_what_the_next_server_did_not_take() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(
        "! connect 127.0.0.1:4222
        publish a small
        publish a 0123456789
        flush
        connected
        < INFO {\"max_payload\":8,\"headers\":true}
        > CONNECT ...
        > PING
        < PONG
        > PUB a 5
        > small
        > PING
        ! connected nats://127.0.0.1:4222; dropped 1..2
        < PONG
        ! flushed; confirmed 0..1; unknown -; dropped 1..2",
    );
}

#[test]
fn a_server_that_never_answers_costs_no_memory_for_each_message() {
    let mut config = config("127.0.0.1");
    config.confirm_bytes = 10;
    let mut rig = Rig::up(config);
    for _ in 0..1000 {
        let subject = SubjectRef::new("a").unwrap();
        rig.connection.publish(subject, None, None, b"0123456789").unwrap();
        rig.turn();
    }
    let sent = String::from_utf8(rig.sent()).unwrap();
    let pings = sent.matches("PING\r\n").count();
    assert_eq!((sent.matches("PUB a 10\r\n").count(), pings), (1000, 16));
    // The answers confirm what lies before them, and one more PING the rest.
    rig.feed("PONG\r\n".repeat(pings).as_bytes());
    assert_eq!(rig.connection.fates().confirmed.messages, 16);
    rig.run(
        "+ 100ms
        > PING
        < PONG",
    );
    assert_eq!(rig.connection.fates().confirmed.messages, 1000);
}
