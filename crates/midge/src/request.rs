//! Requests: one slot for each that waits, and the future that looks into it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge_proto::{AsSubject, HeaderMap, Instant, Message, PublishError, RequestError, RequestId};

use crate::Client;
use crate::publish::HeadersToSend;
use crate::shared::{Room, RoomWait, Shared, lock};
use crate::table::Table;
use crate::waiters::{Wakes, set_waker};

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
    timeout: Option<Duration>,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> Request<'a, S, P> {
    pub(crate) fn new(client: Client, subject: S, payload: P) -> Self {
        Self { client, subject, headers: HeadersToSend::None, payload, timeout: None }
    }

    /// How long to wait, from the first poll to the reply; waiting for room or for a connection
    /// counts. Default: `request_timeout` of the options.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The headers, in place of any given before.
    pub fn headers(mut self, headers: &'a HeaderMap) -> Self {
        self.headers.set(headers);
        self
    }

    /// Adds a header. An invalid one makes the request fail.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value.as_ref());
        self
    }

    /// Sends it and returns its id, with a slot for the response.
    fn poll_send(
        &self,
        deadline: Instant,
        wait: &mut RoomWait,
        context: &Context<'_>,
    ) -> Poll<Result<RequestId, RequestError>> {
        let subject = self.subject.as_subject().map_err(PublishError::from)?;
        let headers = self.headers.get().map_err(PublishError::from)?;
        let payload = self.payload.as_ref();
        let shared = self.client.shared();
        shared.poll_with_room(
            wait,
            context,
            |error| *error == RequestError::Publish(PublishError::Full),
            |inner| {
                let id = inner.connection.request(subject, headers, payload, deadline)?;
                // Under the connection's lock, so that the response cannot come first.
                let slot = Slot::Waiting(Some(context.waker().clone()));
                lock(&shared.requests).slots.insert(id, slot);
                Ok(id)
            },
        )
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for Request<'a, S, P> {
    type Output = Result<Message, RequestError>;
    type IntoFuture = Requesting<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        Requesting { request: self, state: State::Unsent(None, RoomWait::new(Room::Messages)) }
    }
}

#[derive(Debug)]
enum State {
    Unsent(Option<Instant>, RoomWait),
    Sent(RequestId),
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
        let shared = this.request.client.shared();
        match &mut this.state {
            State::Unsent(deadline, wait) => {
                let timeout = this.request.timeout.unwrap_or(shared.settings.request_timeout);
                let deadline = *deadline.get_or_insert_with(|| shared.after(timeout));
                wait.deadline = Some(deadline);
                match this.request.poll_send(deadline, wait, context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(id)) => this.state = State::Sent(id),
                    Poll::Ready(Err(error)) => {
                        this.state = State::Over;
                        return Poll::Ready(Err(error));
                    }
                }
                Poll::Pending
            }
            State::Sent(id) => {
                let result = poll_response(shared, *id, context.waker());
                if result.is_ready() {
                    this.state = State::Over;
                }
                result
            }
            State::Over => panic!("a request was polled after it was ready"),
        }
    }
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
            State::Sent(id) => {
                let id = *id;
                let slot = shared.command(|inner| {
                    inner.connection.cancel(id);
                    lock(&shared.requests).slots.remove(id)
                });
                drop(slot);
            }
            State::Over => {}
        }
    }
}
