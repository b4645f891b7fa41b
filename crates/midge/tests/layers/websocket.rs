//! WebSocket between a driver and a server of a few lines.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};

use midge::{Client, ConnectOptions, Connecting, DisconnectCause, Event, ServerUrl};

use crate::rig::{INFO, Rig, asks_by_the_driver, failure, lost, ready, refused};

pub(crate) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
pub(crate) const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

/// A frame of a server, which has no mask.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length @ ..65_536 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The frames of a client, unmasked: their first bytes and payloads.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(second & 0x80, 0x80, "a client masks");
        let (length, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            length => (usize::from(length), rest),
        };
        let (mask, rest) = rest.split_at(4);
        let (payload, rest) = rest.split_at(length);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        frames.push((*first, payload.collect()));
        bytes = rest;
    }
    frames
}

/// What the binary messages of a client carry.
fn stream(bytes: &[u8]) -> String {
    let frames = frames(bytes).into_iter();
    let payloads = frames.flat_map(|(first, payload)| {
        assert_eq!(first, LAST | BINARY);
        payload
    });
    String::from_utf8(payloads.collect()).unwrap()
}

/// The HTTP answer to the client's request.
fn answer(rig: &mut Rig, extension: &str) -> String {
    rig.run();
    let request = String::from_utf8(rig.take_sent()).unwrap();
    assert!(request.starts_with("GET /path HTTP/1.1\r\nHost: localhost:8080\r\n"), "{request}");
    answer_to(&request, extension)
}

pub(crate) fn answer_to(request: &str, extension: &str) -> String {
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let accept = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = data_encoding::BASE64.encode(&accept.digest().bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extension}\r\n"
    )
}

fn options() -> ConnectOptions {
    ConnectOptions::new("ws://localhost:8080/path")
}

/// A client whose connection is up, with reads of at most `read` bytes.
fn connected(read: usize, extension: &str) -> (Client, Rig) {
    let (connecting, mut rig) = Rig::new(options());
    rig.read = read;
    let mut bytes = answer(&mut rig, extension).into_bytes();
    bytes.extend(frame(LAST | BINARY, format!("{INFO}\r\n").as_bytes()));
    rig.feed(&bytes);
    rig.take_sent();
    rig.feed(&frame(LAST | BINARY, b"PONG\r\n"));
    (ready(connecting).unwrap(), rig)
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut state = flate2::Compress::new(flate2::Compression::fast(), false);
    let mut message = Vec::with_capacity(bytes.len() + 1024);
    state.compress_vec(bytes, &mut message, flate2::FlushCompress::Sync).unwrap();
    message.truncate(message.len() - 4);
    message
}

#[test]
fn messages_pass_both_ways_however_the_bytes_are_cut() {
    for read in [1, 3, 1000, usize::MAX] {
        let (client, mut rig) = connected(read, "");
        let mut subscription = ready(client.subscribe("a")).unwrap();
        let big = "x".repeat(if read < 10 { 5_000 } else { 200_000 });
        ready(client.publish("b", &big)).unwrap();
        rig.run();
        let sent = rig.take_sent();
        assert!(stream(&sent) == format!("SUB a 1\r\nPUB b {}\r\n{big}\r\n", big.len()));
        rig.feed(&frame(LAST | BINARY, format!("MSG a 1 {}\r\n{big}\r\n", big.len()).as_bytes()));
        assert!(ready(subscription.next()).unwrap().payload() == big.as_bytes());
    }
}

#[test]
fn a_message_in_pieces_with_control_frames_between_is_one_stream() {
    let (client, mut rig) = connected(2, "");
    let mut subscription = ready(client.subscribe("a")).unwrap();
    rig.run();
    rig.take_sent();
    let mut bytes = frame(BINARY, b"MSG a 1 5\r");
    bytes.extend(frame(LAST | PING, b"one"));
    bytes.extend(frame(0, b""));
    bytes.extend(frame(0, b"\nhel"));
    bytes.extend(frame(LAST | PONG, b""));
    bytes.extend(frame(LAST, b"lo\r\nMSG a 1 0"));
    bytes.extend(frame(LAST | BINARY, b"\r\n\r\n"));
    rig.feed(&bytes);
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"hello");
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"");
    assert_eq!(frames(&rig.take_sent()), [(LAST | PONG, b"one".to_vec())]);
}

