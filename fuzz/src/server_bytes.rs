//! Whatever a server sends: no panic, bounded memory, and the same events however it is cut.

use std::time::Duration;

use bytes::Buf;
use midge_proto::{
    Action, Attempt, Config, Connection, Event, Instant, Message, Output, RequestError, RequestId,
    ServerUrl, Sid, Sink, SubjectRef, TlsMode, Wait,
};

use super::describe::describe;

/// A byte at a time costs a poll each.
const LONGEST: usize = 1024;
const INFO: &[u8] = b"INFO {\"server_id\":\"S\",\"max_payload\":1048576,\"headers\":true} \r\n";
/// No frame that is received whole needs more than this, see [`config`].
const ROOM: usize = 8 * 1024;

/// The first byte chooses what the connection was doing, the second how the input is cut, the rest
/// is what the server sends.
pub fn server_bytes(data: &[u8]) {
    let [setup, seed, bytes @ ..] = data else { return };
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let whole = run(*setup, bytes, Cuts::Whole);
    assert_eq!(run(*setup, bytes, Cuts::EveryByte), whole, "a byte at a time");
    let seed = u32::from(*seed) + 1;
    assert_eq!(run(*setup, bytes, Cuts::Random { seed }), whole, "cuts of {seed}");
}

/// How the input arrives.
#[derive(Clone, Copy)]
enum Cuts {
    Whole,
    EveryByte,
    /// In pieces of 1 to 64 bytes, into buffers that are taken out, and polled by `poll_into`.
    Random {
        seed: u32,
    },
}

impl Cuts {
    fn next(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::EveryByte => 1,
            Self::Random { seed } => {
                // xorshift: any sequence does, if it depends on nothing but the input.
                *seed ^= *seed << 13;
                *seed ^= *seed >> 17;
                *seed ^= *seed << 5;
                1 + (*seed % 64) as usize
            }
        }
    }

    fn lent(self) -> bool {
        matches!(self, Self::Random { .. })
    }
}

fn config(setup: u8) -> Config {
    let server = ServerUrl::parse("127.0.0.1").expect("an address");
    let mut config = Config::new(vec![server], [7; 32]);
    // Otherwise the bytes behind an INFO that offers TLS are an injection or not, by the cut.
    config.tls = TlsMode::Never;
    config.verbose = setup & 2 != 0;
    config.reconnect = setup & 4 != 0;
    // Small, so that short inputs get past every bound.
    config.read_chunk = 64;
    config.max_chunks = 2;
    config.max_control_line = 100;
    config.max_info = 200;
    config.max_message = 30;
    config
}

/// What a run looked like from outside.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    events: Vec<String>,
    written: Vec<u8>,
    wait: Wait,
}

struct Run {
    connection: Connection,
    live: Option<Attempt>,
    wait: Wait,
    events: Vec<String>,
    written: Vec<u8>,
    cuts: Cuts,
    polls: usize,
}

fn run(setup: u8, bytes: &[u8], cuts: Cuts) -> Seen {
    let mut run = Run {
        connection: Connection::new(config(setup)).expect("a good configuration"),
        live: None,
        wait: Wait::default(),
        events: Vec::new(),
        written: Vec::new(),
        cuts,
        polls: 0,
    };
    run.settle();
    let attempt = run.live.expect("a connection begins with an attempt");
    run.connection.connected(attempt, false, NOW);
    run.settle();
    if setup & 1 == 0 {
        run.come_up(setup);
    }
    // From here on the transport takes nothing, so that no cut lets an answer out before another.
    let before = run.written.len();
    run.polls = 0;
    run.feed(bytes);
    let bound = 8 * (bytes.len() + 100);
    assert!(run.polls < bound, "{} polls for {} bytes", run.polls, bytes.len());

    run.write();
    let wait = run.wait;
    run.connection.close(Duration::ZERO);
    run.settle();
    assert!(run.connection.is_closed(), "a close without lingering closes");
    Seen { events: run.events, written: run.written.split_off(before), wait }
}

const NOW: Instant = Instant::from_nanos(1_000_000_000);

impl Run {
    /// Subscriptions 1 to 3, a request with its inbox at 4, messages, a flush.
    fn come_up(&mut self, setup: u8) {
        let subject = SubjectRef::new("a").expect("a subject");
        let connection = &mut self.connection;
        let sids = [(); 3].map(|()| connection.subscribe(subject, None).expect("room"));
        self.feed(INFO);
        self.write();
        self.feed(b"PONG\r\n");
        assert!(self.connection.is_connected());
        let connection = &mut self.connection;
        let deadline = NOW + Duration::from_secs(1);
        for payload in [b"x", b"y", b"z"] {
            connection.request(subject, None, payload, deadline).expect("room");
            connection.publish(subject, None, None, payload).expect("room");
        }
        connection.flush().expect("room");
        connection.unsubscribe(sids[1], Some(2));
        if setup & 8 != 0 {
            connection.drain_subscription(sids[2]);
        }
        if setup & 16 != 0 {
            connection.drain();
        }
        if setup & 32 != 0 {
            connection.close(Duration::from_secs(1));
        }
        if setup & 64 != 0 {
            connection.reconnect();
        }
        self.settle();
        self.write();
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.wait.read {
            let cut = self.cuts.next();
            let count = if self.cuts.lent() {
                let mut buffer = self.connection.take_read().expect("`read` means a buffer");
                let count = buffer.len().min(bytes.len()).min(cut);
                buffer[..count].copy_from_slice(&bytes[..count]);
                self.connection.filled(buffer, count);
                count
            } else {
                let room = self.connection.read_buf();
                assert!(room.len() <= ROOM, "{} bytes of room", room.len());
                let count = room.len().min(bytes.len()).min(cut);
                room[..count].copy_from_slice(&bytes[..count]);
                self.connection.received(count);
                count
            };
            assert!(count > 0, "`read` without room");
            bytes = &bytes[count..];
            self.settle();
        }
    }

    fn write(&mut self) {
        while self.connection.transmit().has_remaining() {
            let out = self.connection.transmit();
            let count = out.remaining();
            self.written.extend_from_slice(out.chunk());
            out.advance(count);
            self.settle();
        }
    }

    /// Polls until idle.
    fn settle(&mut self) {
        let wait = loop {
            self.polls += 1;
            let mut sink = Lines(&mut self.events);
            let output = if self.cuts.lent() {
                self.connection.poll_into(NOW, 100, &mut sink)
            } else {
                self.connection.poll(NOW)
            };
            match output {
                Output::Action(action) => self.act(action),
                Output::Event(event) => self.events.push(describe(&event)),
                Output::Yield => {}
                Output::Idle(wait) => break wait,
            }
        };
        assert!(wait.until.is_none_or(|until| until > NOW), "{wait:?}");
        assert!(matches!(self.connection.poll(NOW), Output::Idle(again) if again == wait));
        self.wait = wait;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Resolve { attempt, .. } | Action::Connect { attempt, .. } => {
                assert_eq!(self.live.replace(attempt), None, "one live attempt");
            }
            Action::Close { attempt } => assert_eq!(self.live.take(), Some(attempt)),
            _ => {}
        }
    }
}

/// Messages and replies among the other events.
struct Lines<'a>(&'a mut Vec<String>);

impl Sink for Lines<'_> {
    fn message(&mut self, sid: Sid, message: Message) {
        self.0.push(describe(&Event::Message(sid, message)));
    }

    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>) {
        self.0.push(describe(&Event::Response(id, result)));
    }
}
