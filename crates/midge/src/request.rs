//! Requests: one slot for each that waits, and the future that looks into it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use midge_proto::{
    AsSubject, HeaderMap, Instant, Message, PublishError, RequestError, RequestId, Subject,
};

use crate::ask::{Asking, Question, checked_reply, is_no_responders};
use crate::driver::{Beside, Lead, Reader, Reply};
use crate::end::{End, EndReason};
use crate::publish::HeadersToSend;
use crate::room::{Room, RoomWait};
use crate::shared::{Shared, lock};
use crate::table::Table;
use crate::waiters::{Wakes, set_waker};
use crate::{Client, Subscription, blocking};

/// Where responses wait for their futures.
#[derive(Debug)]
pub(crate) struct Requests {
    slots: Table<RequestId, Slot>,
}

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Done(Result<Message, RequestError>),
}

impl Requests {
    pub(crate) const fn new() -> Self {
        Self { slots: Table::new() }
    }

    /// Hands a response to its future; gives it back when nobody waits for it.
    pub(crate) fn done(
        &mut self,
        id: RequestId,
        result: Result<Message, RequestError>,
        wakes: &mut Wakes,
    ) -> Option<Result<Message, RequestError>> {
        let Some(slot) = self.slots.get_mut(id) else { return Some(result) };
        if let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Done(result)) {
            wakes.add(waker);
        }
        None
    }
}

impl Requests {
    /// A response is waited for.
    pub(crate) fn wait(&mut self, id: RequestId, waker: Waker) {
        self.slots.insert(id, Slot::Waiting(Some(waker)));
    }
}

#[cfg(test)]
impl Requests {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A request that is about to be sent. Made by [`Client::request`]; `.await` sends it and waits
/// for the reply.
#[derive(Debug)]
#[must_use = "nothing is sent until `.await`"]
pub struct Request<'a, S, P> {
    client: Client,
    subject: S,
    headers: HeadersToSend<'a>,
    payload: P,
    limit: Limit,
    inbox: Inbox,
}

/// Until when to wait.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// As the options say.
    Default,
    /// For so long from the first poll on.
    Timeout(Duration),
    #[cfg(feature = "jetstream")]
    Deadline(Instant),
}

/// Where the reply is to come.
#[derive(Debug)]
enum Inbox {
    /// On the inbox that requests share.
    Shared,
    Own,
    Given(Result<Subject, PublishError>),
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> Request<'a, S, P> {
    pub(crate) fn new(client: Client, subject: S, payload: P) -> Self {
        Self {
            client,
            subject,
            headers: HeadersToSend::None,
            payload,
            limit: Limit::Default,
            inbox: Inbox::Shared,
        }
    }

    /// How long to wait, from the first poll to the reply; waiting for room or for a connection
    /// counts. Default: `request_timeout` of the options.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::Timeout(timeout);
        self
    }

    /// Until when to wait, in place of a timeout.
    #[cfg(feature = "jetstream")]
    pub(crate) fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// Subscribes to an inbox for this request alone, instead of the one that requests share: for
    /// accounts and permissions that do not let replies through to that. Costs a SUB and an UNSUB.
    ///
    pub fn own_inbox(mut self) -> Self {
        self.inbox = Inbox::Own;
        self
    }

    /// As [`own_inbox`](Self::own_inbox), with this reply subject instead of a fresh inbox.
    pub fn reply(mut self, reply: impl AsSubject) -> Self {
        self.inbox = Inbox::Given(checked_reply(&reply));
        self
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

    /// As [`headers`](Self::headers), with a map of its own.
    #[cfg(feature = "jetstream")]
    pub(crate) fn own_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = HeadersToSend::Owned(headers);
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

    fn question(&self) -> Result<Question<'_>, PublishError> {
        Ok(Question {
            subject: self.subject.as_subject()?,
            headers: self.headers.get()?,
            payload: self.payload.as_ref(),
        })
    }

    fn first_state(&mut self, deadline: Instant) -> Result<State, PublishError> {
        let given = match std::mem::replace(&mut self.inbox, Inbox::Shared) {
            Inbox::Shared => {
                let wait = RoomWait::until(Room::Messages, deadline);
                return Ok(State::Unsent(deadline, wait));
            }
            Inbox::Own => None,
            Inbox::Given(reply) => Some(reply?),
        };
        let asking = Asking::new(self.client.clone(), given, Some(1), deadline);
        Ok(State::Asking(Box::new(asking)))
    }

    /// Sends it and returns its id, with a slot for the response, and who reads that.
    fn poll_send(
        &self,
        deadline: Instant,
        now: Option<Instant>,
        wait: &mut RoomWait,
        context: &Context<'_>,
    ) -> Poll<Result<(RequestId, Reader), RequestError>> {
        let Question { subject, headers, payload } = self.question()?;
        let shared = &self.client.handle().shared;
        let (mut alone, mut asked) = (None, None);
        let sent = shared.poll_with_room_if(
            wait,
            context,
            |error| *error == RequestError::Publish(PublishError::Full),
            |inner| {
                let request = inner.connection.request(subject, headers, payload, deadline);
                if let Ok(id) = request {
                    alone = now.and_then(|now| inner.take_alone(now, deadline, context.waker()));
                    let waker = context.waker().clone();
                    // Under the connection's lock, so that the response cannot come first.
                    if alone.as_ref().is_some_and(Beside::reads) {
                        inner.asked = Some((id, waker));
                    } else {
                        lock(&shared.requests).wait(id, waker);
                    }
                    asked = Some(id);
                }
                (request, alone.is_none())
            },
        );
        let reader = match asked.zip(alone) {
            Some((id, alone)) => alone.write(shared, id, context.waker()),
            None => Reader::Driver,
        };
        sent.map_ok(|id| (id, reader))
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for Request<'a, S, P> {
    type Output = Result<Message, RequestError>;
    type IntoFuture = Requesting<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        Requesting { request: self, state: State::New }
    }
}

