//! TLS between a driver and a server of rustls.

use std::io::{ErrorKind, Read, Write};

use midge::rustls::{self, ServerConnection};
use midge::{
    CertificateFault, Client, ConnectOptions, Connecting, DisconnectCause, Event, OptionsError,
    Pem, ServerError, Tls, TlsMode,
};

use crate::certificates::{Authority, provider};
use crate::rig::{INFO, Rig, asks_by_the_driver, failure, lost, ready, refused};

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
    let never = ConnectOptions::new("localhost").tls_mode(TlsMode::Never);
    let offered = options("localhost", &authority).tls_mode(TlsMode::WhenOffered);
    for (options, upgraded) in [(offered, true), (never, false)] {
        let (_connecting, mut rig) = Rig::new(options);
        rig.feed_after_dial(offer.as_bytes());
        let sent = rig.take_sent();
        assert_eq!(sent.starts_with(b"CONNECT"), !upgraded);
        assert_eq!(sent.starts_with(&[0x16, 3]), upgraded, "a TLS handshake");
    }
}

#[test]
fn a_certificate_that_is_not_accepted_ends_the_attempt_and_the_server_hears_why() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (server, expected) in [
        (ours.server("example.com"), CertificateFault::WrongName),
        (other.server("localhost"), CertificateFault::UnknownIssuer),
        (ours.server_valid("localhost", 1990..2000), CertificateFault::Expired),
        (ours.server_valid("localhost", 3000..3010), CertificateFault::NotYetValid),
    ] {
        let (connecting, mut rig) = Rig::new(options("localhost", &ours));
        rig.feed_after_dial(info().as_bytes());
        let mut server = Server::new(server);
        let heard = server.exchange(&mut rig).unwrap_err();
        assert!(matches!(heard, rustls::Error::AlertReceived(_)), "{heard}");
        assert!(rig.done && rig.attempt.is_none());
        let cause = failure(connecting);
        let DisconnectCause::Certificate { fault, text } = &cause else { panic!("{cause}") };
        assert_eq!(*fault, expected, "{cause}");
        assert!(cause.to_string().contains(text), "{cause}");
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
fn a_configuration_of_rustls_is_used_as_it_is() {
    let authority = Authority::new();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Tls::new().config(config.into());
    let both =
        refused(ConnectOptions::new("a").tls(tls.clone().root_certificates(authority.pem())));
    assert!(both.starts_with("tls: config stands for itself"), "{both}");
    let (connecting, mut rig) = Rig::new(ConnectOptions::new("localhost").tls(tls));
    rig.feed_after_dial(info().as_bytes());
    let mut server = Server::new(authority.server("localhost"));
    let client = greet(connecting, &mut rig, &mut server);
    assert_eq!(client.tls_session().unwrap().version, "TLSv1_2");
}

#[test]
fn a_client_certificate_that_is_missing_or_not_accepted_is_told_from_other_faults() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let shows = |of: &Authority| {
        let (certificate, key) = of.client();
        Tls::new()
            .root_certificates(authority.pem())
            .client_certificate(Pem::text(certificate), Pem::text(key))
    };
    let none = Tls::new().root_certificates(authority.pem());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (tls, expected) in [
            (&none, Err(DisconnectCause::ClientCertificateRequired)),
            (&shows(&stranger), Err(DisconnectCause::ClientCertificate("UnknownCA".into()))),
            (&shows(&authority), Ok(())),
        ] {
            let options = ConnectOptions::new("localhost").tls(tls.clone());
            let (connecting, mut rig) = Rig::new(options);
            rig.feed_after_dial(info().as_bytes());
            let mut server = Server::new(authority.verifying_server("localhost", version));
            let accepted = server.exchange(&mut rig);
            if expected.is_ok() {
                server.say(&mut rig, "PONG\r\n");
                ready(connecting).unwrap();
                continue;
            }
            // An alert is what the server says last.
            accepted.unwrap_err();
            let mut alert = Vec::new();
            server.connection.write_tls(&mut alert).unwrap();
            rig.feed(&alert);
            assert_eq!(Err(failure(connecting)), expected, "{version:?}");
        }
    }
}

