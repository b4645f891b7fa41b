//! TLS between a driver and a server of rustls.

use std::io::{Read, Write};

use midge::rustls::{self, ServerConnection};
use midge::{Client, ConnectOptions, Connecting, DisconnectCause, OptionsError, Pem, Tls, TlsMode};

use crate::certificates::Authority;
use crate::rig::{INFO, Rig, failure, lost, ready, refused};

/// The server's side of the transport.
struct Server {
    connection: ServerConnection,
    heard: Vec<u8>,
}

impl Server {
    fn new(connection: ServerConnection) -> Self {
        Self { connection, heard: Vec::new() }
    }

    /// Moves bytes until both sides are at rest.
    fn exchange(&mut self, rig: &mut Rig) -> Result<(), rustls::Error> {
        loop {
            rig.run();
            let sent = rig.take_sent();
            let mut rest = &sent[..];
            while !rest.is_empty() {
                self.connection.read_tls(&mut rest).unwrap();
                self.connection.process_new_packets()?;
                let _ = self.connection.reader().read_to_end(&mut self.heard);
            }
            if !self.connection.wants_write() {
                return Ok(());
            }
            let mut bytes = Vec::new();
            while self.connection.wants_write() {
                self.connection.write_tls(&mut bytes).unwrap();
            }
            rig.feed(&bytes);
        }
    }

    fn say(&mut self, rig: &mut Rig, text: impl AsRef<[u8]>) {
        let mut rest = text.as_ref();
        while !rest.is_empty() {
            let count = self.connection.writer().write(rest).unwrap();
            rest = &rest[count..];
            self.exchange(rig).unwrap();
        }
    }

    fn heard(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.heard)).unwrap()
    }
}

fn options(url: &str, authority: &Authority) -> ConnectOptions {
    ConnectOptions::new(url).tls(Tls::new().root_certificates(authority.pem()))
}

