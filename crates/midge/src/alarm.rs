//! Waiting for a moment, and for what becomes of the connection: for futures that decide by both.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use midge_proto::Instant;

use crate::shared::{Shared, lock};
use crate::status::State;
use crate::timers::{Owner, TimerKey};
use crate::waiters::WaiterKey;

/// A wait for one moment at a time. The driver waits for it, so it works on every runtime.
#[derive(Debug)]
pub(crate) struct Alarm {
    shared: Arc<Shared>,
    key: Option<WaiterKey>,
    timer: Option<(TimerKey, Instant)>,
}

impl Alarm {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, key: None, timer: None }
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Ready once the time is `at`, or nobody turns the driver any more. What was waited for
    /// before is forgotten.
    pub(crate) fn poll(&mut self, at: Instant, context: &Context<'_>) -> Poll<()> {
        if self.now() >= at {
            self.stop();
            return Poll::Ready(());
        }
        let shared = self.shared.clone();
        let (over, old) = shared.command_if(|inner| {
            let over = inner.abandoned || inner.connection.is_closed();
            if over {
                return ((true, None), false);
            }
            let old = inner.alarms.wait(&mut self.key, context.waker());
            let changed = self.timer.is_none_or(|(timer, set)| {
                set != at
                    || !self
                        .key
                        .is_some_and(|key| inner.timers.is_running(timer, Owner::Alarm(key)))
            });
            if changed && let Some(key) = self.key {
                if let Some((timer, _)) = self.timer.take() {
                    inner.timers.stop(timer, Owner::Alarm(key));
                }
                self.timer = Some((inner.timers.start(Owner::Alarm(key), at), at));
            }
            ((false, old), changed)
        });
        drop(old);
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Nothing is waited for any more.
    pub(crate) fn stop(&mut self) {
        if self.key.is_none() {
            return;
        }
        let old = self.leave();
        drop(old);
    }

    fn leave(&mut self) -> Option<Waker> {
        let mut inner = lock(&self.shared.inner);
        if let (Some(key), Some((timer, _))) = (self.key, self.timer.take()) {
            inner.timers.stop(timer, Owner::Alarm(key));
        }
        inner.alarms.leave(&mut self.key)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells of changes in the state of the connection.
#[derive(Debug)]
pub(crate) struct Changes {
    shared: Arc<Shared>,
    seen: u64,
    key: Option<WaiterKey>,
}

impl Changes {
    /// Changes from now on, and the state at present.
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, State) {
        let (seen, state) = {
            let board = lock(&shared.board);
            (board.transition(), board.state().clone())
        };
        (Self { shared, seen, key: None }, state)
    }

    /// Ready with the present state if it has changed since the last one that was told, however
    /// often: `Connected` then means another connection.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<State> {
        let mut board = lock(&self.shared.board);
        if board.transition() != self.seen {
            self.seen = board.transition();
            return Poll::Ready(board.state().clone());
        }
        let old = board.wait(&mut self.key, context.waker());
        drop(board);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let old = lock(&self.shared.board).leave(&mut self.key);
        drop(old);
    }
}
