//! Stopping a stream of messages from elsewhere, and waiting for its end.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::shared::lock;
use crate::waiters::{WaiterKey, Waiters, Wakes, set_waker};

/// What was asked of a stream of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    #[default]
    None,
    Drain,
    Stop,
}

/// What a stream of messages and its [`Stopper`]s share.
#[derive(Debug, Default)]
pub(crate) struct Control {
    wish: AtomicU8,
    state: Mutex<ControlState>,
}

#[derive(Debug, Default)]
struct ControlState {
    /// The reader's.
    reader: Option<Waker>,
    ended: bool,
    closed: Waiters,
}

impl Control {
    pub(crate) fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Acquire) {
            0 => Wish::None,
            1 => Wish::Drain,
            _ => Wish::Stop,
        }
    }

    /// The reader waits, also for a wish; false when there is one already that it has not `seen`.
    pub(crate) fn wait(&self, seen: Wish, context: &Context<'_>) -> bool {
        let mut state = lock(&self.state);
        let old = set_waker(&mut state.reader, context.waker());
        drop(state);
        drop(old);
        self.wish() <= seen
    }

    fn ask(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::AcqRel);
        let reader = lock(&self.state).reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn ended(&self) {
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        state.ended = true;
        state.closed.wake_all(&mut wakes);
        drop(state);
        wakes.wake();
    }
}

/// Stops a stream of messages from anywhere, and waits for its end. A clone is the same.
#[derive(Clone, Debug)]
pub struct Stopper {
    control: Arc<Control>,
}

impl Stopper {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    /// Ends the stream at once: its reader gets `None`. What came and was not read is delivered
    /// again after the consumer's `ack_wait`, unless the consumer is one without acks.
    pub fn stop(&self) {
        self.control.ask(Wish::Stop);
    }

    /// Asks for nothing more: the reader gets what the server has sent, and then `None`.
    pub fn drain(&self) {
        self.control.ask(Wish::Drain);
    }

    /// Waits until the stream has ended, for whatever reason, or was dropped. It progresses while
    /// the stream is read.
    pub fn closed(&self) -> Closed {
        Closed { control: self.control.clone(), key: None }
    }
}

/// The future of [`Stopper::closed`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Closed {
    control: Arc<Control>,
    key: Option<WaiterKey>,
}

impl Future for Closed {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = lock(&this.control.state);
        if state.ended {
            return Poll::Ready(());
        }
        let old = state.closed.wait(&mut this.key, context.waker());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let old = lock(&self.control.state).closed.leave(&mut self.key);
        drop(old);
    }
}
