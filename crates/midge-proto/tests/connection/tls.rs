//! When TLS is due, with whose certificate, and what is not taken for the server's before it.

use std::time::Duration;

use midge_proto::{Credentials, DisconnectCause, TlsMode};

use crate::rig::{Rig, config, duration};

#[test]
fn tls_starts_behind_info_when_either_side_asks_for_it() {
    for (url, mode, info, expected) in [
        ("127.0.0.1", TlsMode::WhenOffered, r#"{"tls_available":true}"#, "! tls 127.0.0.1"),
        ("127.0.0.1", TlsMode::WhenOffered, r#"{"tls_required":true}"#, "! tls 127.0.0.1"),
        ("127.0.0.1", TlsMode::WhenOffered, "{}", "> CONNECT ..."),
        ("127.0.0.1", TlsMode::Never, r#"{"tls_available":true}"#, "> CONNECT ..."),
        ("tls://127.0.0.1", TlsMode::WhenOffered, r#"{"tls_available":true}"#, "! tls 127.0.0.1"),
        ("tls://127.0.0.1", TlsMode::WhenOffered, "{}", "! close"),
        ("127.0.0.1", TlsMode::Required, "{}", "! close"),
        ("127.0.0.1", TlsMode::Never, r#"{"tls_required":true}"#, "! close"),
    ] {
        let mut config = config(url);
        config.tls = mode;
        let mut rig = Rig::new(config);
        rig.run("! connect 127.0.0.1:4222");
        rig.command("connected");
        rig.feed(format!("INFO {info}\r\n").as_bytes());
        let got = match rig.sent() {
            sent if sent.is_empty() => format!("! {}", rig.log()[0]),
            sent => format!("> {}...", &String::from_utf8(sent).unwrap()[..8]),
        };
        assert_eq!(got, expected, "{url} {mode:?} {info}");
    }
}

#[test]
fn tls_and_credentials_of_an_old_attempt_are_not_those_of_the_present_one() {
    let mut config = config("127.0.0.1");
    config.retry_first_connect = true;
    config.authorize = true;
    let mut rig = Rig::new(config);
    let old = rig.attempt.unwrap();
    rig.run("! connect ...\nrefused\n! failed ...\n+ 100ms\n! connect ...\nconnected");
    rig.run("tls-ready\nauthorize jwt sig\n< INFO {\"tls_required\":true}\n! tls 127.0.0.1");
    rig.connection.tls_ready(old, rig.now);
    rig.turn();
    rig.run("authorize jwt sig\ntls-ready\n! authorize -\ntls-ready");
    rig.connection.authorize(old, Credentials::default(), rig.now);
    rig.turn();
    rig.run("authorize jwt sig\n> CONNECT ...\n> PING\nauthorize jwt sig");
}

#[test]
fn no_credentials_are_asked_for_once_the_transport_has_ended() {
    let mut config = config("tls://127.0.0.1");
    config.authorize = true;
    let mut rig = Rig::new(config);
    rig.run("! connect ...\nconnected\n< INFO {\"tls_required\":true}\n! tls 127.0.0.1");
    let attempt = rig.attempt.unwrap();
    // Both before the next poll.
    rig.connection.tls_ready(attempt, rig.now);
    rig.connection.closed(attempt, DisconnectCause::Eof, rig.now);
    rig.turn();
    rig.run("! failed ...\n! closed ...");
}

#[test]
fn plaintext_behind_info_fails_the_attempt_when_tls_is_due() {
    let mut rig = Rig::new(config("tls://127.0.0.1"));
    rig.run("! connect 127.0.0.1:4222");
    rig.command("connected");
    rig.feed(b"INFO {\"tls_required\":true}\r\nPING\r\n");
    rig.run(
        "! close
        ! failed tls://127.0.0.1:4222 plaintext behind INFO where TLS was due: it may be injected
        ! closed no server left to try...",
    );
}

#[test]
fn a_server_that_is_full_says_so_where_tls_was_due_however_it_is_cut() {
    let info = b"INFO {\"tls_required\":true}\r\n";
    let injected = "plaintext behind INFO where TLS was due: it may be injected";
    for (behind, cause) in [
        ("-ERR 'maximum connections exceeded'", "the server says: the server has no room"),
        ("-ERR 'maximum account active connections exceeded'", "the server says: the account has"),
        ("-ERR 'Connection throttling is active'", "the server says: the server has too many"),
        ("-ERR 'Authorization Violation'", injected),
        ("-ERR 'no responders requires headers support'", injected),
        ("PING", injected),
        ("-ER", injected),
        ("-EX", injected),
    ] {
        let bytes = [info, behind.as_bytes(), b"\r\n"].concat();
        // INFO and at least a byte come at once: the rest may come later.
        for cut in info.len() + 1..bytes.len() {
            let mut rig = Rig::new(config("nats://127.0.0.1"));
            rig.run("! connect 127.0.0.1:4222");
            rig.command("connected");
            rig.feed(&bytes[..cut]);
            let mut said = rig.log().join("\n");
            if said.is_empty() {
                rig.feed(&bytes[cut..]);
                said = rig.log().join("\n");
            }
            let failed = format!("failed nats://127.0.0.1:4222 {cause}");
            assert!(said.contains(&failed), "{behind:?} cut at {cut}: {said}");
            assert!(!said.contains("not worth trying"), "{said}");
        }
    }
}

#[test]
fn half_a_line_where_tls_was_due_is_an_injection_at_the_end_and_in_time() {
    for late in [false, true] {
        let mut rig = Rig::new(config("127.0.0.1"));
        rig.run("! connect 127.0.0.1:4222");
        rig.command("connected");
        rig.feed(b"INFO {\"tls_required\":true}\r\n-ERR 'maxi");
        if late {
            rig.advance(duration("5s"));
        } else {
            rig.command("eof");
        }
        let said = rig.log().join("\n");
        assert!(said.contains("plaintext behind INFO"), "{late}: {said}");
    }
}

#[test]
fn what_a_server_says_in_clear_where_tls_is_due_ends_no_attempts() {
    for error in ["Authorization Violation", "invalid client protocol"] {
        let mut config = config("tls://127.0.0.1");
        config.retry_first_connect = true;
        let mut rig = Rig::new(config);
        rig.run("! connect 127.0.0.1:4222");
        for _ in 0..5 {
            rig.run(&format!(
                "connected
                < -ERR '{error}'
                ! close
                ! failed tls://127.0.0.1:4222 the server says: ...
                + 5s
                ! connect 127.0.0.1:4222"
            ));
        }
    }
}

#[test]
fn a_session_without_tls_after_one_with_it_is_a_downgrade() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run(
        "! connect 127.0.0.1:4222
        connected
        < INFO {\"tls_required\":true}
        ! tls 127.0.0.1
        tls-ready
        > CONNECT ...
        > PING
        < PONG
        ! connected nats://127.0.0.1:4222; dropped -
        eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:4222
        connected
        < INFO {}
        ! close
        ! failed nats://127.0.0.1:4222 TLS is required, and the server does not offer it",
    );
}

#[test]
fn plaintext_in_a_read_buffer_from_before_tls_fails_the_attempt() {
    for after in ["", "tls-ready\n> CONNECT ...\n> PING"] {
        let mut rig = Rig::new(config("tls://127.0.0.1"));
        rig.run("! connect 127.0.0.1:4222\nconnected");
        let info = b"INFO {\"tls_required\":true}\r\n";
        let mut buffer = rig.connection.take_read().unwrap();
        buffer[..info.len()].copy_from_slice(info);
        rig.connection.filled(buffer, info.len());
        // A reader that is quicker than the connection.
        let mut buffer = rig.connection.take_read().unwrap();
        rig.turn();
        rig.run(&format!("! tls 127.0.0.1\n{after}"));
        buffer[..6].copy_from_slice(b"PONG\r\n");
        rig.connection.filled(buffer, 6);
        rig.turn();
        rig.run("! close\n! failed tls://127.0.0.1:4222 plaintext behind INFO...\n! closed ...");
    }
}

#[test]
fn a_read_buffer_from_before_tls_with_nothing_in_it_is_room_and_nothing_more() {
    let mut rig = Rig::new(config("tls://127.0.0.1"));
    rig.run("! connect 127.0.0.1:4222\nconnected");
    let info = b"INFO {\"tls_required\":true}\r\n";
    rig.connection.read_buf()[..info.len()].copy_from_slice(info);
    rig.connection.received(info.len());
    let buffer = rig.connection.take_read().unwrap();
    rig.turn();
    rig.run("! tls 127.0.0.1");
    rig.connection.filled(buffer, 0);
    rig.connection.received(0);
    rig.turn();
    rig.run("tls-ready\n> CONNECT ...\n> PING");
}

#[test]
fn what_an_old_attempt_read_is_no_plaintext_of_the_present_one() {
    let mut config = config("tls://127.0.0.1");
    config.retry_first_connect = true;
    config.reconnect_jitter_tls = Duration::ZERO;
    let mut rig = Rig::new(config);
    rig.run("! connect ...\nconnected");
    let buffer = rig.connection.take_read().unwrap();
    rig.run("eof\n! failed ...\n+ 100ms\n! connect ...\nconnected");
    rig.connection.filled(buffer, 9);
    rig.run("< INFO {\"tls_required\":true}\n! tls 127.0.0.1");
    rig.run("tls-ready\n> CONNECT ...\n> PING");
    let buffer = rig.connection.take_read().unwrap();
    rig.run("eof\n! failed ...\n+ 200ms\n! connect ...\nconnected");
    rig.connection.filled(buffer, 9);
    rig.turn();
    assert!(rig.wait.read);
}

#[test]
fn bytes_that_come_while_tls_is_due_fail_the_attempt() {
    let mut rig = Rig::new(config("tls://127.0.0.1"));
    rig.run("! connect ...\nconnected\n< INFO {\"tls_required\":true}\n! tls 127.0.0.1");
    rig.connection.received(1);
    rig.turn();
    rig.run("! close\n! failed tls://127.0.0.1:4222 plaintext behind INFO...\n! closed ...");
}

#[test]
fn replacing_the_pool_does_not_change_the_name_that_the_certificate_must_bear() {
    let mut rig = Rig::new(config("one"));
    rig.run(
        "! resolve one
        resolved 127.0.0.1
        ! connect 127.0.0.1:4222
        servers two
        connected
        < INFO {\"tls_required\":true,\"connect_urls\":[\"127.0.0.7:1\"]}
        ! tls one
        tls-ready
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        ! servers +nats://127.0.0.7:1 - ignored 0",
    );
}

#[test]
fn learnt_servers_bear_the_name_of_the_server_that_was_given() {
    let mut rig = Rig::new(config("tls://one"));
    rig.run(
        r#"! resolve one
        resolved 127.0.0.1
        ! connect 127.0.0.1:4222
        connected
        < INFO {"tls_required":true,"connect_urls":["two:3","10.0.0.3:3"]}
        ! tls one
        tls-ready
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        ! servers +tls://two:3,tls://10.0.0.3:3 - ignored 0"#,
    );
    rig.run(
        "eof
        ! disconnected ...
        ! resolve two
        resolved 127.0.0.2
        ! connect 127.0.0.2:3
        connected
        < INFO {\"tls_required\":true}
        ! tls one
        eof
        ! failed tls://two:3 the server closed the connection
        + 5s
        ! connect 10.0.0.3:3
        connected
        < INFO {\"tls_required\":true}
        ! tls one",
    );
}

#[test]
fn after_tls_a_websocket_without_it_is_not_even_dialled() {
    let mut rig = Rig::new(config("wss://127.0.0.1,ws://127.0.0.2"));
    rig.run(
        "! connect 127.0.0.1:443
        connected-secure
        < INFO {}
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        eof
        ! disconnected ...
        ! failed ws://127.0.0.2:80 TLS is required, and the server does not offer it
        + 5s
        ! connect 127.0.0.1:443",
    );
}
