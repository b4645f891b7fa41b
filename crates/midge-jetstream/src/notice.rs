//! What a consumer notices on its way, and how it ends.

use alloc::string::String;
use core::time::Duration;

use crate::error::ApiError;

/// What a consumer has noticed. It goes on: how to deal with it is settled already.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Nothing came for two heartbeats: what was asked for is taken for lost, and asked for again. Told
    /// once, until something comes.
    HeartbeatsMissed,
    /// Another server leads the consumer now.
    LeadershipChanged,
    /// The server that led the consumer shuts down.
    ServerShutdown,
    /// Nobody answers: there is no such consumer, no such stream, or nobody leads it for now.
    NoResponders,
    /// This reader is the one that gets the messages of its group from now on.
    Pinned,
    /// Another reader gets the messages of the group.
    Unpinned,
    /// More requests wait at the consumer than it allows: too many readers.
    TooManyWaiting,
    /// The consumer allows less at a time than was asked for; less is asked for from now on.
    LimitLowered(Limit),
    /// A message is larger than the bytes that are asked for at a time, and cannot come.
    MessageTooLarge,
    /// The server calls the request wrong, in these words. It is sent again, more and more seldom,
    /// since the consumer may be changed.
    BadRequest(String),
    /// JetStream has too much to do.
    TooManyRequests,
    /// The server said something else that ends a request: its code and words.
    Status(u16, String),
    /// A push consumer sends its messages to this subject now, which is read from here on.
    Redirected(String),
    /// An ordered consumer begins anew behind the last message that was handed out.
    Reset(ResetCause),
    /// An ordered consumer has a new consumer at the server, with this name.
    Recreated(String),
    /// An ordered consumer could not make its consumer, and tries again; with the server's reason
    /// if it gave one.
    CreateFailed(Option<ApiError>),
    /// The stream of an ordered consumer was deleted and made anew, or has lost what it had, as one in
    /// memory whose servers were restarted, and gives the same numbers to other messages: it begins
    /// with its first message.
    StreamReplaced,
    /// The stream ends before what an ordered consumer has handed out: it has lost its
    /// end, or the server that answered lags behind. Up to `handed_out` nothing is given twice.
    StreamBehind {
        /// The last message that was handed out.
        handed_out: u64,
        /// The last message of the stream.
        last: u64,
    },
}

/// What a consumer allows less of than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Messages at a time.
    Messages(u64),
    /// Bytes at a time.
    Bytes(u64),
    /// The time that a request waits.
    Expires(Duration),
}

/// Why an ordered consumer begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetCause {
    /// Messages are missing before the one that came.
    Gap,
    /// Messages are missing before a heartbeat.
    GapAtHeartbeat,
    /// Nothing came for two heartbeats.
    HeartbeatsMissed,
    /// The connection was lost.
    Reconnected,
    /// The server has deleted the consumer.
    ConsumerDeleted,
    /// The consumer, or who led it, has gone.
    ConsumerLost,
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullEnd {
    /// All that was asked for came.
    #[error("all that was asked for came")]
    Done,
    /// The time is over.
    #[error("the time for messages is over")]
    Expired,
    /// There is nothing now, and the request was not to wait.
    #[error("there are no messages now")]
    NoMessages,
    /// It was stopped or drained, or the client drains.
    #[error("reading was stopped, or the client drains")]
    Stopped,
    /// The next message is larger than all bytes asked for.
    #[error("the next message is larger than `max_bytes` allows: ask for more bytes")]
    MessageTooLarge,
    /// The consumer, or its stream, was deleted.
    #[error("the consumer was deleted")]
    ConsumerDeleted,
    /// There is no such consumer, or no such stream.
    #[error("there is no such consumer, or no such stream")]
    Missing,
    /// The consumer pushes.
    #[error("the consumer pushes its messages: nothing can be pulled from it")]
    PushBased,
    /// Nobody answers.
    #[error("nobody answers: the consumer or its stream does not exist, or has no leader now")]
    NoResponders,
    /// The connection was closed.
    #[error("the connection was closed")]
    Closed,
    /// There was no connection at the end of the time.
    #[error("there was no connection when the time for messages was over")]
    Disconnected,
    /// The server refused, with this code and in these words.
    #[error("the server refused: {1} ({0})")]
    Refused(u16, String),
    /// The user may not ask for messages, or not receive them, in the words of the server's error.
    #[error("pulling is not permitted: {0}")]
    Denied(String),
}

impl PullEnd {
    /// Whether it is an end that was asked for, and no error.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        matches!(self, Self::Done | Self::Expired | Self::NoMessages | Self::Stopped)
    }
}
