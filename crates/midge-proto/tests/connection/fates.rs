//! What becomes of every publish.

use std::time::Duration;

use midge_proto::{Position, PublishError, SubjectRef};

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
fn a_loss_in_the_middle_of_a_frame_splits_unknown_from_kept() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "stall
        publish a one
        publish a two
        publish a three",
    );
    rig.command("take 14");
    assert_eq!(rig.sent(), b"PUB a 3\r\none\r\n", "the first frame and nothing else");
    rig.command("take 1");
    assert_eq!(rig.sent(), b"P");
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown 0..2; kept 2..3; dropped -
        ! connect 127.0.0.1:4222
        unstall",
    );
    rig.run(&format!(
        "connected
        < {INFO}
        > CONNECT ...
        > PING
        < PONG
        > PUB a 5
        > three
        ! connected nats://127.0.0.1:4222 again; dropped -
        + 100ms
        > PING
        < PONG"
    ));
    assert_eq!(rig.connection.statistics().confirmed, 1, "the kept one; the unknown two stay so");
}

#[test]
fn messages_published_while_disconnected_wait_for_the_first_pong() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(&format!(
        "! connect 127.0.0.1:4222
        publish a early
        connected
        < {INFO}
        > CONNECT ...
        > PING
        publish a later
        < PONG
        > PUB a 5
        > early
        > PUB a 5
        > later
        ! connected nats://127.0.0.1:4222; dropped -"
    ));
}

#[test]
fn a_failed_attempt_touches_nothing_that_waits() {
    let mut config = config("127.0.0.1:1,127.0.0.1:2");
    config.retry_first_connect = true;
    let mut rig = Rig::new(config);
    rig.run(&format!(
        "! connect 127.0.0.1:1
        publish a x
        flush
        request q hello 9s
        connected
        < {INFO}
        > CONNECT ...
        > SUB _INBOX.x.* 1
        > PING
        eof
        ! failed nats://127.0.0.1:1 the server closed the connection
        + 100ms
        ! connect 127.0.0.1:2
        connected
        < {INFO}
        > CONNECT ...
        > SUB _INBOX.x.* 1
        > PING
        < PONG
        > PUB a 1
        > x
        > PUB q _INBOX.x.1 5
        > hello
        > PING
        ! connected nats://127.0.0.1:2; dropped -
        < PONG
        ! flushed
        < MSG _INBOX.x.1 1 2\\r\\nhi
        ! response 1 ok hi"
    ));
}

#[test]
fn kept_messages_that_the_next_server_does_not_take_are_dropped_and_said() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:4222
        publish a small
        publish a rather-large-for-the-next-server
        header name value
        publish a h
        no-headers
        request q rather-large-for-the-next-server 9s
        publish a tiny
        connected
        < INFO {\"max_payload\":20}
        > CONNECT ...
        > SUB _INBOX.x.* 1
        > PING
        < PONG
        > PUB a 5
        > small
        > PUB a 4
        > tiny
        ! response 1 the request was not sent: the server does not take a message of this size or with headers
        ! connected nats://127.0.0.1:4222 again; dropped 1..4",
    );
}

#[test]
fn past_the_bound_a_publish_is_refused_and_writable_comes_at_half() {
    let mut config = config("127.0.0.1");
    config.max_pending = 30;
    let mut rig = Rig::up(config);
    rig.run(
        "stall
        publish a 12345
        publish a 12345-12345
        ! refused: the outbound buffer is full: wait for room, or raise max_pending or reconnect_buffer
        unstall
        > PUB a 5
        > 12345
        ! writable
        publish b
        > PUB b 0
        >",
    );
}

#[test]
fn a_message_above_the_bound_passes_when_nothing_else_waits() {
    let mut config = config("127.0.0.1");
    config.max_pending = 10;
    let mut rig = Rig::up(config);
    rig.run(
        "publish a longer-than-ten-bytes
        > PUB a 21
        > longer-than-ten-bytes",
    );
}

