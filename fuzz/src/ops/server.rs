//! The server at the other end of one transport: reads what the connection writes, and says what
//! it is told to, which is honest unless the bytes are raw.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use midge_proto::wire::{
    ClientOp, ConnectInfo, Limits, ServerError, ServerInfo, decode_client, encode,
};

use super::super::input::Input;
use super::ledger::{Begun, Ledger};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) subject: Vec<u8>,
    pub(super) queue: Option<Vec<u8>>,
    /// Messages from its SUB on.
    pub(super) max: Option<u64>,
    pub(super) sent: u64,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    /// What is not a whole operation yet.
    received: Vec<u8>,
    /// On its way to the connection.
    queue: VecDeque<u8>,
    queued: u64,
    taken: u64,
    /// Where in the stream each PONG ends, and what it answers.
    pongs: VecDeque<(u64, u64)>,
    greeted: bool,
    /// The PONG of the first PING was taken: user data may come.
    up: bool,
    /// What was read before each PING that waits for its PONG.
    pings: VecDeque<u64>,
    /// A PING was read.
    pub(super) pinged: bool,
    pings_sent: u64,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    known: BTreeSet<u64>,
    requests: Vec<(u64, Vec<u8>)>,
    /// Said something raw: what the connection believes of it proves nothing.
    pub(super) tainted: bool,
    /// Refused a subscription without naming it: the tables may differ.
    pub(super) vague: bool,
}

impl Server {
    pub(super) fn new(info: &ServerInfo) -> Self {
        let mut server = Self::default();
        server.say(|out| encode::info(out, &info.to_json()));
        server
    }

    // ---- what the connection writes ------------------------------------------------------

