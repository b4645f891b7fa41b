//! Real servers: started, disturbed, stopped.

#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failed step fails the test"
)]

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use midge_testing::{
    Cluster, NatsServer, Peer, ReloadError, ScriptError, StartError, Version, unused_port,
};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

/// A connection that is up.
fn connected(server: &NatsServer) -> Peer {
    let mut client = Peer::connect(&server.url()).unwrap();
    client.expect("INFO ").unwrap();
    client.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n").unwrap();
    client.expect("PONG").unwrap();
    client
}

fn info_field(server: &NatsServer, field: &str) -> serde_json::Value {
    let info: serde_json::Value = serde_json::from_str(&server.info().unwrap()).unwrap();
    info[field].clone()
}

/// Looks until `condition` holds, for at most 10 seconds.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn each_release_serves_and_says_its_version() {
    for version in Version::ALL {
        let server = NatsServer::builder().version(version).start().unwrap();
        let said = info_field(&server, "version");
        assert_eq!(said, server.binary().release());
        assert!(server.binary().release()[..5] == version.pinned()[..5], "{said} for {version:?}");
    }
}

#[test]
fn two_servers_run_side_by_side() {
    let (one, two) = (NatsServer::start().unwrap(), NatsServer::start().unwrap());
    assert_ne!(one.port(), two.port());
    assert_ne!(info_field(&one, "server_id"), info_field(&two, "server_id"));
}

#[test]
fn a_websocket_listener_has_a_url_and_keeps_it_over_a_restart() {
    let mut server = NatsServer::builder().websocket(true).start().unwrap();
    let url = server.ws_url().unwrap();
    Peer::connect(&url).unwrap();
    server.reload("max_payload: 1000").unwrap();
    assert_eq!(server.ws_url().as_ref(), Some(&url));
    server.restart().unwrap();
    assert_eq!(server.ws_url(), Some(url));
}

#[test]
fn a_restart_keeps_the_port_and_the_store() {
    let mut server = NatsServer::builder().jetstream(true).start().unwrap();
    let (port, pid) = (server.port(), server.pid());
    let create = r#"{"name":"S","subjects":["s"]}"#;
    let mut client = connected(&server);
    client
        .send(format!(
            "SUB inbox 1\r\nPUB $JS.API.STREAM.CREATE.S inbox {}\r\n{create}\r\n",
            create.len()
        ))
        .unwrap();
    client.read_until(|bytes| bytes.windows(10).any(|part| part == b"\"created\":")).unwrap();

    server.restart().unwrap();

    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(info_field(&server, "jetstream"), true);
    let mut client = connected(&server);
    client.send("SUB inbox 1\r\nPUB $JS.API.STREAM.INFO.S inbox 0\r\n\r\n").unwrap();
    client.read_until(|bytes| bytes.windows(10).any(|part| part == b"\"created\":")).unwrap();
}

#[test]
fn a_restart_waits_until_the_port_is_free() {
    let mut server = NatsServer::start().unwrap();
    server.kill().unwrap();
    let squatter = std::net::TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    let log = server.files().join("log");
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| server.restart());
        eventually("a start on the taken port", || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("address already in use")
        });
        drop(squatter);
        restart.join().unwrap().unwrap();
    });
    server.info().unwrap();
}

