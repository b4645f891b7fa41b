//! JetStream of the model: one store for all servers of a cluster, and one server that leads it.
//!
//! The leader alone answers the API, takes messages into streams, and serves consumers. What it has
//! acknowledged outlives every server. When it stops, nobody leads for a while, and what only it
//! knew is lost: the pulls that wait, and consumers in memory without replicas.

mod api;
mod consumer;
mod get;
mod leader;
mod pull;
mod stream;

use std::collections::BTreeMap;

use bytes::Bytes;
use midge_jetstream::Time;
use midge_proto::Instant;

use super::cluster::{ClientId, Cluster, ServerId};
use super::delivery::Message;
use super::interest::matches;
use super::journal::Publish;
use super::routes::For;
use crate::Rng;
use leader::Leadership;
use stream::Stream;

pub use stream::Stored;

/// 2026-01-01T00:00:00Z is when virtual time begins, as streams tell it.
const EPOCH: i128 = 1_767_225_600_000_000_000;

/// Bytes that a push consumer sends at first without a confirmation.
const FLOW_WINDOW: usize = 2 << 20;

/// Where the chance of JetStream begins, apart from that of the cluster.
const SALT: u64 = 0x6a73_0000;

fn time(at: Instant) -> Time {
    Time::from_unix_nanos(EPOCH + i128::from(at.as_nanos()))
}

/// What the servers of a cluster share.
#[derive(Debug)]
pub(super) struct JetStream {
    rng: Rng,
    leadership: Leadership,
    streams: BTreeMap<String, Stream>,
    /// When there is something to do, unless something happens before.
    due: Option<Instant>,
    /// Messages that the replica lacks which answers direct gets.
    behind: usize,
    /// Bytes that a push consumer sends at first without a confirmation.
    window: usize,
}

impl JetStream {
    /// `seed` decides elections, what is heard without a leader, and made up names.
    pub(super) fn new(seed: u64) -> Self {
        let (leadership, streams) = (Leadership::default(), BTreeMap::new());
        let rng = Rng::new(seed ^ SALT);
        Self { rng, leadership, streams, due: None, behind: 0, window: FLOW_WINDOW }
    }
}

/// A message of JetStream to a client.
#[derive(Debug, Default)]
struct Say {
    /// Where it goes.
    to: Bytes,
    /// The subject that it has.
    subject: Bytes,
    reply: Option<Bytes>,
    headers: Option<Bytes>,
    payload: Bytes,
}

impl Say {
    /// An answer.
    fn answer(to: &Bytes, payload: impl Into<Bytes>) -> Self {
        Self { to: to.clone(), subject: to.clone(), payload: payload.into(), ..Self::default() }
    }

    /// Words of the server itself: a status line and headers.
    fn status(to: &Bytes, line: &str) -> Self {
        let headers = Some(Bytes::from(format!("NATS/1.0 {line}\r\n\r\n")));
        Self { headers, ..Self::answer(to, "") }
    }
}

/// Whether somebody listens on a subject.
type Interest<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What one operation of the leader has: the time, who listens, and what it has to say.
struct Turn<'a> {
    now: Instant,
    interest: Interest<'a>,
    says: Vec<Say>,
    /// Answers of the API, which come behind what is delivered.
    answers: Vec<Say>,
}

impl JetStream {
    pub(super) fn next(&self) -> Option<Instant> {
        [self.due, self.leadership.next()].into_iter().flatten().min()
    }

    /// Whether the leader listens on a subject.
    fn listens(&self, subject: &[u8]) -> bool {
        let text = std::str::from_utf8(subject).unwrap_or_default();
        if let Some(call) = text.strip_prefix("$JS.API.") {
            if let Some(get) = call.strip_prefix("DIRECT.GET.") {
                let stream = self.streams.get(get.split('.').next().unwrap_or(""));
                return stream.is_some_and(|stream| stream.config.allow_direct);
            }
            let next = call.strip_prefix("CONSUMER.MSG.NEXT.").map(|it| it.split_once('.'));
            return next.is_none_or(|names| names.is_some_and(|(s, c)| self.has_consumer(s, c)));
        }
        if let Some(rest) = text.strip_prefix("$JS.ACK.").or(text.strip_prefix("$JS.FC.")) {
            let mut names = rest.split('.');
            let (stream, consumer) = (names.next(), names.next());
            return self.has_consumer(stream.unwrap_or(""), consumer.unwrap_or(""));
        }
        self.stream_of(subject).is_some()
    }

    fn has_consumer(&self, stream: &str, consumer: &str) -> bool {
        self.streams.get(stream).is_some_and(|it| it.consumers.contains_key(consumer))
    }

    /// The stream that a message goes into.
    fn stream_of(&self, subject: &[u8]) -> Option<&str> {
        let takes = |stream: &Stream| {
            stream.config.subjects.iter().any(|pattern| matches(pattern.as_bytes(), subject))
        };
        self.streams.iter().find(|(_, stream)| takes(stream)).map(|(name, _)| name.as_str())
    }

