//! Writing past the driver: a request that nothing else surrounds, and runs of messages.
//!
//! A request that is alone leaves in the poll that makes it. It would only wait for the driver: for
//! a task, or a thread, to be woken and to have its turn. With others beside it the driver is the
//! better writer, since one write takes all of them.
//!
//! Of a stream of messages the publishers write themselves what has come together, once the driver
//! has handed that over to them, see `gathering.rs`.

use std::io;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use midge_proto::{Attempt, Batch, Instant};

use super::bytes::{Outgoing, Transmit};
use super::threads::BlockingStream;
use super::transport::WRITE_BYTES;
use crate::shared::{Inner, RUN_BYTES, Room, Shared, lock};
use crate::waiters::Wakes;

/// The most bytes of a request that is written so: more is for the driver.
const DIRECT_BYTES: usize = 16 * 1024;
/// A driver that was to look so long ago is kept from it by a publisher, perhaps: that gives way.
const LATE: Duration = Duration::from_millis(4);
/// So many runs a publisher writes at a time, of which others have published the most.
const RUNS: usize = 4;

/// A stream that can be written beside its driver.
pub trait WriteNow: Send + Sync {
    /// Writes some of the bytes without waiting, or for some milliseconds at most, and fails as
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when none are taken. Any other error has to show
    /// itself to the driver too, when that writes.
    ///
    /// It is called on any thread, and never while another write is under way. Nothing has to be
    /// flushed behind it.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize>;

    /// [`write_now`](Self::write_now) may wait: not for a publish that must not.
    fn waits(&self) -> bool {
        false
    }
}

impl<S: BlockingStream> WriteNow for S {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn waits(&self) -> bool {
        true
    }
}

/// The stream of the present transport.
pub(crate) struct Direct {
    attempt: Attempt,
    stream: Weak<dyn WriteNow>,
    waits: bool,
}

impl Direct {
    pub(super) fn new(attempt: Attempt, stream: Weak<dyn WriteNow>) -> Self {
        let waits = stream.upgrade().is_some_and(|stream| stream.waits());
        Self { attempt, stream, waits }
    }
}

/// Bytes that are written past the driver, and where they go.
pub(crate) struct Beside {
    batch: Batch,
    stream: Arc<dyn WriteNow>,
    now: Instant,
}

impl Inner {
    /// The bytes of the request that was just made, if it is the only one, and the driver would
    /// do nothing but write them. No waker is due then.
    pub(crate) fn take_alone(&mut self, now: Instant) -> Option<Beside> {
        if !self.idle || self.connection.requests() != 1 {
            return None;
        }
        let wait = self.connection.rest(now)?;
        // The driver must not sleep past the deadline.
        let (until, alarm) = (wait.until?, self.alarm?);
        if !wait.write || until < alarm {
            return None;
        }
        self.take_beside(DIRECT_BYTES, now)
    }

    fn take_beside(&mut self, max: usize, now: Instant) -> Option<Beside> {
        let batch = self.connection.take_transmit(max)?;
        let direct = self.direct.as_ref().filter(|direct| direct.attempt == batch.attempt());
        // Whoever has it last closes it, and that is for no one who holds the lock.
        let Some(stream) = direct.and_then(|direct| direct.stream.upgrade()) else {
            self.connection.settle(batch, 0);
            return None;
        };
        Some(Beside { batch, stream, now })
    }
}

impl Beside {
    /// Writes the request. What is left to do, the driver is woken for, also to meet an error
    /// again. To be called with no lock held.
    pub(crate) fn write(self, shared: &Arc<Shared>) {
        let now = self.now;
        let mut wakes = Wakes::default();
        let Some((mut inner, _)) = self.write_some(shared, &mut wakes) else { return };
        let rests = inner.connection.rest(now).is_some_and(|wait| !wait.write);
        if !rests {
            wakes.add(inner.take_idle());
        }
        shared.part(inner, &mut wakes);
    }

    /// True when all was taken.
    fn write_some<'a>(
        self,
        shared: &'a Arc<Shared>,
        wakes: &mut Wakes,
    ) -> Option<(MutexGuard<'a, Inner>, bool)> {
        let mut transmit = Transmit::new(shared, Outgoing::Core(self.batch));
        let written = self.stream.write_now(&transmit);
        let len = transmit.len();
        let count = written.map_or(0, |count| count.min(len));
        let Some(Outgoing::Core(batch)) = transmit.take() else { return None };
        let mut inner = lock(&shared.inner);
        inner.connection.settle(batch, count);
        if count > 0 {
            inner.wake_room(Room::Control, wakes);
        }
        Some((inner, count == len))
    }
}

impl Shared {
    /// A run of messages waits, which the driver has left to publishers: writes it, unless another
    /// publisher is about to. When it cannot, as when the transport is full, it is the driver's.
    #[cold]
    pub(crate) fn write_run<'a>(
        self: &'a Arc<Self>,
        mut inner: MutexGuard<'a, Inner>,
        may_wait: bool,
    ) {
        let mut wakes = Wakes::default();
        for _ in 0..RUNS {
            if inner.connection.is_writing() {
                return;
            }
            let Some(run) = inner.take_run(self.clock.now(), may_wait) else { break };
            // They go on while this is written.
            inner.wake_publishers(&mut wakes);
            drop(inner);
            wakes.wake();
            let len = run.batch.as_slice().len();
            let Some((settled, all)) = run.write_some(self, &mut wakes) else { return };
            inner = settled;
            inner.beside += len;
            if !all {
                break;
            }
            let looked_at = inner.hands_over.is_some() || !inner.idle;
            if looked_at && inner.connection.backlog() < RUN_BYTES {
                return self.part(inner, &mut wakes);
            }
        }
        wakes.add(inner.take_idle());
        self.part(inner, &mut wakes);
    }

    /// Lets go of the lock after a write beside the driver, and wakes who is to be woken.
    fn part(&self, inner: MutexGuard<'_, Inner>, wakes: &mut Wakes) {
        let abandoned = inner.abandoned;
        drop(inner);
        wakes.wake();
        if abandoned {
            self.abandon();
        }
    }
}

impl Inner {
    /// What waits, if the driver has left it to publishers and will look again in time.
    fn take_run(&mut self, now: Instant, may_wait: bool) -> Option<Beside> {
        if !self.idle || self.hands_over.is_none_or(|until| until + LATE <= now) {
            return None;
        }
        if self.direct.as_ref()?.waits && !may_wait {
            return None;
        }
        self.take_beside(WRITE_BYTES, now)
    }
}
