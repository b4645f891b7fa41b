//! Keep-alive, and what the server says on its own.

use std::time::Duration;

use midge_proto::Timer;

use crate::rig::{Rig, config};

#[test]
fn a_ping_of_the_server_is_answered() {
    Rig::up(config("127.0.0.1")).run("< PING\n> PONG");
}

#[test]
fn unsent_pongs_become_one() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    for _ in 0..100_000 {
        rig.feed(b"PING\r\n");
    }
    rig.stalled = false;
    rig.turn();
    assert_eq!(rig.sent(), b"PONG\r\n");
}

#[test]
fn a_ping_that_comes_while_bytes_wait_is_answered_behind_them() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall\npublish a x\n< PING\nunstall\n> PUB a 1\n> x\n> PONG");
    rig.run("stall\npublish a x");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.run("< PING");
    rig.connection.settle(batch, 0);
    rig.run("unstall\n> PUB a 1\n> x\n> PONG");
}

#[test]
fn a_server_that_answers_no_ping_is_stale() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "+ 120s
        > PING
        + 120s
        > PING
        + 120s
        ! close
        ! disconnected the connection is stale: the server answers no PING; unknown -; kept -; dropped -
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn only_a_pong_shows_that_the_server_lives() {
    let mut rig = Rig::up(config("127.0.0.1"));
    for _ in 0..5 {
        rig.run("+ 120s\n> PING\n< PONG");
    }
    for _ in 0..2 {
        rig.run("+ 120s\n> PING\n< +OK");
    }
    rig.run(
        "+ 120s
        ! close
        ! disconnected the connection is stale: ...
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn while_paused_nothing_is_read_and_nothing_is_stale() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1");
    rig.feed(b"MSG a 1 1\r\nx\r\nMSG a 1");
    rig.run("! message 1 a x\npause");
    assert!(!rig.wait.read && rig.connection.read_buf().is_empty());
    rig.run("+ 3000s\nresume");
    assert!(rig.wait.read);
    rig.feed(b" 1\r\ny\r\n");
    rig.run("! message 1 a y");
}

#[test]
fn an_error_that_closes_the_connection_is_its_cause() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "< -ERR 'Maximum Payload Violation'
        ! close
        ! server error: ...
        ! disconnected the server says: ...
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn an_error_that_concerns_nobody_is_an_event() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "< -ERR 'Permissions Violation for Publish to \"x\"'
        ! server error...
        < -ERR 'Something New'
        ! server error...",
    );
    assert!(rig.connection.is_connected());
}

fn deadline() -> Rig {
    let mut config = config("127.0.0.1");
    config.write_deadline = Some(Duration::from_secs(10));
    Rig::up(config)
}

#[test]
fn a_transport_that_takes_nothing_is_given_up_at_the_write_deadline() {
    let mut rig = deadline();
    rig.run("+ 60s\nstall\npublish a x");
    assert_eq!(rig.wait.reason, Some(Timer::Confirm));
    rig.run(
        "+ 9999ms
        + 1ms
        ! close
        ! disconnected nothing could be written for longer than the write deadline; unknown -; kept 0..1; dropped -
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn a_byte_that_is_taken_begins_the_write_deadline_anew() {
    let mut rig = deadline();
    rig.run("stall\npublish a x");
    for _ in 0..2 {
        rig.run("+ 9s");
        rig.take(1);
        rig.turn();
        rig.sent();
    }
    rig.run("+ 9999ms");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.run("+ 1ms\n! close");
    rig.connection.settle(batch, 0);
    rig.turn();
    rig.run("! disconnected nothing could be written ...\n! connect 127.0.0.1:4222");
}

#[test]
fn where_nothing_waits_to_be_written_there_is_no_write_deadline() {
    let mut rig = deadline();
    rig.run("publish a x\n> PUB a 1\n> x\n+ 60s\n> PING\n< PONG");
    assert_eq!(rig.wait.reason, Some(Timer::Ping));
}

#[test]
fn what_came_before_the_end_of_a_transport_is_delivered_also_when_paused() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1");
    let bytes = b"MSG a 1 1\r\nx\r\nMSG a 1 1\r\ny\r\n";
    rig.connection.read_buf()[..bytes.len()].copy_from_slice(bytes);
    rig.connection.received(bytes.len());
    rig.connection.pause(true);
    rig.turn();
    rig.run("eof\n! message 1 a x\n! message 1 a y\n! disconnected ...\n! connect 127.0.0.1:4222");
}

#[test]
fn a_move_does_not_end_while_reading_is_paused() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1\npause\nreconnect\n> UNSUB 1\n> PING\n+ 60s\nresume");
    rig.run(
        "< MSG a 1 1\\r\\nx
        ! message 1 a x
        < PONG
        > PING
        < PONG
        ! close
        ! disconnected the caller asked for another connection; ...
        ! connect 127.0.0.1:4222",
    );
}
