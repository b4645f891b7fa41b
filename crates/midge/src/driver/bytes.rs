//! Bytes that an adapter borrows to write or to read into, with no lock held.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::BufMut;
use midge_proto::{Attempt, Batch, DisconnectCause, ReadBuffer};

use crate::layers::Lent;
use crate::shared::Shared;

/// Bytes on their way to the socket. Dropped without [`Driver::settle`](super::Driver::settle), they count as handed
/// out, so their messages may or may not have arrived, and the transport as lost.
#[must_use = "bytes that are not settled end the connection to the server"]
pub struct Transmit {
    shared: Arc<Shared>,
    outgoing: Option<Outgoing>,
}

pub(super) enum Outgoing {
    Core(Batch),
    Wire(Lent),
}

impl Outgoing {
    fn attempt(&self) -> Attempt {
        match self {
            Self::Core(batch) => batch.attempt(),
            Self::Wire(lent) => lent.attempt,
        }
    }
}

impl Transmit {
    pub(super) fn new(shared: &Arc<Shared>, outgoing: Outgoing) -> Self {
        Self { shared: Arc::clone(shared), outgoing: Some(outgoing) }
    }

    pub(super) fn take(&mut self) -> Option<Outgoing> {
        self.outgoing.take()
    }

    /// The transport that the bytes are for.
    pub fn attempt(&self) -> Option<Attempt> {
        self.outgoing.as_ref().map(Outgoing::attempt)
    }
}

impl Deref for Transmit {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.outgoing {
            Some(Outgoing::Core(batch)) => batch.as_slice(),
            Some(Outgoing::Wire(lent)) => lent.buffer.unread(),
            None => &[],
        }
    }
}

impl Drop for Transmit {
    fn drop(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            self.shared.unaccounted(outgoing);
        }
    }
}

impl Shared {
    /// Nobody says what the transport took of these bytes.
    #[cold]
    pub(super) fn unaccounted(&self, outgoing: Outgoing) {
        let now = self.clock.now();
        let abandoned = self.command(|inner| {
            let attempt = outgoing.attempt();
            if let Outgoing::Core(batch) = outgoing {
                let all = batch.as_slice().len();
                inner.connection.settle(batch, all);
            }
            let cause = DisconnectCause::Io("bytes were not accounted for".into());
            inner.connection.closed(attempt, cause, now);
            inner.abandoned
        });
        if abandoned {
            self.abandon();
        }
    }
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit").field("len", &self.len()).finish()
    }
}

/// Room for a read, owned by the adapter while it reads. It is initialised memory. Give it back
/// with [`Driver::filled`](super::Driver::filled), also when nothing was read.
#[must_use = "a buffer that is not given back stops the connection from ever reading again"]
pub struct Receive(pub(super) Incoming);

pub(super) enum Incoming {
    Core(ReadBuffer),
    Wire(Lent),
}

impl Receive {
    /// The transport to read from.
    pub fn attempt(&self) -> Attempt {
        match &self.0 {
            Incoming::Core(buffer) => buffer.attempt(),
            Incoming::Wire(lent) => lent.attempt,
        }
    }
}

/// Room for a read, whose memory need not be initialised: reading into it as a
/// [`buffer`](Self::buffer) saves that. One read is made into it, by either method.
#[derive(Debug)]
pub struct Spare<'a>(pub(super) &'a mut ReadBuffer);

impl Spare<'_> {
    /// The room as what a read appends to.
    pub fn buffer(&mut self) -> impl BufMut + '_ {
        self.0.spare()
    }

    /// The room as initialised memory.
    pub fn initialised(&mut self) -> &mut [u8] {
        self.0.initialise();
        self.0
    }
}

impl Deref for Receive {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Incoming::Core(buffer) => buffer,
            Incoming::Wire(lent) => lent.buffer.spare(),
        }
    }
}

impl DerefMut for Receive {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Incoming::Core(buffer) => buffer,
            Incoming::Wire(lent) => lent.buffer.spare_mut(),
        }
    }
}

impl fmt::Debug for Receive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receive").field("len", &self.len()).finish()
    }
}
