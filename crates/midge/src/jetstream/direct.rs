//! Messages from any server that has them, one or many.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_core::Stream as _;
use midge_jetstream::{
    ApiLevel, ConfigError, DirectBatch as Machine, DirectBatchOf, DirectBatchRequest,
    DirectBatchStep, DirectGetError, GetRequest, LevelError, Need, StoredMessage, Time,
};
use midge_proto::{Instant, Message, NotSent, RequestError, SubjectRef};

use super::JetStream;
use super::request::{CallError, FeatureError};
use super::stream::Stream;
use crate::alarm::Alarm;
use crate::request_many::{Replies, RepliesError};
use crate::shared::lock;

const BATCH: Need = Need::new("to get several messages at once", ApiLevel::V2_11);

/// Why a direct get gave no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The server that answered has it not, or refused.
    #[error(transparent)]
    Get(#[from] DirectGetError),
    /// The server, or domain, is too old for several messages at once. Nothing was sent.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Nobody answers direct gets of the stream.
    #[error(
        "nobody answers direct gets of stream {stream}: is it there, and is its allow_direct true?"
    )]
    NotAllowed {
        /// The stream.
        stream: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<FeatureError> for DirectError {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Level(error) => Self::Level(error),
            FeatureError::Call(error) => Self::Call(error),
        }
    }
}

impl Stream {
    /// The message of a sequence, from any server that has the stream or a mirror of it
    /// (ADR-31). The stream must have `allow_direct`. What was just stored may not be there yet.
    ///
    /// # Errors
    ///
    /// [`DirectError`].
    pub async fn direct_get(&self, sequence: u64) -> Result<StoredMessage, DirectError> {
        self.get_directly(&GetRequest::Sequence { seq: sequence }).await
    }

    /// As [`direct_get`](Self::direct_get), the last message of a subject, which may hold
    /// wildcards.
    ///
    /// # Errors
    ///
    /// [`DirectError`].
    pub async fn direct_last(&self, subject: &str) -> Result<StoredMessage, DirectError> {
        // What is no subject is refused there.
        let literal = SubjectRef::new(subject).is_ok_and(|subject| !subject.has_wildcards());
        if !literal {
            return self.get_directly(&GetRequest::Last { last_by_subj: subject.into() }).await;
        }
        // With the subject in that of the request, permissions can be given by it.
        let call = format!("DIRECT.GET.{}.{subject}", self.name());
        let answer = self.context().call().request(&call, None::<&()>).await;
        self.direct_answer(answer)
    }

    /// As [`direct_get`](Self::direct_get), the first message of a subject, which may hold
    /// wildcards, from a sequence on.
    ///
    /// # Errors
    ///
    /// [`DirectError`].
    pub async fn direct_next(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<StoredMessage, DirectError> {
        self.get_directly(&GetRequest::Next { seq: from, next_by_subj: subject.into() }).await
    }

    async fn get_directly(&self, request: &GetRequest) -> Result<StoredMessage, DirectError> {
        request.check().map_err(CallError::Config)?;
        let call = format!("DIRECT.GET.{}", self.name());
        let answer = self.context().call().request(&call, Some(request)).await;
        self.direct_answer(answer)
    }

    fn direct_answer(
        &self,
        answer: Result<(String, Message), CallError>,
    ) -> Result<StoredMessage, DirectError> {
        match answer {
            Ok((_, message)) => Ok(StoredMessage::from_direct(message)?),
            Err(CallError::NoResponders { .. }) => Err(self.direct_not_allowed()),
            Err(error) => Err(error.into()),
        }
    }

    fn direct_not_allowed(&self) -> DirectError {
        DirectError::NotAllowed { stream: self.name().to_string() }
    }

    /// Messages in the order of the stream, from any server that has it: all of them, unless it
    /// is told which. API level 1.
    ///
    /// ```no_run
    /// # async fn example(stream: midge::jetstream::Stream) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut messages = stream.direct_batch().subject("orders.eu.>").from(1_000).messages();
    /// while let Some(message) = messages.next().await {
    ///     println!("{}", message?.sequence);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn direct_batch(&self) -> DirectBatch<'_> {
        DirectBatch { stream: self, begin: Begin::Sequence(1), subject: None, max: None }
    }

