//! From a server's name to the first PONG.

use std::collections::BTreeSet;
use std::time::Duration;

use midge_proto::{Config, ConfigError, Connection};

use crate::rig::{INFO, Rig, config};

#[test]
fn a_connection_is_up_with_the_pong_behind_connect_and_subs() {
    let mut rig = Rig::new(config("localhost"));
    rig.run(&format!(
        "! resolve localhost
        subscribe a.*
        subscribe b workers
        resolved 127.0.0.1
        ! connect 127.0.0.1:4222
        connected
        < {INFO}
        > CONNECT {{...
        > SUB a.* 1
        > SUB b workers 2
        > PING
        < PONG
        ! connected nats://localhost:4222; dropped -
        < INFO {{\"connect_info\":true,\"headers\":true,\"remote_account\":\"A\"}}"
    ));
    assert!(rig.connection.is_connected());
    assert_eq!(rig.connection.server_name(), "localhost");
    let info = rig.connection.server_info().expect("INFO was taken");
    assert_eq!(info.remote_account, "A", "the second INFO replaces the first");
    assert_eq!(rig.connection.statistics().connects, 1);
}

#[test]
fn every_byte_of_every_kind_is_counted() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.log();
    rig.run("connected");
    let answers = format!("{INFO}\r\nPONG\r\n");
    rig.feed(answers.as_bytes());
    rig.command("publish a x");
    let statistics = rig.connection.statistics();
    assert_eq!(statistics.in_bytes, answers.len() as u64);
    assert_eq!(statistics.out_bytes, rig.sent().len() as u64);
}

#[test]
fn every_field_of_connect_that_the_server_would_default_badly_is_sent() {
    let mut config = config("127.0.0.1");
    config.name = Some("test".into());
    config.credentials.token = Some("secret".into());
    let mut rig = Rig::new(config);
    rig.run("! connect 127.0.0.1:4222");
    rig.command("connected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    let sent = String::from_utf8(rig.sent()).unwrap();
    let json = sent.strip_prefix("CONNECT ").and_then(|rest| rest.split("\r\n").next()).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    for (field, value) in [
        ("verbose", false.into()),
        ("pedantic", false.into()),
        ("echo", true.into()),
        ("tls_required", false.into()),
        ("headers", true.into()),
        ("no_responders", true.into()),
        ("protocol", 1.into()),
        ("name", "test".into()),
        ("lang", "rust".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("auth_token", serde_json::Value::from("secret")),
    ] {
        assert_eq!(json[field], value, "{field}");
    }
    assert!(json.get("user").is_none(), "what is not set is not sent");
}

#[test]
fn credentials_in_the_url_go_before_those_of_the_configuration() {
    for (url, expected) in [
        ("nats://joe:p%40ss@127.0.0.1", r#""user":"joe","pass":"p@ss""#),
        ("nats://t0ken@127.0.0.1", r#""auth_token":"t0ken""#),
    ] {
        let mut config = config(url);
        config.credentials.user = Some("configured".into());
        let mut rig = Rig::new(config);
        rig.command("connected");
        rig.feed(format!("{INFO}\r\n").as_bytes());
        let sent = String::from_utf8(rig.sent()).unwrap();
        assert!(sent.contains(expected) && !sent.contains("configured"), "{sent}");
    }
}

#[test]
fn a_server_that_does_not_know_headers_is_not_asked_for_them() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run("! connect 127.0.0.1:4222");
    rig.command("connected");
    rig.feed(b"INFO {\"server_id\":\"old\"}\r\n");
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert!(
        sent.contains(r#""headers":false"#) && sent.contains(r#""no_responders":false"#),
        "{sent}"
    );
    rig.run(
        "< PONG
        ! connected nats://127.0.0.1:4222; dropped -
        header a b
        publish s x
        ! refused: the server does not support headers: send the message without them",
    );
}

#[test]
fn the_nonce_is_signed_by_the_driver() {
    let mut config = config("127.0.0.1");
    config.authorize = true;
    let mut rig = Rig::new(config);
    rig.run(
        "! connect 127.0.0.1:4222
        connected
        < INFO {\"nonce\":\"abc\",\"headers\":true}
        ! authorize abc",
    );
    rig.command("authorize the-jwt the-signature");
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert!(sent.contains(r#""sig":"the-signature","jwt":"the-jwt""#), "{sent}");
}

#[test]
fn a_server_may_give_up_while_credentials_are_sought() {
    for (what, cause) in [
        ("< -ERR 'Authentication Timeout'\n! close", "the server says: ..."),
        ("eof", "the server closed the connection"),
    ] {
        let mut config = config("127.0.0.1");
        config.authorize = true;
        let mut rig = Rig::new(config);
        rig.run(&format!(
            "! connect 127.0.0.1:4222
            connected
            < INFO {{\"nonce\":\"abc\",\"headers\":true}}
            ! authorize abc
            < PING
            < PONG
            {what}
            ! failed nats://127.0.0.1:4222 {cause}
            ! closed ..."
        ));
    }
}

#[test]
fn each_action_that_wants_an_answer_has_a_number_of_its_own() {
    let mut config = config("localhost");
    config.retry_first_connect = true;
    let mut rig = Rig::new(config);
    let mut attempts = BTreeSet::new();
    for _ in 0..3 {
        rig.run("! resolve localhost");
        assert!(attempts.insert(rig.attempt));
        rig.run("resolved 127.0.0.1 127.0.0.2\n! connect 127.0.0.1:4222");
        assert!(attempts.insert(rig.attempt));
        rig.run("refused\n! connect 127.0.0.2:4222");
        assert!(attempts.insert(rig.attempt));
        rig.run("refused\n! failed ...");
        let wait = rig.wait.until.unwrap().saturating_since(rig.now);
        rig.advance(wait);
    }
}

#[test]
fn something_other_than_info_first_fails_the_attempt() {
    for first in ["PING", "MSG a 1 0\\r\\n", "+OK", "HTTP/1.1 200 OK"] {
        let mut rig = Rig::new(config("127.0.0.1"));
        rig.run(&format!(
            "! connect 127.0.0.1:4222
            connected
            < {first}
            ! close
            ! failed ...
            ! closed no server left to try..."
        ));
    }
}

#[test]
fn one_timer_covers_a_whole_attempt() {
    let slow = "the attempt took longer than the connect timeout";
    let mute = "the connection was accepted, but no INFO came first: ...";
    for (steps, cause) in [
        ("", slow),
        ("resolved 127.0.0.1\n! connect 127.0.0.1:4222", slow),
        ("resolved 127.0.0.1\n! connect 127.0.0.1:4222\nconnected", mute),
    ] {
        let mut rig = Rig::new(config("localhost"));
        rig.run(&format!(
            "! resolve localhost
            {steps}
            + 4999ms
            + 1ms
            ! close
            ! failed nats://localhost:4222 {cause}
            ! closed no server left to try..."
        ));
    }
}

#[test]
fn all_addresses_of_a_name_are_tried_under_one_timer() {
    let mut rig = Rig::new(config("localhost"));
    rig.run(
        "! resolve localhost
        resolved ::1 127.0.0.1 127.0.0.2
        ! connect [::1]:4222
        refused
        ! connect 127.0.0.1:4222
        + 2499ms
        + 1ms
        ! close
        ! connect 127.0.0.2:4222
        + 2499ms
        + 1ms
        ! close
        ! failed nats://localhost:4222 the attempt took longer than the connect timeout
        ! closed no server left to try...",
    );
}

#[test]
fn an_address_that_brings_an_info_has_all_the_time_that_is_left_and_a_mute_one_its_share() {
    let mut rig = Rig::new(config("localhost"));
    rig.run(
        "! resolve localhost
        resolved 127.0.0.1 127.0.0.2
        ! connect 127.0.0.1:4222
        + 1s
        connected
        + 1499ms
        + 1ms
        ! close
        ! connect 127.0.0.2:4222
        connected
        < INFO {}
        > CONNECT ...
        > PING
        + 2499ms
        + 1ms
        ! close
        ! failed nats://localhost:4222 the attempt took longer than the connect timeout
        ! closed no server left to try...",
    );
}

#[test]
fn no_address_is_tried_when_the_time_of_the_attempt_is_over() {
    let mut config = config("localhost");
    config.retry_first_connect = true;
    Rig::new(config).run(&format!(
        "! resolve localhost
        resolved 127.0.0.1 127.0.0.2
        ! connect 127.0.0.1:4222
        connected
        < {INFO}
        > CONNECT ...
        > PING
        + 5s
        ! close
        ! failed nats://localhost:4222 the attempt took longer than the connect timeout
        + 100ms
        ! resolve localhost"
    ));
}

#[test]
fn what_is_no_fault_of_an_address_is_not_tried_at_the_next_one() {
    let mut config = config("localhost");
    config.authorize = true;
    let mut rig = Rig::new(config);
    rig.run(
        "! resolve localhost
        resolved 127.0.0.1 127.0.0.2
        ! connect 127.0.0.1:4222
        connected
        < INFO {}
        ! authorize -
        no-credentials
        ! failed nats://localhost:4222 no credentials: expired
        ! closed no server left to try...",
    );
}

#[test]
fn a_name_without_addresses_fails_the_attempt() {
    let mut rig = Rig::new(config("localhost"));
    rig.run(
        "! resolve localhost
        resolved
        ! failed nats://localhost:4222 the name could not be resolved: the name has no addresses
        ! closed no server left to try...",
    );
}

#[test]
fn without_resolving_a_name_is_dialled_as_it_is_and_an_address_as_ever() {
    let mut config = config("tls://one,tls://[::1]:2");
    config.resolve = false;
    let mut rig = Rig::new(config);
    rig.run(
        "! connect to tls://one:4222
        resolved 127.0.0.1
        connected
        < INFO {\"tls_required\":true,\"connect_urls\":[\"two:3\"]}
        ! tls one
        tls-ready
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        ! servers +tls://two:3 - ignored 0
        eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect [::1]:2
        refused
        ! failed tls://[::1]:2 ...
        + 5s
        ! connect to tls://two:3
        refused
        ! failed tls://two:3 ...
        + 5s
        ! connect to tls://one:4222",
    );
}

#[test]
fn a_name_that_is_dialled_as_it_is_has_one_try_in_the_time_of_an_attempt() {
    for (steps, cause) in [
        ("refused", "could not connect: refused"),
        ("+ 5s\n! close", "the attempt took longer than the connect timeout"),
    ] {
        let mut config = config("localhost");
        config.resolve = false;
        let mut rig = Rig::new(config);
        rig.run(&format!(
            "! connect to nats://localhost:4222
            {steps}
            ! failed nats://localhost:4222 {cause}
            ! closed no server left to try..."
        ));
    }
}

#[test]
fn a_configuration_that_cannot_be_is_refused_by_field() {
    let refused = |change: fn(&mut Config)| {
        let mut config = config("127.0.0.1");
        change(&mut config);
        Connection::new(config).unwrap_err()
    };
    assert_eq!(refused(|config| config.servers.clear()), ConfigError::NoServers);
    assert_eq!(
        refused(|config| config.inbox_prefix = "a.*".into()),
        ConfigError::InboxPrefix("a.*".into())
    );
    type Change = fn(&mut Config);
    let zero: [(&str, Change); 12] = [
        ("connect_timeout", |config| config.connect_timeout = Duration::ZERO),
        ("ping_interval", |config| config.ping_interval = Duration::ZERO),
        ("max_pings_out", |config| config.max_pings_out = 0),
        ("confirm_interval", |config| config.confirm_interval = Duration::ZERO),
        ("confirm_bytes", |config| config.confirm_bytes = 0),
        ("max_control_line", |config| config.max_control_line = 0),
        ("read_chunk", |config| config.read_chunk = 0),
        ("max_message", |config| config.max_message = 0),
        ("server_control_line", |config| config.server_control_line = 0),
        ("max_attempts", |config| config.max_attempts = Some(0)),
        ("reconnect_wait", |config| config.reconnect_wait = Duration::ZERO),
        ("max_kept_age", |config| config.max_kept_age = Some(Duration::ZERO)),
    ];
    for (field, change) in zero {
        assert_eq!(refused(change), ConfigError::Zero(field));
    }
    let large: [(&str, Change); 2] = [
        ("max_message", |config| config.max_message = usize::MAX),
        ("read_chunk", |config| config.read_chunk = usize::MAX),
    ];
    for (field, change) in large {
        assert_eq!(refused(change), ConfigError::TooLarge(field));
    }
    let waits = refused(|config| config.reconnect_wait_max = Duration::from_millis(99));
    assert_eq!(
        waits.to_string(),
        "`reconnect_wait` and `reconnect_wait_max` contradict each other: the first wait is longer \
         than the longest"
    );
}

#[test]
fn the_first_pong_counts_though_a_later_sub_still_waits() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(&format!(
        "! connect 127.0.0.1:4222
        connected
        < {INFO}
        > CONNECT ...
        > PING
        stall
        subscribe late
        < PONG
        ! connected ...
        unstall
        > SUB late 1"
    ));
}

#[test]
fn a_pong_before_the_first_ping_has_left_is_none() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run("! connect 127.0.0.1:4222\nconnected\nstall");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    let batch = rig.connection.take_transmit(20).unwrap();
    rig.run("< PONG");
    rig.connection.settle(batch, 20);
    rig.run("< PONG");
    let rest = rig.connection.take_transmit(usize::MAX).unwrap();
    let written = rest.as_slice().len();
    rig.run("< PONG\n! connected ...");
    rig.connection.settle(rest, written);
}

#[test]
fn what_info_says_of_other_servers_counts_only_once_the_server_has_accepted_us() {
    let mut rig = Rig::new(config("tls://127.0.0.1"));
    rig.run(
        "! connect 127.0.0.1:4222
        connected
        < INFO {\"tls_required\":true,\"ldm\":true,\"connect_urls\":[\"evil:1\"]}
        ! tls 127.0.0.1
        eof
        ! failed tls://127.0.0.1:4222 the server closed the connection
        ! closed no server left to try...",
    );
}

#[test]
fn an_error_that_was_received_before_the_end_of_the_transport_is_its_cause() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run("! connect 127.0.0.1:4222\nconnected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.sent();
    let text = b"-ERR 'Authorization Violation'\r\n";
    rig.connection.read_buf()[..text.len()].copy_from_slice(text);
    rig.connection.received(text.len());
    rig.run("eof\n! failed nats://127.0.0.1:4222 the server says: ...\n! closed ...");
}

#[test]
fn debug_shows_no_credentials() {
    let mut rig = Rig::new(config("nats://joe:s3cret@127.0.0.1"));
    rig.stalled = true;
    rig.run("! connect 127.0.0.1:4222\nconnected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    let mut shown = format!("{:?}", rig.connection.transmit());
    let batch = rig.connection.take_transmit(usize::MAX).unwrap();
    assert!(String::from_utf8_lossy(batch.as_slice()).contains("s3cret"));
    shown += &format!("{batch:?} {:?}", rig.connection);
    rig.connection.settle(batch, 0);
    let numbers = format!("{:?}", b"s3cret");
    for secret in ["s3cret", numbers.trim_matches(['[', ']'])] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
