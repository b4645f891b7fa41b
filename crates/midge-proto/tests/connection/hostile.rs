//! A server that means harm: whatever it says, the client stays within its bounds and its
//! deadlines, and the cause says what was wrong.
//!
//! More of the kind: `contract.rs` (`line_6_…`: floods of PING, -ERR and +OK, PINGs of a server
//! that reads nothing), `inbound.rs` (garbage, lines without end, messages above the client's
//! cap), `servers.rs` (thousands of URLs), `fates.rs` (PONGs that answer nothing),
//! `subscriptions.rs` (messages behind an UNSUB), `keep_alive.rs` (silence).

use std::time::Duration;

use crate::rig::{INFO, Rig, config};

/// The read buffer of a connection that reads is no larger than this, with default settings.
const CHUNK: usize = 64 * 1024;

/// Feeds as much of an endless repetition of `bytes` as the connection reads, up to `most` bytes.
/// Returns how much that was, and the largest buffer that it offered.
fn flood(rig: &mut Rig, bytes: &[u8], most: usize) -> (usize, usize) {
    let endless = bytes.repeat(CHUNK.div_ceil(bytes.len()));
    let (attempt, mut fed, mut largest) = (rig.attempt, 0, 0);
    while fed < most && rig.wait.read && rig.attempt == attempt {
        let room = rig.connection.read_buf();
        largest = largest.max(room.len());
        // A whole number of repetitions, where one fits.
        let count = match room.len() / bytes.len() * bytes.len() {
            0 => room.len(),
            whole => whole,
        };
        let count = count.min(endless.len() / bytes.len() * bytes.len());
        room[..count].copy_from_slice(&endless[..count]);
        rig.connection.received(count);
        rig.turn();
        fed += count;
    }
    (fed, largest)
}

#[test]
fn an_info_without_end_is_refused_at_its_bound_first_and_later() {
    for up in [false, true] {
        let mut config = config("127.0.0.1");
        config.max_info = 100_000;
        let mut rig = Rig::new(config);
        if up {
            rig.come_up();
        } else {
            rig.command("connected");
            rig.log();
        }
        rig.feed(b"INFO {\"server_name\":\"");
        let (fed, largest) = flood(&mut rig, b"x", 1 << 30);
        assert!((100_000 - 64..100_000 + 2 * CHUNK).contains(&fed), "{fed}");
        assert!(largest <= 100_000 + CHUNK, "{largest}");
        let log = rig.log();
        assert_eq!(log[0], "close");
        let lost = if up { "disconnected " } else { "failed nats://127.0.0.1:4222 " };
        let wanted = format!("{lost}the server broke the protocol: ");
        assert!(log[1].starts_with(&wanted), "{log:?}");
    }
}

#[test]
fn no_info_lengthens_an_attempt() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.command("connected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.log();
    for _ in 0..49 {
        rig.feed(format!("{INFO}\r\n+OK\r\nPING\r\n").as_bytes());
        rig.advance(Duration::from_millis(100));
    }
    assert!(rig.log().is_empty());
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.advance(Duration::from_millis(100));
    let log = rig.log();
    assert_eq!(log[0], "close");
    assert!(log[1].ends_with("the attempt took longer than the connect timeout"), "{log:?}");
    assert!(rig.connection.is_closed(), "there is no other server");
}

#[test]
fn a_byte_a_second_does_not_lengthen_an_attempt() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.command("connected");
    rig.log();
    for byte in "INFO".bytes() {
        rig.feed(&[byte]);
        rig.advance(Duration::from_secs(1));
        assert!(rig.log().is_empty());
    }
    rig.feed(b" ");
    rig.run(
        "+ 1s
        ! close
        ! failed nats://127.0.0.1:4222 the connection was accepted, but no INFO came first...
        ! closed ...",
    );
}

/// That the bytes of one long message drip in proves nothing: its PONGs may never come.
#[test]
fn a_message_that_drips_in_is_no_sign_of_life() {
    let mut config = config("127.0.0.1");
    config.ping_interval = Duration::from_secs(10);
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1\n< MSG a 1 1000000");
    let mut seconds = 0;
    while rig.connection.is_connected() {
        rig.feed(b"x");
        rig.advance(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds <= 30);
    }
    assert_eq!(seconds, 30);
    let log = rig.log();
    assert!(log[1].starts_with("disconnected the connection is stale: "), "{log:?}");
}

#[test]
fn info_again_and_again_fills_no_memory_and_names_no_more_servers_than_the_bound() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    for round in 0..50 {
        let urls: Vec<_> = (0..1000).map(|at| format!("\"10.{round}.0.1:{}\"", at + 1)).collect();
        rig.feed(format!("INFO {{\"connect_urls\":[{}]}}\r\n", urls.join(",")).as_bytes());
        let log = rig.log();
        assert_eq!(log.len(), 1);
        let removed = if round == 0 { 0 } else { 256 };
        assert_eq!(log[0].matches("nats://").count(), 256 + removed);
    }
    let (fed, largest) = flood(&mut rig, format!("{INFO}\r\n").as_bytes(), 10 << 20);
    assert!(fed >= 10 << 20 && largest <= CHUNK, "{fed} {largest}");
    assert!(rig.log().is_empty());
}

