//! The grammar of the protocol, stated with `nom`: the reference that the tests hold the
//! hand-written [`Decoder`](super::Decoder) and [`Headers`](crate::Headers) to.
//!
//! ```text
//! line    = op *( 1*blank arg ) *blank [CR] LF          blank = SP / HTAB, ops in any case
//! INFO    = "INFO" json              PING, PONG, +OK    = op *( arg )
//! -ERR    = "-ERR" ["'"] text ["'"]
//! MSG     = "MSG"  subject sid [reply] total            line, then total bytes, then CR LF
//! HMSG    = "HMSG" subject sid [reply] hlen total       hlen <= total, counted in it
//! hlen, total = 1*9DIGIT
//! block   = "NATS/1.0" [ 1*blank 3DIGIT [text] ] CRLF *( name ":" *blank value *blank CRLF ) CRLF
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use nom::branch::alt;
use nom::bytes::complete::{
    tag, tag_no_case, take, take_till, take_while, take_while_m_n, take_while1,
};
use nom::bytes::streaming;
use nom::character::complete::{char, hex_digit1, one_of};
use nom::combinator::{all_consuming, map, map_opt, map_parser, opt, peek, rest, value, verify};
use nom::error::Error;
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded, terminated};
use nom::{Err, IResult, Offset, Parser};

use super::{DecodeError, Frame, Layout, Limits, Span, Step};

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Reads the frame at the start of `input`, from scratch.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are no frame within the limits.
pub fn decode_server(input: &[u8], limits: &Limits) -> Result<Step, DecodeError> {
    let limits = limits.clamped();
    let Some(first) = input.get(..1) else {
        return Ok(Step::Incomplete { need: 0 });
    };
    let limit = alt((
        value(limits.info, one_of::<_, _, Error<&[u8]>>("Ii")),
        value(limits.control_line, one_of("MmHhPp+-")),
    ))
    .parse(first)
    .map_err(|_| DecodeError::UnknownOperation)?
    .1;
    let Some((line, len)) = line(input, limit)? else {
        return Ok(Step::Incomplete { need: 0 });
    };

    let (arguments, operation) = operation(line).map_err(|_| DecodeError::UnknownOperation)?;
    let span = |part: &[u8]| {
        let start = input.offset(part);
        Span::new(start, start + part.len())
    };
    let frame = match operation {
        Operation::Ping => Frame::Ping,
        Operation::Pong => Frame::Pong,
        Operation::Ok => Frame::Ok,
        Operation::Err => Frame::Err(span(error_text(arguments))),
        Operation::Info => match trimmed(arguments) {
            [] => return Err(DecodeError::BadArguments),
            json => Frame::Info(span(json)),
        },
        Operation::Msg | Operation::Hmsg => {
            let message = message(arguments, operation == Operation::Hmsg)?;
            let total = len + message.total + 2;
            if total > limits.frame {
                return Err(DecodeError::FrameTooLarge);
            }
            let Some((headers, payload)) = body(&input[len..], message.headers, message.total)?
            else {
                return Ok(Step::Incomplete { need: total });
            };
            let layout = Layout {
                sid: number(message.sid),
                subject: span(message.subject),
                reply: message.reply.map(span),
                headers: headers.map(span),
                payload: span(payload),
            };
            return Ok(Step::Frame { frame: Frame::Message(layout), len: total });
        }
    };
    Ok(Step::Frame { frame, len })
}

/// A header block that is exactly as ADR-4 defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock<'a> {
    /// Code and description of the status, if any.
    pub status: Option<(u16, &'a [u8])>,
    /// Names and values in order, without the blanks around values.
    pub entries: Vec<(&'a [u8], &'a [u8])>,
}

/// Reads a whole header block; `None` when a byte of it is out of place.
#[must_use]
pub fn header_block(block: &[u8]) -> Option<HeaderBlock<'_>> {
    let status = preceded(blanks1, (status_code, map(not_line_end, trimmed)));
    let version = delimited(tag("NATS/1.0"), opt(status), (blanks0, tag("\r\n")));
    let name = take_while1(|byte: u8| byte.is_ascii_graphic() && byte != b':');
    let entry = (terminated(name, char(':')), terminated(map(not_line_end, trimmed), tag("\r\n")));
    let block_parser = (version, terminated(many0(entry), tag("\r\n")));
    let (_, (status, entries)) = all_consuming(block_parser).parse(block).ok()?;
    Some(HeaderBlock { status, entries })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Info,
    Msg,
    Hmsg,
    Ping,
    Pong,
    Ok,
    Err,
}

