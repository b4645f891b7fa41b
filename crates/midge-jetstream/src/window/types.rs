//! What goes into a window and comes out of it.

use alloc::string::String;
use core::time::Duration;

use midge_proto::{HeaderMap, Instant, Position, SubjectRef};

use crate::delivery::number_at;

#[cfg(doc)]
use super::{PublishWindow, Report};

/// In which order the messages of a [`PublishWindow`] come into the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishOrder {
    /// They are sent in order. A message that has to be sent again comes behind those that were
    /// sent meanwhile, and that is reported: [`Report::Moved`].
    #[default]
    Sent,
    /// As they were given, with many on their way, if nobody else publishes to the stream: each
    /// expects the number of the one before to be the last of the stream, so that none is stored
    /// behind a gap, and what is behind a gap is sent again. A message of somebody else takes the
    /// place of one, which the next one may pass: [`Report::Moved`] tells. A message can have no
    /// `Nats-Expected-Last-Sequence` of its own, and not be one for a counter, which takes none.
    ///
    /// Ids would tell others apart, but `Nats-Expected-Last-Msg-Id` is not used: a replicated stream
    /// of nats-server 2.15.1 stops for good on all servers when one message is refused by it.
    Chained,
    /// As they were given, one after the other.
    OneByOne,
}

/// What a [`PublishWindow`] may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// Messages on their way, at least 1. Default: 256.
    pub max_messages: usize,
    /// Bytes of them: subjects, headers and payloads. One message alone may have more. Default:
    /// 8 MiB.
    pub max_bytes: usize,
    /// How often a message is sent again that no stream took. Default: 2 (ADR-22).
    pub retries: u32,
    /// The time before. Default: 250 ms.
    pub retry_wait: Duration,
    /// The time for an answer. After it, the message is sent again. Default: 5 s.
    pub ack_wait: Duration,
    /// For how long the stream knows message ids again. A message that may have been stored is sent
    /// again within three quarters of it. Default: 2 minutes, that of streams. [`Duration::MAX`]
    /// while it is not known: [`PublishWindow::limit_duplicates`] has to tell it before a message is
    /// sent that is [in doubt](Outgoing::in_doubt).
    pub duplicate_window: Duration,
    /// The order.
    pub order: PublishOrder,
    /// Also reports messages that were stored.
    pub report_stored: bool,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            max_messages: 256,
            max_bytes: 8 * 1024 * 1024,
            retries: 2,
            retry_wait: Duration::from_millis(250),
            ack_wait: Duration::from_secs(5),
            duplicate_window: Duration::from_secs(120),
            order: PublishOrder::default(),
            report_stored: false,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the window goes on once it is done"]
pub enum WindowOutput {
    /// Send [`PublishWindow::outgoing`] as a request, then call [`PublishWindow::sent`], or
    /// [`PublishWindow::not_sent`]. If there is no room, ask again later.
    Send(u64),
    /// Take back what was published at this position, then call [`PublishWindow::withdrawn`].
    Withdraw(u64, Position),
    /// Nothing until an answer comes, or the state of the connection changes, or this moment.
    Idle(Option<Instant>),
}

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The last token of the reply subject, in decimal digits.
    pub token: u64,
    /// Its subject.
    pub subject: SubjectRef<'a>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its payload.
    pub payload: &'a [u8],
    /// It was sent before, and may be stored: the stream has to know its id again.
    pub in_doubt: bool,
}

impl Outgoing<'_> {
    /// Writes [`token`](Self::token) behind `out`.
    pub fn write_token(&self, out: &mut String) {
        out.push_str(itoa::Buffer::new().format(self.token));
    }

    /// The token at the end of a reply subject, behind its first `inbox` bytes; `None` when it is none.
    #[inline]
    #[must_use]
    pub fn read_token(reply: &[u8], inbox: usize) -> Option<u64> {
        number_at(reply, inbox)
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Status 503: no stream listens on the subject, or none that has a leader.
    NoResponders,
    /// The payload of the answer.
    Payload(&'a [u8]),
}
