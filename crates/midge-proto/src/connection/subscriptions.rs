//! The table of subscriptions: what the server must know, and when each one ends.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::errors::{EndReason, SubscribeError};
use super::ids::{MAX_SLOTS, Sid};
use crate::wire::{ServerError, encode};
use crate::{QueueGroup, SubjectRef};

/// Whose subscription it is, and so when a drain ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The caller's: at once.
    Caller,
    /// The caller's, for replies: when the caller ends it.
    Replies,
    /// The inbox that requests share, which is not the caller's: when no request waits any more.
    Mux,
}

/// A name of at most so many bytes has no memory of its own.
const SHORT: usize = 22;

/// The subject, and behind a blank the queue group, if there is one. Neither holds a blank.
#[derive(Debug)]
enum Name {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Name {
    fn new(subject: &[u8], queue: Option<&QueueGroup>) -> Self {
        let parts = match queue {
            Some(queue) => [subject, b" ", queue.as_bytes()],
            None => [subject, &[], &[]],
        };
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if len > SHORT {
            return Self::Long(parts.concat().into());
        }
        let mut bytes = [0; SHORT];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Self::Short { len: len as u8, bytes }
    }

    fn parts(&self) -> (&[u8], Option<&[u8]>) {
        let name = match self {
            Self::Short { len, bytes } => &bytes[..*len as usize],
            Self::Long(name) => name,
        };
        match memchr::memchr(b' ', name) {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        }
    }
}

#[derive(Debug)]
pub(super) struct Subscription {
    name: Name,
    /// Messages handed over before the present connection: the server counts from its SUB.
    before: u64,
    /// The number of the last UNSUB that waits for it, if one does, but for higher digits.
    unsub: u32,
    role: Role,
    draining: bool,
    /// The server of this connection, which is about to be left, was told to send no more.
    left: bool,
}

impl Subscription {
    fn subject(&self) -> &[u8] {
        self.name.parts().0
    }

    fn queue(&self) -> Option<&[u8]> {
        self.name.parts().1
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    /// Messages handed over to the subscription here.
    delivered: u64,
    /// The message of this number is the last one; or 0, when there is no subscription or it is not a
    /// caller's.
    special: u64,
    subscription: Option<Subscription>,
}

impl Slot {
    /// Messages after which its subscription ends.
    fn max(&self) -> Option<u64> {
        Some(self.special).filter(|special| !matches!(special, 0 | &u64::MAX))
    }
}

/// What became of a message for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nobody asked for it (any more).
    Unknown,
    Deliver(Sid),
    /// It was the last one that was asked for.
    DeliverLast(Sid),
    Internal,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    /// How many of them are for replies of any kind.
    for_replies: usize,
    /// How many of these are the caller's.
    replies: usize,
    /// UNSUBs to write, each with the count to stop at.
    unsubs: VecDeque<(Sid, Option<u64>)>,
    /// UNSUBs that were written or forgotten: the number of the first that waits.
    unsubs_gone: u32,
    /// Slots below this were announced on this connection.
    cursor: usize,
    /// Drains that wait for a PONG, with the number of the PING that they wait for.
    drains: VecDeque<(u64, Sid)>,
    drain_number: u64,
    /// A PING is wanted, also when nothing drains.
    fence: bool,
}

impl Subscriptions {
    pub(super) fn add(
        &mut self,
        subject: SubjectRef<'_>,
        queue: Option<&QueueGroup>,
        role: Role,
        max: usize,
    ) -> Result<Sid, SubscribeError> {
        if self.live >= max.min(MAX_SLOTS) {
            return Err(SubscribeError::TooMany);
        }
        let index = match self.free.pop() {
            Some(index) => index as usize,
            // All of them live, and are fewer than the bound.
            None => {
                if self.slots.len() == self.slots.capacity() {
                    // Of many, few places are empty.
                    self.slots.reserve_exact((self.slots.len() / 8).max(8));
                }
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
        };
        self.live += 1;
        self.for_replies += usize::from(role != Role::Caller);
        self.replies += usize::from(role == Role::Replies);
        let slot = &mut self.slots[index];
        slot.delivered = 0;
        slot.special = if role == Role::Mux { 0 } else { u64::MAX };
        slot.subscription = Some(Subscription {
            name: Name::new(subject.as_bytes(), queue),
            before: 0,
            unsub: 0,
            role,
            draining: false,
            left: false,
        });
        Ok(Sid::new(index, slot.generation))
    }

    pub(super) fn get(&self, sid: Sid) -> Option<&Subscription> {
        let slot = self.slots.get(sid.index())?;
        slot.subscription.as_ref().filter(|_| slot.generation == sid.generation())
    }

    fn get_mut(&mut self, sid: Sid) -> Option<&mut Subscription> {
        self.slot_mut(sid)?.subscription.as_mut()
    }

    fn slot_mut(&mut self, sid: Sid) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(sid.index())?;
        (slot.generation == sid.generation() && slot.subscription.is_some()).then_some(slot)
    }