#[test]
fn while_disconnected_the_reconnect_buffer_is_the_bound() {
    let mut config = config("127.0.0.1");
    config.reconnect_buffer = 0;
    let mut rig = Rig::up(config);
    rig.run(
        "stall
        publish a x
        eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped 0..1
        ! connect 127.0.0.1:4222
        publish a y
        ! refused: the outbound buffer is full...",
    );
}

#[test]
fn a_payload_above_the_servers_limit_is_refused_with_both_numbers() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let subject = SubjectRef::new("a").unwrap();
    let refused = rig.connection.publish(subject, None, None, &vec![0; (1 << 20) + 1]);
    assert_eq!(refused, Err(PublishError::TooLarge { size: (1 << 20) + 1, max: 1 << 20 }));
    assert_eq!(rig.connection.publish(subject, None, None, &vec![0; 1 << 20]), Ok(Position(0)));
}

#[test]
fn wildcards_are_refused_in_a_publish() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a.*
        ! refused: `*` and `>` as tokens are for subscriptions: publish to a subject without them",
    );
    let (plain, wild) = (SubjectRef::new("a").unwrap(), SubjectRef::new("r.>").unwrap());
    assert_eq!(rig.connection.publish(plain, Some(wild), None, b""), Err(PublishError::Wildcard));
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
fn a_batch_that_is_out_holds_the_loss_back_until_it_is_settled() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a one\npublish a two");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    assert_eq!(batch.as_slice(), b"PUB a 3\r\none\r\nPUB a 3\r\ntwo\r\n");
    assert!(rig.connection.take_transmit(usize::MAX).is_none(), "one batch at a time");
    rig.run("eof");
    assert!(!rig.wait.write && !rig.wait.read);
    rig.connection.settle(batch, 14);
    rig.turn();
    rig.run(
        "! disconnected the server closed the connection; unknown 0..1; kept 1..2; dropped -
        ! connect 127.0.0.1:4222",
    );
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
fn a_batch_can_be_taken_in_pieces() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    rig.run("publish a one\npublish a two");
    let mut wire = Vec::new();
    while let Some(batch) = rig.connection.take_transmit(7) {
        let taken = batch.as_slice().len().min(5);
        wire.extend_from_slice(&batch.as_slice()[..taken]);
        rig.connection.settle(batch, taken);
    }
    assert_eq!(wire, b"PUB a 3\r\none\r\nPUB a 3\r\ntwo\r\n");
    assert_eq!(rig.connection.pending_bytes(), 0);
}

#[test]
fn a_planned_move_leaves_nothing_unknown() {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    rig.run(
        "publish a before
        > PUB a 6
        > before
        reconnect
        > PING
        publish a meanwhile
        < PONG
        ! close
        ! disconnected the caller asked for another connection; unknown -; kept 1..2; dropped -
        ! connect 127.0.0.1:2",
    );
}

#[test]
fn a_planned_move_leaves_no_message_behind_at_the_old_server() {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    rig.run(
        "subscribe jobs group
        > SUB jobs group 1
        request q x 9s
        > SUB _INBOX.x.* 2
        > PUB q _INBOX.x.1 1
        > x
        reconnect
        > UNSUB 1
        > PING
        < MSG jobs 1 1\\r\\na
        ! message 1 jobs a
        < PONG
        subscribe late
        > SUB late 3
        publish a still
        > PUB a 5
        > still
        < MSG _INBOX.x.1 2 2\\r\\nok
        > UNSUB 3
        > PING
        ! response 1 ok ok
        publish a too
        > PUB a 3
        > too
        < MSG late 3 1\\r\\nb
        ! message 3 late b
        < PONG
        > PING
        subscribe next
        < PONG
        ! close
        ! disconnected the caller asked for another connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:2
        connected
        < INFO {}
        > CONNECT ...
        > SUB jobs group 1
        > SUB _INBOX.x.* 2
        > SUB late 3
        > SUB next 4
        > PING",
    );
}

#[test]
fn a_subscription_that_was_left_can_be_left_again() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        "subscribe a
        > SUB a 1
        reconnect
        > UNSUB 1
        > PING
        + 5s
        ! close
        ! disconnected the caller asked for another connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:1",
    );
    rig.come_up();
    rig.run("reconnect\n> UNSUB 1\n> PING\n< PONG\n> PING");
}

