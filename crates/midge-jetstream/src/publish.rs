//! What a message to a stream may ask for in its headers, and how the stream answers.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use midge_proto::{HeaderError, HeaderMap, SubjectError, SubjectRef};
use serde::{Deserialize, Serialize, Serializer};

use crate::integer::Integer;
use crate::levels::{ApiLevel, Need};
use crate::schedule::{self, Schedule, ScheduleError};
use crate::wire::is_false;
use crate::{ApiError, ReplyError};

pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
pub(crate) const EXPECTED_LAST_MESSAGE_ID: &str = "Nats-Expected-Last-Msg-Id";
pub(crate) const EXPECTED_LAST_SEQUENCE: &str = "Nats-Expected-Last-Sequence";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const ROLLUP: &str = "Nats-Rollup";
const TTL: &str = "Nats-TTL";
pub(crate) const INCREMENT: &str = "Nats-Incr";
const REQUIRED_API_LEVEL: &str = "Nats-Required-Api-Level";
const SCHEDULER: &str = "Nats-Scheduler";
const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";

// ---- the answer --------------------------------------------------------------------------

/// The stream's word that it has a message.
///
/// It is written as a server writes it, and read by [`PubAck::read`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PubAck {
    /// The stream.
    #[serde(serialize_with = "shared")]
    pub stream: Arc<str>,
    /// The number of the message in the stream; of a batch, that of its last message.
    pub seq: u64,
    /// The domain of the stream, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared_if_any")]
    pub domain: Option<Arc<str>>,
    /// The stream has had a message of this id within its duplicate window, with the number
    /// `seq`, and has not stored this one.
    #[serde(skip_serializing_if = "is_false")]
    pub duplicate: bool,
    /// What a counter has come to (ADR-49). Missing if the message is a duplicate.
    #[serde(rename = "val", skip_serializing_if = "Option::is_none")]
    pub value: Option<Integer>,
    /// The id of the batch that was committed (ADR-50).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The messages of that batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

fn shared<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn shared_if_any<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
}

#[derive(Deserialize)]
struct Raw<'a> {
    error: Option<ApiError>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(borrow, default)]
    domain: Cow<'a, str>,
    #[serde(default)]
    duplicate: bool,
    val: Option<Integer>,
    batch: Option<String>,
    count: Option<u64>,
}

impl PubAck {
    pub(crate) fn of(stream: Arc<str>, seq: u64) -> Self {
        let (domain, value, batch, count) = (None, None, None, None);
        Self { stream, seq, domain, duplicate: false, value, batch, count }
    }

    /// Reads the payload of an answer.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Api`] when the stream refused the message, [`ReplyError::Malformed`] when
    /// this is no answer of a stream.
    pub fn read(payload: &[u8]) -> Result<Self, ReplyError> {
        if let Some((stream, seq)) = plain(payload) {
            return Ok(Self::of(Arc::from(stream), seq));
        }
        let raw: Raw<'_> = serde_json::from_slice(payload)?;
        if let Some(error) = raw.error {
            return Err(error.into());
        }
        if raw.stream.is_empty() || raw.seq == 0 {
            let text = "neither an error, nor the stream and sequence of a message";
            return Err(<serde_json::Error as serde::de::Error>::custom(text).into());
        }
        let domain = (!raw.domain.is_empty()).then(|| Arc::from(&*raw.domain));
        Ok(Self {
            stream: Arc::from(&*raw.stream),
            seq: raw.seq,
            domain,
            duplicate: raw.duplicate,
            value: raw.val,
            batch: raw.batch,
            count: raw.count,
        })
    }
}

