//! A stream: messages in their order, and what was said of each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use midge_jetstream::{Discard, PurgeRequest, Retention, StreamConfig};
use midge_proto::Instant;

use super::super::delivery::Message;
use super::super::interest::matches;
use super::api::Error;
use super::consumer::Consumer;
use super::{Say, Turn};
use crate::Rng;

/// What streams have by default, unless their messages do not become as old.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What a message takes in memory beside its bytes, as a server counts it.
const OVERHEAD: usize = 16;

/// For how long a stream knows the ids of its messages.
pub(super) fn duplicate_window(config: &StreamConfig) -> Duration {
    let default = config.max_age.unwrap_or(Duration::MAX).min(DUPLICATE_WINDOW);
    config.duplicate_window.unwrap_or(default)
}

/// A message of a stream. The first one has the sequence 1, and none is missing: what the limits of
/// the stream, an answer or a purge have taken away stays, and says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its subject.
    pub subject: Bytes,
    /// Its header block.
    pub headers: Option<Bytes>,
    /// Its payload.
    pub payload: Bytes,
    /// When it was stored.
    pub at: Instant,
    /// When a limit of the stream or a purge took it away, or no consumer wanted it any more.
    pub removed: Option<Instant>,
}

impl Stored {
    /// Whether the stream still has it.
    pub fn is_there(&self) -> bool {
        self.removed.is_none()
    }

    /// Bytes of it in memory, as a server counts them.
    pub(super) fn size(&self) -> u64 {
        let headers = self.headers.as_ref().map_or(0, Bytes::len);
        (self.subject.len() + headers + self.payload.len() + OVERHEAD) as u64
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) config: StreamConfig,
    pub(super) created: Instant,
    pub(super) messages: Vec<Stored>,
    pub(super) consumers: BTreeMap<String, Consumer>,
    /// Message ids of the duplicate window, and the sequences that they have.
    ids: BTreeMap<Vec<u8>, (u64, Instant)>,
    /// The messages that it has, and their bytes.
    pub(super) held: (u64, u64),
    /// Before this sequence it has none.
    first: u64,
}

impl Stream {
    pub(super) fn new(config: StreamConfig, created: Instant) -> Self {
        let (messages, consumers, ids) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { config, created, messages, consumers, ids, held: (0, 0), first: 1 }
    }

    pub(super) fn last(&self) -> u64 {
        self.messages.len() as u64
    }

    /// The sequence of its first message; of the next one when it has none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Stores a message, unless its id is there, and tells who sent it.
    pub(super) fn store(&mut self, message: &Message, turn: &mut Turn<'_>) {
        let name = &self.config.name;
        let header = |name: &str| message.headers.as_deref().and_then(|it| header(it, name));
        let window = duplicate_window(&self.config);
        self.ids.retain(|_, (_, at)| turn.now < *at + window);
        let id = header("Nats-Msg-Id").map(<[u8]>::to_vec);
        let known = id.as_ref().and_then(|id| self.ids.get(id)).map(|(sequence, _)| *sequence);
        let last = self.last();
        let expected = header("Nats-Expected-Last-Sequence");
        let of_subject =
            self.messages.iter().rposition(|it| it.is_there() && it.subject == message.subject);
        let of_subject = of_subject.map_or(0, |place| place as u64 + 1);
        let expected_of_subject = header("Nats-Expected-Last-Subject-Sequence");
        let is_not = |it: &[u8], last: u64| *it != *last.to_string().as_bytes();
        let answer = if let Some(sequence) = known {
            format!("{{\"stream\":\"{name}\",\"seq\":{sequence},\"duplicate\": true}}")
        } else if expected.is_some_and(|it| is_not(it, last)) {
            Error::wrong_last_sequence(last).to_ack(name)
        } else if expected_of_subject.is_some_and(|it| is_not(it, of_subject)) {
            Error::wrong_last_sequence(of_subject).to_ack(name)
        } else if let Some(refused) = self.refuses(message) {
            refused.to_ack(name)
        } else {
            self.messages.push(Stored {
                subject: message.subject.clone(),
                headers: message.headers.clone(),
                payload: message.payload.clone(),
                at: turn.now,
                removed: None,
            });
            let bytes = self.messages[last as usize].size();
            self.held = (self.held.0 + 1, self.held.1 + bytes);
            if let Some(id) = id {
                self.ids.insert(id, (last + 1, turn.now));
            }
            let answer = format!("{{\"stream\":\"{name}\",\"seq\":{}}}", last + 1);
            self.limit(&message.subject, turn.now);
            self.forget_unwanted(turn.now);
            answer
        };
        turn.says.extend(message.reply.iter().map(|reply| Say::answer(reply, answer.clone())));
    }

    /// Why its limits leave no room for a message.
    fn refuses(&self, message: &Message) -> Option<Error> {
        let config = &self.config;
        let content = message.headers.as_ref().map_or(0, Bytes::len) + message.payload.len();
        if config.max_msg_size.is_some_and(|most| content as u64 > u64::from(most)) {
            let words = "message size exceeds maximum allowed";
            return Some(Error::new(400, 10_054, words));
        }
        if config.discard != Discard::New {
            return None;
        }
        let full = |what| Some(Error::new(503, 10_077, format!("maximum {what} exceeded")));
        let of_subject = |it: &&Stored| it.is_there() && it.subject == message.subject;
        let most = config
            .max_msgs_per_subject
            .filter(|&most| self.messages.iter().filter(of_subject).count() as u64 >= most);
        if most.is_some() && config.discard_new_per_subject {
            return full("messages per subject");
        }
        // Behind the limit of its subject it takes the place of another one.
        if most.is_none() && config.max_msgs.is_some_and(|most| self.held.0 >= most) {
            return full("messages");
        }
        let size = (message.subject.len() + content + OVERHEAD) as u64;
        let over = config.max_bytes.is_some_and(|most| self.held.1 + size > most);
        if over && most.is_none() { full("bytes") } else { None }
    }

