//! Facts about `nats-server` that Midge relies on, asked of a real one byte by byte.

#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failed step fails the test"
)]

use midge_testing::{NatsServer, Peer, Version};

const CONNECT: &str = concat!(
    r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#,
    "\r\n"
);

fn server() -> NatsServer {
    configured("")
}

fn configured(config: &str) -> NatsServer {
    let server = NatsServer::builder().version(Version::V2_15);
    server.config(config).start().unwrap()
}

/// A connection that is up, with nothing left to read.
fn connected(server: &NatsServer) -> Peer {
    let mut client = Peer::connect(&server.url()).unwrap();
    client.expect("INFO ").unwrap();
    client.send(CONNECT).unwrap();
    client.send("PING\r\n").unwrap();
    client.expect("PONG").unwrap();
    client.expect("INFO ").unwrap();
    client
}

/// Sends `bytes`, and checks that the server answers `wanted` and nothing more.
fn exchange(client: &mut Peer, bytes: &str, wanted: &str) {
    client.send(bytes).unwrap();
    client.send("PING\r\n").unwrap();
    client.expect_exact(format!("{wanted}PONG\r\n")).unwrap();
}

#[test]
fn a_space_stands_between_the_json_of_an_info_and_its_crlf() {
    let server = server();
    let mut client = Peer::connect(&server.url()).unwrap();
    let line = client.read_until(|bytes| bytes.ends_with(b"\n")).unwrap();
    assert!(line.ends_with(b"} \r\n"), "{}", line.escape_ascii());
}

#[test]
fn a_second_info_follows_the_first_pong() {
    let server = server();
    let mut client = Peer::connect(&server.url()).unwrap();
    let first = client.expect("INFO ").unwrap();
    client.send(CONNECT).unwrap();
    client.send("PING\r\n").unwrap();
    client.expect("PONG").unwrap();
    let second = client.expect("INFO ").unwrap();
    assert!(!first.contains("connect_info"), "{first}");
    assert!(second.contains(r#""connect_info":true"#), "{second}");
}

#[test]
fn leading_zeros_of_a_size_reach_the_subscriber() {
    let server = server();
    let mut client = connected(&server);
    exchange(&mut client, "SUB h 1\r\nPUB h 0002\r\nhi\r\n", "MSG h 1 0002\r\nhi\r\n");
}

#[test]
fn a_header_block_is_never_validated() {
    let server = server();
    let mut client = connected(&server);
    exchange(
        &mut client,
        "SUB h 1\r\nHPUB h 4 6\r\nab:chi\r\nHPUB h 12 12\r\nNATS/2.0\r\n\r\n\r\n",
        "HMSG h 1 4 6\r\nab:chi\r\nHMSG h 1 12 12\r\nNATS/2.0\r\n\r\n\r\n",
    );
}

#[test]
fn an_empty_header_block_arrives_as_a_plain_message() {
    let server = server();
    let mut client = connected(&server);
    exchange(&mut client, "SUB h 1\r\nHPUB h 0 2\r\nhi\r\n", "MSG h 1 2\r\nhi\r\n");
}

#[test]
fn a_request_that_nobody_serves_is_answered_503_with_its_subject() {
    let server = server();
    let mut client = connected(&server);
    let block = "NATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n";
    let length = block.len();
    exchange(
        &mut client,
        "SUB inbox 1\r\nPUB nobody inbox 0\r\n\r\n",
        &format!("HMSG inbox 1 {length} {length}\r\n{block}\r\n"),
    );
}

#[test]
fn violations_of_permissions_leave_the_connection_open() {
    let server = configured(
        r#"authorization { users: [{ user: u, password: p, permissions: { publish: ok, subscribe: ok } }] }"#,
    );
    let mut client = Peer::connect(&server.url()).unwrap();
    client.expect("INFO ").unwrap();
    client
        .send(
            r#"CONNECT {"verbose":false,"pedantic":false,"protocol":1,"user":"u","pass":"p"}"#
                .to_owned()
                + "\r\nPING\r\n",
        )
        .unwrap();
    client.expect("PONG").unwrap();
    client.expect("INFO ").unwrap();
    for (bytes, error) in [
        ("SUB no 1\r\n", r#"-ERR 'Permissions Violation for Subscription to "no"'"#),
        (
            "SUB no q 2\r\n",
            r#"-ERR 'Permissions Violation for Subscription to "no" using queue "q"'"#,
        ),
        ("PUB no 0\r\n\r\n", r#"-ERR 'Permissions Violation for Publish to "no"'"#),
    ] {
        exchange(&mut client, bytes, &format!("{error}\r\n"));
    }
}

#[test]
fn a_connect_longer_than_a_control_line_is_refused() {
    let server = server();
    let mut client = Peer::connect(&server.url()).unwrap();
    client.expect("INFO ").unwrap();
    let name = "n".repeat(6000);
    client.send(format!("CONNECT {{\"name\":\"{name}\"}}\r\n")).unwrap();
    client.expect_exact("-ERR 'maximum control line exceeded'\r\n").unwrap();
    assert_eq!(client.expect_closed().unwrap(), b"");
}

#[test]
fn some_mistakes_close_the_connection_without_a_word() {
    let server = server();
    for bytes in [
        "SUB a b c d\r\n",
        "PUB a b c d\r\n",
        "PUB a 1234567890\r\n",
        "PUB a +2\r\nhi\r\n",
        "HPUB a 9 8\r\n",
        "CONNECT {\r\n",
    ] {
        let mut client = connected(&server);
        client.send(bytes).unwrap();
        let before = client.expect_closed().unwrap();
        assert_eq!(before.escape_ascii().to_string(), "", "{bytes:?}");
    }
}

#[test]
fn the_count_of_an_unsubscribe_runs_from_the_start_of_the_subscription() {
    let server = server();
    let mut client = connected(&server);
    let two = "PUB h 0\r\n\r\nPUB h 0\r\n\r\n";
    exchange(
        &mut client,
        &format!("SUB h 1\r\n{two}UNSUB 1 3\r\n{two}"),
        &"MSG h 1 0\r\n\r\n".repeat(3),
    );
}