/// Stream and sequence of an ack that says nothing else, and says it as servers do. `None` for any
/// other, and for what is none.
fn plain(payload: &[u8]) -> Option<(&str, u64)> {
    let rest = payload.strip_prefix(br#"{"stream":""#)?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ' | 0x80..))?;
    let (stream, rest) = rest.split_at(end);
    let (last, digits) = rest.strip_prefix(br#"","seq":"#)?.split_last()?;
    let whole = *last == b'}' && !stream.is_empty() && matches!(digits.len(), 1..=19);
    if !whole || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seq = digits.iter().fold(0, |seq, digit| seq * 10 + u64::from(digit - b'0'));
    Some((core::str::from_utf8(stream).ok()?, seq))
}

// ---- what is asked for -------------------------------------------------------------------

/// What a message displaces in its stream, which must allow roll-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rollup {
    /// All earlier messages of its subject.
    Subject,
    /// All earlier messages.
    Stream,
}

/// Headers that no stream could carry out. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishHeadersError {
    /// A header is not valid.
    #[error("invalid header: {0}")]
    Header(HeaderError),
    /// A message id is empty, which servers take for none.
    #[error("a message id must not be empty")]
    EmptyMessageId,
    /// The subject of an expectation or of a schedule that is to be cancelled is not valid.
    #[error("{header} is no subject: {error}")]
    Subject {
        /// The header.
        header: &'static str,
        /// What is wrong.
        error: SubjectError,
    },
    /// A subject that must not have wildcards has some.
    #[error("{header} must be one subject, without wildcards")]
    Wildcard {
        /// The header.
        header: &'static str,
    },
    /// Streams keep a message for whole seconds.
    #[error("a message cannot expire after {ttl:?}: give whole seconds, at least one")]
    Ttl {
        /// What was given.
        ttl: Duration,
    },
    /// A counter takes no such header.
    #[error("a counter is not added to with {header}: leave it out")]
    Counter {
        /// The header.
        header: &'static str,
    },
    /// A publisher that chains its messages writes what each expects, and a counter takes no
    /// expectation.
    #[error(
        "a chained publisher has no messages with {header}: leave it out, or publish in another order"
    )]
    Chained {
        /// The header.
        header: &'static str,
    },
    /// The schedule is not valid.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

impl From<HeaderError> for PublishHeadersError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

/// The headers of a message to a stream, each checked when it is set; what is set again is
/// replaced. The first mistake is told by [`get`](Self::get).
#[derive(Clone, Debug, Default)]
pub struct PublishHeaders {
    map: HeaderMap,
    error: Option<PublishHeadersError>,
    need: Option<Need>,
}

type Set = Result<(), PublishHeadersError>;