#[test]
fn a_planned_move_does_not_wait_for_ever() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        "publish a before
        > PUB a 6
        > before
        reconnect
        > PING
        + 5s
        ! close
        ! disconnected the caller asked for another connection; unknown 0..1; kept -; dropped -
        ! connect 127.0.0.1:1",
    );
}

#[test]
fn withdrawn_requests_leave_no_byte_and_no_memory_behind() {
    let mut config = config("127.0.0.1");
    config.reconnect_buffer = 1 << 20;
    let mut rig = Rig::up(config);
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:4222
        publish a first",
    );
    let subject = SubjectRef::new("q").unwrap();
    let payload = [b'x'; 1000];
    for round in 0..10_000 {
        let deadline = rig.now + Duration::from_secs(1);
        let id = rig.connection.request(subject, None, &payload, deadline).unwrap();
        rig.connection.cancel(id);
        if round % 1000 == 0 {
            rig.run("publish a next");
        }
    }
    assert_eq!(rig.connection.requests(), 0);
    assert!(rig.connection.pending_bytes() < 300, "{}", rig.connection.pending_bytes());
    rig.command("connected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.feed(b"PONG\r\n");
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert_eq!(sent.matches("PUB a ").count(), 11);
    assert!(!sent.contains("PUB q"), "a cancelled request is never sent");
}

#[test]
fn positions_that_are_in_no_fate_are_confirmed() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("publish a x\n> PUB a 1\n> x\nflush\n> PING\n< PONG\n! flushed");
    let unknown = midge_proto::Positions::default();
    assert!(in_none(&[&unknown], 0));
}

#[test]
fn writable_waits_until_the_smallest_refused_message_has_room() {
    let mut config = config("127.0.0.1");
    config.max_pending = 40;
    let mut rig = Rig::up(config);
    rig.run(
        "stall
        publish a 12345
        publish a 12345-12345-12345-12345
        ! refused: the outbound buffer is full...
        publish a 12345-12345-12345
        ! refused: the outbound buffer is full...
        unstall
        > PUB a 5
        > 12345
        ! writable",
    );
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
fn a_subject_that_no_server_takes_is_refused_before_it_costs_the_connection() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let fits = "s".repeat(4096 - 3 - 2);
    rig.run(&format!("publish {fits} x\n> PUB {fits} 1\n> x"));
    let long = "s".repeat(4096);
    rig.run(&format!(
        "publish {long} x
        ! refused: subject and reply subject need 4098 bytes, the server takes 4096: ...
        subscribe {long}
        ! refused: subject and queue group need 4117 bytes, the server takes 4096: ..."
    ));
}

