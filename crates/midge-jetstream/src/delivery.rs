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

/// The numbers of a [`Delivery`], without its names: for those who read many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryNumbers {
    /// How often it has been delivered, this time included.
    pub delivered: u64,
    /// Its number in the stream.
    pub stream_sequence: u64,
    /// The number of this delivery among all of the consumer.
    pub consumer_sequence: u64,
    /// When it was stored, as [`Delivery::timestamp`].
    pub timestamp: i64,
    /// Messages that match the consumer and were not delivered yet when this one was.
    pub pending: u64,
}

impl DeliveryNumbers {
    /// Reads the reply subject of a message; `None` when no consumer has delivered it.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        Tokens::of(message.reply_bytes()?)?.numbers()
    }
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
        let tokens = Tokens::of(reply)?;
        let text = |at| core::str::from_utf8(tokens.get(at)?).ok();
        let numbers = tokens.numbers()?;
        let names = tokens.names();
        Some(Self {
            domain: if names == 0 { None } else { text(0).filter(|it| *it != "_") },
            account_hash: if names == 0 { None } else { text(1) },
            stream: text(names)?,
            consumer: text(names + 1)?,
            delivered: numbers.delivered,
            stream_sequence: numbers.stream_sequence,
            consumer_sequence: numbers.consumer_sequence,
            timestamp: numbers.timestamp,
            pending: numbers.pending,
        })
    }

    /// Whether it was delivered before.
    #[must_use]
    pub fn is_redelivery(&self) -> bool {
        self.delivered > 1
    }
}

/// Whether a message was delivered by a consumer: its reply subject is one for acks.
#[inline]
#[must_use]
pub fn is_delivered(message: &Message) -> bool {
    message.reply_bytes().is_some_and(|reply| reply.starts_with(PREFIX.as_bytes()))
}

/// The subject to ack a message on; `None` when no consumer has delivered it.
#[inline]
#[must_use]
pub fn ack_subject(message: &Message) -> Option<SubjectRef<'_>> {
    if !is_delivered(message) {
        return None;
    }
    message.reply_subject()?.ok().filter(|subject| !subject.has_wildcards())
}

/// The first tokens of an ack subject behind its prefix.
struct Tokens<'a> {
    reply: &'a [u8],
    /// Where each ends; the first place is the end of the prefix.
    ends: [usize; SECOND + 1],
    /// How many there are in all.
    count: usize,
}

impl<'a> Tokens<'a> {
    /// `None` unless it is UTF-8 with the prefix, and enough tokens, none of them empty.
    #[inline]
    fn of(reply: &'a [u8]) -> Option<Self> {
        let rest = reply.strip_prefix(PREFIX.as_bytes())?;
        let mut ends = [PREFIX.len() - 1; SECOND + 1];
        let (mut count, mut last, mut at, mut seen) = (0, PREFIX.len() - 1, PREFIX.len(), 0);
        let mut each_dot = |word: u64, at: usize| {
            let mut dots = dots(word);
            while dots != 0 {
                let end = at + dots.trailing_zeros() as usize / 8;
                if end == last + 1 {
                    return None;
                }
                (last, count) = (end, count + 1);
                if let Some(place) = ends.get_mut(count) {
                    *place = end;
                }
                dots &= dots - 1;
            }
            seen |= word;
            Some(())
        };
        let (words, tail) = rest.as_chunks::<8>();
        for word in words {
            each_dot(u64::from_le_bytes(*word), at)?;
            at += 8;
        }
        if !tail.is_empty() {
            // The last eight bytes, of which those before are shifted out.
            let word = u64::from_le_bytes(*reply.last_chunk()?);
            each_dot(word >> (64 - tail.len() * 8), at)?;
        }
        if reply.len() == last + 1 {
            return None;
        }
        count += 1;
        if let Some(place) = ends.get_mut(count) {
            *place = reply.len();
        }
        if seen & eight(0x80) != 0 {
            core::str::from_utf8(rest).ok()?;
        }
        (count == FIRST || count >= SECOND).then_some(Self { reply, ends, count })
    }

    /// How many tokens stand before the stream.
    fn names(&self) -> usize {
        if self.count == FIRST { 0 } else { SECOND - FIRST }
    }

    fn get(&self, at: usize) -> Option<&'a [u8]> {
        self.reply.get(self.ends.get(at)? + 1..*self.ends.get(at + 1)?)
    }

    #[inline]
    fn numbers(&self) -> Option<DeliveryNumbers> {
        let first = self.names() + 2;
        let ends = self.ends.get(first..first + 6)?.first_chunk::<6>()?;
        let number = |at: usize| decimal(self.reply, ends[at] + 1, ends[at + 1]);
        Some(DeliveryNumbers {
            delivered: number(0)?,
            stream_sequence: number(1)?,
            consumer_sequence: number(2)?,
            timestamp: i64::try_from(number(3)?).ok()?,
            pending: number(4)?,
        })
    }
}

/// Eight times a byte.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each of eight bytes that is a dot, and of none else.
#[inline]
fn dots(word: u64) -> u64 {
    const LOW: u64 = eight(0x7f);
    let others = word ^ eight(b'.');
    !(((others & LOW) + LOW) | others | LOW)
}

/// The number that ends `text` and begins there: digits alone.
#[inline]
pub(crate) fn number_at(text: &[u8], begin: usize) -> Option<u64> {
    if begin >= text.len() {
        return None;
    }
    if begin < 8 {
        return decimal_of_any_length(text.get(begin..)?);
    }
    decimal(text, begin, text.len())
}