    /// Takes away the oldest messages, as far as the limits say, of which one subject may have one
    /// more now.
    fn limit(&mut self, subject: &Bytes, now: Instant) {
        if let Some(most) = self.config.max_msgs_per_subject {
            let of_subject = |(_, it): &(usize, &Stored)| it.is_there() && it.subject == *subject;
            let all: Vec<usize> =
                self.messages.iter().enumerate().filter(of_subject).map(|(at, _)| at).collect();
            let over = all.len().saturating_sub(most as usize);
            for &place in &all[..over] {
                self.remove(place, now);
            }
        }
        let most = self.config.max_msgs.unwrap_or(u64::MAX);
        let bytes = self.config.max_bytes.unwrap_or(u64::MAX);
        while self.held.0 > most || self.held.1 > bytes {
            self.remove(self.first as usize - 1, now);
        }
    }

    /// Takes away what is too old; when the next one is.
    fn expire(&mut self, now: Instant) -> Option<Instant> {
        let age = self.config.max_age?;
        while let Some(first) = self.messages.get(self.first as usize - 1) {
            let due = first.at + age;
            if now < due {
                return Some(due);
            }
            self.remove(self.first as usize - 1, now);
        }
        None
    }

    /// Takes away what a purge is for, and moves consumers behind it: how many messages there were.
    /// What is said of sequences that do not exist yet does not move the end, as it does of a server.
    pub(super) fn purge_messages(&mut self, request: &PurgeRequest, now: Instant) -> u64 {
        let filter = request.filter.as_deref().filter(|it| !matches!(*it, "" | ">"));
        let before = match (request.seq, request.keep, filter) {
            (0, 0, _) | (0, _, Some(_)) => self.last() + 1,
            (0, keep, None) => (self.last() + 1).saturating_sub(keep),
            (sequence, ..) => sequence,
        };
        let goes = |(place, it): &(usize, &Stored)| {
            let matches = |filter: &str| matches(filter.as_bytes(), &it.subject);
            it.is_there() && (*place as u64) + 1 < before && filter.is_none_or(matches)
        };
        let all = self.messages.iter().enumerate().filter(goes).map(|(place, _)| place);
        let mut all: Vec<usize> = all.collect();
        if filter.is_some() {
            let keep = usize::try_from(request.keep).unwrap_or(usize::MAX);
            all.truncate(all.len().saturating_sub(keep));
        }
        for &place in &all {
            self.remove(place, now);
        }
        if filter.is_none() {
            let first = self.first;
            self.consumers.values_mut().for_each(|consumer| consumer.purged(first));
        }
        all.len() as u64
    }

    /// Takes away what no consumer wants any more, if that is how long messages are kept.
    fn forget_unwanted(&mut self, now: Instant) {
        if self.config.retention != Retention::Interest {
            return;
        }
        for place in self.first as usize - 1..self.messages.len() {
            let message = &self.messages[place];
            let wants = |consumer: &Consumer| consumer.wants(place as u64 + 1, message);
            if message.is_there() && !self.consumers.values().any(wants) {
                self.remove(place, now);
            }
        }
    }

    fn remove(&mut self, place: usize, now: Instant) {
        let message = &mut self.messages[place];
        message.removed = Some(now);
        self.held = (self.held.0 - 1, self.held.1 - message.size());
        let rest = self.messages[self.first as usize - 1..].iter();
        self.first += rest.take_while(|it| !it.is_there()).count() as u64;
        for consumer in self.consumers.values_mut() {
            consumer.removed(place as u64 + 1);
        }
    }

    /// A message is answered, by its sequence.
    pub(super) fn acked(
        &mut self,
        consumer: &str,
        sequence: u64,
        message: &Message,
        turn: &mut Turn<'_>,
    ) {
        let Some(consumer) = self.consumers.get_mut(consumer) else { return };
        let settled = consumer.acked(sequence, &message.payload, turn.now);
        turn.says.extend(message.reply.iter().map(|reply| Say::answer(reply, "")));
        if self.config.retention == Retention::WorkQueue {
            for sequence in settled {
                self.remove(sequence as usize - 1, turn.now);
            }
        }
    }

    /// Serves all consumers; when the next thing is due.
    pub(super) fn serve(
        &mut self,
        name: &str,
        rng: &mut Rng,
        turn: &mut Turn<'_>,
    ) -> Option<Instant> {
        let now = turn.now;
        let expires = self.expire(now);
        self.consumers.retain(|_, consumer| consumer.is_wanted(turn.interest, now));
        let consumers = self.consumers.iter_mut();
        let serve = |(consumer, it): (&String, &mut Consumer)| {
            it.serve(name, consumer, &self.messages, rng, turn)
        };
        let due = consumers.filter_map(serve).chain(expires).min();
        self.forget_unwanted(now);
        due
    }
}

/// Whether a consumer with these filters wants a message, if it is there.
pub(super) fn is_wanted(filters: &[String], message: &Stored) -> bool {
    let wants = |filter: &String| matches(filter.as_bytes(), &message.subject);
    message.is_there() && (filters.is_empty() || filters.iter().any(wants))
}

/// The value of a header.
fn header<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    block.split(|&byte| byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}
