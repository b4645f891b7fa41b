//! Writing past the driver: a request that nothing else surrounds leaves in the poll that makes it.
//!
//! A request that is alone would only wait for the driver: for a task, or a thread, to be woken and
//! to have its turn. With others beside it the driver is the better writer, since one write takes
//! all of them.

use std::io;
use std::sync::{Arc, Weak};

use midge_proto::{Attempt, Batch, Instant};

use super::bytes::{Outgoing, Transmit};
use super::threads::BlockingStream;
use crate::shared::{Inner, Room, Shared, lock};
use crate::waiters::Wakes;

/// The most bytes of such a write: more is for the driver.
const DIRECT_BYTES: usize = 16 * 1024;

/// A stream that can be written beside its driver.
pub trait WriteNow: Send + Sync {
    /// Writes some of the bytes without waiting, or for some milliseconds at most, and fails as
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when none are taken. Any other error has to show
    /// itself to the driver too, when that writes.
    ///
    /// It is called on any thread, and never while another write is under way. Nothing has to be
    /// flushed behind it.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl<S: BlockingStream> WriteNow for S {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }
}

/// The stream of the present transport.
pub(crate) struct Direct {
    attempt: Attempt,
    stream: Weak<dyn WriteNow>,
}

impl Direct {
    pub(super) fn new(attempt: Attempt, stream: Weak<dyn WriteNow>) -> Self {
        Self { attempt, stream }
    }
}

/// The bytes of a request that is alone, and where they go.
pub(crate) struct Alone {
    batch: Batch,
    stream: Arc<dyn WriteNow>,
    now: Instant,
}

impl Inner {
    /// The bytes of the request that was just made, if it is the only one, and the driver would
    /// do nothing but write them. No waker is due then.
    pub(crate) fn take_alone(&mut self, now: Instant) -> Option<Alone> {
        if !self.idle || self.connection.requests() != 1 {
            return None;
        }
        let Direct { attempt, stream } = self.direct.as_ref()?;
        let (attempt, stream) = (*attempt, stream.upgrade()?);
        let wait = self.connection.rest(now)?;
        // The driver must not sleep past the deadline.
        let (until, alarm) = (wait.until?, self.alarm?);
        if !wait.write || until < alarm {
            return None;
        }
        let batch = self.connection.take_transmit(DIRECT_BYTES)?;
        if batch.attempt() == attempt {
            return Some(Alone { batch, stream, now });
        }
        self.connection.settle(batch, 0);
        None
    }
}

impl Alone {
    /// Writes them. What is left to do, the driver is woken for, also to meet an error again. To
    /// be called with no lock held.
    pub(crate) fn write(self, shared: &Arc<Shared>) {
        let mut transmit = Transmit::new(shared, Outgoing::Core(self.batch));
        let written = self.stream.write_now(&transmit);
        let count = written.map_or(0, |count| count.min(transmit.len()));
        let Some(Outgoing::Core(batch)) = transmit.take() else { return };
        let mut wakes = Wakes::default();
        let mut inner = lock(&shared.inner);
        inner.connection.settle(batch, count);
        inner.wake_room(Room::Control, &mut wakes);
        let rests = inner.connection.rest(self.now).is_some_and(|wait| !wait.write);
        let waker = if rests { None } else { inner.take_idle() };
        let abandoned = inner.abandoned;
        drop(inner);
        wakes.wake();
        if let Some(waker) = waker {
            waker.wake();
        }
        if abandoned {
            shared.abandon();
        }
    }
}