    /// Subscriptions of the caller.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    fn remove(&mut self, sid: Sid) -> bool {
        let Some(subscription) = self.get(sid) else {
            return false;
        };
        let role = subscription.role;
        self.for_replies -= usize::from(role != Role::Caller);
        self.replies -= usize::from(role == Role::Replies);
        let slot = &mut self.slots[sid.index()];
        slot.special = 0;
        slot.subscription = None;
        slot.generation += 1;
        self.free.push(u32::try_from(sid.index()).expect("an index of a slab is below 2^24"));
        self.live -= 1;
        true
    }

    // ---- receiving -----------------------------------------------------------------------

    #[inline]
    pub(super) fn deliver(&mut self, number: u64) -> Delivery {
        let sid = Sid::from_number(number);
        if let Some(slot) = self.slots.get_mut(sid.index())
            && slot.generation == sid.generation()
            && slot.delivered + 1 < slot.special
        {
            slot.delivered += 1;
            return Delivery::Deliver(sid);
        }
        self.deliver_special(sid)
    }

    #[inline(never)]
    fn deliver_special(&mut self, sid: Sid) -> Delivery {
        match self.get(sid) {
            None => Delivery::Unknown,
            Some(Subscription { role: Role::Mux, .. }) => Delivery::Internal,
            Some(_) => {
                self.remove(sid);
                Delivery::DeliverLast(sid)
            }
        }
    }

    // ---- ending --------------------------------------------------------------------------

    /// Ends it now, or once `max` messages came since its start. Says why when it ended.
    pub(super) fn unsubscribe(
        &mut self,
        sid: Sid,
        max: Option<u64>,
        connected: bool,
    ) -> Option<EndReason> {
        let slot = self.slot_mut(sid)?;
        match max {
            // The server may have ended it at the smaller one by now.
            Some(max) if slot.max().is_some_and(|smaller| smaller <= max) => None,
            Some(max) if max > slot.delivered => {
                slot.special = max;
                let subscription = slot.subscription.as_ref()?;
                // The UNSUB of a drain or of a move ends it at once, and is on its way or gone.
                if connected && !subscription.draining && !subscription.left {
                    self.queue_unsub(sid, true);
                }
                None
            }
            _ => {
                if connected {
                    self.queue_unsub(sid, false);
                }
                let reason =
                    if max.is_some() { EndReason::MaxReached } else { EndReason::Unsubscribed };
                self.remove(sid).then_some(reason)
            }
        }
    }

    fn queue_unsub(&mut self, sid: Sid, counted: bool) {
        let max = if counted { self.remaining(sid) } else { None };
        let gone = self.unsubs_gone;
        let number = gone.wrapping_add(self.unsubs.len() as u32);
        let Some(subscription) = self.slots[sid.index()].subscription.as_mut() else {
            return;
        };
        let waits = subscription.unsub.wrapping_sub(gone) as usize;
        if let Some(due) = self.unsubs.get_mut(waits)
            && due.0 == sid
        {
            due.1 = max;
            return;
        }
        subscription.unsub = number;
        self.unsubs.push_back((sid, max));
    }

