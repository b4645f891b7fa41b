//! Messages of the server itself among those of a consumer: their codes and texts.
//!
//! Texts change case between releases and grow reasons, so the code decides first, and of the text
//! the beginning.

use core::time::Duration;

use midge_proto::{Headers, Message};

use crate::delivery::is_delivered;

/// What the server says instead of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusKind {
    /// 100: the consumer is there, and has nothing to deliver for now.
    IdleHeartbeat,
    /// 100: a push consumer asks to be told when everything before this is read.
    FlowControl,
    /// 204: nothing follows to a direct get.
    EndOfBatch,
    /// 400: the request is wrong in itself.
    BadRequest,
    /// 404: there is nothing to deliver, to a request that does not wait.
    NoMessages,
    /// 404: the message asked for by a direct get does not exist.
    MessageNotFound,
    /// 408: a request has expired.
    RequestTimeout,
    /// 408: others wait already, to a request that does not wait.
    RequestsPending,
    /// 408: nobody listened any more. From servers of old.
    InterestExpired,
    /// 409: the consumer, or its stream, is deleted.
    ConsumerDeleted,
    /// 409: the consumer pushes, so nothing can be pulled.
    PushBased,
    /// 409: the server shuts down.
    ServerShutdown,
    /// 409: the consumer has another leader.
    LeadershipChange,
    /// 409: the request has got all that it asked for.
    BatchCompleted,
    /// 409: the next message is larger than what the request has left in bytes.
    MaxBytes,
    /// 409: too many requests wait.
    ExceededMaxWaiting,
    /// 409: a request asked for more messages than this, which the consumer allows.
    ExceededBatch(u64),
    /// 409: a request would have waited for longer than this, which the consumer allows.
    ExceededExpires(Duration),
    /// 409: a request asked for more bytes than this, which the consumer allows.
    ExceededMaxBytes(u64),
    /// 409, for a reason that is not known here.
    Conflict,
    /// 412: the server is older than the request asks for.
    RequiredApiLevel,
    /// 413: a direct get would find too much.
    TooManyResults,
    /// 423: somebody else is pinned to the group.
    WrongPin,
    /// 429: JetStream has too much to do.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503: nobody answers: there is no such consumer, no such stream, or nobody leads it now.
    NoResponders,
    /// Any other code.
    Other(u16),
}

/// A status, with the headers that came with it.
#[derive(Clone, Copy, Debug)]
pub struct StatusMessage<'a> {
    /// What it says.
    pub kind: StatusKind,
    /// Its code.
    pub code: u16,
    /// Its text, as it came.
    pub text: &'a str,
    headers: Headers<'a>,
}

impl<'a> StatusMessage<'a> {
    /// The status in a message; `None` when a consumer has delivered it or it has none. The
    /// publisher of a message may give it a status line too: then its reply subject tells.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        let headers = message.headers()?;
        if is_delivered(message) { None } else { Self::from_headers(headers) }
    }

    /// The status in these headers.
    #[must_use]
    pub fn from_headers(headers: Headers<'a>) -> Option<Self> {
        let status = headers.status()?;
        let (code, text) = (status.code, status.description.trim());
        Some(Self { kind: classify(code, text), code, text, headers })
    }

    /// Messages that a request which ends here has not got; `None` when that is not said.
    #[must_use]
    pub fn pending_messages(&self) -> Option<u64> {
        self.number("Nats-Pending-Messages")
    }

    /// Bytes that a request which ends here has left; 0 when it had no such limit.
    #[must_use]
    pub fn pending_bytes(&self) -> Option<u64> {
        self.number("Nats-Pending-Bytes")
    }

    /// With a heartbeat: the consumer's number of the last message that was delivered.
    #[must_use]
    pub fn last_consumer_sequence(&self) -> Option<u64> {
        self.number("Nats-Last-Consumer")
    }

    /// With a heartbeat: the stream's number of that message.
    #[must_use]
    pub fn last_stream_sequence(&self) -> Option<u64> {
        self.number("Nats-Last-Stream")
    }

    /// With a heartbeat: where a push consumer that has stopped waits for an answer.
    #[must_use]
    pub fn stalled(&self) -> Option<&'a str> {
        self.headers.get("Nats-Consumer-Stalled")
    }

    fn number(&self, name: &str) -> Option<u64> {
        let value = self.headers.get(name)?.trim();
        value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
    }
}