impl PublishHeaders {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The headers to send; `None` if there are none.
    ///
    /// # Errors
    ///
    /// The first [`PublishHeadersError`] of all that was set.
    pub fn get(&self) -> Result<Option<&HeaderMap>, PublishHeadersError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.map.is_empty() {
            return Ok(None);
        }
        self.check_counter()?;
        Ok(Some(&self.map))
    }

    /// The headers to send, out of this.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn into_map(self) -> Result<Option<HeaderMap>, PublishHeadersError> {
        let some = self.get()?.is_some();
        Ok(some.then_some(self.map))
    }

    /// The header that needs the highest API level; `None` when every server will do. A server that
    /// is too old stores the message as if the header were not there.
    #[must_use]
    pub fn need(&self) -> Option<Need> {
        self.need
    }

    fn needs(&mut self, need: Option<Need>) -> &mut Self {
        if let Some(need) = need
            && self.need.is_none_or(|known| known.level < need.level)
        {
            self.need = Some(need);
        }
        self
    }

    /// What the server refuses beside an increment, with a code that says nothing of it.
    fn check_counter(&self) -> Set {
        if self.map.get(INCREMENT).is_none() {
            return Ok(());
        }
        let refused = [
            EXPECTED_STREAM,
            EXPECTED_LAST_SEQUENCE,
            EXPECTED_LAST_MESSAGE_ID,
            EXPECTED_LAST_SUBJECT_SEQUENCE,
            ROLLUP,
            TTL,
            schedule::SCHEDULE,
        ];
        match refused.into_iter().find(|header| self.map.get(header).is_some()) {
            Some(header) => Err(PublishHeadersError::Counter { header }),
            None => Ok(()),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut HeaderMap) -> Set) -> &mut Self {
        if self.error.is_none() {
            self.error = change(&mut self.map).err();
        }
        self
    }

    fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.change(|map| {
            map.insert(name, value)?;
            Ok(())
        })
    }

    fn set_number(&mut self, name: &str, number: u64) -> &mut Self {
        self.set(name, itoa::Buffer::new().format(number))
    }

    /// Puts these headers in the place of all that were set.
    pub fn replace(&mut self, headers: &HeaderMap) -> &mut Self {
        self.need = None;
        for (name, value) in headers.iter() {
            self.needs(need_of(name, value));
        }
        self.change(|map| {
            map.clone_from(headers);
            Ok(())
        })
    }

    /// Adds a header of one's own.
    pub fn append(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.needs(need_of(name, value)).change(|map| {
            map.append(name, value)?;
            Ok(())
        })
    }

    /// The id by which the stream knows a message again within its duplicate window.
    pub fn message_id(&mut self, id: &str) -> &mut Self {
        self.change(|map| {
            if id.is_empty() {
                return Err(PublishHeadersError::EmptyMessageId);
            }
            map.insert(MESSAGE_ID, id)?;
            Ok(())
        })
    }

    /// The message must go to this stream.
    pub fn expect_stream(&mut self, stream: &str) -> &mut Self {
        self.set(EXPECTED_STREAM, stream)
    }

    /// The last message of the stream must have this number.
    pub fn expect_last_sequence(&mut self, seq: u64) -> &mut Self {
        self.set_number(EXPECTED_LAST_SEQUENCE, seq)
    }

    /// The last message of the stream must have this id.
    pub fn expect_last_message_id(&mut self, id: &str) -> &mut Self {
        self.set(EXPECTED_LAST_MESSAGE_ID, id)
    }

    /// The last message of the same subject must have this number in the stream; 0 when there
    /// must be none.
    pub fn expect_last_subject_sequence(&mut self, seq: u64) -> &mut Self {
        self.set_number(EXPECTED_LAST_SUBJECT_SEQUENCE, seq)
    }

    /// The last message of the subjects that match `filter` must have this number in the stream; 0
    /// when there must be none. Needs nats-server 2.11.
    pub fn expect_last_sequence_of(&mut self, filter: &str, seq: u64) -> &mut Self {
        const HEADER: &str = EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT;
        self.change(|map| {
            let subject = SubjectRef::new(filter)
                .map_err(|error| PublishHeadersError::Subject { header: HEADER, error })?;
            map.insert(HEADER, subject.as_bytes())?;
            Ok(())
        });
        self.needs(need_of(HEADER, b"")).expect_last_subject_sequence(seq)
    }

    /// What the message displaces.
    pub fn rollup(&mut self, rollup: Rollup) -> &mut Self {
        let value = match rollup {
            Rollup::Subject => "sub",
            Rollup::Stream => "all",
        };
        self.set(ROLLUP, value)
    }

    /// The stream forgets the message after this time: whole seconds, at least one. The stream
    /// must allow it (ADR-43), and nats-server be 2.11 or newer.
    pub fn ttl(&mut self, ttl: Duration) -> &mut Self {
        self.needs(need_of(TTL, b"")).change(|map| {
            map.insert(TTL, itoa::Buffer::new().format(whole_seconds(ttl)?))?;
            Ok(())
        })
    }

    /// The stream keeps the message past its `max_age`.
    pub fn never_expires(&mut self) -> &mut Self {
        self.needs(need_of(TTL, b"")).set(TTL, "never")
    }

    /// Adds to the counter that the subject is (ADR-49); the payload must be empty. The stream
    /// must count, and nats-server be 2.12 or newer.
    pub fn increment(&mut self, by: &Integer) -> &mut Self {
        let sign = if by.is_negative() { "" } else { "+" };
        self.needs(need_of(INCREMENT, b"")).set(INCREMENT, alloc::format!("{sign}{by}"))
    }

    /// Has the stream publish the message by a schedule (ADR-51).
    pub fn schedule(&mut self, schedule: &Schedule) -> &mut Self {
        self.needs(Some(schedule.need())).change(|map| Ok(schedule.write(map)?))
    }

    /// Ends the schedule that `subject` holds. The message with this header must go to another
    /// subject of the stream. Needs nats-server 2.14.
    pub fn cancel_schedule(&mut self, subject: &str) -> &mut Self {
        self.needs(need_of(SCHEDULE_NEXT, b"")).change(|map| {
            let subject = one_subject(SCHEDULER, subject)?;
            map.insert(SCHEDULER, subject.as_bytes())?;
            map.insert(SCHEDULE_NEXT, "purge")?;
            Ok(())
        })
    }

    /// The level of the API that the message needs (ADR-44). nats-server 2.15.1 looks at it for
    /// requests of the API only.
    pub fn required_api_level(&mut self, level: u32) -> &mut Self {
        self.set_number(REQUIRED_API_LEVEL, level.into())
    }
}

