//! Fast ingest: many messages to one stream, which acknowledges some of them and says how fast it
//! takes them (ADR-50, second part).

use alloc::string::String;
use core::time::Duration;

use midge_proto::Instant;
use serde::Deserialize;

use crate::batch::{BatchError, CommitError, MAX_ID};
use crate::{ApiError, PubAck, ReplyError};

/// What the stream does where messages are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gaps {
    /// It ends the batch before the gap: all that is stored is without one.
    #[default]
    End,
    /// It tells of the gap and goes on.
    Allow,
}

/// What a message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Start = 0,
    Append = 1,
    Commit = 2,
    End = 3,
    Ping = 4,
}

/// What the stream has said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FastEvent {
    /// It has all up to a message: there may be room.
    Acknowledged {
        /// The number of that message in the batch; 0 for the start.
        sequence: u64,
    },
    /// Messages are missing. If gaps are not allowed, the batch is over.
    Gap {
        /// The first one that is missing.
        first: u64,
        /// The first one behind them.
        next: u64,
    },
    /// A message was refused. If gaps are not allowed, the batch is over.
    Refused {
        /// Its number in the batch.
        sequence: u64,
        /// Why.
        error: ApiError,
    },
    /// The batch is over, by its commit or where there was a gap.
    Ended(PubAck),
    /// The batch is over, and the stream knows nothing of it.
    Failed(ApiError),
}

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FastAnswerError {
    /// It is not of the form expected.
    #[error("the answer is none of a stream: {0}")]
    Malformed(serde_json::Error),
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", default)]
    kind: &'a str,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    msgs: u64,
    #[serde(default)]
    last_seq: u64,
    error: Option<ApiError>,
}

/// One batch of fast ingest: the reply subjects of its messages, how many may be on their way, and
/// what the stream says of them.
#[derive(Clone, Debug)]
pub struct FastIngest {
    /// `<inbox>.<id>.<flow>.<ok or fail>.`
    reply: String,
    prefix: usize,
    id: String,
    gaps: Gaps,
    /// Acknowledgements that may be outstanding.
    outstanding: u64,
    ping_after: Duration,
    /// Messages that were sent.
    sent: u64,
    /// Of these, up to which the stream has answered.
    acknowledged: u64,
    /// Messages between two acknowledgements, as the stream last said.
    every: u64,
    started: bool,
    state: State,
    heard: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The commit was sent.
    Committing,
    Over,
}

