//! What waits to be written, where its frames begin and end, and which of it is confirmed.
//!
//! Frames are encoded end to end into `back`. When a driver asks for bytes, `back` becomes
//! `front` and is written from there; the two buffers take turns. `runs` describes the frames
//! of `front` and then of `back`, so that a lost transport splits them cleanly: what was written
//! whole, the one that was cut, and what never left. Publishes that follow each other are one run,
//! which is split when a write or a withdrawal ends within it.

mod keeping;
mod line;
mod withdrawing;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::Buf;

use self::line::Line;
use super::Attempt;
use super::fates::{Fate, Fates, Position};
use super::frames::{Batch, Kind, Run};
use super::ids::FlushId;
use super::pings::{Answer, Before, Pings};
use crate::wire::encode;
use crate::{Config, SubjectText};

/// A buffer that grew past this in a burst gives its memory back once it is empty.
const KEEP_CAPACITY: usize = 512 * 1024;
/// The same for the runs, in entries.
const KEEP_RUNS: usize = KEEP_CAPACITY / size_of::<Run>();

/// Withdrawn bytes that may wait among the others, unless the bound of those is lower.
const MAX_DEAD: usize = 64 * 1024;

/// So many PINGs may be unanswered when another is added that only confirms messages.
const MOST_UNANSWERED: usize = 16;

/// The outbound queue as a [`Buf`], for a driver that owns the connection alone.
///
/// [`Connection::transmit`](crate::Connection::transmit) prepares it. `chunk` is what may be
/// written now, `advance` says how much the transport took. It is empty while a [`Batch`] is out.
#[derive(Default)]
pub struct Outbound {
    /// CONNECT, SUBs and the first PING: goes before everything else.
    handshake: Vec<u8>,
    /// Bytes of `handshake` up to the end of its PING.
    greeting: usize,
    front: Vec<u8>,
    /// Bytes of `front` that the transport took.
    head: usize,
    back: Vec<u8>,
    line: Line,
    runs: VecDeque<Run>,
    /// Bytes of the first frame that the transport took. If there are any, it is a run by itself.
    cut: usize,
    /// Runs of `runs` that lie in `front`.
    front_runs: usize,
    /// Bytes of withdrawn frames.
    dead_front: usize,
    dead_back: usize,
    pings: Pings,
    /// A PONG is queued: another would say nothing more.
    pong_queued: bool,
    lent: bool,
    /// Bytes of the buffer that is out behind those of the batch.
    lent_beyond: usize,
    /// Runs that the batch has a byte of.
    lent_runs: usize,
    /// Publishes that were taken back while their run was out.
    recalled: Vec<u64>,
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
    /// Ranges of positions that each of the fates keeps, and `written`.
    max_ranges: usize,
    /// Bytes of withdrawn frames past which they are taken out, when they are more than the others.
    max_dead: usize,
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
    pub(super) fn new(config: &Config) -> Self {
        let bound = config.max_pending.max(config.reconnect_buffer);
        Self {
            line: Line::new(config.server_control_line),
            max_ranges: config.max_ranges,
            max_dead: bound.min(MAX_DEAD),
            ..Self::default()
        }
    }

    // ---- enqueueing ----------------------------------------------------------------------

    #[inline(always)]
    pub(super) fn publish(
        &mut self,
        kind: Kind,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: Option<&[u8]>,
        payload: &[u8],
    ) -> Position {
        let before = self.back.len();
        if reply.is_none() && headers.is_none() {
            encode::publish_plain(&mut self.back, subject, payload);
        } else {
            encode::publish(&mut self.back, subject, reply, headers, payload);
        }
        self.published(kind, before)
    }

    /// Whether the control line of a plain message to a subject of so many bytes may be kept.
    #[inline(always)]
    pub(super) fn keeps_line_to(&self, subject: usize) -> bool {
        self.line.may_hold(subject)
    }

    /// The bytes of a message without a reply, once its control line is at hand. None: `subject` is not
    /// one to publish to, or the line is long.
    #[inline(always)]
    pub(super) fn plain_len(
        &mut self,
        subject: &SubjectText<'_>,
        headers: usize,
        payload: usize,
    ) -> Option<usize> {
        let known = self.line.is_of(subject.as_bytes(), headers, payload)
            || self.line.renew(subject, headers, payload);
        known.then(|| self.line.len() + headers + payload + 2)
    }

    /// Publishes that message.
    #[inline(always)]
    pub(super) fn publish_plain(&mut self, headers: &[u8], payload: &[u8]) -> Position {
        let before = self.back.len();
        self.line.write(&mut self.back, headers, payload);
        self.published(Kind::Publish, before)
    }

    /// A message was written behind the first `before` bytes of `back`.
    #[inline(always)]
    fn published(&mut self, kind: Kind, before: usize) -> Position {
        let len = self.back.len() - before;
        let position = self.next_position;
        self.next_position += 1;
        self.user_bytes += len;
        self.since_ping += len;
        self.note(position, kind, before, len);
        Position(position)
    }

