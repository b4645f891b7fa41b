//! Writing and reading past the driver: a request that nothing else surrounds, its reply, and runs of
//! messages.
//!
//! A request that is alone leaves in the poll that makes it. It would only wait for the driver: for
//! a task, or a thread, to be woken and to have its turn. With others beside it the driver is the
//! better writer, since one write takes all of them.
//!
//! Where such requests follow each other, who makes them reads the replies too, once the driver has
//! left that to them, see `lending.rs`.
//!
//! Of a stream of messages the publishers write themselves what has come together, once the driver
//! has handed that over to them, see `gathering.rs`.

use std::io;
use std::sync::{Arc, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge_proto::{
    Attempt, Batch, Instant, Message, Output, ReadBuffer, RequestError, RequestId, Wait,
};

use super::TURN_BYTES;
use super::bytes::{Outgoing, Transmit};
use super::threads::BlockingStream;
use super::transport::{WRITE_BYTES, is_temporary};
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

/// A stream that can be read beside its driver.
///
/// Both calls are made on any thread, and never while the driver makes one of the stream. What is not
/// ready wakes whoever has asked last, here or by way of the driver's own calls.
pub trait ReadNow: Send + Sync {
    /// Ready when a read is worth trying, if only for its error.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// [`poll_read_ready`](Self::poll_read_ready) is no system call, and behind a read that has left
    /// room it is not ready before something new has come. A request is written only if it is not,
    /// then: what has come, the end of the stream perhaps, is for the driver to read first.
    fn tells_ahead(&self) -> bool {
        false
    }

    /// Reads some bytes. Nothing is the end of the stream, and is told again to the driver then, as
    /// it is after an error.
    fn poll_read(&self, buffer: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>>;
}

/// The stream of the present transport.
pub(crate) struct Direct {
    attempt: Attempt,
    stream: Weak<dyn WriteNow>,
    waits: bool,
    reads: Option<Weak<dyn ReadNow>>,
}

impl Direct {
    pub(super) fn new(attempt: Attempt, stream: Weak<dyn WriteNow>) -> Self {
        let waits = stream.upgrade().is_some_and(|stream| stream.waits());
        Self { attempt, stream, waits, reads: None }
    }

    pub(super) fn is_of(&self, attempt: Attempt) -> bool {
        self.attempt == attempt
    }

    pub(super) fn reads(&mut self, stream: Weak<dyn ReadNow>) {
        self.reads = Some(stream);
    }

    pub(super) fn may_read(&self) -> bool {
        self.reads.is_some()
    }
}

/// Bytes that are written past the driver, and where they go.
pub(crate) struct Beside {
    batch: Batch,
    stream: Arc<dyn WriteNow>,
    /// The same stream, while reading is left to requests.
    reads: Option<Arc<dyn ReadNow>>,
    now: Instant,
}

/// Who reads the reply to a request that was written beside the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Driver,
    /// Who waits for it, by [`Shared::read_reply`]: now,
    Now,
    /// or once its waker is woken.
    Woken,
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
        let mut beside = self.take_beside(DIRECT_BYTES, now)?;
        self.alone = self.alone.saturating_add(1);
        if self.lends_reading.is_some() {
            beside.reads = self.direct.as_ref().and_then(|direct| direct.reads.as_ref()?.upgrade());
        }
        Some(beside)
    }

    fn take_beside(&mut self, max: usize, now: Instant) -> Option<Beside> {
        let batch = self.connection.take_transmit(max)?;
        let direct = self.direct.as_ref().filter(|direct| direct.attempt == batch.attempt());
        // Whoever has it last closes it, and that is for no one who holds the lock.
        let Some(stream) = direct.and_then(|direct| direct.stream.upgrade()) else {
            self.connection.settle(batch, 0);
            return None;
        };
        Some(Beside { batch, stream, reads: None, now })
    }
}

impl Beside {
    /// Writes the request `id`. What is left to do, the driver is woken for, also to meet an error
    /// again. To be called with no lock held.
    pub(crate) fn write(self, shared: &Arc<Shared>, id: RequestId, waker: &Waker) -> Reader {
        let now = self.now;
        let reads = self.reads.clone();
        let ahead = reads.as_ref().is_some_and(|stream| stream.tells_ahead());
        let mut ready = Poll::Pending;
        let mut wakes = Wakes::default();
        let written = self.write_some(shared, &mut wakes, |stream, bytes| {
            let look = || {
                reads.as_ref().map_or(Poll::Pending, |stream| {
                    stream.poll_read_ready(&mut Context::from_waker(waker))
                })
            };
            if ahead {
                ready = look();
                if ready.is_ready() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            }
            let written = stream.write_now(bytes);
            if !ahead {
                ready = look();
            }
            written
        });
        let Some((mut inner, _)) = written else { return Reader::Driver };
        inner.reads_first = ahead && ready.is_ready();
        let rests = inner.connection.rest(now).is_some_and(|wait| !wait.write);
        let left = rests && inner.idle && inner.lends_reading.is_some();
        let reader = match reads {
            Some(_) if left => {
                inner.reader = Some(id);
                if ready.is_ready() { Reader::Now } else { Reader::Woken }
            }
            // It may have taken the stream's wake-up from the driver.
            Some(_) => {
                wakes.add(inner.recall());
                Reader::Driver
            }
            None => {
                if !rests {
                    wakes.add(inner.take_idle());
                }
                Reader::Driver
            }
        };
        shared.part(inner, &mut wakes);
        reader
    }

