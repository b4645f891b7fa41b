//! Limits while messages wait to be written: an INFO that lowers them, and those of what was given up.

use std::time::Duration;

use midge_proto::{FlushError, SubjectRef, SubscribeError};

use crate::rig::{INFO, Rig, config};

/// The INFO of a server that takes so many bytes.
fn info(max_payload: usize) -> String {
    INFO.replace("1048576", &max_payload.to_string())
}

fn stalled() -> Rig {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall");
    rig
}

#[test]
fn what_waits_and_fits_no_more_is_dropped_and_said_and_the_rest_is_sent() {
    let mut rig = stalled();
    rig.run("publish a 1234\npublish a 12345\npublish a 5\nflush");
    rig.run(&format!("< {}\n! dropped 1..2", info(4)));
    rig.run(
        "unstall
        > PUB a 4
        > 1234
        > PUB a 1
        > 5
        > PING
        < PONG
        ! flushed; confirmed 0..1,2..3; unknown -; dropped 1..2
        publish a 12345
        ! refused: headers and payload have 5 bytes, the server takes 4: send less...",
    );
    assert_eq!((rig.connection.statistics().dropped, rig.connection.pending_bytes()), (1, 0));
}

#[test]
fn nothing_is_dropped_when_the_limit_stays_or_rises() {
    let mut rig = stalled();
    rig.run("publish a 12345");
    rig.run(&format!("< {}\n< {}", info(5), info(100)));
    rig.run("unstall\n> PUB a 5\n> 12345");
}

#[test]
fn a_message_that_was_begun_is_finished() {
    let mut rig = stalled();
    rig.run("publish a 12345\npublish a 12345");
    rig.take(3);
    rig.command("publish a 123456789");
    rig.command("publish a 1");
    rig.feed(format!("{}\r\n", info(4)).as_bytes());
    assert_eq!(rig.log(), ["dropped 1..3"]);
    rig.take(usize::MAX);
    rig.take(usize::MAX);
    assert_eq!(rig.sent(), b"PUB a 5\r\n12345\r\nPUB a 1\r\n1\r\n");
}

#[test]
fn what_waits_behind_one_that_was_taken_back_is_dropped_or_sent() {
    let mut rig = stalled();
    rig.run("publish a 1\nask q r\npublish a 12345\npublish a 2");
    rig.take(4);
    assert_eq!(rig.sent(), b"PUB ");
    rig.run("withdraw 1\n! withdrawn");
    rig.take(5);
    assert_eq!(rig.sent(), b"a 1\r\n");
    rig.run(&format!("< {}\n! dropped 2..3\nunstall\n> 1\n> PUB a 1\n> 2", info(4)));
}

#[test]
fn a_message_in_a_batch_is_dropped_when_it_comes_back_unsent() {
    let mut rig = stalled();
    rig.run("publish a 12345\npublish a 12345\npublish a 12345\npublish a 5");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.run(&format!("< {}", info(4)));
    let first = "PUB a 5\r\n12345\r\n".len();
    rig.connection.settle(batch, first + 1);
    assert!(
        rig.connection.take_transmit(usize::MAX).unwrap().as_slice()
            == b"UB a 5\r\n12345\r\nPUB a 1\r\n5\r\n"
    );
    rig.turn();
    assert_eq!(rig.log(), ["dropped 2..3"]);
}

#[test]
fn a_limit_that_is_back_before_the_batch_is_drops_nothing() {
    let mut rig = stalled();
    rig.run("publish a 12345");
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    rig.run(&format!("< {}\n< {}", info(4), info(100)));
    rig.connection.settle(batch, 0);
    rig.run("unstall\n> PUB a 5\n> 12345");
}

#[test]
fn a_request_that_fits_no_more_is_not_sent() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request a ? 5s
        > SUB _INBOX.x.* 1
        > PUB a _INBOX.x...
        > ?
        stall
        request a 12345 5s",
    );
    rig.run(&format!(
        "< {}
        ! response 2 ...
        ! dropped 1..2
        unstall",
        info(4)
    ));
    assert_eq!(rig.connection.requests(), 1);
}

#[test]
fn headers_that_the_server_no_longer_knows_are_not_sent() {
    let mut rig = stalled();
    rig.run("header A b\npublish a 1\nno-headers\npublish a 2");
    let without = INFO.replace("true", "false");
    rig.run(&format!("< {without}\n! dropped 0..1\nunstall\n> PUB a 1\n> 2"));
}

#[test]
fn headers_are_refused_while_the_server_knows_none() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let without = INFO.replace("true", "false");
    rig.run(&format!(
        "< {without}
        header A b
        publish a 1
        ! refused: the server does not support headers...
        < {INFO}
        publish a 2
        > HPUB a 18 19
        > NATS/1.0
        > A: b
        >
        > 2"
    ));
}

