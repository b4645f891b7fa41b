//! What waits to be written, where its frames begin and end, and which of it is confirmed.
//!
//! Frames are encoded end to end into `back`. When a driver asks for bytes, `back` becomes
//! `front` and is written from there; the two buffers take turns. `frames` describes the frames
//! of `front` and then of `back`, so that a lost transport splits them cleanly: what was written
//! whole, the one that was cut, and what never left.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use bytes::Buf;

use super::Attempt;
use super::fates::{Fate, Fates, Position};
use super::frames::{Batch, FrameInfo, Kind, Squeeze, frame_len};
use super::ids::FlushId;
use super::pings::{Answer, Before, Pings};
use crate::wire::encode;

/// A buffer that grew past this in a burst gives its memory back once it is empty.
const KEEP_CAPACITY: usize = 512 * 1024;
/// The same for the frames, in entries.
const KEEP_FRAMES: usize = KEEP_CAPACITY / size_of::<FrameInfo>();

/// The outbound queue as a [`Buf`], for a driver that owns the connection alone.
///
/// [`Connection::transmit`](crate::Connection::transmit) prepares it. `chunk` is what may be
/// written now, `advance` says how much the transport took. It is empty while a [`Batch`] is out.
#[derive(Debug, Default)]
pub struct Outbound {
    /// CONNECT, SUBs and the first PING: goes before everything else.
    handshake: Vec<u8>,
    /// Bytes of `handshake` up to the end of its PING.
    greeting: usize,
    front: Vec<u8>,
    /// Bytes of `front` that the transport took.
    head: usize,
    back: Vec<u8>,
    frames: VecDeque<FrameInfo>,
    /// Bytes of the first frame that the transport took.
    cut: usize,
    /// Frames of `frames` that lie in `front`.
    front_frames: usize,
    /// Bytes of withdrawn frames.
    dead_front: usize,
    dead_back: usize,
    pings: Pings,
    /// A PONG is queued: another would say nothing more.
    pong_queued: bool,
    lent: bool,
    /// Frames that the batch has a byte of.
    lent_frames: usize,
    /// Bytes of `handshake` that the batch has.
    lent_handshake: usize,
    /// User data may go out: the handshake is over.
    open: bool,
    /// Nothing behind the PING that ends `front` goes out on this connection any more.
    held: bool,
    hold_from: Option<usize>,
    next_position: u64,
    user_bytes: usize,
    control_bytes: usize,
    since_ping: usize,
    written: Fate,
    /// Shared with whoever flushed last, until the next change.
    fates: Arc<Fates>,
    written_messages: u64,
    written_bytes: u64,
    out_bytes: u64,
}

/// How a transport's end splits what was published.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub(super) unknown: Fate,
    pub(super) kept: Fate,
    pub(super) dropped: Fate,
    /// Requests from this position on never left; those below may have arrived.
    pub(super) first_unsent: u64,
}

impl Outbound {
    // ---- enqueueing ----------------------------------------------------------------------

    pub(super) fn publish(
        &mut self,
        kind: Kind,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: Option<&[u8]>,
        payload: &[u8],
    ) -> Position {
        let before = self.back.len();
        encode::publish(&mut self.back, subject, reply, headers, payload);
        let len = self.back.len() - before;
        let position = self.next_position;
        self.next_position += 1;
        self.user_bytes += len;
        self.since_ping += len;
        self.frames.push_back(FrameInfo { position, len: frame_len(len), kind });
        Position(position)
    }

    /// The position that the next message of a user gets.
    pub(super) fn next_position(&self) -> u64 {
        self.next_position
    }

