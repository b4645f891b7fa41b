//! Bytes from the transport: where they are read to, and how frames are cut out of them.
//!
//! Reads fill a chunk from front to back. Frames are cut off the front of what was read and share
//! the chunk: one reference count, no copy. What is left of a frame when its chunk is full moves to the
//! next chunk once. Chunks begin small, grow while reads fill them or messages keep them, and are small
//! again after a quiet while.

use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut};

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ids::{Attempt, Sid};
use super::output::Sink;
use super::subscriptions::{Delivery, Subscriptions};
use crate::wire::{DecodeError, Decoder, Frame, Layout, Limits, Parts, Step, Whole};
use crate::{Config, Message};

/// Less room than this is not worth a read.
const MIN_READ: usize = 1024;
/// The first chunk, and that of a connection which is quiet.
const SMALL_CHUNK: usize = 1024;
/// So many messages at most are cut out in one piece.
const BATCH: usize = 64;

/// Room for one read, owned by the driver while it reads.
///
/// As a slice it is initialised memory; as [`spare`](Self::spare) it need not be, which saves writing
/// each byte twice. Give it back with [`Connection::filled`](crate::Connection::filled), also when
/// nothing was read.
#[must_use = "a read buffer that is not given back stops the connection from ever reading again"]
pub struct ReadBuffer {
    attempt: Attempt,
    /// TLS was up when it was lent.
    secure: bool,
    bytes: BytesMut,
    /// Bytes that it has room for.
    room: usize,
}

/// The bytes are not shown: they hold credentials and messages.
impl fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuffer")
            .field("attempt", &self.attempt)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

impl ReadBuffer {
    /// The transport to read from.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// How many bytes may be read.
    pub fn room(&self) -> usize {
        self.room
    }

    /// All of the room, empty: for who reads into memory that is not initialised. What was put in
    /// stands at the start of the slice then.
    pub fn spare(&mut self) -> Limit<&mut BytesMut> {
        self.bytes.clear();
        (&mut self.bytes).limit(self.room)
    }

    /// Makes the room a slice.
    pub fn initialise(&mut self) {
        if self.bytes.len() < self.room {
            self.bytes.resize(self.room, 0);
        }
    }

