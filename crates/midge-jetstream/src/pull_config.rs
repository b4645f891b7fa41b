//! What is asked of a pull consumer: its checks, and the JSON of the requests.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// How a pull consumer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullConfig {
    /// Messages that are asked for and not read, at most. Default: 500 to consume.
    pub messages: u64,
    /// On and on, so many in place of `messages` at most, as long as they are small: as many as 1 MiB
    /// holds, by the mean of those that came last. Default: `None`, which is `messages`. Of no effect
    /// with `bytes`, `refill_messages` or `group`.
    pub small_messages: Option<u64>,
    /// Of these, as many as are read within this time, as the last ones were, and at most twice as
    /// many as before. Default: `None`, which is however long it takes.
    pub read_within: Option<Duration>,
    /// Bytes that are asked for and not read, at most: subject, reply, headers and payload. Not for
    /// consumers of the last message of each subject: of a stream that keeps several of a subject,
    /// nats-server 2.15.1 leaves out the message with which a request ends for its bytes.
    pub bytes: Option<u64>,
    /// As few messages are left when more are asked for. Default: half of `messages`.
    pub refill_messages: Option<u64>,
    /// As few bytes are left when more are asked for. Default: half of `bytes`.
    pub refill_bytes: Option<u64>,
    /// How long a request waits at the server. Default: 30 s.
    pub expires: Duration,
    /// How often the server says that it is there, while nothing else comes. Default to consume:
    /// 2 s, or half of `expires` if that is shorter, so that a server that died is noticed in 4 s.
    /// Not together with `no_wait`.
    pub heartbeat: Option<Duration>,
    /// The request does not wait for messages.
    pub no_wait: bool,
    /// It ends after so many messages.
    pub limit: Option<u64>,
    /// The place in a priority group (ADR-42).
    pub group: Option<PullGroup>,
    /// When nobody answers, find out whether the consumer exists, and end if not.
    pub abort_when_missing: bool,
}

/// A reader's place in a priority group (ADR-42).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullGroup {
    /// The group.
    pub name: String,
    /// With `overflow`: messages come only while at least so many wait in the stream.
    pub min_pending: Option<u64>,
    /// With `overflow`: messages come only while at least so many are not acked.
    pub min_ack_pending: Option<u64>,
    /// With `prioritized`: 0 to 9, the lowest first.
    pub priority: Option<u8>,
}

