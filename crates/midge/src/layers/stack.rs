//! Layers on top of each other, as one thing that a driver feeds and empties.

use std::fmt;
use std::mem;

use midge_proto::{Attempt, DisconnectCause};

use super::{Buffer, Exists, Layer, Layers, TlsSession, WINDOW};

/// Past this much that the socket does not take, nothing is decoded: answers to what the peer
/// sends cannot pile up.
const MAX_ANSWERS: usize = 2 * WINDOW;

/// What the core hears when the layers are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// `connected`, and whether it is secure.
    Connect { secure: bool },
    /// `tls_ready`.
    StartTls,
}

/// One transport's layers. The first is next to the socket, the last next to the core.
pub(crate) struct Stack {
    exists: Exists,
    attempt: Attempt,
    opening: Opening,
    stages: Vec<Stage>,
    /// How many of them carry bytes.
    open: usize,
    /// All of them were opened, and the core was told.
    told: bool,
    /// There is nothing more to decode until more was read.
    exhausted: bool,
    /// The buffer for reads is out.
    reading: bool,
    /// Bytes for the socket are out.
    writing: bool,
    /// Memory for reads, while the other holds bytes that are not used yet.
    spare: Buffer,
    /// Goodbye was said: nothing more is taken from the core.
    closing: bool,
    ended: Option<DisconnectCause>,
}

struct Stage {
    layer: Box<dyn Layer>,
    input: Buffer,
    out: Buffer,
}

/// Bytes lent out of a stack.
#[derive(Debug)]
pub(crate) struct Lent {
    _exists: Exists,
    pub(crate) attempt: Attempt,
    pub(crate) buffer: Buffer,
}

impl Stack {
    /// Begins with the layer next to the socket.
    pub(crate) fn new(attempt: Attempt, opening: Opening, layers: Layers) -> Self {
        let Layers { layers, exists } = layers;
        let stage = |layer| Stage { layer, input: Buffer::default(), out: Buffer::default() };
        let mut stages: Vec<_> = layers.into_iter().map(stage).collect();
        if let Some(stage) = stages.first_mut() {
            stage.layer.open(&mut stage.out);
        }
        Self {
            exists,
            attempt,
            opening,
            stages,
            open: 0,
            told: false,
            exhausted: false,
            reading: false,
            writing: false,
            spare: Buffer::default(),
            closing: false,
            ended: None,
        }
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.attempt
    }

    pub(crate) fn tls_session(&self) -> Option<TlsSession> {
        self.stages.iter().find_map(|stage| stage.layer.tls_session())
    }

    // ---- up: from the socket to the core -------------------------------------------------

    /// Bytes from the socket are welcome when the core wants some, or the handshake does.
    pub(crate) fn wants_read(&self, core: bool) -> bool {
        (core || !self.told) && !self.closing && !self.reading && self.pending() < MAX_ANSWERS
    }