#[test]
fn a_flood_of_pings_that_come_at_once_is_answered_once() {
    let (_client, mut rig) = connected(usize::MAX, "");
    rig.feed(&frame(LAST | PING, b"x").repeat(1000));
    rig.feed(&frame(LAST | PING, b"last"));
    let answers = frames(&rig.take_sent());
    assert_eq!(answers, [(LAST | PONG, b"x".to_vec()), (LAST | PONG, b"last".to_vec())]);
}

#[test]
fn a_flood_of_pings_to_a_client_that_cannot_write_leaves_a_few_answers() {
    let (_client, mut rig) = connected(usize::MAX, "");
    rig.writable = false;
    for _ in 0..1000 {
        rig.feed(&frame(LAST | PING, &[b'x'; 125]).repeat(100));
    }
    rig.feed(&frame(LAST | PING, b"last"));
    rig.writable = true;
    rig.run();
    let answers = frames(&rig.take_sent());
    assert!(answers.len() <= 2, "{}", answers.len());
    assert_eq!(answers.last(), Some(&(LAST | PONG, b"last".to_vec())));
}

#[test]
fn a_close_by_the_server_tells_why_and_is_answered() {
    let (client, mut rig) = connected(usize::MAX, "");
    let mut events = client.events();
    let mut subscription = ready(client.subscribe("a")).unwrap();
    rig.run();
    rig.take_sent();
    rig.resolvable = false;
    let mut bytes = frame(LAST | BINARY, b"MSG a 1 2\r\nhi\r\n");
    bytes.extend(frame(LAST | CLOSE, b"\x03\xf0Slow Consumer (Pending Bytes)"));
    bytes.extend(frame(LAST | BINARY, b"MSG a 1 4\r\nlate\r\n"));
    rig.feed(&bytes);
    let wait = rig.run();
    assert!(wait.until.is_some() && !wait.read && !wait.write, "it waits for the look-up");
    let reason = "Slow Consumer (Pending Bytes)".to_owned();
    assert_eq!(lost(&mut events).cause, DisconnectCause::WebSocketClosed { code: 1008, reason });
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
    assert!(subscription.try_next().is_none());
    let sent = frames(&rig.take_sent()[..8]);
    assert_eq!(sent, [(LAST | CLOSE, b"\x03\xf0".to_vec())]);
}

#[test]
fn a_close_by_the_client_is_a_normal_one() {
    let (client, mut rig) = connected(usize::MAX, "");
    drop(client.close());
    rig.run();
    rig.take_sent();
    rig.feed(&frame(LAST | BINARY, b"PONG\r\n"));
    assert!(rig.done);
    assert_eq!(frames(&rig.take_sent()), [(LAST | CLOSE, b"\x03\xe8".to_vec())]);
}