    /// There is a message more in `back`, which had so many bytes before it.
    #[inline]
    fn note(&mut self, position: u64, kind: Kind, before: usize, len: usize) {
        let joins = kind == Kind::Publish
            && self.runs.len() > self.front_runs
            && self.hold_from != Some(before)
            && self.runs.back_mut().is_some_and(|last| last.extend(position, len));
        if !joins {
            self.runs.push_back(Run::one(position, len, kind));
        }
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
        let reuse =
            !self.back.is_empty() && self.runs.back().is_some_and(|run| run.kind == Kind::Ping);
        if reuse {
            return self.pings.extend_last(flush, drains);
        }
        self.since_ping = 0;
        self.push_control(Kind::Ping, encode::ping);
        self.pings.push(flush, drains);
    }

    pub(super) fn pings(&self) -> &Pings {
        &self.pings
    }

    /// A PING that only confirms messages, unless many are unanswered: a server that reads and does
    /// not answer must not cost memory. What it would have confirmed, the next one does.
    pub(super) fn confirm(&mut self) {
        if self.may_confirm() {
            self.ping(None, 0);
        }
    }

    /// Whether a flush may add a PING when there may be so many flushes: of those that were given
    /// up, the PINGs still wait for their answers.
    pub(super) fn may_flush(&self, flushes: usize) -> bool {
        self.pings.len() < flushes.saturating_add(MOST_UNANSWERED)
    }

    pub(super) fn may_confirm(&self) -> bool {
        self.pings.len() < MOST_UNANSWERED
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
        self.runs.push_back(Run::one(self.next_position, len, kind));
    }

    pub(super) fn handshake(&mut self) -> &mut Vec<u8> {
        &mut self.handshake
    }

    /// The PING that ends the handshake.
    pub(super) fn end_handshake(&mut self) {
        encode::ping(&mut self.handshake);
        self.greeting = self.handshake.len();
    }

    // ---- measures ------------------------------------------------------------------------

    /// Bytes of user messages that wait or are lent.
    pub(super) fn user_bytes(&self) -> usize {
        self.user_bytes
    }

