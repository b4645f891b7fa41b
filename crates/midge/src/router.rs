//! Takes messages and responses from the core while the connection is locked, and keeps the
//! bounds of each subscription.

use std::iter;
use std::sync::Arc;

use midge_proto::{Message, Position, RequestError, RequestId, Sid, Sink, Subject};

use crate::handler::{Call, Handler};
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
    Holding,
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
    /// The hold of a burst ends then.
    pub(crate) hold: Option<TimerKey>,
    /// The reader wants to be woken then.
    pub(crate) stall: Option<TimerKey>,
    /// The request whose inbox this is.
    pub(crate) asked: Option<Asked>,
    /// What is asked for again and again, by requests that name this inbox.
    #[cfg(feature = "jetstream")]
    pub(crate) pulled: Option<Subject>,
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
    staged: Vec<Message>,
    /// What [`Message::size`] gives for them. They are those of a turn, which ends with the first message
    /// past its budget, and no message has 1 GB.
    staged_bytes: u32,
    /// So many bytes more are taken before the limits are looked at.
    room_bytes: u32,
    /// So many messages more.
    room_messages: u32,
    pub(crate) burst: Burst,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Slot {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            extra: None,
            staged: Vec::new(),
            staged_bytes: 0,
            room_bytes: 0,
            room_messages: 0,
            burst: Burst::None,
        }
    }

    /// With what is not in the queue yet.
    fn unread(&self) -> Amount {
        let mut unread = self.queue.unread();
        unread.add(self.staged.len(), self.staged_bytes as usize);
        unread
    }

    /// True when one more message of `size` bytes exceeds a limit. A single message never does.
    fn exceeds(&self, size: usize) -> bool {
        let unread = self.unread();
        let limits = self.queue.limits();
        unread.messages > 0
            && (unread.messages >= limits.messages
                || unread.bytes.saturating_add(size) > limits.bytes)
    }

    /// Takes so many messages, of `size` bytes together, if there is room for all.
    #[inline]
    fn takes(&mut self, messages: usize, size: usize) -> bool {
        if (self.room_messages as usize) < messages || (self.room_bytes as usize) < size {
            return false;
        }
        // Not more than there were.
        self.room_messages -= messages as u32;
        self.room_bytes -= size as u32;
        true
    }

    /// Makes room up to the limits, and takes a message of `size` bytes.
    fn take_within(&mut self, size: usize) {
        let limits = self.queue.limits();
        let unread = self.unread();
        let messages = limits.messages.saturating_sub(unread.messages);
        self.room_messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let bytes = limits.bytes.saturating_sub(unread.bytes);
        self.room_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The only one is taken whatever its size.
        if !self.takes(1, size) {
            self.forget_room();
        }
    }

    fn forget_room(&mut self) {
        self.room_messages = 0;
        self.room_bytes = 0;
    }

    /// The policy for a slow subscription: whether a message of `size` bytes is taken. Where the
    /// oldest make room, they do so when the batch is put into the queue.
    #[inline(never)]
    fn admit(&mut self, size: usize) -> Admission {
        let drops = self.queue.when_full == WhenFull::DropNewest;
        match self.burst {
            Burst::None => {
                if !self.exceeds(size) {
                    self.take_within(size);
                    return Admission::Take;
                }
                self.forget_room();
                self.queue.set_slow(true);
                self.burst = Burst::Begun;
                if drops { Admission::DropAndTell } else { Admission::TakeAndTell }
            }
            Burst::Begun | Burst::Holding if !drops => Admission::Take,
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
        self.queue.has_begun() || !self.staged.is_empty()
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

    /// Whether a request to this subject names this inbox.
    pub(crate) fn asks(&self, subject: &str) -> bool {
        let Some(extra) = &self.extra else { return false };
        #[cfg(feature = "jetstream")]
        if extra.pulled.as_ref().is_some_and(|pulled| pulled == subject) {
            return true;
        }
        extra.asked.as_ref().is_some_and(|asked| asked.subject == subject)
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
    /// What is due to be called without a lock.
    pub(crate) calls: Vec<Call>,
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

    /// Takes the response to this request out of those that are not in their slots yet.
    pub(crate) fn take_response(&mut self, id: RequestId) -> Option<Result<Message, RequestError>> {
        let found = self.responses.iter().position(|(of, _)| *of == id)?;
        Some(self.responses.swap_remove(found).1)
    }

    /// There is a response to this request that is not in its slot yet.
    pub(crate) fn has_response(&self, id: RequestId) -> bool {
        self.responses.iter().any(|(of, _)| *of == id)
    }

    /// Moves staged messages into their queues: one lock and at most one waker for each queue.
    pub(crate) fn deliver(&mut self, wakes: &mut Wakes) {
        if self.touched.is_empty() {
            return;
        }
        for sid in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(sid) {
                let discarded = self.discarded.len();
                self.taken += slot.staged.len() as u64;
                let size = std::mem::take(&mut slot.staged_bytes) as usize;
                slot.queue.put(&mut slot.staged, size, &mut self.discarded, wakes);
                self.taken -= (self.discarded.len() - discarded) as u64;
                if let Some(handler) = slot.handler() {
                    self.calls.push(Call::Handler(sid, handler.clone()));
                }
            }
        }
    }
}

impl Router {
    /// A message that is the first one, or that may be too much for its subscription.
    #[inline(never)]
    fn message_to_limit(&mut self, sid: Sid, message: Message) {
        let Some(slot) = self.slots.get_mut(sid) else {
            self.discarded.push(message);
            return;
        };
        let size = message.size();
        let admission = slot.admit(size);
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
        slot.staged_bytes += size as u32;
        slot.staged.push(message);
    }
}

impl Sink for Router {
    fn message(&mut self, sid: Sid, message: Message) {
        self.messages(sid, message.size(), iter::once(message));
    }

    #[inline]
    fn messages(
        &mut self,
        sid: Sid,
        size: usize,
        messages: impl ExactSizeIterator<Item = Message>,
    ) {
        let count = messages.len();
        if let Some(slot) = self.slots.get_mut_here(sid)
            && slot.takes(count, size)
        {
            if slot.staged.is_empty() {
                self.touched.push(sid);
            }
            slot.staged_bytes += size as u32;
            slot.staged.extend(messages);
        } else {
            for message in messages {
                self.message_to_limit(sid, message);
            }
        }
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