#[test]
fn a_file_that_was_spoilt_meanwhile_fails_the_attempt_and_is_named() {
    let authority = Authority::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.text()).unwrap();
    let tls = Tls::new().root_certificates(Pem::file(file.path()));
    let (connecting, mut rig) = Rig::new(ConnectOptions::new("localhost").tls(tls));
    std::fs::write(file.path(), "").unwrap();
    rig.feed_after_dial(info().as_bytes());
    let cause = "root_certificates holds no certificate in PEM".into();
    assert_eq!(failure(connecting), DisconnectCause::TlsSettings(cause));
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
fn a_server_that_is_full_says_so_in_place_of_a_tls_handshake() {
    let authority = Authority::new();
    let full = DisconnectCause::Server(ServerError::MaxConnections);
    for (mode, info) in [(TlsMode::WhenOffered, info()), (TlsMode::First, String::new())] {
        for read in [1, 9, usize::MAX] {
            let (connecting, mut rig) = Rig::new(options("localhost", &authority).tls_mode(mode));
            rig.feed_after_dial(info.as_bytes());
            rig.read = read;
            rig.feed(b"-ERR 'maximum connections exceeded'\r\n");
            assert_eq!(failure(connecting), full, "{mode:?} {read}");
        }
        for other in ["-ERR 'Authorization Violation'\r\n", "-EX", "-ERR 'maximum connect\0ions\n"]
        {
            let (connecting, mut rig) = Rig::new(options("localhost", &authority).tls_mode(mode));
            rig.feed_after_dial(info.as_bytes());
            rig.feed(other.as_bytes());
            rig.feed(&[b' '; 2000]);
            let cause = failure(connecting);
            assert!(matches!(cause, DisconnectCause::Tls(_)), "{mode:?} {other:?} {cause}");
        }
    }
}

/// As when a thread waits in a read while others publish.
#[test]
fn a_turn_while_a_read_is_out_harms_no_handshake_message_in_pieces() {
    let authority = Authority::new();
    let (_connecting, mut rig) =
        Rig::new(options("localhost", &authority).tls_mode(TlsMode::First));
    rig.run();
    // A record with the first bytes of a ServerHello of 100.
    rig.feed(&[22, 3, 3, 0, 6, 2, 0, 0, 100, 3, 3]);
    let mut buffer = rig.driver.take_read().expect("there is room");
    rig.run();
    let rest = [22, 3, 3, 0, 2, 7, 7];
    buffer[..rest.len()].copy_from_slice(&rest);
    rig.driver.filled(buffer, Ok(rest.len()));
    assert!(rig.run().read, "the handshake waits for the rest");
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
    takes_a_window(&client, &mut rig);
    server.exchange(&mut rig).unwrap();
    assert_eq!(server.heard().matches("PUB a 10000").count(), 100);
}

/// A server that is behind both layers.
#[cfg(feature = "websocket")]
#[test]
fn tls_and_a_websocket_together_take_no_more_than_a_window() {
    use crate::websocket::{BINARY, LAST, answer_to, frame, frames};

    let authority = Authority::new();
    let (connecting, mut rig) = Rig::new(options("wss://localhost", &authority));
    let mut server = Server::new(authority.server("localhost"));
    server.exchange(&mut rig).unwrap();
    let answer = answer_to(&server.heard(), "");
    server.say(&mut rig, answer);
    server.say(&mut rig, frame(LAST | BINARY, format!("{INFO}\r\n").as_bytes()));
    server.say(&mut rig, frame(LAST | BINARY, b"PONG\r\n"));
    let client = ready(connecting).unwrap();
    server.heard.clear();
    takes_a_window(&client, &mut rig);
    server.exchange(&mut rig).unwrap();
    let heard = frames(&server.heard).into_iter().flat_map(|(_, payload)| payload);
    let heard = String::from_utf8(heard.collect()).unwrap();
    assert_eq!(heard.matches("PUB a 10000").count(), 100);
}

/// Publishes more than a window while the socket takes nothing.
fn takes_a_window(client: &Client, rig: &mut Rig) {
    rig.writable = false;
    for _ in 0..100 {
        client.try_publish("a", [b'x'; 10_000]).unwrap();
    }
    let before = client.pending_bytes();
    assert!(rig.run().write);
    for _ in 0..10 {
        let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
        rig.driver.settle(bytes, Err(ErrorKind::WouldBlock.into()));
        rig.run();
    }
    let taken = before - client.pending_bytes();
    assert!((1..=64 * 1024 + 10_020).contains(&taken), "{taken}");
    rig.writable = true;
}

#[test]
fn what_a_layer_took_is_unknown_when_the_transport_is_lost() {
    let (client, mut rig, _server) = upgraded(usize::MAX);
    let mut events = client.events();
    rig.writable = false;
    for _ in 0..20 {
        client.try_publish("a", [b'x'; 10_000]).unwrap();
    }
    rig.run();
    let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
    rig.driver.settle(bytes, Err(ErrorKind::WouldBlock.into()));
    rig.end();
    let lost = lost(&mut events);
    assert_eq!((lost.unknown.messages, lost.kept.messages), (7, 13));
}

