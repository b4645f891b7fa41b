//! The planned move from one server to another.

use crate::rig::{Rig, config};

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
fn a_planned_move_waits_for_the_pong_behind_its_unsubs_not_for_an_earlier_one() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        flush
        > PING
        reconnect
        > UNSUB 1
        > PING
        < PONG
        ! flushed
        < MSG a 1 1\\r\\nx
        ! message 1 a x
        < PONG
        > PING
        < PONG
        ! close
        ! disconnected ...
        ! connect 127.0.0.1:4222",
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
fn a_message_taken_back_behind_a_batch_leaves_the_batch_alone() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall\npublish a one\nask q r\npublish a two");
    rig.take(4);
    rig.sent();
    let batch = rig.connection.take_transmit(5).unwrap();
    rig.run("withdraw 1\n! withdrawn\nreconnect");
    rig.connection.settle(batch, 5);
    rig.run("unstall\n> one\n> PUB a 3\n> two\n> PING");
}