#[test]
fn a_break_of_the_protocol_loses_the_connection_and_the_server_hears_its_code() {
    let huge = [LAST | BINARY, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
    for (bytes, code) in [
        (frame(LAST | 3, b""), 1002),
        (frame(LAST | COMPRESSED | BINARY, b""), 1002),
        (frame(LAST, b""), 1002),
        (frame(PING, b""), 1002),
        (frame(LAST | PING, &[0; 126]), 1002),
        (frame(LAST | CLOSE, b"x"), 1002),
        (frame(LAST | 1, b"PING\r\n"), 1003),
        ([frame(BINARY, b"P"), frame(LAST | BINARY, b"")].concat(), 1002),
        (vec![LAST | BINARY, 0x80, 0, 0, 0, 0], 1002),
        (huge.to_vec(), 1002),
    ] {
        let (client, mut rig) = connected(usize::MAX, "");
        let mut events = client.events();
        rig.feed(&bytes);
        let cause = lost(&mut events).cause.clone();
        assert!(matches!(&cause, DisconnectCause::WebSocket(_)), "{cause}");
        let sent = frames(&rig.take_sent()[..8]);
        assert_eq!(sent, [(LAST | CLOSE, u16::to_be_bytes(code).to_vec())], "{cause}");
    }
}

#[test]
fn a_frame_that_claims_to_be_huge_takes_no_memory_and_is_read_as_it_comes() {
    let (client, mut rig) = connected(usize::MAX, "");
    let mut subscription = ready(client.subscribe("a")).unwrap();
    let head = [LAST | BINARY, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    rig.feed(&head);
    rig.feed(b"MSG a 1 2\r\nhi\r\n");
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
}

#[test]
fn compressed_messages_pass_both_ways_however_the_bytes_are_cut() {
    for read in [1, 17, usize::MAX] {
        let (client, mut rig) = connected(read, DEFLATE);
        let mut subscription = ready(client.subscribe("a")).unwrap();
        rig.run();
        rig.take_sent();
        let big = "abc".repeat(50_000);
        ready(client.publish("b", &big)).unwrap();
        rig.run();
        let sent = rig.take_sent();
        assert!(sent.len() < big.len() / 10);
        let mut inflated = Vec::with_capacity(1 << 20);
        for (first, mut payload) in frames(&sent) {
            if first & COMPRESSED != 0 {
                payload.extend([0, 0, 0xff, 0xff]);
                let mut state = flate2::Decompress::new(false);
                state
                    .decompress_vec(&payload, &mut inflated, flate2::FlushDecompress::Sync)
                    .unwrap();
            } else {
                inflated.extend(payload);
            }
        }
        assert!(inflated == format!("PUB b 150000\r\n{big}\r\n").as_bytes());
        // In three pieces, as a server may cut it.
        let message = deflate(format!("MSG a 1 150000\r\n{big}\r\n").repeat(3).as_bytes());
        let (one, rest) = message.split_at(message.len() / 3);
        let (two, three) = rest.split_at(rest.len() / 2);
        rig.feed(&frame(COMPRESSED | BINARY, one));
        rig.feed(&frame(0, two));
        rig.feed(&frame(LAST, three));
        rig.feed(&frame(LAST | BINARY, b"MSG a 1 2\r\nhi\r\n"));
        for _ in 0..3 {
            assert!(ready(subscription.next()).unwrap().payload() == big.as_bytes());
        }
        assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
    }
}

#[test]
fn a_message_that_inflates_a_thousandfold_comes_in_windows() {
    let (client, mut rig) = connected(usize::MAX, DEFLATE);
    let mut subscription =
        ready(client.subscribe("a").capacity(10, 1 << 30).when_full(midge::WhenFull::Pause))
            .unwrap();
    rig.run();
    let text = format!("MSG a 1 100000\r\n{}\r\n", "x".repeat(100_000)).repeat(100);
    let message = deflate(text.as_bytes());
    assert!(message.len() < 50_000);
    rig.feed(&frame(LAST | COMPRESSED | BINARY, &message));
    assert!(!rig.run().read, "the subscription is full, so nothing more is decoded");
    assert!((10..=11).contains(&subscription.pending()), "{}", subscription.pending());
    for _ in 0..100 {
        rig.run();
        assert_eq!(ready(subscription.next()).unwrap().payload().len(), 100_000);
    }
}

#[test]
fn a_message_that_inflates_beyond_the_cap_is_skipped_and_told() {
    const SIZE: usize = 64 << 20;
    let (connecting, mut rig) = Rig::new(options().max_message(1 << 20));
    let mut bytes = answer(&mut rig, DEFLATE).into_bytes();
    bytes.extend(frame(LAST | BINARY, format!("{INFO}\r\n").as_bytes()));
    rig.feed(&bytes);
    rig.feed(&frame(LAST | BINARY, b"PONG\r\n"));
    let client = ready(connecting).unwrap();
    let mut events = client.events();
    let mut subscription = ready(client.subscribe("a")).unwrap();
    rig.run();
    let mut text = format!("MSG a 1 {SIZE}\r\n").into_bytes();
    text.resize(text.len() + SIZE, b'x');
    text.extend(b"\r\nMSG a 1 2\r\nhi\r\n");
    let message = deflate(&text);
    assert!(message.len() < SIZE / 200);
    rig.feed(&frame(LAST | COMPRESSED | BINARY, &message));
    let told = events.try_next();
    assert!(matches!(told, Some(Event::Oversized { length: SIZE, .. })), "{told:?}");
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"hi");
}

#[test]
fn a_compressed_message_ends_wherever_the_room_for_it_does() {
    let (client, mut rig) = connected(usize::MAX, DEFLATE);
    let mut subscription = ready(client.subscribe("a")).unwrap();
    for size in (5_000..75_000).step_by(571) {
        // Unread, it holds on to the front of the buffer that the next one is read into.
        rig.feed(&frame(LAST | BINARY, format!("MSG a 1 9000\r\n{:9000}\r\n", "").as_bytes()));
        let text = format!("MSG a 1 {size}\r\n{}\r\n", "x".repeat(size));
        rig.feed(&frame(LAST | COMPRESSED | BINARY, &deflate(text.as_bytes())));
        assert_eq!(ready(subscription.next()).unwrap().payload().len(), 9000);
        assert_eq!(ready(subscription.next()).unwrap().payload().len(), size);
    }
}

#[test]
fn a_compressed_message_that_is_none_is_refused() {
    let (client, mut rig) = connected(usize::MAX, DEFLATE);
    let mut events = client.events();
    rig.feed(&frame(LAST | COMPRESSED | BINARY, &[0xff; 20]));
    let cause = lost(&mut events).cause.clone();
    assert!(matches!(&cause, DisconnectCause::WebSocket(_)), "{cause}");
}

#[test]
fn a_server_that_declines_is_an_attempt_that_failed() {
    let refusal = |answer: &[u8]| {
        let (connecting, mut rig): (Connecting, Rig) = Rig::new(options());
        rig.run();
        rig.feed(answer);
        failure(connecting)
    };
    for code in [401, 403, 503] {
        let refused = refusal(format!("HTTP/1.1 {code} No\r\n\r\n").as_bytes());
        assert_eq!(refused, DisconnectCause::WebSocketRefused { code, reason: "No".into() });
    }
    let refusal = |answer: &[u8]| refusal(answer).to_string();
    assert!(refusal(b"INFO {}\r\n").contains("port for WebSockets"));
    assert!(refusal(&[b'H'; 100_000]).starts_with("WebSocket: "));
}

#[test]
fn a_transport_that_ends_within_the_handshake_ends_the_attempt() {
    let (connecting, mut rig) = Rig::new(options());
    rig.run();
    rig.read = 5;
    rig.feed(b"HTTP/1.1 101 X\r\n");
    rig.end();
    assert_eq!(failure(connecting), DisconnectCause::Eof);
}

#[test]
fn headers_that_cannot_be_are_refused_and_never_shown() {
    let smuggled = options().websocket_header("Cookie", "jwt=secret\r\nX: y");
    assert!(!format!("{smuggled:?}").contains("secret"));
    let refusal = refused(smuggled);
    assert!(refusal.starts_with("websocket_header: `Cookie`"), "{refusal}");
    assert!(!refusal.contains("secret"));
}

/// The first line of what is said first.
fn request_line(options: ConnectOptions) -> String {
    let (_connecting, mut rig) = Rig::new(options);
    rig.run();
    let request = String::from_utf8(rig.take_sent()).unwrap();
    request.lines().next().unwrap().to_owned()
}

#[test]
fn a_path_is_asked_for_where_the_url_has_none() {
    for (url, path, line) in [
        ("ws://localhost", "proxy/nats?x=1", "GET /proxy/nats?x=1 HTTP/1.1"),
        ("ws://localhost", "/proxy", "GET /proxy HTTP/1.1"),
        ("ws://localhost/", "/proxy", "GET / HTTP/1.1"),
        ("ws://localhost/own", "/proxy", "GET /own HTTP/1.1"),
    ] {
        let options = ConnectOptions::new(url).websocket_path(path);
        assert_eq!(request_line(options), line);
    }
    assert_eq!(request_line(ConnectOptions::new("ws://localhost")), "GET / HTTP/1.1");
    for path in ["", "a b", "a\r\nX: y", "\u{e9}"] {
        let refusal = refused(ConnectOptions::new("ws://localhost").websocket_path(path));
        assert!(refusal.starts_with("websocket_path: "), "{refusal}");
    }
}

#[test]
fn headers_are_asked_for_at_each_attempt_and_go_before_fixed_ones() {
    let asked = AtomicUsize::new(0);
    let provider = move |server: &ServerUrl| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let token = format!("token {number} for {}", server.host());
        Ok::<_, String>(vec![("Authorization".to_owned(), token)])
    };
    let options = ConnectOptions::new("ws://localhost:8080/path, ws://localhost:8080/path")
        .websocket_header("authorization", "of old")
        .websocket_header("X-Fixed", "yes")
        .websocket_header_provider(provider);
    // The second attempt follows the end of the first within the same connection.
    let (_connecting, mut rig) = Rig::new(options);
    for number in 0..2 {
        rig.run();
        let request = String::from_utf8(rig.take_sent()).unwrap();
        assert!(request.contains("X-Fixed: yes\r\n"), "{request}");
        let token = format!("\r\nAuthorization: token {number} for localhost\r\n");
        assert!(request.contains(&token), "{request}");
        assert!(!request.contains("of old"), "{request}");
        rig.end();
    }
}

