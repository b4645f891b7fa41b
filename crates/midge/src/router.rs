//! Takes messages and responses from the core while the connection is locked, and keeps the
//! bounds of each subscription.

use std::collections::VecDeque;
use std::sync::Arc;

use midge_proto::{Message, RequestError, RequestId, Sid, Sink};

use crate::queue::{Amount, Queue};
use crate::table::Table;
use crate::timers::TimerKey;
use crate::waiters::Wakes;

/// Where a subscription stands towards its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Burst {
    /// Below them.
    None,
    /// They were reached. Reading stops, once what this turn found is handed over.
    Begun,
    /// Reading has stopped until half is read, or until the timer fires.
    Holding(TimerKey),
    /// Reading goes on, and what exceeds the limits is dropped, until half is read.
    Dropping,
}

/// The driver's side of one subscription.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) queue: Arc<Queue>,
    /// Messages of this turn that are not in the queue yet.
    staged: VecDeque<Message>,
    /// All that was ever taken.
    put: Amount,
    /// All that was ever read, when it was last looked at.
    read: Amount,
    pub(crate) burst: Burst,
}

impl Slot {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            staged: VecDeque::new(),
            put: Amount::default(),
            read: Amount::default(),
            burst: Burst::None,
        }
    }

    /// True when one more message of `size` bytes exceeds a limit. A single message never does.
    #[inline]
    fn exceeds(&mut self, size: usize) -> bool {
        let exceeds = |unread: Amount, queue: &Queue| {
            unread.messages > 0
                && (unread.messages >= queue.limits.messages
                    || unread.bytes.saturating_add(size) > queue.limits.bytes)
        };
        if !exceeds(self.put.since(self.read), &self.queue) {
            return false;
        }
        self.read = self.queue.read_so_far();
        exceeds(self.put.since(self.read), &self.queue)
    }

    /// The policy for a slow subscription: whether a message of `size` bytes is taken. Policies
    /// other than "hold, then drop the newest" belong here.
    #[inline]
    fn admit(&mut self, size: usize, holds: bool) -> Admission {
        match self.burst {
            Burst::None => {
                if !self.exceeds(size) {
                    return Admission::Take;
                }
                self.queue.set_slow(true);
                self.burst = Burst::Begun;
                if holds { Admission::TakeAndTell } else { Admission::DropAndTell }
            }
            Burst::Begun | Burst::Holding(_) if holds => Admission::Take,
            _ => {
                if self.exceeds(size) {
                    Admission::Drop
                } else {
                    Admission::Take
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Take,
    TakeAndTell,
    Drop,
    DropAndTell,
}

/// The tables of subscriptions, and what one call of the core's engine handed over.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) slots: Table<Sid, Slot>,
    /// Subscriptions with staged messages.
    touched: Vec<Sid>,
    /// Subscriptions that reached a limit.
    pub(crate) bursts: Vec<Sid>,
    /// Responses that are not in their slots yet.
    pub(crate) responses: Vec<(RequestId, Result<Message, RequestError>)>,
    /// Messages that nobody gets, to be dropped without a lock.
    pub(crate) discarded: Vec<Message>,
    /// Whether a slow subscription stops reading at first.
    holds: bool,
}

impl Router {
    pub(crate) fn new(holds: bool) -> Self {
        Self {
            slots: Table::new(),
            touched: Vec::new(),
            bursts: Vec::new(),
            responses: Vec::new(),
            discarded: Vec::new(),
            holds,
        }
    }

    /// Moves staged messages into their queues: one lock and at most one waker for each queue.
    pub(crate) fn deliver(&mut self, wakes: &mut Wakes) {
        for sid in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(sid) {
                slot.queue.put(&mut slot.staged, slot.put, wakes);
            }
        }
    }
}

impl Sink for Router {
    #[inline]
    fn message(&mut self, sid: Sid, message: Message) {
        let Some(slot) = self.slots.get_mut(sid) else {
            self.discarded.push(message);
            return;
        };
        let admission = slot.admit(message.size(), self.holds);
        if matches!(admission, Admission::TakeAndTell | Admission::DropAndTell) {
            self.bursts.push(sid);
        }
        if matches!(admission, Admission::Drop | Admission::DropAndTell) {
            slot.queue.count_dropped();
            self.discarded.push(message);
            return;
        }
        if slot.staged.is_empty() {
            self.touched.push(sid);
        }
        slot.put.add(&message);
        slot.staged.push_back(message);
    }

    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>) {
        self.responses.push((id, result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_subscription_is_small() {
        let counts = 2 * size_of::<usize>();
        let shared = size_of::<Queue>() + counts;
        let table = size_of::<Option<(Sid, Slot)>>();
        assert!(shared + table + size_of::<crate::Subscription>() <= 400);
    }
}
