//! PINGs that wait for their PONG: in order queued, written and answered.

use alloc::collections::VecDeque;

use super::ids::FlushId;

/// What the PONG that answers one PING stands for.
#[derive(Debug, Clone, Copy)]
struct Ping {
    /// The last flush that this PING serves.
    flush: Option<FlushId>,
    /// The drains of subscriptions that this PING ends, see `Subscriptions`.
    drains: u64,
    before: Before,
}

/// What was written before a PING; known once the PING is written too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    /// User messages on this connection.
    pub(super) messages: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// The position of the next message.
    pub(super) position: u64,
}

/// Both halves of one PING are in: written and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) flush: Option<FlushId>,
    pub(super) drains: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pings {
    queue: VecDeque<Ping>,
    /// From the front, how many the transport took.
    written: usize,
    /// From the front, how many were handed to a driver, so that an answer can be meant for them.
    handed_out: usize,
    /// From the front, how many were answered.
    answered: usize,
    /// How many have left the queue.
    gone: u64,
}

impl Pings {
    pub(super) fn push(&mut self, flush: Option<FlushId>, drains: u64) {
        let drains = drains.max(self.queue.back().map_or(0, |ping| ping.drains));
        if self.queue.capacity() == 0 {
            self.queue.reserve_exact(1);
        }
        self.queue.push_back(Ping { flush, drains, before: Before::default() });
    }

    /// The number that the next PING will have on this connection.
    pub(super) fn next_number(&self) -> u64 {
        self.gone + self.queue.len() as u64
    }

    /// Whether the PING with this number was answered.
    pub(super) fn is_answered(&self, number: u64) -> bool {
        number < self.gone + self.answered as u64
    }

    /// PINGs that were queued, and are not both written and answered.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The last PING serves for these too.
    pub(super) fn extend_last(&mut self, flush: Option<FlushId>, drains: u64) {
        if let Some(ping) = self.queue.back_mut() {
            ping.flush = flush.or(ping.flush);
            ping.drains = ping.drains.max(drains);
        }
    }

    /// The next PING is handed to a driver.
    pub(super) fn hand_out(&mut self) {
        self.handed_out += 1;
    }

    /// The transport took the next PING.
    pub(super) fn wrote(&mut self, before: Before) {
        if let Some(ping) = self.queue.get_mut(self.written) {
            ping.before = before;
            self.written += 1;
            self.handed_out = self.handed_out.max(self.written);
        }
    }

    /// What was handed out and not written is back: no answer was meant for it.
    pub(super) fn take_back(&mut self) {
        self.handed_out = self.written;
        self.answered = self.answered.min(self.written);
    }

    /// A PONG came. One that answers nothing is ignored.
    pub(super) fn pong(&mut self) {
        if self.answered < self.handed_out {
            self.answered += 1;
        }
    }

    /// A PING is both written and answered.
    pub(super) fn has_answer(&self) -> bool {
        self.written > 0 && self.answered > 0
    }

    /// The next PING that is both written and answered.
    pub(super) fn next_answer(&mut self) -> Option<(Answer, Before)> {
        if !self.has_answer() {
            return None;
        }
        let Ping { flush, drains, before } = self.queue.pop_front()?;
        self.gone += 1;
        self.written -= 1;
        self.handed_out -= 1;
        self.answered -= 1;
        Some((Answer { flush, drains }, before))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
