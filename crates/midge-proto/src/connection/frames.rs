//! The frames of the outbound queue: what they are, how they are lent, and how those that were
//! withdrawn are taken out of a buffer.

use alloc::vec::Vec;
use core::fmt;

use super::Attempt;
use crate::wire;

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

#[derive(Debug, Clone, Copy)]
pub(super) struct FrameInfo {
    /// Of a control frame: the position of the next user frame, so that positions ascend.
    pub(super) position: u64,
    pub(super) len: u32,
    pub(super) kind: Kind,
}

impl FrameInfo {
    pub(super) fn is_user(self) -> bool {
        matches!(self.kind, Kind::Publish | Kind::Request | Kind::Recalled)
    }
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
    let small = max_payload.is_none_or(|max| frame.len() <= max);
    if small && (headers || frame.first() == Some(&b'P')) {
        return true;
    }
    let limits = wire::Limits { control_line: usize::MAX, info: usize::MAX, frame: usize::MAX };
    match wire::decode_client(frame, &limits) {
        Ok(Some((wire::ClientOp::Publish { headers: block, payload, .. }, _))) => {
            let size = payload.len() + block.map_or(0, <[u8]>::len);
            (headers || block.is_none()) && max_payload.is_none_or(|max| size <= max)
        }
        _ => false,
    }
}

pub(super) fn frame_len(len: usize) -> u32 {
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
