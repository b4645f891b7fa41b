//! What became of the messages of a window.

use midge_proto::PublishError;

use crate::{ApiError, ErrorCode, PubAck, ReplyError, Unpublished};

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
    /// The stream refused it, and does not have it.
    #[error("the stream refused the message: {0}")]
    Refused(ApiError),
    /// No stream listens on its subject, or its leader is being elected.
    #[error("no stream took the message in {attempts} attempts: create a stream for its subject")]
    NoStream {
        /// How often it was sent.
        attempts: u32,
    },
    /// It may have been stored: it was sent, no answer came, and the stream may not know it again
    /// if it is sent once more, or has refused it then for what may be its own doing: a server alone
    /// looks at what a message expects before it looks at its id.
    #[error(
        "the message may or may not be stored: no answer came, and the stream may not know it again"
    )]
    Unknown,
    /// It was not sent, and will not be.
    #[error("the message was not sent: {0}")]
    NotSent(PublishError),
    /// What answered is no stream.
    #[error("the answer is none of a stream: {0}")]
    Malformed(ReplyError),
}

impl PublishFailure {
    /// `in_doubt`: it was sent before, and may be stored since.
    pub(super) fn refused(error: ApiError, in_doubt: bool) -> Self {
        let code = error.err_code;
        // What the stream expects, and how much it holds, a message changes that it has stored.
        let its_own_doing = code.is_wrong_last_sequence()
            || code == ErrorCode::STREAM_WRONG_LAST_MSG_ID
            || code == ErrorCode::STREAM_STORE_FAILED;
        if in_doubt && its_own_doing { Self::Unknown } else { Self::Refused(error) }
    }
}
