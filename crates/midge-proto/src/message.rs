//! One inbound message: a reference-counted frame and the offsets of its parts.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::header::{HeaderMap, Headers, Status};
use crate::subject::{NOT_UTF8, SubjectError, SubjectRef};
use crate::wire::{HEADERS, PAYLOAD, Parts, REPLY, SUBJECT, Span};

/// A message that was received.
///
/// Subject, reply, headers and payload are views of one frame; a clone costs one reference count.
/// The frame may lie in a read buffer with others, which stays in memory as long as any of them:
/// keep what [`into_payload`](Self::into_payload) or [`detach`](Self::detach) gives.
#[derive(Clone)]
pub struct Message {
    frame: Bytes,
    parts: Parts,
}

impl Message {
    /// A payload of at least this many bytes is shared by [`into_payload`](Self::into_payload)
    /// rather than copied.
    pub const DETACH_SHARE_MIN: usize = 16 * 1024;

    /// A message over `frame`, which begins where the offsets of `parts` count from. It may go on
    /// behind the message.
    #[inline]
    pub(crate) fn new(frame: Bytes, parts: Parts) -> Self {
        debug_assert!(parts.all().end <= frame.len(), "the parts are of this frame");
        Self { frame, parts }
    }

    /// The same with bytes of its own.
    pub(crate) fn copied(frame: &[u8], parts: &Parts) -> Self {
        let range = parts.all();
        Self {
            frame: Bytes::copy_from_slice(&frame[range.clone()]),
            parts: parts.moved(range.start),
        }
    }

    /// A message made of its parts, for tests, simulators and delivery within a process.
    ///
    /// # Panics
    ///
    /// When the parts add up to 4 GiB or more, or the reply subject alone to 2 GiB or more.
    #[must_use]
    pub fn from_parts(
        subject: SubjectRef<'_>,
        reply: Option<SubjectRef<'_>>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Self {
        Self::pack(
            subject.as_bytes(),
            reply.map(SubjectRef::as_bytes),
            headers.map(HeaderMap::as_bytes),
            payload,
        )
    }

    /// The subject that it was published to; `"\u{fffd}"` when that is not UTF-8, see
    /// [`subject_bytes`](Self::subject_bytes).
    #[must_use]
    pub fn subject(&self) -> &str {
        core::str::from_utf8(self.subject_bytes()).unwrap_or(NOT_UTF8)
    }

    /// The subject as it arrived.
    #[inline]
    #[must_use]
    pub fn subject_bytes(&self) -> &[u8] {
        self.part(SUBJECT)
    }

    /// The reply subject; `"\u{fffd}"` when it is not UTF-8, see
    /// [`reply_bytes`](Self::reply_bytes).
    #[must_use]
    pub fn reply(&self) -> Option<&str> {
        self.reply_bytes().map(|reply| core::str::from_utf8(reply).unwrap_or(NOT_UTF8))
    }

    /// The reply subject as it arrived. No server checks it: publish to
    /// [`reply_subject`](Self::reply_subject).
    #[inline]
    #[must_use]
    pub fn reply_bytes(&self) -> Option<&[u8]> {
        self.parts.has(REPLY).then(|| self.part(REPLY))
    }

