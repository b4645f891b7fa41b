//! Making a subscription.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use midge_proto::{AsSubject, Message, QueueGroup, QueueGroupError, Sid, Subject, SubscribeError};

use crate::confirm::SubscribeConfirmed;
use crate::handler::{Function, Handler, SubscribeHandler};
use crate::queue::{Limits, Queue};
use crate::room::{Room, RoomWait};
use crate::router::Slot;
use crate::shared::{Handle, Inner, Shared};
use crate::timers::Owner;
use crate::{Client, Subscription};

/// What happens when as much of a subscription is unread as its capacity allows.
///
/// Dropped messages are counted by [`Subscription::dropped`], and count towards a maximum of
/// messages like others. A burst begins when a limit is reached, with one
/// [`Event::SlowConsumer`](crate::Event::SlowConsumer), and ends when half was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Reading from the server stops, for all subscriptions of the connection, for at most
    /// `slow_hold` of the options a burst; then this one's newest messages are dropped. What one
    /// turn of the driver has found meanwhile, at most 64 KiB, goes past the capacity.
    #[default]
    Hold,
    /// The newest messages are dropped at once.
    DropNewest,
    /// The oldest messages are dropped at once, so that the reader sees the newest. What it has
    /// taken out with [`next_batch`](Subscription::next_batch) is not dropped, and the newest
    /// message always stays.
    DropOldest,
    /// Reading from the server stops, for all subscriptions of the connection, until half was
    /// read, however long that takes. Nothing is dropped here; a server that cannot write for
    /// long closes the connection as a slow consumer. A drain comes to its end only while somebody
    /// reads.
    Pause,
}

/// A subscription that is about to be made. Made by [`Client::subscribe`].
///
/// `.await` makes it, and only waits when very many control operations are still to be written.
/// It does not wait for the server: [`confirmed`](Self::confirmed) does. A refusal by the server
/// ends the subscription later, see [`Subscription::end`]; but not where there is one too many, since
/// the server does not say which: that is an [`Event::ServerError`](crate::Event::ServerError), and
/// told by [`confirmed`](Self::confirmed).
#[derive(Debug)]
#[must_use = "nothing is subscribed to until `.await` or `try_subscribe`"]
pub struct Subscribe<S> {
    client: Client,
    subject: S,
    group: Result<Option<QueueGroup>, QueueGroupError>,
    limits: Limits,
    when_full: WhenFull,
    max: Option<u64>,
    first_within: Option<Duration>,
    function: Option<Held>,
}

struct Held(Function);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a handler")
    }
}

impl<S: AsSubject> Subscribe<S> {
    pub(crate) fn new(client: Client, subject: S) -> Self {
        let limits = client.shared().settings.limits;
        Self {
            client,
            subject,
            group: Ok(None),
            limits,
            when_full: WhenFull::default(),
            max: None,
            first_within: None,
            function: None,
        }
    }

    /// Joins a queue group: each message goes to one member of it.
    pub fn queue(mut self, group: &str) -> Self {
        self.group = QueueGroup::new(group).map(Some);
        self
    }

    /// How much may be unread: messages, and bytes of subject, reply, headers and payload. At
    /// least one message always fits. Default: `subscription_capacity` of the options.
    pub fn capacity(mut self, messages: usize, bytes: usize) -> Self {
        self.limits = Limits { messages: messages.max(1), bytes: bytes.max(1) };
        self
    }

    /// What happens when that much is unread. Default: [`WhenFull::Hold`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Ends it once so many messages have come, over all connections; the server is told right
    /// behind the SUB. Dropped messages count. With 0 it ends at once. Default: without limit.
    pub fn max_messages(mut self, max: u64) -> Self {
        self.max = Some(max);
        self
    }

    /// The time until the first message, from the moment when it is made; for the others there is
    /// none. When it is over, the subscription is ended as
    /// [`EndReason::NoFirstMessage`](crate::EndReason::NoFirstMessage). Default: without limit.
    pub fn first_within(mut self, time: Duration) -> Self {
        self.first_within = Some(time);
        self
    }

    /// Calls `function` with each message, instead of queueing it for a reader: the shortest way
    /// from the socket, with no wake-up of another task.
    ///
    /// It is called in the driver's thread while that turns, one message at a time, in the order
    /// of arrival and with no lock held: it may publish, subscribe, and drop the subscription.
    /// While it runs, the connection neither reads nor writes, so it must be quick and never
    /// block. Futures are woken after it: whoever waited for a flush finds that it has seen what
    /// came before. A panic in it ends the connection. [`capacity`](Self::capacity) and
    /// [`when_full`](Self::when_full) have no meaning here, since nothing waits.
    pub fn handler(
        mut self,
        function: impl FnMut(Message) + Send + 'static,
    ) -> SubscribeHandler<S> {
        self.function = Some(Held(Box::new(function)));
        self.limits = Limits::NONE;
        SubscribeHandler::new(self)
    }

    /// Also waits until the server has it, see [`Subscription::confirmed`].
    pub fn confirmed(self) -> SubscribeConfirmed<S> {
        SubscribeConfirmed::new(self)
    }

