//! Reads what a server sends, as it arrives. MSG and HMSG, as servers spell them, take a short way in
//! one pass; the tests hold all of it equal to the [`grammar`](super::grammar).

use memchr::memchr;

use crate::subject::is_plain_from;

use super::{DecodeError, Frame, Layout, Limits, Parts, REPLY, SUBJECT, Span, Step};

/// Incremental decoder of a server's bytes.
///
/// The input of [`decode`](Self::decode) begins at the start of the current frame and only grows
/// until a frame is returned; the caller then drops that frame's bytes. What was looked at once is
/// not scanned again, so reading a frame in many pieces costs no more than reading it at once.
///
/// ```
/// use midge_proto::wire::{Decoder, Frame, Limits, Step};
///
/// let mut decoder = Decoder::new(Limits::default());
/// assert_eq!(decoder.decode(b"PI")?, Step::Incomplete { need: 0 });
/// assert_eq!(decoder.decode(b"PING\r\nMSG")?, Step::Frame { frame: Frame::Ping, len: 6 });
/// # Ok::<(), midge_proto::wire::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: Limits,
    /// Bytes of the current line that have no LF in them.
    scanned: usize,
    body: Option<Body>,
}

/// A MSG or HMSG whose line has been read.
#[derive(Debug, Clone, Copy)]
struct Body {
    layout: Layout,
    line: usize,
    total: usize,
}

impl Decoder {
    /// A decoder at the start of a frame.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits: limits.clamped(), scanned: 0, body: None }
    }

    /// Reads the frame at the start of `input`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the bytes are no frame within the limits. The same input gives the
    /// same error again; [`reset`](Self::reset) before reading from another transport.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, DecodeError> {
        if let Some(body) = self.body {
            let step = finish(input, body)?;
            if let Step::Frame { .. } = step {
                self.body = None;
            }
            return Ok(step);
        }
        // Tried once a frame: bytes that were looked at are not looked at again.
        if self.scanned == 0
            && let Some(whole) = whole(input, 0, None, &self.limits)
        {
            let frame = Frame::Message(whole.parts.layout(whole.sid));
            return Ok(Step::Frame { frame, len: whole.end });
        }
        self.line(input)
    }

    /// No part of the current frame was looked at.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.scanned == 0 && self.body.is_none()
    }

    /// Reads the message at `start`, where a frame begins, if it is here whole and spelled as servers
    /// do. `whole` is the one that was read before it in this input, and becomes this one. Nothing
    /// else changes: what is not here whole, or is anything else, is for [`decode`](Self::decode).
    #[inline(always)]
    pub(crate) fn whole_message(&self, input: &[u8], start: usize, whole: &mut Whole) -> bool {
        let known = whole.repeated(input, start);
        if known == whole.line && whole.move_to(input, start) {
            return true;
        }
        whole.known = known;
        // Another sid is read.
        let (same_sid, subject_end) = (known >= whole.arguments, whole.parts.range(SUBJECT).end);
        if (same_sid || whole.start + known < subject_end) && whole.rename(input, start) {
            return true;
        }
        let before = same_sid.then_some(&*whole);
        match self::whole(input, start, before, &self.limits) {
            Some(next) if before.is_some_and(|before| before.parts.has_plain_reply()) => {
                *whole = next.know_reply(input, known);
            }
            Some(next) => *whole = next,
            None => return false,
        }
        true
    }

    /// Any line, however it came and is spelled.
    #[inline(never)]
    fn line(&mut self, input: &[u8]) -> Result<Step, DecodeError> {
        let Some(&first) = input.first() else {
            return Ok(Step::Incomplete { need: 0 });
        };
        let limit = match first {
            b'M' | b'm' | b'H' | b'h' | b'P' | b'p' | b'+' | b'-' => self.limits.control_line,
            b'I' | b'i' => self.limits.info,
            _ => return Err(DecodeError::UnknownOperation),
        };
        let window = &input[..input.len().min(limit)];
        let scanned = self.scanned.min(window.len());
        let Some(at) = memchr(b'\n', &window[scanned..]) else {
            if window.len() == limit {
                return Err(DecodeError::LineTooLong);
            }
            self.scanned = window.len();
            return Ok(Step::Incomplete { need: 0 });
        };
        let len = scanned + at + 1;
        let line = &input[..len - 1];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let step = match line {
            [b'M' | b'm', b'S' | b's', b'G' | b'g', ..] => {
                self.message(input, lenient::<false>(line, 3, len)?)
            }
            [b'H' | b'h', b'M' | b'm', b'S' | b's', b'G' | b'g', ..] => {
                self.message(input, lenient::<true>(line, 4, len)?)
            }
            _ => Ok(Step::Frame { frame: control_line(line)?, len }),
        }?;
        self.scanned = 0;
        Ok(step)
    }

    /// A MSG or HMSG whose line has been read and whose body is incomplete: its layout, the
    /// length of its line and the length of the whole frame. With it a caller can skip a body
    /// that is too large to hold and then [`reset`](Self::reset).
    #[must_use]
    pub fn pending(&self) -> Option<(&Layout, usize, usize)> {
        self.body.as_ref().map(|body| (&body.layout, body.line, body.total))
    }

    /// Forgets the current frame: the next input begins with a new one.
    pub fn reset(&mut self) {
        self.scanned = 0;
        self.body = None;
    }

    /// Changes the limits, from the next line on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits.clamped();
    }

    fn message(&mut self, input: &[u8], body: Body) -> Result<Step, DecodeError> {
        if body.total > self.limits.frame {
            return Err(DecodeError::FrameTooLarge);
        }
        if input.len() < body.total {
            self.body = Some(body);
        }
        finish(input, body)
    }
}

