//! Why a subscription ended.

use midge_proto::NotSent;
use midge_proto::wire::ServerError;

/// Why a subscription ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The caller unsubscribed.
    #[error("unsubscribed")]
    Unsubscribed,
    /// All messages that the caller asked for came.
    #[error("the maximum number of messages came")]
    MaxReached,
    /// Its drain is complete: the server sends nothing more, and all it sent was delivered.
    #[error("drained")]
    Drained,
    /// The connection was lost before its drain was complete. Of what the server had sent, the last
    /// may be missing.
    #[error("the connection was lost before the drain was complete")]
    Disconnected,
    /// No message came within [`first_within`](crate::Subscribe::first_within). It was
    /// unsubscribed.
    #[error("no message came in the time that was given for the first one")]
    NoFirstMessage,
    /// The server denies the subject or the queue group.
    #[error("{0}")]
    Denied(ServerError),
    /// The connection closed.
    #[error("the connection closed")]
    Closed,
}

impl From<midge_proto::EndReason> for EndReason {
    fn from(reason: midge_proto::EndReason) -> Self {
        match reason {
            midge_proto::EndReason::Unsubscribed => Self::Unsubscribed,
            midge_proto::EndReason::MaxReached => Self::MaxReached,
            midge_proto::EndReason::Drained => Self::Drained,
            midge_proto::EndReason::Disconnected => Self::Disconnected,
            midge_proto::EndReason::Denied(error) => Self::Denied(error),
            _ => Self::Closed,
        }
    }
}

/// As [`EndReason`], with what only happens to the inbox of a request.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Reason(EndReason),
    /// The request never left.
    NotSent(NotSent),
    /// The time of the request is up.
    Deadline,
    /// The connection that the request was sent through is lost.
    Lost,
}

impl End {
    /// What a subscription tells. Those of requests are seen by nobody.
    pub(crate) fn into_reason(self) -> EndReason {
        match self {
            Self::Reason(reason) => reason,
            Self::Deadline | Self::NotSent(_) => EndReason::Unsubscribed,
            Self::Lost => EndReason::Closed,
        }
    }
}
