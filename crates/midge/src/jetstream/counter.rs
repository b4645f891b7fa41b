//! Counters that a stream keeps, one for each subject.

use std::time::Duration;

use midge_jetstream::{ApiError, ApiPrefix, Integer, StreamName};
use midge_proto::{AsSubject, Message, RequestError, SubjectError};
use serde::{Deserialize, Serialize};

use super::JetStream;
use super::publish::JetPublishError;
use crate::{Client, Replies, RepliesError};

/// Counters for which one request asks at most; the server takes 1,024 subjects at a time.
const AT_ONCE: usize = 1000;

impl JetStream {
    /// The counters of a stream (ADR-49), which must allow them and direct gets
    /// (`allow_msg_counter`, `allow_direct`). The server is not asked.
    pub fn counters(&self, stream: StreamName) -> Counters {
        Counters { js: self.clone(), stream }
    }
}

/// The counters of one stream: each subject is one, a whole number of any size. Made by
/// [`JetStream::counters`].
#[derive(Clone, Debug)]
pub struct Counters {
    js: JetStream,
    stream: StreamName,
}

/// A counter at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The subject.
    pub subject: String,
    /// What it has come to.
    pub value: Integer,
    /// The number of its last message in the stream.
    pub seq: u64,
    /// What was added last, if the stream counted it itself.
    pub last_increment: Option<Integer>,
    /// What other streams have added, in JSON, if it is gathered from them.
    pub sources: Option<String>,
}

/// Why a counter could not be added to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// It was not published. [`JetPublishError::may_be_stored`] says whether it may count
    /// nevertheless.
    #[error(transparent)]
    Publish(#[from] JetPublishError),
    /// The answer has no value: the subject is in a stream that does not count. The message is
    /// stored there.
    #[error("{stream} does not count: create it with allow_msg_counter")]
    NoCounter {
        /// The stream that has the message.
        stream: String,
    },
}

/// Why a counter could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// The subject is not valid.
    #[error("invalid subject: {0}")]
    Subject(SubjectError),
    /// Nobody answered: there is no such stream, or it does not allow direct gets.
    #[error(
        "nobody answers: there is no such stream, or it is without allow_direct, or has no leader for now"
    )]
    NoStream,
    /// The server refused.
    #[error(transparent)]
    Refused(ApiError),
    /// No answer came.
    #[error(transparent)]
    Request(RequestError),
    /// The replies ended before all had come.
    #[error("not all counters were told: {0}")]
    Replies(RepliesError),
    /// The server refused, by a status.
    #[error("the server answers {code} {text}")]
    Status {
        /// The code.
        code: u16,
        /// Its words.
        text: String,
    },
    /// A message of the stream is none of a counter.
    #[error("the message {seq} of {subject} is none of a counter")]
    NoCounter {
        /// Its subject.
        subject: String,
        /// Its number.
        seq: u64,
    },
    /// The answer came from a server that does not know requests for many subjects.
    #[error("the server cannot tell many counters at once: it needs nats-server 2.11")]
    TooOld,
}

#[derive(Deserialize)]
struct Payload {
    val: Integer,
}

impl Counters {
    /// Adds to a counter, also less than nothing, and gives what it came to. After a timeout or a
    /// lost connection it may have been added: what must be added once is published by
    /// [`JetStream::publish`] with [`increment`](super::Publish::increment) and a
    /// [`message_id`](super::Publish::message_id), by which it can be sent again.
    ///
    /// # Errors
    ///
    /// [`AddError`].
    pub async fn add(
        &self,
        subject: impl AsSubject,
        by: impl Into<Integer>,
    ) -> Result<Integer, AddError> {
        let ack = self.js.publish(subject, "").increment(by).await?;
        let stream = &ack.stream;
        ack.value.ok_or_else(|| AddError::NoCounter { stream: stream.to_string() })
    }

