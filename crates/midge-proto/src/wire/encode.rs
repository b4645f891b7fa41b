//! Writes operations, appended to a buffer: upper case, single blanks, CR LF.
//!
//! Names are written as they are. Take them from checked values ([`SubjectRef`](crate::SubjectRef),
//! [`QueueGroup`](crate::QueueGroup), [`HeaderMap`](crate::HeaderMap)) or from a decoded frame:
//! bytes with a blank or a line end in them would be read as something else.

use alloc::vec::Vec;

/// What a PUB or HPUB has at most besides names, headers and payload: the operation, blanks, two
/// numbers and line ends.
const MOST_BESIDES: usize = 5 + 3 + 2 * MOST_DIGITS + 4;
const MOST_DIGITS: usize = 20;

/// PUB, or HPUB when there is a header block. One reservation, then copies.
#[inline]
pub fn publish(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: Option<&[u8]>,
    headers: Option<&[u8]>,
    payload: &[u8],
) {
    let names = subject.len() + reply.map_or(0, <[u8]>::len);
    let total = headers.map_or(0, <[u8]>::len) + payload.len();
    out.reserve(names + total + MOST_BESIDES);
    if headers.is_none() {
        out.extend_from_slice(b"PUB ");
        token(out, subject);
        if let Some(reply) = reply {
            out.push(b' ');
            token(out, reply);
        }
        return size_and_payload(out, payload);
    }
    out.extend_from_slice(b"HPUB ");
    token(out, subject);
    out.push(b' ');
    body(out, reply, headers, payload);
}

/// PUB without a reply: the same as [`publish`] writes, by a shorter way.
#[inline(always)]
pub(crate) fn publish_plain(out: &mut Vec<u8>, subject: &[u8], payload: &[u8]) {
    out.reserve(subject.len() + payload.len() + MOST_BESIDES);
    out.extend_from_slice(b"PUB ");
    token(out, subject);
    size_and_payload(out, payload);
}

/// The exact length of what [`publish`] writes.
#[inline]
#[must_use]
pub fn publish_len(
    subject_len: usize,
    reply_len: Option<usize>,
    headers_len: Option<usize>,
    payload_len: usize,
) -> usize {
    let total = headers_len.unwrap_or(0) + payload_len;
    let headers = headers_len.map_or(0, |len| 1 + digits(len) + 1);
    let reply = reply_len.map_or(0, |len| len + 1);
    4 + subject_len + 1 + reply + headers + digits(total) + 2 + total + 2
}

/// SUB.
#[inline]
pub fn subscribe(out: &mut Vec<u8>, subject: &[u8], queue: Option<&[u8]>, sid: u64) {
    out.extend_from_slice(b"SUB ");
    token(out, subject);
    out.push(b' ');
    if let Some(queue) = queue {
        token(out, queue);
        out.push(b' ');
    }
    number(out, sid);
    out.extend_from_slice(b"\r\n");
}

/// UNSUB, at once or after `max` messages counted from the start of the subscription on this
/// connection.
#[inline]
pub fn unsubscribe(out: &mut Vec<u8>, sid: u64, max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    number(out, sid);
    if let Some(max) = max {
        out.push(b' ');
        number(out, max);
    }
    out.extend_from_slice(b"\r\n");
}

/// CONNECT with its JSON, see [`ConnectInfo`](super::ConnectInfo).
pub fn connect(out: &mut Vec<u8>, json: &[u8]) {
    debug_assert!(!json.contains(&b'\n'), "the JSON is on one line");
    out.extend_from_slice(b"CONNECT ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\r\n");
}

/// PING, in either direction.
#[inline]
pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PING\r\n");
}

/// PONG, in either direction.
#[inline]
pub fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PONG\r\n");
}

/// MSG, or HMSG when there is a header block. What a server sends.
pub fn message(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    headers: Option<&[u8]>,
    payload: &[u8],
) {
    out.extend_from_slice(if headers.is_some() { b"HMSG " } else { b"MSG " });
    token(out, subject);
    out.push(b' ');
    token(out, sid);
    out.push(b' ');
    body(out, reply, headers, payload);
}

/// INFO with its JSON, see [`ServerInfo`](super::ServerInfo). A blank precedes the line end, as
/// servers write it.
pub fn info(out: &mut Vec<u8>, json: &[u8]) {
    debug_assert!(!json.contains(&b'\n'), "the JSON is on one line");
    out.extend_from_slice(b"INFO ");
    out.extend_from_slice(json);
    out.extend_from_slice(b" \r\n");
}

/// `+OK`, which a server sends to a verbose client.
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// `-ERR` with its text in quotes, see [`ServerError::to_text`](super::ServerError::to_text).
/// Line ends in the text are written as blanks.
pub fn err(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR '");
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"'\r\n");
}

