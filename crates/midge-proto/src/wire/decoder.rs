//! Reads what a server sends, as it arrives. MSG and HMSG, as servers spell them, take a short way in
//! one pass; the tests hold all of it equal to the [`grammar`](super::grammar).

use memchr::memchr;

use super::{DecodeError, Frame, Layout, Limits, Span, Step};

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
            && let Some(body) = at_once(input)
            && body.line <= self.limits.control_line
        {
            return self.message(input, body);
        }
        self.line(input)
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
                self.message(input, lenient::<false>(line, 3)?.body::<false>(len)?)
            }
            [b'H' | b'h', b'M' | b'm', b'S' | b's', b'G' | b'g', ..] => {
                self.message(input, lenient::<true>(line, 4)?.body::<true>(len)?)
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

    #[inline]
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
#[inline]
fn finish(input: &[u8], body: Body) -> Result<Step, DecodeError> {
    match input.get(body.total - 2..body.total) {
        Some(b"\r\n") => Ok(Step::Frame { frame: Frame::Message(body.layout), len: body.total }),
        Some(_) => Err(DecodeError::MissingCrlf),
        None => Ok(Step::Incomplete { need: body.total }),
    }
}

/// What `MSG subject sid [reply] total` or `HMSG subject sid [reply] hlen total` says.
struct Arguments {
    sid: Option<u64>,
    subject: Span,
    reply: Option<Span>,
    headers: usize,
    total: usize,
}

impl Arguments {
    /// They stand in a line of `len` bytes.
    #[inline]
    fn body<const HMSG: bool>(self, len: usize) -> Result<Body, DecodeError> {
        if self.headers > self.total {
            return Err(DecodeError::BadSize);
        }
        let payload = len + self.headers;
        let layout = Layout {
            sid: self.sid,
            subject: self.subject,
            reply: self.reply,
            headers: HMSG.then(|| Span::new(len, payload)),
            payload: Span::new(payload, len + self.total),
        };
        Ok(Body { layout, line: len, total: len + self.total + 2 })
    }
}

/// The line of a MSG or HMSG in the spelling that servers use: upper case, single blanks, CR LF, a
/// sid of at most 18 digits. `None` for any other, for what is wrong, and for one that is not here
/// whole.
#[inline]
fn at_once(input: &[u8]) -> Option<Body> {
    match input.first_chunk()? {
        b"MSG " => arguments::<false>(input, 4),
        b"HMSG" if input.get(4) == Some(&b' ') => arguments::<true>(input, 5),
        _ => None,
    }
}

#[inline]
fn arguments<const HMSG: bool>(input: &[u8], start: usize) -> Option<Body> {
    let subject = token(input, start)?;
    let (sid, at) = digits(input, subject.end as usize + 1, 18)?;
    let mut at = behind(input, at, b' ')?;
    let mut reply = None;
    if !input.get(at)?.is_ascii_digit() {
        let found = token(input, at)?;
        at = found.end as usize + 1;
        reply = Some(found);
    }
    let mut headers = 0;
    if HMSG {
        let (size, end) = digits(input, at, 9)?;
        headers = size as usize;
        at = behind(input, end, b' ')?;
    }
    let (total, end) = digits(input, at, 9)?;
    let len = behind(input, behind(input, end, b'\r')?, b'\n')?;
    let total = total as usize;
    Arguments { sid: Some(sid), subject, reply, headers, total }.body::<HMSG>(len).ok()
}

/// The place behind `byte`, if it stands at `at`.
#[inline]
fn behind(input: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*input.get(at)? == byte).then_some(at + 1)
}

/// What lies between `start` and the next blank, eight bytes a time. `None` when that is nothing, when
/// a control byte comes first, or when the input ends too near.
#[inline]
fn token(input: &[u8], start: usize) -> Option<Span> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let mut at = start;
    loop {
        let word = u64::from_le_bytes(*input.get(at..)?.first_chunk()?);
        // The lowest bit is that of the first byte up to a blank. Those above it may be wrong.
        let ends = word.wrapping_sub(ONES * 0x21) & !word & HIGH_BITS;
        if ends != 0 {
            let before = ends.trailing_zeros() & !7;
            let end = at + (before / 8) as usize;
            let is_blank = (word >> before) as u8 == b' ';
            return (is_blank && end > start).then(|| Span::new(start, end));
        }
        at += 8;
    }
}

/// A number of one to `most` digits at `start`, and where it ends.
#[inline]
fn digits(line: &[u8], start: usize, most: usize) -> Option<(u64, usize)> {
    let mut number: u64 = 0;
    let mut at = start;
    while let Some(byte) = line.get(at)
        && let digit = byte.wrapping_sub(b'0')
        && digit < 10
    {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (at > start && at - start <= most).then_some((number, at))
}

/// The arguments in any spelling.
#[cold]
fn lenient<const HMSG: bool>(line: &[u8], op: usize) -> Result<Arguments, DecodeError> {
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
    Ok(Arguments {
        sid: number(text(1)),
        subject: tokens[0],
        reply: (count == most).then_some(tokens[2]),
        headers,
        total: size(text(count - 1))?,
    })
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
    match digits(token, 0, 9) {
        Some((size, end)) if end == token.len() => Ok(size as usize),
        _ => Err(DecodeError::BadSize),
    }
}

/// A decimal number of 64 bits.
fn number(token: &[u8]) -> Option<u64> {
    token.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[inline]
const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