/// A message once its body is there, and nothing before.
fn finish(input: &[u8], body: Body) -> Result<Step, DecodeError> {
    match input.get(body.total - 2..body.total) {
        Some(b"\r\n") => Ok(Step::Frame { frame: Frame::Message(body.layout), len: body.total }),
        Some(_) => Err(DecodeError::MissingCrlf),
        None => Ok(Step::Incomplete { need: body.total }),
    }
}

/// A message that was read in one pass. Offsets count from the start of the input, but for those in
/// the line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) sid: u64,
    pub(crate) parts: Parts,
    /// Bytes of headers and payload.
    pub(crate) size: usize,
    /// Where the frame begins and ends.
    start: usize,
    pub(crate) end: usize,
    /// Bytes of the line up to what follows the sid, and with its end.
    arguments: usize,
    line: usize,
    /// So many bytes of the line are those of the line of the next message.
    known: usize,
}

impl Whole {
    /// No message, the line of which none repeats.
    pub(crate) const NONE: Self = Self {
        sid: 0,
        parts: Parts::NONE,
        size: 0,
        start: 0,
        end: 0,
        arguments: usize::MAX,
        line: usize::MAX,
        known: 0,
    };

    /// How many bytes of its line stand at `start` too: of a stream, often all or all but a size.
    #[inline(always)]
    fn repeated(&self, input: &[u8], start: usize) -> usize {
        let line = |from: usize| input.get(from..)?.get(..self.line);
        let (Some(old), Some(new)) = (line(self.start), line(start)) else { return 0 };
        let words = old.as_chunks::<8>().0.iter().zip(new.as_chunks::<8>().0);
        let mut at = 0;
        for (old, new) in words {
            if old != new {
                return at + first_difference(old, new);
            }
            at += 8;
        }
        match (old.last_chunk(), new.last_chunk()) {
            (Some(old), Some(new)) => self.line - 8 + first_difference(old, new),
            _ => 0,
        }
    }

    /// Finds out whether its reply is plain, as that of the message before, the line of which had the
    /// first `known` bytes in common with it: who answers need not check it again.
    #[inline(never)]
    fn know_reply(mut self, input: &[u8], known: usize) -> Self {
        if let Some(reply) = input.get(self.parts.range(REPLY)) {
            let plain = is_plain_from(reply, known.saturating_sub(self.arguments).min(reply.len()));
            self.parts = self.parts.with_plain_reply(plain);
        }
        self
    }