#[test]
fn a_move_keeps_apart_what_goes_to_the_old_server_and_what_to_the_next() {
    let mut rig = stalled();
    rig.run("publish a 12345\npublish a 1\nreconnect\npublish a 12345\npublish a 2");
    rig.run(&format!("< {}\n! dropped 0..1,2..3", info(4)));
    rig.run(
        "unstall
        > PUB a 1
        > 1
        > PING
        < PONG
        ! close
        ! disconnected ...
        ! connect 127.0.0.1:4222",
    );
    rig.command("connected");
    rig.feed(format!("{}\r\n", info(4)).as_bytes());
    rig.feed(b"PONG\r\n");
    rig.log();
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert!(sent.ends_with("PING\r\nPUB a 1\r\n2\r\n"), "{sent}");
}

#[test]
fn what_a_move_holds_back_is_dropped_apart_from_what_was_begun() {
    let mut rig = stalled();
    rig.run("publish a 12345\npublish a 1\nreconnect\npublish a 12345\npublish a 2");
    rig.take(4);
    rig.sent();
    rig.run(&format!("< {}\n! dropped 2..3", info(4)));
    rig.run(
        "unstall
        > a 5
        > 12345
        > PUB a 1
        > 1
        > PING
        < PONG
        ! close
        ! disconnected the caller asked for another connection; unknown -; kept 3..4; dropped -
        ! connect 127.0.0.1:4222",
    );
}

#[test]
fn flushes_that_were_given_up_count_until_the_server_has_answered() {
    let mut config = config("127.0.0.1");
    (config.max_flushes, config.confirm_interval) = (2, Duration::from_secs(3600));
    let mut rig = Rig::up(config);
    let mut pings = 0;
    // Sixteen more may wait, as of PINGs that nobody asked for.
    while let Ok(flush) = rig.connection.flush() {
        rig.connection.cancel_flush(flush);
        rig.turn();
        pings += 1;
        assert!(pings < 100, "each costs memory until it is answered");
    }
    assert_eq!(pings, 18);
    assert_eq!(rig.connection.flush(), Err(FlushError::TooMany));
    assert_eq!(rig.sent(), b"PING\r\n".repeat(18));
    rig.feed(b"PONG\r\n");
    rig.run("flush\n> PING");
    rig.feed(&b"PONG\r\n".repeat(18));
    rig.run("! flushed...");
}

#[test]
fn what_was_withdrawn_makes_room_though_nothing_can_be_written() {
    let mut config = config("127.0.0.1");
    (config.max_pending, config.reconnect_buffer) = (1000, 1000);
    config.confirm_bytes = usize::MAX;
    let mut rig = Rig::up(config);
    rig.run("stall\npublish a first");
    for number in 0..10_000 {
        let subject = SubjectRef::new("a").unwrap();
        let position = rig.connection.publish(subject, None, None, &[b'x'; 50]).unwrap();
        assert!(rig.connection.withdraw(position));
        if number % 10 == 0 {
            rig.turn();
        }
    }
    rig.run("publish a last\nunstall\n> PUB a 5\n> first\n> PUB a 4\n> last\n+ 100ms\n> PING");
    assert_eq!(rig.connection.fates().dropped.messages, 10_000);
}

#[test]
fn subscriptions_that_have_ended_count_until_that_was_polled() {
    let mut config = config("127.0.0.1");
    config.max_subscriptions = 3;
    let mut rig = Rig::new(config);
    rig.run("! connect 127.0.0.1:4222");
    let subject = SubjectRef::new("a").unwrap();
    for _ in 0..2 {
        let mut ended = 0;
        while let Ok(sid) = rig.connection.subscribe(subject, None) {
            rig.connection.unsubscribe(sid, None);
            ended += 1;
            assert!(ended < 100, "each costs memory until it is told");
        }
        assert_eq!(ended, 4);
        assert_eq!(rig.connection.subscribe(subject, None), Err(SubscribeError::TooMany));
        rig.turn();
        rig.run(&"! ended...\n".repeat(4));
    }
}

#[test]
fn the_backlog_is_what_a_driver_may_still_take_on_this_connection() {
    let frame = "PUB a 5\r\n12345\r\n".len();
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall\npublish a 12345");
    assert_eq!(rig.connection.backlog(), frame);
    let batch = rig.connection.take_transmit(10).unwrap();
    assert_eq!(rig.connection.backlog(), frame - 10, "the batch is out, what is behind it waits");
    rig.command("publish a 12345");
    assert_eq!(rig.connection.backlog(), 2 * frame - 10);
    rig.connection.settle(batch, 4);
    assert_eq!(rig.connection.backlog(), 2 * frame - 4);
    rig.command("reconnect");
    assert_eq!(rig.connection.backlog(), 0, "what comes now is for another connection");
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall\npublish a 12345\nclose 9s");
    assert_eq!(rig.connection.backlog(), 0, "nothing more is taken");
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.command("publish a 12345");
    assert_eq!(rig.connection.backlog(), 0, "there is no connection");
}
