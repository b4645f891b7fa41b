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
use super::bytes::Outgoing;
use super::threads::BlockingStream;
use super::transport::{WRITE_BYTES, is_temporary};
use crate::blocking;
use crate::room::Room;
use crate::shared::{Inner, RUN_BYTES, Shared, lock};
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
    reads: Option<Reads>,
}

/// How the replies to requests are read beside the driver.
pub(super) enum Reads {
    Polled(Weak<dyn ReadNow>),
    /// By a thread that waits for nothing else.
    Blocking(Weak<dyn BlockingStream>),
}

impl Direct {
    pub(super) fn new(attempt: Attempt, stream: Weak<dyn WriteNow>) -> Self {
        let waits = stream.upgrade().is_some_and(|stream| stream.waits());
        Self { attempt, stream, waits, reads: None }
    }

    pub(super) fn is_of(&self, attempt: Attempt) -> bool {
        self.attempt == attempt
    }

    pub(super) fn reads(&mut self, reads: Reads) {
        self.reads = Some(reads);
    }

    pub(super) fn may_read(&self) -> bool {
        self.reads.is_some()
    }

    pub(super) fn polled(&self) -> Option<Arc<dyn ReadNow>> {
        match self.reads.as_ref()? {
            Reads::Polled(stream) => stream.upgrade(),
            Reads::Blocking(_) => None,
        }
    }

    pub(super) fn blocking(&self) -> Option<Arc<dyn BlockingStream>> {
        match self.reads.as_ref()? {
            Reads::Polled(_) => None,
            Reads::Blocking(stream) => stream.upgrade(),
        }
    }
}

/// Bytes that are written past the driver, and where they go.
pub(crate) struct Beside {
    batch: Batch,
    stream: Arc<dyn WriteNow>,
    reader: Lent,
    now: Instant,
}

/// Whether reading is left to who makes the request, and how.
enum Lent {
    No,
    Polled(Arc<dyn ReadNow>),
    ToThread,
}

/// Has the driver do again whatever it has left to others. The lock is let go of first.
pub(super) fn call_driver(mut inner: MutexGuard<'_, Inner>) {
    let driver = inner.recall();
    drop(inner);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// Who reads the reply to a request that was written beside the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Driver,
    /// Who waits for it, by [`Shared::read_reply`]: now,
    Now,
    /// or once its waker is woken.
    Woken,
    /// The thread that waits for it, see `leading.rs`.
    Thread,
}

impl Inner {
    /// The bytes of the request that was just made, if it is the only one, and the driver would
    /// do nothing but write them. No waker is due then. `waker` is that of who waits for the reply.
    pub(crate) fn take_alone(
        &mut self,
        now: Instant,
        deadline: Instant,
        waker: &Waker,
    ) -> Option<Beside> {
        // The driver must not sleep past the deadline. It was told of all others.
        let sleeps_past = self.alarm.is_none_or(|alarm| deadline < alarm);
        if !self.idle || sleeps_past || self.connection.requests() != 1 {
            return None;
        }
        let may_read = match self.direct.as_ref().and_then(|direct| direct.reads.as_ref()) {
            Some(Reads::Blocking(_)) => blocking::parks(waker),
            Some(Reads::Polled(_)) => true,
            None => false,
        };
        if self.lends_reading.is_some() && !may_read {
            return None;
        }
        // The first request behind a PING has a timer set. The driver looks when its nap is over, which
        // is soon enough.
        let rests = match self.lends_reading {
            Some(_) => self.connection.rests_but_confirm(now),
            None => self.connection.rests(now),
        };
        if !rests {
            return None;
        }
        let mut beside = self.take_beside(DIRECT_BYTES, now)?;
        self.alone = self.alone.saturating_add(u32::from(may_read));
        if self.lends_reading.is_some() {
            beside.reader = match self.direct.as_ref().and_then(|direct| direct.reads.as_ref()) {
                Some(Reads::Polled(stream)) => stream.upgrade().map_or(Lent::No, Lent::Polled),
                Some(Reads::Blocking(_)) => Lent::ToThread,
                None => Lent::No,
            };
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
        Some(Beside { batch, stream, reader: Lent::No, now })
    }
}

impl Beside {
    /// The reply may be read so, too.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.reader, Lent::Polled(_))
    }

