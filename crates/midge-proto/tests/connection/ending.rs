//! Planned ends: drain and close.

use std::time::Duration;

use crate::rig::{INFO, Rig, config};

#[test]
fn a_drain_ends_subscriptions_then_requests_then_the_connection() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        request q x 9s
        > SUB _INBOX.x.* 2
        > PUB q _INBOX.x.1 1
        > x
        drain
        > UNSUB 1
        > PING
        subscribe b
        ! refused: the connection is draining
        request q y 9s
        ! refused: the request was not sent: the connection is draining
        < MSG a 1 2\\r\\nin
        ! message 1 a in
        < PONG
        ! ended 1 drained
        ! subscriptions drained
        publish r answer
        > PUB r 6
        > answer
        queues-drained
        publish r more
        > PUB r 4
        > more
        < MSG _INBOX.x.1 2 2\\r\\nok
        > UNSUB 2
        > PING
        ! response 1 ok ok
        < PONG
        > PING
        publish r late
        ! refused: the connection is closed
        < PONG
        ! close
        ! closed drained by the caller; confirmed 0..3; unknown -; kept -; dropped -",
    );
    assert!(rig.connection.is_closed());
}

#[test]
fn a_drain_waits_for_subscriptions_to_replies_to_end() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe-replies r
        > SUB r 1
        ask q r
        > PUB q r 1
        > ?
        drain
        ! subscriptions drained
        subscribe-replies s
        ! refused: the connection is draining
        queues-drained
        < MSG r 1 2\\r\\nok
        ! message 1 r ok
        + 100ms
        > PING
        < PONG
        unsubscribe 1
        > UNSUB 1
        > PING
        ! ended 1 unsubscribed
        < PONG
        ! close
        ! closed drained by the caller; confirmed 0..1; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_drain_does_not_wait_for_subscriptions_to_replies_that_have_ended() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe-replies r
        > SUB r 1
        unsubscribe 1
        > UNSUB 1
        ! ended 1 unsubscribed
        drain
        ! subscriptions drained
        drain
        queues-drained
        > PING
        drain
        < PONG
        ! close
        ! closed drained by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_drain_lets_a_request_run_to_its_deadline() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request q x 3s
        > SUB _INBOX.x.* 1
        > PUB q _INBOX.x.1 1
        > x
        drain
        ! subscriptions drained
        queues-drained
        + 100ms
        > PING
        < PONG
        + 2900ms
        > UNSUB 1
        > PING
        ! response 1 no reply came in time...
        < PONG
        > PING
        < PONG
        ! close
        ! closed drained by the caller; confirmed 0..1; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_drain_is_bounded_in_time() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        drain
        > UNSUB 1
        > PING
        + 30s
        ! ended 1 the connection closed
        ! close
        ! closed drained by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_drain_while_disconnected_reconnects_only_to_write_what_was_kept() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(&format!(
        "subscribe a
        > SUB a 1
        eof
        ! disconnected ...
        ! connect 127.0.0.1:4222
        publish b kept
        drain
        ! ended 1 drained
        ! subscriptions drained
        queues-drained
        connected
        < {INFO}
        > CONNECT ...
        > PING
        < PONG
        > PUB b 4
        > kept
        > PING
        ! connected ...
        < PONG
        ! close
        ! closed drained by the caller; confirmed 0..1; unknown -; kept -; dropped -"
    ));
}

#[test]
fn a_drain_while_disconnected_with_nothing_to_write_closes() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "eof
        ! disconnected ...
        ! connect 127.0.0.1:4222
        drain
        ! subscriptions drained
        queues-drained
        ! close
        ! closed drained by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_close_confirms_what_was_published_first() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe s
        > SUB s 1
        publish a x
        > PUB a 1
        > x
        close 2s
        > PING
        publish a y
        ! refused: the connection is closed
        subscribe t
        ! refused: the connection is closed
        request q y 1s
        ! refused: the request was not sent: the connection is closed
        flush
        ! refused: the connection is closed
        < PONG
        ! close
        ! ended 1 the connection closed
        ! closed closed by the caller; confirmed 0..1; unknown -; kept -; dropped -",
    );
}

#[test]
fn the_end_can_be_asked_for() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let states = |rig: &Rig| (rig.connection.is_draining(), rig.connection.is_closed());
    let host = |rig: &Rig| rig.connection.server().map(|server| server.host().to_owned());
    assert_eq!((states(&rig), host(&rig)), ((false, false), Some("127.0.0.1".to_owned())));
    rig.run("drain\n! subscriptions drained");
    assert_eq!(states(&rig), (true, false));
    rig.run("close 0s\n! close\n! closed ...");
    assert!(rig.connection.is_closed());
}