    /// The leader gets a message.
    fn take(&mut self, message: &Message, turn: &mut Turn<'_>) {
        let text = std::str::from_utf8(&message.subject).unwrap_or_default();
        if let Some(call) = text.strip_prefix("$JS.API.") {
            self.call(call, message, turn);
        } else if let Some(rest) = text.strip_prefix("$JS.ACK.") {
            let tokens: Vec<&str> = rest.split('.').collect();
            if let &[stream, consumer, _, sequence, ..] = tokens.as_slice()
                && let Some(stream) = self.streams.get_mut(stream)
                && let Ok(sequence) = sequence.parse()
            {
                stream.acked(consumer, sequence, message, turn);
            }
        } else if let Some(rest) = text.strip_prefix("$JS.FC.") {
            let mut names = rest.split('.');
            if let Some(stream) = names.next().and_then(|name| self.streams.get_mut(name))
                && let Some(consumer) = names.next().and_then(|it| stream.consumers.get_mut(it))
            {
                consumer.flow_confirmed(&message.subject, turn.now);
            }
        } else if let Some(name) = self.stream_of(&message.subject).map(ToOwned::to_owned)
            && let Some(stream) = self.streams.get_mut(&name)
        {
            stream.store(message, turn);
        }
    }

    /// Delivers what can be, and whatever else is due.
    fn serve(&mut self, turn: &mut Turn<'_>) {
        self.due = None;
        for (name, stream) in &mut self.streams {
            let due = stream.serve(name, &mut self.rng, turn);
            self.due = self.due.into_iter().chain(due).min();
        }
    }
}

impl Cluster {
    /// The server that leads JetStream, if one does.
    pub fn jetstream_leader(&self) -> Option<ServerId> {
        self.jetstream.leadership.leader().map(ServerId)
    }

    /// What a stream has stored, in order, also what its limits have taken away. Nothing when it does
    /// not exist.
    pub fn stored(&self, stream: &str) -> &[Stored] {
        self.jetstream.streams.get(stream).map_or(&[], |stream| &stream.messages)
    }

    /// The names of a stream's consumers.
    pub fn consumers(&self, stream: &str) -> Vec<String> {
        let stream = self.jetstream.streams.get(stream);
        stream.iter().flat_map(|stream| stream.consumers.keys().cloned()).collect()
    }

    /// Direct gets are answered by a replica that lacks so many of the last messages of each stream.
    pub fn set_replica_behind(&mut self, messages: usize) {
        self.jetstream.behind = messages;
    }

    /// Push consumers with flow control that are made from now on send so many bytes at first without
    /// a confirmation, in place of 2 MiB, and sixteen times as many in the end.
    pub fn set_flow_window(&mut self, bytes: usize) {
        self.jetstream.window = bytes;
    }

    /// Gives a message that `server` has got to JetStream, if that listens; whether it does.
    pub(super) fn offer_to_jetstream(
        &mut self,
        server: usize,
        message: &Message,
        now: Instant,
    ) -> bool {
        let Some(leader) = self.jetstream.leadership.leader() else {
            return self.without_leader(server, message, now);
        };
        if !self.jetstream.listens(&message.subject) {
            return false;
        }
        if leader == server {
            self.take_for_jetstream(server, message, now);
            return true;
        }
        let running = self.nodes[server].running.as_ref();
        let reachable = running.is_some_and(|running| running.remote.contains_key(&leader));
        if reachable {
            self.push_message(server, leader, message, For::JetStream, now);
        }
        reachable
    }

    /// What was meant for JetStream has reached a server, which may lead no more.
    pub(super) fn take_for_jetstream(&mut self, server: usize, message: &Message, now: Instant) {
        if self.jetstream.leadership.leader() == Some(server) {
            self.turn(server, now, |jetstream, turn| jetstream.take(message, turn));
        }
    }

    /// Does what is due.
    pub(super) fn run_jetstream(&mut self, now: Instant) {
        self.lead(now);
        if let Some(leader) = self.jetstream.leadership.leader()
            && self.jetstream.due.is_some_and(|due| due <= now)
        {
            self.turn(leader, now, |_, _| {});
        }
    }

    /// The leader does something, and then serves its consumers.
    fn turn(
        &mut self,
        leader: usize,
        now: Instant,
        run: impl FnOnce(&mut JetStream, &mut Turn<'_>),
    ) {
        let mut jetstream = std::mem::replace(&mut self.jetstream, JetStream::new(0));
        let interest = |subject: &[u8]| self.is_heard(leader, subject);
        let mut turn = Turn { now, interest: &interest, says: Vec::new(), answers: Vec::new() };
        run(&mut jetstream, &mut turn);
        jetstream.serve(&mut turn);
        let Turn { mut says, answers, .. } = turn;
        says.extend(answers);
        self.jetstream = jetstream;
        for say in says {
            self.say_for_jetstream(leader, say, now);
        }
    }

    fn say_for_jetstream(&mut self, server: usize, say: Say, now: Instant) {
        let Say { to, subject, reply, headers, payload } = say;
        let publish = self.journal.publishes.len();
        self.journal.publishes.push(Publish {
            client: ClientId::JETSTREAM,
            server: ServerId(server),
            subject: subject.clone(),
            reply: reply.clone(),
            headers: headers.clone(),
            payload: payload.clone(),
        });
        let (from, shown) = (ClientId::JETSTREAM, (subject != to).then_some(subject));
        let message = Message { publish, from, subject: to, shown, reply, headers, payload };
        self.publish_to_clients(server, &message, now);
    }

    /// Whether a client of any server that `server` knows of listens on a subject.
    fn is_heard(&self, server: usize, subject: &[u8]) -> bool {
        let Some(running) = self.nodes[server].running.as_ref() else { return false };
        let subject = Bytes::copy_from_slice(subject);
        !running.subscriptions.matching(&subject).is_empty()
            || running.remote.values().any(|it| it.matching(&subject).next().is_some())
    }
}
