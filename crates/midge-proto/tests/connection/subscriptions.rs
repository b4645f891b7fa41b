//! Subscriptions: announced, counted, ended.

use crate::rig::{INFO, Rig, config};

const LOST: &str = "eof
    ! disconnected the server closed the connection; unknown -; kept -; dropped -
    ! connect 127.0.0.1:4222
    connected
    < INFO {\"headers\":true}
    > CONNECT ...";

#[test]
fn messages_go_to_the_subscription_that_they_name() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a.>
        > SUB a.> 1
        subscribe b group
        > SUB b group 2
        < MSG a.x 1 2\\r\\nhi
        ! message 1 a.x hi
        < MSG b 2 reply.to 0\\r\\n
        ! message 2 b ...
        < MSG c 3 1\\r\\nx
        < MSG c not-a-number 1\\r\\nx
        < MSG c 0 1\\r\\nx",
    );
    assert_eq!(rig.connection.statistics().in_messages, 5);
    assert_eq!(rig.connection.subscriptions(), 2);
}

#[test]
fn an_ended_subscription_gets_nothing_more_and_its_number_is_not_used_again() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        unsubscribe 1
        > UNSUB 1
        ! ended 1 unsubscribed
        < MSG a 1 1\\r\\nx
        unsubscribe 1
        subscribe b
        > SUB b 16777217
        < MSG a 1 1\\r\\nx
        < MSG b 16777217 1\\r\\ny
        ! message 16777217 b y",
    );
}

#[test]
fn a_subscription_is_announced_again_on_the_next_connection() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(&format!(
        "subscribe a
        > SUB a 1
        subscribe b group
        > SUB b group 2
        unsubscribe 1
        > UNSUB 1
        ! ended 1 unsubscribed
        {LOST}
        > SUB b group 2
        > PING"
    ));
}

#[test]
fn the_remaining_count_of_an_auto_unsubscribe_is_announced_not_the_original_one() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(&format!(
        "subscribe a
        > SUB a 1
        unsubscribe 1 5
        > UNSUB 1 5
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        {LOST}
        > SUB a 1
        > UNSUB 1 3
        > PING
        < PONG
        ! connected ...
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        unsubscribe 1 4
        > UNSUB 1 2
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        ! ended 1 the maximum number of messages came
        < MSG a 1 0\\r\\n"
    ));
}

#[test]
fn a_maximum_that_is_reached_already_ends_at_once() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        unsubscribe 1 1
        > UNSUB 1
        ! ended 1 the maximum number of messages came",
    );
}

#[test]
fn a_drain_ends_with_the_pong_behind_its_unsub() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        subscribe b
        > SUB b 2
        drain-subscription 1
        > UNSUB 1
        > PING
        < MSG a 1 2\\r\\nin
        ! message 1 a in
        drain-subscription 1
        < PONG
        ! ended 1 drained
        < MSG a 1 2\\r\\nno
        < MSG b 2 3\\r\\nyes
        ! message 2 b yes",
    );
}

#[test]
fn the_pong_of_an_earlier_ping_does_not_end_a_drain() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        flush
        > PING
        drain-subscription 1
        > UNSUB 1
        > PING
        < PONG
        ! flushed
        < MSG a 1 2\\r\\nin
        ! message 1 a in
        < PONG
        ! ended 1 drained",
    );
}

#[test]
fn a_drain_that_loses_its_connection_is_over_and_not_complete() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        drain-subscription 1
        > UNSUB 1
        > PING
        eof
        ! ended 1 the connection was lost before the drain was complete
        ! disconnected ...
        ! connect 127.0.0.1:4222
        subscribe b
        drain-subscription 16777217
        ! ended 16777217 drained",
    );
}

#[test]
fn a_subscription_made_during_the_handshake_is_announced() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(&format!(
        "! connect 127.0.0.1:4222
        connected
        < {INFO}
        > CONNECT ...
        > PING
        subscribe late
        > SUB late 1
        unsubscribe 1
        > UNSUB 1
        ! ended 1 unsubscribed
        < PONG
        ! connected ..."
    ));
}

#[test]
fn a_denied_subscription_ends_by_subject_and_queue_and_the_event_is_told_besides() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        subscribe a q
        > SUB a q 2
        subscribe a other
        > SUB a other 3
        < -ERR 'Permissions Violation for Subscription to \"a\" using queue \"q\"'
        ! ended 2 ...
        ! server error...
        < -ERR 'Permissions Violation for Subscription to \"a\"'
        ! ended 1 ...
        ! server error...
        < -ERR 'Permissions Violation for Subscription to \"a\" using queue \"other\" (sid \"3\")'
        ! ended 3 ...
        ! server error...
        < -ERR 'Permissions Violation for Subscription to \"unknown\"'
        ! server error...",
    );
    assert_eq!(rig.connection.subscriptions(), 0);
}

