//! Atomic batches: messages that a stream stores all together or not at all (ADR-50).

use alloc::string::String;

use midge_proto::HeaderMap;

use crate::PubAck;
use crate::publish::{EXPECTED_LAST_MESSAGE_ID, EXPECTED_LAST_SEQUENCE};

const ID: &str = "Nats-Batch-Id";
const SEQUENCE: &str = "Nats-Batch-Sequence";
const COMMIT: &str = "Nats-Batch-Commit";

/// Bytes that the id of a batch may have.
pub(crate) const MAX_ID: usize = 64;
/// Messages that a batch may have, unless the server is told otherwise.
const MAX_MESSAGES: u64 = 1000;
/// Messages of which one is acknowledged, so that a batch does not run ahead of its stream.
const ACK_EVERY: u64 = 100;

/// How a batch is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Commit {
    /// The last message is one of the batch.
    WithMessage,
    /// The last message ends the batch and is not stored. Needs nats-server 2.14.
    End,
}

/// A batch that cannot go on, or a message that it cannot take. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The id is too long, or empty.
    #[error("{id:?} cannot be the id of a batch: it must have 1 to 64 printable characters")]
    Id {
        /// The id.
        id: String,
    },
    /// It has as many messages as a server takes.
    #[error("a batch has at most {max} messages: commit it, and begin another one")]
    TooLarge {
        /// How many it may have.
        max: u64,
    },
    /// A message of a batch cannot have this header.
    #[error("a message of a batch cannot have the header {header}: leave it out")]
    Header {
        /// The header.
        header: &'static str,
    },
    /// Only the first message says what the last sequence of the stream must be.
    #[error("only the first message of a batch may have the header {EXPECTED_LAST_SEQUENCE}")]
    NotFirst,
    /// There is nothing to commit.
    #[error("a batch without messages cannot be committed: drop it")]
    Empty,
    /// It was committed or has failed.
    #[error("the batch is over: begin another one")]
    Over,
}

/// A commit whose answer does not fit the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The stream did not take the message for one of a batch: it knows no batches, or another id.
    #[error("the stream stored one message and no batch: it needs nats-server 2.12")]
    NoBatch,
    /// The stream stored another number of messages.
    #[error("the batch has {sent} messages and the stream stored {stored:?}")]
    Count {
        /// Messages of the batch.
        sent: u64,
        /// What the stream says.
        stored: Option<u64>,
    },
}

/// One batch: which headers its messages have, when the stream is asked whether it goes along, and
/// whether it was stored whole.
#[derive(Clone, Debug)]
pub struct Batch {
    id: String,
    messages: u64,
    over: bool,
    max: u64,
    ack_every: u64,
}

/// Whether the stream must be heard before the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that is to be acknowledged is sent as a request"]
pub enum Ask {
    /// Publish the message.
    No,
    /// Send it as a request. The answer is empty if all is well.
    Yes,
}

impl Batch {
    /// A batch with an id that no other batch has.
    ///
    /// # Errors
    ///
    /// [`BatchError::Id`] unless it has 1 to 64 printable characters.
    pub fn new(id: String) -> Result<Self, BatchError> {
        let printable = id.bytes().all(|byte| byte.is_ascii_graphic());
        if id.is_empty() || id.len() > MAX_ID || !printable {
            return Err(BatchError::Id { id });
        }
        Ok(Self { id, messages: 0, over: false, max: MAX_MESSAGES, ack_every: ACK_EVERY })
    }

    /// Messages that a batch may have, where the server allows others than 1,000.
    #[must_use]
    pub fn max_messages(mut self, max: u64) -> Self {
        self.max = max;
        self
    }