fn classify(code: u16, text: &str) -> StatusKind {
    let is = |begin: &str| begins(text, begin);
    match code {
        100 if is("FlowControl") => StatusKind::FlowControl,
        100 => StatusKind::IdleHeartbeat,
        204 => StatusKind::EndOfBatch,
        400 => StatusKind::BadRequest,
        404 if is("Message Not Found") => StatusKind::MessageNotFound,
        404 => StatusKind::NoMessages,
        408 if is("Requests Pending") => StatusKind::RequestsPending,
        408 if is("Interest Expired") => StatusKind::InterestExpired,
        // To a direct get; the request was wrong.
        408 if is("Empty Request") || is("Malformed Request") || is("Bad Request") => {
            StatusKind::BadRequest
        }
        408 => StatusKind::RequestTimeout,
        409 => conflict(text),
        412 => StatusKind::RequiredApiLevel,
        413 => StatusKind::TooManyResults,
        423 => StatusKind::WrongPin,
        429 => StatusKind::TooManyRequests,
        500 => StatusKind::InternalError,
        503 => StatusKind::NoResponders,
        other => StatusKind::Other(other),
    }
}

fn conflict(text: &str) -> StatusKind {
    const KNOWN: [(&str, StatusKind); 8] = [
        ("Consumer Deleted", StatusKind::ConsumerDeleted),
        ("Stream Deleted", StatusKind::ConsumerDeleted),
        ("Consumer is push based", StatusKind::PushBased),
        ("Server Shutdown", StatusKind::ServerShutdown),
        ("Leadership Change", StatusKind::LeadershipChange),
        ("Batch Completed", StatusKind::BatchCompleted),
        ("Message Size Exceeds MaxBytes", StatusKind::MaxBytes),
        ("Exceeded MaxWaiting", StatusKind::ExceededMaxWaiting),
    ];
    if let Some((_, kind)) = KNOWN.iter().find(|(begin, _)| begins(text, begin)) {
        return *kind;
    }
    let limit = || text.rsplit(' ').next().and_then(|last| last.parse().ok());
    if begins(text, "Exceeded MaxRequestBatch") {
        return limit().map_or(StatusKind::Conflict, StatusKind::ExceededBatch);
    }
    if begins(text, "Exceeded MaxRequestMaxBytes") {
        return limit().map_or(StatusKind::Conflict, StatusKind::ExceededMaxBytes);
    }
    if begins(text, "Exceeded MaxRequestExpires") {
        let limit = text.rsplit(' ').next().and_then(duration);
        return limit.map_or(StatusKind::Conflict, StatusKind::ExceededExpires);
    }
    StatusKind::Conflict
}

/// A duration as Go writes it: `1h2m3.5s`, `500ms`.
fn duration(mut text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("µs", 1e3),
        ("us", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let mut nanos = 0.0;
    while !text.is_empty() {
        let end = text.find(|it: char| !(it.is_ascii_digit() || it == '.'))?;
        let (number, rest) = text.split_at(end);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| begins(rest, unit))?;
        nanos += number.parse::<f64>().ok()? * factor;
        text = rest.get(unit.len()..)?;
    }
    Duration::try_from_secs_f64(nanos / 1e9).ok()
}

fn begins(text: &str, begin: &str) -> bool {
    text.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin))
}

#[cfg(test)]
mod tests {
    use midge_proto::{HeaderMap, SubjectRef};

    use super::*;

    fn kind(code: u16, text: &str) -> StatusKind {
        let mut headers = HeaderMap::new();
        headers.set_status(code, text).unwrap();
        StatusMessage::from_headers(headers.view()).unwrap().kind
    }

