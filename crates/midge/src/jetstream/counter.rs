//! Counters that a stream keeps, one for each subject.

use midge_jetstream::{ApiLevel, DirectGetError, Integer, NameError, Need, StoredMessage};
use midge_proto::{AsSubject, SubjectError};
use serde::Deserialize;

use super::JetStream;
use super::direct::DirectError;
use super::publish::JetPublishError;
use super::request::FeatureError;
use super::stream::Stream;

const COUNT: Need = Need::new("to count", ApiLevel::V2_12);

impl JetStream {
    /// The counters of a stream (ADR-49), which must count and allow direct gets
    /// (`allow_msg_counter`, `allow_direct`). The server is not asked.
    ///
    /// ```no_run
    /// # async fn example(js: &midge::jetstream::JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let counters = js.counters("HITS")?;
    /// counters.add("hits.home", 1).await?;
    /// for count in counters.get_many(["hits.>"]).await? {
    ///     println!("{}: {}", count.subject, count.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NameError`] when no stream can have the name.
    pub fn counters(&self, stream: impl AsRef<str>) -> Result<Counters, NameError> {
        Ok(Counters { stream: self.stream(stream)? })
    }
}

/// The counters of one stream: each subject is one, a whole number of any size. Made by
/// [`JetStream::counters`].
#[derive(Clone, Debug)]
pub struct Counters {
    stream: Stream,
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
    /// What was added last.
    pub last_increment: Option<Integer>,
    /// What other streams have added, as JSON, if it is gathered from them.
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
    /// The server is too old for counters, or did not say. Nothing was sent.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The ack has no value: the subject is of a stream that does not count. An empty message is
    /// stored there.
    #[error("stream {stream} does not count: create it with allow_msg_counter")]
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
    /// A counter is one subject.
    #[error("a counter is one subject, without wildcards: use get_many")]
    Wildcard,
    /// It could not be got.
    #[error(transparent)]
    Get(#[from] DirectError),
    /// A message of the stream is none of a counter.
    #[error("message {seq} of {subject} is none of a counter")]
    NoCounter {
        /// Its subject.
        subject: String,
        /// Its number.
        seq: u64,
    },
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
        self.stream.context().require_of_messages(COUNT).await?;
        let ack = self.stream.context().publish(subject, "").increment(by).await?;
        let stream = ack.stream;
        ack.value.ok_or_else(|| AddError::NoCounter { stream: stream.to_string() })
    }

    /// A counter; `None` where nothing was ever added.
    ///
    /// Any replica of the stream may answer: what was just added may not be seen yet.
    ///
    /// # Errors
    ///
    /// [`CountError`].
    pub async fn get(&self, subject: impl AsSubject) -> Result<Option<Count>, CountError> {
        let subject = subject.as_subject().map_err(CountError::Subject)?;
        if subject.has_wildcards() {
            return Err(CountError::Wildcard);
        }
        match self.stream.direct_last(&subject.to_string()).await {
            Ok(message) => count(message).map(Some),
            Err(DirectError::Get(DirectGetError::NotFound)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All counters whose subjects match one of `filters`, which may have wildcards, as they were at
    /// one moment: 1,024 counters at most. Needs nats-server 2.11.
    ///
    /// # Errors
    ///
    /// [`CountError`].
    pub async fn get_many<S: Into<String>>(
        &self,
        filters: impl IntoIterator<Item = S>,
    ) -> Result<Vec<Count>, CountError> {
        let filters: Vec<String> = filters.into_iter().map(Into::into).collect();
        let mut counts = Vec::new();
        if filters.is_empty() {
            return Ok(counts);
        }
        let mut messages = self.stream.direct_last_of(filters).messages();
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => counts.push(count(message)?),
                Err(DirectError::Get(DirectGetError::NotFound)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(counts)
    }
}

fn count(message: StoredMessage) -> Result<Count, CountError> {
    let StoredMessage { subject, sequence: seq, headers, payload, .. } = message;
    let Ok(Payload { val: value }) = serde_json::from_slice(&payload) else {
        return Err(CountError::NoCounter { subject, seq });
    };
    let last_increment = headers.get("Nats-Incr").and_then(|by| by.parse().ok());
    let sources = headers.get("Nats-Counter-Sources").map(str::to_owned);
    Ok(Count { subject, value, seq, last_increment, sources })
}
