//! What a server's parser sees at the start of its input, before it takes an operation apart.

/// The first operation of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<'a> {
    /// Its line goes on behind the input.
    More,
    /// No operation begins like this.
    Unknown,
    /// Its arguments are longer than the limit.
    TooLong,
    /// A whole line.
    Line {
        operation: Operation,
        /// Without the blanks in front and the line end.
        arguments: &'a [u8],
        /// The line with its end.
        len: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Ok,
    Info,
    Err,
}

/// What may follow the name of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// A blank, then arguments.
    Blank,
    /// Arguments, with or without a blank.
    Arguments,
    /// Anything, which is skipped up to the line end and has no limit.
    Anything,
}

const OPERATIONS: [(&[u8], Operation, Behind); 10] = [
    (b"PUB", Operation::Pub, Behind::Blank),
    (b"HPUB", Operation::Hpub, Behind::Blank),
    (b"SUB", Operation::Sub, Behind::Blank),
    (b"UNSUB", Operation::Unsub, Behind::Blank),
    (b"PING", Operation::Ping, Behind::Anything),
    (b"PONG", Operation::Pong, Behind::Anything),
    (b"CONNECT", Operation::Connect, Behind::Arguments),
    (b"INFO", Operation::Info, Behind::Arguments),
    (b"+OK", Operation::Ok, Behind::Anything),
    (b"-ERR", Operation::Err, Behind::Blank),
];

/// Looks at the operation at the start of `input`, whose arguments may have `limit` bytes.
pub(super) fn look(input: &[u8], limit: usize) -> Look<'_> {
    let mut more = input.is_empty();
    for (name, operation, behind) in OPERATIONS {
        let known = name.len().min(input.len());
        if !input[..known].eq_ignore_ascii_case(&name[..known]) {
            continue;
        }
        if known == name.len() {
            return line(input, name.len(), operation, behind, limit);
        }
        more = true;
    }
    if more { Look::More } else { Look::Unknown }
}

fn line(input: &[u8], name: usize, operation: Operation, behind: Behind, limit: usize) -> Look<'_> {
    let rest = &input[name..];
    let blanks = rest.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    if behind == Behind::Blank && blanks == 0 && !rest.is_empty() {
        return Look::Unknown;
    }
    let rest = &rest[blanks..];
    let end = rest.iter().position(|&byte| byte == b'\n');
    let arguments = &rest[..end.unwrap_or(rest.len())];
    let arguments = arguments.strip_suffix(b"\r").unwrap_or(arguments);
    if behind != Behind::Anything && arguments.len() > limit {
        return Look::TooLong;
    }
    match end {
        None => Look::More,
        Some(end) => Look::Line { operation, arguments, len: name + blanks + end + 1 },
    }
}