    #[test]
    fn every_status_is_told_by_its_code_first_and_then_by_its_text_in_any_case() {
        use StatusKind as Kind;
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_secs(60);
        const LONG: Duration = Duration::from_millis(3_630_500);
        for (code, text, expected) in [
            (100, "Idle Heartbeat", Kind::IdleHeartbeat),
            (100, "FlowControl Request", Kind::FlowControl),
            (204, "EOB", Kind::EndOfBatch),
            (400, "Bad Request - heartbeat value too large", Kind::BadRequest),
            (400, "Bad Request - Priority Group missing", Kind::BadRequest),
            (404, "No Messages", Kind::NoMessages),
            (404, "No Results", Kind::NoMessages),
            (404, "Message Not Found", Kind::MessageNotFound),
            (408, "Request Timeout", Kind::RequestTimeout),
            (408, "Requests Pending", Kind::RequestsPending),
            (408, "Interest Expired", Kind::InterestExpired),
            (408, "Empty Request", Kind::BadRequest),
            (409, "Consumer Deleted", Kind::ConsumerDeleted),
            (409, "Consumer is push based", Kind::PushBased),
            (409, "Server Shutdown", Kind::ServerShutdown),
            (409, "Leadership Change", Kind::LeadershipChange),
            (409, "Batch Completed", Kind::BatchCompleted),
            (409, "Message Size Exceeds MaxBytes", Kind::MaxBytes),
            (409, "Exceeded MaxWaiting", Kind::ExceededMaxWaiting),
            (409, "Exceeded MaxRequestBatch of 50", Kind::ExceededBatch(50)),
            (409, "Exceeded MaxRequestExpires of 1m0s", Kind::ExceededExpires(MINUTE)),
            (409, "Exceeded MaxRequestExpires of 1h0m30.5s", Kind::ExceededExpires(LONG)),
            (409, "Exceeded MaxRequestExpires of 500ms", Kind::ExceededExpires(SECOND / 2)),
            (409, "Exceeded MaxRequestExpires of 20µs", Kind::ExceededExpires(SECOND / 50_000)),
            (409, "Exceeded MaxRequestExpires of 1 week", Kind::Conflict),
            (409, "Exceeded MaxRequestMaxBytes of 1024", Kind::ExceededMaxBytes(1024)),
            (409, "Exceeded MaxRequestBatch of everything", Kind::Conflict),
            (409, "Something New", Kind::Conflict),
            (412, "Required Api Level", Kind::RequiredApiLevel),
            (413, "Too Many Results", Kind::TooManyResults),
            (423, "Nats-Wrong-Pin-Id", Kind::WrongPin),
            (429, "Too Many Requests", Kind::TooManyRequests),
            (500, "Internal Error", Kind::InternalError),
            (503, "", Kind::NoResponders),
            (777, "", Kind::Other(777)),
        ] {
            assert_eq!(kind(code, text), expected, "{code} {text}");
            assert_eq!(kind(code, &text.to_ascii_uppercase()), expected, "{code} {text}");
            assert_eq!(kind(code, &text.to_ascii_lowercase()), expected, "{code} {text}");
        }
    }

    #[test]
    fn numbers_in_headers_are_read_and_nonsense_is_none() {
        let mut headers = HeaderMap::new();
        headers.set_status(408, "Request Timeout").unwrap();
        headers.append("Nats-Pending-Messages", "4").unwrap();
        headers.append("Nats-Pending-Bytes", "-1").unwrap();
        let status = StatusMessage::from_headers(headers.view()).unwrap();
        assert_eq!((status.pending_messages(), status.pending_bytes()), (Some(4), None));
    }

    #[test]
    fn a_stored_message_with_a_status_line_is_a_message() {
        let subject = SubjectRef::new("s").unwrap();
        let ack = SubjectRef::new("$JS.ACK.S.c.1.1.1.1.0").unwrap();
        let mut headers = HeaderMap::new();
        headers.set_status(503, "").unwrap();
        let stored = Message::from_parts(subject, Some(ack), Some(&headers), b"");
        assert!(StatusMessage::of(&stored).is_none());
        let status = Message::from_parts(subject, None, Some(&headers), b"");
        assert_eq!(StatusMessage::of(&status).unwrap().kind, StatusKind::NoResponders);
    }
}
