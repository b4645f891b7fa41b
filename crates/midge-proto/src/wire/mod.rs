//! Bytes: every operation of the NATS protocol, read and written, in both directions.
//!
//! | to | use |
//! |---|---|
//! | read what a server sends, as it arrives | [`Decoder`] |
//! | read what a client sends | [`decode_client`] |
//! | write either | [`encode`] |
//! | read and write the JSON of INFO and CONNECT | [`ServerInfo`], [`ConnectInfo`] |
//! | tell one `-ERR` from another | [`ServerError`] |
//! | know the grammar that a server's bytes follow | [`grammar`] |
//!
//! Reading is lenient where servers are: operations in any case, runs of blanks and tabs, a bare
//! LF at the end of a control line (never behind a payload), leading zeros in sizes. Writing is
//! canonical: upper case, single blanks, CR LF.

mod client_op;
mod connect;
mod decoder;
pub mod encode;
pub mod grammar;
mod info;
mod json;
mod server_error;

use core::ops::Range;

pub use client_op::{ClientOp, decode_client};
pub use connect::{ConnectInfo, ConnectInfoError};
pub use decoder::Decoder;
pub(crate) use decoder::Whole;
pub use info::{InfoError, MAX_URLS, ServerInfo};
pub use server_error::ServerError;

/// A range of bytes, counted from the start of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte, at least `start`.
    pub end: u32,
}

impl Span {
    /// Offsets below 4 GiB, which [`Limits`] ensures for frames.
    #[inline]
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self { start: start as u32, end: end as u32 }
    }

    /// Number of bytes.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no byte in it.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The same as a range, to index a frame with.
    #[inline]
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Where the parts of a MSG or HMSG lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The subscription; `None` when it is not a decimal number of 64 bits and so not one of ours.
    pub sid: Option<u64>,
    /// The subject, never empty.
    pub subject: Span,
    /// The reply subject, never empty.
    pub reply: Option<Span>,
    /// The header block of an HMSG, possibly empty.
    pub headers: Option<Span>,
    /// The payload.
    pub payload: Span,
}

/// Where the parts of a message lie, by start and length: subject, reply, headers, payload. The subject
/// comes first and is not empty: a reply or headers that begin at 0 are not there. The length of a reply
/// that is known to be a subject without wildcards has the bit [`PLAIN`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parts {
    starts: [u32; 4],
    lens: [u32; 4],
}

pub(crate) const SUBJECT: usize = 0;
pub(crate) const REPLY: usize = 1;
pub(crate) const HEADERS: usize = 2;
pub(crate) const PAYLOAD: usize = 3;
/// Lines are not as long.
const PLAIN: u32 = 1 << 31;

impl Parts {
    /// No part at all.
    pub(crate) const NONE: Self = Self { starts: [0; 4], lens: [0; 4] };

    /// Absent parts are empty spans at 0.
    #[inline(always)]
    pub(crate) fn new(parts: [Span; 4]) -> Self {
        Self { starts: parts.map(|part| part.start), lens: parts.map(|part| part.end - part.start) }
    }

    #[inline]
    pub(crate) fn range(&self, part: usize) -> Range<usize> {
        let start = self.starts[part] as usize;
        start..start + self.len(part)
    }

    #[inline(always)]
    fn len(&self, part: usize) -> usize {
        let len = self.lens[part];
        (if part == REPLY { len & !PLAIN } else { len }) as usize
    }

    /// The reply is known to be a subject without wildcards.
    #[inline(always)]
    pub(crate) fn has_plain_reply(&self) -> bool {
        self.lens[REPLY] & PLAIN != 0
    }

    #[inline(always)]
    fn with_plain_reply(mut self, plain: bool) -> Self {
        self.lens[REPLY] = self.lens[REPLY] & !PLAIN | if plain { PLAIN } else { 0 };
        self
    }

    #[inline]
    pub(crate) fn has(&self, part: usize) -> bool {
        self.starts[part] != 0
    }

