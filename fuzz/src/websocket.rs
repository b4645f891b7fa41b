//! Whatever a server sends over a WebSocket: no panic, bounded output, and the same however it is
//! cut. The layer is private to midge, so it is driven as an adapter would.
//!
//! The wrappers in `targets/` give these functions to libFuzzer. The test `fuzz_replay` of midge
//! includes this file and runs them on every kept input, with a stable compiler.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use midge::driver::midge_proto::{Attempt, Wait};
use midge::driver::{Clock, Driver, Turn};
use midge::{ConnectOptions, DisconnectCause, Event, Instant};

const LONGEST: usize = 1024;
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";
/// What a message inflates to, of 1 KiB, and no more: deflate makes at most 1,032 times as much.
const MOST_READ: u64 = (LONGEST as u64 + 1) * 1_100;

/// The bytes behind the HTTP answer. The first one chooses whether compression was agreed on and
/// whether the NATS handshake is over, the second how the rest is cut.
pub(crate) fn websocket_frames(data: &[u8]) {
    let [setup, seed, bytes @ ..] = data else { return };
    let mut before = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: $A\r\n{}\r\n",
        if setup & 1 == 0 { "" } else { DEFLATE }
    )
    .into_bytes();
    if setup & 2 == 0 {
        let info = "INFO {\"max_payload\":1048576,\"headers\":true} \r\n";
        before.extend([0x82, info.len() as u8]);
        before.extend(info.as_bytes());
    }
    compare(&before, setup & 2 == 0, bytes, *seed);
}

/// The HTTP answer, and whatever follows it. `$A` in it stands for the accepted key; the first
/// byte says how it is cut.
pub(crate) fn websocket_answer(data: &[u8]) {
    let [seed, bytes @ ..] = data else { return };
    compare(b"", false, bytes, *seed);
}

fn compare(before: &[u8], up: bool, bytes: &[u8], seed: u8) {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let whole = run(before, up, bytes, Cuts::Whole);
    let seed = u32::from(seed) + 1;
    for cuts in [Cuts::EveryByte, Cuts::Random(seed)] {
        let cut = run(before, up, bytes, cuts);
        if whole.corrupt || cut.corrupt {
            // Of what came before the fault, more or less is inflated.
            let common = whole.messages.len().min(cut.messages.len());
            assert_eq!(whole.messages[..common], cut.messages[..common], "{cuts:?}");
            assert!(!whole.open && !cut.open, "{cuts:?}: {whole:?} {cut:?}");
        } else {
            assert_eq!(cut, whole, "{cuts:?}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Cuts {
    Whole,
    EveryByte,
    Random(u32),
}

impl Cuts {
    fn next(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::EveryByte => 1,
            Self::Random(seed) => {
                // xorshift: any sequence does, if it depends on nothing but the input.
                *seed ^= *seed << 13;
                *seed ^= *seed >> 17;
                *seed ^= *seed << 5;
                1 + (*seed % 64) as usize
            }
        }
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

/// What a run came to, as a client sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    messages: Vec<Vec<u8>>,
    events: Vec<String>,
    open: bool,
    /// A message was not compressed as it said.
    corrupt: bool,
}

struct Run {
    driver: Driver,
    attempt: Option<Attempt>,
    /// Only the first one gets something.
    attempts: usize,
    sent: Vec<u8>,
    wait: Wait,
    /// The transport takes no bytes: what an answer of the server is to would depend on the cut.
    stalled: bool,
}

impl Run {
    fn turn(&mut self) {
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 100_000, "it never comes to rest");
            match self.driver.turn(&mut Context::from_waker(Waker::noop())) {
                Turn::Connect { attempt, .. } => {
                    self.attempts += 1;
                    self.attempt = Some(attempt);
                    self.driver.connected(attempt, false);
                }
                Turn::Close { .. } => {
                    self.write();
                    self.attempt = None;
                }
                Turn::Idle(wait) => {
                    self.wait = wait;
                    if !wait.write || self.stalled || !self.write() {
                        return;
                    }
                }
                Turn::Done => {
                    self.attempt = None;
                    self.wait = Wait::default();
                    return;
                }
                _ => {}
            }
        }
    }

    fn write(&mut self) -> bool {
        let mut wrote = false;
        while let Some(bytes) = self.driver.take_transmit(usize::MAX) {
            if self.attempts == 1 {
                self.sent.extend_from_slice(&bytes);
            }
            let written = bytes.len();
            self.driver.settle(bytes, Ok(written));
            wrote = true;
        }
        wrote
    }

    /// The transport brings `bytes`, in pieces.
    fn feed(&mut self, mut bytes: &[u8], cuts: &mut Cuts) {
        while !bytes.is_empty() && self.attempts == 1 && self.attempt.is_some() && self.wait.read {
            let Some(mut buffer) = self.driver.take_read() else { panic!("`read` is a lie") };
            assert!(!buffer.is_empty() && buffer.len() <= 256 * 1024, "{}", buffer.len());
            let count = bytes.len().min(buffer.len()).min(cuts.next());
            buffer[..count].copy_from_slice(&bytes[..count]);
            self.driver.filled(buffer, Ok(count));
            bytes = &bytes[count..];
            self.turn();
        }
    }
}

fn run(before: &[u8], up: bool, bytes: &[u8], mut cuts: Cuts) -> Seen {
    let options = ConnectOptions::new("ws://127.0.0.1:8080").max_message(64 * 1024);
    let (connecting, driver) =
        midge::driver::connect(options, Arc::new(Still)).expect("the options are good");
    let mut run = Run {
        driver,
        attempt: None,
        attempts: 0,
        sent: Vec::new(),
        wait: Wait::default(),
        stalled: false,
    };
    run.turn();
    let request = std::mem::take(&mut run.sent);
    let accept = accept(&request);
    run.feed(&fill_in(before, &accept), &mut Cuts::Whole);
    if up {
        // The PONG that ends the handshake, without which nobody gets a message.
        run.feed(b"\x82\x06PONG\r\n", &mut Cuts::Whole);
    }
    let mut connecting = pin!(connecting.into_future());
    let mut poll = || match connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    };
    let client = if up { Some(poll().expect("it is up").expect("it is accepted")) } else { None };
    let mut events = client.as_ref().map(|client| client.events());
    let mut subscription = client.as_ref().map(|client| {
        let mut subscribe = pin!(client.subscribe("a").into_future());
        match subscribe.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(subscription) => subscription.expect("there is room"),
            Poll::Pending => panic!("there is room at once"),
        }
    });
    run.turn();
    run.sent.clear();
    run.stalled = true;
    run.feed(&fill_in(bytes, &accept), &mut cuts);
    run.stalled = false;
    run.turn();

    // Of the attempts after the first one nothing is seen.
    run.attempt = run.attempt.filter(|_| run.attempts == 1);
    let mut seen = Seen {
        messages: Vec::new(),
        events: Vec::new(),
        open: run.attempt.is_some(),
        corrupt: false,
    };
    if let Some(attempt) = run.attempt {
        run.driver.closed(attempt, DisconnectCause::Eof);
        run.turn();
    }
    if let Some(subscription) = &mut subscription {
        while let Some(message) = subscription.try_next() {
            seen.messages.push(message.payload().to_vec());
        }
    }
    if let Some(events) = &mut events {
        while let Some(event) = events.try_next() {
            if let Event::Disconnected(lost) = &event {
                seen.corrupt |= lost.cause.to_string().contains("not compressed as it says");
            }
            seen.events.extend(describe(&event));
        }
    }
    if let Some(client) = &client {
        assert!(client.statistics().in_bytes <= MOST_READ);
    } else if let Some(result) = poll() {
        seen.events.push(match result {
            Ok(_) => "connected".to_owned(),
            Err(error) => {
                // Each run has a key of its own.
                let text = error.to_string().replace(&accept, "$A");
                seen.corrupt |= text.contains("not compressed as it says");
                format!("failed: {}", kind(&text))
            }
        });
    }
    check_sent(&run.sent, bytes.len());
    seen
}