/// A way of reading that contradicts itself. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullConfigError {
    /// Nothing is asked for.
    #[error("`{0}` must be at least 1")]
    Zero(&'static str),
    /// The server would cut the request off at once.
    #[error("`expires` must be at least {0:?}")]
    Expires(Duration),
    /// The server refuses such heartbeats.
    #[error("`heartbeat` must be at least 500 ms and at most half of `expires`, which is {0:?}")]
    Heartbeat(Duration),
    /// A request that does not wait has no time for heartbeats: the server refuses it.
    #[error("`heartbeat` goes with requests that wait: leave out it or `no_wait`")]
    HeartbeatWithoutWait,
    /// More would be asked for without end.
    #[error("`{0}` must be less than what is asked for at a time")]
    Refill(&'static str),
    /// No server takes such a name.
    #[error("{0:?} cannot be a priority group: 1 to 16 characters of A-Z a-z 0-9 - _ / =")]
    Group(String),
    /// There are ten priorities.
    #[error("`priority` must be 0 to 9, not {0}")]
    Priority(u8),
}

/// Messages of a request that is limited by bytes alone.
pub(crate) const BY_BYTES: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Waits shorter than this have no heartbeat unless asked for.
const HEARTBEAT_FROM: Duration = Duration::from_secs(5);

impl PullConfig {
    /// Reading on and on.
    #[must_use]
    pub fn consume() -> Self {
        Self { messages: 500, ..Self::fetch(1) }
    }

    /// At most so many messages, once.
    #[must_use]
    pub fn fetch(messages: u64) -> Self {
        Self {
            messages,
            small_messages: None,
            read_within: None,
            bytes: None,
            refill_messages: None,
            refill_bytes: None,
            expires: Duration::from_secs(30),
            heartbeat: None,
            no_wait: false,
            limit: None,
            group: None,
            abort_when_missing: false,
        }
    }

    /// At most so many bytes, at a time or once, and as many messages as they hold.
    #[must_use]
    pub fn by_bytes(self, bytes: u64) -> Self {
        Self { messages: BY_BYTES, bytes: Some(bytes), ..self }
    }

    /// Whether it makes sense, for consuming on and on or for one fetch.
    ///
    /// # Errors
    ///
    /// [`PullConfigError`] names the first field that makes none.
    pub fn check(&self, on_and_on: bool) -> Result<(), PullConfigError> {
        if self.messages == 0 {
            return Err(PullConfigError::Zero("messages"));
        }
        if self.bytes == Some(0) {
            return Err(PullConfigError::Zero("bytes"));
        }
        if self.limit == Some(0) {
            return Err(PullConfigError::Zero("limit"));
        }
        if self.refill_messages.is_some_and(|refill| refill >= self.messages) {
            return Err(PullConfigError::Refill("refill_messages"));
        }
        if self.refill_bytes.is_some_and(|refill| self.bytes.is_none_or(|bytes| refill >= bytes)) {
            return Err(PullConfigError::Refill("refill_bytes"));
        }
        let least = if on_and_on { SECOND } else { Duration::from_millis(1) };
        if self.expires < least {
            return Err(PullConfigError::Expires(least));
        }
        if self.no_wait && self.heartbeat.is_some() {
            return Err(PullConfigError::HeartbeatWithoutWait);
        }
        if let Some(heartbeat) = self.heartbeat
            && (heartbeat < SHORTEST_HEARTBEAT || heartbeat.saturating_mul(2) > self.expires)
        {
            return Err(PullConfigError::Heartbeat(self.expires));
        }
        self.group.as_ref().map_or(Ok(()), PullGroup::check)
    }

    /// The most messages that are asked for and not read.
    #[must_use]
    pub fn most_messages(&self) -> u64 {
        match self.small_messages {
            Some(small)
                if self.bytes.is_none()
                    && self.refill_messages.is_none()
                    && self.group.is_none() =>
            {
                small.max(self.messages)
            }
            _ => self.messages,
        }
    }

    pub(crate) fn refill_messages(&self) -> u64 {
        self.refill_messages.unwrap_or(self.messages / 2).min(self.messages.saturating_sub(1))
    }

    pub(crate) fn refill_bytes(&self) -> Option<u64> {
        let bytes = self.bytes?;
        Some(self.refill_bytes.unwrap_or(bytes / 2).min(bytes.saturating_sub(1)))
    }

    /// The heartbeat of a request that waits for `expires`.
    pub(crate) fn heartbeat(&self, expires: Duration, on_and_on: bool) -> Option<Duration> {
        let wanted = match self.heartbeat {
            _ if self.no_wait => return None,
            Some(heartbeat) => heartbeat,
            None if !(on_and_on || expires >= HEARTBEAT_FROM) => return None,
            None => HEARTBEAT,
        };
        let heartbeat = wanted.min(expires / 2);
        (heartbeat >= SHORTEST_HEARTBEAT).then_some(heartbeat)
    }
}

impl PullGroup {
    /// A group with nothing else.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_string(), ..Self::default() }
    }

    fn check(&self) -> Result<(), PullConfigError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/=".contains(&byte);
        if !(1..=16).contains(&self.name.len()) || !self.name.bytes().all(allowed) {
            return Err(PullConfigError::Group(self.name.clone()));
        }
        match self.priority {
            Some(priority) if priority > 9 => Err(PullConfigError::Priority(priority)),
            _ => Ok(()),
        }
    }
}

/// One request for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Messages, at most.
    pub messages: u64,
    /// Bytes, at most.
    pub bytes: Option<u64>,
    /// How long it waits; `None` when it does not.
    pub expires: Option<Duration>,
    /// How often the server says that it is there.
    pub heartbeat: Option<Duration>,
    /// What was asked for before is given up: this is to be asked on a new inbox, and the one
    /// before is to be read to its end.
    pub fresh: bool,
}

impl PullRequest {
    /// Appends the request as JSON.
    pub(crate) fn write(&self, group: Option<&PullGroup>, pin: Option<&str>, out: &mut Vec<u8>) {
        let mut json = Object { out, empty: true };
        json.number("batch", self.messages);
        json.optional("max_bytes", self.bytes);
        json.optional("expires", self.expires.map(nanos));
        json.optional("idle_heartbeat", self.heartbeat.map(nanos));
        if self.expires.is_none() {
            json.key("no_wait");
            json.out.extend_from_slice(b"true");
        }
        if let Some(group) = group {
            json.string("group", &group.name);
            json.optional("min_pending", group.min_pending);
            json.optional("min_ack_pending", group.min_ack_pending);
            json.optional("priority", group.priority.map(u64::from).filter(|it| *it > 0));
            if let Some(pin) = pin {
                json.string("id", pin);
            }
        }
        json.out.push(b'}');
    }
}