#[test]
fn a_subscription_that_is_denied_during_the_handshake_ends_alone() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(&format!(
        "! connect 127.0.0.1:4222
        subscribe a
        subscribe b
        connected
        < {INFO}
        > CONNECT ...
        > SUB a 1
        > SUB b 2
        > PING
        < -ERR 'Permissions Violation for Subscription to \"a\"'
        ! ended 1 ...
        ! server error...
        < PONG
        ! connected nats://127.0.0.1:4222; dropped -"
    ));
}

#[test]
fn subscriptions_and_waiting_control_operations_are_bounded() {
    let mut few = config("127.0.0.1");
    few.max_subscriptions = 1;
    Rig::up(few).run(
        "subscribe a
        > SUB a 1
        subscribe b
        ! refused: there are as many subscriptions as max_subscriptions allows
        unsubscribe 1
        > UNSUB 1
        ! ended 1 unsubscribed
        subscribe b
        > SUB b 16777217",
    );
    let mut small = config("127.0.0.1");
    small.control_reserve = 8;
    let mut rig = Rig::up(small);
    rig.run(
        "stall
        subscribe a
        subscribe b
        ! refused: too many control operations wait to be written: flush, then try again",
    );
}

#[test]
fn the_line_of_a_subscription_may_be_as_long_as_the_server_takes_and_no_longer() {
    let mut config = config("127.0.0.1");
    // Two blanks, one more with a queue group, and a number of 19 digits.
    config.server_control_line = 40;
    let mut rig = Rig::up(config);
    rig.run(
        "subscribe s234567890123456789
        > SUB s234567890123456789 1
        subscribe s2345678901234567890
        ! refused: subject and queue group need 41 bytes...
        subscribe s234567890 q2345678
        > SUB s234567890 q2345678 2
        subscribe s234567890 q23456789
        ! refused: subject and queue group need 41 bytes...",
    );
}

#[test]
fn control_operations_that_were_written_take_no_room() {
    let mut config = config("127.0.0.1");
    config.control_reserve = 0;
    let mut rig = Rig::up(config);
    for _ in 0..5 {
        rig.run("< PING\n> PONG\nflush\n> PING\n< PONG\n! flushed");
        rig.command("subscribe a");
        let sent = String::from_utf8(rig.sent()).unwrap();
        assert!(sent.starts_with("SUB a "), "{sent} {:?}", rig.log());
    }
}

#[test]
fn unsubs_wait_in_the_table_while_nothing_can_be_written() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    for _ in 0..1000 {
        rig.run("subscribe a");
    }
    rig.stalled = false;
    rig.turn();
    rig.sent();
    rig.stalled = true;
    for sid in 1..=1000 {
        rig.run(&format!("unsubscribe {sid}\n! ended {sid} unsubscribed"));
    }
    rig.stalled = false;
    rig.turn();
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert_eq!(sent.matches("UNSUB ").count(), 1000);
}

#[test]
fn names_of_any_length_are_announced_whole_again() {
    // Around the length up to which a name has no memory of its own: 22 bytes, a blank among them
    // where there is a queue group.
    for subject in (1..50).map(|length| "s".repeat(length)) {
        let mut rig = Rig::up(config("127.0.0.1"));
        let queues = [1, 2, 21, 22, 40].map(|length| "q".repeat(length));
        rig.run(&format!("subscribe {subject}\n> SUB {subject} 1"));
        for (queue, sid) in queues.iter().zip(2..) {
            rig.run(&format!("subscribe {subject} {queue}\n> SUB {subject} {queue} {sid}"));
        }
        let all =
            queues.iter().zip(2..).map(|(queue, sid)| format!("> SUB {subject} {queue} {sid}"));
        let all = all.collect::<Vec<_>>().join("\n");
        rig.run(&format!("{LOST}\n> SUB {subject} 1\n{all}\n> PING"));
    }
}

#[test]
fn many_subscriptions_are_announced_in_pieces() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run("! connect 127.0.0.1:4222");
    for index in 0..20_000 {
        rig.command(&format!("subscribe some.subject.{index}"));
    }
    rig.command("connected");
    rig.stalled = true;
    rig.feed(format!("{INFO}\r\n").as_bytes());
    let mut largest = 0;
    let mut sent = Vec::new();
    loop {
        use bytes::Buf;
        let out = rig.connection.transmit();
        let count = out.remaining();
        if count == 0 {
            break;
        }
        largest = largest.max(count);
        sent.extend_from_slice(out.chunk());
        out.advance(count);
    }
    assert!(largest < 70_000, "{largest}");
    let sent = String::from_utf8(sent).unwrap();
    assert_eq!(sent.matches("SUB some").count(), 20_000);
    assert!(sent.ends_with("PING\r\n") && sent.matches("PING").count() == 1);
}

#[test]
fn a_drain_during_a_handshake_that_fails_is_over() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(&format!(
        "subscribe a
        > SUB a 1
        {LOST}
        > SUB a 1
        > PING
        drain-subscription 1
        > UNSUB 1
        eof
        ! ended 1 the connection was lost before the drain was complete
        ! failed ...
        + 100ms
        ! connect 127.0.0.1:4222
        connected
        < {INFO}
        > CONNECT ...
        > PING"
    ));
}