    /// Writes by `write`, and locks. True when all was taken.
    fn write_some<'a>(
        self,
        shared: &'a Arc<Shared>,
        wakes: &mut Wakes,
        write: impl FnOnce(&dyn WriteNow, &[u8]) -> io::Result<usize>,
    ) -> Option<(MutexGuard<'a, Inner>, bool)> {
        let mut transmit = Transmit::new(shared, Outgoing::Core(self.batch));
        let written = write(&*self.stream, &transmit);
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
            let write = |stream: &dyn WriteNow, bytes: &[u8]| stream.write_now(bytes);
            let Some((settled, all)) = run.write_some(self, &mut wakes, write) else { return };
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

    /// What waits is written, however little it is. What cannot be is the driver's at once.
    #[cfg(feature = "jetstream")]
    #[cold]
    pub(crate) fn write_rest<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner>) {
        let mut wakes = Wakes::default();
        if !inner.connection.is_writing()
            && let Some(rest) = inner.take_run(self.clock.now(), true)
        {
            inner.wake_publishers(&mut wakes);
            drop(inner);
            wakes.wake();
            let len = rest.batch.as_slice().len();
            let write = |stream: &dyn WriteNow, bytes: &[u8]| stream.write_now(bytes);
            let Some((settled, all)) = rest.write_some(self, &mut wakes, write) else { return };
            inner = settled;
            inner.beside += len;
            // What has come meanwhile is for those who wait next, or for the driver, who looks.
            if all && inner.hands_over.is_some() {
                return self.part(inner, &mut wakes);
            }
        }
        wakes.add(inner.take_idle());
        self.part(inner, &mut wakes);
    }

    /// Reads the reply to this request, if it is there and still left to who waits for it.
    pub(crate) fn read_reply(self: &Arc<Self>, id: RequestId, waker: &Waker) -> Reply {
        let mut inner = lock(&self.inner);
        if inner.reader != Some(id) {
            return Reply::Elsewhere;
        }
        let (held, buffer) = inner.take_reading();
        let (Some(stream), Some(mut buffer)) = (&held, buffer) else {
            let driver = inner.recall();
            drop(inner);
            driver.inspect(Waker::wake_by_ref);
            return Reply::Elsewhere;
        };
        drop(inner);
        let polled = stream.poll_read(&mut buffer, &mut Context::from_waker(waker));
        drop(held);
        let now = self.clock.now();
        let mut wakes = Wakes::default();
        let mut old = None;
        let mut inner = lock(&self.inner);
        let reply = self.take_reply(&mut inner, id, (buffer, polled), now, &mut wakes, &mut old);
        self.part(inner, &mut wakes);
        drop(old);
        reply
    }

    /// What a read beside the driver gave. All but the one reply, with nothing to do behind it, is
    /// for the driver.
    fn take_reply(
        &self,
        inner: &mut Inner,
        id: RequestId,
        (buffer, polled): (ReadBuffer, Poll<io::Result<usize>>),
        now: Instant,
        wakes: &mut Wakes,
        old: &mut Option<Waker>,
    ) -> Reply {
        let attempt = buffer.attempt();
        let read = match polled {
            Poll::Ready(Ok(count)) => count.min(buffer.len()),
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        inner.is_read = false;
        inner.connection.filled(buffer, read);
        let mut reply = Reply::Elsewhere;
        let mut rests = false;
        match polled {
            Poll::Pending if inner.reader == Some(id) => return Reply::NotYet,
            Poll::Ready(Err(error)) if !is_temporary(&error) => {
                inner.read_error = Some((attempt, error));
            }
            Poll::Ready(Ok(1..)) => {
                let output = inner.connection.poll_into(now, TURN_BYTES, &mut inner.router);
                if let Some(result) = inner.router.take_response(id) {
                    *old = lock(&self.requests).remove(id);
                    reply = Reply::Here(result);
                }
                let changed = self.deliver(inner, now, wakes);
                match output {
                    Output::Idle(Wait { read: true, write: false, .. }) => {
                        let calls = inner.router.calls.is_empty();
                        let nothing = calls && inner.router.discarded.is_empty();
                        rests = nothing && !changed && inner.reader == Some(id);
                    }
                    Output::Event(event) => self.note(inner, event, now, wakes),
                    Output::Action(action) => inner.deferred = Some(action),
                    Output::Idle(_) | Output::Yield => {}
                }
            }
            Poll::Ready(_) | Poll::Pending => {}
        }
        inner.reader = None;
        if rests && matches!(reply, Reply::Here(_)) {
            inner.led += 1;
        } else {
            wakes.add(inner.recall());
        }
        reply
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

/// What came of the read of a reply.
pub(crate) enum Reply {
    Here(Result<Message, RequestError>),
    /// The waker is woken for another try.
    NotYet,
    /// The driver reads it, or has.
    Elsewhere,
}

impl Inner {
    /// What a read needs beside the driver: both, or there is none. Drop the stream with no lock
    /// held: whoever has it last closes it.
    fn take_reading(&mut self) -> (Option<Arc<dyn ReadNow>>, Option<ReadBuffer>) {
        let reads = self.direct.as_ref().and_then(|direct| direct.reads.as_ref());
        let stream = reads.and_then(Weak::upgrade);
        let buffer = stream.as_ref().and_then(|_| self.connection.take_read());
        self.is_read |= buffer.is_some();
        (stream, buffer)
    }

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