/// The server reads an i64.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().min(i64::MAX as u128)).unwrap_or(0)
}

/// JSON without an allocation.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(if self.empty { b"{\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn optional(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    /// The server gives pins, and nobody checks them.
    fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        for byte in value.bytes() {
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                0..0x20 => self.out.extend_from_slice(b"\\ufffd"),
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS_30: Duration = Duration::from_secs(30);

    #[test]
    fn a_request_has_only_what_was_set() {
        let mut out = Vec::new();
        let request = PullRequest {
            messages: 5,
            bytes: None,
            expires: Some(SECONDS_30),
            heartbeat: None,
            fresh: false,
        };
        request.write(None, Some("pin"), &mut out);
        assert_eq!(out, br#"{"batch":5,"expires":30000000000}"#);
        out.clear();
        let request = PullRequest { bytes: Some(7), expires: None, ..request };
        let group = PullGroup {
            min_pending: Some(3),
            min_ack_pending: Some(4),
            priority: Some(9),
            ..PullGroup::new("jobs")
        };
        request.write(Some(&group), Some("a\"b\\\n"), &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "batch": 5, "max_bytes": 7, "no_wait": true, "group": "jobs", "min_pending": 3,
                "min_ack_pending": 4, "priority": 9, "id": "a\"b\\\u{fffd}",
            })
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        let ok = PullConfig::consume();
        assert_eq!(ok.check(true), Ok(()));
        let group = |name: &str| Some(PullGroup::new(name));
        for (wrong, says) in [
            (PullConfig { messages: 0, ..ok.clone() }, "messages"),
            (PullConfig { bytes: Some(0), ..ok.clone() }, "bytes"),
            (PullConfig { limit: Some(0), ..ok.clone() }, "limit"),
            (PullConfig { refill_messages: Some(500), ..ok.clone() }, "refill_messages"),
            (PullConfig { refill_bytes: Some(1), ..ok.clone() }, "refill_bytes"),
            (PullConfig { expires: Duration::from_millis(999), ..ok.clone() }, "expires"),
            (PullConfig { heartbeat: Some(Duration::from_secs(16)), ..ok.clone() }, "heartbeat"),
            (PullConfig { heartbeat: Some(Duration::from_millis(1)), ..ok.clone() }, "heartbeat"),
            (PullConfig { group: group(""), ..ok.clone() }, "priority group"),
            (PullConfig { group: group("a b"), ..ok.clone() }, "priority group"),
            (PullConfig { group: group("12345678901234567"), ..ok.clone() }, "priority group"),
        ] {
            let error = wrong.check(true).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let fetch = PullConfig { expires: Duration::from_millis(1), ..PullConfig::fetch(1) };
        assert_eq!(fetch.check(false), Ok(()));
        let no_wait = PullConfig { no_wait: true, ..PullConfig::fetch(1) };
        assert_eq!(no_wait.check(false), Ok(()));
        let wrong = PullConfig { heartbeat: Some(SECOND), ..no_wait };
        assert_eq!(wrong.check(false), Err(PullConfigError::HeartbeatWithoutWait));
    }

    #[test]
    fn heartbeats_fit_into_the_time_that_a_request_waits() {
        let (consume, fetch) = (PullConfig::consume(), PullConfig::fetch(1));
        let seconds = Duration::from_secs;
        assert_eq!(consume.heartbeat(seconds(30), true), Some(seconds(2)));
        assert_eq!(consume.heartbeat(seconds(1), true), Some(Duration::from_millis(500)));
        assert_eq!(fetch.heartbeat(seconds(4), false), None);
        assert_eq!(fetch.heartbeat(seconds(6), false), Some(seconds(2)));
        let own = PullConfig { heartbeat: Some(Duration::from_millis(500)), ..fetch };
        assert_eq!(own.heartbeat(Duration::from_millis(900), false), None);
        let no_wait = PullConfig { no_wait: true, ..own };
        assert_eq!(no_wait.heartbeat(seconds(30), false), None);
    }
}
