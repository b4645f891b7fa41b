//! Calls of the API, and their answers.

use std::borrow::Cow;

use bytes::Bytes;
use midge_jetstream::{Action, CreateConsumerRequest, PurgeRequest, StreamConfig};
use midge_proto::Instant;
use serde_json::{Value, json};

use super::super::delivery::Message;
use super::super::interest::matches;
use super::consumer::Consumer;
use super::stream::{Stream, duplicate_window};
use super::{JetStream, Say, Turn, time};

/// A refusal, as the API writes it.
#[derive(Clone, Debug)]
pub(super) struct Error {
    code: u16,
    err_code: u16,
    description: Cow<'static, str>,
}

impl Error {
    pub(super) const UNAVAILABLE: Self = Self {
        code: 503,
        err_code: 10_008,
        description: Cow::Borrowed("JetStream system temporarily unavailable"),
    };

    pub(super) fn new(code: u16, err_code: u16, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, err_code, description: description.into() }
    }

    pub(super) fn wrong_last_sequence(last: u64) -> Self {
        Self::new(400, 10_071, format!("wrong last sequence: {last}"))
    }

    fn value(&self) -> Value {
        let Self { code, err_code, description } = self;
        json!({"code": code, "err_code": err_code, "description": description})
    }

    pub(super) fn to_json(&self) -> String {
        json!({"type": "io.nats.jetstream.api.v1.error", "error": self.value()}).to_string()
    }

    /// The same to a message that was published.
    pub(super) fn to_ack(&self, stream: &str) -> String {
        json!({"error": self.value(), "stream": stream, "seq": 0}).to_string()
    }
}

pub(super) type Answer = Result<Value, Error>;

fn no_stream() -> Error {
    Error::new(404, 10_059, "stream not found")
}

fn no_consumer() -> Error {
    Error::new(404, 10_014, "consumer not found")
}

pub(super) fn bad_request() -> Error {
    Error::new(400, 10_025, "invalid JSON")
}

impl JetStream {
    /// Carries out a call; its subject without the prefix.
    pub(super) fn call(&mut self, call: &str, message: &Message, turn: &mut Turn<'_>) {
        let tokens: Vec<&str> = call.split('.').collect();
        let (payload, now) = (&message.payload, turn.now);
        let answer = match tokens.as_slice() {
            ["INFO"] => Ok(self.account()),
            ["STREAM", "NAMES"] => self.stream_names(payload),
            ["STREAM", "CREATE", name] => self.create_stream(name, payload, now),
            ["STREAM", "INFO", name] => {
                self.streams.get(*name).map(|it| it.info(now)).ok_or_else(no_stream)
            }
            ["STREAM", "DELETE", name] => self.delete_stream(name, turn),
            ["STREAM", "PURGE", name] => self.stream(name).and_then(|it| it.purge(payload, now)),
            ["CONSUMER", "CREATE", stream, ..] | ["CONSUMER", "DURABLE", "CREATE", stream, ..] => {
                self.create_consumer(stream, payload, now)
            }
            ["CONSUMER", "INFO", stream, name] => {
                self.stream(stream).and_then(|it| it.consumer_info(name, now))
            }
            ["CONSUMER", "DELETE", stream, name] => {
                self.stream(stream).and_then(|it| it.delete_consumer(name, turn))
            }
            ["CONSUMER", "MSG", "NEXT", stream, name] => {
                if let Ok(stream) = self.stream(stream)
                    && let Some(reply) = &message.reply
                    && let Some(consumer) = stream.consumers.get_mut(*name)
                {
                    consumer.pulled(reply, payload, &stream.messages, turn);
                }
                return;
            }
            ["STREAM", "MSG", "GET", stream] => {
                self.streams.get(*stream).ok_or_else(no_stream).and_then(|it| it.get(payload))
            }
            ["DIRECT", "GET", stream, subject @ ..] => {
                self.get_directly(stream, &subject.join("."), message, turn);
                return;
            }
            // A server says nothing of what it does not know.
            _ => return,
        };
        let mut answer = answer.unwrap_or_else(|error| json!({"error": error.value()}));
        if let ["STREAM", "PURGE", _] = tokens.as_slice()
            && answer.get("error").is_some()
        {
            answer["purged"] = 0.into();
        }
        let kind = match tokens.as_slice() {
            ["STREAM", "MSG", ..] => "STREAM_MSG_GET".to_owned(),
            [object, .., "CREATE", _] | [object, "CREATE", ..] => format!("{object}_CREATE"),
            [object, verb, ..] => format!("{object}_{verb}"),
            _ => "ACCOUNT_INFO".to_owned(),
        };
        let kind = kind.to_lowercase();
        answer["type"] = format!("io.nats.jetstream.api.v1.{kind}_response").into();
        let answer = answer.to_string();
        turn.answers.extend(message.reply.iter().map(|reply| Say::answer(reply, answer.clone())));
    }

    fn stream(&mut self, name: &str) -> Result<&mut Stream, Error> {
        self.streams.get_mut(name).ok_or_else(no_stream)
    }

    fn account(&self) -> Value {
        let consumers: usize = self.streams.values().map(|it| it.consumers.len()).sum();
        let limits = json!({"max_memory": -1, "max_storage": -1, "max_streams": -1,
            "max_consumers": -1, "max_ack_pending": -1, "memory_max_stream_bytes": -1,
            "storage_max_stream_bytes": -1, "max_bytes_required": false});
        json!({"memory": 0,
            "storage": 0, "streams": self.streams.len(), "consumers": consumers,
            "limits": limits, "api": {"level": 5, "total": 0, "errors": 0}})
    }

