//! What the benches share: the messages they move, a connection that is up, and the limit.
//!
//! One iteration of a bench is [`MESSAGES`] messages, so a time shown in µs reads as ns a message.

use std::hint::black_box;

use bytes::Buf;
use midge_proto::wire::encode;
use midge_proto::{
    Action, Config, Connection, HeaderMap, Instant, Message, Output, RequestError, RequestId,
    ServerUrl, Sid, Sink, SubjectRef,
};

/// Messages of one iteration.
pub const MESSAGES: usize = 1000;
/// Payload sizes in bytes.
pub const SIZES: [usize; 3] = [16, 128, 1024];
/// The subject that is published to, 17 bytes.
pub const SUBJECT: &str = "orders.eu.created";
/// Bytes of messages that one turn of a driver takes in, as in `midge`.
pub const TURN_BYTES: usize = 64 * 1024;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
/// Bytes that a driver writes at once, as in `midge-tokio`.
pub const WRITE_BYTES: usize = 256 * 1024;
/// Bytes after which a connection asks for a confirmation, by default.
const CONFIRM_BYTES: usize = 256 * 1024;

/// A payload of `size` bytes.
pub fn payload(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

/// Appends three headers, 79 bytes as a block.
pub fn fill_headers(headers: &mut HeaderMap) {
    for (name, value) in
        [("Nats-Msg-Id", "8a2f41"), ("Content-Type", "text/plain"), ("Trace", "00-4bf92f35")]
    {
        headers.append(name, value).expect("a constant that is a header");
    }
}

/// Three headers.
pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    fill_headers(&mut headers);
    headers
}

/// What a publisher sends: [`MESSAGES`] frames of PUB, or of HPUB.
pub fn publishes(size: usize, headers: Option<&HeaderMap>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = payload(size);
    let block = headers.map(HeaderMap::as_bytes);
    for _ in 0..MESSAGES {
        encode::publish(&mut bytes, SUBJECT.as_bytes(), None, block, &payload);
    }
    bytes
}

/// What a server sends: [`MESSAGES`] frames of MSG, or of HMSG. The subscriptions take turns in
/// an order that is not that of their numbers.
pub fn messages(size: usize, headers: Option<&HeaderMap>, sids: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = payload(size);
    let block = headers.map(HeaderMap::as_bytes);
    for number in 0..MESSAGES {
        let sid = sids[number * 379 % sids.len()].to_string();
        encode::message(&mut bytes, SUBJECT.as_bytes(), sid.as_bytes(), None, block, &payload);
    }
    bytes
}

/// The limit that ratios refer to: the same bytes, copied to memory that is already there.
#[derive(Debug)]
pub struct Copy {
    from: Vec<u8>,
    to: Vec<u8>,
    at: usize,
}

impl Copy {
    /// Copies `bytes`, which must not be empty.
    pub fn new(bytes: Vec<u8>) -> Self {
        let to = vec![0; bytes.len() + 4096];
        // Some processors copy at a fraction of their speed to a target that lies a few bytes
        // behind its source modulo 4096. Half a page is far from that.
        let distance = (to.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize) % 4096;
        let at = (2048 + 4096 - distance) % 4096;
        Self { from: bytes, to, at }
    }

    /// Copies all of it at once.
    pub fn run(&mut self) -> &[u8] {
        let to = &mut self.to[self.at..self.at + self.from.len()];
        to.copy_from_slice(&self.from);
        to
    }
}

/// A connection that is up, as a driver on one thread sees it.
#[derive(Debug)]
pub struct Up {
    /// The connection.
    pub connection: Connection,
    /// Its subscriptions, as they stand on the wire.
    pub sids: Vec<u64>,
}

impl Up {
    /// Connects, and subscribes so many times. Everything is written.
    pub fn new(subscriptions: usize) -> Self {
        let server = ServerUrl::parse("127.0.0.1").expect("a constant that is an address");
        let connection =
            Connection::new(Config::new(vec![server], [7; 32])).expect("defaults are valid");
        let mut up = Self { connection, sids: Vec::new() };
        while !up.connection.is_connected() {
            match up.connection.poll(NOW) {
                Output::Action(Action::Connect { attempt, .. }) => {
                    up.connection.connected(attempt, false, NOW);
                }
                Output::Idle(wait) if wait.write => up.write(),
                Output::Idle(_) if up.connection.statistics().in_bytes == 0 => {
                    let info = r#"{"server_id":"S","max_payload":1048576,"headers":true}"#;
                    up.fill(format!("INFO {info} \r\n").as_bytes());
                }
                Output::Idle(_) => {
                    up.fill(b"PONG\r\n");
                }
                _ => {}
            }
        }
        for number in 0..subscriptions {
            let subject = format!("orders.{number}.*");
            let subject = SubjectRef::new(&subject).expect("three tokens");
            let sid = up.connection.subscribe(subject, None).expect("below every bound");
            up.sids.push(sid.number());
        }
        up.settle();
        up
    }

