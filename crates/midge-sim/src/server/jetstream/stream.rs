//! A stream: messages in their order, and what was said of each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use midge_jetstream::StreamConfig;
use midge_proto::Instant;

use super::super::delivery::Message;
use super::super::interest::matches;
use super::api::Error;
use super::consumer::Consumer;
use super::{Say, Turn};
use crate::Rng;

/// What streams have by default.
pub(super) const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A message in a stream. The first one has the sequence 1, and none is missing.
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
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) config: StreamConfig,
    pub(super) created: Instant,
    pub(super) messages: Vec<Stored>,
    pub(super) consumers: BTreeMap<String, Consumer>,
    /// Message ids of the duplicate window, and the sequences that they have.
    ids: BTreeMap<Vec<u8>, (u64, Instant)>,
}

impl Stream {
    pub(super) fn new(config: StreamConfig, created: Instant) -> Self {
        let (messages, consumers, ids) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { config, created, messages, consumers, ids }
    }

    pub(super) fn last(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Stores a message, unless its id is there, and tells who sent it.
    pub(super) fn store(&mut self, message: &Message, turn: &mut Turn<'_>) {
        let name = &self.config.name;
        let header = |name: &str| message.headers.as_deref().and_then(|it| header(it, name));
        let window = self.config.duplicate_window.unwrap_or(DUPLICATE_WINDOW);
        self.ids.retain(|_, (_, at)| turn.now < *at + window);
        let id = header("Nats-Msg-Id").map(<[u8]>::to_vec);
        let known = id.as_ref().and_then(|id| self.ids.get(id)).map(|(sequence, _)| *sequence);
        let last = self.last();
        let expected = header("Nats-Expected-Last-Sequence");
        let of_subject = self.messages.iter().rposition(|it| it.subject == message.subject);
        let of_subject = of_subject.map_or(0, |place| place as u64 + 1);
        let expected_of_subject = header("Nats-Expected-Last-Subject-Sequence");
        let is_not = |it: &[u8], last: u64| *it != *last.to_string().as_bytes();
        let answer = if let Some(sequence) = known {
            format!("{{\"stream\":\"{name}\",\"seq\":{sequence},\"duplicate\": true}}")
        } else if expected.is_some_and(|it| is_not(it, last)) {
            Error::wrong_last_sequence(last).to_ack(name)
        } else if expected_of_subject.is_some_and(|it| is_not(it, of_subject)) {
            Error::wrong_last_sequence(of_subject).to_ack(name)
        } else {
            self.messages.push(Stored {
                subject: message.subject.clone(),
                headers: message.headers.clone(),
                payload: message.payload.clone(),
                at: turn.now,
            });
            if let Some(id) = id {
                self.ids.insert(id, (last + 1, turn.now));
            }
            format!("{{\"stream\":\"{name}\",\"seq\":{}}}", last + 1)
        };
        turn.says.extend(message.reply.iter().map(|reply| Say::answer(reply, answer.clone())));
    }

    /// A message is answered, by its sequence.
    pub(super) fn acked(
        &mut self,
        consumer: &str,
        sequence: u64,
        message: &Message,
        turn: &mut Turn<'_>,
    ) {
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.acked(sequence, &message.payload, turn.now);
            turn.says.extend(message.reply.iter().map(|reply| Say::answer(reply, "")));
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
        self.consumers.retain(|_, consumer| consumer.is_wanted(turn.interest, now));
        let consumers = self.consumers.iter_mut();
        let serve = |(consumer, it): (&String, &mut Consumer)| {
            it.serve(name, consumer, &self.messages, rng, turn)
        };
        consumers.filter_map(serve).min()
    }
}

/// Whether a consumer with these filters wants a message.
pub(super) fn is_wanted(filters: &[String], message: &Stored) -> bool {
    let wants = |filter: &String| matches(filter.as_bytes(), &message.subject);
    filters.is_empty() || filters.iter().any(wants)
}

/// The value of a header.
fn header<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    block.split(|&byte| byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}
