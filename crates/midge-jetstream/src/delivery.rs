//! What the server says of a message that a consumer delivered: the tokens of its ack subject.

use alloc::vec::Vec;

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

    /// Reads five numbers with a dot before each, the first of them there, and where the last one ends.
    #[inline]
    fn behind(reply: &[u8], dot: usize) -> Option<(Self, usize)> {
        let mut numbers = [0; 5];
        let mut end = dot;
        for number in &mut numbers {
            if reply.get(end) != Some(&b'.') {
                return None;
            }
            (*number, end) = number_from(reply, end + 1)?;
        }
        let [delivered, stream_sequence, consumer_sequence, timestamp, pending] = numbers;
        let timestamp = i64::try_from(timestamp).ok()?;
        let numbers = Self { delivered, stream_sequence, consumer_sequence, timestamp, pending };
        Some((numbers, end))
    }
}

/// Reads the numbers of messages of one consumer, one after the other, as [`DeliveryNumbers::of`] does:
/// names that are those of the message before are compared, and not read again.
#[derive(Clone, Debug, Default)]
pub struct DeliveryReader {
    /// What stands before the dot of the first number in an ack subject of the first form; empty before
    /// there was one.
    names: Vec<u8>,
}

impl DeliveryReader {
    /// Reads the reply subject of a message; `None` when no consumer has delivered it.
    #[inline]
    #[must_use]
    pub fn read(&mut self, message: &Message) -> Option<DeliveryNumbers> {
        self.parse(message.reply_bytes()?)
    }

    #[inline]
    fn parse(&mut self, reply: &[u8]) -> Option<DeliveryNumbers> {
        if !self.names.is_empty()
            && reply.starts_with(&self.names)
            && let Some((numbers, end)) = DeliveryNumbers::behind(reply, self.names.len())
            && end == reply.len()
        {
            return Some(numbers);
        }
        self.read_names(reply)
    }

    #[cold]
    fn read_names(&mut self, reply: &[u8]) -> Option<DeliveryNumbers> {
        let tokens = Tokens::of(reply)?;
        let numbers = tokens.numbers()?;
        if tokens.count == FIRST {
            self.names.clear();
            self.names.extend_from_slice(reply.get(..tokens.ends[2])?);
        }
        Some(numbers)
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
        let (numbers, end) = DeliveryNumbers::behind(self.reply, *self.ends.get(first)?)?;
        (self.ends.get(first + 5) == Some(&end)).then_some(numbers)
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
    let mut left = text.len().checked_sub(begin)?;
    let mut number = 0_u64;
    while left > 8 {
        let word = text.get(text.len() - left..)?.first_chunk()?;
        let ones = u64::from_le_bytes(*word) ^ eight(b'0');
        if no_digits(ones) != 0 {
            return None;
        }
        number = number.checked_mul(100_000_000)?.checked_add(eight_digits(ones))?;
        left -= 8;
    }
    let (part, digits) = match text.last_chunk() {
        // What stands before the digits is read as zeros.
        Some(word) if left > 0 => {
            let ones = (u64::from_le_bytes(*word) ^ eight(b'0')) & u64::MAX << (64 - 8 * left);
            if no_digits(ones) != 0 {
                return None;
            }
            (eight_digits(ones), left)
        }
        _ => digits_from(text, begin),
    };
    if digits == 0 || digits != left {
        return None;
    }
    number.checked_mul(*POWERS_OF_TEN.get(digits)?)?.checked_add(part)
}

/// The number that begins there, and where its digits end: one at least, and without a sign, which
/// `str::parse` would take.
#[inline]
fn number_from(text: &[u8], begin: usize) -> Option<(u64, usize)> {
    let (number, digits) = digits_from(text, begin);
    match digits {
        0 => None,
        8 => longer_number(text, begin + 8, number),
        _ => Some((number, begin + digits)),
    }
}

/// The number of which so much has been read before that place.
fn longer_number(text: &[u8], mut at: usize, mut number: u64) -> Option<(u64, usize)> {
    loop {
        let (part, digits) = digits_from(text, at);
        number = number.checked_mul(*POWERS_OF_TEN.get(digits)?)?.checked_add(part)?;
        at += digits;
        if digits < 8 {
            return Some((number, at));
        }
    }
}

/// One, ten, a hundred, and so on for each number of digits that is read at a time.
const POWERS_OF_TEN: [u64; 9] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that the digits from there on are, up to eight of them, and how many they are.
#[inline]
fn digits_from(text: &[u8], at: usize) -> (u64, usize) {
    let word = match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_bytes(text, at),
    };
    let ones = word ^ eight(b'0');
    let digits = no_digits(ones).trailing_zeros() / 8;
    let ones = ones.checked_shl(64 - 8 * digits).unwrap_or(0);
    (eight_digits(ones), digits as usize)
}

/// The high bit of the first of eight bytes that is none of the numbers 0 to 9, and perhaps of some behind
/// it.
#[inline]
fn no_digits(ones: u64) -> u64 {
    (ones | ones.wrapping_add(eight(0x7f - 9))) & eight(0x80)
}

/// The bytes from there on, less than eight, and zeros.
#[inline]
fn last_bytes(text: &[u8], at: usize) -> u64 {
    let left = text.len().saturating_sub(at);
    match text.last_chunk() {
        Some(word) => u64::from_le_bytes(*word).checked_shr(64 - 8 * left as u32).unwrap_or(0),
        None => {
            let bytes = text.get(at..).unwrap_or_default().iter().rev();
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
    }
}

/// The number that eight digits are, of which the first one is the lowest byte.
#[inline]
fn eight_digits(ones: u64) -> u64 {
    // Two at a time, then four, then eight: what is left of a place is the tens of it.
    let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

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
    fn a_reader_reads_every_message_as_if_it_were_the_first() {
        let mut reader = DeliveryReader::default();
        for reply in [
            "$JS.ACK.S.c.1.9.9.1795297176763474374.18446744073709551615",
            "$JS.ACK.S.c.1.10.10.1795297176763474375.0",
            "$JS.ACK.S.c.1.11.11.5.0.1.2",
            "$JS.ACK.S.c.1.2.3.4",
            "$JS.ACK.S.c.1.2.3.4.x",
            "$JS.ACK.S.c.1x2.3.4.5",
            "$JS.ACK.S.c.1.2.3.4.5x",
            "$JS.ACK.S.cc.1.12.12.5.0",
            "$JS.ACK.S.c.1.13.13.5.18446744073709551616",
            "$JS.ACK.S.c.1.14..5.0",
            "$JS.ACK.S.c.2.15.14.5.",
            "$JS.ACK._.AbC.S.c.1.16.15.5.0.more",
            "$JS.FC.S.c.1.2.3.4.5",
            "$JS.ACK.1.2.1.17.16.5.0",
            "$JS.ACK.1.2.S.c.1.18.17.5.0",
            "$JS.ACK.1.2.3.4.1.19.18.5.0",
            "$JS.ACK.1.2.1.000000000000000000000000020.19.5.0",
        ] {
            let read = reader.parse(reply.as_bytes());
            let numbers = plainly(reply.as_bytes()).map(|it| DeliveryNumbers {
                delivered: it.delivered,
                stream_sequence: it.stream_sequence,
                consumer_sequence: it.consumer_sequence,
                timestamp: it.timestamp,
                pending: it.pending,
            });
            assert_eq!(read, numbers, "{reply}");
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