#[test]
fn a_killed_server_is_gone_and_can_be_restarted() {
    let mut server = NatsServer::start().unwrap();
    let mut client = connected(&server);
    server.kill().unwrap();
    assert!(!server.is_running().unwrap());
    client.expect_closed().unwrap();
    let refused = TcpStream::connect(("127.0.0.1", server.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(server.pause().unwrap_err().kind(), ErrorKind::NotFound);
    server.restart().unwrap();
    connected(&server);
}

#[test]
fn a_paused_server_keeps_its_connections_and_answers_nothing() {
    let server = NatsServer::start().unwrap();
    let mut client = connected(&server);
    client.expect("INFO ").unwrap();
    server.pause().unwrap();
    client.send("PING\r\n").unwrap();
    client.set_deadline(SHORT);
    let silence = client.expect("PONG").unwrap_err();
    assert!(matches!(silence, ScriptError::TooLate { .. }), "{silence}");
    server.resume().unwrap();
    client.set_deadline(LONG);
    client.expect("PONG").unwrap();
}

#[test]
fn a_reload_changes_the_running_server() {
    let mut server = NatsServer::builder().config("max_payload: 2000").start().unwrap();
    let pid = server.pid();
    assert_eq!(info_field(&server, "max_payload"), 2000);
    server.reload("max_payload: 1000").unwrap();
    assert_eq!(info_field(&server, "max_payload"), 1000);
    assert_eq!(server.pid(), pid);
}

#[test]
fn a_refused_reload_leaves_the_old_configuration() {
    let mut server = NatsServer::builder().config("max_payload: 2000").start().unwrap();
    let error = server.reload("max_payload: {").unwrap_err();
    assert!(matches!(error, ReloadError::Refused { .. }), "{error}");
    assert_eq!(info_field(&server, "max_payload"), 2000);
    server.restart().unwrap();
    assert_eq!(info_field(&server, "max_payload"), 2000);
}

#[test]
fn a_lame_duck_tells_its_clients_and_ends() {
    let mut server = NatsServer::builder()
        .config("lame_duck_grace_period: 100ms\nlame_duck_duration: 30s")
        .start()
        .unwrap();
    let mut client = connected(&server);
    client.expect("INFO ").unwrap();
    server.lame_duck().unwrap();
    let info = client.expect("INFO ").unwrap();
    assert!(info.contains(r#""ldm":true"#), "{info}");
    server.wait_for_log("lame duck", LONG).unwrap();
    client.expect_closed().unwrap();
    server.wait().unwrap();
    assert!(!server.is_running().unwrap());
}

#[test]
fn a_stopped_server_says_so_in_its_log() {
    let mut server = NatsServer::start().unwrap();
    server.wait_for_log("Server is ready", LONG).unwrap();
    server.stop().unwrap();
    assert!(!server.is_running().unwrap());
    let log = server.log().unwrap();
    assert!(log.contains("Server Exiting"), "{log}");
    server.restart().unwrap();
    let log = server.log().unwrap();
    assert!(!log.contains("Server Exiting"), "only the last run: {log}");
}

#[test]
fn a_text_that_does_not_come_is_an_error_with_the_log() {
    let server = NatsServer::start().unwrap();
    let error = server.wait_for_log("no such text", SHORT).unwrap_err();
    assert!(error.to_string().contains("Starting nats-server"), "{error}");
}

#[test]
fn a_server_that_cannot_start_fails_at_once_with_its_log() {
    let error = NatsServer::builder().config("max_payload: {").start().unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("Parse error"), "{error}");
}

#[test]
fn a_server_takes_the_port_and_the_arguments_it_is_given() {
    let port = unused_port().unwrap();
    let server =
        NatsServer::builder().port(port).arg("--server_name").arg("given").start().unwrap();
    assert_eq!(server.url(), format!("nats://127.0.0.1:{port}"));
    assert_eq!(info_field(&server, "server_name"), "given");
}

#[test]
fn the_servers_of_a_cluster_know_each_other_again_after_a_kill() {
    let mut cluster = Cluster::start(3).unwrap();
    let urls = cluster.urls();
    let listed = info_field(&cluster[0], "connect_urls");
    for url in &urls {
        let address = url.trim_start_matches("nats://");
        assert!(listed.as_array().unwrap().contains(&address.into()), "{address} in {listed}");
    }
    cluster[1].kill().unwrap();
    cluster[1].restart().unwrap();
    cluster.wait_until_joined().unwrap();
    assert_eq!(cluster.urls(), urls);
}

#[test]
fn what_a_parted_server_tells_the_others_arrives_once_it_is_joined() {
    let cluster = Cluster::builder().partable(true).start(3).unwrap();
    let subscribe = |server: usize| {
        let mut peer = Peer::connect(&cluster[server].url()).unwrap();
        peer.expect("INFO").unwrap();
        peer.send("CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB s 1\r\nPING\r\n").unwrap();
        peer.expect("PONG").unwrap();
        peer
    };
    let [mut first, mut parted, mut last] = [subscribe(0), subscribe(1), subscribe(2)];
    let publish = |peer: &mut Peer, word: &str| {
        peer.send(format!("PUB s {}\r\n{word}\r\n", word.len())).unwrap();
    };
    let hears = |peer: &mut Peer, word: &str| loop {
        match peer.expect("").unwrap() {
            line if line.starts_with("MSG s 1") || line == "before" => {}
            line => break assert_eq!(line, word),
        }
    };
    // Servers tell each other of subscriptions, and nobody else of it.
    let until_heard = |from: &mut Peer, to: &mut Peer| {
        to.set_deadline(Duration::from_millis(100));
        loop {
            publish(from, "before");
            if to.expect("MSG s 1").is_ok() {
                break to.set_deadline(Duration::from_secs(10));
            }
        }
    };
    until_heard(&mut first, &mut parted);
    until_heard(&mut first, &mut last);
    until_heard(&mut parted, &mut last);
    cluster.part(1);
    publish(&mut parted, "parted");
    publish(&mut first, "apart");
    hears(&mut last, "apart");
    cluster.join();
    hears(&mut last, "parted");
    hears(&mut parted, "apart");
}
