//! What became of the messages of a window.

use midge_proto::PublishError;

use crate::{ApiError, PubAck, ReplyError, Unpublished};

/// What became of one message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// The stream has it. Told only if [`WindowConfig::report_stored`](crate::WindowConfig) says so.
    Stored {
        /// Its number.
        number: u64,
        /// The stream's word.
        ack: PubAck,
    },
    /// The stream has it, behind messages that were given later: it had to be sent again.
    Moved {
        /// Its number.
        number: u64,
        /// Its number in the stream.
        seq: u64,
    },
    /// It was given up.
    Failed {
        /// Its number.
        number: u64,
        /// Why.
        failure: PublishFailure,
        /// The message.
        message: Unpublished,
    },
}

/// Why a message was given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishFailure {
    /// The stream refused it.
    #[error("the stream refused the message: {0}")]
    Refused(ApiError),
    /// No stream listens on its subject, or its leader is being elected.
    #[error("no stream took the message in {attempts} attempts: create a stream for its subject")]
    NoStream {
        /// How often it was sent.
        attempts: u32,
    },
    /// It may have been stored: it was sent, no answer came, and the stream may not know it again
    /// if it is sent once more.
    #[error("the message may or may not be stored: no answer came within the duplicate window")]
    Unknown,
    /// It was not sent, and will not be.
    #[error("the message was not sent: {0}")]
    NotSent(PublishError),
    /// What answered is no stream.
    #[error("the answer is none of a stream: {0}")]
    Malformed(ReplyError),
}