    /// The maximum as the server of this connection must count it.
    fn remaining(&self, sid: Sid) -> Option<u64> {
        let max = self.slots.get(sid.index())?.max()?;
        self.get(sid).map(|subscription| max - subscription.before)
    }

    /// Begins to drain: UNSUB now, the end with the PONG behind it. False when unknown or begun.
    pub(super) fn drain(&mut self, sid: Sid, connected: bool) -> bool {
        match self.get_mut(sid) {
            Some(subscription) if !subscription.draining => subscription.draining = true,
            _ => return false,
        }
        if connected {
            self.queue_unsub(sid, false);
        }
        self.drains.push_back((self.drain_number + 1, sid));
        true
    }

    /// Every subscription that a drain ends at once, and that is not draining yet.
    pub(super) fn drainable(&self) -> Vec<Sid> {
        self.select(|subscription| subscription.role == Role::Caller && !subscription.draining)
    }

    /// Every subscription of the caller.
    pub(super) fn all(&self) -> Vec<Sid> {
        self.select(|subscription| subscription.role != Role::Mux)
    }

    /// How many are announced behind this one.
    pub(super) fn behind(&self, sid: Sid) -> usize {
        let behind = self.slots.iter().skip(sid.index() + 1);
        behind.filter(|slot| slot.subscription.is_some()).count()
    }

    pub(super) fn is_empty_but_for_replies(&self) -> bool {
        self.live == self.for_replies
    }

    pub(super) fn awaits_replies(&self) -> bool {
        self.replies > 0
    }

