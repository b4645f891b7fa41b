//! The control line of the plain publish before: who publishes a lot does so to few subjects, mostly in
//! one size, and then subject and line were checked and written already.

use alloc::vec::Vec;

use crate::SubjectText;
use crate::wire::encode;

/// The longest line that is kept.
const ROOM: usize = 80;
/// Where its subject begins.
const SUBJECT: usize = "HPUB ".len();

/// The line of a PUB or HPUB without a reply, whose subject and sizes are valid.
pub(super) struct Line {
    /// A PUB has a byte before it, so that subjects begin at one place.
    bytes: [u8; ROOM + 1],
    /// The most bytes that one has.
    most: u8,
    /// With its end.
    len: u8,
    /// Bytes of the subject; 0 before there is a line.
    subject: u8,
    /// Bytes of the header block; 0 in a PUB.
    headers: usize,
    /// No message has `usize::MAX`: there is no line yet.
    payload: usize,
}

/// None fits.
impl Default for Line {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Line {
    /// There is none yet; the server takes lines of so many bytes.
    pub(super) fn new(server_control_line: usize) -> Self {
        let most = server_control_line.min(ROOM) as u8;
        Self { bytes: [0; ROOM + 1], most, len: 0, subject: 0, headers: 0, payload: usize::MAX }
    }

    /// A message to this subject with so many bytes of headers and payload has this line.
    #[inline(always)]
    pub(super) fn is_of(&self, subject: &[u8], headers: usize, payload: usize) -> bool {
        payload == self.payload && headers == self.headers && self.is_to(subject)
    }

    #[inline(always)]
    fn is_to(&self, subject: &[u8]) -> bool {
        let known = self.bytes.get(SUBJECT..SUBJECT + subject.len());
        subject.len() == usize::from(self.subject)
            && known.is_some_and(|known| equal(known, subject))
    }

    /// Whether a subject of so many bytes may leave room for the rest.
    #[inline(always)]
    pub(super) fn may_hold(&self, subject: usize) -> bool {
        SUBJECT + subject + encode::SIZE <= usize::from(self.most)
    }

    /// Becomes the line of such a message, if `subject` is one to publish to, and both are short.
    pub(super) fn renew(
        &mut self,
        subject: &SubjectText<'_>,
        headers: usize,
        payload: usize,
    ) -> bool {
        let (name, size) = (subject.as_bytes(), headers.saturating_add(payload));
        let sizes = if headers > 0 { 2 * encode::SIZE } else { encode::SIZE };
        if SUBJECT + name.len() + sizes > usize::from(self.most) || size > encode::MOST {
            return false;
        }
        let checked = self.subject > 0 && self.is_to(name);
        if !checked && !subject.check().is_ok_and(|subject| !subject.has_wildcards()) {
            return false;
        }
        let mut end = SUBJECT + name.len();
        self.bytes[..SUBJECT].copy_from_slice(if headers > 0 { b"HPUB " } else { b" PUB " });
        self.bytes[SUBJECT..end].copy_from_slice(name);
        if headers > 0 {
            // The other size stands in the place of the line's end.
            end = self.add_size(end, headers) - 2;
        }
        end = self.add_size(end, size);
        // All of these are below the room.
        self.len = (end - usize::from(headers == 0)) as u8;
        self.subject = name.len() as u8;
        self.headers = headers;
        self.payload = payload;
        true
    }

    /// Writes a size and the line's end behind the first `end` bytes. Returns the new end.
    #[inline(always)]
    fn add_size(&mut self, end: usize, size: usize) -> usize {
        let (text, len) = encode::size_text(size);
        self.bytes[end..end + encode::SIZE].copy_from_slice(&text);
        end + len
    }

    /// Its bytes.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Writes a frame with this line.
    #[inline(always)]
    pub(super) fn write(&self, out: &mut Vec<u8>, headers: &[u8], payload: &[u8]) {
        // A copy of known length is a few stores; what it copies too much is cut off again.
        let end = out.len() + self.len();
        let start = usize::from(headers.is_empty());
        out.extend_from_slice(&self.bytes[start..start + ROOM]);
        out.truncate(end);
        if !headers.is_empty() {
            out.extend_from_slice(headers);
        }
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}

/// Compares what is equally long, eight bytes at a time, the last ones first: there subjects differ.
#[inline(always)]
fn equal(one: &[u8], other: &[u8]) -> bool {
    let (Some(end), Some(other_end)) = (one.last_chunk::<8>(), other.last_chunk::<8>()) else {
        return one == other;
    };
    let (one, other) = (one.as_chunks::<8>().0, other.as_chunks::<8>().0);
    end == other_end && one.iter().zip(other).all(|(a, b)| a == b)
}