    /// The names of all streams, or of those that have a subject.
    fn stream_names(&self, payload: &Bytes) -> Answer {
        let request: Value = match payload.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(payload).map_err(|_| bad_request())?,
        };
        let subject = request["subject"].as_str();
        let takes = |stream: &Stream| {
            let mut patterns = stream.config.subjects.iter();
            subject.is_none_or(|it| patterns.any(|own| matches(own.as_bytes(), it.as_bytes())))
        };
        let names = self.streams.iter().filter(|(_, stream)| takes(stream));
        let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
        let total = names.len();
        Ok(json!({"total": total, "offset": 0, "limit": 1024, "streams": names}))
    }

    fn create_stream(&mut self, name: &str, payload: &Bytes, now: Instant) -> Answer {
        let mut config: StreamConfig =
            serde_json::from_slice(payload).map_err(|_| bad_request())?;
        if config.subjects.is_empty() {
            config.subjects.push(name.to_owned());
        }
        config.duplicate_window = Some(duplicate_window(&config));
        match self.streams.get(name) {
            Some(there) if there.config == config => Ok(there.info(now)),
            Some(_) => {
                let words = "stream name already in use with a different configuration";
                Err(Error::new(400, 10_058, words))
            }
            None => {
                let stream = Stream::new(config, now);
                let mut info = stream.info(now);
                info["did_create"] = true.into();
                self.streams.insert(name.to_owned(), stream);
                Ok(info)
            }
        }
    }

    fn delete_stream(&mut self, name: &str, turn: &mut Turn<'_>) -> Answer {
        let mut stream = self.streams.remove(name).ok_or_else(no_stream)?;
        while let Some((_, consumer)) = stream.consumers.pop_first() {
            consumer.deleted(turn);
        }
        Ok(json!({"success": true}))
    }

    fn create_consumer(&mut self, stream: &str, payload: &Bytes, now: Instant) -> Answer {
        let request: CreateConsumerRequest =
            serde_json::from_slice(payload).map_err(|_| bad_request())?;
        let made_up = format!("{:08x}", self.rng.next_u64() >> 32);
        let window = self.window;
        let stream = self.stream(stream)?;
        let config = request.config;
        let name = config.given_name().unwrap_or(&made_up).to_owned();
        match (stream.consumers.get_mut(&name), request.action) {
            (Some(there), Action::Create) if there.config != config => {
                return Err(Error::new(400, 10_148, "consumer already exists"));
            }
            (Some(there), _) if there.config.deliver_policy != config.deliver_policy => {
                return Err(Error::new(500, 10_012, "deliver policy can not be updated"));
            }
            (Some(there), _) => there.config = config,
            (None, Action::Update) => {
                return Err(Error::new(400, 10_149, "consumer does not exist"));
            }
            (None, _) => {
                let consumer = Consumer::new(config, stream, window, now);
                stream.consumers.insert(name.clone(), consumer);
            }
        }
        stream.consumer_info(&name, now)
    }
}

impl Stream {
    fn info(&self, now: Instant) -> Value {
        let stamp = |at: Option<Instant>| at.map_or(Value::Null, |at| json!(time(at)));
        let first = self.messages.iter().find(|it| it.is_there());
        let (messages, bytes) = self.held;
        // A stream that never had a message has no first sequence.
        let from = if self.messages.is_empty() { 0 } else { self.first() };
        let mut state = json!({"messages": messages, "bytes": bytes,
            "first_seq": from, "last_seq": self.last(),
            "first_ts": stamp(first.map(|it| it.at)),
            "last_ts": stamp(self.messages.last().map(|it| it.at)),
            "consumer_count": self.consumers.len()});
        let missing = (self.last() + 1).saturating_sub(self.first()) - messages;
        if missing > 0 {
            state["num_deleted"] = missing.into();
        }
        json!({"config": self.config,
            "created": time(self.created), "ts": time(now), "state": state})
    }

    /// Deletes messages: all, or those of a subject, before a sequence, or but for the last ones.
    fn purge(&mut self, payload: &Bytes, now: Instant) -> Answer {
        let request: PurgeRequest = match payload.is_empty() {
            true => PurgeRequest::default(),
            false => serde_json::from_slice(payload).map_err(|_| bad_request())?,
        };
        if request.seq > 0 && request.keep > 0 {
            return Err(Error::new(400, 10_003, "bad request"));
        }
        if self.config.sealed {
            return Err(Error::new(400, 10_109, "invalid operation on sealed stream"));
        }
        if self.config.deny_purge {
            return Err(Error::new(500, 10_110, "stream purge not permitted"));
        }
        let purged = self.purge_messages(&request, now);
        Ok(json!({"success": true, "purged": purged}))
    }

    fn consumer_info(&self, name: &str, now: Instant) -> Answer {
        let consumer = self.consumers.get(name).ok_or_else(no_consumer)?;
        let (number, sequence) = consumer.delivered;
        Ok(json!({"stream_name": self.config.name, "name": name, "created": time(consumer.created),
            "config": consumer.config, "ts": time(now),
            "delivered": {"consumer_seq": number, "stream_seq": sequence},
            "num_ack_pending": consumer.pending.len(), "num_redelivered": 0,
            "num_waiting": consumer.waiting.len(),
            "num_pending": consumer.num_pending(&self.messages)}))
    }

    fn delete_consumer(&mut self, name: &str, turn: &mut Turn<'_>) -> Answer {
        let consumer = self.consumers.remove(name).ok_or_else(no_consumer)?;
        consumer.deleted(turn);
        Ok(json!({"success": true}))
    }
}

impl Consumer {
    /// Tells those who wait.
    fn deleted(self, turn: &mut Turn<'_>) {
        let over = self.waiting.iter().map(|it| Say::status(&it.reply, "409 Consumer Deleted"));
        turn.says.extend(over);
    }
}
