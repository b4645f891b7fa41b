//! What becomes of every publish.

use std::time::Duration;

use midge_proto::SubjectRef;

use crate::rig::{INFO, Rig, config};

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
fn a_kept_message_with_headers_is_not_sent_to_a_server_that_knows_none() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(
        "! connect 127.0.0.1:4222
        header A b
        publish a 1
        no-headers
        publish a 2
        connected
        < INFO {\"max_payload\":1048576}
        > CONNECT ...
        > PING
        < PONG
        > PUB a 1
        > 2
        ! connected nats://127.0.0.1:4222; dropped 0..1",
    );
}

#[test]
fn what_a_server_limits_is_headers_and_payload_without_the_line() {
    for headers in [true, false] {
        let mut rig = Rig::new(config("127.0.0.1"));
        rig.run("! connect 127.0.0.1:4222");
        if headers {
            rig.command("header A b");
        }
        rig.run(&format!("publish a {}", if headers { "12" } else { "12345678901234567890" }));
        rig.command("connected");
        rig.feed(
            format!("INFO {{\"max_payload\":20,\"headers\":{headers}}}\r\nPONG\r\n").as_bytes(),
        );
        rig.sent();
        rig.feed(b"PONG\r\n");
        assert_eq!(rig.log(), ["connected nats://127.0.0.1:4222; dropped -"]);
        let sent = String::from_utf8(rig.sent()).unwrap();
        assert!(
            sent.starts_with(if headers { "HPUB a 18 20\r\n" } else { "PUB a 20\r\n" }),
            "{sent}"
        );
    }
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
fn more_than_a_batch_has_cannot_be_written() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall\npublish a one\npublish a two");
    rig.take(4);
    rig.sent();
    let batch = rig.connection.take_transmit(10).unwrap();
    rig.connection.settle(batch, usize::MAX);
    rig.run("unstall\n> PUB a 3\n> two");
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
fn the_age_of_what_is_kept_begins_anew_with_each_loss() {
    let mut config = config("127.0.0.1");
    config.max_kept_age = Some(Duration::from_secs(1));
    let mut rig = Rig::new(config);
    rig.run("! connect ...\npublish a x\n+ 900ms");
    rig.command("connected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.stalled = true;
    rig.feed(b"PONG\r\n");
    rig.log();
    rig.sent();
    rig.run("eof\n! disconnected ...\n! connect ...");
    let pending = rig.connection.pending_bytes();
    rig.run("+ 900ms");
    assert_eq!(rig.connection.pending_bytes(), pending);
    rig.run("+ 200ms");
    assert_eq!(rig.connection.pending_bytes(), 0);
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
            "+ 1s
            publish a 1
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
