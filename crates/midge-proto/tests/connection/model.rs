//! A server that reads what a client wrote to one transport, and keeps account of it.

use std::collections::{BTreeMap, BTreeSet};

use midge_proto::Attempt;
use midge_proto::wire::{ClientOp, Limits, decode_client, encode};

/// What the bytes behind the last whole frame are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Nothing,
    /// Too short to tell.
    Unclear,
    /// The publish with this number.
    Publish(u64),
    Control,
}

/// The server's end of one transport. Every publish carries its number in subject and payload.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) attempt: Attempt,
    /// The numbers of the publishes that came whole, in order.
    pub(crate) frames: Vec<u64>,
    /// It answers nothing but what it was asked, and only once.
    pub(crate) honest: bool,
    /// A SUB was refused: the table is not known any more.
    pub(crate) refused: bool,
    /// What became of the frames has been told.
    pub(crate) accounted: bool,
    wire: Vec<u8>,
    parsed: usize,
    connected: bool,
    /// It has said its last word.
    over: bool,
    /// For each PING, how many publishes came before it.
    pings: Vec<usize>,
    answered: usize,
    to_client: Vec<u8>,
    delivered: usize,
    /// Bytes that the client has decoded for certain.
    seen: usize,
    /// Where each PONG ends in `to_client`.
    pongs: Vec<usize>,
    /// The subscriptions, each with the messages sent to it and the number at which it ends.
    table: BTreeMap<u64, (u64, Option<u64>)>,
    ever: BTreeSet<u64>,
}

pub(crate) fn subject(number: u64) -> String {
    format!("n.{number:06}")
}

/// A payload of at least `size` bytes that begins with the number.
pub(crate) fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = format!("{number:06}").into_bytes();
    payload.resize(size.max(6), b'.');
    payload
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

impl Peer {
    pub(crate) fn new(attempt: Attempt, info: &str) -> Self {
        Self {
            attempt,
            frames: Vec::new(),
            honest: true,
            refused: false,
            accounted: false,
            wire: Vec::new(),
            parsed: 0,
            connected: false,
            over: false,
            pings: Vec::new(),
            answered: 0,
            to_client: format!("{info}\r\n").into_bytes(),
            delivered: 0,
            seen: 0,
            pongs: Vec::new(),
            table: BTreeMap::new(),
            ever: BTreeSet::new(),
        }
    }

    // ---- from the client -----------------------------------------------------------------

    /// The transport took these bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
        let limits = Limits::default();
        while let Some((op, len)) =
            decode_client(&self.wire[self.parsed..], &limits).expect("the client speaks NATS")
        {
            match op {
                ClientOp::Connect(_) => {
                    assert!(!self.connected, "CONNECT twice");
                    self.connected = true;
                }
                ClientOp::Publish { subject, payload, .. } => {
                    let sent = number(subject.strip_prefix(b"n.").expect("a subject of the test"));
                    assert_eq!(sent, number(&payload[..6]), "a frame of two halves");
                    assert!(self.frames.last().is_none_or(|last| *last < sent), "out of order");
                    assert!(!self.pongs.is_empty(), "user data before the first PONG");
                    self.frames.push(sent);
                }
                ClientOp::Subscribe { sid, .. } => {
                    let sid = number(sid);
                    assert!(self.ever.insert(sid), "SUB {sid} twice");
                    self.table.insert(sid, (0, None));
                }
                ClientOp::Unsubscribe { sid, max } => {
                    let sid = number(sid);
                    assert!(self.ever.contains(&sid), "UNSUB {sid} before its SUB");
                    match (max, self.table.get_mut(&sid)) {
                        (Some(max), Some((sent, end))) if max > *sent => *end = Some(max),
                        _ => drop(self.table.remove(&sid)),
                    }
                }
                ClientOp::Ping => self.pings.push(self.frames.len()),
                ClientOp::Pong => {}
                other => panic!("{other:?}"),
            }
            assert!(self.connected, "something before CONNECT");
            self.parsed += len;
        }
    }

    pub(crate) fn cut(&self) -> Cut {
        let rest = &self.wire[self.parsed..];
        match rest {
            [] => Cut::Nothing,
            [b'P', b'U', b'B', b' ', b'n', b'.', digits @ ..] if digits.len() >= 6 => {
                Cut::Publish(number(&digits[..6]))
            }
            [b'P'] | [b'P', b'U', ..] => Cut::Unclear,
            _ => Cut::Control,
        }
    }

    /// True when a byte of the publish came, as far as one can tell.
    pub(crate) fn has_seen(&self, number: u64) -> bool {
        self.frames.binary_search(&number).is_ok() || self.cut() == Cut::Publish(number)
    }

    // ---- to the client -------------------------------------------------------------------

    /// Answers what came.
    pub(crate) fn answer(&mut self) {
        while self.answered < self.pings.len() && !self.over {
            self.answered += 1;
            encode::pong(&mut self.to_client);
            self.pongs.push(self.to_client.len());
        }
    }

    /// Says something that nobody asked for.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        if !self.over {
            self.to_client.extend_from_slice(bytes);
        }
    }

    /// An error, and nothing after it.
    pub(crate) fn expel(&mut self) {
        self.say(b"-ERR 'User Authentication Expired'\r\n");
        self.over = true;
    }

    /// A PONG that answers nothing, or not yet.
    pub(crate) fn lie(&mut self) {
        self.honest = false;
        if self.over {
            return;
        }
        self.say(b"PONG\r\n");
        self.pongs.push(self.to_client.len());
    }

    /// A message for a subscription that it knows.
    pub(crate) fn deliver(&mut self, which: usize, size: usize) {
        let Some((&sid, (sent, end))) = self.table.iter_mut().nth(which) else { return };
        *sent += 1;
        if *end == Some(*sent) {
            self.table.remove(&sid);
        }
        let sid = sid.to_string();
        let mut frame = Vec::new();
        encode::message(&mut frame, b"s.x", sid.as_bytes(), None, None, &vec![b'm'; size]);
        self.say(&frame);
    }

    /// Bytes on their way to the client.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.to_client[self.delivered..]
    }

    pub(crate) fn read(&mut self, count: usize) {
        self.delivered += count;
    }

    /// The client has decoded all that it was given.
    pub(crate) fn decoded(&mut self) {
        self.seen = self.delivered;
    }

    // ---- what must be ----------------------------------------------------------------------

    /// How many publishes came before the last PING whose PONG is among the first `bytes`.
    fn confirmed_by(&self, bytes: usize) -> usize {
        let pongs = self.pongs.iter().filter(|end| **end <= bytes).count();
        let answered = pongs.min(self.pings.len());
        answered.checked_sub(1).map_or(0, |last| self.pings[last])
    }

    /// The fewest and the most publishes that the client may hold for confirmed.
    pub(crate) fn confirmed(&self) -> (usize, usize) {
        let most = self.confirmed_by(self.delivered);
        (if self.honest { self.confirmed_by(self.seen) } else { 0 }, most)
    }

    /// The subscriptions that it delivers to.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = u64> + '_ {
        self.table.keys().copied()
    }
}
