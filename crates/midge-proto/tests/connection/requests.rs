//! Requests over one inbox.

use std::time::Duration;

use midge_proto::{RequestError, SubjectRef};

use crate::rig::{INFO, Rig, config};

#[test]
fn all_requests_share_one_inbox_and_each_reply_finds_its_own() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request a one 9s
        > SUB _INBOX.x.* 1
        > PUB a _INBOX.x.1 3
        > one
        request b two 9s
        > PUB b _INBOX.x.2 3
        > two
        < MSG _INBOX.x.2 1 3\\r\\nfor
        ! response 2 ok for
        < MSG _INBOX.x.1 1 3\\r\\nfst
        ! response 1 ok fst
        < MSG _INBOX.x.1 1 6\\r\\nsecond
        < MSG _INBOX.x.99 1 4\\r\\nnone
        < MSG _INBOX.x.18446744073709551617 1 4\\r\\nhuge
        < MSG _INBOX.x. 1 0\\r\\n",
    );
    assert_eq!(rig.connection.requests(), 0);
}

#[test]
fn inboxes_begin_with_the_prefix_and_are_never_the_same() {
    let mut config = config("127.0.0.1");
    config.inbox_prefix = "mine".into();
    let mut rig = Rig::up(config);
    let (one, other) = (rig.connection.new_inbox(), rig.connection.new_inbox());
    assert!(one.starts_with("mine.") && one.len() == "mine.".len() + 22, "{one}");
    assert_ne!(one, other);
}

#[test]
fn a_reply_to_what_is_no_number_finds_no_request() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("request a x 9s\n> SUB _INBOX.x.* 1\n> PUB a _INBOX.x.1 1\n> x");
    for _ in 2..20 {
        rig.command("request a x 9s");
    }
    rig.sent();
    for token in [":", "0:", "/", "+1", "1a", "00000000000000000001"] {
        rig.run(&format!("< MSG _INBOX.x.{token} 1 1\\r\\nx"));
    }
    assert_eq!(rig.connection.requests(), 19);
}

#[test]
fn a_place_that_is_used_again_does_not_take_a_late_reply() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request a one 1s
        > SUB _INBOX.x.* 1
        > PUB a _INBOX.x.1 3
        > one
        + 1s
        > PING
        ! response 1 no reply came in time; the request was sent and may have been carried out
        request a two 1s
        > PUB a _INBOX.x.16777217 3
        > two
        < MSG _INBOX.x.1 1 4\\r\\nlate
        < MSG _INBOX.x.16777217 1 5\\r\\nright
        ! response 1 ok right",
    );
}

#[test]
fn no_responders_is_an_answer_of_its_own() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request nobody x 9s
        > SUB _INBOX.x.* 1
        > PUB nobody _INBOX.x.1 1
        > x
        < HMSG _INBOX.x.1 1 16 16\\r\\nNATS/1.0 503\\r\\n\\r\\n
        ! response 1 no responders: nobody subscribes to the subject",
    );
}

#[test]
fn a_503_with_a_payload_is_a_reply() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request a x 9s
        > SUB _INBOX.x.* 1
        > PUB a _INBOX.x.1 1
        > x
        < HMSG _INBOX.x.1 1 16 20\\r\\nNATS/1.0 503\\r\\n\\r\\nbusy
        ! response 1 ok busy",
    );
}

#[test]
fn a_deadline_that_passes_before_a_byte_left_means_never_sent() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "stall
        publish a x
        request q y 1s
        + 1s
        ! response 1 the request was not sent: its deadline passed while it waited to be written",
    );
    rig.command("unstall");
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert!(sent.starts_with("PUB a 1\r\nx\r\nSUB ") && !sent.contains("PUB q"), "{sent}");
}

#[test]
fn a_request_on_a_lost_connection_is_unknown_or_not_sent() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request q sent 9s
        > SUB _INBOX.x.* 1
        > PUB q _INBOX.x.1 4
        > sent
        stall
        request q waits 9s
        publish a kept
        eof
        ! response 1 the connection was lost; the request may or may not have been carried out
        ! response 2 the request was not sent: the connection was lost
        ! disconnected the server closed the connection; unknown 0..1; kept 2..3; dropped 1..2
        ! connect 127.0.0.1:4222
        unstall",
    );
    rig.run(&format!(
        "connected
        < {INFO}
        > CONNECT ...
        > SUB _INBOX.x.* 1
        > PING
        < PONG
        > PUB a 4
        > kept
        ! connected nats://127.0.0.1:4222 again; dropped -"
    ));
}

#[test]
fn a_cancelled_request_ends_without_a_word() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request q x 1s
        > SUB _INBOX.x.* 1
        > PUB q _INBOX.x.1 1
        > x
        cancel 1
        < MSG _INBOX.x.1 1 4\\r\\nlate
        cancel 1",
    );
    assert_eq!(rig.connection.requests(), 0);
}

