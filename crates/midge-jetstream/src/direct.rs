//! Getting messages from any server that has them: one, many, or the last one of each subject
//! (ADR-31).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use midge_proto::{HeaderMap, Message};
use serde::Serialize;

use crate::check::{ConfigError, optional_subject, range, subject};
use crate::stored::StoredMessage;
use crate::time::Time;
use crate::wire::is_default;

/// What the server adds to the headers of a message.
const ADDED: [&str; 7] = [
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
    "Nats-UpTo-Sequence",
];

/// The most messages that are asked for at once.
const PAGE: u64 = 1_000;
/// The most bytes that are asked for at once. One message more than that may come.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// How often in a row nothing of a page may arrive whole.
const ATTEMPTS: u32 = 5;
/// The wait before the third request in a row of which nothing arrived whole. The second comes at
/// once, and each wait is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectGetError {
    /// No message is of that sequence or subject. The server that was asked may be behind.
    #[error("no such message")]
    NotFound,
    /// The subjects match more than the 1,024 messages that one request can give the last of.
    /// Nothing was given: ask with narrower subjects.
    #[error("too many subjects match: at most 1,024 in one request; ask with narrower subjects")]
    TooManySubjects,
    /// The server cannot give several messages at once: it is older than 2.11.
    #[error("the server gives one message at a time: several at once need nats-server 2.11")]
    Unsupported,
    /// Answers did not arrive whole, several times over. What came before was in order and
    /// without gaps.
    #[error("messages were lost on their way {ATTEMPTS} times in a row; ask for the rest")]
    Lost,
    /// The server refused.
    #[error("the server refused: {code} {description}")]
    Status {
        /// Its code.
        code: u16,
        /// Its words.
        description: String,
    },
    /// The answer is not of the form expected.
    #[error("the answer has no {header} that can be read")]
    Malformed {
        /// The header.
        header: &'static str,
    },
}

impl StoredMessage {
    /// What a server answered to a direct get.
    ///
    /// # Errors
    ///
    /// [`DirectGetError`] when it answered with a status, or without saying which message it is.
    pub fn from_direct(message: Message) -> Result<Self, DirectGetError> {
        if let Some(error) = refusal(&message) {
            return Err(error);
        }
        let subject = header(&message, "Nats-Subject")?.into();
        let sequence = number(&message, "Nats-Sequence")?;
        let time = parsed(&message, "Nats-Time-Stamp")?;
        let headers = own_headers(&message);
        Ok(Self { subject, sequence, time, headers, payload: message.into_payload() })
    }
}

/// The last header of a name: the server adds its own behind those of the message, which may be
/// of any name.
fn last_header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    core::str::from_utf8(message.headers()?.get_all(name).last()?).ok()
}

fn header<'a>(message: &'a Message, header: &'static str) -> Result<&'a str, DirectGetError> {
    last_header(message, header).ok_or(DirectGetError::Malformed { header })
}

fn parsed<T: core::str::FromStr>(
    message: &Message,
    name: &'static str,
) -> Result<T, DirectGetError> {
    header(message, name)?.parse().map_err(|_| DirectGetError::Malformed { header: name })
}

fn number(message: &Message, name: &'static str) -> Result<u64, DirectGetError> {
    parsed(message, name)
}

/// The headers without the last of each name that the server adds.
fn own_headers(message: &Message) -> HeaderMap {
    let mut own = HeaderMap::new();
    let Some(headers) = message.headers() else { return own };
    let mut left = ADDED.map(|name| headers.get_all(name).count());
    for (name, value) in headers.iter() {
        if let Some(place) = ADDED.iter().position(|added| *added == name) {
            left[place] -= 1;
            if left[place] == 0 {
                continue;
            }
        }
        // What was received as a header can be one.
        let _ = own.append(name, value);
    }
    own
}

