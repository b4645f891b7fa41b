//! Receiving: the reader's end of a subscription.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use midge_proto::{Message, Sid, Subject};

use crate::confirm::Confirming;
use crate::end::EndReason;
use crate::queue::{Amount, Queue, Taken};
use crate::shared::{Handle, Shared};
use crate::subscribe::Made;

/// The messages of one subscription, a stream with a single reader.
///
/// What has arrived waits here, within the bounds of [`Subscribe::capacity`]; what happens past
/// them is for [`Subscribe::when_full`] to say, by default: reading from the server stops for
/// `slow_hold`, then the newest messages are dropped and [counted](Self::dropped). It ends when it
/// is unsubscribed, drained, or denied by the server, when its maximum came or its first message
/// did not, or when the connection closes. A lost connection does not end it: it is
/// announced again to the next server, and messages published in between are missed.
///
/// Dropping it unsubscribes. It keeps the connection alive.
///
/// [`Subscribe::capacity`]: crate::Subscribe::capacity
/// [`Subscribe::when_full`]: crate::Subscribe::when_full
pub struct Subscription {
    handle: Arc<Handle>,
    queue: Arc<Queue>,
    sid: Sid,
    /// Taken out of the queue and not read.
    local: VecDeque<Message>,
    delivered: u64,
}

impl Subscription {
    pub(crate) fn new(made: Made) -> Self {
        let Made { handle, queue, sid, .. } = made;
        Self { handle, queue, sid, local: VecDeque::new(), delivered: 0 }
    }

    // ---- reading -------------------------------------------------------------------------

    /// The next message, in the order of arrival; `None` after the last one.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> Next<'_> {
        Next { subscription: self }
    }

    /// Waits for a message and then gives at most `max` of those that are there, without
    /// waiting; `None` after the last one. Messages that are not taken out of the batch stay.
    ///
    /// # Panics
    ///
    /// When `max` is 0.
    pub fn next_batch(&mut self, max: usize) -> NextBatch<'_> {
        assert!(max > 0, "a batch holds at least one message");
        NextBatch { subscription: Some(self), max }
    }

    /// The next message if there is one.
    pub fn try_next(&mut self) -> Option<Message> {
        if self.local.is_empty() {
            self.come_back();
            self.queue.try_take(&mut self.local, 1);
        }
        self.pop()
    }

    #[inline]
    pub(crate) fn poll_message(&mut self, context: &Context<'_>) -> Poll<Option<Message>> {
        if self.local.is_empty()
            && let Some(poll) = self.poll_queue(context)
        {
            return poll;
        }
        Poll::Ready(self.pop())
    }

    /// `None` when there are messages.
    #[inline(never)]
    fn poll_queue(&mut self, context: &Context<'_>) -> Option<Poll<Option<Message>>> {
        self.come_back();
        match self.queue.take(&mut self.local, 1, context.waker()) {
            Taken::Messages => None,
            Taken::Ended => Some(Poll::Ready(None)),
            Taken::Nothing => Some(Poll::Pending),
        }
    }

    /// Behind a poll that found nothing: it wakes its task for so many messages only. False when there
    /// are as many already.
    #[cfg(feature = "jetstream")]
    pub(crate) fn wake_at(&self, least: usize) -> bool {
        self.queue.wake_at(least)
    }

    /// The work on the last message that was taken is over.
    #[inline]
    pub(crate) fn come_back(&self) {
        if self.queue.come_back() {
            self.handle.shared.read_down(self.sid);
        }
    }

    /// The next message, if it was taken out of the queue and has no headers.
    #[cfg(feature = "jetstream")]
    #[inline]
    pub(crate) fn take_plain(&mut self) -> Option<Message> {
        if self.local.front()?.headers().is_some() {
            return None;
        }
        self.pop()
    }

    /// A message that was taken out of the queue.
    #[inline]
    fn pop(&mut self) -> Option<Message> {
        let size = self.local.front()?.size();
        self.delivered += 1;
        let mut read = self.queue.read_by_me();
        read.add(1, size);
        if self.local.len() == 1 {
            self.note_last(read);
        } else if self.queue.note_read(read) {
            self.attend();
        }
        self.local.pop_front()
    }

    #[inline(never)]
    fn note_last(&self, read: Amount) {
        if self.queue.note_last(read) {
            self.attend();
        }
    }

    #[cold]
    fn attend(&self) {
        if self.queue.attention() {
            self.handle.shared.read_down(self.sid);
        }
    }

    // ---- ending --------------------------------------------------------------------------

    /// Ends it at once. Messages that are not read are dropped, and nothing follows.
    pub fn unsubscribe(&mut self) {
        let slot = self.handle.shared.unsubscribe(self.sid, &self.queue);
        let unread = self.queue.abandon(EndReason::Unsubscribed);
        self.local.clear();
        drop((slot, unread));
    }

    /// Ends it once `max` messages have come, counted from its start over all connections; at
    /// once when that many came already. A larger maximum than an earlier one changes nothing.
    pub fn unsubscribe_after(&mut self, max: u64) {
        self.handle.shared.command(|inner| inner.connection.unsubscribe(self.sid, Some(max)));
    }

    /// Begins to end it without loss, at once: the server sends nothing more, and what it sent
    /// before arrives. The future is ready when all of it has arrived, which is when reading
    /// gives the rest and then `None`. It need not be awaited.
    pub fn drain(&mut self) -> DrainSubscription<'_> {
        self.handle.shared.command(|inner| inner.connection.drain_subscription(self.sid));
        DrainSubscription { queue: &self.queue, read_out: false }
    }

    /// Waits until the server has it: a PING behind the SUB, and its PONG. When the connection is
    /// lost meanwhile, until the next server has it. The future does not borrow the subscription.
    pub fn confirmed(&self) -> Confirming {
        Confirming::new(self.handle.clone(), self.queue.clone())
    }

    /// Why it has ended, once it has. Messages may still be unread.
    pub fn end(&self) -> Option<EndReason> {
        self.queue.end_reason()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    // ---- looking at it -------------------------------------------------------------------

    /// The subject subscribed to.
    pub fn subject(&self) -> &Subject {
        &self.queue.subject
    }

    /// Its number, as events name it.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// Messages that were read.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Messages that have arrived and are not read.
    pub fn pending(&self) -> usize {
        self.queue.unread().messages
    }

    /// Bytes of subject, reply, headers and payload of these.
    pub fn pending_bytes(&self) -> usize {
        self.queue.unread().bytes
    }

    /// How much may be unread: messages, and bytes.
    pub fn capacity(&self) -> (usize, usize) {
        let limits = self.queue.limits();
        (limits.messages, limits.bytes)
    }

    /// Messages that were dropped because too many were unread.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.get_mut().poll_message(context)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("sid", &self.sid)
            .field("subject", &self.queue.subject)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

/// The future of [`Subscription::next`]. Dropping it loses no message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Next<'a> {
    subscription: &'a mut Subscription,
}

