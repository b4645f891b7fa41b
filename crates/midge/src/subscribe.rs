//! Making a subscription.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use midge_proto::{AsSubject, QueueGroup, QueueGroupError, Sid, SubscribeError};

use crate::queue::{Limits, Queue};
use crate::router::Slot;
use crate::shared::{Handle, Inner, Room, RoomWait};
use crate::{Client, Subscription};

/// A subscription that is about to be made. Made by [`Client::subscribe`].
///
/// `.await` makes it, and only waits when very many control operations are still to be written.
/// It does not wait for the server: [`Client::flush`] does, and a refusal by the server ends the
/// subscription later, see [`Subscription::end`].
#[derive(Debug)]
#[must_use = "nothing is subscribed to until `.await` or `try_subscribe`"]
pub struct Subscribe<S> {
    client: Client,
    subject: S,
    queue: Result<Option<QueueGroup>, QueueGroupError>,
    limits: Limits,
}

impl<S: AsSubject> Subscribe<S> {
    pub(crate) fn new(client: Client, subject: S) -> Self {
        let limits = client.shared().settings.limits;
        Self { client, subject, queue: Ok(None), limits }
    }

    /// Joins a queue group: each message goes to one member of it.
    pub fn queue(mut self, group: &str) -> Self {
        self.queue = QueueGroup::new(group).map(Some);
        self
    }

    /// How much may be unread: messages, and bytes of subject, reply, headers and payload. At
    /// least one message always fits. Default: `subscription_capacity` of the options.
    pub fn capacity(mut self, messages: usize, bytes: usize) -> Self {
        self.limits = Limits { messages: messages.max(1), bytes: bytes.max(1) };
        self
    }

    /// Subscribes now, or not at all.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]; [`SubscribeError::Full`] when there is no room to write it.
    pub fn try_subscribe(self) -> Result<Subscription, SubscribeError> {
        let queue = self.new_queue()?;
        let made = self.client.shared().command(|inner| self.make(&queue, inner))?;
        Ok(Subscription::new(self.client.into_handle(), queue, made))
    }

    fn new_queue(&self) -> Result<Arc<Queue>, SubscribeError> {
        let subject = self.subject.as_subject()?.to_subject();
        Ok(Arc::new(Queue::new(subject, self.limits)))
    }

    fn make(&self, queue: &Arc<Queue>, inner: &mut Inner) -> Result<Sid, SubscribeError> {
        let group = self.queue.as_ref().map_err(|error| *error)?;
        let sid = inner.connection.subscribe(queue.subject.borrowed(), group.as_ref())?;
        inner.router.slots.insert(sid, Slot::new(queue.clone()));
        Ok(sid)
    }
}

impl<S: AsSubject> IntoFuture for Subscribe<S> {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = Subscribing<S>;

    fn into_future(self) -> Self::IntoFuture {
        Subscribing { subscribe: self, wait: RoomWait::new(Room::Control) }
    }
}

/// The future of a [`Subscribe`]. Dropped before it is ready, nothing was subscribed to.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Subscribing<S> {
    subscribe: Subscribe<S>,
    wait: RoomWait,
}

/// Nothing here is pinned by being polled.
impl<S> Unpin for Subscribing<S> {}

impl<S: AsSubject> Future for Subscribing<S> {
    type Output = Result<Subscription, SubscribeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { subscribe, wait } = &mut *self;
        let queue = subscribe.new_queue()?;
        let handle: &Arc<Handle> = subscribe.client.handle();
        handle
            .shared
            .poll_with_room(
                wait,
                context,
                |error| *error == SubscribeError::Full,
                |inner| subscribe.make(&queue, inner),
            )
            .map_ok(|sid| Subscription::new(handle.clone(), queue.clone(), sid))
    }
}

impl<S> Drop for Subscribing<S> {
    fn drop(&mut self) {
        self.wait.abandon(self.subscribe.client.shared());
    }
}