    /// The room for a read is out.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading
    }

    /// Room for a read. Come back with [`filled`](Self::filled).
    pub(crate) fn take_read(&mut self) -> Option<Lent> {
        if self.closing || self.reading {
            return None;
        }
        let input = &mut self.stages.first_mut()?.input;
        if input.len() >= 2 * WINDOW {
            return None;
        }
        self.reading = true;
        let buffer = input.lend(&mut self.spare);
        Some(Lent { _exists: self.exists, attempt: self.attempt, buffer })
    }

    /// The socket gave `count` bytes.
    pub(crate) fn filled(&mut self, lent: Lent, count: usize) {
        if lent.attempt != self.attempt {
            return;
        }
        self.reading = false;
        if let Some(stage) = self.stages.first_mut() {
            self.spare = stage.input.take_back(lent.buffer, count);
            self.exhausted &= count == 0;
        }
    }

    /// Goes on with the handshakes. What the core is to hear, once, when they are over.
    pub(crate) fn advance(&mut self) -> Option<Opening> {
        while self.open < self.stages.len() {
            let (_, fault) = pull(&mut self.stages[..=self.open], &mut []);
            self.end(fault);
            let stage = &mut self.stages[self.open];
            if !stage.layer.is_open() {
                self.end(pull_end(&self.stages));
                return None;
            }
            self.open += 1;
            if let Some(next) = self.stages.get_mut(self.open) {
                next.layer.open(&mut next.out);
                let fault = push_down(&mut self.stages);
                self.end(fault);
            }
        }
        (!mem::replace(&mut self.told, true)).then_some(self.opening)
    }

    /// There may be bytes for the core.
    pub(crate) fn has_input(&self) -> bool {
        self.told && !self.exhausted && !self.reading && self.pending() < MAX_ANSWERS
    }

    /// Decodes into the core's room, and gives the count.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> usize {
        if self.ended.is_some() {
            self.exhausted = true;
            return 0;
        }
        let (count, fault) = pull(&mut self.stages, room);
        // A fault is told once all that came before it was given.
        self.exhausted = count == 0;
        let fault = fault.or_else(|| pull_end(&self.stages).filter(|_| self.exhausted));
        self.end(fault);
        count
    }

    /// Why nothing more will come, once all that came was given.
    pub(crate) fn ended(&self) -> Option<&DisconnectCause> {
        self.ended.as_ref().filter(|_| self.exhausted || !self.told)
    }

    fn end(&mut self, cause: Option<DisconnectCause>) {
        if self.ended.is_none() {
            self.ended = cause;
        }
    }

    // ---- down: from the core to the socket -----------------------------------------------

    /// There are bytes for the socket, when the core has none.
    pub(crate) fn wants_write(&self) -> bool {
        !self.writing && self.pending() > 0
            || self.stages.iter().any(|stage| stage.layer.has_answer())
    }

    /// Bytes of the core are welcome: the socket took all that came before.
    pub(crate) fn takes(&self) -> bool {
        self.told && !self.closing && !self.writing && self.ended.is_none() && self.pending() == 0
    }

    /// Takes bytes of the core, all of them.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let Some(top) = self.stages.last_mut() else { return };
        let mut fault = top.layer.write(bytes, &mut top.input, &mut top.out).err();
        fault = fault.or(push_down(&mut self.stages));
        if fault.is_some() {
            self.end(fault);
            self.exhausted = true;
        }
    }

    /// Bytes for the socket, one write at a time. Come back with [`settle`](Self::settle).
    pub(crate) fn take_transmit(&mut self) -> Option<Lent> {
        if self.writing {
            return None;
        }
        if self.pending() == 0 {
            for stage in &mut self.stages[..self.open] {
                if stage.layer.has_answer() {
                    stage.layer.answer(&mut stage.out);
                }
            }
            let fault = push_down(&mut self.stages);
            self.end(fault);
        }
        let stage = self.stages.first_mut()?;
        self.writing = !stage.out.is_empty();
        let buffer = mem::take(&mut stage.out);
        self.writing.then_some(Lent { _exists: self.exists, attempt: self.attempt, buffer })
    }

    /// The socket took the first `written` bytes.
    pub(crate) fn settle(&mut self, mut lent: Lent, written: usize) {
        if lent.attempt != self.attempt {
            return;
        }
        self.writing = false;
        lent.buffer.consume(written);
        if let Some(stage) = self.stages.first_mut() {
            // What was said meanwhile stands behind it.
            let meanwhile = mem::replace(&mut stage.out, lent.buffer);
            if !meanwhile.is_empty() {
                stage.out.extend(meanwhile.unread());
            }
        }
    }

    /// Says goodbye. What the socket takes without waiting is to be written.
    pub(crate) fn close(&mut self) {
        if mem::replace(&mut self.closing, true) {
            return;
        }
        for index in (0..self.open).rev() {
            let stage = &mut self.stages[index];
            stage.layer.close(&mut stage.input, &mut stage.out);
            let _ = push_down(&mut self.stages);
        }
    }

    fn pending(&self) -> usize {
        self.stages.first().map_or(0, |stage| stage.out.len())
    }
}

/// Decodes through `stages` into `room`. A fault comes with what was decoded before it.
fn pull(stages: &mut [Stage], room: &mut [u8]) -> (usize, Option<DisconnectCause>) {
    let Some((top, below)) = stages.split_last_mut() else { return (0, None) };
    let mut given = 0;
    let mut fault = None;
    loop {
        match top.layer.read(&mut top.input, &mut room[given..], &mut top.out) {
            Ok(count) => given += count,
            Err(cause) => fault = Some(cause),
        }
        let enough = top.layer.is_open() && given == room.len();
        if fault.is_some() || enough || below.is_empty() || top.layer.ended().is_some() {
            break;
        }
        let (count, cause) = pull(below, top.input.room_for_read());
        top.input.filled(count);
        fault = cause;
        if count == 0 {
            break;
        }
    }
    if !top.out.is_empty() && !below.is_empty() {
        let late = push_down(stages);
        fault = fault.or(late);
    }
    (given, fault)
}

/// Why a layer gives nothing more; the one next to the core knows best.
fn pull_end(stages: &[Stage]) -> Option<DisconnectCause> {
    stages.iter().rev().find_map(|stage| stage.layer.ended())
}

/// Encodes what a layer has said through those below it.
fn push_down(stages: &mut [Stage]) -> Option<DisconnectCause> {
    let mut fault = None;
    for index in (1..stages.len()).rev() {
        let (below, above) = stages.split_at_mut(index);
        let (below, above) = (&mut below[index - 1], &mut above[0]);
        if above.out.is_empty() || !below.layer.is_open() {
            continue;
        }
        let written = below.layer.write(above.out.unread(), &mut below.input, &mut below.out);
        above.out.consume(above.out.len());
        fault = fault.or(written.err());
    }
    fault
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}