    pub(super) fn secure(&self) -> bool {
        self.secure
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for ReadBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// What was cut out of the bytes.
#[derive(Debug)]
pub(super) enum Received {
    /// Messages, of which only the last may be for anybody else than a subscription that goes on.
    Messages(Messages),
    Oversized {
        sid: Option<u64>,
        length: usize,
    },
    Info(Bytes),
    Ping,
    Pong,
    Ok,
    Error(Bytes),
}

/// A part of a chunk that was used up.
#[derive(Debug)]
struct Retired {
    bytes: Bytes,
    /// For how many chunks of the usual size it counts.
    weight: usize,
}

/// Messages that follow each other. Give them back with [`Inbound::handed_over`].
#[derive(Debug)]
pub(super) struct Messages {
    bytes: Bytes,
    found: Vec<Found>,
    /// What is to become of the last one. Those before it go to subscriptions that go on.
    pub(super) last: Delivery,
    /// Each gets bytes of its own.
    copies: bool,
}

/// A message in a batch: whom it is for, and where it lies.
#[derive(Debug, Clone, Copy)]
struct Found {
    sid: Sid,
    parts: Parts,
}

impl Messages {
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Bytes of their frames.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Hands over all but the last, and gives that one.
    #[inline]
    pub(super) fn hand_over(&mut self, sink: &mut impl Sink) -> Option<Message> {
        if self.copies {
            return self.hand_over_copies(sink);
        }
        let (last, others) = self.found.split_last()?;
        for run in others.chunk_by(|one, next| one.sid == next.sid) {
            let size = run.iter().map(|found| found.parts.size()).sum();
            let messages = run.iter().map(|found| Message::new(self.bytes.clone(), found.parts));
            sink.messages(run[0].sid, size, messages);
        }
        Some(Message::new(core::mem::take(&mut self.bytes), last.parts))
    }

    #[inline(never)]
    fn hand_over_copies(&self, sink: &mut impl Sink) -> Option<Message> {
        let (last, others) = self.found.split_last()?;
        for found in others {
            sink.message(found.sid, Message::copied(&self.bytes, &found.parts));
        }
        Some(Message::copied(&self.bytes, &last.parts))
    }
}

#[derive(Debug, Clone, Copy)]
struct Skip {
    sid: Option<u64>,
    length: usize,
    /// Bytes still to come, the line end included.
    left: usize,
}

#[derive(Debug)]
pub(super) struct Inbound {
    /// Bytes received and not yet decoded, then room for more.
    chunk: BytesMut,
    filled: usize,
    /// How much may be read behind that, initialised or not.
    spare: usize,
    /// Bytes of memory of the chunk, with what was cut off.
    capacity: usize,
    /// The length of the frame that the chunk was made for.
    largest: usize,
    lent: bool,
    decoder: Decoder,
    /// The length of the frame that is being received, when it is known.
    need: usize,
    /// The oversized frame that is being skipped.
    skip: Option<Skip>,
    /// Empty, and kept for its memory.
    found: Vec<Found>,
    /// Chunks that messages may still share.
    retired: Vec<Retired>,
    /// The size of chunks now, and at most, but for a large message.
    size: usize,
    most: usize,
    /// The chunk is to be replaced by a small one.
    quiet: bool,
    /// Bytes delivered when it was last looked whether it is quiet.
    quiet_at: u64,
    /// The arguments of the longest line.
    longest_line: usize,
    max_chunks: usize,
    max_message: usize,
    in_bytes: u64,
}

impl Inbound {
    pub(super) fn new(config: &Config) -> Self {
        let limits = Limits {
            control_line: config.max_control_line,
            info: config.max_info,
            frame: usize::MAX,
        };
        Self {
            chunk: BytesMut::new(),
            filled: 0,
            spare: 0,
            capacity: 0,
            largest: 0,
            lent: false,
            decoder: Decoder::new(limits),
            need: 0,
            skip: None,
            found: Vec::new(),
            retired: Vec::new(),
            size: SMALL_CHUNK.min(config.read_chunk),
            most: config.read_chunk,
            quiet: false,
            quiet_at: 0,
            longest_line: config.max_info.max(config.max_control_line),
            max_chunks: config.max_chunks,
            max_message: config.max_message,
            in_bytes: 0,
        }
    }

    /// Bytes that transports delivered.
    pub(super) fn in_bytes(&self) -> u64 {
        self.in_bytes
    }

    /// Bytes that are not decoded yet.
    pub(super) fn undecoded(&self) -> &[u8] {
        &self.chunk[..self.filled]
    }

    /// Forgets what an old transport sent.
    pub(super) fn reset(&mut self) {
        self.chunk.advance(self.filled);
        self.filled = 0;
        self.need = 0;
        self.skip = None;
        self.decoder.reset();
    }

    // ---- filling -------------------------------------------------------------------------

    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.lent {
            return &mut [];
        }
        self.make_room();
        let end = self.filled + self.spare;
        if self.chunk.len() < end {
            self.chunk.resize(end, 0);
        }
        &mut self.chunk[self.filled..end]
    }

    pub(super) fn received(&mut self, count: usize) {
        let count = count.min(self.spare).min(self.chunk.len() - self.filled);
        self.filled += count;
        self.spare -= count;
        self.in_bytes += count as u64;
        if self.spare == 0 {
            // There may have been more.
            self.grow(4);
        }
    }

    fn grow(&mut self, factor: usize) {
        self.size = self.size.saturating_mul(factor).min(self.most);
    }

    /// To be called now and then: gives back what is not needed where little has come since the last
    /// call. Where a read is under way, the next one is given a small chunk.
    pub(super) fn look_for_quiet(&mut self) {
        let came = self.in_bytes - self.quiet_at;
        self.quiet_at = self.in_bytes;
        if came >= self.most as u64 {
            return;
        }
        self.size = SMALL_CHUNK.min(self.most);
        self.found = Vec::new();
        self.retired.retain(|chunk| !chunk.bytes.is_unique());
        self.retired.shrink_to_fit();
        self.quiet = self.capacity > self.size;
        if self.quiet && !self.lent && self.filled == 0 {
            self.replace(BytesMut::new());
        }
    }

    /// Messages keep as many chunks as they may.
    fn is_pinned(&self) -> bool {
        self.retired.iter().map(|chunk| chunk.weight).sum::<usize>() >= self.max_chunks
    }

    pub(super) fn lend(&mut self, attempt: Attempt, secure: bool) -> Option<ReadBuffer> {
        if self.lent {
            return None;
        }
        self.make_room();
        self.lent = true;
        let bytes = self.chunk.split_off(self.filled);
        Some(ReadBuffer { attempt, secure, bytes, room: self.spare })
    }

    pub(super) fn give_back(&mut self, buffer: ReadBuffer, count: usize) {
        self.lent = false;
        self.chunk.unsplit(buffer.bytes);
        self.received(count);
    }

    /// Room for the frame that is being received, and for a read.
    fn make_room(&mut self) {
        let least = (self.size / 4).max(MIN_READ.min(self.size / 2));
        let quiet = self.quiet && self.need == 0 && self.filled <= self.size / 2;
        let end = self.filled + self.spare;
        if !quiet && end >= self.need.max(self.filled + least) {
            return;
        }
        // The rest of a frame is read to where it is, rather than all of it moved for a larger read.
        let much = self.filled > least && self.chunk.capacity() < self.filled + least;
        if much && self.need > self.filled && end >= self.need {
            return;
        }
        // A line whose end is not in sight doubles its room, up to the longest that may come: it is
        // moved a few times only.
        let line = self.longest_line.saturating_sub(self.filled).min(self.filled).max(least);
        let needed = self.need.max(self.filled + line);
        if !quiet && self.chunk.capacity() >= needed {
            return self.offer(needed, self.chunk.capacity());
        }
        let capacity = self.capacity_for(needed);
        self.chunk.truncate(self.filled);
        // What a large message left behind is not worth keeping.
        if !quiet
            && self.chunk.try_reclaim(capacity - self.filled)
            && self.chunk.capacity() <= 4 * capacity
        {
            // Nobody shares the chunk any more: it starts anew, with what is left in front.
            self.retired.retain(|chunk| !chunk.bytes.is_unique());
            return self.offer(needed, capacity);
        }
        if !quiet && self.capacity > 0 {
            self.grow(2);
        }
        let mut next = self.recycled(capacity).unwrap_or_else(|| BytesMut::with_capacity(capacity));
        next.extend_from_slice(&self.chunk[..self.filled]);
        self.replace(next);
        self.offer(needed, capacity);
    }

    /// The next read may fill the chunk up to `needed` bytes, and by as much as is usual where there is
    /// room for that. No more is touched, so that the processor has it at hand.
    fn offer(&mut self, needed: usize, capacity: usize) {
        self.spare = (self.filled + self.size).min(capacity).max(needed) - self.filled;
    }

    /// How large a chunk is that must hold `needed` bytes.
    fn capacity_for(&self, needed: usize) -> usize {
        if self.need <= self.size / 4 || self.size < self.most || self.need > 4 * self.most {
            return self.size.max(needed + self.size / 4);
        }
        // Large messages stream: there is room for a few, and fewer are cut by its end.
        self.need + 3 * self.most
    }

    /// Another chunk takes the place of this one, which messages may share.
    fn replace(&mut self, next: BytesMut) {
        self.quiet = false;
        self.spare = 0;
        let capacity = core::mem::replace(&mut self.capacity, next.capacity());
        let old = core::mem::replace(&mut self.chunk, next);
        if capacity > 0 {
            let bytes = old.freeze();
            if !bytes.is_unique() {
                // One large message is one chunk; room for a few is as many.
                let weight = (capacity / self.most.max(self.largest)).max(1);
                self.retired.push(Retired { bytes, weight });
            }
        }
        self.largest = self.need;
    }

    /// A chunk that messages have kept and keep no longer.
    fn recycled(&mut self, capacity: usize) -> Option<BytesMut> {
        let mut found = None;
        self.retired.retain_mut(|chunk| {
            if !chunk.bytes.is_unique() {
                return true;
            }
            if found.is_none()
                && let Ok(mut bytes) = core::mem::take(&mut chunk.bytes).try_into_mut()
            {
                bytes.clear();
                if bytes.try_reclaim(capacity) && bytes.capacity() <= 4 * capacity {
                    found = Some(bytes);
                }
            }
            false
        });
        found
    }

    // ---- cutting -------------------------------------------------------------------------

    /// The next frame, if it is here whole; or messages that follow each other, with frames of about
    /// `budget` bytes. `subscriptions` say whom each of them is for.
    pub(super) fn next(
        &mut self,
        budget: usize,
        subscriptions: &mut Subscriptions,
    ) -> Result<Option<Received>, DecodeError> {
        if self.filled == 0 {
            return Ok(None);
        }
        if self.skip.is_some() {
            return self.skip();
        }
        if self.decoder.is_between_frames() {
            let (at, last) = self.find(subscriptions, budget);
            if at > 0 {
                return Ok(Some(self.messages(at, last)));
            }
        }
        let (frame, len) = match self.decoder.decode(&self.chunk[..self.filled])? {
            Step::Frame { frame, len } => (frame, len),
            Step::Incomplete { need } => {
                self.need = need;
                return self.oversized();
            }
        };
        self.need = 0;
        Ok(Some(match frame {
            Frame::Message(layout) if message_size(&layout) > self.max_message => {
                self.consume(len);
                Received::Oversized { sid: layout.sid, length: message_size(&layout) }
            }
            Frame::Message(layout) => {
                let last = layout.sid.map_or(Delivery::Unknown, |sid| subscriptions.deliver(sid));
                // A number that is none leads nowhere, as this one.
                let sid = Sid::from_number(layout.sid.unwrap_or_default());
                self.found.push(Found { sid, parts: layout.into() });
                self.messages(len, last)
            }
            Frame::Info(span) => Received::Info(self.cut(len).slice(span.range())),
            Frame::Err(span) => Received::Error(self.cut(len).slice(span.range())),
            Frame::Ping => {
                self.consume(len);
                Received::Ping
            }
            Frame::Pong => {
                self.consume(len);
                Received::Pong
            }
            Frame::Ok => {
                self.consume(len);
                Received::Ok
            }
        }))
    }

    /// Notes the messages at the front. Gives where they end, and what is to become of the last.
    #[inline(never)]
    fn find(&mut self, subscriptions: &mut Subscriptions, budget: usize) -> (usize, Delivery) {
        let input = &self.chunk[..self.filled];
        let (mut at, mut last, mut whole) = (0, Delivery::Unknown, Whole::NONE);
        while self.decoder.whole_message(input, at, &mut whole) && whole.size <= self.max_message {
            last = subscriptions.deliver(whole.sid);
            at = whole.end;
            self.found.push(Found { sid: Sid::from_number(whole.sid), parts: whole.parts });
            if !matches!(last, Delivery::Deliver(_)) || at >= budget || self.found.len() >= BATCH {
                break;
            }
        }
        (at, last)
    }

    fn messages(&mut self, len: usize, last: Delivery) -> Received {
        // Unread messages keep too many chunks alive: from here on each costs its own size.
        let copies = self.is_pinned();
        let found = core::mem::take(&mut self.found);
        Received::Messages(Messages { bytes: self.cut(len), found, last, copies })
    }

    /// They have been taken, or will not be.
    pub(super) fn handed_over(&mut self, messages: Messages) {
        self.found = messages.found;
        self.found.clear();
    }

    /// A message that is being received and is larger than the bound is skipped from here on.
    fn oversized(&mut self) -> Result<Option<Received>, DecodeError> {
        let Some((layout, _, left)) = self.decoder.pending() else {
            return Ok(None);
        };
        let length = message_size(layout);
        if length <= self.max_message {
            return Ok(None);
        }
        self.skip = Some(Skip { sid: layout.sid, length, left });
        self.need = 0;
        self.decoder.reset();
        self.skip()
    }

    /// Skips what is here. The message is told of with its line end, as if it had come at once.
    fn skip(&mut self) -> Result<Option<Received>, DecodeError> {
        let Some(mut skip) = self.skip else { return Ok(None) };
        let body = self.filled.min(skip.left - 2);
        self.consume(body);
        skip.left -= body;
        self.skip = Some(skip);
        if self.filled < 2 {
            return Ok(None);
        }
        if self.chunk[..2] != *b"\r\n" {
            return Err(DecodeError::MissingCrlf);
        }
        self.consume(2);
        self.skip = None;
        Ok(Some(Received::Oversized { sid: skip.sid, length: skip.length }))
    }

    fn cut(&mut self, len: usize) -> Bytes {
        self.filled -= len;
        self.chunk.split_to(len).freeze()
    }

    fn consume(&mut self, len: usize) {
        self.filled -= len;
        self.chunk.advance(len);
    }
}

/// Bytes of headers and payload.
#[inline]
fn message_size(layout: &Layout) -> usize {
    (layout.payload.end - layout.headers.map_or(layout.payload.start, |h| h.start)) as usize
}

#[cfg(test)]
mod tests;
