//! Reads what a client sends: the other direction, for servers in tests, models and proxies.

use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::combinator::value;
use nom::sequence::terminated;
use nom::{IResult, Parser};

use super::grammar::{body, end_of_token, line, number, sizes, tokens, trimmed};
use super::{DecodeError, Limits};

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientOp<'a> {
    /// CONNECT; the JSON without the blanks around it.
    Connect(&'a [u8]),
    /// PUB, or HPUB when it has headers.
    Publish {
        /// The subject, never empty and otherwise unchecked.
        subject: &'a [u8],
        /// The reply subject, never empty and otherwise unchecked.
        reply: Option<&'a [u8]>,
        /// The header block, possibly empty. A server delivers an empty one as none.
        headers: Option<&'a [u8]>,
        /// The payload.
        payload: &'a [u8],
    },
    /// SUB.
    Subscribe {
        /// The subject, never empty and otherwise unchecked.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The client's name of the subscription: any token, which messages repeat.
        sid: &'a [u8],
    },
    /// UNSUB.
    Unsubscribe {
        /// The subscription.
        sid: &'a [u8],
        /// Messages after which it ends. `None`, 0, and as on servers anything that is not a
        /// number (read as `None`) end it at once.
        max: Option<u64>,
    },
    /// PING.
    Ping,
    /// PONG.
    Pong,
    /// `+OK` or INFO, which a server accepts from a client and ignores.
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Ignored,
}

/// Reads the operation at the start of `input` and tells its length; `None` when it goes on
/// behind the input.
///
/// Every line, CONNECT too, is held to `limits.control_line`.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are no operation within the limits. A server answers
/// [`UnknownOperation`](DecodeError::UnknownOperation) and
/// [`MissingCrlf`](DecodeError::MissingCrlf) with "Unknown Protocol Operation", a line that is too
/// long with "maximum control line exceeded", and closes without a word at the others.
pub fn decode_client<'a>(
    input: &'a [u8],
    limits: &Limits,
) -> Result<Option<(ClientOp<'a>, usize)>, DecodeError> {
    let limits = limits.clamped();
    match input.first() {
        None => return Ok(None),
        Some(b'C' | b'c' | b'P' | b'p' | b'H' | b'h' | b'S' | b's' | b'U' | b'u') => {}
        Some(b'+' | b'I' | b'i') => {}
        Some(_) => return Err(DecodeError::UnknownOperation),
    }
    let Some((line, len)) = line(input, limits.control_line)? else {
        return Ok(None);
    };
    let (arguments, operation) = operation(line).map_err(|_| DecodeError::UnknownOperation)?;
    let op = match operation {
        Operation::Ping => ClientOp::Ping,
        Operation::Pong => ClientOp::Pong,
        Operation::Ignored => ClientOp::Ignored,
        _ if arguments.is_empty() => return Err(DecodeError::UnknownOperation),
        Operation::Connect => match trimmed(arguments) {
            [] => return Err(DecodeError::BadArguments),
            json => ClientOp::Connect(json),
        },
        Operation::Sub => match tokens(arguments)[..] {
            [subject, sid] => ClientOp::Subscribe { subject, queue: None, sid },
            [subject, queue, sid] => ClientOp::Subscribe { subject, queue: Some(queue), sid },
            _ => return Err(DecodeError::BadArguments),
        },
        Operation::Unsub => match tokens(arguments)[..] {
            [sid] => ClientOp::Unsubscribe { sid, max: None },
            [sid, max] => ClientOp::Unsubscribe { sid, max: number(max) },
            _ => return Err(DecodeError::BadArguments),
        },
        Operation::Pub | Operation::Hpub => {
            let hpub = operation == Operation::Hpub;
            return publish(input, len, arguments, hpub, &limits);
        }
    };
    Ok(Some((op, len)))
}

fn publish<'a>(
    input: &'a [u8],
    len: usize,
    arguments: &'a [u8],
    hpub: bool,
    limits: &Limits,
) -> Result<Option<(ClientOp<'a>, usize)>, DecodeError> {
    let (subject, reply, headers, total) = match (hpub, &tokens(arguments)[..]) {
        (false, &[subject, total]) => (subject, None, None, total),
        (false, &[subject, reply, total]) => (subject, Some(reply), None, total),
        (true, &[subject, headers, total]) => (subject, None, Some(headers), total),
        (true, &[subject, reply, headers, total]) => (subject, Some(reply), Some(headers), total),
        _ => return Err(DecodeError::BadArguments),
    };
    let (headers, total) = sizes(headers, total)?;
    let frame = len + total + 2;
    if frame > limits.frame {
        return Err(DecodeError::FrameTooLarge);
    }
    let Some((headers, payload)) = body(&input[len..], headers, total)? else {
        return Ok(None);
    };
    Ok(Some((ClientOp::Publish { subject, reply, headers, payload }, frame)))
}

fn operation(line: &[u8]) -> IResult<&[u8], Operation> {
    let name = alt((
        value(Operation::Connect, tag_no_case("CONNECT")),
        value(Operation::Pub, tag_no_case("PUB")),
        value(Operation::Hpub, tag_no_case("HPUB")),
        value(Operation::Sub, tag_no_case("SUB")),
        value(Operation::Unsub, tag_no_case("UNSUB")),
        value(Operation::Ping, tag_no_case("PING")),
        value(Operation::Pong, tag_no_case("PONG")),
        value(Operation::Ignored, tag_no_case("+OK")),
        value(Operation::Ignored, tag_no_case("INFO")),
    ));
    terminated(name, end_of_token).parse(line)
}