#[test]
fn a_drain_during_a_close_changes_nothing() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe s
        > SUB s 1
        close 2s
        > PING
        drain
        < PONG
        ! close
        ! ended 1 the connection closed
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn no_server_is_left_for_another_during_a_close() {
    let mut config = config("127.0.0.1:1,127.0.0.1:2");
    config.leave_lame_duck = Some(Duration::from_secs(8));
    let mut rig = Rig::up(config);
    rig.run(
        "subscribe s
        > SUB s 1
        close 20s
        > PING
        reconnect
        < INFO {\"ldm\":true}
        ! lame duck
        + 8s
        < PONG
        ! close
        ! ended 1 the connection closed
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_close_lingers_no_longer_than_asked_and_reports_what_is_unknown() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a x
        > PUB a 1
        > x
        stall
        publish a never
        request q never 9s
        flush
        close 1s
        + 1s
        ! close
        ! response 1 the request was not sent: the connection closed
        ! flush failed: the connection is closed
        ! closed closed by the caller; confirmed -; unknown 0..1; kept 1..2; dropped 2..3",
    );
}

#[test]
fn a_close_while_disconnected_is_immediate_and_reports_what_is_dropped() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "eof
        ! disconnected ...
        ! connect 127.0.0.1:4222
        publish a x
        close 2s
        ! close
        ! closed closed by the caller; confirmed -; unknown -; kept 0..1; dropped -",
    );
}

#[test]
fn a_close_between_two_attempts_is_immediate() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "eof
        ! disconnected ...
        ! connect 127.0.0.1:4222
        refused
        ! failed ...
        close 2s
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -
        close 2s
        + 10s",
    );
    assert_eq!(rig.connection.next_attempt(), None);
}

#[test]
fn a_loss_during_a_close_ends_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a x
        > PUB a 1
        > x
        close 2s
        > PING
        eof
        ! closed closed by the caller; confirmed -; unknown 0..1; kept -; dropped -",
    );
}

#[test]
fn after_closed_every_command_is_refused_and_nothing_happens() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "close 0s
        ! close
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -
        publish a
        ! refused: the connection is closed
        subscribe a
        ! refused: the connection is closed
        request a x 1s
        ! refused: the request was not sent: the connection is closed
        flush
        ! refused: the connection is closed
        drain
        queues-drained
        reconnect
        connected
        eof
        + 1000s",
    );
    assert_eq!(rig.wait, midge_proto::Wait::default());
}

#[test]
fn a_drain_takes_no_longer_in_all_than_its_time_out() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "publish a x
        > PUB a 1
        > x
        drain
        ! subscriptions drained
        + 100ms
        > PING
        + 29s
        queues-drained
        > PING
        + 899ms
        + 1ms
        ! close
        ! closed drained by the caller; confirmed -; unknown 0..1; kept -; dropped -",
    );
}

#[test]
fn a_second_close_can_shorten_the_first_and_not_lengthen_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "close 10s
        > PING
        + 1s
        close 1s
        close 20s
        + 999ms
        + 1ms
        ! close
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_close_during_a_move_sends_what_the_move_held_back() {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    rig.run(
        "publish a before
        > PUB a 6
        > before
        reconnect
        > PING
        publish a held
        close 3s
        > PUB a 4
        > held
        > PING
        + 2999ms
        < PONG
        < PONG
        ! close
        ! closed closed by the caller; confirmed 0..2; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_close_while_paused_hands_nothing_over_and_sees_its_pong() {
    let mut config = config("127.0.0.1");
    config.max_message = 1;
    let mut rig = Rig::up(config);
    rig.run(
        "subscribe a
        > SUB a 1
        pause
        publish a x
        > PUB a 1
        > x
        close 2s
        > PING
        < MSG a 1 1\\r\\nx
        < MSG a 1 2\\r\\nxx
        < PONG
        ! close
        ! ended 1 the connection closed
        ! closed closed by the caller; confirmed 0..1; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_last_message_that_comes_during_a_close_still_ends_its_subscription() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        unsubscribe 1 1
        > UNSUB 1 1
        close 2s
        > PING
        < MSG a 1 1\\r\\nx
        ! ended 1 the connection closed
        < PONG
        ! close
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_drain_whose_messages_a_close_throws_away_is_not_complete() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        drain-subscription 1
        > UNSUB 1
        > PING
        close 2s
        > PING
        < MSG a 1 1\\r\\nx
        < PONG
        ! ended 1 the connection closed
        < PONG
        ! close
        ! closed closed by the caller; confirmed -; unknown -; kept -; dropped -",
    );
}