fn operation(line: &[u8]) -> Parsed<'_, Operation> {
    let name = alt((
        value(Operation::Info, tag_no_case("INFO")),
        value(Operation::Msg, tag_no_case("MSG")),
        value(Operation::Hmsg, tag_no_case("HMSG")),
        value(Operation::Ping, tag_no_case("PING")),
        value(Operation::Pong, tag_no_case("PONG")),
        value(Operation::Ok, tag_no_case("+OK")),
        value(Operation::Err, tag_no_case("-ERR")),
    ));
    terminated(name, end_of_token).parse(line)
}

struct MessageLine<'a> {
    subject: &'a [u8],
    sid: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: Option<usize>,
    total: usize,
}

fn message(arguments: &[u8], hmsg: bool) -> Result<MessageLine<'_>, DecodeError> {
    let tokens = tokens(arguments);
    let (subject, sid, reply, headers, total) = match (hmsg, &tokens[..]) {
        (false, &[subject, sid, total]) => (subject, sid, None, None, total),
        (false, &[subject, sid, reply, total]) => (subject, sid, Some(reply), None, total),
        (true, &[subject, sid, hlen, total]) => (subject, sid, None, Some(hlen), total),
        (true, &[subject, sid, reply, hlen, total]) => {
            (subject, sid, Some(reply), Some(hlen), total)
        }
        _ => return Err(DecodeError::BadArguments),
    };
    let (headers, total) = sizes(headers, total)?;
    Ok(MessageLine { subject, sid, reply, headers, total })
}

/// The line at the start of `input` without its end, and its length with it; `None` when it goes
/// on behind the input.
pub(super) fn line(input: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, DecodeError> {
    let window = &input[..input.len().min(limit)];
    let mut until_lf = terminated(streaming::take_till(|byte| byte == b'\n'), streaming::tag("\n"));
    let parsed: Parsed<'_, &[u8]> = until_lf.parse(window);
    match parsed {
        Ok((behind, line)) => {
            let line_without_cr = line.strip_suffix(b"\r").unwrap_or(line);
            Ok(Some((line_without_cr, window.offset(behind))))
        }
        Err(_) if window.len() == limit => Err(DecodeError::LineTooLong),
        Err(_) => Ok(None),
    }
}

/// The arguments on a line.
pub(super) fn tokens(arguments: &[u8]) -> Vec<&[u8]> {
    let token = take_while1(|byte| !is_blank(byte));
    let parsed: Parsed<'_, Vec<&[u8]>> = many0(preceded(blanks0, token)).parse(arguments);
    parsed.map_or_else(|_| Vec::new(), |(_, tokens)| tokens)
}

/// The sizes of headers and of the whole body.
pub(super) fn sizes(
    headers: Option<&[u8]>,
    total: &[u8],
) -> Result<(Option<usize>, usize), DecodeError> {
    let headers = headers.map(size).transpose()?;
    let total = size(total)?;
    if headers.is_some_and(|headers| headers > total) {
        return Err(DecodeError::BadSize);
    }
    Ok((headers, total))
}

fn size(token: &[u8]) -> Result<usize, DecodeError> {
    let digits = take_while_m_n(1, 9, |byte: u8| byte.is_ascii_digit());
    let parsed: Parsed<'_, &[u8]> = all_consuming(digits).parse(token);
    let (_, digits) = parsed.map_err(|_| DecodeError::BadSize)?;
    let number = number(digits).and_then(|number| usize::try_from(number).ok());
    number.ok_or(DecodeError::BadSize)
}

/// A decimal number of 64 bits.
pub(super) fn number(token: &[u8]) -> Option<u64> {
    let digits = take_while1(|byte: u8| byte.is_ascii_digit());
    let parsed: Parsed<'_, &[u8]> = all_consuming(digits).parse(token);
    core::str::from_utf8(parsed.ok()?.1).ok()?.parse().ok()
}

/// Header block and payload of a frame.
pub(super) type BodyParts<'a> = (Option<&'a [u8]>, &'a [u8]);

/// The body at the start of `input` with the CR LF behind it; `None` when it goes on behind the
/// input.
pub(super) fn body(
    input: &[u8],
    headers: Option<usize>,
    total: usize,
) -> Result<Option<BodyParts<'_>>, DecodeError> {
    let parsed: Parsed<'_, &[u8]> = streaming::take(total + 2).parse(input);
    let framed = match parsed {
        Ok((_, framed)) => framed,
        Err(Err::Incomplete(_)) => return Ok(None),
        Err(_) => return Err(DecodeError::MissingCrlf),
    };
    let parts = (take(headers.unwrap_or(0)), take(total - headers.unwrap_or(0)), tag("\r\n"));
    let parsed: Parsed<'_, (&[u8], &[u8], &[u8])> = all_consuming(parts).parse(framed);
    let (_, (block, payload, _)) = parsed.map_err(|_| DecodeError::MissingCrlf)?;
    Ok(Some((headers.map(|_| block), payload)))
}