    /// Publishes a message to [`SUBJECT`], which is checked, without a reply.
    #[inline]
    pub fn publish(&mut self, headers: Option<&HeaderMap>, payload: &[u8]) {
        let subject = SubjectRef::new(black_box(SUBJECT)).expect("a constant that is a subject");
        let result = self.connection.publish(subject, None, headers, payload);
        result.expect("the queue is written out before it is full");
    }

    /// The transport takes all there is, through the face for a sole owner.
    pub fn write(&mut self) {
        loop {
            let outbound = self.connection.transmit();
            let count = outbound.chunk().len();
            if count == 0 {
                return;
            }
            outbound.advance(count);
        }
    }

    /// The transport takes all there is, in batches of at most [`WRITE_BYTES`].
    pub fn write_batches(&mut self) {
        while let Some(batch) = self.connection.take_transmit(WRITE_BYTES) {
            let count = batch.as_slice().len();
            self.connection.settle(batch, count);
        }
    }

    /// The server answers every PING that `bytes` of messages made the connection send.
    pub fn confirm(&mut self, bytes: usize) {
        // One that answers nothing is ignored.
        for _ in 0..=bytes / CONFIRM_BYTES {
            self.fill(b"PONG\r\n");
        }
        self.receive(&mut Count::default());
    }

    /// Brings the queue back to empty and confirmed.
    pub fn settle(&mut self) {
        let bytes = self.connection.pending_bytes();
        self.write();
        self.confirm(bytes);
    }

    /// The transport delivers `bytes`; everything is taken in.
    pub fn deliver(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        while !bytes.is_empty() {
            let taken = self.fill(bytes);
            bytes = &bytes[taken..];
            self.receive(sink);
        }
    }

    /// One read from the transport.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.connection.read_buf();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.connection.received(count);
        count
    }

    fn receive(&mut self, sink: &mut impl Sink) {
        while !matches!(self.connection.poll_into(NOW, TURN_BYTES, sink), Output::Idle(_)) {}
    }
}

/// Counts messages and drops them.
#[derive(Debug, Default)]
pub struct Count {
    /// So many came.
    pub messages: usize,
    /// So many bytes of payload were in them.
    pub bytes: usize,
}

impl Sink for Count {
    #[inline]
    fn message(&mut self, _: Sid, message: Message) {
        self.messages += 1;
        self.bytes += message.payload().len();
    }

    fn response(&mut self, _: RequestId, _: Result<Message, RequestError>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_published_is_written_and_confirmed() {
        for batches in [false, true] {
            let mut up = Up::new(0);
            let payload = payload(1024);
            for _ in 0..10 {
                for _ in 0..MESSAGES {
                    up.publish(None, &payload);
                }
                let bytes = up.connection.pending_bytes();
                assert_eq!(bytes, publishes(1024, None).len());
                if batches {
                    up.write_batches()
                } else {
                    up.write()
                }
                up.confirm(bytes);
                up.settle();
            }
            assert_eq!(up.connection.pending_bytes(), 0);
            let statistics = up.connection.statistics();
            assert_eq!(statistics.out_messages, 10 * MESSAGES as u64);
            // What was published behind the last PING is confirmed after a while.
            let late = (CONFIRM_BYTES / 1024) as u64;
            assert!(statistics.confirmed + late >= statistics.out_messages, "{statistics:?}");
        }
    }

    #[test]
    fn everything_delivered_is_counted() {
        for subscriptions in [1, 1000] {
            let mut up = Up::new(subscriptions);
            let frames = messages(128, Some(&headers()), &up.sids);
            let mut count = Count::default();
            up.deliver(&frames, &mut count);
            assert_eq!((count.messages, count.bytes), (MESSAGES, 128 * MESSAGES));
        }
    }

    #[test]
    fn headers_are_as_long_as_said() {
        assert_eq!(headers().as_bytes().len(), 79);
        assert_eq!(headers().len(), 3);
    }
}