#[test]
fn urls_that_are_none_name_no_server() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    let long = "x".repeat(100_000);
    rig.feed(
        format!(
            "INFO {{\"connect_urls\":[\"\",\":\",\"a b:1\",\"[::1\",\"a:99999\",\"http://a:1\",\"{long}\"]}}\r\n"
        )
        .as_bytes(),
    );
    for line in rig.log() {
        assert!(!line.contains("http") && !line.contains("a b") && line.len() < 1000, "{line}");
    }
    assert!(rig.connection.is_connected());
}

#[test]
fn sizes_that_cannot_be_are_a_broken_protocol_and_take_no_memory() {
    for line in [
        "MSG a 1 9223372036854775808",
        "MSG a 1 18446744073709551616",
        "MSG a 1 99999999999999999999999999",
        "MSG a 1 -1",
        "MSG a 1 0x10",
        "HMSG a 1 9223372036854775808 9223372036854775808",
        "HMSG a 1 13 12",
        "HMSG a 1 12 -1",
        "HMSG a 1 18446744073709551615 1",
    ] {
        let mut rig = Rig::up(config("127.0.0.1"));
        rig.run("subscribe a\n> SUB a 1");
        rig.feed(format!("{line}\r\n").as_bytes());
        let log = rig.log();
        assert_eq!(log[0], "close", "{line}: {log:?}");
        assert!(log[1].starts_with("disconnected the server broke the protocol: "), "{log:?}");
        assert!(rig.connection.read_buf().len() <= CHUNK);
    }
}

#[test]
fn the_largest_sizes_that_can_be_are_skipped_in_little_memory() {
    for line in ["MSG a 1 999999999", "HMSG a 1 12 999999999", "HMSG a 1 999999999 999999999"] {
        let mut rig = Rig::up(config("127.0.0.1"));
        rig.run("subscribe a\n> SUB a 1");
        rig.feed(format!("{line}\r\n").as_bytes());
        let (fed, largest) = flood(&mut rig, &[b'x'; 1000], 5_000_000);
        assert!(fed >= 5_000_000 && largest <= CHUNK, "{line}: {fed} {largest}");
        assert!(rig.connection.is_connected());
        assert!(rig.log().is_empty(), "it is told of once it has passed");
    }
}

#[test]
fn messages_for_nobody_are_read_past() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1\nunsubscribe 1\n> UNSUB 1\n! ended 1 ...");
    for sid in ["1", "2", "0", "4294967297", "18446744073709551615"] {
        let line = format!("MSG a {sid} 1\r\nx\r\n");
        let (_, largest) = flood(&mut rig, line.as_bytes(), 1 << 20);
        assert!(largest <= CHUNK && rig.connection.is_connected(), "{sid}");
        assert!(rig.log().is_empty(), "{sid}");
    }
}

#[test]
fn pongs_before_their_time_confirm_nothing_later() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let (fed, _) = flood(&mut rig, b"PONG\r\n", 1 << 20);
    assert!(fed >= 1 << 20);
    rig.run("publish a x\n> PUB a 1\n> x\nflush\n> PING");
    assert_eq!(rig.connection.statistics().confirmed, 0);
    rig.run("< PONG\n! flushed");
}

#[test]
fn errors_without_end_are_told_one_by_one_and_kept_by_nobody() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let error = format!("-ERR '{}'\r\n", "x".repeat(2000));
    for _ in 0..1000 {
        rig.feed(error.as_bytes());
        let log = rig.log();
        assert_eq!(log.len(), 1);
        assert!(log[0].starts_with("server error: the server reported an error: xxx"));
    }
    rig.feed(b"-ERR '");
    let (fed, largest) = flood(&mut rig, b"x", 1 << 30);
    assert!(fed <= 2 * CHUNK && largest <= 2 * CHUNK, "{fed} {largest}");
    assert!(rig.log()[1].starts_with("disconnected the server broke the protocol: "));
}

/// The first of two attempts each: what the server says may not change what comes of it.
#[test]
fn garbage_instead_of_an_info_fails_the_attempt() {
    for garbage in ["\r\n", "HTTP/1.1 400 Bad Request\r\n", "\0\0\0\0\r\n", "\u{16}\u{3}\u{1}\r\n"]
    {
        let mut rig = Rig::new(config("127.0.0.1,127.0.0.2"));
        rig.command("connected");
        rig.log();
        rig.feed(garbage.as_bytes());
        let log = rig.log();
        assert_eq!(log[0], "close", "{garbage:?}");
        assert!(log[1].starts_with("failed nats://127.0.0.1:4222 the "), "{log:?}");
        assert_eq!(log[2], "connect 127.0.0.2:4222");
    }
}