#[test]
fn a_denied_subject_ends_the_request_to_it_at_once() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "request other x 9s
        > SUB _INBOX.x.* 1
        > PUB other _INBOX.x.1 1
        > x
        request secret x 9s
        > PUB secret _INBOX.x.2 1
        > x
        < -ERR 'Permissions Violation for Publish to \"secret\"'
        ! response 2 not permitted...
        ! server error...",
    );
    assert_eq!(rig.connection.requests(), 1);
}

#[test]
fn a_denied_subject_ends_no_request_to_another() {
    for (other, denied) in [("a", "c"), ("a", "e"), ("ab", "ba"), ("abc", "bc")] {
        let mut rig = Rig::up(config("127.0.0.1"));
        rig.command(&format!("request {other} x 9s"));
        rig.command(&format!("request {denied} x 9s"));
        rig.sent();
        rig.run(&format!(
            "< -ERR 'Permissions Violation for Publish to \"{denied}\"'
            ! response 2 not permitted...
            ! server error..."
        ));
    }
}

#[test]
fn a_denied_inbox_ends_all_requests_and_the_next_one_asks_anew() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.command("request q x 9s");
    let sent = String::from_utf8(rig.sent()).unwrap();
    let inbox = sent.split(' ').nth(1).unwrap();
    rig.feed(
        format!("-ERR 'Permissions Violation for Subscription to \"{inbox}\"'\r\n").as_bytes(),
    );
    rig.run(
        "! response 1 not permitted...
        ! server error...
        request q y 9s
        > SUB ...
        > PUB q ...
        > y",
    );
}

#[test]
fn an_inbox_that_may_be_one_subscription_too_many_ends_and_the_next_request_asks_anew() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run(
        "flush
        > PING
        request q x 9s
        > SUB _INBOX.x.* 1
        > PUB q _INBOX.x.1 1
        > x
        < PONG
        ! flushed
        < -ERR 'maximum subscriptions exceeded'
        > UNSUB 1
        ! response 1 not permitted...
        ! server error...
        request q y 9s
        > SUB _INBOX.x.* 16777217
        > PUB ...
        > y
        flush
        > PING
        < PONG
        ! flushed
        < -ERR 'maximum subscriptions exceeded'
        ! server error...",
    );
    assert_eq!(rig.connection.requests(), 1, "the server answered behind the inbox: it is another");
}

#[test]
fn an_inbox_that_is_too_many_for_the_next_server_is_asked_for_again() {
    let mut config = config("127.0.0.1");
    config.keep_requests = true;
    for (refused, dead) in [(1, false), (2, true)] {
        let mut rig = Rig::up(config.clone());
        rig.run(
            "subscribe a
            > SUB a 1
            request q x 60s
            > SUB _INBOX.x.* 2
            > PUB q _INBOX.x.1 1
            > x
            subscribe b
            > SUB b 3
            eof
            ! disconnected ...
            ! connect 127.0.0.1:4222
            connected",
        );
        rig.run(&format!("< {INFO}\n> CONNECT ...\n> SUB a 1\n> SUB _INBOX...\n> SUB b 3\n> PING"));
        for _ in 0..refused {
            rig.run("< -ERR 'maximum subscriptions exceeded'\n! server error...");
        }
        if dead {
            rig.run("< PONG\n> UNSUB 2\n> SUB _INBOX.x.* 16777218\n! connected ...");
            rig.run(
                "< -ERR 'maximum subscriptions exceeded'
                > UNSUB 16777218
                ! response 1 not permitted...
                ! server error...",
            );
        } else {
            rig.run("< PONG\n! connected ...\n< MSG _INBOX.x.1 2 2\\r\\nok\n! response 1 ok ok");
        }
    }
}

#[test]
fn requests_are_bounded_in_number() {
    let mut config = config("127.0.0.1");
    config.max_requests = 2;
    let mut rig = Rig::up(config);
    let subject = SubjectRef::new("q").unwrap();
    let deadline = rig.now + Duration::from_secs(1);
    let first = rig.connection.request(subject, None, b"", deadline).unwrap();
    rig.connection.request(subject, None, b"", deadline).unwrap();
    assert_eq!(rig.connection.request(subject, None, b"", deadline), Err(RequestError::TooMany));
    rig.connection.cancel(first);
    assert!(rig.connection.request(subject, None, b"", deadline).is_ok());
}

#[test]
fn a_hundred_thousand_timed_out_requests_leave_nothing_behind() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let subject = SubjectRef::new("q").unwrap();
    for _ in 0..100 {
        let deadline = rig.now + Duration::from_millis(1);
        for _ in 0..1000 {
            rig.connection.request(subject, None, b"x", deadline).unwrap();
        }
        rig.advance(Duration::from_millis(1));
        assert_eq!(rig.log().len(), 1000);
        assert_eq!(rig.connection.requests(), 0);
        rig.sent();
    }
    let id = rig.connection.request(subject, None, b"x", rig.now + Duration::from_secs(1)).unwrap();
    assert!(id.index() < 1000, "places are used again");
}

