//! What streams answer, and what that says of the order in which they have stored messages.

use alloc::boxed::Box;

use midge_proto::Instant;

use super::entry::{Entry, State};
use super::{ATTEMPT_BITS, Answer, PublishFailure, PublishWindow, Report, Suspect};
use crate::delivery::number_at;
use crate::{ErrorCode, PubAck, PublishOrder, ReplyError};

impl PublishWindow {
    /// An answer to the message with this token.
    pub fn answered(&mut self, token: u64, answer: Answer<'_>, now: Instant) {
        let number = token >> ATTEMPT_BITS;
        let Some(index) = self.index(number) else { return };
        let entry = &self.entries[index];
        if !entry.is_open() {
            return;
        }
        // What is said of an earlier attempt counts if it is good.
        let current = u64::from(entry.attempt) == token & ((1 << ATTEMPT_BITS) - 1)
            && matches!(entry.state, State::Sent { .. });
        let in_doubt = entry.doubt.is_some();
        let payload = match answer {
            Answer::Payload(payload) => payload,
            Answer::NoResponders if current => return self.unanswered(number, now),
            Answer::NoResponders => return,
        };
        if let Some(seq) = self.read_short(payload) {
            return self.stored(number, PubAck::of(self.stream.clone(), seq));
        }
        match PubAck::read(payload) {
            Ok(ack) => {
                self.learn(&ack, payload);
                self.stored(number, ack);
            }
            Err(_) if !current => {}
            Err(ReplyError::Api(error)) => match error.err_code {
                ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT
                | ErrorCode::STREAM_TOO_MANY_REQUESTS => self.unanswered(number, now),
                code if code.is_wrong_last_sequence()
                    && self.config.order == PublishOrder::Chained
                    && self.sync != Some(number) =>
                {
                    self.land(number);
                    self.recover(now);
                }
                _ => self.fail(number, PublishFailure::refused(error, in_doubt)),
            },
            Err(error) => self.fail(number, PublishFailure::Malformed(error)),
        }
    }

    /// The number in an answer that begins like the one before and has nothing else behind it.
    fn read_short(&self, payload: &[u8]) -> Option<u64> {
        if self.answers_begin.is_empty() {
            return None;
        }
        let text = payload.strip_suffix(b"}")?;
        let digits = text.strip_prefix(&*self.answers_begin)?;
        if digits.len() > 19 || digits.first() == Some(&b'0') {
            return None;
        }
        number_at(text, self.answers_begin.len())
    }

    /// Learns how the answers of a stream begin, from one with nothing but stream and number.
    fn learn(&mut self, ack: &PubAck, payload: &[u8]) {
        if ack.stream != self.stream {
            self.stream = ack.stream.clone();
            self.answers_begin.clear();
            self.highest = 0;
            let mix = |mark: u32, byte: u8| (mark ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            self.stream_mark = ack.stream.bytes().fold(0x811c_9dc5, mix);
        }
        let digits = itoa::Buffer::new().format(ack.seq).len() + 1;
        let (begin, end) = payload.split_at(payload.len().saturating_sub(digits));
        if *ack == PubAck::of(ack.stream.clone(), ack.seq)
            && begin.ends_with(b"\"seq\":")
            && end.strip_suffix(b"}") == Some(itoa::Buffer::new().format(ack.seq).as_bytes())
        {
            self.answers_begin.clear();
            self.answers_begin.extend_from_slice(begin);
        }
    }

    fn stored(&mut self, number: u64, ack: PubAck) {
        let Some(entry) = self.entry(number) else { return };
        let (retried, seq) = (entry.attempt > 0, ack.seq);
        if retried && let (State::Sent { .. }, Some(position)) = (entry.state, entry.position) {
            // The answer may be to an earlier attempt, and this one not be written yet.
            self.late.push_back((number, position));
        }
        if self.close(number, State::Stored { seq, stream: self.stream_mark }).is_none() {
            return;
        }
        if self.config.report_stored {
            self.reports.push_back(Report::Stored { number, ack });
        }
        self.highest = self.highest.max(seq);
        if self.sync == Some(number) {
            // Later ones may be known to be stored already.
            self.sync = None;
            self.expected = Some(self.highest);
        } else if let Some(expected) = &mut self.expected {
            // Not if it was counted when it was sent: but it may be known by the answer to an earlier
            // attempt before it is sent again.
            *expected = seq.max(*expected);
        }
        if self.config.order != PublishOrder::OneByOne {
            self.find_moved(number, seq, retried);
        }
        self.trim();
    }

    /// Reports messages that were stored behind later ones, of which this one is one or the other.
    fn find_moved(&mut self, number: u64, seq: u64, retried: bool) {
        let stream = self.stream_mark;
        let reports = &mut self.reports;
        let any = seq < self.suspects_highest;
        self.suspects.retain(|suspect| {
            let moved = any
                && suspect.number < number
                && number < suspect.horizon
                && suspect.stream == stream
                && seq < suspect.seq;
            if moved {
                let Suspect { number, seq, .. } = *suspect;
                reports.push_back(Report::Moved { number, seq });
            }
            !moved
        });
        if !retried {
            return;
        }
        let Some(index) = self.index(number) else { return };
        let mut later = self.entries.range(index + 1..).map(Box::as_ref);
        let passed = |entry: &Entry| matches!(entry.state, State::Stored { seq: other, stream: of } if other < seq && of == stream);
        if later.clone().any(passed) {
            self.reports.push_back(Report::Moved { number, seq });
        } else if later.any(|entry| entry.is_open() && entry.position.is_some()) {
            let horizon = self.base + self.entries.len() as u64;
            self.suspects_highest = self.suspects_highest.max(seq);
            self.suspects.push_back(Suspect { number, seq, stream, horizon });
        }
    }

    /// No stream took it.
    fn unanswered(&mut self, number: u64, now: Instant) {
        let until = now + self.config.retry_wait;
        let Some(entry) = self.entry_mut(number) else { return };
        entry.refusals += 1;
        let (refusals, doubt) = (entry.refusals, entry.doubt);
        if refusals > self.config.retries {
            let failure = match doubt {
                Some(_) => PublishFailure::Unknown,
                None => PublishFailure::NoStream { attempts: refusals },
            };
            return self.fail(number, failure);
        }
        self.land(number);
        if self.config.order == PublishOrder::Chained {
            self.recover(until);
        } else if let Some(entry) = self.entry_mut(number) {
            entry.state = State::Waiting { until };
            self.check_by(until);
        }
    }
}