    pub(super) fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger) {
        self.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        loop {
            match decode_client(rest, &Limits::default()) {
                Ok(Some((op, length))) => {
                    self.operation(op, ledger);
                    rest = &rest[length..];
                }
                Ok(None) => break,
                Err(error) => panic!("{error}: {}", rest.escape_ascii()),
            }
        }
        self.received = rest.to_vec();
    }

    fn operation(&mut self, op: ClientOp<'_>, ledger: &mut Ledger) {
        let first = !self.greeted;
        assert_eq!(first, matches!(op, ClientOp::Connect(_)), "CONNECT comes first and once");
        match op {
            ClientOp::Connect(json) => {
                let connect = ConnectInfo::parse(json).expect("CONNECT is JSON");
                assert_eq!(connect.headers, connect.no_responders);
                self.greeted = true;
            }
            ClientOp::Publish { reply, headers, payload, .. } => {
                assert!(self.up || self.tainted, "user data before the first PONG");
                assert!(headers.is_none_or(|block| block == b"NATS/1.0\r\nA: b\r\n\r\n"));
                let digits = payload.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (number, filling) = payload.split_at(digits);
                assert!(filling.iter().all(|byte| *byte == b'.'), "a payload was torn");
                let number = std::str::from_utf8(number).expect("digits");
                let position = number.parse().expect("a payload begins with a position");
                ledger.read(position);
                // Others are answered by nobody.
                if let Some(reply) = reply.filter(|reply| reply.starts_with(b"_INBOX.")) {
                    let inbox = self.inbox(reply);
                    assert!(inbox.is_some() || self.vague || self.tainted, "no SUB for replies");
                    self.requests.push((position, reply.to_vec()));
                }
            }
            ClientOp::Subscribe { subject, queue, sid } => {
                let sid = number(sid);
                assert!(self.known.insert(sid), "SUB {sid} comes twice");
                let (subject, queue) = (subject.to_vec(), queue.map(<[u8]>::to_vec));
                self.subscriptions.insert(sid, Subscription { subject, queue, max: None, sent: 0 });
            }
            ClientOp::Unsubscribe { sid, max } => {
                let sid = number(sid);
                assert!(self.known.contains(&sid), "UNSUB {sid} overtakes its SUB");
                let Some(subscription) = self.subscriptions.get_mut(&sid) else { return };
                subscription.max = max.filter(|max| *max > 0);
                if subscription.max.is_none_or(|max| subscription.sent >= max) {
                    self.subscriptions.remove(&sid);
                }
            }
            ClientOp::Ping => {
                self.pinged = true;
                self.pings.push_back(ledger.next());
            }
            ClientOp::Pong => {
                assert!(self.pings_sent > 0 || self.tainted, "a PONG that answers nothing");
                self.pings_sent = self.pings_sent.saturating_sub(1);
            }
            other => panic!("{other:?}"),
        }
    }

    /// The subscription that replies to `reply` go to.
    fn inbox(&self, reply: &[u8]) -> Option<u64> {
        let matches = |subject: &[u8]| {
            subject.strip_suffix(b"*").is_some_and(|prefix| reply.starts_with(prefix))
        };
        self.subscriptions.iter().find(|(_, other)| matches(&other.subject)).map(|(sid, _)| *sid)
    }

    /// What of a frame has come when the transport ends.
    pub(super) fn begun(&self) -> Begun {
        match self.received[..] {
            [b'P', b'U', ..] | [b'H', ..] => Begun::Message,
            [b'P'] => Begun::Maybe,
            _ => Begun::Nothing,
        }
    }

    // ---- what it says --------------------------------------------------------------------

    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.queued += bytes.len() as u64;
        self.queue.extend(bytes);
    }

    /// Bytes that are on their way to the connection.
    pub(super) fn pending(&mut self) -> &[u8] {
        self.queue.make_contiguous()
    }

    /// The connection took the first `count` of them.
    pub(super) fn took(&mut self, count: usize, ledger: &mut Ledger) {
        self.queue.drain(..count);
        self.taken += count as u64;
        while let Some((_, next)) = self.pongs.pop_front_if(|(end, _)| *end <= self.taken) {
            self.up = true;
            ledger.answered(next);
        }
    }

    /// Answers the oldest PING, if there is one.
    pub(super) fn pong(&mut self) -> bool {
        let Some(next) = self.pings.pop_front() else { return false };
        self.say(encode::pong);
        self.pongs.push_back((self.queued, next));
        true
    }

    /// Sends message `number` to a subscription, and tells to which.
    pub(super) fn message(&mut self, input: &mut Input<'_>, number: u64, size: usize) {
        let which = usize::from(input.byte());
        let callers = |subscription: &Subscription| !subscription.subject.ends_with(b"*");
        let live = self.subscriptions.iter().filter(|(_, subscription)| callers(subscription));
        let live: Vec<u64> = live.map(|(sid, _)| *sid).collect();
        let Some(sid) = live.get(which % live.len().max(1)).copied() else { return };
        let mut payload = format!("{number}.").into_bytes();
        payload.resize(payload.len().max(size), b'x');
        let headers = (which >= 128).then_some(&b"NATS/1.0\r\nA: b\r\n\r\n"[..]);
        let token = sid.to_string();
        self.say(|out| encode::message(out, b"s", token.as_bytes(), None, headers, &payload));
        self.count(sid);
    }

    fn count(&mut self, sid: u64) {
        if let Some(subscription) = self.subscriptions.get_mut(&sid) {
            subscription.sent += 1;
            if subscription.max.is_some_and(|max| subscription.sent >= max) {
                self.subscriptions.remove(&sid);
            }
        }
    }

    /// Answers a request with its position, or says that nobody does.
    pub(super) fn reply(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte());
        if self.requests.is_empty() {
            return;
        }
        let (position, reply) = self.requests.remove(which % self.requests.len());
        let Some(sid) = self.inbox(&reply) else { return };
        let (sid, position) = (sid.to_string(), position.to_string());
        let nobody = (which >= 192).then_some(&b"NATS/1.0 503\r\n\r\n"[..]);
        let payload = if nobody.is_some() { &[] } else { position.as_bytes() };
        self.say(|out| encode::message(out, &reply, sid.as_bytes(), None, nobody, payload));
    }

    pub(super) fn ping(&mut self) {
        self.pings_sent += 1;
        self.say(encode::ping);
    }

    pub(super) fn ok(&mut self) {
        self.say(encode::ok);
    }

    pub(super) fn info(&mut self, info: &ServerInfo) {
        self.say(|out| encode::info(out, &info.to_json()));
    }

    pub(super) fn error(&mut self, input: &mut Input<'_>) {
        let kind = input.byte() % 10;
        let which = usize::from(input.byte());
        let error = match kind {
            0 | 1 => {
                let sids: Vec<u64> = self.subscriptions.keys().copied().collect();
                let Some(sid) = sids.get(which % sids.len().max(1)) else { return };
                let Some(subscription) = self.subscriptions.remove(sid) else { return };
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                self.vague |= kind == 1 || subscription.subject.ends_with(b"*");
                ServerError::SubscribePermission {
                    subject: text(subscription.subject),
                    queue: subscription.queue.map(text),
                    sid: (kind == 0).then_some(*sid),
                    too_many_tokens: false,
                }
            }
            2 => ServerError::PublishPermission { subject: "p".to_owned() },
            3 => match self.requests.get(which % self.requests.len().max(1)) {
                Some((_, reply)) => ServerError::PublishReplyPermission {
                    reply: String::from_utf8_lossy(reply).into_owned(),
                },
                None => return,
            },
            4 => ServerError::AuthorizationViolation,
            5 => ServerError::StaleConnection,
            6 => ServerError::UserAuthenticationExpired,
            7 => ServerError::Other("something new".to_owned()),
            8 => ServerError::InvalidClientProtocol,
            _ => ServerError::InvalidSubject,
        };
        self.say(|out| encode::err(out, &error.to_text()));
    }

    /// Says anything at all.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.tainted = true;
        self.say(|out| out.extend_from_slice(bytes));
    }
}

fn number(sid: &[u8]) -> u64 {
    std::str::from_utf8(sid).ok().and_then(|sid| sid.parse().ok()).expect("sids are numbers")
}