    pub(super) fn control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.push_control(Kind::Control, write);
    }

    /// A PING behind everything that is queued; one that already stands there serves.
    pub(super) fn ping(&mut self, flush: Option<FlushId>, drains: u64) {
        let reuse = !self.back.is_empty()
            && self.frames.back().is_some_and(|frame| frame.kind == Kind::Ping);
        if reuse {
            return self.pings.extend_last(flush, drains);
        }
        self.since_ping = 0;
        self.push_control(Kind::Ping, encode::ping);
        self.pings.push(flush, drains);
    }

    /// A PONG for the server, unless one is still queued.
    pub(super) fn answer_ping(&mut self) {
        if !self.pong_queued {
            self.pong_queued = true;
            self.push_control(Kind::Pong, encode::pong);
        }
    }

    fn push_control(&mut self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.back.len();
        write(&mut self.back);
        let len = self.back.len() - before;
        self.control_bytes += len;
        self.frames.push_back(FrameInfo {
            position: self.next_position,
            len: frame_len(len),
            kind,
        });
    }

    pub(super) fn handshake(&mut self) -> &mut Vec<u8> {
        &mut self.handshake
    }

    /// The PING that ends the handshake.
    pub(super) fn end_handshake(&mut self) {
        encode::ping(&mut self.handshake);
        self.greeting = self.handshake.len();
    }

    /// Takes back the message at `position` if no byte of it was handed out. False: too late.
    ///
    /// One that lies in a batch that is out is not sent either if the transport takes no byte of
    /// it: `settle` tells.
    pub(super) fn withdraw(&mut self, position: Position) -> bool {
        let mut index = self.frames.partition_point(|frame| frame.position < position.0);
        while self
            .frames
            .get(index)
            .is_some_and(|frame| frame.position == position.0 && !frame.is_user())
        {
            index += 1;
        }
        let begun = usize::from(self.cut > 0);
        let Some(frame) = self.frames.get_mut(index) else {
            return false;
        };
        if index < begun || frame.position != position.0 || !frame.is_user() {
            return false;
        }
        if index < self.lent_frames {
            frame.kind = Kind::Recalled;
            return false;
        }
        frame.kind = Kind::Dead;
        let len = frame.len as usize;
        Arc::make_mut(&mut self.fates).dropped.insert(position, len);
        self.user_bytes -= len;
        if index < self.front_frames {
            self.dead_front += len;
        } else {
            self.dead_back += len;
        }
        let dead = self.dead_back + if self.lent { 0 } else { self.dead_front };
        if dead > 64 * 1024 && dead > self.user_bytes {
            self.compact();
        }
        true
    }

    // ---- measures ------------------------------------------------------------------------

    /// Bytes of user messages that wait or are lent.
    pub(super) fn user_bytes(&self) -> usize {
        self.user_bytes
    }

    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// User bytes queued behind the last PING.
    pub(super) fn since_ping(&self) -> usize {
        self.since_ping
    }

    pub(super) fn has_user_data(&self) -> bool {
        self.user_bytes > 0
    }

    /// Bytes of the handshake that wait; what is added during it stands behind its PING.
    pub(super) fn handshake_bytes(&self) -> usize {
        self.handshake.len()
    }

    /// The PING that ends the handshake was handed out whole.
    pub(super) fn has_greeted(&self) -> bool {
        self.greeting <= self.lent_handshake
    }

    pub(super) fn has_pong(&self) -> bool {
        self.pong_queued
    }

    /// Nothing that is not in `front` leaves on this connection.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    pub(super) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Something may be written on this transport now.
    pub(super) fn is_ready(&self) -> bool {
        let back = self.hold_from.unwrap_or(self.back.len()) > 0;
        let data = self.front.len() > self.head || (!self.held && back);
        !self.lent && (!self.handshake.is_empty() || (self.open && data))
    }

    /// What became of messages so far.
    pub(super) fn fates(&self) -> &Arc<Fates> {
        &self.fates
    }

    /// Bytes that transports took, of every kind.
    pub(super) fn out_bytes(&self) -> u64 {
        self.out_bytes
    }

    // ---- lending -------------------------------------------------------------------------

    /// Makes `front` the buffer to write from, if there is something to write.
    pub(super) fn prepare(&mut self) {
        if self.lent || !self.open {
            return;
        }
        if self.dead_front > 0 {
            self.compact();
        }
        if self.head < self.front.len() || self.held {
            return;
        }
        self.compact();
        if self.back.is_empty() {
            return;
        }
        self.front.clear();
        self.head = 0;
        mem::swap(&mut self.front, &mut self.back);
        self.front_frames = self.frames.len();
        if let Some(at) = self.hold_from.take() {
            self.back = self.front.split_off(at);
            self.held = true;
            let lens = self.frames.iter().scan(0, |sum, frame| {
                *sum += frame.len as usize;
                Some(*sum)
            });
            self.front_frames = lens.take_while(|end| *end <= at).count();
        }
    }

    pub(super) fn lend(&mut self, attempt: Attempt, max: usize) -> Option<Batch> {
        if self.lent {
            return None;
        }
        let handshake = !self.handshake.is_empty();
        let (bytes, start) = if handshake {
            (mem::take(&mut self.handshake), 0)
        } else if self.open && self.head < self.front.len() {
            (mem::take(&mut self.front), self.head)
        } else {
            return None;
        };
        let end = bytes.len().min(start.saturating_add(max));
        self.lent = true;
        if handshake {
            self.lent_handshake = end;
        } else {
            self.mark_lent(end - start);
        }
        Some(Batch { attempt, handshake, bytes, start, end })
    }

    /// The frames within the next `bytes` of `front` are out of reach, and its PINGs may be
    /// answered from now on.
    fn mark_lent(&mut self, bytes: usize) {
        let end = self.cut + bytes;
        let mut covered = 0;
        for frame in &self.frames {
            if covered >= end {
                return;
            }
            covered += frame.len as usize;
            self.lent_frames += 1;
            if frame.kind == Kind::Ping && covered <= end {
                self.pings.hand_out();
            }
        }
    }

    /// Takes the batch back; the transport took `written` of its bytes. Those of its messages
    /// that were taken back in the meantime, and were not begun, are not sent.
    pub(super) fn settle(&mut self, batch: Batch, written: usize) {
        let Batch { mut bytes, start, end, handshake, .. } = batch;
        let written = written.min(end - start);
        self.lent = false;
        if handshake {
            self.lent_handshake = 0;
            bytes.append(&mut self.handshake);
            self.handshake = bytes;
            return self.took_handshake(written);
        }
        self.front = bytes;
        self.took(written);
        self.pings.take_back();
        let lent = mem::take(&mut self.lent_frames);
        for frame in self.frames.iter_mut().take(lent).skip(usize::from(self.cut > 0)) {
            if frame.kind == Kind::Recalled {
                frame.kind = Kind::Dead;
                self.dead_front += frame.len as usize;
                self.user_bytes -= frame.len as usize;
                let dropped = &mut Arc::make_mut(&mut self.fates).dropped;
                dropped.insert(Position(frame.position), frame.len as usize);
            }
        }
    }

    fn took_handshake(&mut self, count: usize) {
        self.out_bytes += count as u64;
        self.greeting = self.greeting.saturating_sub(count);
        self.handshake.drain(..count);
    }

    /// The transport took the next `count` bytes of `front`.
    fn took(&mut self, count: usize) {
        self.head += count;
        self.out_bytes += count as u64;
        self.cut += count;
        while let Some(&frame) = self.frames.front() {
            let len = frame.len as usize;
            if self.cut < len {
                break;
            }
            self.cut -= len;
            self.frames.pop_front();
            self.front_frames = self.front_frames.saturating_sub(1);
            self.lent_frames = self.lent_frames.saturating_sub(1);
            match frame.kind {
                Kind::Publish | Kind::Request | Kind::Recalled => {
                    self.user_bytes -= len;
                    self.written_messages += 1;
                    self.written_bytes += len as u64;
                    self.written.push(Position(frame.position), len);
                }
                Kind::Control => self.control_bytes -= len,
                Kind::Pong => {
                    self.control_bytes -= len;
                    self.pong_queued = false;
                }
                Kind::Ping => {
                    self.control_bytes -= len;
                    self.pings.wrote(Before {
                        messages: self.written_messages,
                        bytes: self.written_bytes,
                        position: frame.position,
                    });
                }
                Kind::Dead => self.dead_front -= len,
            }
        }
        if self.head == self.front.len() {
            give_back(&mut self.front);
            self.head = 0;
            if self.frames.is_empty() && self.frames.capacity() > KEEP_FRAMES {
                self.frames = VecDeque::new();
            }
        }
    }

    // ---- confirmation --------------------------------------------------------------------

    /// A PONG came. One that answers nothing is ignored.
    pub(super) fn pong(&mut self) {
        self.pings.pong();
    }

    /// The next PING that is both written and answered.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        let (answer, Before { messages, bytes, position }) = self.pings.next_answer()?;
        let messages = messages - (self.written_messages - self.written.messages);
        let bytes = bytes - (self.written_bytes - self.written.bytes);
        if messages > 0 {
            let confirmed = &mut Arc::make_mut(&mut self.fates).confirmed;
            self.written.settle_below(Position(position), messages, bytes, confirmed);
        }
        Some(answer)
    }

    // ---- transports come and go ----------------------------------------------------------

    /// Nothing that is queued from here on goes out on this connection.
    pub(super) fn hold(&mut self) {
        if !self.held && self.hold_from.is_none() {
            self.compact();
            self.hold_from = Some(self.back.len());
        }
    }

    /// What was held goes out on this connection after all.
    pub(super) fn release(&mut self) {
        self.held = false;
        self.hold_from = None;
    }

    /// Lets user data out: the handshake is over. `fits` says whether a kept frame may be sent.
    pub(super) fn open(&mut self, confirm_every: usize, fits: impl Fn(&[u8]) -> bool) -> Fate {
        let mut dropped = Fate::default();
        let frames = mem::take(&mut self.frames);
        let bytes = mem::take(&mut self.back);
        self.user_bytes = 0;
        self.dead_back = 0;
        self.since_ping = 0;
        let mut start = 0;
        for frame in frames {
            let end = start + frame.len as usize;
            let kept = frame.is_user();
            if kept && fits(&bytes[start..end]) {
                self.back.extend_from_slice(&bytes[start..end]);
                self.user_bytes += end - start;
                self.since_ping += end - start;
                self.frames.push_back(frame);
                if self.since_ping >= confirm_every {
                    self.ping_before(frame.position + 1);
                }
            } else if kept {
                dropped.push(Position(frame.position), end - start);
            }
            start = end;
        }
        self.open = true;
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &dropped);
        dropped
    }

    fn ping_before(&mut self, position: u64) {
        let next = mem::replace(&mut self.next_position, position);
        self.ping(None, 0);
        self.next_position = next;
    }

    /// Drops the messages that do not fit, except one that was begun. No batch is out.
    pub(super) fn drop_unfit(&mut self, fits: impl Fn(&[u8]) -> bool) -> Fate {
        let mut dropped = Fate::default();
        let mut start = self.head;
        for (index, frame) in self.frames.iter_mut().enumerate() {
            let in_front = index < self.front_frames;
            if index == self.front_frames {
                start = 0;
            }
            let begun = index == 0 && self.cut > 0;
            let len = frame.len as usize;
            let end = start + if begun { len - self.cut } else { len };
            let bytes = if in_front { &self.front[start..end] } else { &self.back[start..end] };
            if !begun && frame.is_user() && !fits(bytes) {
                frame.kind = Kind::Dead;
                *if in_front { &mut self.dead_front } else { &mut self.dead_back } += len;
                self.user_bytes -= len;
                dropped.push(Position(frame.position), len);
            }
            start = end;
        }
        self.compact();
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &dropped);
        dropped
    }

    /// The transport is gone: splits what was published, keeps what never left, of requests only
    /// with `keep_requests`. No batch is out.
    pub(super) fn lose(&mut self, keep: usize, keep_requests: bool) -> Split {
        let mut split = Split { first_unsent: self.next_position, ..Split::default() };
        split.unknown = mem::take(&mut self.written);
        let mut bytes = mem::take(&mut self.front);
        bytes.drain(..self.head.min(bytes.len()));
        bytes.append(&mut self.back);
        let frames = mem::take(&mut self.frames);
        let mut start = 0;
        self.user_bytes = 0;
        let mut unsent = None;
        for (index, frame) in frames.into_iter().enumerate() {
            let len = frame.len as usize;
            let begun = index == 0 && self.cut > 0;
            let end = start + if begun { len - self.cut } else { len };
            if begun && frame.is_user() {
                self.written_messages += 1;
                self.written_bytes += len as u64;
                split.unknown.push(Position(frame.position), len);
            } else if frame.is_user() {
                let _ = unsent.get_or_insert(frame.position);
            }
            if !begun && frame.is_user() {
                let keeps = keep_requests || frame.kind == Kind::Publish;
                if keeps && self.user_bytes + len <= keep {
                    self.back.extend_from_slice(&bytes[start..end]);
                    self.user_bytes += len;
                    self.frames.push_back(frame);
                    split.kept.push(Position(frame.position), len);
                } else {
                    split.dropped.push(Position(frame.position), len);
                }
            }
            start = end;
        }
        split.first_unsent = unsent.unwrap_or(self.next_position);
        self.written_messages = 0;
        self.written_bytes = 0;
        self.reset_handshake();
        self.head = 0;
        self.cut = 0;
        self.front_frames = 0;
        self.dead_front = 0;
        self.dead_back = 0;
        self.pong_queued = false;
        self.control_bytes = 0;
        self.since_ping = 0;
        self.pings.clear();
        self.open = false;
        self.release();
        let fates = Arc::make_mut(&mut self.fates);
        Fates::settle(&mut fates.unknown, &split.unknown);
        Fates::settle(&mut fates.dropped, &split.dropped);
        split
    }

    /// A transport ended before user data could go out: nothing that waits changes.
    pub(super) fn reset_handshake(&mut self) {
        self.handshake.clear();
        self.greeting = 0;
    }

    /// Gives up what was kept for a next connection that will not come.
    pub(super) fn abandon(&mut self) {
        let fates = Arc::make_mut(&mut self.fates);
        for frame in mem::take(&mut self.frames) {
            let fate = match frame.kind {
                Kind::Publish => &mut fates.kept,
                Kind::Request => &mut fates.dropped,
                _ => continue,
            };
            fate.insert(Position(frame.position), frame.len as usize);
        }
        self.back = Vec::new();
        self.user_bytes = 0;
        self.dead_back = 0;
    }

    /// While there is no connection: drops what was kept below `position`, requests excepted,
    /// whose deadlines are their own.
    pub(super) fn expire_below(&mut self, position: u64) -> Fate {
        let mut expired = Fate::default();
        for frame in &mut self.frames {
            if frame.position >= position {
                break;
            }
            if frame.kind == Kind::Publish {
                frame.kind = Kind::Dead;
                self.dead_back += frame.len as usize;
                self.user_bytes -= frame.len as usize;
                expired.push(Position(frame.position), frame.len as usize);
            }
        }
        self.compact();
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &expired);
        expired
    }

    /// Squeezes the withdrawn frames out of `back`, and out of what is left of `front` unless
    /// that is out.
    fn compact(&mut self) {
        let squeeze_front = self.dead_front > 0 && !self.lent;
        if !squeeze_front && self.dead_back == 0 {
            return;
        }
        if squeeze_front {
            self.front.drain(..self.head.min(self.front.len()));
            self.head = 0;
            self.dead_front = 0;
        }
        let (mut front, mut back) = (Squeeze::default(), Squeeze::default());
        let (mut kept_frames, mut front_frames, mut held_dead) = (0, 0, 0);
        for index in 0..self.frames.len() {
            let frame = self.frames[index];
            let len = frame.len as usize - if index == 0 { self.cut } else { 0 };
            let mut stays = frame.kind != Kind::Dead;
            if index >= self.front_frames {
                if !stays && self.hold_from.is_some_and(|hold| back.from < hold) {
                    held_dead += len;
                }
                back.step(&mut self.back, len, stays);
            } else {
                stays |= !squeeze_front;
                front_frames += usize::from(stays);
                if squeeze_front {
                    front.step(&mut self.front, len, stays);
                }
            }
            if stays {
                self.frames[kept_frames] = frame;
                kept_frames += 1;
            }
        }
        if squeeze_front {
            self.front.truncate(front.kept);
        }
        self.back.truncate(back.kept);
        self.frames.truncate(kept_frames);
        self.front_frames = front_frames;
        self.hold_from = self.hold_from.map(|hold| hold - held_dead);
        self.dead_back = 0;
    }
}

impl Buf for Outbound {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        if self.lent {
            &[]
        } else if !self.handshake.is_empty() {
            &self.handshake
        } else if self.open {
            &self.front[self.head..]
        } else {
            &[]
        }
    }

    /// # Panics
    ///
    /// Panics when `count` is more than `remaining`, as [`Buf`] asks.
    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "advanced past the bytes that there were to write");
        if self.handshake.is_empty() {
            self.took(count);
        } else {
            self.took_handshake(count);
        }
    }
}

/// Empties a buffer that was written out, and gives its memory back unless it was needed.
fn give_back(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEEP_CAPACITY && buffer.len() < buffer.capacity() / 8 {
        *buffer = Vec::new();
    }
    buffer.clear();
}