#[test]
fn a_failed_write_does_not_interrupt_a_read_that_is_under_way() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    let mut events = client.events();
    let mut buffer = rig.driver.take_read().unwrap();
    rig.writable = false;
    ready(client.publish("a", "x")).unwrap();
    rig.run();
    let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
    rig.driver.settle(bytes, Err(ErrorKind::BrokenPipe.into()));
    assert!(!rig.run().write);
    server.connection.writer().write_all(b"-ERR 'Stale Connection'\r\n").unwrap();
    let count = server.connection.write_tls(&mut &mut buffer[..]).unwrap();
    rig.driver.filled(buffer, Ok(count));
    rig.run();
    let said = ServerError::StaleConnection;
    assert!(matches!(events.try_next(), Some(Event::ServerError(error)) if error == said));
    rig.end();
    assert_eq!(lost(&mut events).cause, DisconnectCause::Server(said));
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
    let missing = with(Tls::new().root_certificates(Pem::file("/nowhere/ca.pem")));
    assert!(missing.starts_with("tls: root_certificates: cannot read /nowhere/ca.pem: "));
    let of_tls = Tls::new().client_certificate(authority.pem(), text.clone());
    assert_eq!(format!("{text:?}"), "Pem::text");
    assert!(!format!("{:?}", ConnectOptions::new("a").tls(of_tls)).contains("c2VjcmV0"));
    let name = with(Tls::new().server_name("a b"));
    assert_eq!(name, "tls: server_name: `a b` is not a host name or IP address");
    let never = refused(ConnectOptions::new("tls://a").tls_mode(TlsMode::Never));
    assert_eq!(never, OptionsError::TlsNever("tls://a:4222".into()).to_string());
    let never = refused(ConnectOptions::new("a").tls(Tls::new()).tls_mode(TlsMode::Never));
    assert_eq!(never, "`tls` and `tls_mode` contradict each other: the mode is Never");
    for mode in [TlsMode::Required, TlsMode::First] {
        let plain = refused(ConnectOptions::new("ws://a").tls_mode(mode));
        assert_eq!(plain, OptionsError::PlainWebSocket("ws://a:80".into()).to_string());
    }
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_refused_and_named() {
    let authority = Authority::new();
    let ((chain, key), (_, other_key)) = (authority.client(), authority.client());
    let block = |label: &str, text: &str| {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let old = block("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA");
    let no_certificate = "holds no certificate in PEM";
    let unread = "holds a certificate that cannot be read: BadEncoding";
    let encrypted = ": its private key is encrypted: give it as `openssl pkey` writes it";
    let open = "-----BEGIN CERTIFICATE-----\nx";
    let file = tempfile::NamedTempFile::new().unwrap();
    let refusal = |text: &str, tls: &dyn Fn(Pem) -> Tls| {
        std::fs::write(file.path(), text).unwrap();
        let [of_text, of_file] = [Pem::text(text), Pem::file(file.path())]
            .map(|pem| refused(ConnectOptions::new("a").tls(tls(pem))));
        assert_eq!(of_text, of_file);
        of_text
    };
    for (text, why) in [
        ("", no_certificate),
        ("text", no_certificate),
        (&key, no_certificate),
        (open, "is not PEM"),
        (&block("CERTIFICATE", "!"), "is not PEM"),
        (&block("CERTIFICATE", "AAAA"), unread),
    ] {
        let roots = refusal(text, &|pem| Tls::new().root_certificates(pem));
        assert_eq!(roots, format!("tls: root_certificates {why}"));
        let client = |pem| Tls::new().client_certificate(pem, Pem::text(&key));
        assert_eq!(refusal(text, &client), format!("tls: client_certificate {why}"));
    }
    for (text, why) in [
        ("", " holds no private key in PEM"),
        (&chain, " holds no private key in PEM"),
        (&block("PRIVATE KEY", "!"), " holds no private key in PEM"),
        (&block("ENCRYPTED PRIVATE KEY", "AAAA"), encrypted),
        (&old, encrypted),
        (&other_key, ": its private key belongs to another certificate"),
    ] {
        let client = |pem| Tls::new().client_certificate(Pem::text(&chain), pem);
        assert_eq!(refusal(text, &client), format!("tls: client_certificate{why}"));
    }
    let client = |pem| Tls::new().client_certificate(Pem::text(&chain), pem);
    let garbage = refusal(&block("PRIVATE KEY", "AAAA"), &client);
    assert!(garbage.starts_with("tls: client_certificate: "), "{garbage}");
    let endless = refused(ConnectOptions::new("a").tls(client(Pem::file("/dev/zero"))));
    assert_eq!(
        endless,
        "tls: client_certificate: cannot read /dev/zero: it has more than 4194304 bytes"
    );
}

// ---- beside the driver -------------------------------------------------------------------

/// What is written and read is enciphered by the driver's layers: nobody else may do either.
#[test]
fn whoever_asks_neither_writes_nor_reads_beside_the_driver() {
    let (client, mut rig, mut server) = upgraded(usize::MAX);
    asks_by_the_driver(&client, &mut rig, |rig, reply| {
        server.exchange(rig).unwrap();
        let heard = server.heard();
        server.say(rig, reply(&heard));
    });
}
