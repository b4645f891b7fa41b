//! What was there when a consumer was made, for those who must know when they have seen it all.

use midge_proto::Instant;

use super::Ordered;

/// What was found when a consumer was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Creation {
    /// Its number.
    pub(crate) serial: u64,
    /// Messages that waited for it.
    pub(crate) pending: u64,
    /// The last message of the stream, afterwards.
    pub(crate) last: u64,
}

impl Ordered {
    /// What was found when the present consumer was made; `None` between two.
    pub(crate) fn creation(&self) -> Option<Creation> {
        self.creation.filter(|creation| creation.serial == self.machine.serial())
    }

    /// When the server last made a consumer or spoke of one, other than by a message.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// The number of the last delivery of the present consumer.
    pub(crate) fn consumer_sequence(&self) -> u64 {
        self.machine.consumer_sequence()
    }

    /// The subject of a question for what the present consumer is.
    pub(crate) fn info_subject(&self) -> String {
        self.subject("INFO", self.machine.serial())
    }

    /// Makes another consumer in place of the present one, which does not send what waits.
    pub(crate) fn give_up_consumer(&mut self) {
        self.now = self.alarm.now();
        self.machine.inbox_lost(self.now);
    }

    /// From now on, a consumer that is lost is followed by one that begins behind the last message,
    /// or where the present one began if there was none.
    pub(crate) fn by_sequence_from_now_on(&mut self) {
        self.by_subject_again = false;
        self.machine.all_is_new();
    }
}