pub(crate) fn refusal(message: &Message) -> Option<DirectGetError> {
    let status = message.status()?;
    Some(match status.code {
        404 => DirectGetError::NotFound,
        413 => DirectGetError::TooManySubjects,
        code => DirectGetError::Status { code, description: status.description.into() },
    })
}

/// A request for several messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectBatchRequest {
    /// Which messages.
    pub which: DirectBatchOf,
    /// The most messages. `None`: all there are.
    pub max_messages: Option<u64>,
}

impl DirectBatchRequest {
    /// Checks it for what no server would take.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a subject is none, or there is none to get the last message of.
    pub fn check(&self) -> Result<(), ConfigError> {
        let filter = match &self.which {
            DirectBatchOf::From { subject, .. } | DirectBatchOf::FromTime { subject, .. } => {
                subject
            }
            DirectBatchOf::Last { subjects, .. } => {
                range("multi_last", !subjects.is_empty(), "one subject or more")?;
                return subjects.iter().try_for_each(|one| subject("multi_last", one));
            }
        };
        optional_subject("next_by_subj", filter.as_deref())
    }
}

/// Which messages to get.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectBatchOf {
    /// From a sequence on, in order.
    From {
        /// The first sequence that will do.
        sequence: u64,
        /// Only those of this subject, which may hold wildcards.
        subject: Option<String>,
    },
    /// From a time on, in order.
    FromTime {
        /// The first time that will do.
        time: Time,
        /// Only those of this subject, which may hold wildcards.
        subject: Option<String>,
    },
    /// The last one of each subject that matches, in the order of their sequences: all as they
    /// were at one moment.
    Last {
        /// The subjects, which may hold wildcards. They may match 1,024 at most.
        subjects: Vec<String>,
        /// As the stream was when this was its last sequence. Zero: as it is.
        up_to_sequence: u64,
        /// As the stream was at a time. Not together with `up_to_sequence`.
        up_to_time: Option<Time>,
    },
}

impl Default for DirectBatchOf {
    fn default() -> Self {
        Self::From { sequence: 1, subject: None }
    }
}

/// A request as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DirectGetRequest<'a> {
    #[serde(skip_serializing_if = "is_default")]
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
    batch: u64,
    max_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Time>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    multi_last: &'a [String],
    #[serde(skip_serializing_if = "is_default")]
    up_to_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to_time: Option<Time>,
}

/// What to do after a message.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum DirectBatchStep {
    /// Hand it on.
    Message(StoredMessage),
    /// Send [`request`](DirectBatch::request), with another inbox: there is more, or what came
    /// has a gap.
    Ask {
        /// After this time.
        after: Duration,
    },
    /// All is there.
    End,
    /// It is over.
    Failed(DirectGetError),
}

/// Several messages, page by page, in order and without gaps.
///
/// Each page is a request with an inbox of its own, and bounded in messages and bytes. A page of
/// which something is lost is asked for again behind the last message that came.
#[derive(Clone, Debug)]
pub struct DirectBatch {
    of: DirectBatchOf,
    /// Messages that are still to come at most.
    left: Option<u64>,
    /// The sequence of the last message that was handed on; zero before.
    last: u64,
    /// The same within the page.
    last_of_page: u64,
    /// Pages in a row of which nothing was handed on.
    attempts: u32,
}

impl DirectBatch {
    /// A machine that has asked for nothing yet.
    #[must_use]
    pub fn new(request: DirectBatchRequest) -> Self {
        let DirectBatchRequest { which: of, max_messages: left } = request;
        Self { of, left, last: 0, last_of_page: 0, attempts: 0 }
    }