    /// Bytes of all parts together.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        [SUBJECT, REPLY, HEADERS, PAYLOAD].into_iter().map(|part| self.len(part)).sum()
    }

    /// All bytes from the subject to the end of the payload.
    pub(crate) fn all(&self) -> Range<usize> {
        self.range(SUBJECT).start..self.range(PAYLOAD).end
    }

    /// The same parts where `start` is the first byte.
    pub(crate) fn moved(mut self, start: usize) -> Self {
        for part in &mut self.starts {
            // The start of a subject is below the places of the others.
            *part = part.saturating_sub(start as u32);
        }
        self
    }

    /// The same parts `by` bytes further on.
    #[inline(always)]
    fn shift(&mut self, by: usize) {
        // A subject never begins at 0.
        self.starts = self.starts.map(|start| if start == 0 { 0 } else { start + by as u32 });
    }

    fn layout(&self, sid: u64) -> Layout {
        let span = |part| {
            let range = self.range(part);
            Span::new(range.start, range.end)
        };
        Layout {
            sid: Some(sid),
            subject: span(SUBJECT),
            reply: self.has(REPLY).then(|| span(REPLY)),
            headers: self.has(HEADERS).then(|| span(HEADERS)),
            payload: span(PAYLOAD),
        }
    }
}

impl From<Layout> for Parts {
    fn from(layout: Layout) -> Self {
        let [reply, headers] = [layout.reply, layout.headers].map(Option::unwrap_or_default);
        Self::new([layout.subject, reply, headers, layout.payload])
    }
}

/// What a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// MSG or HMSG.
    Message(Layout),
    /// INFO; the JSON without the blanks around it.
    Info(Span),
    /// PING.
    Ping,
    /// PONG.
    Pong,
    /// `+OK`, which only a verbose connection gets.
    Ok,
    /// `-ERR`; the text without the blanks and the quotes around it.
    Err(Span),
}

/// What one look at the input gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the input is consumed by the caller"]
pub enum Step {
    /// A whole frame.
    Frame {
        /// What it is; offsets count from the start of the input.
        frame: Frame,
        /// Bytes to consume, the final line end included.
        len: usize,
    },
    /// The frame goes on behind the input.
    Incomplete {
        /// Length of the whole frame once its line is read, 0 before that.
        need: usize,
    },
}

/// How much of a peer's input is believed. All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest control line, its line end included. At most 1 GiB counts.
    pub control_line: usize,
    /// The longest INFO line, its line end included. At most 1 GiB counts.
    pub info: usize,
    /// The longest frame with a body: its line, headers, payload and line ends.
    pub frame: usize,
}

impl Limits {
    /// With a size of nine digits, keeps every offset within 32 bits.
    const MAX_LINE: usize = 1 << 30;

    pub(crate) fn clamped(self) -> Self {
        Self {
            control_line: self.control_line.min(Self::MAX_LINE),
            info: self.info.min(Self::MAX_LINE),
            frame: self.frame,
        }
    }
}

/// Room for what nats-server 2.15 can send: lines of 64 KiB, an INFO of 1 MiB, a payload of
/// 64 MiB.
impl Default for Limits {
    fn default() -> Self {
        Self { control_line: 64 << 10, info: 1 << 20, frame: (64 << 20) + (64 << 10) + 2 }
    }
}

/// Why input cannot be read. The stream is lost: nothing behind it can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A control line or INFO is longer than its limit.
    #[error("a protocol line is longer than the configured limit; raise it if the peer is trusted")]
    LineTooLong,
    /// A line does not begin with an operation of the protocol.
    #[error("the peer sent something that is not NATS; check the address and whether TLS is due")]
    UnknownOperation,
    /// An operation has too few or too many arguments.
    #[error("the peer sent an operation with a wrong number of arguments; the connection is lost")]
    BadArguments,
    /// A size is not a number of one to nine digits, or the headers are larger than the whole.
    #[error("the peer sent a message size that is not valid; the connection is lost")]
    BadSize,
    /// A frame is longer than its limit.
    #[error("the peer sent a message above the configured limit; raise it if the peer is trusted")]
    FrameTooLarge,
    /// No CR LF follows a payload.
    #[error("a payload is not followed by a line end; the connection is lost")]
    MissingCrlf,
}