#[test]
fn headers_that_cannot_be_had_fail_the_attempt_before_anything_is_said() {
    type Given = Result<Vec<(String, String)>, &'static str>;
    let smuggled = vec![("A".to_owned(), "secret\r\nB: c".to_owned())];
    for (given, why) in [
        (Err("the proxy gives no token"), "the proxy gives no token"),
        (Ok(smuggled), "`A` has a value with control or non-ASCII characters"),
    ] as [(Given, &str); 2]
    {
        let options = options().websocket_header_provider(move |_: &ServerUrl| given.clone());
        let (connecting, mut rig) = Rig::new(options);
        rig.run();
        assert_eq!(rig.take_sent(), b"");
        let why = format!("`websocket_header_provider`: {why}");
        assert_eq!(failure(connecting), DisconnectCause::Credentials(why));
    }
}

#[test]
fn what_is_for_web_sockets_is_refused_where_no_server_is_one() {
    type Change = fn(ConnectOptions) -> ConnectOptions;
    let set: [(&str, Change); 3] = [
        ("websocket_header", |options| options.websocket_header("A", "b")),
        ("websocket_header_provider", |options| {
            options.websocket_header_provider(|_: &ServerUrl| Ok::<_, String>(Vec::new()))
        }),
        ("websocket_path", |options| options.websocket_path("/a")),
    ];
    for (option, set) in set {
        let refusal = refused(set(ConnectOptions::new("nats://localhost")));
        assert!(refusal.starts_with(&format!("`{option}` is set, and no server")), "{refusal}");
        let _ = Rig::new(set(ConnectOptions::new("nats://localhost, ws://localhost")));
    }
}

