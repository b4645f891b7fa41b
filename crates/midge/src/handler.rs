//! Messages that go to a function instead of a queue: the driver calls it, with no lock held.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use midge_proto::{AsSubject, Message, Sid, Subject, SubscribeError};

#[cfg(feature = "jetstream")]
use crate::background::Background;
use crate::confirm::Confirming;
use crate::end::EndReason;
use crate::queue::Queue;
use crate::shared::{Handle, Shared, lock};
use crate::subscribe::{Made, Subscribe, Subscribing};
use crate::subscription::DrainSubscription;

/// What is called with each message.
pub(crate) type Function = Box<dyn FnMut(Message) + Send>;

/// A function and the queue that feeds it. Only the driver calls it, so it is out of its lock
/// while it runs, and may itself do anything with the subscription.
pub(crate) struct Handler {
    queue: Arc<Queue>,
    function: Mutex<Option<Function>>,
    /// No further call begins.
    stopped: AtomicBool,
    called: AtomicU64,
}

impl Handler {
    pub(crate) fn new(queue: Arc<Queue>, function: Function) -> Self {
        Self {
            queue,
            function: Mutex::new(Some(function)),
            stopped: AtomicBool::new(false),
            called: AtomicU64::new(0),
        }
    }

    /// Calls the function with all that is in the queue.
    fn run(&self, batch: &mut VecDeque<Message>, shared: &Shared, sid: Sid) {
        let Some(mut function) = lock(&self.function).take() else { return };
        self.queue.try_take(batch, usize::MAX);
        let mut read = self.queue.read_so_far();
        while !self.stopped.load(Ordering::SeqCst)
            && let Some(message) = batch.pop_front()
        {
            read.add(1, message.size());
            function(message);
            self.called.fetch_add(1, Ordering::Relaxed);
            let told = match batch.is_empty() {
                true => self.queue.note_last(read),
                false => self.queue.note_read(read),
            };
            let told = told && self.queue.attention();
            if self.queue.come_back() || told {
                shared.read_down(sid);
            }
        }
        batch.clear();
        let over = self.queue.how_it_ended().is_some();
        let mut place = lock(&self.function);
        if over || self.stopped.load(Ordering::SeqCst) {
            drop(place);
            drop(function);
            self.queue.wake_reader();
        } else {
            *place = Some(function);
        }
    }

    /// Begins no further call, and forgets the function unless it is running.
    fn stop(&self, reason: EndReason) {
        self.stopped.store(true, Ordering::SeqCst);
        let function = lock(&self.function).take();
        drop(function);
        drop(self.queue.abandon(reason));
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").finish_non_exhaustive()
    }
}

/// What is due to be called by the driver, with no lock held.
#[derive(Debug)]
pub(crate) enum Call {
    Handler(Sid, Arc<Handler>),
    #[cfg(feature = "jetstream")]
    Background(Arc<Background>),
}

/// Calls that are due.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    due: Vec<Call>,
    /// Kept for its memory.
    batch: VecDeque<Message>,
}

