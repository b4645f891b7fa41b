//! Requests with many replies (ADR-47).

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use midge_proto::wire::ServerError;
use midge_proto::{AsSubject, HeaderMap, Instant, Message, NotSent, PublishError, RequestError};

use crate::ask::{Asking, Question, is_no_responders};
use crate::end::{End, EndReason};
use crate::publish::HeadersToSend;
use crate::timers::Owner;
use crate::{Client, Subscription};

/// Why replies ended before they were complete, told behind the last of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepliesError {
    /// Nobody subscribes to the subject (status 503).
    #[error("no responders: nobody subscribes to the subject")]
    NoResponders,
    /// A status came in the place of a reply.
    #[error("instead of a reply came the status {code} {description}")]
    Status {
        /// The code.
        code: u16,
        /// The text behind it.
        description: String,
    },
    /// The request never left, and never will.
    #[error("the request was not sent: {0}")]
    NotSent(NotSent),
    /// The connection was lost. The request may have been carried out, and replies may be missing.
    #[error("the connection was lost; replies may be missing")]
    Disconnected,
    /// The server denies the subject of the request, or the inbox.
    #[error("not permitted: {0}")]
    Permission(ServerError),
    /// The connection drains; replies may be missing.
    #[error("the connection is draining; replies may be missing")]
    Draining,
    /// The connection closed; replies may be missing.
    #[error("the connection closed; replies may be missing")]
    Closed,
}

/// Tells the message that stands for the end of the replies.
struct Sentinel(Box<dyn FnMut(&Message) -> bool + Send>);

impl fmt::Debug for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sentinel")
    }
}

/// A request for many replies that is about to be sent. Made by [`Client::request_many`].
///
/// The replies end with whatever comes first: the time, a count, a gap, or a last message that is
/// known as such. `.await` sends the request and gives its [`Replies`].
#[derive(Debug)]
#[must_use = "nothing is sent until `.await`"]
pub struct RequestMany<'a, S, P> {
    client: Client,
    subject: S,
    headers: HeadersToSend<'a>,
    payload: P,
    max_wait: Option<Duration>,
    max_messages: Option<u64>,
    stall: Option<Duration>,
    sentinel: Option<Sentinel>,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> RequestMany<'a, S, P> {
    pub(crate) fn new(client: Client, subject: S, payload: P) -> Self {
        Self {
            client,
            subject,
            headers: HeadersToSend::None,
            payload,
            max_wait: None,
            max_messages: None,
            stall: None,
            sentinel: None,
        }
    }

    /// The time for all replies, from the first poll; waiting for room or for a connection
    /// counts. What has come by then can still be read later. Default: `request_timeout` of the
    /// options.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = Some(time);
        self
    }

    /// The replies end after so many. Default: without limit.
    pub fn max_messages(mut self, max: u64) -> Self {
        self.max_messages = Some(max);
        self
    }

    /// The replies end when, after the first one, no further one comes for so long. Only the time
    /// that the caller waits counts: it begins when the caller has read all there is, and what
    /// has come meanwhile is handed over first. Zero means never. Default: never.
    pub fn stall(mut self, gap: Duration) -> Self {
        self.stall = (!gap.is_zero()).then_some(gap);
        self
    }

    /// The replies end with the message for which `is_last` is true. That message is not handed
    /// over.
    pub fn sentinel(mut self, is_last: impl FnMut(&Message) -> bool + Send + 'static) -> Self {
        self.sentinel = Some(Sentinel(Box::new(is_last)));
        self
    }

    /// The replies end with a message whose payload is empty, the usual sign. That message is
    /// not handed over.
    pub fn sentinel_empty(self) -> Self {
        self.sentinel(|message| message.payload().is_empty())
    }

    /// The headers, in place of any given before, those of [`trace`](Self::trace) included.
    pub fn headers(mut self, headers: &'a HeaderMap) -> Self {
        self.headers.set(headers);
        self
    }

    /// Adds a header. An invalid one makes the request fail.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value.as_ref());
        self
    }

    /// Asks the servers to report to the subject `destination` how they route the message, which
    /// is delivered as well (ADR-41). Only given headers are changed, not the caller's map. From
    /// nats-server 2.14 on, publishing to `destination` must be permitted.
    pub fn trace(mut self, destination: impl AsSubject) -> Self {
        self.headers.trace(&destination, false);
        self
    }

    /// As [`trace`](Self::trace), without the message being delivered to anyone.
    pub fn trace_only(mut self, destination: impl AsSubject) -> Self {
        self.headers.trace(&destination, true);
        self
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for RequestMany<'a, S, P> {
    type Output = Result<Replies, RequestError>;
    type IntoFuture = RequestingMany<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        RequestingMany { request: self, asking: None }
    }
}