impl Future for Next<'_> {
    type Output = Option<Message>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.subscription.poll_message(context)
    }
}

/// The future of [`Subscription::next_batch`]. Dropping it loses no message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextBatch<'a> {
    /// Taken out when it is ready.
    subscription: Option<&'a mut Subscription>,
    max: usize,
}

impl<'a> Future for NextBatch<'a> {
    type Output = Option<Messages<'a>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let max = self.max;
        let subscription = self.subscription.as_mut().expect("a batch is polled until it is ready");
        if subscription.local.is_empty() {
            subscription.come_back();
            let Subscription { queue, local, .. } = &mut **subscription;
            match queue.take(local, max, context.waker()) {
                Taken::Messages => {}
                Taken::Ended => return Poll::Ready(None),
                Taken::Nothing => return Poll::Pending,
            }
        }
        Poll::Ready(
            self.subscription.take().map(|subscription| Messages { subscription, left: max }),
        )
    }
}

/// Messages that are there, as an iterator that neither waits nor locks.
#[derive(Debug)]
pub struct Messages<'a> {
    subscription: &'a mut Subscription,
    left: usize,
}

impl Iterator for Messages<'_> {
    type Item = Message;

    #[inline]
    fn next(&mut self) -> Option<Message> {
        self.left = self.left.checked_sub(1)?;
        self.subscription.pop()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.min(self.subscription.local.len());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// The future of [`Subscription::drain`]. Dropping it does not stop the drain.
#[derive(Debug)]
pub struct DrainSubscription<'a> {
    queue: &'a Queue,
    read_out: bool,
}

impl<'a> DrainSubscription<'a> {
    /// Also waits until nothing is unread.
    pub(crate) fn read_out(queue: &'a Queue) -> Self {
        Self { queue, read_out: true }
    }
}

impl Future for DrainSubscription<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.queue.wait_for_end(context.waker(), self.read_out) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }
}