/// The level that a header needs.
fn need_of(name: &str, value: &[u8]) -> Option<Need> {
    let (what, level) = match name {
        TTL => (TTL, ApiLevel::V2_11),
        EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT => {
            (EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT, ApiLevel::V2_11)
        }
        INCREMENT => (INCREMENT, ApiLevel::V2_12),
        SCHEDULE_NEXT => (SCHEDULE_NEXT, ApiLevel::V2_14),
        _ => return schedule::need_of(name, value),
    };
    Some(Need::new(what, level))
}

/// The number for a header that takes whole seconds.
pub(crate) fn whole_seconds(ttl: Duration) -> Result<u64, PublishHeadersError> {
    if ttl.subsec_nanos() != 0 || ttl.is_zero() {
        return Err(PublishHeadersError::Ttl { ttl });
    }
    Ok(ttl.as_secs())
}

fn one_subject<'a>(
    header: &'static str,
    subject: &'a str,
) -> Result<SubjectRef<'a>, PublishHeadersError> {
    let subject =
        SubjectRef::new(subject).map_err(|error| PublishHeadersError::Subject { header, error })?;
    if subject.has_wildcards() {
        return Err(PublishHeadersError::Wildcard { header });
    }
    Ok(subject)
}

/// A message that is given back: it may not have been stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpublished {
    /// Its subject.
    pub subject: String,
    /// Its headers, with its message id.
    pub headers: HeaderMap,
    /// Its payload.
    pub payload: alloc::vec::Vec<u8>,
}

impl Unpublished {
    /// Its message id.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        self.headers.get(MESSAGE_ID)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::ErrorCode;

