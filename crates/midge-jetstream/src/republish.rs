//! What a republished message says of the stored one (ADR-28).

use core::str::FromStr;

use midge_proto::{Headers, Message};

use crate::time::Time;

/// Where a republished message is stored: the headers that the server adds.
///
/// ```
/// use midge_jetstream::Republished;
/// # use midge_proto::{HeaderMap, Message, SubjectRef};
/// # let mut headers = HeaderMap::new();
/// # for (name, value) in [
/// #     ("Nats-Stream", "orders"), ("Nats-Subject", "orders.1"), ("Nats-Sequence", "7"),
/// #     ("Nats-Time-Stamp", "2026-04-01T12:00:00Z"), ("Nats-Last-Sequence", "3"),
/// # ] {
/// #     headers.append(name, value).unwrap();
/// # }
/// # let message = Message::from_parts(SubjectRef::new("copy.1").unwrap(), None, Some(&headers), b"");
///
/// let stored = Republished::of(&message).unwrap();
/// assert_eq!((stored.stream, stored.sequence, stored.last_sequence), ("orders", 7, 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Republished<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The subject that it is stored with.
    pub subject: &'a str,
    /// Its place in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub time: Time,
    /// The sequence of the message before it of the same subject; 0: it is the first. Who has seen
    /// another one has missed messages of the subject.
    pub last_sequence: u64,
    /// The size of its payload, when it came without.
    pub size: Option<u64>,
}

impl<'a> Republished<'a> {
    /// What the headers of a message say; `None` when it is not republished.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        let headers = message.headers()?;
        Some(Self {
            stream: last(headers, "Nats-Stream")?,
            subject: last(headers, "Nats-Subject")?,
            sequence: parsed(headers, "Nats-Sequence")?,
            time: parsed(headers, "Nats-Time-Stamp")?,
            last_sequence: parsed(headers, "Nats-Last-Sequence")?,
            size: parsed(headers, "Nats-Msg-Size"),
        })
    }
}

/// The last one of a name: the server adds its own behind those of the message.
fn last<'a>(headers: Headers<'a>, name: &str) -> Option<&'a str> {
    core::str::from_utf8(headers.get_all(name).last()?).ok()
}

fn parsed<T: FromStr>(headers: Headers<'_>, name: &str) -> Option<T> {
    last(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use midge_proto::{HeaderMap, SubjectRef};

    use super::*;

    fn message(lines: &[(&str, &str)]) -> Message {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value).unwrap();
        }
        Message::from_parts(SubjectRef::new("copy").unwrap(), None, Some(&headers), b"")
    }

    const ADDED: [(&str, &str); 6] = [
        ("Nats-Stream", "s"),
        ("Nats-Subject", "a"),
        ("Nats-Sequence", "7"),
        ("Nats-Time-Stamp", "2026-04-01T12:00:00Z"),
        ("Nats-Last-Sequence", "3"),
        ("Nats-Msg-Size", "5"),
    ];

    #[test]
    fn headers_of_the_message_do_not_pass_for_those_of_the_server() {
        let mut lines = vec![("Nats-Subject", "forged"), ("Nats-Sequence", "1")];
        lines.extend(ADDED);
        let message = message(&lines);
        let stored = Republished::of(&message).unwrap();
        assert_eq!((stored.subject, stored.sequence, stored.size), ("a", 7, Some(5)));
    }

    #[test]
    fn a_message_without_one_of_them_is_not_republished() {
        for missing in 0..5 {
            let mut lines = ADDED.to_vec();
            lines.remove(missing);
            assert_eq!(Republished::of(&message(&lines)), None, "{missing}");
        }
    }
}