/// The future of a [`RequestMany`]. It is ready when the request is queued.
///
/// Dropped before it is ready, the request was not sent.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct RequestingMany<'a, S, P> {
    request: RequestMany<'a, S, P>,
    asking: Option<Asking>,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for RequestingMany<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for RequestingMany<'_, S, P> {
    type Output = Result<Replies, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { request, asking } = &mut *self;
        let asking = asking.get_or_insert_with(|| {
            let shared = request.client.shared();
            let time = request.max_wait.unwrap_or(shared.settings.request_timeout);
            let deadline = shared.after(time);
            Asking::new(request.client.clone(), None, request.max_messages, deadline)
        });
        let question = Question {
            subject: request.subject.as_subject().map_err(PublishError::from)?,
            headers: request.headers.get()?,
            payload: request.payload.as_ref(),
        };
        let inbox = ready!(asking.poll(question, context))?;
        Poll::Ready(Ok(Replies {
            inbox: Some(inbox),
            stall: request.stall,
            sentinel: request.sentinel.take(),
            begun: false,
            stalls_at: None,
        }))
    }
}

/// The replies to a request for many.
///
/// A stream of messages. Where they end before they were complete, the reason is the last item.
/// It unsubscribes when it ends or is dropped; at `max_wait` also when nobody reads it. None is
/// dropped: when as many are unread as `subscription_capacity` allows, reading from the server
/// stops until half was read or `max_wait` is over.
#[derive(Debug)]
pub struct Replies {
    /// `None` after the end.
    inbox: Option<Subscription>,
    stall: Option<Duration>,
    sentinel: Option<Sentinel>,
    /// A reply was handed over.
    begun: bool,
    /// The caller waits, and does so until then.
    stalls_at: Option<Instant>,
}

impl Replies {
    /// The next reply, in the order of arrival; `None` after the last one.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> NextReply<'_> {
        NextReply { replies: self }
    }

    fn poll_reply(&mut self, context: &Context<'_>) -> Poll<Option<Result<Message, RepliesError>>> {
        let Some(inbox) = &mut self.inbox else { return Poll::Ready(None) };
        let last = match inbox.poll_message(context) {
            Poll::Ready(Some(message)) => match self.judge(&message) {
                Judgement::Reply => {
                    self.begun = true;
                    self.stalls_at = None;
                    return Poll::Ready(Some(Ok(message)));
                }
                Judgement::Last => None,
                Judgement::Failure(error) => Some(Err(error)),
            },
            Poll::Ready(None) => failure(inbox.queue().how_it_ended()).map(Err),
            Poll::Pending => {
                ready!(self.poll_stall());
                None
            }
        };
        self.inbox = None;
        Poll::Ready(last)
    }

    fn judge(&mut self, message: &Message) -> Judgement {
        if is_no_responders(message) {
            return Judgement::Failure(RepliesError::NoResponders);
        }
        if self.sentinel.as_mut().is_some_and(|sentinel| (sentinel.0)(message)) {
            return Judgement::Last;
        }
        match message.status().filter(|_| message.payload().is_empty()) {
            Some(status) => Judgement::Failure(RepliesError::Status {
                code: status.code,
                description: status.description.to_owned(),
            }),
            None => Judgement::Reply,
        }
    }

    /// Ready when the caller has waited for the next reply too long.
    fn poll_stall(&mut self) -> Poll<()> {
        let (Some(gap), Some(inbox)) = (self.stall.filter(|_| self.begun), &self.inbox) else {
            return Poll::Pending;
        };
        let shared = inbox.shared();
        let now = shared.clock.now();
        let at = *self.stalls_at.get_or_insert(now + gap);
        if at <= now {
            return Poll::Ready(());
        }
        let sid = inbox.sid();
        shared.command_if(|inner| {
            let Some(slot) = inner.router.slots.get_mut(sid) else { return ((), false) };
            let extra = slot.extra();
            // One that runs is due before: then this is looked at again.
            let start = extra.stall.is_none();
            if start {
                extra.stall = Some(inner.timers.start(Owner::Stall(sid), at));
            }
            ((), start)
        });
        Poll::Pending
    }
}

enum Judgement {
    Reply,
    Last,
    Failure(RepliesError),
}

/// What an end says about the replies: nothing, when they are complete.
fn failure(end: Option<End>) -> Option<RepliesError> {
    match end? {
        End::Deadline => None,
        End::NotSent(why) => Some(RepliesError::NotSent(why)),
        End::Lost => Some(RepliesError::Disconnected),
        End::Reason(reason) => match reason {
            EndReason::MaxReached | EndReason::Unsubscribed | EndReason::NoFirstMessage => None,
            EndReason::Denied(error) => Some(RepliesError::Permission(error)),
            EndReason::Drained => Some(RepliesError::Draining),
            EndReason::Disconnected => Some(RepliesError::Disconnected),
            EndReason::Closed => Some(RepliesError::Closed),
        },
    }
}

impl Stream for Replies {
    type Item = Result<Message, RepliesError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_reply(context)
    }
}

/// The future of [`Replies::next`]. Dropping it loses no reply.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextReply<'a> {
    replies: &'a mut Replies,
}

impl Future for NextReply<'_> {
    type Output = Option<Result<Message, RepliesError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.replies.poll_reply(context)
    }
}