    #[test]
    fn the_short_way_to_read_an_ack_reads_what_the_long_one_does() {
        for whole in
            [r#"{"stream":"S","seq":1}"#, r#"{"stream":"orders eu","seq":9999999999999999999}"#]
        {
            let (stream, seq) = plain(whole.as_bytes()).unwrap();
            let long: Raw<'_> = serde_json::from_str(whole).unwrap();
            assert_eq!((stream, seq), (&*long.stream, long.seq));
            let ack = PubAck::read(whole.as_bytes()).unwrap();
            assert_eq!((&*ack.stream, ack.seq), (stream, seq));
        }
        for other in [
            r#"{"stream":"S","seq":1,"duplicate":true}"#,
            r#"{"stream":"S","seq":1} "#,
            r#"{"stream":"S","seq":1}}"#,
            r#"{"stream":"S","seq":01}"#,
            r#"{"stream":"S","seq":}"#,
            r#"{"stream":"S","seq":1.5}"#,
            r#"{"stream":"S","seq":18446744073709551615}"#,
            r#"{"stream":"S","seq":0}"#,
            r#"{"stream":"","seq":1}"#,
            r#"{"stream":"a\u0041","seq":1}"#,
            r#"{"stream":"ä","seq":1}"#,
            "{\"stream\":\"a\tb\",\"seq\":1}",
            r#"{"stream":"S"}"#,
            "",
        ] {
            assert_eq!(plain(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_ack_is_read_whole() {
        let ack = PubAck::read(br#"{"stream":"ORDERS", "seq":18446744073709551615}"#).unwrap();
        assert_eq!(ack, PubAck::of("ORDERS".into(), u64::MAX));
        let payload = br#"{"stream":"C\u0042","domain":"hub","seq":7,"duplicate": true,"val":"-123456789012345678901234567890","batch":"b","count":3,"new":{}}"#;
        let ack = PubAck::read(payload).unwrap();
        assert_eq!((&*ack.stream, ack.seq, ack.domain.as_deref()), ("CB", 7, Some("hub")));
        assert!(ack.duplicate);
        assert_eq!(ack.value.unwrap().to_string(), "-123456789012345678901234567890");
        assert_eq!((ack.batch.as_deref(), ack.count), (Some("b"), Some(3)));
    }

    #[test]
    fn a_refusal_is_told_from_an_ack() {
        let payload = br#"{"error":{"code":400,"err_code":10070,"description":"wrong last msg ID: 1"},"stream":"F","seq":0}"#;
        let Err(ReplyError::Api(error)) = PubAck::read(payload) else { panic!("a refusal") };
        assert_eq!(error.err_code, ErrorCode::STREAM_WRONG_LAST_MSG_ID);
        for wrong in [&b""[..], b"{}", br#"{"stream":"S"}"#, br#"{"stream":"S","seq":0}"#, b"[1]"] {
            assert!(matches!(PubAck::read(wrong), Err(ReplyError::Malformed(_))), "{wrong:?}");
        }
    }

    fn sent(
        set: impl FnOnce(&mut PublishHeaders) -> &mut PublishHeaders,
    ) -> Result<String, PublishHeadersError> {
        let mut headers = PublishHeaders::new();
        set(&mut headers);
        let map = headers.get()?.expect("something was set");
        let lines = map.iter().map(|(name, value)| {
            alloc::format!("{name}: {}", core::str::from_utf8(value).unwrap())
        });
        Ok(lines.collect::<alloc::vec::Vec<_>>().join("\n"))
    }

    #[test]
    fn each_expectation_has_its_header() {
        let all = sent(|headers| {
            headers
                .message_id("first")
                .message_id("id 1")
                .expect_stream("S")
                .expect_last_sequence(u64::MAX)
                .expect_last_message_id("id 0")
                .expect_last_sequence_of("a.*.>", 5)
                .rollup(Rollup::Stream)
                .ttl(Duration::from_secs(3600))
                .required_api_level(2)
        });
        assert_eq!(
            all.unwrap(),
            "Nats-Msg-Id: id 1\nNats-Expected-Stream: S\n\
             Nats-Expected-Last-Sequence: 18446744073709551615\n\
             Nats-Expected-Last-Msg-Id: id 0\n\
             Nats-Expected-Last-Subject-Sequence-Subject: a.*.>\n\
             Nats-Expected-Last-Subject-Sequence: 5\nNats-Rollup: all\nNats-TTL: 3600\n\
             Nats-Required-Api-Level: 2"
        );
        assert_eq!(sent(|headers| headers.never_expires()).unwrap(), "Nats-TTL: never");
        let zero = sent(|headers| headers.increment(&Integer::ZERO)).unwrap();
        assert_eq!(zero, "Nats-Incr: +0");
        let less = sent(|headers| headers.increment(&(-5).into())).unwrap();
        assert_eq!(less, "Nats-Incr: -5");
        let cancel = sent(|headers| headers.cancel_schedule("jobs.1")).unwrap();
        assert_eq!(cancel, "Nats-Scheduler: jobs.1\nNats-Schedule-Next: purge");
    }

    #[test]
    fn the_header_that_needs_most_is_named() {
        let need = |set: &dyn Fn(&mut PublishHeaders) -> &mut PublishHeaders| {
            let mut headers = PublishHeaders::new();
            set(&mut headers).need().map(|need| (need.what, need.level))
        };
        let second = Duration::from_secs(1);
        let (at, every) =
            (Schedule::at(crate::Time::UNIX_EPOCH, "a"), Schedule::every(second, "a"));
        assert_eq!(need(&|it| it.message_id("1").append("A", b"b").rollup(Rollup::Stream)), None);
        assert_eq!(need(&|it| it.ttl(second)), Some((TTL, ApiLevel::V2_11)));
        assert_eq!(need(&|it| it.never_expires()), Some((TTL, ApiLevel::V2_11)));
        assert_eq!(need(&|it| it.append("Nats-TTL", b"1h")), Some((TTL, ApiLevel::V2_11)));
        let filter = Some((EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT, ApiLevel::V2_11));
        assert_eq!(need(&|it| it.expect_last_sequence_of("a.*", 1)), filter);
        assert_eq!(need(&|it| it.increment(&1.into())), Some((INCREMENT, ApiLevel::V2_12)));
        let (once, again) =
            (Some(("Nats-Schedule", ApiLevel::V2_12)), Some(("Nats-Schedule", ApiLevel::V2_14)));
        assert_eq!(need(&|it| it.ttl(second).schedule(&at.clone().ttl(second))), once);
        assert_eq!(need(&|it| it.append("Nats-Schedule", b"@at 2030-01-01T00:00:00Z")), once);
        assert_eq!(need(&|it| it.schedule(&every)), again);
        assert_eq!(need(&|it| it.append("Nats-Schedule", b"@hourly")), again);
        let source = Some(("Nats-Schedule-Source", ApiLevel::V2_14));
        assert_eq!(need(&|it| it.schedule(&at.clone().source("b"))), source);
        assert_eq!(need(&|it| it.append("Nats-Schedule-Source", b"b")), source);
        let rollup = Some(("Nats-Schedule-Rollup", ApiLevel::V2_14));
        assert_eq!(need(&|it| it.schedule(&at.clone().rollup()).ttl(second)), rollup);
        let cancel = Some((SCHEDULE_NEXT, ApiLevel::V2_14));
        assert_eq!(need(&|it| it.cancel_schedule("a")), cancel);
        let mut map = HeaderMap::new();
        map.append(INCREMENT, "+1").unwrap();
        let replaced = need(&|it| it.cancel_schedule("a").replace(&map));
        assert_eq!(replaced, Some((INCREMENT, ApiLevel::V2_12)), "what was set before is gone");
    }

    #[test]
    fn a_message_expires_after_whole_seconds_or_never() {
        for millis in [0, 1, 999, 1001, 1500] {
            let ttl = Duration::from_millis(millis);
            let error = sent(|headers| headers.ttl(ttl)).unwrap_err();
            assert_eq!(error, PublishHeadersError::Ttl { ttl });
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_told_and_the_first_mistake_stays() {
        let wrong = sent(|headers| headers.message_id("").expect_stream("a\r\nb"));
        assert_eq!(wrong, Err(PublishHeadersError::EmptyMessageId));
        assert!(sent(|headers| headers.expect_stream("a\r\nb")).is_err());
        assert!(sent(|headers| headers.expect_last_sequence_of("a b", 0)).is_err());
        assert!(sent(|headers| headers.cancel_schedule("a.*")).is_err());
    }

    #[test]
    fn a_counter_has_no_expectations() {
        type Change = fn(&mut PublishHeaders) -> &mut PublishHeaders;
        let refused: [(&str, Change); 6] = [
            (EXPECTED_STREAM, |headers| headers.expect_stream("S")),
            (EXPECTED_LAST_SEQUENCE, |headers| headers.expect_last_sequence(1)),
            (EXPECTED_LAST_MESSAGE_ID, |headers| headers.expect_last_message_id("1")),
            (EXPECTED_LAST_SUBJECT_SEQUENCE, |headers| headers.expect_last_subject_sequence(1)),
            (ROLLUP, |headers| headers.rollup(Rollup::Subject)),
            (TTL, |headers| headers.never_expires()),
        ];
        for (header, change) in refused {
            let error = sent(|headers| change(headers.increment(&1.into()))).unwrap_err();
            assert_eq!(error, PublishHeadersError::Counter { header });
        }
        assert!(sent(|headers| headers.increment(&1.into()).message_id("1")).is_ok());
    }
}