    /// A counter; `None` where nothing was ever added.
    ///
    /// A stream may be read at any of its replicas: it may take a moment until what was added is
    /// seen.
    ///
    /// # Errors
    ///
    /// [`CountError`].
    pub async fn get(&self, subject: impl AsSubject) -> Result<Option<Count>, CountError> {
        let subject = subject.as_subject().map_err(CountError::Subject)?.to_string();
        let api = self.subject(Some(&subject));
        let request = self.client().request(api, "").timeout(self.js.timeout());
        match request.await {
            Ok(message) => match status(&message) {
                Some((404, _)) => Ok(None),
                Some((code, text)) => Err(CountError::Status { code, text }),
                None => count(&message).map(Some),
            },
            Err(RequestError::NoResponders) => Err(CountError::NoStream),
            Err(error) => Err(CountError::Request(error)),
        }
    }

    /// All counters whose subjects match one of `filters`, which may have wildcards, as they were at
    /// one moment. Needs nats-server 2.11.
    ///
    /// # Errors
    ///
    /// [`CountError`].
    pub async fn get_many<S: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = S>,
    ) -> Result<Vec<Count>, CountError> {
        let filters: Vec<String> =
            filters.into_iter().map(|filter| filter.as_ref().to_owned()).collect();
        let mut counts = Vec::new();
        let mut up_to = None;
        for multi_last in filters.chunks(AT_ONCE) {
            self.get_some(multi_last, &mut up_to, &mut counts).await?;
        }
        Ok(counts)
    }

    async fn get_some(
        &self,
        multi_last: &[String],
        up_to: &mut Option<u64>,
        counts: &mut Vec<Count>,
    ) -> Result<(), CountError> {
        #[derive(Serialize)]
        struct Get<'a> {
            multi_last: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            up_to_seq: Option<u64>,
        }
        let request = serde_json::to_vec(&Get { multi_last, up_to_seq: *up_to });
        // Texts and a number are JSON.
        let payload = request.unwrap_or_default();
        let timeout: Duration = self.js.timeout();
        let replies = self.client().request_many(self.subject(None), payload).max_wait(timeout);
        let mut replies: Replies = replies.await.map_err(CountError::Request)?;
        while let Some(reply) = replies.next().await {
            let message = match reply {
                Ok(message) => message,
                Err(RepliesError::NoResponders) => return Err(CountError::NoStream),
                Err(error) => return Err(CountError::Replies(error)),
            };
            match status(&message) {
                Some((204, _)) => {
                    *up_to = number(&message, "Nats-UpTo-Sequence").or(*up_to);
                    return Ok(());
                }
                Some((404, _)) => return Ok(()),
                Some((code, text)) => return Err(CountError::Status { code, text }),
                None if number(&message, "Nats-Num-Pending").is_none() => {
                    return Err(CountError::TooOld);
                }
                None => counts.push(count(&message)?),
            }
        }
        Err(CountError::Request(RequestError::TimedOut))
    }

    fn subject(&self, last_of: Option<&str>) -> String {
        let api: &ApiPrefix = self.js.api_prefix();
        match last_of {
            Some(subject) => api.subject(&format!("DIRECT.GET.{}.{subject}", self.stream)),
            None => api.subject(&format!("DIRECT.GET.{}", self.stream)),
        }
    }

    fn client(&self) -> &Client {
        self.js.client()
    }
}

fn status(message: &Message) -> Option<(u16, String)> {
    message.status().map(|status| (status.code, status.description.to_owned()))
}

fn number(message: &Message, header: &str) -> Option<u64> {
    message.headers()?.get(header)?.parse().ok()
}

fn count(message: &Message) -> Result<Count, CountError> {
    let header = |name: &str| message.headers().and_then(|headers| headers.get(name));
    let subject = header("Nats-Subject").unwrap_or_default().to_owned();
    let seq = number(message, "Nats-Sequence").unwrap_or_default();
    let payload: Payload = match serde_json::from_slice(message.payload()) {
        Ok(payload) => payload,
        Err(_) => return Err(CountError::NoCounter { subject, seq }),
    };
    Ok(Count {
        subject,
        value: payload.val,
        seq,
        last_increment: header("Nats-Incr").and_then(|by| by.parse().ok()),
        sources: header("Nats-Counter-Sources").map(str::to_owned),
    })
}