    /// The last message of each subject that matches, which may hold wildcards, from any server
    /// that has the stream: as they all were at one moment, in the order of their sequences. They
    /// may match 1,024 subjects at most. API level 1.
    pub fn direct_last_of<S: Into<String>>(
        &self,
        subjects: impl IntoIterator<Item = S>,
    ) -> DirectLast<'_> {
        let subjects = subjects.into_iter().map(Into::into).collect();
        DirectLast { stream: self, subjects, up_to_sequence: 0, up_to_time: None }
    }
}

#[derive(Clone, Copy, Debug)]
enum Begin {
    Sequence(u64),
    Time(Time),
}

/// Which messages to get. Made by [`Stream::direct_batch`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked for until its messages are read"]
pub struct DirectBatch<'a> {
    stream: &'a Stream,
    begin: Begin,
    subject: Option<String>,
    max: Option<u64>,
}

impl DirectBatch<'_> {
    /// From a sequence on.
    pub fn from(mut self, sequence: u64) -> Self {
        self.begin = Begin::Sequence(sequence);
        self
    }

    /// From a time on.
    pub fn since(mut self, time: impl Into<Time>) -> Self {
        self.begin = Begin::Time(time.into());
        self
    }

    /// Only those of a subject, which may hold wildcards.
    pub fn subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// So many at most.
    pub fn max_messages(mut self, max: u64) -> Self {
        self.max = Some(max);
        self
    }

    /// The messages. Nothing is asked for until they are read.
    pub fn messages(self) -> DirectMessages {
        let subject = self.subject;
        let which = match self.begin {
            Begin::Sequence(sequence) => DirectBatchOf::From { sequence, subject },
            Begin::Time(time) => DirectBatchOf::FromTime { time, subject },
        };
        DirectMessages::new(self.stream, which, self.max)
    }
}

/// Of which subjects to get the last message. Made by [`Stream::direct_last_of`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked for until its messages are read"]
pub struct DirectLast<'a> {
    stream: &'a Stream,
    subjects: Vec<String>,
    up_to_sequence: u64,
    up_to_time: Option<Time>,
}