    /// Writes the request `id`. What is left to do, the driver is woken for, also to meet an error
    /// again. To be called with no lock held.
    pub(crate) fn write(mut self, shared: &Arc<Shared>, id: RequestId, waker: &Waker) -> Reader {
        let now = self.now;
        let reader = std::mem::replace(&mut self.reader, Lent::No);
        let reads = match &reader {
            Lent::Polled(stream) => Some(&**stream),
            Lent::No | Lent::ToThread => None,
        };
        let ahead = reads.is_some_and(ReadNow::tells_ahead);
        let mut ready = Poll::Pending;
        let mut wakes = Wakes::default();
        let written = self.write_some(shared, &mut wakes, |stream, bytes| {
            let look = || {
                reads.map_or(Poll::Pending, |stream| {
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
        let Some((mut inner, _)) = written else {
            lock(&shared.inner).give_slot(shared);
            return Reader::Driver;
        };
        inner.reads_first = ahead && ready.is_ready();
        // It was seen that nothing else is due, and whatever is new but bytes makes the driver busy.
        let rests = inner.idle && inner.connection.backlog() == 0;
        let left = rests && inner.lends_reading.is_some();
        let reader = match reader {
            Lent::Polled(_) if left && ready.is_ready() => Reader::Now,
            Lent::Polled(_) if left => Reader::Woken,
            Lent::ToThread if left => Reader::Thread,
            Lent::Polled(_) | Lent::ToThread => {
                // It may have taken the stream's wake-up from the driver.
                inner.give_slot(shared);
                wakes.add(inner.recall());
                Reader::Driver
            }
            Lent::No => {
                if !rests {
                    wakes.add(inner.take_idle());
                }
                Reader::Driver
            }
        };
        if reader != Reader::Driver {
            inner.reader = Some(id);
            inner.asked_at = now;
        }
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
        let mut writing = Writing { shared, batch: Some(self.batch) };
        let bytes = writing.batch.as_ref().map_or(&b""[..], Batch::as_slice);
        let len = bytes.len();
        let written = write(&*self.stream, bytes);
        let count = written.map_or(0, |count| count.min(len));
        let batch = writing.batch.take()?;
        let mut inner = lock(&shared.inner);
        inner.connection.settle(batch, count);
        if count > 0 {
            inner.wake_room(Room::Control, wakes);
        }
        Some((inner, count == len))
    }
}

/// Bytes that are being written. A stream that panics leaves them unaccounted for.
struct Writing<'a> {
    shared: &'a Shared,
    batch: Option<Batch>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.shared.unaccounted(Outgoing::Core(batch));
        }
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
        if inner.reader != Some(id) || inner.asked.is_none() {
            inner.give_slot(self);
            return Reply::Elsewhere;
        }
        let held = inner.direct.as_ref().and_then(Direct::polled);
        let buffer = held.as_ref().and_then(|_| inner.take_room());
        let (Some(stream), Some(mut buffer)) = (&held, buffer) else {
            inner.give_slot(self);
            call_driver(inner);
            return Reply::Elsewhere;
        };
        drop(inner);
        let polled = stream.poll_read(&mut buffer, &mut Context::from_waker(waker));
        drop(held);
        let mut wakes = Wakes::default();
        let mut old = None;
        let mut inner = lock(&self.inner);
        let read = match polled {
            Poll::Pending if inner.reader == Some(id) && inner.asked.is_some() => {
                inner.give_back(buffer, 0);
                old = inner.wake_asked(waker);
                self.part(inner, &mut wakes);
                drop(old);
                return Reply::NotYet;
            }
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(read) => read,
        };
        let now = inner.asked_at;
        let reply = self.take_read(&mut inner, id, (buffer, read), now, &mut wakes, |inner| {
            let result = inner.router.take_response(id)?;
            old = inner.forget_asked(id);
            Some(result)
        });
        if reply.is_none() {
            inner.give_slot(self);
        }
        self.part(inner, &mut wakes);
        drop(old);
        reply.map_or(Reply::Elsewhere, Reply::Here)
    }

    /// What a read beside the driver gave. All but the one reply, which `take` finds, with nothing to
    /// do behind it, is for the driver; so are deadlines.
    pub(super) fn take_read<T>(
        &self,
        inner: &mut Inner,
        id: RequestId,
        (buffer, read): (ReadBuffer, io::Result<usize>),
        now: Instant,
        wakes: &mut Wakes,
        take: impl FnOnce(&mut Inner) -> Option<T>,
    ) -> Option<T> {
        let attempt = buffer.attempt();
        inner.give_back(buffer, read.as_ref().map_or(0, |count| *count));
        let mut reply = None;
        let mut rests = false;
        match read {
            Err(error) if !is_temporary(&error) => inner.read_error = Some((attempt, error)),
            Ok(1..) => {
                let output = inner.connection.poll_into(now, TURN_BYTES, &mut inner.router);
                reply = take(inner);
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
            Ok(0) | Err(_) => {}
        }
        inner.reader = None;
        if rests && reply.is_some() {
            inner.led += 1;
        } else {
            wakes.add(inner.recall());
        }
        reply
    }

    /// Lets go of the lock after a write beside the driver, and wakes who is to be woken.
    pub(super) fn part(&self, inner: MutexGuard<'_, Inner>, wakes: &mut Wakes) {
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
    /// Room for a read beside the driver.
    pub(super) fn take_room(&mut self) -> Option<ReadBuffer> {
        let buffer = self.connection.take_read();
        self.is_read |= buffer.is_some();
        buffer
    }

    pub(super) fn give_back(&mut self, buffer: ReadBuffer, read: usize) {
        let count = read.min(buffer.len());
        self.is_read = false;
        self.connection.filled(buffer, count);
    }

    /// Who has asked waits in a slot from now on: the reply comes by way of the driver.
    pub(crate) fn give_slot(&mut self, shared: &Shared) {
        if let Some((id, waker)) = self.asked.take() {
            lock(&shared.requests).wait(id, waker);
        }
    }

    /// Who has asked waits no more. Drop what is returned with no lock held.
    pub(crate) fn forget_asked(&mut self, id: RequestId) -> Option<Waker> {
        self.asked.take_if(|(asked, _)| *asked == id).map(|(_, waker)| waker)
    }

    /// Who has asked is to be woken by this. Drop what is returned with no lock held.
    fn wake_asked(&mut self, waker: &Waker) -> Option<Waker> {
        let (_, asked) = self.asked.as_mut().filter(|(_, asked)| !asked.will_wake(waker))?;
        Some(std::mem::replace(asked, waker.clone()))
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
