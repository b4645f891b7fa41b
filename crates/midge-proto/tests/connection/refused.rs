//! What a publish is refused for, and when there is room again.

use midge_proto::{Position, PublishError, SubjectRef};

use crate::rig::{Rig, config};

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
fn writable_comes_neither_before_nor_long_after_half_of_the_bound_is_free() {
    let mut config = config("127.0.0.1");
    config.max_pending = 100;
    let mut rig = Rig::up(config);
    rig.run("stall");
    for _ in 0..5 {
        // 20 bytes each.
        rig.run("publish a 123456789");
    }
    rig.run("publish a\n! refused: ...");
    for (left, log) in [(80, vec![]), (60, vec![]), (40, vec!["writable".to_owned()])] {
        rig.take(20);
        rig.turn();
        assert_eq!((rig.connection.pending_bytes(), rig.log()), (left, log));
    }
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
fn a_subject_that_no_server_takes_is_refused_before_it_costs_the_connection() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let fits = "s".repeat(4096 - " 1".len());
    rig.run(&format!("publish {fits} x\n> PUB {fits} 1\n> x"));
    let long = "s".repeat(4096);
    rig.run(&format!(
        "publish {long} x
        ! refused: subject and reply subject need 4098 bytes, the server takes 4096: ...
        subscribe {long}
        ! refused: subject and queue group need 4117 bytes, the server takes 4096: ..."
    ));
}