impl Calls {
    pub(crate) fn take(&mut self, due: &mut Vec<Call>) {
        if !due.is_empty() {
            std::mem::swap(&mut self.due, due);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Calls them. To be called with no lock held. False when there were none.
    pub(crate) fn run(&mut self, shared: &Shared) -> bool {
        if self.due.is_empty() {
            return false;
        }
        for call in &self.due {
            match call {
                Call::Handler(sid, handler) => handler.run(&mut self.batch, shared, *sid),
                #[cfg(feature = "jetstream")]
                Call::Background(background) => background.run(),
            }
        }
        self.due.clear();
        true
    }
}

/// What is not called when the driver goes will never be: after a panic of a handler, the others.
impl Drop for Calls {
    fn drop(&mut self) {
        for call in self.due.drain(..) {
            match call {
                Call::Handler(_, handler) => {
                    handler.stop(EndReason::Closed);
                    handler.queue.wake_reader();
                }
                #[cfg(feature = "jetstream")]
                Call::Background(background) => background.stop(),
            }
        }
    }
}

/// A subscription with a handler that is about to be made. Made by [`Subscribe::handler`].
#[derive(Debug)]
#[must_use = "nothing is subscribed to until `.await` or `try_subscribe`"]
pub struct SubscribeHandler<S> {
    subscribe: Subscribe<S>,
}

impl<S: AsSubject> SubscribeHandler<S> {
    pub(crate) fn new(subscribe: Subscribe<S>) -> Self {
        Self { subscribe }
    }

    /// Subscribes now, or not at all.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]; [`SubscribeError::Full`] when there is no room to write it.
    pub fn try_subscribe(self) -> Result<HandlerSubscription, SubscribeError> {
        self.subscribe.try_make().map(HandlerSubscription::new)
    }
}

impl<S: AsSubject> IntoFuture for SubscribeHandler<S> {
    type Output = Result<HandlerSubscription, SubscribeError>;
    type IntoFuture = SubscribingHandler<S>;

    fn into_future(self) -> Self::IntoFuture {
        SubscribingHandler { subscribing: self.subscribe.into_future() }
    }
}

/// The future of a [`SubscribeHandler`]. Dropped before it is ready, nothing was subscribed to.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct SubscribingHandler<S> {
    subscribing: Subscribing<S>,
}

impl<S: AsSubject> Future for SubscribingHandler<S> {
    type Output = Result<HandlerSubscription, SubscribeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.subscribing.poll_make(context).map_ok(HandlerSubscription::new)
    }
}

/// A subscription whose messages go to a function. Made by [`Subscribe::handler`].
///
/// The function is called while this lives and the subscription goes on, and is dropped soon
/// after either has ended. Dropping this unsubscribes: no call begins after that, and one that
/// runs in the driver's thread runs to its end. It keeps the connection alive.
pub struct HandlerSubscription {
    handle: Arc<Handle>,
    handler: Arc<Handler>,
    sid: Sid,
}

impl HandlerSubscription {
    fn new(made: Made) -> Self {
        let Made { handle, queue, sid, handler } = made;
        let handler = handler.unwrap_or_else(|| Arc::new(Handler::new(queue, Box::new(|_| ()))));
        Self { handle, handler, sid }
    }

    /// Ends it at once: no call begins after this.
    pub fn unsubscribe(&mut self) {
        let slot = self.handle.shared.unsubscribe(self.sid, &self.handler.queue);
        self.handler.stop(EndReason::Unsubscribed);
        drop(slot);
    }

    /// Ends it once `max` messages have come, counted from its start over all connections; at
    /// once when that many came already. A larger maximum than an earlier one changes nothing.
    pub fn unsubscribe_after(&mut self, max: u64) {
        self.handle.shared.command(|inner| inner.connection.unsubscribe(self.sid, Some(max)));
    }

    /// Begins to end it without loss, at once: the server sends nothing more, and the handler is
    /// called with all that was sent before. The future is ready when the last call has returned.
    /// It need not be awaited.
    pub fn drain(&mut self) -> DrainSubscription<'_> {
        self.handle.shared.command(|inner| inner.connection.drain_subscription(self.sid));
        DrainSubscription::read_out(&self.handler.queue)
    }

    /// Waits until the server has it, as [`Subscription::confirmed`](crate::Subscription::confirmed).
    pub fn confirmed(&self) -> Confirming {
        Confirming::new(self.handle.clone(), self.handler.queue.clone())
    }

    /// Why it has ended, once it has. The last calls may still be due.
    pub fn end(&self) -> Option<EndReason> {
        self.handler.queue.end_reason()
    }

    /// The subject subscribed to.
    pub fn subject(&self) -> &Subject {
        &self.handler.queue.subject
    }

    /// Its number, as events name it.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// Calls that have returned.
    pub fn delivered(&self) -> u64 {
        self.handler.called.load(Ordering::Relaxed)
    }
}

impl Drop for HandlerSubscription {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

impl fmt::Debug for HandlerSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerSubscription")
            .field("sid", &self.sid)
            .field("subject", self.subject())
            .field("delivered", &self.delivered())
            .finish_non_exhaustive()
    }
}