#[test]
fn a_publish_wakes_a_driver_that_has_come_to_rest() {
    let (client, mut rig) = connected(usize::MAX, "");
    rig.feed(&frame(LAST | BINARY, b"+OK\r\n"));
    rig.wakes.take();
    ready(client.publish("a", "")).unwrap();
    assert_eq!(rig.wakes.take(), 1);
}

#[test]
fn no_more_than_a_window_is_taken_from_the_core_ahead_of_the_socket() {
    for extension in ["", DEFLATE] {
        let (client, mut rig) = connected(usize::MAX, extension);
        rig.writable = false;
        // What cannot be compressed takes as much room compressed.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(10_000)
        .collect();
        for _ in 0..100 {
            client.try_publish("a", &noise[..]).unwrap();
        }
        let before = client.pending_bytes();
        assert!(rig.run().write);
        for _ in 0..10 {
            let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
            rig.driver.settle(bytes, Err(ErrorKind::WouldBlock.into()));
            rig.run();
        }
        let taken = before - client.pending_bytes();
        assert!((1..=64 * 1024 + 10_020).contains(&taken), "{extension:?} {taken}");
        rig.writable = true;
        rig.run();
        assert_eq!(client.pending_bytes(), 0);
    }
}

// ---- beside the driver -------------------------------------------------------------------

/// What is written and read is put into frames by the driver's layers: nobody else may do either.
#[test]
fn whoever_asks_neither_writes_nor_reads_beside_the_driver() {
    let (client, mut rig) = connected(usize::MAX, "");
    asks_by_the_driver(&client, &mut rig, |rig, reply| {
        let sent = stream(&rig.take_sent());
        rig.feed(&frame(LAST | BINARY, reply(&sent).as_bytes()));
    });
}