    /// Bytes of every kind that are in no batch.
    #[inline]
    pub(super) fn backlog(&self) -> usize {
        self.front.len().saturating_sub(self.head) + self.lent_beyond + self.back.len()
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

    /// The same, also when some that is not in `front` still does.
    pub(super) fn is_holding(&self) -> bool {
        self.held || self.hold_from.is_some()
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

    /// Makes `front` the buffer to write from, if there is something to write. The handshake is
    /// over, and no batch is out.
    pub(super) fn prepare(&mut self) {
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
        self.front_runs = self.runs.len();
        if let Some(at) = self.hold_from.take() {
            self.back = self.front.split_off(at);
            self.held = true;
            let lens = self.runs.iter().scan(0, |sum, run| {
                *sum += run.len as usize;
                Some(*sum)
            });
            self.front_runs = lens.take_while(|end| *end <= at).count();
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
        self.lent_beyond = bytes.len() - end;
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
        for run in &self.runs {
            if covered >= end {
                return;
            }
            covered += run.len as usize;
            self.lent_runs += 1;
            if run.kind == Kind::Ping && covered <= end {
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
        self.lent_beyond = 0;
        if handshake {
            self.lent_handshake = 0;
            bytes.append(&mut self.handshake);
            self.handshake = bytes;
            return self.took_handshake(written);
        }
        self.front = bytes;
        self.took(written);
        self.pings.take_back();
        self.take_back_recalled();
    }

    fn took_handshake(&mut self, count: usize) {
        self.out_bytes += count as u64;
        self.greeting = self.greeting.saturating_sub(count);
        self.handshake.drain(..count);
        if self.handshake.is_empty() {
            // It is not needed again before the connection is lost.
            self.handshake = Vec::new();
        }
    }

    /// The transport took the next `count` bytes of `front`.
    fn took(&mut self, count: usize) {
        self.head += count;
        self.out_bytes += count as u64;
        self.cut += count;
        let mut gone = 0;
        while let Some(&run) = self.runs.get(gone) {
            let len = run.len as usize;
            if self.cut < len {
                break;
            }
            self.cut -= len;
            gone += 1;
            self.wrote(run);
        }
        self.runs.drain(..gone);
        self.front_runs = self.front_runs.saturating_sub(gone);
        self.lent_runs = self.lent_runs.saturating_sub(gone);
        if self.cut > 0 {
            self.took_part();
        }
        if self.head == self.front.len() {
            give_back(&mut self.front);
            self.head = 0;
            if self.runs.is_empty() && self.runs.capacity() > KEEP_RUNS {
                self.runs = VecDeque::new();
            }
        }
    }

    /// The first run was begun and not ended: what was taken whole of it is gone, and what was cut
    /// is a run by itself.
    fn took_part(&mut self) {
        let Some(&run) = self.runs.front().filter(|run| run.count > 1) else { return };
        let start = self.head - self.cut;
        let (mut whole, mut bytes, mut cut) = (0, 0, 0);
        for (_, frame) in run.frames(&self.front[start..start + run.len as usize]) {
            cut = frame.len();
            if bytes + cut > self.cut {
                break;
            }
            bytes += cut;
            whole += 1;
        }
        self.cut -= bytes;
        let (gone, mut rest) = run.split(whole, bytes);
        if whole > 0 {
            self.wrote(gone);
        }
        if self.cut > 0 && rest.count > 1 {
            let (begun, others) = rest.split(1, cut);
            rest = others;
            self.runs[0] = begun;
            self.runs.insert(1, rest);
            self.front_runs += 1;
            self.lent_runs += usize::from(self.lent_runs > 0);
        } else {
            self.runs[0] = rest;
        }
    }

    /// The transport took all of the run.
    fn wrote(&mut self, run: Run) {
        let len = run.len as usize;
        match run.kind {
            Kind::Publish | Kind::Request | Kind::Recalled => {
                self.user_bytes -= len;
                self.written_messages += u64::from(run.count);
                self.written_bytes += len as u64;
                self.written.push_latest(run.position..run.end(), len, self.max_ranges);
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
                    position: run.position,
                });
            }
            Kind::Dead => self.dead_front = self.dead_front.saturating_sub(len),
        }
    }

    // ---- confirmation --------------------------------------------------------------------

    /// A PONG came. One that answers nothing is ignored.
    pub(super) fn pong(&mut self) {
        self.pings.pong();
    }

    /// A PING is both written and answered.
    pub(super) fn has_answer(&self) -> bool {
        self.pings.has_answer()
    }

    /// The next PING that is both written and answered.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        let (answer, Before { messages, bytes, position }) = self.pings.next_answer()?;
        let messages = messages - (self.written_messages - self.written.messages);
        let bytes = bytes - (self.written_bytes - self.written.bytes);
        if messages > 0 {
            let confirmed = &mut Arc::make_mut(&mut self.fates).confirmed;
            self.written.settle_below(
                Position(position),
                messages,
                bytes,
                confirmed,
                self.max_ranges,
            );
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
}

/// The bytes are not shown: they hold credentials and messages.
impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("user_bytes", &self.user_bytes)
            .field("control_bytes", &self.control_bytes)
            .finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound() -> Outbound {
        Outbound::new(&Config::new(Vec::new(), [0; 32]))
    }

    #[test]
    fn what_is_taken_back_gives_its_memory_back() {
        let mut outbound = outbound();
        for _ in 0..1000 {
            let position = outbound.publish(Kind::Request, b"q", None, None, &[b'x'; 1000]);
            assert!(outbound.withdraw(position));
            assert!(outbound.back.len() <= 66 * 1024, "{}", outbound.back.len());
        }
    }

    /// So many bytes, written at once. Requests are runs of their own.
    fn burst(outbound: &mut Outbound, bytes: usize) {
        while outbound.user_bytes() < bytes {
            outbound.publish(Kind::Request, b"a", None, None, b"");
        }
        outbound.prepare();
        outbound.advance(outbound.remaining());
        assert_eq!(outbound.user_bytes(), 0);
    }

    #[test]
    fn memory_is_kept_while_it_is_needed_and_given_back_after_a_burst() {
        let mut outbound = outbound();
        let _ = outbound.open(usize::MAX, |_| true);
        // The two buffers take turns.
        let memory = |outbound: &Outbound| outbound.front.capacity().max(outbound.back.capacity());
        burst(&mut outbound, 1000);
        burst(&mut outbound, 1000);
        assert!(outbound.front.capacity() >= 1000 && outbound.back.capacity() >= 1000);
        assert!(outbound.runs.capacity() >= 100);
        for _ in 0..2 {
            burst(&mut outbound, 2 * KEEP_CAPACITY);
        }
        assert!(memory(&outbound) >= 2 * KEEP_CAPACITY, "it was needed");
        assert!(outbound.runs.capacity() <= KEEP_RUNS, "{}", outbound.runs.capacity());
        for _ in 0..2 {
            burst(&mut outbound, 1000);
        }
        assert!(memory(&outbound) < 2 * KEEP_CAPACITY, "{}", memory(&outbound));
    }

    #[test]
    fn what_came_during_a_burst_is_not_given_back_with_it() {
        let mut outbound = outbound();
        let _ = outbound.open(usize::MAX, |_| true);
        for _ in 0..2 * KEEP_RUNS {
            outbound.publish(Kind::Request, b"a", None, None, b"");
        }
        outbound.prepare();
        outbound.publish(Kind::Publish, b"a", None, None, b"");
        outbound.advance(outbound.remaining());
        assert_eq!((outbound.runs.len(), outbound.user_bytes()), (1, outbound.back.len()));
        burst(&mut outbound, 0);
    }

    #[test]
    fn what_is_too_old_gives_its_memory_back() {
        let mut outbound = outbound();
        outbound.publish(Kind::Publish, b"a", None, None, b"x");
        assert_eq!(outbound.expire_below(1).messages, 1);
        assert_eq!((outbound.back.len(), outbound.runs.len()), (0, 0));
    }
}