#[test]
fn a_message_taken_back_in_front_of_a_move_does_not_let_the_held_one_out() {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    rig.run(
        "stall
        publish a back
        publish a before
        reconnect
        publish a held
        withdraw 0
        ! withdrawn
        unstall
        > PUB a 6
        > before
        > PING
        < PONG
        ! close
        ! disconnected the caller asked for another connection; unknown -; kept 2..3; dropped -
        ! connect 127.0.0.1:2",
    );
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
fn kept_messages_that_are_too_old_are_dropped_and_reported() {
    let mut config = config("127.0.0.1");
    config.max_kept_age = Some(Duration::from_secs(32));
    config.connect_timeout = Duration::from_secs(3600);
    let mut rig = Rig::up(config);
    rig.stalled = true;
    rig.run(
        "publish a lost-with-the-connection
        eof
        ! disconnected the server closed the connection; unknown -; kept 0..1; dropped -
        ! connect 127.0.0.1:4222
        unstall
        + 10s
        publish a 1
        + 500ms
        publish a 2
        + 2s
        publish a 3",
    );
    let pending = rig.connection.pending_bytes();
    rig.run("+ 19400ms");
    assert_eq!(rig.connection.pending_bytes(), pending, "31.9 s");
    rig.run("+ 100ms");
    assert_eq!(rig.connection.pending_bytes(), 3 * 12, "32 s after the loss");
    rig.run("+ 10s");
    assert_eq!(rig.connection.pending_bytes(), 12, "32 s after the first, one mark for both");
    rig.command("connected");
    rig.run(&format!(
        "< {INFO}
        > CONNECT ...
        > PING
        < PONG
        > PUB a 1
        > 3
        ! connected nats://127.0.0.1:4222 again; dropped 0..3
        + 100ms
        > PING
        < PONG
        + 100s"
    ));
    let statistics = rig.connection.statistics();
    assert_eq!((statistics.confirmed, statistics.dropped), (1, 3));
}

#[test]
fn a_connection_in_time_ends_the_age_of_what_was_kept() {
    let mut config = config("127.0.0.1");
    config.max_kept_age = Some(Duration::from_secs(1));
    let mut rig = Rig::new(config);
    rig.run(&format!(
        "! connect 127.0.0.1:4222
        publish a x
        + 900ms
        connected
        < {INFO}
        > CONNECT ...
        > PING
        stall
        < PONG
        ! connected nats://127.0.0.1:4222; dropped -
        + 200ms
        unstall
        > PUB a 1
        > x
        > PING"
    ));
}

#[test]
fn a_question_is_not_kept_for_the_next_connection() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "stall
        publish a x
        ask q r
        eof
        ! disconnected the server closed the connection; unknown -; kept 0..1; dropped 1..2
        ! connect 127.0.0.1:4222
        ask q r
        ask q r
        withdraw 2
        ! withdrawn
        withdraw 2
        ! too late
        withdraw 9
        ! too late
        unstall
        connected",
    );
    rig.run(&format!(
        "< {INFO}
        > CONNECT ...
        > PING
        < PONG
        > PUB a 1
        > x
        > PUB q r 1
        > ?
        ! connected nats://127.0.0.1:4222 again; dropped -
        withdraw 3
        ! too late
        + 100ms
        > PING
        < PONG"
    ));
}

#[test]
fn max_ranges_bounds_the_positions_of_a_report_and_no_count() {
    let mut config = config("127.0.0.1");
    config.max_ranges = 2;
    let mut rig = Rig::up(config);
    for _ in 0..4 {
        // One that is confirmed, then one that is lost.
        rig.run(
            "publish a 1
            > PUB a 1
            > 1
            flush
            > PING
            < PONG
            ! flushed...
            publish a 2
            > PUB a 1
            > 2
            eof
            ! disconnected ...
            ! connect 127.0.0.1:4222",
        );
        rig.come_up();
    }
    let fates = rig.connection.fates();
    assert_eq!((fates.unknown.messages, fates.confirmed.messages), (4, 4));
    assert!(fates.unknown.positions.ranges().eq([5..6, 7..8]));
    assert!(fates.confirmed.positions.ranges().eq([4..5, 6..7]));
}

#[test]
fn max_ranges_bounds_the_positions_of_what_is_unconfirmed_and_no_count() {
    let mut config = config("127.0.0.1");
    config.max_ranges = 2;
    let mut rig = Rig::up(config.clone());
    let publish = |rig: &mut Rig| {
        for _ in 0..4 {
            let subject = SubjectRef::new("a").unwrap();
            let withdrawn = rig.connection.publish(subject, None, None, b"1").unwrap();
            rig.connection.publish(subject, None, None, b"2").unwrap();
            assert!(rig.connection.withdraw(withdrawn));
            rig.turn();
        }
        assert_eq!(rig.sent(), b"PUB a 1\r\n2\r\n".repeat(4));
    };
    publish(&mut rig);
    rig.run("flush\n> PING\n< PONG\n! flushed; confirmed 5..6,7..8...");
    assert_eq!(rig.connection.fates().confirmed.messages, 4);

    let mut rig = Rig::up(config);
    publish(&mut rig);
    rig.feed(b"-ERR 'Stale Connection'\r\n");
    rig.command("eof");
    let fates = rig.connection.fates();
    assert_eq!((fates.unknown.messages, fates.unknown.bytes), (4, 4 * 12));
    assert!(fates.unknown.positions.ranges().eq([5..6, 7..8]));
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
