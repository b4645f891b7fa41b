//! Publishing, and answering a message that asks for it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use midge_proto::{
    AsSubject, HeaderMap, Message, Position, PublishError, SubjectError, SubjectRef,
};

use crate::Client;
use crate::room::{HIGH_WATER, Room, RoomWait};

/// The headers of a message that is being built.
#[derive(Clone, Debug, Default)]
pub(crate) enum HeadersToSend<'a> {
    #[default]
    None,
    Borrowed(&'a HeaderMap),
    Owned(HeaderMap),
    /// Boxed, as there rarely is one: what each message has is small.
    Invalid(Box<PublishError>),
}

/// Where the servers report on a message's path (ADR-41).
const TRACE_DEST: &str = "Nats-Trace-Dest";
const TRACE_ONLY: &str = "Nats-Trace-Only";

impl<'a> HeadersToSend<'a> {
    pub(crate) fn append(&mut self, name: &str, value: &[u8]) {
        self.change(|map| {
            map.append(name, value)?;
            Ok(())
        });
    }

    /// Asks for reports to `destination`; with `only`, the message itself is not delivered.
    pub(crate) fn trace(&mut self, destination: &(impl AsSubject + ?Sized), only: bool) {
        self.change(|map| {
            let destination = destination.as_subject()?;
            if destination.has_wildcards() {
                return Err(PublishError::Wildcard);
            }
            map.insert(TRACE_DEST, destination.as_bytes())?;
            map.remove(TRACE_ONLY);
            if only {
                map.insert(TRACE_ONLY, "true")?;
            }
            Ok(())
        });
    }

    /// Changes a map of its own.
    fn change(&mut self, change: impl FnOnce(&mut HeaderMap) -> Result<(), PublishError>) {
        let mut map = match std::mem::take(self) {
            Self::None => HeaderMap::new(),
            Self::Borrowed(map) => map.clone(),
            Self::Owned(map) => map,
            Self::Invalid(error) => {
                *self = Self::Invalid(error);
                return;
            }
        };
        *self = match change(&mut map) {
            Ok(()) => Self::Owned(map),
            Err(error) => Self::Invalid(Box::new(error)),
        };
    }

    pub(crate) fn set(&mut self, map: &'a HeaderMap) {
        if !matches!(self, Self::Invalid(_)) {
            *self = Self::Borrowed(map);
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> Result<Option<&HeaderMap>, PublishError> {
        match self {
            Self::None => Ok(None),
            Self::Borrowed(map) => Ok(Some(map)),
            Self::Owned(map) => Ok(Some(map)),
            Self::Invalid(error) => Err((**error).clone()),
        }
    }
}

/// A message that is about to be published. Made by [`Client::publish`].
///
/// `.await` publishes it and waits for room while connected; [`try_send`](Self::try_send) never
/// waits, and so may fill all of [`max_pending`](crate::ConnectOptions::max_pending).
///
/// Room is there while less than 256 KiB wait to be written, so that what is published is written
/// while it is in the processor's caches: a publisher that never waits for anything else gives way
/// to the driver, and to other tasks of its thread, each time as much has come together. Who waits
/// goes on in the order in which they came, a few at a time. Without a connection nobody waits.
#[derive(Debug)]
#[must_use = "nothing is published until `.await` or `try_send`"]
pub struct Publish<'a, S, P> {
    client: &'a Client,
    subject: S,
    payload: P,
    choices: Choices<'a>,
}

/// What can be said of a message besides subject and payload.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    pub(crate) reply: Result<Option<SubjectRef<'a>>, SubjectError>,
    pub(crate) headers: HeadersToSend<'a>,
    timeout: Option<Duration>,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> Publish<'a, S, P> {
    pub(crate) fn new(client: &'a Client, subject: S, payload: P) -> Self {
        let choices = Choices { reply: Ok(None), headers: HeadersToSend::None, timeout: None };
        Self { client, subject, payload, choices }
    }

    /// The subject that answers are to be sent to.
    pub fn reply<R: AsSubject + ?Sized>(mut self, reply: &'a R) -> Self {
        self.choices.reply = reply.as_subject().map(Some);
        self
    }

    /// The headers, in place of any given before, those of [`trace`](Self::trace) included.
    pub fn headers(mut self, headers: &'a HeaderMap) -> Self {
        self.choices.headers.set(headers);
        self
    }