    /// Is the message at `start` instead, if that is here whole and its line differs in nothing but names
    /// of the same length. `known` says from where on it differs.
    #[inline(never)]
    fn rename(&mut self, input: &[u8], start: usize) -> bool {
        let line = |from: usize| input.get(from..)?.get(..self.line);
        let (Some(old), Some(new)) = (line(self.start), line(start)) else { return false };
        let begin = self.parts.range(SUBJECT).start - self.start;
        let subject_end = begin + self.parts.len(SUBJECT);
        if self.known < begin {
            return false;
        }
        let mut names_end = subject_end;
        let mut plain = false;
        if self.parts.has(REPLY) {
            names_end = self.arguments + self.parts.len(REPLY);
            let Some(reply) = new.get(self.arguments..names_end) else { return false };
            let is_as_known = self.parts.has_plain_reply();
            let known = if is_as_known { self.known.saturating_sub(self.arguments) } else { 0 };
            plain = is_plain_from(reply, known.min(reply.len()));
            if !plain {
                return false;
            }
        }
        if self.known < self.arguments {
            let between = subject_end..self.arguments;
            let blank = self.known < subject_end && has_blank(new, self.known, subject_end);
            if blank || names_end > subject_end && old.get(between.clone()) != new.get(between) {
                return false;
            }
        }
        if !have_same_end(old, new, names_end) || !self.move_to(input, start) {
            return false;
        }
        self.parts = self.parts.with_plain_reply(plain);
        true
    }

    /// Is the message at `start` instead, which has the same line, if that is here whole.
    #[inline(always)]
    fn move_to(&mut self, input: &[u8], start: usize) -> bool {
        let end = start + (self.end - self.start);
        if input.get(end - 2..end) != Some(b"\r\n") {
            return false;
        }
        self.parts.shift(start - self.start);
        (self.start, self.end) = (start, end);
        true
    }
}

/// Whether a blank or control byte stands between these places. Eight bytes or more are before the
/// end.
#[inline(always)]
fn has_blank(line: &[u8], from: usize, to: usize) -> bool {
    let blanks = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word.wrapping_sub(ONES * 0x21) & !word & HIGH_BITS
    };
    let Some(name) = line.get(from..to) else { return true };
    let Some(last) = line.get(..to).and_then(|line| line.last_chunk()) else { return true };
    // Of the last eight bytes those before it are left out; they may only add some behind them.
    let others = 8_usize.saturating_sub(name.len()) as u32 * 8;
    let last = blanks(last).checked_shr(others).unwrap_or(0);
    name.as_chunks().0.iter().fold(last, |found, word| found | blanks(word)) != 0
}

/// Whether two lines of one length, of eight bytes or more, are the same from there on.
#[inline(always)]
fn have_same_end(one: &[u8], other: &[u8], from: usize) -> bool {
    let (Some(end), Some(other_end)) = (one.last_chunk(), other.last_chunk()) else { return false };
    match one.len() - from {
        len @ 1..=8 => {
            let differ = u64::from_le_bytes(*end) ^ u64::from_le_bytes(*other_end);
            differ >> (64 - 8 * len) == 0
        }
        _ => one.get(from..) == other.get(from..),
    }
}

/// The place of the first byte that differs, or 8.
#[inline(always)]
fn first_difference(one: &[u8; 8], other: &[u8; 8]) -> usize {
    ((u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other)).trailing_zeros() / 8) as usize
}

/// Reads a frame that is here whole and in the spelling that servers use: `MSG subject sid [reply]
/// total` or `HMSG subject sid [reply] hlen total`, with upper case, single blanks, CR LF, and a sid of
/// at most 18 digits. `None` for any other, and for what is wrong. What is known of its line from that
/// of `before` goes up to what follows the sid, or beyond.
// By itself it has registers enough.
#[inline(never)]
fn whole(input: &[u8], start: usize, before: Option<&Whole>, limits: &Limits) -> Option<Whole> {
    const HEAD: usize = 64;
    let rest = input.get(start..)?;
    // Most lines end in a head of known length, where fewer bounds are to be checked. With an ack
    // subject they do not, and the one before says so.
    let is_long = before.is_some_and(|before| before.line > HEAD);
    let head = rest.first_chunk::<HEAD>().filter(|_| !is_long);
    let whole = head.and_then(|head| whole_in(head, rest, start, before, limits));
    whole.or_else(|| whole_in_rest(rest, start, before, limits))
}