    /// Whether nothing is to be asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == Some(0)
    }

    /// The request of the next page.
    pub fn request(&mut self) -> DirectGetRequest<'_> {
        self.last_of_page = 0;
        let batch = self.left.map_or(PAGE, |left| left.min(PAGE));
        let mut request =
            DirectGetRequest { batch, max_bytes: PAGE_BYTES, ..DirectGetRequest::default() };
        let further = if self.last == 0 { None } else { self.last.checked_add(1) };
        match &self.of {
            DirectBatchOf::From { sequence, subject } => {
                request.seq = further.unwrap_or((*sequence).max(1));
                request.next_by_subj = subject.as_deref();
            }
            DirectBatchOf::FromTime { time, subject } => {
                match further {
                    Some(sequence) => request.seq = sequence,
                    None => request.start_time = Some(*time),
                }
                request.next_by_subj = subject.as_deref();
            }
            DirectBatchOf::Last { subjects, up_to_sequence, up_to_time } => {
                request.seq = further.unwrap_or_default();
                request.multi_last = subjects;
                request.up_to_seq = *up_to_sequence;
                request.up_to_time = *up_to_time;
            }
        }
        request
    }

    /// What a message on the inbox of the page means.
    pub fn receive(&mut self, message: Message) -> DirectBatchStep {
        match message.status().map(|status| status.code) {
            None => {}
            Some(204) => return self.end_of_page(&message),
            // Behind what came there is nothing more.
            Some(404) if self.last != 0 => return DirectBatchStep::End,
            Some(_) => {
                let error = refusal(&message).unwrap_or(DirectGetError::NotFound);
                return DirectBatchStep::Failed(error);
            }
        }
        if last_header(&message, "Nats-Num-Pending").is_none() {
            return DirectBatchStep::Failed(DirectGetError::Unsupported);
        }
        let before = match number(&message, "Nats-Last-Sequence") {
            Ok(before) => before,
            Err(error) => return DirectBatchStep::Failed(error),
        };
        if before != self.last_of_page {
            return self.lost();
        }
        if self.left == Some(0) {
            // More than was asked for.
            return DirectBatchStep::End;
        }
        match StoredMessage::from_direct(message) {
            // A server that goes back would never end.
            Ok(message) if message.sequence <= self.last => {
                DirectBatchStep::Failed(DirectGetError::Malformed { header: "Nats-Sequence" })
            }
            Ok(message) => {
                self.last = message.sequence;
                self.last_of_page = message.sequence;
                self.attempts = 0;
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(1);
                }
                DirectBatchStep::Message(message)
            }
            Err(error) => DirectBatchStep::Failed(error),
        }
    }

    fn end_of_page(&mut self, end: &Message) -> DirectBatchStep {
        let (pending, last) =
            match (number(end, "Nats-Num-Pending"), number(end, "Nats-Last-Sequence")) {
                (Ok(pending), Ok(last)) => (pending, last),
                (Err(error), _) | (_, Err(error)) => return DirectBatchStep::Failed(error),
            };
        if last != self.last_of_page {
            return self.lost();
        }
        if let DirectBatchOf::Last { up_to_sequence, up_to_time, .. } = &mut self.of
            && let Ok(up_to) = number(end, "Nats-UpTo-Sequence")
        {
            // Further pages are of the same moment.
            (*up_to_sequence, *up_to_time) = (up_to, None);
        }
        if pending == 0 || self.left == Some(0) {
            return DirectBatchStep::End;
        }
        if self.last_of_page == 0 {
            // There is more, and none of it came.
            return self.lost();
        }
        DirectBatchStep::Ask { after: Duration::ZERO }
    }

    /// Whether a message was handed on.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.last != 0
    }

    /// The page ended without saying so: the connection, or the server that answered, is gone.
    pub fn lost(&mut self) -> DirectBatchStep {
        self.attempts += 1;
        if self.left == Some(0) {
            return DirectBatchStep::End;
        }
        let after = match self.attempts {
            ATTEMPTS.. => return DirectBatchStep::Failed(DirectGetError::Lost),
            0 | 1 => Duration::ZERO,
            further => FIRST_WAIT * (1 << (further - 2)),
        };
        DirectBatchStep::Ask { after }
    }
}