    /// Messages of which one is acknowledged, besides the first and the last: 100 at first, 0 for
    /// none.
    #[must_use]
    pub fn ack_every(mut self, messages: u64) -> Self {
        self.ack_every = messages;
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Ends it: the stream refused a message, or the connection was lost.
    pub fn fail(&mut self) {
        self.over = true;
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), BatchError> {
        if self.over {
            return Err(BatchError::Over);
        }
        for header in [EXPECTED_LAST_MESSAGE_ID, ID, SEQUENCE, COMMIT] {
            if headers.get(header).is_some() {
                return Err(BatchError::Header { header });
            }
        }
        if self.messages > 0 && headers.get(EXPECTED_LAST_SEQUENCE).is_some() {
            return Err(BatchError::NotFirst);
        }
        Ok(())
    }

    fn write(&mut self, headers: &mut HeaderMap) {
        self.messages += 1;
        // The id was checked, and digits can stand in every header.
        let _ = headers.append(ID, &self.id);
        let _ = headers.append(SEQUENCE, itoa::Buffer::new().format(self.messages));
    }

    /// Makes a message one of the batch.
    ///
    /// # Errors
    ///
    /// [`BatchError`]; neither the batch nor the headers have changed.
    pub fn add(&mut self, headers: &mut HeaderMap) -> Result<Ask, BatchError> {
        self.check(headers)?;
        if self.messages >= self.max {
            return Err(BatchError::TooLarge { max: self.max });
        }
        self.write(headers);
        let first = self.messages == 1;
        let due = self.ack_every > 0 && self.messages.is_multiple_of(self.ack_every);
        Ok(if first || due { Ask::Yes } else { Ask::No })
    }

    /// The last message that was added was not sent.
    pub fn take_back(&mut self) {
        self.messages = self.messages.saturating_sub(1);
    }

    /// Makes a message the last one, which is sent as a request; [`committed`](Self::committed)
    /// checks the answer.
    ///
    /// # Errors
    ///
    /// [`BatchError`]; neither the batch nor the headers have changed.
    pub fn commit(&mut self, headers: &mut HeaderMap, how: Commit) -> Result<(), BatchError> {
        self.check(headers)?;
        if how == Commit::End && self.messages == 0 {
            return Err(BatchError::Empty);
        }
        if how == Commit::WithMessage && self.messages >= self.max {
            return Err(BatchError::TooLarge { max: self.max });
        }
        self.write(headers);
        self.over = true;
        if how == Commit::End {
            self.messages -= 1;
        }
        let _ = headers.append(COMMIT, if how == Commit::End { "eob" } else { "1" });
        Ok(())
    }

    /// Whether the answer to the commit says that the whole batch is stored.
    ///
    /// # Errors
    ///
    /// [`CommitError`] if it does not.
    pub fn committed(&self, ack: &PubAck) -> Result<(), CommitError> {
        if ack.batch.as_deref() != Some(&*self.id) {
            return Err(CommitError::NoBatch);
        }
        if ack.count != Some(self.messages) {
            return Err(CommitError::Count { sent: self.messages, stored: ack.count });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn batch() -> Batch {
        Batch::new("b-1".into()).unwrap()
    }

    #[test]
    fn messages_are_numbered_and_the_first_and_some_are_acknowledged() {
        let mut batch = batch().ack_every(3);
        let mut asked = alloc::vec::Vec::new();
        for number in 1..=7_u64 {
            let mut headers = HeaderMap::new();
            if batch.add(&mut headers).unwrap() == Ask::Yes {
                asked.push(number);
            }
            assert_eq!(headers.get(ID), Some("b-1"));
            assert_eq!(headers.get(SEQUENCE), Some(&*number.to_string()));
            assert_eq!(headers.get(COMMIT), None);
        }
        assert_eq!(asked, [1, 3, 6]);
        let mut headers = HeaderMap::new();
        batch.commit(&mut headers, Commit::WithMessage).unwrap();
        assert_eq!((headers.get(SEQUENCE), headers.get(COMMIT)), (Some("8"), Some("1")));
        assert_eq!(batch.add(&mut headers), Err(BatchError::Over));
    }

    #[test]
    fn the_count_of_the_commit_is_checked() {
        for (how, count) in [(Commit::WithMessage, 3), (Commit::End, 2)] {
            let mut batch = batch();
            let _ = batch.add(&mut HeaderMap::new()).unwrap();
            let _ = batch.add(&mut HeaderMap::new()).unwrap();
            let mut headers = HeaderMap::new();
            batch.commit(&mut headers, how).unwrap();
            assert_eq!(headers.get(SEQUENCE), Some("3"));
            let mut ack = PubAck::of("S".into(), 9);
            assert_eq!(batch.committed(&ack), Err(CommitError::NoBatch));
            ack.batch = Some("b-1".into());
            ack.count = Some(count);
            assert_eq!(batch.committed(&ack), Ok(()));
            ack.count = Some(7);
            let wrong = CommitError::Count { sent: count, stored: Some(7) };
            assert_eq!(batch.committed(&ack), Err(wrong));
        }
    }

    #[test]
    fn what_the_stream_would_refuse_is_refused() {
        for id in ["", "a b", &"x".repeat(65)] {
            assert!(Batch::new(id.into()).is_err(), "{id:?}");
        }
        let mut batch = batch().max_messages(2);
        assert_eq!(batch.commit(&mut HeaderMap::new(), Commit::End), Err(BatchError::Empty));
        let mut headers = HeaderMap::new();
        headers.append(EXPECTED_LAST_SEQUENCE, "7").unwrap();
        assert_eq!(batch.clone().add(&mut headers.clone()), Ok(Ask::Yes));
        let _ = batch.add(&mut HeaderMap::new()).unwrap();
        assert_eq!(batch.add(&mut headers), Err(BatchError::NotFirst));
        let mut headers = HeaderMap::new();
        headers.append(EXPECTED_LAST_MESSAGE_ID, "7").unwrap();
        let refused = BatchError::Header { header: EXPECTED_LAST_MESSAGE_ID };
        assert_eq!(batch.add(&mut headers), Err(refused));
        let _ = batch.add(&mut HeaderMap::new()).unwrap();
        let large = BatchError::TooLarge { max: 2 };
        assert_eq!(batch.add(&mut HeaderMap::new()), Err(large.clone()));
        assert_eq!(batch.commit(&mut HeaderMap::new(), Commit::WithMessage), Err(large));
        assert_eq!(batch.commit(&mut HeaderMap::new(), Commit::End), Ok(()));
    }
}