/// Succeeds at a blank and at the end, without consuming.
pub(super) fn end_of_token(input: &[u8]) -> Parsed<'_, ()> {
    value(
        (),
        verify(peek(take_while_m_n(0, 1, |_| true)), |next: &[u8]| {
            next.iter().copied().all(is_blank)
        }),
    )
    .parse(input)
}

/// `text` without the blanks around it.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let parsed: Parsed<'_, &[u8]> = preceded(blanks0, rest).parse(text);
    let text = parsed.map_or(text, |(_, text)| text);
    match text.iter().rposition(|&byte| !is_blank(byte)) {
        Some(last) => &text[..=last],
        None => &text[..0],
    }
}

/// The text of an error without the blanks and quotes around it.
fn error_text(arguments: &[u8]) -> &[u8] {
    let text = trimmed(arguments);
    let text = text.strip_prefix(b"'").unwrap_or(text);
    trimmed(text.strip_suffix(b"'").unwrap_or(text))
}

/// A name in double quotes, with the escapes of Go's `%q`, as servers put it into errors.
pub(super) fn quoted(input: &[u8]) -> Option<(String, &[u8])> {
    let plain = map(take_while1(|byte| !matches!(byte, b'"' | b'\\')), Vec::from);
    let parts = fold_many0(alt((plain, escape)), Vec::new, |mut bytes: Vec<u8>, part| {
        bytes.extend(part);
        bytes
    });
    let (behind, bytes) = delimited(char('"'), parts, char('"')).parse(input).ok()?;
    Some((String::from_utf8_lossy(&bytes).into_owned(), behind))
}

fn escape(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    let single = map_opt(take(1_usize), |byte: &[u8]| {
        Some(alloc::vec![match byte {
            b"a" => 0x07,
            b"b" => 0x08,
            b"t" => b'\t',
            b"n" => b'\n',
            b"v" => 0x0b,
            b"f" => 0x0c,
            b"r" => b'\r',
            b"\\" | b"\"" | b"'" => byte[0],
            _ => return None,
        }])
    });
    let byte = map_opt(preceded(char('x'), hex(2)), |code| {
        u8::try_from(code).ok().map(|byte| alloc::vec![byte])
    });
    let character =
        map_opt(alt((preceded(char('u'), hex(4)), preceded(char('U'), hex(8)))), |code| {
            char::from_u32(code).map(|character| String::from(character).into_bytes())
        });
    preceded(char('\\'), alt((single, byte, character))).parse(input)
}

fn hex<'a>(digits: usize) -> impl Parser<&'a [u8], Output = u32, Error = Error<&'a [u8]>> {
    map_opt(map_parser(take(digits), all_consuming(hex_digit1)), |digits: &[u8]| {
        u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
    })
}

fn status_code(input: &[u8]) -> Parsed<'_, u16> {
    let digits =
        verify(take_while(|byte: u8| byte.is_ascii_digit()), |digits: &[u8]| digits.len() == 3);
    map_opt(digits, |digits| number(digits).and_then(|code| u16::try_from(code).ok())).parse(input)
}

fn not_line_end(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_till(|byte| matches!(byte, b'\r' | b'\n')).parse(input)
}

fn blanks0(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(is_blank).parse(input)
}

fn blanks1(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while1(is_blank).parse(input)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
