//! The frames of the outbound queue: what they are, how they are found again in a run of them, how
//! they are lent, and how those that were withdrawn are taken out of a buffer.

use alloc::vec::Vec;
use core::fmt;

use super::Attempt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Publish,
    Request,
    /// A request taken back while a batch with it is out: sent only if it was begun.
    Recalled,
    Control,
    Ping,
    Pong,
    /// Withdrawn: its bytes are still in a buffer until the next compaction.
    Dead,
}

/// A run takes no more publishes once it has so many bytes: what finding a frame again in it costs
/// is bounded.
const RUN_BYTES: u32 = 16 * 1024;

/// One frame, or publishes that lie end to end and have consecutive positions. Where those begin,
/// their own lines tell, for the few who must know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Of the first message. Of a control frame: that of the next message, so that positions ascend.
    pub(super) position: u64,
    pub(super) len: u32,
    /// Messages: none in a control frame.
    pub(super) count: u16,
    pub(super) kind: Kind,
}

impl Run {
    /// One frame.
    #[inline]
    pub(super) fn one(position: u64, len: usize, kind: Kind) -> Self {
        let count = u16::from(!matches!(kind, Kind::Control | Kind::Ping | Kind::Pong));
        Self { position, len: frame_len(len), count, kind }
    }

    pub(super) fn is_user(self) -> bool {
        matches!(self.kind, Kind::Publish | Kind::Request | Kind::Recalled)
    }

    /// The position after the last one.
    pub(super) fn end(self) -> u64 {
        self.position + u64::from(self.count)
    }

    /// Adds a publish that lies behind it, if it can: false when it is to be a run of its own.
    #[inline]
    pub(super) fn extend(&mut self, position: u64, len: usize) -> bool {
        let fits = self.kind == Kind::Publish && self.len < RUN_BYTES && self.end() == position;
        if fits {
            // Below 16 KiB there are fewer frames than a u16 counts, and no frame has 2 GiB.
            self.len += frame_len(len);
            self.count += 1;
        }
        fits
    }

    /// Adds what lies behind it, of the same kind and out of the same run.
    pub(super) fn join(&mut self, next: Self) -> bool {
        let joins = self.kind == next.kind && self.end() == next.position;
        if joins {
            self.len += next.len;
            self.count += next.count;
        }
        joins
    }

    /// Its first `count` messages, which have `len` bytes, and the others.
    pub(super) fn split(self, count: u16, len: usize) -> (Self, Self) {
        let len = frame_len(len);
        let position = self.position + u64::from(count);
        let rest = Self { position, len: self.len - len, count: self.count - count, ..self };
        (Self { len, count, ..self }, rest)
    }

    /// Its frames, each with its position; `bytes` are those of the run.
    pub(super) fn frames(self, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        let (mut rest, mut position) = (bytes, self.position);
        core::iter::from_fn(move || {
            let last = position + 1 >= self.end();
            let len = if last { rest.len() } else { publish_len(rest).min(rest.len()) };
            let (frame, others) = rest.split_at(len);
            rest = others;
            position += 1;
            (!frame.is_empty()).then_some((position - 1, frame))
        })
    }
}

/// The length of the PUB or HPUB at the start of `bytes`, which this crate has encoded.
fn publish_len(bytes: &[u8]) -> usize {
    let (line, size) = line_and_size(bytes);
    line + size + 2
}

/// The length of its line, and the size of headers and payload: the last number of the line.
fn line_and_size(bytes: &[u8]) -> (usize, usize) {
    let line = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    let digits = bytes[..line].iter().rev().skip(2).take_while(|byte| byte.is_ascii_digit());
    let (size, _) = digits
        .fold((0, 1), |(size, unit), digit| (size + usize::from(digit - b'0') * unit, unit * 10));
    (line, size)
}

/// Bytes lent to a driver for writing. Give it back with [`Connection::settle`].
///
/// While it is out, nothing else can be taken, and a lost connection is only accounted for once
/// it is back. Dropping it instead loses its frames, whose fate is then *unknown*.
///
/// [`Connection::settle`]: crate::Connection::settle
#[must_use = "a batch that is not settled stops the connection from ever writing again"]
pub struct Batch {
    pub(super) attempt: Attempt,
    pub(super) handshake: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The bytes are not shown: they hold credentials and messages.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("attempt", &self.attempt)
            .field("len", &self.as_slice().len())
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// The transport these bytes are for; written to another they would be nonsense.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// The bytes to write, in order.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl AsRef<[u8]> for Batch {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// True when the encoded publish `frame` can be sent under these limits.
pub(super) fn fits(frame: &[u8], max_payload: Option<usize>, headers: bool) -> bool {
    let fits = |max| frame.len() <= max || line_and_size(frame).1 <= max;
    max_payload.is_none_or(fits) && (headers || frame.first() == Some(&b'P'))
}

fn frame_len(len: usize) -> u32 {
    u32::try_from(len).expect("a frame is below 4 GiB: sizes have at most nine digits")
}

/// A pass over a buffer that moves what stays to the front.
#[derive(Default)]
pub(super) struct Squeeze {
    pub(super) from: usize,
    pub(super) kept: usize,
}

impl Squeeze {
    pub(super) fn step(&mut self, buffer: &mut [u8], len: usize, keep: bool) {
        if keep {
            if self.kept < self.from {
                buffer.copy_within(self.from..self.from + len, self.kept);
            }
            self.kept += len;
        }
        self.from += len;
    }
}