    /// The reply subject, to publish to: as it arrived, and checked.
    ///
    /// # Errors
    ///
    /// [`SubjectError`], when it is none.
    #[inline]
    pub fn reply_subject(&self) -> Option<Result<SubjectRef<'_>, SubjectError>> {
        let reply = self.reply_bytes()?;
        Some(match self.parts.has_plain_reply() {
            true => Ok(SubjectRef::checked(reply)),
            false => SubjectRef::from_bytes(reply),
        })
    }

    /// The headers, when the message has a header block.
    #[inline]
    #[must_use]
    pub fn headers(&self) -> Option<Headers<'_>> {
        self.parts.has(HEADERS).then(|| Headers::from_block(self.part(HEADERS)))
    }

    /// The status of the header block, such as 503 for "no responders".
    #[must_use]
    pub fn status(&self) -> Option<Status<'_>> {
        self.headers()?.status()
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.part(PAYLOAD)
    }

    /// The payload, to keep.
    ///
    /// A payload of at least [`DETACH_SHARE_MIN`](Self::DETACH_SHARE_MIN) bytes shares the frame.
    /// A smaller one is copied, since it would pin a read buffer many times its size.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        let payload = self.parts.range(PAYLOAD);
        if payload.len() < Self::DETACH_SHARE_MIN {
            Bytes::copy_from_slice(self.payload())
        } else {
            self.frame.slice(payload)
        }
    }

    /// A copy that holds its own bytes and nothing else in memory.
    #[must_use]
    pub fn detach(&self) -> Self {
        let headers = self.headers().map(Headers::as_bytes);
        Self::pack(self.subject_bytes(), self.reply_bytes(), headers, self.payload())
    }

    /// Bytes of subject, reply, headers and payload together: what limits count.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts.size()
    }

    #[inline]
    fn part(&self, part: usize) -> &[u8] {
        &self.frame[self.parts.range(part)]
    }

    fn pack(subject: &[u8], reply: Option<&[u8]>, headers: Option<&[u8]>, payload: &[u8]) -> Self {
        let optional = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let len = subject.len() + optional(reply) + optional(headers) + payload.len();
        assert!(u32::try_from(len).is_ok(), "a message is smaller than 4 GiB");
        assert!(i32::try_from(optional(reply)).is_ok(), "a reply subject is smaller than 2 GiB");
        let mut frame = Vec::with_capacity(len);
        let mut push = |part: &[u8]| {
            let start = frame.len();
            frame.extend_from_slice(part);
            Span::new(start, frame.len())
        };
        let subject = push(subject);
        let reply = reply.map(&mut push).unwrap_or_default();
        let headers = headers.map(&mut push).unwrap_or_default();
        let payload = push(payload);
        let parts = Parts::new([subject, reply, headers, payload]);
        Self { frame: Bytes::from(frame), parts }
    }
}

/// Two messages are equal when their parts are.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.subject_bytes() == other.subject_bytes()
            && self.reply_bytes() == other.reply_bytes()
            && self.headers() == other.headers()
            && self.payload() == other.payload()
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject())
            .field("reply", &self.reply())
            .field("headers", &self.headers().map_or(0, |headers| headers.iter().count()))
            .field("payload_len", &self.parts.range(PAYLOAD).len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Decoder, Frame, Limits, Step};

    fn decoded(frame: &'static [u8]) -> Message {
        match Decoder::new(Limits::default()).decode(frame) {
            Ok(Step::Frame { frame: Frame::Message(layout), .. }) => {
                Message::new(Bytes::from_static(frame), layout.into())
            }
            other => panic!("{other:?} is not a message"),
        }
    }

    #[test]
    fn a_frame_off_the_wire_is_read_through_its_layout() {
        let message = decoded(b"HMSG a.b 7 r.x 17 21\r\nNATS/1.0 503 x\r\n\r\nabc\r\n");
        assert!(message.headers().is_some_and(Headers::is_malformed));

        let message = decoded(b"HMSG a.b 7 r.x 18 21\r\nNATS/1.0 503 x\r\n\r\nabc\r\n");
        assert_eq!(message.subject(), "a.b");
        assert_eq!(message.reply(), Some("r.x"));
        assert_eq!(message.status(), Some(Status { code: 503, description: "x" }));
        assert_eq!(message.payload(), b"abc");
        assert_eq!(message.size(), 3 + 3 + 18 + 3);
        assert_eq!(message.detach(), message);
    }

    #[test]
    fn absent_parts_are_told_from_empty_ones() {
        let message = decoded(b"MSG a 7 0\r\n\r\n");
        assert_eq!((message.reply(), message.headers()), (None, None));

        let message = decoded(b"HMSG a 7 0 0\r\n\r\n");
        assert_eq!(message.headers(), Some(Headers::from_block(b"")));
    }

    #[test]
    fn names_that_are_not_utf8_are_kept_as_bytes() {
        let message = decoded(b"MSG a\xff 7 r\xfe 0\r\n\r\n");
        assert_eq!(message.subject(), "\u{fffd}");
        assert_eq!(message.subject_bytes(), b"a\xff");
        assert_eq!(message.reply(), Some("\u{fffd}"));
        assert_eq!(message.reply_bytes(), Some(&b"r\xfe"[..]));
    }
}
