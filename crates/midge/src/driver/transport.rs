//! Bytes in and out of a transport, and what the results of reads and writes mean.

use std::io;
use std::task::Context;
use std::thread;
use std::time::Duration;

use midge_proto::{Attempt, DisconnectCause, Instant, Wait};

use super::bytes::{Incoming, Outgoing, Receive, Transmit};
use super::{Driver, Turn, earlier};
use crate::room::{HIGH_WATER, Room};
use crate::shared::lock;

/// The most bytes of one write: all that publishers may add before they wait for it, and the
/// message with which they go beyond, unless that is larger than the rest of this.
pub(super) const WRITE_BYTES: usize = HIGH_WATER + 64 * 1024;
/// After a write failed, so long is waited for what the server said before it closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the adapter was asked to open, until it has ended or another is asked for.
pub(super) struct Transport {
    attempt: Attempt,
    writing: Writing,
}

/// Whether a transport takes bytes.
enum Writing {
    /// As far as is known.
    Works,
    /// A write has failed. What the server may have said before is read until then.
    Failed(DisconnectCause, Instant),
    /// The adapter is about to close it: what it takes without waiting is still written.
    Farewell,
    /// No more of it.
    Over,
}

impl Transport {
    fn new(attempt: Attempt) -> Self {
        Self { attempt, writing: Writing::Works }
    }

    /// The adapter was not told to close it.
    fn is_kept(&self) -> bool {
        matches!(self.writing, Writing::Works | Writing::Failed(..))
    }

    fn takes_bytes(&self) -> bool {
        matches!(self.writing, Writing::Works | Writing::Farewell)
    }

    /// It is about to be closed.
    fn part(&mut self) {
        self.writing = if self.takes_bytes() { Writing::Farewell } else { Writing::Over };
    }
}

/// What a loop that was woken may do before it turns.
pub(super) enum Resume {
    /// The core still waits for this, and for nothing else: no turn is needed before that.
    Rest(Wait),
    /// There is something to read, which comes before what there is to write.
    Read,
    /// There are bytes to write, and nothing comes before them.
    Write,
    /// Nothing.
    Turn,
}

impl Driver {
    /// What was waited for may be there, or a command has come, and `attempt` is the transport. A
    /// turn has to follow but for [`Resume::Rest`].
    pub(super) fn resume(&mut self, attempt: Attempt, context: &Context<'_>) -> Resume {
        let is_open = self.transport.as_ref().is_some_and(|open| open.attempt == attempt);
        if !is_open || !self.is_plain() || self.close.is_some() || self.authorizing.is_busy() {
            return Resume::Turn;
        }
        let mut inner = lock(&self.shared.inner);
        if inner.is_resting(context.waker()) {
            return Resume::Rest(self.rest);
        }
        if std::mem::take(&mut inner.reads_first) {
            return Resume::Read;
        }
        let now = self.shared.clock.now();
        self.looked = Some(now);
        let due = inner.timers.next().is_some_and(|own| own <= now);
        let writes = !due && inner.connection.rest(now).is_some_and(|wait| wait.write);
        if writes { Resume::Write } else { Resume::Turn }
    }