    fn select(&self, wanted: impl Fn(&Subscription) -> bool) -> Vec<Sid> {
        let live = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let wanted = slot.subscription.as_ref().is_some_and(&wanted);
            wanted.then(|| Sid::new(index, slot.generation))
        });
        live.collect()
    }

    /// Stops what the server of this connection sends, but for replies: the next server is told of
    /// all again. Returns the number of the PING behind it, or `None` when there was nothing.
    pub(super) fn leave(&mut self) -> Option<u64> {
        let stays = |subscription: &Subscription| {
            subscription.role == Role::Caller && !subscription.left && !subscription.draining
        };
        for sid in self.select(stays) {
            if let Some(subscription) = self.get_mut(sid) {
                subscription.left = true;
            }
            self.queue_unsub(sid, false);
            self.fence = true;
        }
        self.fence.then_some(self.drain_number + 1)
    }

    /// A PING with this number goes out behind all UNSUBs so far, if one is needed.
    pub(super) fn next_drain_ping(&mut self) -> Option<u64> {
        let needed = self.needs_drain_ping();
        self.fence = false;
        needed.then(|| {
            self.drain_number += 1;
            self.drain_number
        })
    }

    pub(super) fn needs_drain_ping(&self) -> bool {
        self.fence || self.drains.back().is_some_and(|(number, _)| *number > self.drain_number)
    }

    /// The next subscription whose drain ends with the PONG of PING `number`.
    pub(super) fn drained(&mut self, number: u64) -> Option<Sid> {
        while let Some(&(waits_for, sid)) = self.drains.front() {
            if waits_for > number {
                return None;
            }
            self.drains.pop_front();
            if self.remove(sid) {
                return Some(sid);
            }
        }
        None
    }

    /// Ends it whatever it waits for.
    pub(super) fn end(&mut self, sid: Sid) -> bool {
        self.remove(sid)
    }

    /// The subscription that the server refuses: by number where it names one, else the first
    /// with this subject and queue group.
    pub(super) fn denied(&self, error: &ServerError) -> Option<(Sid, bool)> {
        let ServerError::SubscribePermission { subject, queue, sid, too_many_tokens } = error
        else {
            return None;
        };
        if let Some(sid) = sid.map(Sid::from_number) {
            return self.get(sid).map(|subscription| (sid, subscription.role == Role::Mux));
        }
        self.slots.iter().enumerate().find_map(|(index, slot)| {
            let subscription = slot.subscription.as_ref()?;
            // Of a subject with too many tokens, the queue group is not told.
            let same = subscription.subject() == subject.as_bytes()
                && (*too_many_tokens
                    || subscription.queue() == queue.as_deref().map(str::as_bytes));
            let sid = Sid::new(index, slot.generation);
            same.then_some((sid, subscription.role == Role::Mux))
        })
    }

    // ---- announcing ----------------------------------------------------------------------

    /// A new connection knows nothing: everything is announced again.
    pub(super) fn forget_connection(&mut self) {
        self.cursor = 0;
        self.fence = false;
        self.unsubs_gone = self.unsubs_gone.wrapping_add(self.unsubs.len() as u32);
        self.unsubs.clear();
    }

    /// Drains that a lost connection has ended: nothing more can come.
    pub(super) fn drained_by_loss(&mut self) -> Vec<Sid> {
        let drains = core::mem::take(&mut self.drains);
        drains.into_iter().map(|(_, sid)| sid).filter(|sid| self.remove(*sid)).collect()
    }

    /// Writes SUBs until `out` holds `limit` bytes. True when all are written.
    pub(super) fn announce(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        while self.cursor < self.slots.len() {
            if out.len() >= limit {
                return false;
            }
            let slot = &mut self.slots[self.cursor];
            let sid = Sid::new(self.cursor, slot.generation);
            self.cursor += 1;
            if let Some(subscription) = &mut slot.subscription {
                subscription.before = slot.delivered;
                subscription.left = false;
                self.write_sub(sid, out);
            }
        }
        // A place added from now on is behind the announcement too.
        self.cursor = usize::MAX;
        true
    }

    /// True when the running handshake has gone past this subscription: it needs a SUB of its own.
    pub(super) fn is_behind_cursor(&self, sid: Sid) -> bool {
        sid.index() < self.cursor
    }

    /// SUB, and UNSUB with what is left of the maximum.
    pub(super) fn write_sub(&self, sid: Sid, out: &mut Vec<u8>) {
        let Some(subscription) = self.get(sid) else {
            return;
        };
        encode::subscribe(out, subscription.subject(), subscription.queue(), sid.number());
        if let Some(left) = self.remaining(sid) {
            encode::unsubscribe(out, sid.number(), Some(left));
        }
    }

    pub(super) fn has_unsubs(&self) -> bool {
        !self.unsubs.is_empty()
    }

    /// The next UNSUB to write.
    pub(super) fn next_unsub(&mut self) -> Option<(Sid, Option<u64>)> {
        let next = self.unsubs.pop_front()?;
        self.unsubs_gone = self.unsubs_gone.wrapping_add(1);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsub_that_waits_is_replaced_where_the_numbers_of_unsubs_begin_anew() {
        let mut subscriptions = Subscriptions { unsubs_gone: u32::MAX - 1, ..Default::default() };
        let mut add = |subject| {
            let subject = SubjectRef::new(subject).expect("it is a subject");
            subscriptions.add(subject, None, Role::Caller, 10).expect("there is room")
        };
        let (a, b, c) = (add("a"), add("b"), add("c"));
        // Their UNSUBs have the numbers before the last one, the last one, and 0.
        for sid in [a, b, c] {
            subscriptions.unsubscribe(sid, Some(9), true);
        }
        for (sid, max) in [(c, 7), (b, 6), (a, 5)] {
            subscriptions.unsubscribe(sid, Some(max), true);
        }
        assert_eq!(subscriptions.unsubs, [(a, Some(5)), (b, Some(6)), (c, Some(7))]);
        assert_eq!(subscriptions.next_unsub(), Some((a, Some(5))));
        assert_eq!(subscriptions.next_unsub(), Some((b, Some(6))));
        // What is written is not replaced, and what waits still is.
        subscriptions.unsubscribe(a, Some(4), true);
        subscriptions.unsubscribe(c, Some(3), true);
        assert_eq!(subscriptions.unsubs, [(c, Some(3)), (a, Some(4))]);
        subscriptions.forget_connection();
        assert_eq!((subscriptions.unsubs_gone, subscriptions.has_unsubs()), (2, false));
        subscriptions.unsubscribe(b, Some(2), true);
        subscriptions.unsubscribe(b, Some(1), true);
        assert_eq!(subscriptions.unsubs, [(b, Some(1))]);
    }
}