    /// Adds a header. An invalid one makes the publish fail.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.choices.headers.append(name, value.as_ref());
        self
    }

    /// Asks the servers to report to the subject `destination` how they route the message, which
    /// is delivered as well (ADR-41). Only given headers are changed, not the caller's map. From
    /// nats-server 2.14 on, publishing to `destination` must be permitted.
    pub fn trace(mut self, destination: impl AsSubject) -> Self {
        self.choices.headers.trace(&destination, false);
        self
    }

    /// As [`trace`](Self::trace), without the message being delivered to anyone.
    pub fn trace_only(mut self, destination: impl AsSubject) -> Self {
        self.choices.headers.trace(&destination, true);
        self
    }

    /// The longest wait for room; then the publish takes what is free of `max_pending`, or fails as
    /// [`PublishError::Full`]. Default: without limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.choices.timeout = Some(timeout);
        self
    }

    /// Publishes now, or not at all.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing was queued then. [`PublishError::Full`] when there is no room.
    #[inline]
    pub fn try_send(self) -> Result<Position, PublishError> {
        self.publish_below(usize::MAX)
    }

    #[inline]
    fn publish_below(&self, backlog: usize) -> Result<Position, PublishError> {
        let (subject, payload) = (self.subject.as_text()?, self.payload.as_ref());
        self.client.shared().publish_chosen(backlog, &subject, &self.choices, payload)
    }

    /// There was no room: waits for it.
    #[cold]
    fn poll_room(
        &self,
        wait: &mut RoomWait,
        context: &Context<'_>,
    ) -> Poll<Result<Position, PublishError>> {
        let subject = self.subject.as_subject()?;
        let reply = self.choices.reply.map_err(PublishError::Reply)?;
        let headers = self.choices.headers.get()?;
        let payload = self.payload.as_ref();
        let shared = self.client.shared();
        if let (Some(timeout), None) = (self.choices.timeout, wait.deadline) {
            wait.deadline = Some(shared.after(timeout));
        }
        shared.poll_publish(wait, context, |inner| {
            inner.connection.publish(subject, reply, headers, payload)
        })
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for Publish<'a, S, P> {
    type Output = Result<Position, PublishError>;
    type IntoFuture = Publishing<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        Publishing { publish: self, wait: RoomWait::new(Room::Messages) }
    }
}

/// The future of a [`Publish`].
///
/// Dropped before it is ready, the message was not published.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Publishing<'a, S, P> {
    publish: Publish<'a, S, P>,
    wait: RoomWait,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for Publishing<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for Publishing<'_, S, P> {
    type Output = Result<Position, PublishError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.wait.is_waiting() {
            match this.publish.publish_below(HIGH_WATER) {
                Ok(position) => return Poll::Ready(Ok(position)),
                Err(PublishError::Full) => {}
                refused => return Poll::Ready(refused),
            }
        }
        this.publish.poll_room(&mut this.wait, context)
    }
}

impl<S, P> Drop for Publishing<'_, S, P> {
    #[inline]
    fn drop(&mut self) {
        self.wait.abandon(self.publish.client.shared());
    }
}

/// An answer that was refused. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// The message has no reply subject: its publisher does not want an answer.
    #[error("the message has no reply subject, so there is nobody to answer")]
    NoReply,
    /// The answer could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// An answer that is about to be published. Made by [`Client::respond`].
#[derive(Debug)]
#[must_use = "nothing is published until `.await` or `try_send`"]
pub struct Respond<'a, P> {
    publish: Option<Publish<'a, ReplySubject<'a>, P>>,
}

/// A reply subject as it arrived; no server checks it.
#[derive(Debug)]
pub(crate) struct ReplySubject<'a>(Result<SubjectRef<'a>, SubjectError>);

impl AsSubject for ReplySubject<'_> {
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError> {
        self.0
    }
}

impl<'a, P: AsRef<[u8]>> Respond<'a, P> {
    pub(crate) fn new(client: &'a Client, message: &'a Message, payload: P) -> Self {
        let reply = message.reply_subject().map(ReplySubject);
        Self { publish: reply.map(|reply| Publish::new(client, reply, payload)) }
    }

    /// The headers, in place of any given before.
    pub fn headers(mut self, headers: &'a HeaderMap) -> Self {
        self.publish = self.publish.map(|publish| publish.headers(headers));
        self
    }

    /// Adds a header. An invalid one makes the answer fail.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.publish = self.publish.map(|publish| publish.header(name, value));
        self
    }

    /// Publishes now, or not at all.
    ///
    /// # Errors
    ///
    /// [`RespondError`]; nothing was queued then.
    pub fn try_send(self) -> Result<Position, RespondError> {
        let publish = self.publish.ok_or(RespondError::NoReply)?;
        Ok(publish.try_send()?)
    }
}

impl<'a, P: AsRef<[u8]>> IntoFuture for Respond<'a, P> {
    type Output = Result<Position, RespondError>;
    type IntoFuture = Responding<'a, P>;

    fn into_future(self) -> Self::IntoFuture {
        Responding { publishing: self.publish.map(Publish::into_future) }
    }
}

/// The future of a [`Respond`]. Dropped before it is ready, nothing was published.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Responding<'a, P> {
    publishing: Option<Publishing<'a, ReplySubject<'a>, P>>,
}

impl<P: AsRef<[u8]>> Future for Responding<'_, P> {
    type Output = Result<Position, RespondError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.publishing {
            None => Poll::Ready(Err(RespondError::NoReply)),
            Some(publishing) => Pin::new(publishing).poll(context).map_err(RespondError::from),
        }
    }
}