fn info() -> String {
    format!("{}\r\n", INFO.replace("{", r#"{"tls_required":true,"#))
}

/// A client that was upgraded behind INFO, with reads of at most `read` bytes.
fn upgraded(read: usize) -> (Client, Rig, Server) {
    let authority = Authority::new();
    let (connecting, mut rig) = Rig::new(options("localhost", &authority));
    rig.read = read;
    rig.feed_after_dial(info().as_bytes());
    let mut server = Server::new(authority.server("localhost"));
    let client = greet(connecting, &mut rig, &mut server);
    (client, rig, server)
}

/// The server's part from CONNECT on.
fn greet(connecting: Connecting, rig: &mut Rig, server: &mut Server) -> Client {
    server.exchange(rig).unwrap();
    let heard = server.heard();
    assert!(heard.starts_with("CONNECT {") && heard.ends_with("PING\r\n"), "{heard}");
    assert!(heard.contains(r#""tls_required":true"#), "{heard}");
    server.say(rig, "PONG\r\n");
    ready(connecting).unwrap()
}

impl Rig {
    /// Dials, then delivers `bytes`.
    fn feed_after_dial(&mut self, bytes: &[u8]) {
        self.run();
        self.feed(bytes);
    }
}

#[test]
fn messages_pass_both_ways_however_the_bytes_are_cut() {
    for read in [1, 7, 1000, 17_000, usize::MAX] {
        let (client, mut rig, mut server) = upgraded(read);
        let mut subscription = ready(client.subscribe("a")).unwrap();
        let big = "x".repeat(if read < 10 { 20_000 } else { 200_000 });
        ready(client.publish("b", &big)).unwrap();
        server.exchange(&mut rig).unwrap();
        assert!(server.heard() == format!("SUB a 1\r\nPUB b {}\r\n{big}\r\n", big.len()));
        server.say(&mut rig, format!("MSG a 1 2\r\nhi\r\nMSG a 1 {}\r\n{big}\r\n", big.len()));
        assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
        assert!(ready(subscription.next()).unwrap().payload() == big.as_bytes());
    }
}

#[test]
fn a_record_that_is_larger_than_the_room_for_it_is_read_in_pieces() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    let mut subscription = ready(client.subscribe("a")).unwrap();
    server.exchange(&mut rig).unwrap();
    let mut bytes = Vec::new();
    for number in 0..50_u8 {
        let payload = [number; 10_000];
        server.connection.writer().write_all(b"MSG a 1 10000\r\n").unwrap();
        server.connection.writer().write_all(&payload).unwrap();
        server.connection.writer().write_all(b"\r\n").unwrap();
        while server.connection.wants_write() {
            server.connection.write_tls(&mut bytes).unwrap();
        }
    }
    rig.read = 20_000;
    rig.feed(&bytes);
    for number in 0..50_u8 {
        assert!(ready(subscription.next()).unwrap().payload() == [number; 10_000]);
    }
}

#[test]
fn tls_first_says_nothing_in_plain_text() {
    let authority = Authority::new();
    let options = options("localhost", &authority).tls_mode(TlsMode::First);
    let (connecting, mut rig) = Rig::new(options);
    assert!(rig.run().read);
    let mut server = Server::new(authority.server("localhost"));
    server.exchange(&mut rig).unwrap();
    assert!(!server.connection.is_handshaking());
    server.say(&mut rig, info());
    let client = greet(connecting, &mut rig, &mut server);
    let session = client.tls_session().unwrap();
    assert_eq!((&*session.server_name, &*session.version), ("localhost", "TLSv1_3"));
}

#[test]
fn an_offer_is_taken_and_can_be_declined() {
    let authority = Authority::new();
    let offer = format!("{}\r\n", INFO.replace("{", r#"{"tls_available":true,"#));
    for (mode, upgraded) in [(TlsMode::WhenOffered, true), (TlsMode::Never, false)] {
        let (_connecting, mut rig) = Rig::new(options("localhost", &authority).tls_mode(mode));
        rig.feed_after_dial(offer.as_bytes());
        let sent = rig.take_sent();
        assert_eq!(sent.starts_with(b"CONNECT"), !upgraded);
        assert_eq!(sent.starts_with(&[0x16, 3]), upgraded, "a TLS handshake");
    }
}

#[test]
fn a_certificate_that_is_not_accepted_ends_the_attempt_and_the_server_hears_why() {
    let (ours, other) = (Authority::new(), Authority::new());
    for server in [ours.server("example.com"), other.server("localhost")] {
        let (connecting, mut rig) = Rig::new(options("localhost", &ours));
        rig.feed_after_dial(info().as_bytes());
        let mut server = Server::new(server);
        let heard = server.exchange(&mut rig).unwrap_err();
        assert!(matches!(heard, rustls::Error::AlertReceived(_)), "{heard}");
        assert!(rig.done && rig.attempt.is_none());
        let cause = failure(connecting);
        assert!(matches!(cause, DisconnectCause::Certificate(_)), "{cause}");
    }
}

#[test]
fn the_expected_name_can_be_another_than_that_of_the_url() {
    let authority = Authority::new();
    let tls = Tls::new().root_certificates(authority.pem()).server_name("example.com");
    let (connecting, mut rig) = Rig::new(ConnectOptions::new("localhost").tls(tls));
    rig.feed_after_dial(info().as_bytes());
    let mut server = Server::new(authority.server("example.com"));
    let client = greet(connecting, &mut rig, &mut server);
    assert_eq!(client.tls_session().unwrap().server_name, "example.com");
}

#[test]
fn plaintext_behind_info_ends_the_attempt() {
    let authority = Authority::new();
    let (connecting, mut rig) = Rig::new(options("localhost", &authority));
    rig.feed_after_dial(format!("{}PING\r\n", info()).as_bytes());
    assert_eq!(failure(connecting), DisconnectCause::TlsInjection);
    assert_eq!(rig.take_sent(), b"");
}

#[test]
fn plaintext_in_place_of_a_tls_handshake_ends_the_attempt() {
    let authority = Authority::new();
    let (connecting, mut rig) = Rig::new(options("localhost", &authority));
    rig.feed_after_dial(info().as_bytes());
    rig.feed(b"PING\r\nPING\r\nPING\r\n");
    let cause = failure(connecting);
    assert!(matches!(cause, DisconnectCause::Tls(_)), "{cause}");
}

#[test]
fn a_transport_that_ends_within_the_handshake_ends_the_attempt() {
    let authority = Authority::new();
    let (connecting, mut rig) = Rig::new(options("localhost", &authority));
    rig.feed_after_dial(info().as_bytes());
    rig.end();
    assert_eq!(failure(connecting), DisconnectCause::Eof);
}

#[test]
fn no_more_than_a_window_is_taken_from_the_core_ahead_of_the_socket() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    rig.writable = false;
    for _ in 0..100 {
        ready(client.publish("a", [b'x'; 10_000])).unwrap();
    }
    let before = client.pending_bytes();
    assert!(rig.run().write);
    for _ in 0..10 {
        let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
        rig.driver.settle(bytes, 0);
        rig.run();
    }
    let taken = before - client.pending_bytes();
    assert!((1..=64 * 1024 + 10_020).contains(&taken), "{taken}");
    rig.writable = true;
    server.exchange(&mut rig).unwrap();
    assert_eq!(server.heard().matches("PUB a 10000").count(), 100);
}

#[test]
fn what_a_layer_took_is_unknown_when_the_transport_is_lost() {
    let (client, mut rig, _server) = upgraded(usize::MAX);
    let mut events = client.events();
    rig.writable = false;
    for _ in 0..20 {
        ready(client.publish("a", [b'x'; 10_000])).unwrap();
    }
    rig.run();
    let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
    rig.driver.settle(bytes, 0);
    rig.end();
    let lost = lost(&mut events);
    assert_eq!((lost.unknown.messages, lost.kept.messages), (7, 13));
}

#[test]
fn a_close_says_goodbye() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    drop(client.close());
    server.exchange(&mut rig).unwrap();
    assert_eq!(server.heard(), "PING\r\n");
    server.say(&mut rig, "PONG\r\n");
    assert!(rig.done);
    let io = server.connection.process_new_packets().unwrap();
    assert!(io.peer_has_closed());
}

#[test]
fn what_came_before_the_end_is_delivered() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    let mut subscription = ready(client.subscribe("a")).unwrap();
    server.exchange(&mut rig).unwrap();
    server.connection.writer().write_all(b"MSG a 1 2\r\nhi\r\n").unwrap();
    server.connection.send_close_notify();
    let mut bytes = Vec::new();
    server.connection.write_tls(&mut bytes).unwrap();
    server.connection.write_tls(&mut bytes).unwrap();
    assert_eq!(rig.read_once(&bytes), bytes.len());
    rig.end();
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
}

#[test]
fn a_record_that_was_tampered_with_loses_the_connection_and_nothing_before_it() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    let mut events = client.events();
    let mut subscription = ready(client.subscribe("a")).unwrap();
    server.exchange(&mut rig).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..2 {
        server.connection.writer().write_all(b"MSG a 1 2\r\nhi\r\n").unwrap();
        server.connection.write_tls(&mut bytes).unwrap();
    }
    *bytes.last_mut().unwrap() ^= 1;
    rig.feed(&bytes);
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
    assert!(subscription.try_next().is_none());
    let lost = lost(&mut events);
    assert!(matches!(lost.cause, DisconnectCause::Tls(_)), "{}", lost.cause);
}

#[test]
fn a_publish_wakes_a_driver_that_has_come_to_rest() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    server.say(&mut rig, "PING\r\n");
    server.connection.writer().write_all(b"+OK\r\n").unwrap();
    let mut bytes = Vec::new();
    server.connection.write_tls(&mut bytes).unwrap();
    rig.feed(&bytes);
    rig.wakes.take();
    ready(client.publish("a", "")).unwrap();
    assert_eq!(rig.wakes.take(), 1);
}