#[test]
fn requests_that_wait_behind_a_denied_inbox_are_not_sent() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("request q x 9s\n> SUB _INBOX.x.* 1\n> PUB q _INBOX.x.1 1\n> x\nstall");
    rig.run(
        "request q late 9s
        < -ERR 'Permissions Violation for Subscription to \"_INBOX.x.*\"'
        ! response 1 not permitted...
        ! response 2 not permitted...
        ! server error...
        unstall",
    );
    assert_eq!(rig.connection.statistics().dropped, 1);
}

#[test]
fn a_request_behind_the_end_of_a_batch_can_be_taken_back() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("request q first 9s\n> SUB _INBOX.x.* 1\n> PUB q _INBOX.x.1 5\n> first\nstall");
    rig.run("publish a one\nrequest q y 1s\npublish a two");
    let batch = rig.connection.take_transmit(4).unwrap();
    assert_eq!(batch.as_slice(), b"PUB ");
    rig.run("+ 1s\n! response 2 the request was not sent: its deadline passed...");
    rig.connection.settle(batch, 4);
    rig.stalled = false;
    rig.turn();
    rig.run("> a 3\n> one\n> PUB a 3\n> two\n> PING");
}

#[test]
fn a_request_behind_the_end_of_a_later_batch_can_be_taken_back() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("request q first 9s\n> SUB _INBOX.x.* 1\n> PUB q _INBOX.x.1 5\n> first\nstall");
    rig.run("publish a one\nrequest q y 1s\npublish a two");
    rig.take(8);
    assert_eq!(rig.sent(), b"PUB a 3\r");
    let batch = rig.connection.take_transmit(6).unwrap();
    assert_eq!(batch.as_slice(), b"\none\r\n");
    rig.run("+ 1s\n! response 2 the request was not sent: its deadline passed...");
    rig.connection.settle(batch, 6);
    rig.stalled = false;
    rig.turn();
    rig.run("> PUB a 3\n> two\n> PING");
}

#[test]
fn a_request_taken_back_in_a_batch_is_not_sent_unless_it_was_begun() {
    for (written, rest) in [(0, ""), (1, "> UB q _INBOX.x.2 1\n> y\n")] {
        let mut rig = Rig::up(config("127.0.0.1"));
        rig.run("request q first 9s\n> SUB _INBOX.x.* 1\n> PUB q _INBOX.x.1 5\n> first\nstall");
        rig.run("request q y 1s\npublish a two");
        let batch = rig.connection.take_transmit(usize::MAX).unwrap();
        rig.run("cancel 2");
        rig.connection.settle(batch, written);
        rig.stalled = false;
        rig.turn();
        rig.run(&format!("{rest}> PUB a 3\n> two"));
        assert_eq!(rig.connection.statistics().dropped, u64::from(written == 0));
        assert_eq!(rig.connection.pending_bytes(), 0);
    }
}

#[test]
fn a_request_that_has_ended_but_was_not_polled_can_still_be_cancelled() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.command("request a x 9s");
    rig.sent();
    let subject = SubjectRef::new("a").unwrap();
    let deadline = rig.now + Duration::from_secs(9);
    let id = rig.connection.request(subject, None, b"y", deadline).unwrap();
    let attempt = rig.attempt.unwrap();
    rig.connection.closed(attempt, midge_proto::DisconnectCause::Eof, rig.now);
    // The first event of the loss is polled, the one of `id` is not.
    assert!(matches!(rig.connection.poll(rig.now), midge_proto::Output::Event(_)));
    rig.connection.cancel(id);
    rig.turn();
    let log = rig.log();
    assert!(!log.iter().any(|line| line.starts_with("response")), "{log:?}");
}

#[test]
fn kept_requests_outlive_a_loss_those_sent_and_those_not() {
    let mut config = config("127.0.0.1");
    config.keep_requests = true;
    let mut rig = Rig::up(config);
    rig.run(
        "request a sent 9s
        > SUB _INBOX.x.* 1
        > PUB a _INBOX.x.1 4
        > sent
        stall
        request b unsent 9s
        request c timed 1s
        eof
        ! disconnected the server closed the connection; unknown 0..1; kept 1..3; dropped -
        ! connect 127.0.0.1:4222
        unstall
        connected
        + 1s
        ! response 3 the request was not sent: its deadline passed while it waited to be written",
    );
    rig.run(&format!(
        "< {INFO}
        > CONNECT ...
        > SUB _INBOX.x.* 1
        > PING
        < PONG
        > PUB b _INBOX.x.2 6
        > unsent
        ! connected ..."
    ));
    rig.run(
        "< MSG _INBOX.x.1 1 4\\r\\nlate
        ! response 1 ok late
        < MSG _INBOX.x.2 1 3\\r\\nnew
        ! response 2 ok new",
    );
    assert_eq!(rig.connection.requests(), 0);
}

#[test]
fn kept_requests_that_find_no_room_end_with_the_loss() {
    let mut config = config("127.0.0.1");
    config.keep_requests = true;
    config.reconnect_buffer = 60;
    let mut rig = Rig::up(config);
    rig.run(
        "stall
        request a x 9s
        request b y 9s
        eof
        ! response 2 the request was not sent: the connection was lost
        ! disconnected the server closed the connection; unknown -; kept 0..1; dropped 1..2
        ! connect 127.0.0.1:4222",
    );
}