    /// Nothing stands between the core and the adapter, and no write has failed.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        let works = |open: &Transport| matches!(open.writing, Writing::Works);
        self.layered.stack.is_none() && self.transport.as_ref().is_none_or(works)
    }

    /// Up to about `max` bytes to write; give them back with [`settle`](Self::settle).
    pub fn take_transmit(&mut self, max: usize) -> Option<Transmit> {
        self.transport.as_ref().filter(|transport| transport.takes_bytes())?;
        let outgoing = if self.layered.stack.is_some() {
            Outgoing::Wire(self.encode(max)?)
        } else {
            let mut inner = lock(&self.shared.inner);
            inner.idle = false;
            let batch = inner.connection.take_transmit(max);
            // They go on while this is written.
            inner.wake_publishers(&mut self.wakes);
            drop(inner);
            self.wakes.wake();
            Outgoing::Core(batch?)
        };
        Some(Transmit::new(&self.shared, outgoing))
    }

    /// The bytes that still go to a transport which is about to be closed, each time a write has
    /// taken all of the last ones. `None` when there are no more, or nobody to read them.
    pub fn farewell(&mut self, attempt: Attempt) -> Option<Transmit> {
        self.transport_of(attempt)?.part();
        self.take_transmit(WRITE_BYTES)
    }

    /// The write of these bytes came back. What it did not take is written later, by a transport
    /// that takes it.
    ///
    /// A write that is [interrupted](io::ErrorKind::Interrupted) or [would
    /// block](io::ErrorKind::WouldBlock) changes nothing. Any other error, and a write of nothing,
    /// ends the connection to the server, though not at once: the server may have said why before
    /// it closed, so that reading goes on for 1 s at most, and writing does not.
    pub fn settle(&mut self, mut transmit: Transmit, written: io::Result<usize>) {
        let (attempt, len) = (transmit.attempt(), transmit.len());
        let count = written.as_ref().map_or(0, |count| (*count).min(len));
        match transmit.take() {
            Some(Outgoing::Core(batch)) => {
                let elsewhere = self.settle_core(batch, count);
                self.gathering.wrote(len, count, elsewhere);
            }
            Some(Outgoing::Wire(lent)) => {
                if let Some(stack) = &mut self.layered.stack {
                    stack.settle(lent, count);
                }
                self.gathering.wrote(len, count, false);
            }
            None => {}
        }
        let Some(attempt) = attempt else { return };
        if count < len
            && let Some(Transport { writing: writing @ Writing::Farewell, .. }) =
                self.transport_of(attempt)
        {
            *writing = Writing::Over;
        }
        match written {
            Ok(0) if len > 0 => self.write_failed(attempt, &io::ErrorKind::WriteZero.into()),
            Err(error) if !is_temporary(&error) => self.write_failed(attempt, &error),
            Ok(_) | Err(_) => {}
        }
    }

    /// Writing to the transport has failed otherwise, as by a flush of what it held back: the same
    /// as an error in [`settle`](Self::settle).
    pub fn write_failed(&mut self, attempt: Attempt, error: &io::Error) {
        let until = self.now() + LAST_WORDS;
        if let Some(Transport { writing: writing @ Writing::Works, .. }) =
            self.transport_of(attempt)
        {
            *writing = Writing::Failed(io_cause(error), until);
            self.with(|inner| inner.direct = None);
        }
    }

    /// Returns whether publishers are on another thread, and may write by themselves.
    pub(super) fn settle_core(&mut self, batch: midge_proto::Batch, written: usize) -> bool {
        let wakes = &mut self.wakes;
        let mut inner = lock(&self.shared.inner);
        inner.idle = false;
        inner.connection.settle(batch, written);
        // The core does not tell of room for control operations: writing frees it.
        if written > 0 {
            inner.wake_room(Room::Control, wakes);
        }
        let publisher = inner.publisher.filter(|_| inner.direct.is_some());
        drop(inner);
        wakes.wake();
        publisher.is_some_and(|publisher| publisher != thread::current().id())
    }

    /// Room for a read; give it back with [`filled`](Self::filled). `None` unless [`Wait::read`].
    pub fn take_read(&mut self) -> Option<Receive> {
        let mut room = self.take_room()?;
        if let Incoming::Core(buffer) = &mut room.0 {
            buffer.initialise();
        }
        Some(room)
    }

    /// The same, not initialised if it is the core's.
    pub(super) fn take_room(&mut self) -> Option<Receive> {
        Some(Receive(match &mut self.layered.stack {
            Some(stack) => Incoming::Wire(stack.take_read()?),
            None => Incoming::Core(lock(&self.shared.inner).connection.take_spare()?),
        }))
    }

    /// Somebody else has the room for a read.
    pub(super) fn is_read_beside(&self) -> bool {
        lock(&self.shared.inner).is_read
    }

    /// The read into `buffer` came back. What it gave stands at the start.
    ///
    /// A read that is [interrupted](io::ErrorKind::Interrupted) or [would
    /// block](io::ErrorKind::WouldBlock) changes nothing. Any other error, and a read of nothing, is
    /// the end of the transport, which a [`Turn::Close`] follows.
    pub fn filled(&mut self, buffer: Receive, read: io::Result<usize>) {
        let (attempt, len) = (buffer.attempt(), buffer.len());
        let count = read.as_ref().map_or(0, |count| (*count).min(len));
        match buffer.0 {
            Incoming::Core(buffer) => self.with(|inner| inner.connection.filled(buffer, count)),
            Incoming::Wire(lent) => {
                if let Some(stack) = &mut self.layered.stack {
                    stack.filled(lent, count);
                }
            }
        }
        match read {
            Ok(0) => {
                let beside = lock(&self.shared.inner).read_error.take();
                let error = beside.filter(|(of, _)| *of == attempt).map(|(_, error)| error);
                self.ended(attempt, error.map_or(DisconnectCause::Eof, |error| io_cause(&error)));
            }
            Err(error) if !is_temporary(&error) => self.ended(attempt, io_cause(&error)),
            Ok(_) | Err(_) => {}
        }
    }

    /// The adapter has ended this transport, and why it did: what failed first is the cause.
    pub(super) fn first_cause(
        &mut self,
        attempt: Attempt,
        heard: DisconnectCause,
    ) -> DisconnectCause {
        match self.transport.take_if(|transport| transport.attempt == attempt) {
            Some(Transport { writing: Writing::Failed(cause, _), .. }) => cause,
            _ => heard,
        }
    }

    /// The adapter has a transport that is over, and does not know it yet.
    pub(super) fn ended(&mut self, attempt: Attempt, cause: DisconnectCause) {
        if self.keeps(attempt) {
            self.closed(attempt, cause);
            self.close = Some(attempt);
        }
    }

    /// The adapter has the transport, or is about to, and was not told to close it.
    pub(super) fn keeps(&mut self, attempt: Attempt) -> bool {
        self.transport_of(attempt).is_some_and(|transport| transport.is_kept())
    }

    fn transport_of(&mut self, attempt: Attempt) -> Option<&mut Transport> {
        self.transport.as_mut().filter(|transport| transport.attempt == attempt)
    }

    /// Notes what the adapter is about to be told, and waits for the last words of a server.
    /// `None`: there is something new to tell.
    pub(super) fn through_transport(&mut self, turn: Turn) -> Option<Turn> {
        match &turn {
            Turn::Resolve { attempt, .. } | Turn::Connect { attempt, .. } => {
                self.transport = Some(Transport::new(*attempt));
                self.with(|inner| inner.direct = None);
            }
            Turn::Close { attempt } => {
                if let Some(transport) = self.transport_of(*attempt) {
                    transport.part();
                    self.with(|inner| inner.direct = None);
                }
            }
            Turn::Idle(wait) => return self.last_words(*wait),
            Turn::Yield | Turn::Done => {}
        }
        Some(turn)
    }

    fn last_words(&mut self, wait: Wait) -> Option<Turn> {
        let Some(Transport { attempt, writing: Writing::Failed(cause, until) }) = &self.transport
        else {
            return Some(Turn::Idle(wait));
        };
        let wait = Wait { write: false, ..earlier(wait, Some(*until)) };
        // When nothing is read, nothing more is heard.
        let reads =
            wait.read || self.layered.stack.as_ref().is_some_and(|stack| stack.is_reading());
        if reads && self.now() < *until {
            return Some(Turn::Idle(wait));
        }
        let (attempt, cause) = (*attempt, cause.clone());
        self.ended(attempt, cause);
        None
    }
}

pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

fn io_cause(error: &io::Error) -> DisconnectCause {
    DisconnectCause::Io(error.to_string())
}