#[inline(never)]
fn whole_in_rest(
    rest: &[u8],
    start: usize,
    before: Option<&Whole>,
    limits: &Limits,
) -> Option<Whole> {
    whole_in(rest, rest, start, before, limits)
}

/// The same, of a frame that begins `rest` and whose line ends in `head`.
#[inline(always)]
fn whole_in(
    head: &[u8],
    rest: &[u8],
    start: usize,
    before: Option<&Whole>,
    limits: &Limits,
) -> Option<Whole> {
    const MSG: u32 = u32::from_le_bytes(*b"MSG ");
    const HMSG: u32 = u32::from_le_bytes(*b"HMSG");
    match u32::from_le_bytes(*head.first_chunk()?) {
        MSG => whole_as::<false>(head, rest, 4, start, before, limits),
        HMSG if *head.get(4)? == b' ' => whole_as::<true>(head, rest, 5, start, before, limits),
        _ => None,
    }
}

#[inline(always)]
fn whole_as<const HMSG: bool>(
    head: &[u8],
    rest: &[u8],
    subject: usize,
    start: usize,
    before: Option<&Whole>,
    limits: &Limits,
) -> Option<Whole> {
    let span = |from: usize, to: usize| Span::new(start + from, start + to);
    let (subject_end, sid, arguments, known) = match before {
        Some(before) => {
            let subject_end = subject + before.parts.len(SUBJECT);
            // What both have in common of a reply ends in it.
            let reply = before.arguments + before.parts.len(REPLY);
            (subject_end, before.sid, before.arguments, before.known.min(reply))
        }
        None => {
            let subject_end = token(head, subject, subject)?;
            let (sid, arguments) = number(head, subject_end + 1, b' ', 18)?;
            (subject_end, sid, arguments, arguments)
        }
    };
    let mut at = arguments;
    let mut reply = Span::default();
    if !head.get(at)?.is_ascii_digit() {
        let end = token(head, at, known)?;
        reply = span(at, end);
        at = end + 1;
    }
    let mut headers = 0;
    if HMSG {
        let (size, behind) = number(head, at, b' ', 9)?;
        (headers, at) = (size as usize, behind);
    }
    let (size, at) = number(head, at, b'\r', 9)?;
    let (size, line) = (size as usize, at + 1);
    let end = line + size + 2;
    if *head.get(at)? != b'\n'
        || rest.get(end - 2..end)? != b"\r\n"
        || HMSG && headers > size
        || line > limits.control_line
        || end > limits.frame
    {
        return None;
    }
    let parts = [
        span(subject, subject_end),
        reply,
        if HMSG { span(line, line + headers) } else { Span::default() },
        span(line + headers, line + size),
    ];
    let parts = Parts::new(parts);
    Some(Whole { sid, parts, size, start, end: start + end, arguments, line, known: 0 })
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// Where the next blank is, looked for eight bytes a time, and not before `known`, up to which there is
/// none. `None` when it is at `start`, when a control byte comes first, or when the input ends too near.
#[inline(always)]
fn token(input: &[u8], start: usize, known: usize) -> Option<usize> {
    let mut at = known;
    loop {
        let word = u64::from_le_bytes(*input.get(at..)?.first_chunk()?);
        // The lowest bit is that of the first byte up to a blank. Those above it may be wrong.
        let ends = word.wrapping_sub(ONES * 0x21) & !word & HIGH_BITS;
        if ends != 0 {
            at += (ends.trailing_zeros() / 8) as usize;
            return (at > start && *input.get(at)? == b' ').then_some(at);
        }
        at += 8;
    }
}

/// A number of one to `most` digits at `start` that the byte `end` ends, and what is behind that.
#[inline(always)]
fn number(input: &[u8], start: usize, end: u8, most: usize) -> Option<(u64, usize)> {
    let mut number: u64 = 0;
    let mut at = start;
    loop {
        let byte = *input.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let few = (at - start).wrapping_sub(1) < most;
            return (few && byte == end).then_some((number, at + 1));
        }
        // Past `most` digits it may wrap around.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
}

/// The arguments in any spelling, of a `line` that takes `len` bytes with its end and whose operation
/// ends at `op`.
fn lenient<const HMSG: bool>(line: &[u8], op: usize, len: usize) -> Result<Body, DecodeError> {
    match line.get(op) {
        Some(&byte) if is_blank(byte) => {}
        Some(_) => return Err(DecodeError::UnknownOperation),
        None => return Err(DecodeError::BadArguments),
    }
    let most = if HMSG { 5 } else { 4 };
    let mut tokens = [Span::default(); 5];
    let mut count = 0;
    let mut at = op;
    for token in line[op..].split(|&byte| is_blank(byte)) {
        let end = at + token.len();
        if at < end {
            if count == most {
                return Err(DecodeError::BadArguments);
            }
            tokens[count] = Span::new(at, end);
            count += 1;
        }
        at = end + 1;
    }
    if count + 1 < most {
        return Err(DecodeError::BadArguments);
    }
    let text = |at: usize| &line[tokens[at].range()];
    let headers = if HMSG { size(text(count - 2))? } else { 0 };
    let total = size(text(count - 1))?;
    let reply = (count == most).then_some(tokens[2]);
    if headers > total {
        return Err(DecodeError::BadSize);
    }
    let payload = len + headers;
    let layout = Layout {
        sid: decimal(text(1)),
        subject: tokens[0],
        reply,
        headers: HMSG.then(|| Span::new(len, payload)),
        payload: Span::new(payload, len + total),
    };
    Ok(Body { layout, line: len, total: len + total + 2 })
}

/// Reads a line that has no body.
fn control_line(line: &[u8]) -> Result<Frame, DecodeError> {
    let end = line.iter().position(|&byte| is_blank(byte)).unwrap_or(line.len());
    let (op, rest) = line.split_at(end);
    let is = |name: &[u8]| op.eq_ignore_ascii_case(name);
    if is(b"PING") {
        Ok(Frame::Ping)
    } else if is(b"PONG") {
        Ok(Frame::Pong)
    } else if is(b"+OK") {
        Ok(Frame::Ok)
    } else if is(b"-ERR") {
        let (start, text) = trim(end, rest);
        let (start, text) = match text.strip_prefix(b"'") {
            Some(text) => (start + 1, text),
            None => (start, text),
        };
        let (start, text) = trim(start, text.strip_suffix(b"'").unwrap_or(text));
        Ok(Frame::Err(Span::new(start, start + text.len())))
    } else if is(b"INFO") {
        let (start, json) = trim(end, rest);
        if json.is_empty() {
            return Err(DecodeError::BadArguments);
        }
        Ok(Frame::Info(Span::new(start, start + json.len())))
    } else {
        Err(DecodeError::UnknownOperation)
    }
}

/// `text`, which starts at offset `start`, without the blanks around it.
fn trim(start: usize, text: &[u8]) -> (usize, &[u8]) {
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    let text = &text[blanks..];
    let tail = text.iter().rev().take_while(|&&byte| is_blank(byte)).count();
    (start + blanks, &text[..text.len() - tail])
}

/// One to nine decimal digits.
fn size(token: &[u8]) -> Result<usize, DecodeError> {
    let few = matches!(token.len(), 1..=9);
    let size = decimal(token).filter(|_| few).ok_or(DecodeError::BadSize)?;
    Ok(size as usize)
}

/// A decimal number of 64 bits.
fn decimal(token: &[u8]) -> Option<u64> {
    token.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[inline]
const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::SubjectRef;

    /// None, short ones, those that make a line longer than its head, and some that are no subjects.
    const REPLY_PATTERN: &str = "|r[ab]{0,3}|\\$JS[.]ACK[.]stream[.]consumer[.]1[.][12]{1,3}[.]\
        [12]{1,3}[.]1795297176763474374[.][12]{1,3}|_INBOX[.]a[ab.*>:\x7f]{1,3}|_INBOX[.]abcdefgh[a.*>]{9}";
    const HEADERS: &str = "NATS/1.0\r\n\r\n";

    /// A message as a server sends it.
    fn frame(subject: &str, sid: &str, reply: &str, headers: bool, payload: &str) -> String {
        let (op, block) = if headers { ("HMSG", HEADERS) } else { ("MSG", "") };
        let blank = if reply.is_empty() { "" } else { " " };
        let sizes = if headers { format!("{} ", block.len()) } else { String::new() };
        let total = block.len() + payload.len();
        format!("{op} {subject} {sid}{blank}{reply} {sizes}{total}\r\n{block}{payload}\r\n")
    }

    fn is_plain(reply: &[u8]) -> bool {
        SubjectRef::from_bytes(reply).is_ok_and(|subject| !subject.has_wildcards())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn messages_in_a_row_are_read_as_each_is_alone(
            messages in vec(
                ("s[a-c]{0,1}|orders[.](eu|us)[.]0000[0-9]", "[12]{1,2}", REPLY_PATTERN, "x{0,12}"),
                1..12,
            ),
            headers in vec(any::<bool>(), 12),
            once in any::<bool>(),
        ) {
            let mut input = String::from("+OK\r\n");
            let mut starts = Vec::new();
            for ((subject, sid, reply, payload), headers) in messages.iter().zip(headers) {
                // Often the same but for names.
                let (sid, payload) = if once { ("1", "") } else { (&**sid, &**payload) };
                starts.push(input.len());
                input += &frame(subject, sid, reply, headers && !once, payload);
            }
            let end = input.len();
            // The short way wants some bytes behind a line.
            input += "PING\r\nPING\r\nPING\r\n";
            let (decoder, mut whole, mut at) = (Decoder::new(Limits::default()), Whole::NONE, 5);
            for start in starts {
                prop_assert_eq!(start, at);
                prop_assert!(decoder.whole_message(input.as_bytes(), at, &mut whole));
                let alone = Decoder::new(Limits::default()).decode(&input.as_bytes()[start..]);
                let Ok(Step::Frame { frame: Frame::Message(layout), len }) = alone else {
                    panic!("{alone:?}")
                };
                prop_assert_eq!(whole.parts.moved(start).layout(whole.sid), layout);
                prop_assert_eq!(whole.end, start + len);
                let reply = &input.as_bytes()[whole.parts.range(REPLY)];
                prop_assert!(!whole.parts.has_plain_reply() || is_plain(reply));
                at = whole.end;
            }
            prop_assert_eq!(at, end);
        }
    }

    #[test]
    fn reply_subjects_that_differ_little_are_known_to_be_plain() {
        let acks = ["1.1", "2.2", "9.3", "1.4", "11.", ".11", "1.9", "*.8", "1.>", "2.9"];
        let mut input = String::new();
        for ack in acks {
            input += &frame("orders.eu", "7", &format!("$JS.ACK.S.c.1.2.3.{ack}"), false, "x");
        }
        input += "PING\r\nPING\r\nPING\r\n";
        let (decoder, mut whole, mut at) = (Decoder::new(Limits::default()), Whole::NONE, 0);
        for (number, ack) in acks.into_iter().enumerate() {
            assert!(decoder.whole_message(input.as_bytes(), at, &mut whole));
            let reply = &input.as_bytes()[whole.parts.range(REPLY)];
            assert!(reply.ends_with(ack.as_bytes()));
            // Of the first one nothing is known.
            let known = whole.parts.has_plain_reply();
            assert_eq!(known, number > 0 && is_plain(reply), "{ack}");
            at = whole.end;
        }
    }
}