/// The rest of a PUB, HPUB, MSG or HMSG, from the reply on.
#[inline]
fn body(out: &mut Vec<u8>, reply: Option<&[u8]>, headers: Option<&[u8]>, payload: &[u8]) {
    if let Some(reply) = reply {
        token(out, reply);
        out.push(b' ');
    }
    let headers = match headers {
        Some(headers) => {
            let (text, len) = small(headers.len(), *b" ");
            if len > 0 {
                append(out, &text, len);
            } else {
                number(out, headers.len() as u64);
                out.push(b' ');
            }
            headers
        }
        None => &[],
    };
    let size = headers.len() + payload.len();
    let (text, len) = small(size, *b"\r\n");
    if len > 0 {
        append(out, &text, len);
    } else {
        size_and_line_end(out, size);
    }
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn token(out: &mut Vec<u8>, token: &[u8]) {
    debug_assert!(!token.is_empty(), "an argument has a byte");
    debug_assert!(
        !token.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n')),
        "an argument has no blank and no line end"
    );
    out.extend_from_slice(token);
}

#[inline]
fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A number of one to three digits and what is behind it, and how many bytes that is; 0 of a larger one.
#[inline(always)]
fn small<const N: usize>(number: usize, end: [u8; N]) -> ([u8; 8], usize) {
    let digit = |unit: usize| b'0' + (number / unit % 10) as u8;
    let mut text = [digit(100), digit(10), digit(1), 0, 0, 0, 0, 0];
    let skipped = match number {
        0..10 => 2,
        10..100 => 1,
        100..1000 => 0,
        _ => return (text, 0),
    };
    text[3..3 + N].copy_from_slice(&end);
    let text = u64::from_le_bytes(text) >> (8 * skipped);
    (text.to_le_bytes(), 3 + N - skipped)
}

/// Appends the first `len` of eight bytes: a copy of known length is a store; what it copies too much is
/// cut off again.
#[inline(always)]
fn append(out: &mut Vec<u8>, text: &[u8; 8], len: usize) {
    out.extend_from_slice(text);
    out.truncate(out.len() + len - text.len());
}

/// The rest of a PUB without a reply: a blank, the size, and the payload.
#[inline(always)]
fn size_and_payload(out: &mut Vec<u8>, payload: &[u8]) {
    let size = payload.len();
    // A copy of known length is a store or two; what it copies too much is cut off again.
    if size < 1000 {
        let digit = |unit: usize| b'0' + (size / unit % 10) as u8;
        let (len, line) = if size < 10 {
            (4, [b' ', digit(1), b'\r', b'\n', 0, 0, 0, 0])
        } else if size < 100 {
            (5, [b' ', digit(10), digit(1), b'\r', b'\n', 0, 0, 0])
        } else {
            (6, [b' ', digit(100), digit(10), digit(1), b'\r', b'\n', 0, 0])
        };
        out.extend_from_slice(&line);
        out.truncate(out.len() + len - line.len());
    } else {
        out.push(b' ');
        size_and_line_end(out, size);
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// The last argument of a line, and the line's end.
#[inline]
fn size_and_line_end(out: &mut Vec<u8>, size: usize) {
    const DIGITS: usize = 9;
    const LEN: usize = DIGITS + 2;
    let Some(mut rest) = u32::try_from(size).ok().filter(|size| *size <= 999_999_999) else {
        number(out, size as u64);
        return out.extend_from_slice(b"\r\n");
    };
    let mut text = *b"000000000\r\n00000000";
    let mut start = DIGITS;
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // A copy of known length is two stores; what it copies too much is cut off again.
    out.extend_from_slice(&text[start..start + LEN]);
    out.truncate(out.len() - start);
}

/// The largest size that a line states.
pub(crate) const MOST: usize = 999_999_999;
/// The most bytes of it in a line: a blank, digits, and the line's end.
pub(crate) const SIZE: usize = 1 + 9 + 2;

/// A size that is not above [`MOST`], between a blank and the line's end, and how many bytes that is.
#[inline]
pub(crate) fn size_text(size: usize) -> ([u8; SIZE], usize) {
    let mut text = *b" 000000000\r\n000000000";
    let (mut rest, mut start) = (size as u32, SIZE - 3);
    loop {
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 || start == 0 {
            break;
        }
    }
    text[start] = b' ';
    let mut front = [0; SIZE];
    front.copy_from_slice(&text[start..start + SIZE]);
    (front, SIZE - start)
}

/// The digits of a size: few, so that a loop is the short way.
#[inline]
fn digits(mut number: usize) -> usize {
    let mut digits = 1;
    while number >= 10 {
        number /= 10;
        digits += 1;
    }
    digits
}
