//! Answers to a delivered message.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::time::Duration;

/// What is said of a message that was delivered, published to its reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ack<'a> {
    /// It is done.
    Ack,
    /// It could not be done: deliver it again, at once or after this time, in nanoseconds on the
    /// wire.
    Nak(Option<Duration>),
    /// It is being worked on: the time until it is delivered again begins anew.
    InProgress,
    /// It will never be done: do not deliver it again. The reason is told in an advisory.
    Term(Option<&'a str>),
    /// It is done, and the next message is to be delivered to the reply subject of the ack.
    Next,
}

impl Ack<'_> {
    /// Whether the message is settled by it: only the first such answer counts for the server.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self != Self::InProgress
    }

    /// The payload. It allocates only for a delay and for a reason.
    #[inline]
    #[must_use]
    pub fn payload(self) -> Cow<'static, [u8]> {
        let fixed: &'static [u8] = match self {
            Self::Ack => b"+ACK",
            Self::Nak(None | Some(Duration::ZERO)) => b"-NAK",
            Self::InProgress => b"+WPI",
            Self::Term(None) => b"+TERM",
            Self::Next => b"+NXT",
            Self::Nak(Some(delay)) => {
                // The server reads an i64.
                let nanos = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
                let mut payload = Vec::from(b"-NAK {\"delay\":");
                payload.extend_from_slice(itoa::Buffer::new().format(nanos).as_bytes());
                payload.push(b'}');
                return Cow::Owned(payload);
            }
            Self::Term(Some(reason)) => {
                let mut payload = Vec::from(b"+TERM ");
                payload.extend_from_slice(reason.as_bytes());
                return Cow::Owned(payload);
            }
        };
        Cow::Borrowed(fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_written_as_the_server_reads_them() {
        let delay = |delay| Ack::Nak(Some(delay));
        for (ack, payload) in [
            (Ack::Ack, "+ACK"),
            (Ack::Nak(None), "-NAK"),
            (delay(Duration::ZERO), "-NAK"),
            (delay(Duration::from_millis(1500)), "-NAK {\"delay\":1500000000}"),
            (delay(Duration::MAX), "-NAK {\"delay\":9223372036854775807}"),
            (Ack::InProgress, "+WPI"),
            (Ack::Term(None), "+TERM"),
            (Ack::Term(Some("no such user")), "+TERM no such user"),
            (Ack::Next, "+NXT"),
        ] {
            assert_eq!(&*ack.payload(), payload.as_bytes());
        }
        assert!(Ack::Nak(None).is_terminal() && !Ack::InProgress.is_terminal());
    }
}