#[test]
fn settings_that_cannot_be_are_refused_and_named() {
    let with = |tls: Tls| refused(ConnectOptions::new("a").tls(tls));
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0";
    let (text, authority) = (Pem::text(secret), Authority::new());
    let none = with(Tls::new().root_certificates(Pem::text("")));
    assert_eq!(none, "tls: root_certificates holds no certificate in PEM");
    let broken = with(Tls::new().root_certificates(Pem::text("-----BEGIN CERTIFICATE-----\nx")));
    assert_eq!(broken, "tls: root_certificates is not PEM");
    let missing = with(Tls::new().root_certificates(Pem::file("/nowhere/ca.pem")));
    assert!(missing.starts_with("tls: root_certificates: cannot read /nowhere/ca.pem"));
    let key = with(Tls::new().client_certificate(authority.pem(), text.clone()));
    assert_eq!(key, "tls: client_certificate holds no private key in PEM");
    assert_eq!(format!("{text:?}"), "Pem::text");
    let name = with(Tls::new().server_name("a b"));
    assert_eq!(name, "tls: server_name: `a b` is not a host name or IP address");
    let never = refused(ConnectOptions::new("tls://a").tls_mode(TlsMode::Never));
    assert_eq!(never, OptionsError::TlsNever("tls://a:4222".into()).to_string());
}