    /// Subscribes now, or not at all.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]; [`SubscribeError::Full`] when there is no room to write it.
    pub fn try_subscribe(self) -> Result<Subscription, SubscribeError> {
        self.try_make().map(Subscription::new)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn try_make(mut self) -> Result<Made, SubscribeError> {
        let plan = self.plan()?;
        let shared = self.client.shared();
        let sid = shared.command(|inner| plan.make(shared, inner))?;
        Ok(plan.made(self.client.into_handle(), sid))
    }

    fn plan(&mut self) -> Result<Plan, SubscribeError> {
        let subject = self.subject.as_subject()?.to_subject();
        let group = self.group.clone()?;
        let when_full = match self.when_full {
            WhenFull::Hold if self.client.shared().settings.slow_hold.is_zero() => {
                WhenFull::DropNewest
            }
            when_full => when_full,
        };
        let queue = Arc::new(Queue::new(subject, self.limits, when_full));
        let function = self.function.take();
        let handler = function.map(|function| Arc::new(Handler::new(queue.clone(), function.0)));
        Ok(Plan {
            queue,
            group,
            handler,
            max: self.max,
            first_within: self.first_within,
            replies: false,
        })
    }
}

/// All that a subscription is made of, but for its number.
#[derive(Debug)]
pub(crate) struct Plan {
    queue: Arc<Queue>,
    group: Option<QueueGroup>,
    handler: Option<Arc<Handler>>,
    max: Option<u64>,
    first_within: Option<Duration>,
    /// It is an inbox for the replies to one request.
    replies: bool,
}

impl Plan {
    /// An inbox for at most `max` replies, from which none is dropped.
    pub(crate) fn inbox(subject: Subject, limits: Limits, max: Option<u64>) -> Self {
        Self::of_replies(Queue::new(subject, limits, WhenFull::Pause), max)
    }

    /// An inbox for so many answers, of 1 KiB on average. More are dropped: nobody has asked for them.
    #[cfg(feature = "jetstream")]
    pub(crate) fn answers(subject: Subject, messages: usize) -> Self {
        let limits = Limits { messages, bytes: messages.saturating_mul(1024) };
        Self::of_replies(Queue::new(subject, limits, WhenFull::DropNewest), None)
    }

    fn of_replies(queue: Queue, max: Option<u64>) -> Self {
        let queue = Arc::new(queue);
        Self { queue, group: None, handler: None, max, first_within: None, replies: true }
    }

    pub(crate) fn make(&self, shared: &Shared, inner: &mut Inner) -> Result<Sid, SubscribeError> {
        let subject = self.queue.subject.borrowed();
        let sid = match self.replies {
            true => inner.connection.subscribe_replies(subject)?,
            false => inner.connection.subscribe(subject, self.group.as_ref())?,
        };
        let mut slot = Slot::new(self.queue.clone());
        if let Some(handler) = &self.handler {
            slot.extra().handler = Some(handler.clone());
        }
        if let Some(time) = self.first_within {
            let timer = inner.timers.start(Owner::Deadline(sid), shared.after(time));
            slot.extra().deadline = Some(timer);
        }
        inner.router.slots.insert(sid, slot);
        if let Some(max) = self.max {
            inner.connection.unsubscribe(sid, Some(max));
        }
        Ok(sid)
    }

    pub(crate) fn made(&self, handle: Arc<Handle>, sid: Sid) -> Made {
        Made { handle, queue: self.queue.clone(), sid, handler: self.handler.clone() }
    }
}

/// A subscription that was made, for its reader's end.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) handle: Arc<Handle>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) sid: Sid,
    pub(crate) handler: Option<Arc<Handler>>,
}

impl<S: AsSubject> IntoFuture for Subscribe<S> {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = Subscribing<S>;

    fn into_future(self) -> Self::IntoFuture {
        Subscribing { subscribe: self, plan: None, wait: RoomWait::new(Room::Control) }
    }
}

/// The future of a [`Subscribe`]. Dropped before it is ready, nothing was subscribed to.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Subscribing<S> {
    subscribe: Subscribe<S>,
    plan: Option<Plan>,
    wait: RoomWait,
}

/// Nothing here is pinned by being polled.
impl<S> Unpin for Subscribing<S> {}

impl<S: AsSubject> Subscribing<S> {
    pub(crate) fn poll_make(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<Made, SubscribeError>> {
        let Self { subscribe, plan, wait } = self;
        let plan = match plan {
            Some(plan) => plan,
            None => plan.insert(subscribe.plan()?),
        };
        let handle: &Arc<Handle> = subscribe.client.handle();
        let shared = &handle.shared;
        shared
            .poll_with_room(
                wait,
                context,
                |error| *error == SubscribeError::Full,
                |inner| plan.make(shared, inner),
            )
            .map_ok(|sid| plan.made(handle.clone(), sid))
    }
}

impl<S: AsSubject> Future for Subscribing<S> {
    type Output = Result<Subscription, SubscribeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_make(context).map_ok(Subscription::new)
    }
}

impl<S> Drop for Subscribing<S> {
    fn drop(&mut self) {
        self.wait.abandon(self.subscribe.client.shared());
    }
}