/// What a listener hears, without what a cut may change: how many PINGs one answer stands for, and
/// at which of its bytes an answer was found to be none.
fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::Disconnected(lost) => format!("lost: {}", kind(&lost.cause.to_string())),
        Event::Oversized { length, .. } => format!("oversized {length}"),
        Event::ServerError(error) => format!("{error:?}"),
        Event::ServersChanged { added, removed, ignored } => {
            format!("+{} -{} {ignored}", added.len(), removed.len())
        }
        Event::LameDuck => "lame duck".to_owned(),
        Event::Dropped(fate) => format!("dropped {}", fate.messages),
        _ => return None,
    })
}

fn kind(cause: &str) -> &str {
    match cause.find("WebSocket: the server") {
        Some(at) => &cause[at..at + "WebSocket: the server".len()],
        None => cause,
    }
}

/// All that a client says is whole frames that a server may read, and little.
fn check_sent(mut sent: &[u8], received: usize) {
    assert!(sent.len() <= 64 * 1024 + 20 * received, "{} bytes for {received}", sent.len());
    while let [first, second, rest @ ..] = sent {
        assert!(second & 0x80 != 0, "not masked");
        assert!(matches!(first & 0x8f, 0x82 | 0x88 | 0x8a), "{first:#x}");
        let (length, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (usize::MAX, rest),
            length => (usize::from(length), rest),
        };
        assert!(length <= 125 || first & 0x0f == 2, "a long control frame");
        sent = &rest[4 + length..];
    }
}

/// What the server has to answer to this request.
fn accept(request: &[u8]) -> String {
    let request = std::str::from_utf8(request).expect("the request is text");
    let (_, rest) = request.split_once("Sec-WebSocket-Key: ").expect("it has a key");
    let (key, _) = rest.split_once("\r\n").expect("its line ends");
    let digest = sha1_smol::Sha1::from(format!("{key}{GUID}")).digest().bytes();
    data_encoding::BASE64.encode(&digest)
}

fn fill_in(text: &[u8], accept: &str) -> Vec<u8> {
    let mut filled = text.to_vec();
    if let Some(at) = text.windows(2).position(|pair| pair == b"$A") {
        filled.splice(at..at + 2, accept.bytes());
    }
    filled
}
