//! What the server says of a message that a consumer delivered: the tokens of its ack subject.

use midge_proto::{Message, SubjectRef};

/// Where a message stands in its stream and its consumer, as its reply subject says.
///
/// Both forms of that subject are read: `$JS.ACK.<stream>.<consumer>.…` and, with a domain and an
/// account, `$JS.ACK.<domain>.<account hash>.<stream>.<consumer>.…`, whatever follows it
/// (ADR-15). It borrows from the message and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The domain; `None` when it has no name, and with the first form.
    pub domain: Option<&'a str>,
    /// A hash of the name of the account; `None` with the first form.
    pub account_hash: Option<&'a str>,
    /// The stream.
    pub stream: &'a str,
    /// The consumer.
    pub consumer: &'a str,
    /// How often it has been delivered, this time included: 1 when it is the first.
    pub delivered: u64,
    /// Its number in the stream.
    pub stream_sequence: u64,
    /// The number of this delivery among all of the consumer.
    pub consumer_sequence: u64,
    /// When it was stored: nanoseconds since 1970-01-01 UTC, leap seconds not counted.
    pub timestamp: i64,
    /// Messages that match the consumer and were not delivered yet when this one was.
    pub pending: u64,
}

const PREFIX: &str = "$JS.ACK.";
/// Tokens of each form behind the prefix.
const FIRST: usize = 7;
const SECOND: usize = 9;

impl<'a> Delivery<'a> {
    /// Reads the reply subject of a message; `None` when no consumer has delivered it.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        Self::parse(message.reply_bytes()?)
    }

    /// Reads an ack subject; `None` when it is none.
    #[must_use]
    pub fn parse(reply: &'a [u8]) -> Option<Self> {
        let rest = core::str::from_utf8(reply).ok()?.strip_prefix(PREFIX)?;
        let mut tokens = [""; SECOND];
        let mut count = 0;
        for token in rest.split('.') {
            if token.is_empty() {
                return None;
            }
            if let Some(place) = tokens.get_mut(count) {
                *place = token;
            }
            count += 1;
        }
        let (domain, account_hash, tokens) = match count {
            FIRST => (None, None, &tokens[..FIRST]),
            SECOND.. => (Some(tokens[0]).filter(|it| *it != "_"), Some(tokens[1]), &tokens[2..]),
            _ => return None,
        };
        let number = |at: usize| tokens.get(at).and_then(|token| decimal(token));
        Some(Self {
            domain,
            account_hash,
            stream: tokens.first()?,
            consumer: tokens.get(1)?,
            delivered: number(2)?,
            stream_sequence: number(3)?,
            consumer_sequence: number(4)?,
            timestamp: i64::try_from(number(5)?).ok()?,
            pending: number(6)?,
        })
    }

    /// Whether it was delivered before.
    #[must_use]
    pub fn is_redelivery(&self) -> bool {
        self.delivered > 1
    }
}

/// Whether a message was delivered by a consumer: its reply subject is one for acks.
#[must_use]
pub fn is_delivered(message: &Message) -> bool {
    message.reply_bytes().is_some_and(|reply| reply.starts_with(PREFIX.as_bytes()))
}

/// The subject to ack a message on; `None` when no consumer has delivered it.
#[must_use]
pub fn ack_subject(message: &Message) -> Option<SubjectRef<'_>> {
    let reply = message.reply_bytes().filter(|reply| reply.starts_with(PREFIX.as_bytes()))?;
    SubjectRef::from_bytes(reply).ok().filter(|subject| !subject.has_wildcards())
}

/// Digits alone: no sign, which `str::parse` would take.
fn decimal(token: &str) -> Option<u64> {
    token.bytes().all(|byte| byte.is_ascii_digit()).then(|| token.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let first = Delivery::parse(b"$JS.ACK.S.c.2.18446744073709551615.3.1795297176763474374.9");
        let expected = Delivery {
            domain: None,
            account_hash: None,
            stream: "S",
            consumer: "c",
            delivered: 2,
            stream_sequence: u64::MAX,
            consumer_sequence: 3,
            timestamp: 1_795_297_176_763_474_374,
            pending: 9,
        };
        assert_eq!(first, Some(expected));
        let second = Delivery::parse(b"$JS.ACK.hub.AbC.S.c.1.7.3.5.0").unwrap();
        assert_eq!((second.domain, second.account_hash), (Some("hub"), Some("AbC")));
        assert_eq!((second.stream, second.stream_sequence, second.pending), ("S", 7, 0));
        assert!(!second.is_redelivery() && expected.is_redelivery());
    }

    #[test]
    fn a_domain_without_name_is_none_and_what_follows_is_left_out() {
        let read = Delivery::parse(b"$JS.ACK._.AbC.S.c.1.7.3.5.0.random.and.more").unwrap();
        assert_eq!((read.domain, read.account_hash), (None, Some("AbC")));
        assert_eq!((read.consumer, read.timestamp), ("c", 5));
    }

    #[test]
    fn what_is_no_ack_subject_is_refused() {
        for wrong in [
            "",
            "$JS.ACK.",
            "$JS.ACK.S.c.1.2.3.4",
            "$JS.ACK.S.c.1.2.3.4.5.6",
            "$JS.ACK.S.c.x.2.3.4.5",
            "$JS.ACK.S.c.+1.2.3.4.5",
            "$JS.ACK.S..1.2.3.4.5",
            "$JS.ACK.S.c.1.18446744073709551616.3.4.5",
            "$JS.ACK.S.c.1.2.3.9223372036854775808.5",
            "$JS.FC.S.c.1.2.3.4.5",
            "_INBOX.a",
        ] {
            assert_eq!(Delivery::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Delivery::parse(b"$JS.ACK.S\xff.c.1.2.3.4.5"), None);
    }
}