impl FastIngest {
    /// A batch whose answers come to `inbox`, below which nobody else listens. `every` is how many
    /// messages the stream may take between two acknowledgements at most; it begins with fewer.
    /// `outstanding` of them may be awaited: 1 to 3.
    ///
    /// # Errors
    ///
    /// [`BatchError::Id`] unless `id` has 1 to 64 letters, digits, `-` and `_`.
    pub fn new(
        inbox: &str,
        id: String,
        gaps: Gaps,
        every: u16,
        outstanding: u8,
        now: Instant,
    ) -> Result<Self, BatchError> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(letters) {
            return Err(BatchError::Id { id });
        }
        let gap = match gaps {
            Gaps::End => "fail",
            Gaps::Allow => "ok",
        };
        let reply = alloc::format!("{inbox}.{id}.{}.{gap}.", every.max(1));
        Ok(Self {
            prefix: reply.len(),
            reply,
            id,
            gaps,
            outstanding: outstanding.clamp(1, 3).into(),
            ping_after: Duration::from_secs(1),
            sent: 0,
            acknowledged: 0,
            every: 1,
            started: false,
            state: State::Open,
            heard: now,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Messages that were sent.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.sent
    }

    /// Of these, up to which the stream has answered. Only the end of the batch says that all are
    /// stored.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Ends it: the connection was lost.
    pub fn fail(&mut self) {
        self.state = State::Over;
    }

    /// Whether one more message may be on its way now. The first one is alone until the stream has
    /// answered it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.started {
            false => self.sent == 0,
            true => self.sent - self.acknowledged < self.every.saturating_mul(self.outstanding),
        }
    }

    fn reply(&mut self, sequence: u64, operation: Operation) -> &str {
        self.reply.truncate(self.prefix);
        self.reply.push_str(itoa::Buffer::new().format(sequence));
        self.reply.push('.');
        self.reply.push_str(itoa::Buffer::new().format(operation as u8));
        self.reply.push_str(".$FI");
        &self.reply
    }

    /// The reply subject of the next message, which [`has_room`](Self::has_room). It is sent then.
    ///
    /// # Errors
    ///
    /// [`BatchError::Over`].
    pub fn append(&mut self) -> Result<&str, BatchError> {
        if self.state != State::Open {
            return Err(BatchError::Over);
        }
        self.sent += 1;
        let start = self.sent == 1;
        Ok(self.reply(self.sent, if start { Operation::Start } else { Operation::Append }))
    }

    /// The message of the last reply subject was not sent.
    pub fn take_back(&mut self) {
        self.sent = self.sent.saturating_sub(1);
        // A stream may claim to have what was never sent.
        self.acknowledged = self.acknowledged.min(self.sent);
        if self.state == State::Committing {
            self.state = State::Open;
        }
    }

    /// The reply subject of the last message of the batch; with `stored` false it ends the batch
    /// and is not stored.
    ///
    /// # Errors
    ///
    /// [`BatchError::Over`], or [`BatchError::Empty`] if nothing is to be stored.
    pub fn commit(&mut self, stored: bool) -> Result<&str, BatchError> {
        if self.state != State::Open {
            return Err(BatchError::Over);
        }
        if !stored && self.sent == 0 {
            return Err(BatchError::Empty);
        }
        self.state = State::Committing;
        self.sent += 1;
        Ok(self.reply(self.sent, if stored { Operation::Commit } else { Operation::End }))
    }

    /// When to ask whether the stream still knows the batch: [`ping`](Self::ping). Once it is
    /// committed, the stream does not.
    #[must_use]
    pub fn ping_at(&self) -> Option<Instant> {
        let waits = self.state == State::Open && self.sent > 0;
        waits.then_some(self.heard + self.ping_after)
    }

    /// The reply subject of an empty message that asks how far the stream is.
    pub fn ping(&mut self, now: Instant) -> &str {
        self.heard = now;
        self.reply(self.sent, Operation::Ping)
    }

    /// The payload of an answer.
    ///
    /// # Errors
    ///
    /// [`FastAnswerError`]; nothing has changed.
    pub fn answered(&mut self, payload: &[u8], now: Instant) -> Result<FastEvent, FastAnswerError> {
        let raw: Raw<'_> = serde_json::from_slice(payload).map_err(FastAnswerError::Malformed)?;
        self.heard = now;
        match (raw.kind, raw.error) {
            ("ack", _) => {
                self.started = true;
                self.every = raw.msgs.max(1);
                self.acknowledged = self.acknowledged.max(raw.seq.min(self.sent));
                Ok(FastEvent::Acknowledged { sequence: raw.seq })
            }
            ("gap", _) => {
                self.acknowledged = self.acknowledged.max(raw.seq.min(self.sent));
                Ok(FastEvent::Gap { first: raw.last_seq, next: raw.seq })
            }
            ("err", Some(error)) => Ok(FastEvent::Refused { sequence: raw.seq, error }),
            (_, Some(error)) => {
                self.state = State::Over;
                Ok(FastEvent::Failed(error))
            }
            (_, None) => {
                let ack = PubAck::read(payload).map_err(|error| match error {
                    ReplyError::Malformed(error) => FastAnswerError::Malformed(error),
                    // It would have had an error above.
                    ReplyError::Api(error) => {
                        FastAnswerError::Malformed(serde::de::Error::custom(error))
                    }
                })?;
                self.state = State::Over;
                Ok(FastEvent::Ended(ack))
            }
        }
    }

    /// Whether the end of the batch says that all of it was taken. With gaps allowed, messages that
    /// were told to be missing or refused are not stored, and count nevertheless.
    ///
    /// # Errors
    ///
    /// [`CommitError`] if it does not.
    pub fn committed(&self, ack: &PubAck, stored: bool) -> Result<(), CommitError> {
        if ack.batch.as_deref() != Some(&*self.id) {
            return Err(CommitError::NoBatch);
        }
        let sent = if stored { self.sent } else { self.sent.saturating_sub(1) };
        if ack.count != Some(sent) {
            return Err(CommitError::Count { sent, stored: ack.count });
        }
        Ok(())
    }

    /// What the stream does where messages are missing.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant::from_nanos(1);

    fn fast(gaps: Gaps) -> FastIngest {
        FastIngest::new("_INBOX.a", "b1".into(), gaps, 10, 2, NOW).unwrap()
    }

    fn ack(fast: &mut FastIngest, seq: u64, msgs: u64) {
        let answer = alloc::format!("{{\"type\":\"ack\",\"seq\":{seq},\"msgs\":{msgs}}}");
        let event = fast.answered(answer.as_bytes(), NOW).unwrap();
        assert_eq!(event, FastEvent::Acknowledged { sequence: seq });
    }

    #[test]
    fn the_stream_says_how_many_are_on_their_way() {
        let mut fast = fast(Gaps::End);
        assert!(fast.has_room());
        assert_eq!(fast.append().unwrap(), "_INBOX.a.b1.10.fail.1.0.$FI");
        assert!(!fast.has_room());
        ack(&mut fast, 0, 5);
        for _ in 2..=10 {
            assert!(fast.has_room());
            fast.append().unwrap();
        }
        assert!(!fast.has_room());
        ack(&mut fast, 5, 1);
        assert!(!fast.has_room());
        ack(&mut fast, 10, 10);
        assert!(fast.has_room());
        assert_eq!(fast.append().unwrap(), "_INBOX.a.b1.10.fail.11.1.$FI");
        assert_eq!(fast.ping(NOW), "_INBOX.a.b1.10.fail.11.4.$FI");
        assert_eq!(fast.commit(false).unwrap(), "_INBOX.a.b1.10.fail.12.3.$FI");
        assert_eq!(fast.append(), Err(BatchError::Over));
        let end = br#"{"stream":"F","seq":31,"batch":"b1","count":11}"#;
        let FastEvent::Ended(end) = fast.answered(end, NOW).unwrap() else { panic!("the end") };
        assert_eq!(fast.committed(&end, false), Ok(()));
        assert!(fast.committed(&end, true).is_err());
        assert!(fast.is_over());
    }

    #[test]
    fn gaps_and_refusals_are_told() {
        let mut fast = fast(Gaps::Allow);
        assert_eq!(fast.append().unwrap(), "_INBOX.a.b1.10.ok.1.0.$FI");
        ack(&mut fast, 0, 10);
        let gap = fast.answered(br#"{"type":"gap","last_seq":2,"seq":4}"#, NOW).unwrap();
        assert_eq!(gap, FastEvent::Gap { first: 2, next: 4 });
        let refused = br#"{"type":"err","seq":2,"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 36"}}"#;
        let refused = fast.answered(refused, NOW).unwrap();
        assert!(matches!(refused, FastEvent::Refused { sequence: 2, .. }), "{refused:?}");
        assert!(!fast.is_over());
        let failed = br#"{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"F","seq":0}"#;
        assert!(matches!(fast.answered(failed, NOW).unwrap(), FastEvent::Failed(_)));
        assert!(fast.is_over());
    }

    #[test]
    fn an_id_is_one_token() {
        for id in ["", "a.b", "a b", "*", &"x".repeat(65)] {
            let made = FastIngest::new("i", id.into(), Gaps::End, 1, 1, NOW);
            assert!(matches!(made, Err(BatchError::Id { .. })), "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_stream_answers_the_bound_holds(
            answers in prop::collection::vec(("ack|gap|err|x", any::<u64>(), any::<u64>()), 0..50)
        ) {
            let mut fast = fast(Gaps::Allow);
            for (kind, seq, msgs) in answers {
                while fast.has_room() && fast.messages() < 1000 {
                    if fast.append().is_err() {
                        break;
                    }
                }
                let answer = alloc::format!(
                    "{{\"type\":\"{kind}\",\"seq\":{seq},\"msgs\":{msgs},\"last_seq\":{msgs}}}"
                );
                let _ = fast.answered(answer.as_bytes(), NOW);
                prop_assert!(fast.acknowledged() <= fast.messages());
            }
        }

        #[test]
        fn no_answer_panics(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = fast(Gaps::End).answered(&payload, NOW);
        }
    }
}
