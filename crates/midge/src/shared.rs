//! What handles and driver share: the connection behind its lock, and all that changes with it.
//!
//! Locks are taken in this order: connection, then one of request slots, status board, or a
//! subscription's queue. Wakers are woken, and messages dropped, with none held.

use std::hint;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, ThreadId};
use std::time::Duration;

use midge_proto::{
    Action, Attempt, Connection, HeaderMap, Instant, Position, PublishError, RequestId, Sid,
    SubjectRef, SubjectText,
};

use crate::driver::{Clock, Direct};
use crate::flush::Flushes;
#[cfg(feature = "jetstream")]
use crate::in_hand::InHand;
use crate::layers::TlsSession;
use crate::options::Settings;
use crate::publish::{Choices, HeadersToSend};
use crate::queue::Queue;
use crate::request::Requests;
use crate::router::{Burst, Router, Slot};
use crate::status::Board;
use crate::table::ByNumber;
use crate::timers::{Owner, Timers};
use crate::waiters::Waiters;

/// Locks. What a panic left behind is whole: nothing here calls foreign code with a lock held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver waits, and a message has come.
#[cold]
fn wake_for_publish(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.take_idle();
    inner.publisher = Some(thread::current().id());
    inner.called = true;
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What keeps a connection alive; clients, subscriptions and pending futures hold it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

pub(crate) struct Shared {
    pub(crate) inner: Mutex<Inner>,
    pub(crate) requests: Mutex<Requests>,
    pub(crate) board: Mutex<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    #[cfg(feature = "jetstream")]
    pub(crate) in_hand: Arc<InHand>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Everything that one lock protects.
pub(crate) struct Inner {
    pub(crate) connection: Connection,
    pub(crate) router: Router,
    pub(crate) timers: Timers,
    pub(crate) flushes: Flushes,
    /// Futures that wait, by what there is no room for.
    pub(crate) rooms: [Waiters; 3],
    /// Futures that wait for a moment.
    #[cfg(feature = "jetstream")]
    pub(crate) alarms: Waiters,
    /// Subscriptions that have ended and are not read out.
    pub(crate) unread: ByNumber<Arc<Queue>>,
    /// Messages that were in a queue and that nobody will read.
    pub(crate) discarded: u64,
    /// The inboxes of requests that were sent and have one of their own, and those of pulls.
    pub(crate) inboxes: ByNumber<Sid>,
    #[cfg(feature = "jetstream")]
    pub(crate) in_hand: Arc<InHand>,
    /// The core waits to hear that the queues are read out.
    pub(crate) draining: bool,
    /// Subscriptions for whose sake reading has stopped.
    holding: usize,
    driver: Option<Waker>,
    /// The driver is gone.
    pub(crate) abandoned: bool,
    /// The driver waits and has nothing left to do.
    pub(crate) idle: bool,
    /// What it waits for is that the transport takes bytes, or publishers write them: more of them
    /// are no news to it.
    pub(crate) stuck: bool,
    /// Until then at the latest a driver that is idle waits.
    pub(crate) alarm: Option<Instant>,
    /// The transport can be written beside the driver.
    pub(crate) direct: Option<Direct>,
    /// Where a message was published that has woken the driver.
    pub(crate) publisher: Option<ThreadId>,
    /// A publish has called the driver, and nobody has come to wait since.
    called: bool,
    /// Those who have published so, and wait for what comes of it, since the driver's last turn.
    pub(crate) waited: u32,
    /// Publishers write runs of messages beside a driver that is idle, which looks again then.
    pub(crate) hands_over: Option<Instant>,
    /// Bytes that they have handed to the transport since.
    pub(crate) beside: usize,
    /// Who makes the only request reads its reply beside a driver that is idle, which looks again then.
    pub(crate) lends_reading: Option<Instant>,
    /// The request that does, and when it was made.
    pub(crate) reader: Option<RequestId>,
    pub(crate) asked_at: Instant,
    /// Who waits for a reply that may be read beside the driver, as long as that is so: it is in no slot
    /// then.
    pub(crate) asked: Option<(RequestId, Waker)>,
    /// It has the room for a read, and wakes the driver if that wants it meanwhile.
    pub(crate) is_read: bool,
    /// The driver was called back for what there is to read, and does that before it writes.
    pub(crate) reads_first: bool,
    /// Requests that were written beside the driver since its last turn, and replies read.
    pub(crate) alone: u32,
    pub(crate) led: u32,
    /// What came of such a read, and is for the driver.
    pub(crate) deferred: Option<Action>,
    pub(crate) read_error: Option<(Attempt, io::Error)>,
    /// What TLS has agreed on, on the present or last transport.
    pub(crate) tls: Option<TlsSession>,
}

/// A run of messages that a publisher writes by itself, once the driver leaves that to it.
pub(crate) const RUN_BYTES: usize = 64 * 1024;
impl Shared {
    /// Runs a command and wakes the driver if it is idle.
    #[inline]
    pub(crate) fn command<R>(&self, run: impl FnOnce(&mut Inner) -> R) -> R {
        self.command_if(|inner| (run(inner), true))
    }

    /// As [`command`](Self::command), for what only sometimes leaves the driver something to do.
    #[inline]
    pub(crate) fn command_if<R>(&self, run: impl FnOnce(&mut Inner) -> (R, bool)) -> R {
        let mut inner = lock(&self.inner);
        let (result, work) = run(&mut inner);
        let waker = if work { inner.take_idle() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Publishes now, or not at all: full is also when so many bytes wait for the driver.
    ///
    /// Most messages are plain, and no news to the driver: that is the short way.
    #[inline(never)]
    pub(crate) fn publish_chosen(
        self: &Arc<Self>,
        backlog: usize,
        subject: &SubjectText<'_>,
        choices: &Choices<'_>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        let headers = match &choices.headers {
            HeadersToSend::None => None,
            headers => headers.get()?,
        };
        let mut inner = lock(&self.inner);
        let waiting = inner.connection.unwritten();
        let no_news =
            !inner.idle || inner.stuck && (waiting < RUN_BYTES || inner.hands_over.is_none());
        if waiting < backlog && no_news && matches!(choices.reply, Ok(None)) {
            let published = inner.connection.publish_plain(subject, headers, payload);
            if let Some(position) = published {
                return Ok(position);
            }
        }
        hint::cold_path();
        self.publish_otherwise(inner, backlog, subject, choices, payload)
    }

    /// The same for a message that is not plain, or that leaves somebody something to do.
    #[inline(never)]
    fn publish_otherwise(
        self: &Arc<Self>,
        inner: MutexGuard<'_, Inner>,
        backlog: usize,
        subject: &SubjectText<'_>,
        choices: &Choices<'_>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        let subject = subject.check()?;
        let reply = choices.reply.map_err(PublishError::Reply)?;
        let headers = choices.headers.get()?;
        self.publish_locked(inner, backlog, subject, reply, headers, payload)
    }

    /// As [`publish_chosen`](Self::publish_chosen), for what is made of no [`Publish`](crate::Publish).
    #[cfg(feature = "jetstream")]
    pub(crate) fn publish_below(
        self: &Arc<Self>,
        backlog: usize,
        subject: SubjectRef<'_>,
        reply: Option<SubjectRef<'_>>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        self.publish_locked(lock(&self.inner), backlog, subject, reply, headers, payload)
    }

    #[inline]
    fn publish_locked(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        backlog: usize,
        subject: SubjectRef<'_>,
        reply: Option<SubjectRef<'_>>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        let waiting = inner.connection.backlog();
        if waiting >= backlog {
            return Err(PublishError::Full);
        }
        let result = inner.connection.publish(subject, reply, headers, payload);
        self.published(inner, waiting, backlog != usize::MAX);
        result
    }

    /// Publishes by `publish`, which may have to wait for a write.
    #[cfg(feature = "jetstream")]
    pub(crate) fn publish_by<R>(self: &Arc<Self>, publish: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = lock(&self.inner);
        let waiting = inner.connection.backlog();
        let result = publish(&mut inner);
        self.published(inner, waiting, true);
        result
    }

    /// There is a message more than the bytes that were `waiting`: somebody has to write it.
    #[inline]
    fn published(self: &Arc<Self>, inner: MutexGuard<'_, Inner>, waiting: usize, may_wait: bool) {
        if inner.idle {
            if !inner.stuck {
                wake_for_publish(inner);
            } else if waiting >= RUN_BYTES && inner.hands_over.is_some() {
                self.write_run(inner, may_wait);
            }
        }
    }

    /// Who publishes and now waits for what comes of it: writes what the driver has left to
    /// publishers, since nobody may add to it.
    #[cfg(feature = "jetstream")]
    pub(crate) fn write_before_waiting(self: &Arc<Self>) {
        let mut inner = lock(&self.inner);
        if inner.hands_over.is_some() {
            if inner.connection.backlog() > 0 {
                self.write_rest(inner);
            }
        } else if std::mem::take(&mut inner.called) {
            inner.waited = inner.waited.saturating_add(1);
        }
    }

    /// Writes what is queued, for at most `linger`, then closes.
    pub(crate) fn close(&self) {
        self.command(|inner| inner.connection.close(self.settings.linger));
    }

    /// A moment that lies `timeout` ahead.
    pub(crate) fn after(&self, timeout: Duration) -> Instant {
        self.clock.now() + timeout
    }

    /// Ends a subscription from the reader's side. Drop what is returned without a lock.
    pub(crate) fn unsubscribe(&self, sid: Sid, queue: &Queue) -> Option<Slot> {
        self.command(|inner| {
            inner.discarded += queue.unread().messages as u64;
            inner.read_out(sid);
            let slot = inner.remove_slot(sid);
            if slot.is_some() {
                inner.connection.unsubscribe(sid, None);
            }
            slot
        })
    }

    /// The reader of a subscription has caught up, or has read out a queue that has ended.
    #[cold]
    pub(crate) fn read_down(&self, sid: Sid) {
        self.command(|inner| {
            inner.end_burst(sid);
            inner.read_out(sid);
        });
    }

    /// The work on a message that was [in hand](InHand) is over.
    #[cfg(feature = "jetstream")]
    pub(crate) fn put_down(&self) {
        if self.in_hand.put_down() {
            self.command(Inner::check_drained);
        }
    }
}

impl Inner {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            router: Router::new(),
            timers: Timers::default(),
            flushes: Flushes::default(),
            rooms: Default::default(),
            #[cfg(feature = "jetstream")]
            alarms: Waiters::default(),
            unread: ByNumber::new(),
            #[cfg(feature = "jetstream")]
            in_hand: Arc::default(),
            discarded: 0,
            inboxes: ByNumber::new(),
            draining: false,
            holding: 0,
            driver: None,
            abandoned: false,
            idle: false,
            stuck: false,
            alarm: None,
            direct: None,
            publisher: None,
            called: false,
            waited: 0,
            hands_over: None,
            beside: 0,
            lends_reading: None,
            reader: None,
            asked_at: Instant::ZERO,
            asked: None,
            is_read: false,
            reads_first: false,
            alone: 0,
            led: 0,
            deferred: None,
            read_error: None,
            tls: None,
        }
    }

    // ---- the driver's waker --------------------------------------------------------------

    /// Registers the driver's waker, before it looks for work. Drop the result without a lock.
    pub(crate) fn register_driver(&mut self, waker: &Waker) -> Option<Waker> {
        self.idle = false;
        crate::waiters::set_waker(&mut self.driver, waker)
    }

    /// The driver had nothing to do in its last turn, which had this waker, and nothing has come
    /// since but time.
    #[inline]
    pub(crate) fn is_resting(&self, waker: &Waker) -> bool {
        self.idle && self.driver.as_ref().is_some_and(|driver| driver.will_wake(waker))
    }

    /// The waker of a driver that has nothing to do; from here on it has.
    #[inline]
    pub(crate) fn take_idle(&mut self) -> Option<Waker> {
        if !self.idle {
            self.hands_over = None;
            return None;
        }
        self.recall()
    }

    /// The waker of the driver, which is to do again whatever it has left to others.
    pub(crate) fn recall(&mut self) -> Option<Waker> {
        self.hands_over = None;
        self.lends_reading = None;
        self.reader = None;
        self.idle = false;
        self.driver.take()
    }

    // ---- subscriptions -------------------------------------------------------------------

    /// Forgets a subscription, and what was done for its sake.
    pub(crate) fn remove_slot(&mut self, sid: Sid) -> Option<Slot> {
        self.end_burst(sid);
        let mut slot = self.router.slots.remove(sid)?;
        if let Some(extra) = &mut slot.extra {
            if let Some(timer) = extra.deadline.take() {
                self.timers.stop(timer, Owner::Deadline(sid));
            }
            if let Some(timer) = extra.stall.take() {
                self.timers.stop(timer, Owner::Stall(sid));
            }
            self.inboxes.remove(sid.number());
            if let Some(asked) = &extra.asked {
                self.connection.withdraw(asked.position);
            }
        }
        Some(slot)
    }

    /// Stops reading for the sake of a subscription that has reached a limit.
    pub(crate) fn hold(&mut self, sid: Sid, until: Option<Instant>) {
        if let Some(slot) = self.router.slots.get_mut(sid) {
            if let Some(until) = until {
                slot.extra().hold = Some(self.timers.start(Owner::Hold(sid), until));
            }
            slot.burst = Burst::Holding;
            self.holding += 1;
            self.connection.pause(true);
        }
    }

    /// The hold has lasted long enough.
    pub(crate) fn hold_expired(&mut self, sid: Sid) {
        if let Some(slot) = self.router.slots.get_mut(sid)
            && let Burst::Holding = slot.burst
        {
            slot.burst = Burst::Dropping;
            slot.extra().hold = None;
            self.release();
        }
    }

    /// The subscription is below half of its limits, or gone.
    fn end_burst(&mut self, sid: Sid) {
        let Some(slot) = self.router.slots.get_mut(sid) else { return };
        slot.queue.set_slow(false);
        if let Burst::Holding = std::mem::replace(&mut slot.burst, Burst::None) {
            if let Some(timer) = slot.extra.as_mut().and_then(|extra| extra.hold.take()) {
                self.timers.stop(timer, Owner::Hold(sid));
            }
            self.release();
        }
    }

    fn release(&mut self) {
        self.holding -= 1;
        if self.holding == 0 {
            self.connection.pause(false);
        }
    }

    // ---- draining ------------------------------------------------------------------------

    /// A queue that had ended is read out, or nobody will read it.
    pub(crate) fn read_out(&mut self, sid: Sid) {
        if self.unread.remove(sid.number()).is_some() {
            self.check_drained();
        }
    }

    /// Tells the core when the last queue is read out, and nothing is in hand.
    pub(crate) fn check_drained(&mut self) {
        #[cfg(feature = "jetstream")]
        let idle = || self.in_hand.are_none();
        #[cfg(not(feature = "jetstream"))]
        let idle = || true;
        if self.draining && self.unread.is_empty() && idle() {
            self.draining = false;
            self.connection.queues_drained();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, IntoFuture};
    use std::task::{Context, Poll};

    use super::*;
    use crate::ConnectOptions;

    struct Never;

    impl Clock for Never {
        fn now(&self) -> Instant {
            Instant::ZERO
        }
    }

    #[test]
    fn futures_that_are_dropped_leave_nothing_behind() {
        let options = ConnectOptions::new("127.0.0.1").retry_first_connect(true);
        let (connecting, _driver) = crate::driver::connect(options, Arc::new(Never)).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(client)) = std::pin::pin!(connecting).poll(&mut context) else {
            panic!("the client is there at once")
        };
        for _ in 0..10 {
            let request = std::pin::pin!(client.request("q", "").into_future());
            let flush = std::pin::pin!(client.flush().into_future());
            let closing = std::pin::pin!(crate::Closing::new(client.handle().clone()));
            assert!(request.poll(&mut context).is_pending());
            assert!(flush.poll(&mut context).is_pending());
            assert!(closing.poll(&mut context).is_pending());
        }
        let inner = lock(&client.shared().inner);
        assert_eq!((inner.connection.requests(), inner.flushes.len()), (0, 0));
        assert_eq!(inner.timers.next(), None);
        assert!(lock(&client.shared().requests).is_empty());
        assert_eq!(lock(&client.shared().board).waiting(), 0);
    }
}
