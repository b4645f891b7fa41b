//! Waiting until the server has processed what was published.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge_proto::{Disconnected, Fates, FlushId, Instant};

use crate::shared::{Handle, Inner};
use crate::timers::{Owner, TimerKey};
use crate::waiters::{Wakes, set_waker};

/// What a flush found: the server has processed all that was sent before it, and this is what
/// became of all messages of the connection up to now.
type Outcome = Result<Arc<Fates>, midge_proto::FlushError>;

/// A flush that failed. What was published before it may or may not have arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The server did not answer in time. The messages are still on their way.
    #[error("the server did not answer in time; what was published before may still arrive")]
    TimedOut,
    /// There are `max_flushes` already, or too many control operations wait to be written.
    #[error("{}", midge_proto::FlushError::TooMany)]
    TooMany,
    /// The connection was lost before the answer; what became of messages is in it. A flush after
    /// it tells of what is sent to the next server.
    #[error("{}", midge_proto::FlushError::Disconnected(.0.clone()))]
    Disconnected(Arc<Disconnected>),
    /// The connection closed; [`Client::closed`](crate::Client::closed) says what became of
    /// messages.
    #[error("{}", midge_proto::FlushError::Closed)]
    Closed,
}

impl From<midge_proto::FlushError> for FlushError {
    fn from(error: midge_proto::FlushError) -> Self {
        match error {
            midge_proto::FlushError::TooMany => Self::TooMany,
            midge_proto::FlushError::Disconnected(facts) => Self::Disconnected(facts),
            _ => Self::Closed,
        }
    }
}

/// A flush whose PONG has not been seen by its future.
#[derive(Debug, Default)]
pub(crate) struct PendingFlush {
    waker: Option<Waker>,
    timer: Option<TimerKey>,
    done: Option<(Outcome, Instant)>,
}

/// Flushes in the order in which they began, which is that of their ids.
#[derive(Debug, Default)]
pub(crate) struct Flushes(VecDeque<(FlushId, PendingFlush)>);

impl Flushes {
    fn push(&mut self, id: FlushId, flush: PendingFlush) {
        if self.0.capacity() == 0 {
            // Most connections have one at a time.
            self.0.reserve_exact(1);
        }
        self.0.push_back((id, flush));
    }

    fn index(&self, id: FlushId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    fn get_mut(&mut self, id: FlushId) -> Option<&mut PendingFlush> {
        let index = self.index(id)?;
        Some(&mut self.0[index].1)
    }

    fn remove(&mut self, id: FlushId) -> Option<PendingFlush> {
        self.0.remove(self.index(id)?).map(|(_, flush)| flush)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Inner {
    /// The server has answered, or will not.
    pub(crate) fn flushed(
        &mut self,
        id: FlushId,
        result: Outcome,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        let Some(flush) = self.flushes.get_mut(id) else { return };
        flush.done = Some((result, now));
        wakes.add(flush.waker.take());
        if let Some(timer) = flush.timer.take() {
            self.timers.stop(timer, Owner::Flush(id));
        }
    }

    /// The deadline of a flush has passed; its future sees to the rest.
    pub(crate) fn flush_is_due(&mut self, id: FlushId, wakes: &mut Wakes) {
        if let Some(flush) = self.flushes.get_mut(id) {
            wakes.add(flush.waker.take());
        }
    }

    fn forget_flush(&mut self, id: FlushId) -> Option<PendingFlush> {
        let flush = self.flushes.remove(id)?;
        if let Some(timer) = flush.timer {
            self.timers.stop(timer, Owner::Flush(id));
        }
        if flush.done.is_none() {
            self.connection.cancel_flush(id);
        }
        Some(flush)
    }
}

/// A flush that is about to begin. Made by [`Client::flush`](crate::Client::flush).
///
/// `.await` gives the [`Fates`] of all messages that the connection accepted so far: everything
/// published before the flush is in one of them. What an earlier loss of the connection has left
/// unknown is there too, so a program that publishes and flushes and listens to no events learns
/// of it.
#[derive(Debug)]
#[must_use = "nothing is waited for until `.await`"]
pub struct Flush {
    handle: Arc<Handle>,
    timeout: Duration,
}

impl Flush {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        let timeout = handle.shared.settings.flush_timeout;
        Self { handle, timeout }
    }

    /// How long to wait for the server, from the first poll. Default: `flush_timeout` of the
    /// options.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for Flush {
    type Output = Result<Arc<Fates>, FlushError>;
    type IntoFuture = Flushing;

    fn into_future(self) -> Flushing {
        Flushing { handle: self.handle, timeout: self.timeout, begun: None }
    }
}

/// The future of a [`Flush`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Flushing {
    handle: Arc<Handle>,
    timeout: Duration,
    begun: Option<Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    id: FlushId,
    at: Instant,
    deadline: Instant,
}

impl Flushing {
    /// Ready with the time between the first poll and the PONG, too.
    fn poll_timed(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<(Arc<Fates>, Duration), FlushError>> {
        let shared = &self.handle.shared;
        let now = shared.clock.now();
        let Some(begun) = self.begun else {
            let deadline = now + self.timeout;
            let waker = Some(context.waker().clone());
            let id = shared.command(|inner| {
                let id = inner.connection.flush()?;
                let timer = Some(inner.timers.start(Owner::Flush(id), deadline));
                inner.flushes.push(id, PendingFlush { waker, timer, done: None });
                Ok::<_, midge_proto::FlushError>(id)
            })?;
            self.begun = Some(Begun { id, at: now, deadline });
            return Poll::Pending;
        };
        let mut old = None;
        let poll = shared.command_if(|inner| {
            let Some(flush) = inner.flushes.get_mut(begun.id) else {
                return (Poll::Ready(Err(midge_proto::FlushError::Closed.into())), false);
            };
            if let Some((result, at)) = flush.done.clone() {
                let timed = result.map(|fates| (fates, at - begun.at));
                return (Poll::Ready(timed.map_err(FlushError::from)), false);
            }
            if now >= begun.deadline {
                return (Poll::Ready(Err(FlushError::TimedOut)), false);
            }
            old = set_waker(&mut flush.waker, context.waker());
            let owner = Owner::Flush(begun.id);
            let running = flush.timer.is_some_and(|timer| inner.timers.is_running(timer, owner));
            if !running {
                flush.timer = Some(inner.timers.start(owner, begun.deadline));
            }
            (Poll::Pending, !running)
        });
        drop(old);
        if poll.is_ready() {
            self.forget();
        }
        poll
    }

    fn forget(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        let flush = self.handle.shared.command_if(|inner| {
            let flush = inner.forget_flush(begun.id);
            let cancelled = flush.as_ref().is_some_and(|flush| flush.done.is_none());
            (flush, cancelled)
        });
        drop(flush);
    }
}

impl Future for Flushing {
    type Output = Result<Arc<Fates>, FlushError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_timed(context).map_ok(|(fates, _)| fates)
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The future of [`Client::rtt`](crate::Client::rtt).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Rtt {
    flushing: Flushing,
}

impl Rtt {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { flushing: Flush::new(handle).into_future() }
    }
}

impl Future for Rtt {
    type Output = Result<Duration, FlushError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.flushing.poll_timed(context).map_ok(|(_, time)| time)
    }
}