#[derive(Debug)]
enum State {
    New,
    Unsent(Instant, RoomWait),
    Sent(RequestId),
    /// Who waits is to read the reply.
    Reading(RequestId),
    Asking(Box<Asking>),
    Asked(Box<Subscription>),
    Over,
}

/// The future of a [`Request`].
///
/// Dropped before it is ready, the request is given up: if no byte of it was written it is not
/// sent, else its reply is ignored.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Requesting<'a, S, P> {
    request: Request<'a, S, P>,
    state: State,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for Requesting<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for Requesting<'_, S, P> {
    type Output = Result<Message, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = this.poll_state(context);
        if result.is_ready() {
            this.state = State::Over;
        }
        result
    }
}

impl<S: AsSubject, P: AsRef<[u8]>> Requesting<'_, S, P> {
    /// Begins anew, once it was ready: the same request, until then.
    #[cfg(feature = "jetstream")]
    pub(crate) fn again(&mut self, deadline: Instant) {
        self.request.limit = Limit::Deadline(deadline);
        self.state = State::New;
    }

    #[inline]
    fn poll_state(&mut self, context: &Context<'_>) -> Poll<Result<Message, RequestError>> {
        let mut now = None;
        if let State::New = self.state {
            let shared = self.request.client.shared();
            let now = *now.insert(shared.clock.now());
            let deadline = match self.request.limit {
                Limit::Default => now + shared.settings.request_timeout,
                Limit::Timeout(timeout) => now + timeout,
                #[cfg(feature = "jetstream")]
                Limit::Deadline(deadline) => deadline,
            };
            self.state = self.request.first_state(deadline)?;
        }
        match &mut self.state {
            State::Unsent(deadline, wait) => {
                let (id, reader) = ready!(self.request.poll_send(*deadline, now, wait, context))?;
                self.state = match reader {
                    Reader::Driver => State::Sent(id),
                    Reader::Thread => {
                        let shared = &self.request.client.handle().shared;
                        blocking::read_first(Lead::new(Arc::clone(shared), id));
                        State::Sent(id)
                    }
                    Reader::Now | Reader::Woken => State::Reading(id),
                };
                if reader != Reader::Now {
                    return Poll::Pending;
                }
            }
            State::Asking(asking) => {
                let inbox = ready!(asking.poll(self.request.question()?, context))?;
                self.state = State::Asked(Box::new(inbox));
            }
            _ => {}
        }
        if let State::Reading(id) = self.state {
            match self.request.client.shared().read_reply(id, context.waker()) {
                Reply::Here(result) => return Poll::Ready(result),
                Reply::NotYet => return Poll::Pending,
                Reply::Elsewhere => self.state = State::Sent(id),
            }
        }
        match &mut self.state {
            State::Sent(id) => poll_response(self.request.client.shared(), *id, context.waker()),
            State::Asked(inbox) => poll_inbox(inbox, context),
            _ => panic!("a request was polled after it was ready"),
        }
    }
}

fn poll_inbox(
    inbox: &mut Subscription,
    context: &Context<'_>,
) -> Poll<Result<Message, RequestError>> {
    Poll::Ready(match ready!(inbox.poll_message(context)) {
        Some(message) if is_no_responders(&message) => Err(RequestError::NoResponders),
        Some(message) => Ok(message),
        None => Err(match inbox.queue().how_it_ended() {
            // The reply was larger than `max_message`.
            Some(End::NotSent(why)) => RequestError::NotSent(why),
            Some(End::Deadline | End::Reason(EndReason::MaxReached)) => RequestError::TimedOut,
            Some(End::Reason(EndReason::Denied(error))) => RequestError::Permission(error),
            _ => RequestError::Unknown,
        }),
    })
}

fn poll_response(
    shared: &Shared,
    id: RequestId,
    waker: &Waker,
) -> Poll<Result<Message, RequestError>> {
    let mut requests = lock(&shared.requests);
    if let Some(Slot::Waiting(slot)) = requests.slots.get_mut(id) {
        let old = set_waker(slot, waker);
        drop(requests);
        drop(old);
        return Poll::Pending;
    }
    let slot = requests.slots.remove(id);
    drop(requests);
    match slot {
        Some(Slot::Done(result)) => Poll::Ready(result),
        _ => Poll::Ready(Err(RequestError::Unknown)),
    }
}

impl<S, P> Drop for Requesting<'_, S, P> {
    fn drop(&mut self) {
        let shared = self.request.client.shared();
        match &mut self.state {
            State::Unsent(_, wait) => wait.abandon(shared),
            State::Sent(id) | State::Reading(id) => {
                let id = *id;
                let waited = shared.command(|inner| {
                    inner.connection.cancel(id);
                    (inner.forget_asked(id), lock(&shared.requests).slots.remove(id))
                });
                drop(waited);
            }
            State::New | State::Asking(_) | State::Asked(_) | State::Over => {}
        }
    }
}