impl DirectLast<'_> {
    /// As they were when this was the last sequence of the stream.
    pub fn up_to(mut self, sequence: u64) -> Self {
        (self.up_to_sequence, self.up_to_time) = (sequence, None);
        self
    }

    /// As they were at a time.
    pub fn up_to_time(mut self, time: impl Into<Time>) -> Self {
        (self.up_to_sequence, self.up_to_time) = (0, Some(time.into()));
        self
    }

    /// The messages. Nothing is asked for until they are read.
    pub fn messages(self) -> DirectMessages {
        let Self { stream, subjects, up_to_sequence, up_to_time } = self;
        let which = DirectBatchOf::Last { subjects, up_to_sequence, up_to_time };
        DirectMessages::new(stream, which, None)
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<Replies, DirectError>> + Send>>;

/// Messages of a stream, in order and without gaps. It is a stream too.
///
/// They are asked for page by page as they are read, at most 1,000 messages and about 4 MiB at a
/// time; a page may take as long as a call. What is lost on its way, with the connection for
/// example, is asked for again, with waits in between, four times in a row at most. After an error
/// it is over.
#[must_use = "nothing is asked for until it is read"]
pub struct DirectMessages {
    stream: Stream,
    machine: Machine,
    /// The status that ended a page.
    end: Arc<Mutex<Option<Message>>>,
    page: Page,
}

enum Page {
    /// It cannot be asked for.
    Refused(ConfigError),
    /// The next one is to be asked for.
    New,
    /// The same, at a time.
    Later(Alarm, Instant),
    Asking(Asking),
    Read {
        replies: Replies,
        /// A message of it came.
        begun: bool,
    },
    Over,
}

impl DirectMessages {
    fn new(stream: &Stream, which: DirectBatchOf, max_messages: Option<u64>) -> Self {
        let request = DirectBatchRequest { which, max_messages };
        let refused = request.check().err();
        let machine = Machine::new(request);
        let page = match refused {
            Some(error) => Page::Refused(error),
            None if machine.is_empty() => Page::Over,
            None => Page::New,
        };
        Self { stream: stream.clone(), machine, end: Arc::default(), page }
    }

    /// The next message; `None` after the last one.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> NextDirect<'_> {
        NextDirect { messages: self }
    }

    fn ask(&mut self) -> Asking {
        let payload = serde_json::to_vec(&self.machine.request());
        let (stream, end) = (self.stream.clone(), self.end.clone());
        Box::pin(async move {
            let context: &JetStream = stream.context();
            let mut call = context.call();
            call.require(Some(BATCH)).await?;
            let subject = context.api_prefix().subject(&format!("DIRECT.GET.{}", stream.name()));
            let payload = match payload {
                Ok(payload) => payload,
                Err(error) => return Err(CallError::Malformed { subject, error }.into()),
            };
            let request =
                context.client().request_many(&*subject, payload).max_wait(call.left()).sentinel(
                    move |message| {
                        let last = message.status().is_some();
                        if last {
                            *lock(&end) = Some(message.clone());
                        }
                        last
                    },
                );
            match request.await {
                Ok(replies) => Ok(replies),
                Err(error) => Err(CallError::Request { subject, error }.into()),
            }
        })
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<StoredMessage, DirectError>>> {
        loop {
            let step = match &mut self.page {
                Page::Over => return Poll::Ready(None),
                Page::Refused(error) => {
                    let error = CallError::Config(error.clone());
                    self.page = Page::Over;
                    return Poll::Ready(Some(Err(error.into())));
                }
                Page::New => {
                    self.page = Page::Asking(self.ask());
                    continue;
                }
                Page::Later(alarm, at) => {
                    ready!(alarm.poll(*at, context));
                    self.page = Page::New;
                    continue;
                }
                Page::Asking(asking) => match ready!(asking.as_mut().poll(context)) {
                    Ok(replies) => {
                        self.page = Page::Read { replies, begun: false };
                        continue;
                    }
                    Err(error) => {
                        self.page = Page::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Page::Read { replies, begun } => {
                    let reply = ready!(Pin::new(replies).poll_next(context));
                    let end = lock(&self.end).take();
                    let lost = match (reply, end) {
                        (Some(Ok(message)), _) | (None, Some(message)) => {
                            *begun = true;
                            Ok(message)
                        }
                        // The server that would answer is not there for now: behind a lost
                        // connection, or while another one is elected.
                        (Some(Err(RepliesError::NoResponders)), _) if self.machine.has_begun() => {
                            Err(None)
                        }
                        (Some(Err(error)), _) => Err(error_of(&self.stream, error)),
                        // Its end was lost.
                        (None, None) if *begun => Err(None),
                        (None, None) => Err(Some(failed(&self.stream, RequestError::TimedOut))),
                    };
                    match lost {
                        Ok(message) => self.machine.receive(message),
                        Err(None) => self.machine.lost(),
                        Err(Some(error)) => {
                            self.page = Page::Over;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
            };
            match step {
                DirectBatchStep::Message(message) => return Poll::Ready(Some(Ok(message))),
                DirectBatchStep::Ask { after } if after.is_zero() => self.page = Page::New,
                DirectBatchStep::Ask { after } => {
                    let shared = &self.stream.context().client().handle().shared;
                    self.page = Page::Later(Alarm::new(shared.clone()), shared.after(after));
                }
                DirectBatchStep::Failed(error) => {
                    self.page = Page::Over;
                    return Poll::Ready(Some(Err(error.into())));
                }
                _ => self.page = Page::Over,
            }
        }
    }
}

/// What ends the messages for good; `None` for what was lost and can be asked for again.
fn error_of(stream: &Stream, error: RepliesError) -> Option<DirectError> {
    Some(match error {
        RepliesError::Disconnected | RepliesError::NotSent(NotSent::Disconnected) => return None,
        RepliesError::NoResponders => stream.direct_not_allowed(),
        RepliesError::NotSent(why) => failed(stream, RequestError::NotSent(why)),
        RepliesError::Permission(error) => failed(stream, RequestError::Permission(error)),
        RepliesError::Status { code, description } => {
            DirectGetError::Status { code, description }.into()
        }
        RepliesError::Draining | RepliesError::Closed => failed(stream, RequestError::Unknown),
    })
}

fn failed(stream: &Stream, error: RequestError) -> DirectError {
    let subject = stream.context().api_prefix().subject(&format!("DIRECT.GET.{}", stream.name()));
    CallError::Request { subject, error }.into()
}

impl futures_core::Stream for DirectMessages {
    type Item = Result<StoredMessage, DirectError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(context)
    }
}

impl fmt::Debug for DirectMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectMessages").field("stream", self.stream.name()).finish_non_exhaustive()
    }
}

/// The future of [`DirectMessages::next`]. Dropping it loses nothing.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextDirect<'a> {
    messages: &'a mut DirectMessages,
}

impl Future for NextDirect<'_> {
    type Output = Option<Result<StoredMessage, DirectError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.messages.poll_message(context)
    }
}