#[test]
fn a_maximum_is_lowered_and_never_raised() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        unsubscribe 1 3
        > UNSUB 1 3
        unsubscribe 1 2
        > UNSUB 1 2
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        unsubscribe 1 5
        < MSG a 1 0\\r\\n
        ! message 1 a ...
        ! ended 1 the maximum number of messages came",
    );
}

#[test]
fn a_maximum_does_not_undo_a_drain() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        stall
        drain-subscription 1
        unsubscribe 1 5
        unstall
        > UNSUB 1
        > PING
        < PONG
        ! ended 1 drained",
    );
}

#[test]
fn a_refusal_that_names_an_ended_subscription_is_not_for_another_with_its_subject() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        unsubscribe 1
        > UNSUB 1
        ! ended 1 unsubscribed
        subscribe a
        > SUB a 16777217
        < -ERR 'Permissions Violation for Subscription to \"a\" (sid \"1\")'
        ! server error...
        < MSG a 16777217 1\\r\\nx
        ! message 16777217 a x",
    );
}

#[test]
fn a_subject_of_too_many_tokens_ends_its_subscription_in_a_queue_group_too() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a.b.c workers
        > SUB a.b.c workers 1
        < -ERR 'Permissions Violation for Subscription to \"a.b.c\", too many tokens'
        ! ended 1 ...
        ! server error...",
    );
}

#[test]
fn subscriptions_during_a_handshake_that_stands_still_are_bounded() {
    for subject in ["some.subject", "some.subjects", "some"] {
        let mut config = config("127.0.0.1");
        config.control_reserve = 1000;
        let mut rig = Rig::new(config);
        rig.run("! connect 127.0.0.1:4222\nconnected");
        rig.feed(format!("{INFO}\r\n").as_bytes());
        rig.sent();
        rig.stalled = true;
        let mut refused = Vec::new();
        while refused.is_empty() {
            assert!(rig.connection.subscriptions() < 10_000);
            rig.command(&format!("subscribe {subject}"));
            refused = rig.log();
        }
        assert!(refused[0].contains("too many control operations"), "{refused:?}");
    }
}

#[test]
fn an_unsub_stands_before_what_is_asked_for_behind_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1
        subscribe b
        > SUB b 2
        stall
        unsubscribe 1
        ! ended 1 unsubscribed
        subscribe c
        drain-subscription 2
        publish a x
        flush
        unstall
        > UNSUB 1
        > SUB c 16777217
        > UNSUB 2
        > PUB a 1
        > x
        > PING
        < PONG
        ! flushed
        ! ended 2 drained",
    );
}

#[test]
fn an_unsub_of_a_handshake_stands_before_what_waits_for_the_connection() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(&format!(
        "subscribe a
        > SUB a 1
        subscribe b
        > SUB b 2
        {LOST}
        > SUB a 1
        > SUB b 2
        > PING
        stall
        unsubscribe 1
        ! ended 1 unsubscribed
        subscribe c
        publish a x
        drain-subscription 2
        unstall
        > UNSUB 1
        > SUB c 16777217
        > UNSUB 2
        < PONG
        > PUB a 1
        > x
        > PING
        ! connected ...
        < PONG
        ! ended 2 drained"
    ));
}

#[test]
fn an_unsub_that_waits_is_replaced_and_one_of_a_former_subscription_stays() {
    let mut config = config("127.0.0.1");
    config.control_reserve = 0;
    let mut rig = Rig::up(config);
    rig.run(
        "subscribe a
        > SUB a 1
        stall
        flush
        unsubscribe 1 7
        unsubscribe 1 5
        unsubscribe 1
        ! ended 1 unsubscribed
        unstall
        > PING
        > UNSUB 1
        < PONG
        ! flushed
        subscribe b
        > SUB b 16777217
        stall
        flush
        unsubscribe 16777217 9
        unsubscribe 16777217 4
        unstall
        > PING
        > UNSUB 16777217 4
        unsubscribe 16777217 3
        > UNSUB 16777217 3",
    );
}

#[test]
fn a_maximum_does_not_take_the_place_of_the_unsub_of_a_move() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "subscribe a
        > SUB a 1",
    );
    rig.stalled = true;
    rig.run(
        "reconnect
        unsubscribe 1 5",
    );
    rig.stalled = false;
    rig.turn();
    rig.run(
        "> UNSUB 1
        > PING",
    );
}

#[test]
fn an_unsub_that_still_waits_is_replaced_when_others_have_gone_before() {
    let mut config = config("127.0.0.1");
    config.control_reserve = 8;
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1\nsubscribe b\n> SUB b 2\nstall");
    rig.run("unsubscribe 1 7\nunsubscribe 2 7\ntake 0\nunsubscribe 2 5");
    rig.run("unstall\n> UNSUB 1 7\n> UNSUB 2 5");
}