/// The number between these places: digits alone, without a sign, which `str::parse` would take.
/// Eight bytes or more stand before it.
#[inline]
fn decimal(text: &[u8], begin: usize, end: usize) -> Option<u64> {
    const PART: u64 = 100_000_000;
    match end - begin {
        ..=8 => last_digits(text, begin, end),
        9..=16 => {
            let high = last_digits(text, begin, end - 8)?;
            Some(high * PART + last_digits(text, end - 8, end)?)
        }
        17..=19 => {
            let high = last_digits(text, begin, end - 16)?;
            let middle = high * PART + last_digits(text, end - 16, end - 8)?;
            Some(middle * PART + last_digits(text, end - 8, end)?)
        }
        _ => decimal_of_any_length(text.get(begin..end)?),
    }
}

/// The number that one to eight digits are. What stands before them is read as zeros.
#[inline]
fn last_digits(text: &[u8], begin: usize, end: usize) -> Option<u64> {
    let word = u64::from_le_bytes(*text.get(end.checked_sub(8)?..end)?.first_chunk()?);
    let others = (8 - (end - begin)) * 8;
    eight_digits((word ^ eight(b'0')) & u64::MAX << others)
}

#[cold]
fn decimal_of_any_length(token: &[u8]) -> Option<u64> {
    token.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The number that eight digits are, of which the first one is the lowest byte.
#[inline]
fn eight_digits(ones: u64) -> Option<u64> {
    if (ones | ones.wrapping_add(eight(0x7f - 9))) & eight(0x80) != 0 {
        return None;
    }
    // Two at a time, then four, then eight: what is left of a place is the tens of it.
    let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;

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

    /// Token by token, as the documents have it.
    fn plainly(reply: &[u8]) -> Option<Delivery<'_>> {
        let rest = core::str::from_utf8(reply).ok()?.strip_prefix(PREFIX)?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let named = match tokens.len() {
            FIRST => 0,
            SECOND.. => 2,
            _ => return None,
        };
        if tokens.contains(&"") {
            return None;
        }
        let number = |at: usize| {
            let token = tokens[named + at];
            token.bytes().all(|byte| byte.is_ascii_digit()).then(|| token.parse().ok())?
        };
        Some(Delivery {
            domain: Some(tokens[0]).filter(|it| named > 0 && *it != "_"),
            account_hash: Some(tokens[1]).filter(|_| named > 0),
            stream: tokens[named],
            consumer: tokens[named + 1],
            delivered: number(2)?,
            stream_sequence: number(3)?,
            consumer_sequence: number(4)?,
            timestamp: i64::try_from(number(5)?).ok()?,
            pending: number(6)?,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn every_reply_is_read_as_token_by_token(
            names in vec("[a-z_é]{0,12}", 2..5),
            numbers in vec("0{0,3}[0-9]{0,9}|[0-9]{17,21}|[0-9]{1,10}[x/:.][0-9]{0,8}", 4..7),
            more in vec("[a-zA-Z0-9]{1,9}", 0..3),
        ) {
            let tokens: Vec<String> = names.into_iter().chain(numbers).chain(more).collect();
            let reply = format!("{PREFIX}{}", tokens.join("."));
            let read = Delivery::parse(reply.as_bytes());
            prop_assert_eq!(read, plainly(reply.as_bytes()));
        }

        #[test]
        fn every_ack_subject_is_read(
            names in prop_oneof![Just(2), Just(4)].prop_flat_map(|count| vec("[A-Za-z_-]{1,20}", count)),
            numbers in (any::<u64>(), any::<u64>(), any::<u64>(), 0..i64::MAX, any::<u64>()),
        ) {
            let (delivered, stream, consumer, time, pending) = numbers;
            let names = names.join(".");
            let reply = format!("{PREFIX}{names}.{delivered}.{stream}.{consumer}.{time}.{pending}");
            let read = Delivery::parse(reply.as_bytes());
            prop_assert!(read.is_some());
            prop_assert_eq!(read, plainly(reply.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read_as_token_by_token(reply in vec(any::<u8>(), 0..60), at in 0..60_usize) {
            let mut bytes = b"$JS.ACK.S.c.1.22.333.1795297176763474374.88888888".to_vec();
            for (byte, other) in bytes.iter_mut().skip(at).zip(&reply) {
                *byte = *other;
            }
            prop_assert_eq!(Delivery::parse(&bytes), plainly(&bytes));
            bytes.truncate(at);
            prop_assert_eq!(Delivery::parse(&bytes), plainly(&bytes));
        }
    }

    #[test]
    fn numbers_at_the_end_of_a_text_are_read() {
        for before in ["", "a.", "_INBOX.a."] {
            for digits in ["", "0", "7", "12345678", "123456789", "18446744073709551615"] {
                let text = alloc::format!("{before}{digits}");
                assert_eq!(number_at(text.as_bytes(), before.len()), digits.parse().ok(), "{text}");
            }
            for wrong in ["x", "-1", "1x", "123456789:", "18446744073709551616"] {
                let text = alloc::format!("{before}{wrong}");
                assert_eq!(number_at(text.as_bytes(), before.len()), None, "{text}");
            }
            assert_eq!(number_at(before.as_bytes(), 99), None);
        }
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
