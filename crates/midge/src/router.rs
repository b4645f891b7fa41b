//! Takes messages and responses from the core while the connection is locked, and keeps the
//! bounds of each subscription.

use std::collections::VecDeque;
use std::sync::Arc;

use midge_proto::{Message, Position, RequestError, RequestId, Sid, Sink, Subject};

use crate::handler::Handler;
use crate::queue::{Amount, Queue};
use crate::subscribe::WhenFull;
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
    Holding(Option<TimerKey>),
    /// Reading goes on, and what exceeds the limits is dropped, until half is read.
    Dropping,
}

/// What only some subscriptions have.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Called with each message, in the place of a reader.
    pub(crate) handler: Option<Arc<Handler>>,
    /// The first message, or every reply, must come until then.
    pub(crate) deadline: Option<TimerKey>,
    /// The reader wants to be woken then.
    pub(crate) stall: Option<TimerKey>,
    /// The request whose inbox this is.
    pub(crate) asked: Option<Asked>,
}

/// A request that has an inbox of its own.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) subject: Subject,
    pub(crate) position: Position,
}

/// The driver's side of one subscription.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) queue: Arc<Queue>,
    /// Messages of this turn that are not in the queue yet.
    staged: VecDeque<Message>,
    /// All that was ever taken, but for what made room for newer ones.
    put: Amount,
    /// All that was ever read, when it was last looked at.
    read: Amount,
    pub(crate) burst: Burst,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Slot {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            extra: None,
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

    /// The policy for a slow subscription: whether a message of `size` bytes is taken. Where the
    /// oldest make room, they do so when the batch is put into the queue.
    #[inline]
    fn admit(&mut self, size: usize) -> Admission {
        let drops = self.queue.when_full == WhenFull::DropNewest;
        match self.burst {
            Burst::None => {
                if !self.exceeds(size) {
                    return Admission::Take;
                }
                self.queue.set_slow(true);
                self.burst = Burst::Begun;
                if drops { Admission::DropAndTell } else { Admission::TakeAndTell }
            }
            Burst::Begun | Burst::Holding(_) if !drops => Admission::Take,
            _ if self.queue.when_full == WhenFull::DropOldest => Admission::Take,
            _ => {
                if self.exceeds(size) {
                    Admission::Drop
                } else {
                    Admission::Take
                }
            }
        }
    }

    /// Whether a message has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.put.messages > 0
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn handler(&self) -> Option<&Arc<Handler>> {
        self.extra.as_ref()?.handler.as_ref()
    }

    /// The request whose inbox this is.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.extra.as_ref()?.asked.as_ref()
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
    /// Messages that queues took, but for those that made room for newer ones.
    pub(crate) taken: u64,
    /// Subscriptions with staged messages.
    touched: Vec<Sid>,
    /// Subscriptions that reached a limit.
    pub(crate) bursts: Vec<Sid>,
    /// Responses that are not in their slots yet.
    pub(crate) responses: Vec<(RequestId, Result<Message, RequestError>)>,
    /// Messages that nobody gets, to be dropped without a lock.
    pub(crate) discarded: Vec<Message>,
    /// Handlers that are due to be called without a lock.
    pub(crate) calls: Vec<(Sid, Arc<Handler>)>,
}

impl Router {
    pub(crate) fn new() -> Self {
        Self {
            slots: Table::new(),
            taken: 0,
            touched: Vec::new(),
            bursts: Vec::new(),
            responses: Vec::new(),
            discarded: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Moves staged messages into their queues: one lock and at most one waker for each queue.
    pub(crate) fn deliver(&mut self, wakes: &mut Wakes) {
        if self.touched.is_empty() {
            return;
        }
        for sid in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(sid) {
                let discarded = self.discarded.len();
                slot.queue.put(&mut slot.staged, &mut slot.put, &mut self.discarded, wakes);
                self.taken -= (self.discarded.len() - discarded) as u64;
                if let Some(handler) = slot.handler() {
                    self.calls.push((sid, handler.clone()));
                }
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
        let admission = slot.admit(message.size());
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
        self.taken += 1;
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
