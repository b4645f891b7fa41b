//! What each event of the core changes for those who wait.

use std::sync::Arc;

use midge_proto::wire::ServerError;
use midge_proto::{Disconnected, Fate, Instant, NotSent, Position, Sid, Sink};

use crate::end::{End, EndReason};
use crate::handler::Call;
use crate::room::Room;
use crate::router::{Burst, Slot};
use crate::shared::{Inner, Shared, lock};
use crate::subscribe::WhenFull;
use crate::timers::Owner;
use crate::waiters::Wakes;
use crate::{Closed, Event};

impl Shared {
    /// Hands over what one call of the core's engine gave: messages to queues, responses to
    /// slots, and new bursts of slow subscriptions to everyone. True when reading was stopped or
    /// begun, so that what the core waits for may have changed.
    pub(crate) fn deliver(&self, inner: &mut Inner, now: Instant, wakes: &mut Wakes) -> bool {
        inner.router.deliver(wakes);
        if !inner.router.responses.is_empty() {
            inner.give_slot(self);
            let mut requests = lock(&self.requests);
            for (id, result) in inner.router.responses.drain(..) {
                if let Some(Ok(message)) = requests.done(id, result, wakes) {
                    inner.router.discarded.push(message);
                }
            }
        }
        let mut changed = false;
        while let Some(sid) = inner.router.bursts.pop() {
            let Some(slot) = inner.router.slots.get_mut(sid) else { continue };
            let subject = slot.queue.subject.clone();
            let event = Event::SlowConsumer { sid, subject, pending: slot.queue.unread().messages };
            lock(&self.board).note(&event, wakes);
            let until = match slot.queue.when_full {
                WhenFull::Hold => Some(now + self.settings.slow_hold),
                WhenFull::Pause => None,
                WhenFull::DropNewest | WhenFull::DropOldest => {
                    slot.burst = Burst::Dropping;
                    continue;
                }
            };
            inner.hold(sid, until);
            changed = true;
        }
        changed
    }

    /// Carries out the client's own deadlines that have passed.
    pub(crate) fn expire(&self, inner: &mut Inner, now: Instant, wakes: &mut Wakes) {
        while let Some(owner) = inner.timers.expire(now) {
            match owner {
                Owner::Room(room, key) => inner.wake_in_room(room, key, wakes),
                Owner::Flush(id) => inner.flush_is_due(id, wakes),
                Owner::Hold(sid) => inner.hold_expired(sid),
                Owner::Deadline(sid) => inner.deadline_passed(sid, wakes),
                Owner::Stall(sid) => inner.stalled(sid, wakes),
                #[cfg(feature = "jetstream")]
                Owner::Alarm(key) => inner.alarms.wake_one(key, wakes),
            }
        }
    }

    /// Lets everyone know who waits for what the core tells.
    pub(crate) fn note(
        &self,
        inner: &mut Inner,
        event: midge_proto::Event,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        use midge_proto::Event as Core;
        let event = match event {
            Core::Message(sid, message) => {
                inner.router.message(sid, message);
                return;
            }
            Core::Response(id, result) => {
                inner.router.response(id, result);
                return;
            }
            Core::Flushed(id, result) => return inner.flushed(id, result, now, wakes),
            Core::SubscriptionEnded(sid, reason) => return inner.ended(sid, reason.into(), wakes),
            Core::Writable => return inner.wake_room(Room::Messages, wakes),
            Core::SubscriptionsDrained => {
                inner.draining = true;
                return inner.check_drained();
            }
            Core::Connected(connected) => Event::Connected(Arc::new(connected)),
            Core::Disconnected(disconnected) => Event::Disconnected(disconnected),
            Core::AttemptFailed { server, cause } => Event::AttemptFailed { server, cause },
            Core::ServersChanged { added, removed, ignored } => {
                Event::ServersChanged { added, removed, ignored }
            }
            Core::Dropped(fate) => Event::Dropped(Arc::new(fate)),
            Core::LameDuck => Event::LameDuck,
            Core::ServerError(error) => {
                inner.request_denied(&error, wakes);
                Event::ServerError(error)
            }
            Core::Oversized { sid, length } => Event::Oversized { sid, length },
            Core::Closed(closed) => Event::Closed(Arc::new(inner.report(&closed))),
            _ => return,
        };
        if let Event::Disconnected(_) | Event::Connected(_) | Event::Closed(_) = event {
            // Who waits for room while connected must look again: now other bounds hold.
            for room in [Room::Messages, Room::Control, Room::Backlog] {
                inner.wake_room(room, wakes);
            }
        }
        #[cfg(feature = "jetstream")]
        if let Event::Closed(_) = event {
            inner.alarms.wake_all(wakes);
        }
        match &event {
            Event::Disconnected(lost) => {
                inner.questions_lost(lost, self.settings.keep_requests, wakes);
            }
            Event::Connected(connected) => inner.questions_refused(&connected.dropped, wakes),
            Event::Dropped(fate) => inner.questions_refused(fate, wakes),
            _ => {}
        }
        lock(&self.board).note(&event, wakes);
    }
}

impl Inner {
    /// The core has ended a subscription.
    fn ended(&mut self, sid: Sid, reason: EndReason, wakes: &mut Wakes) {
        let asked = self.router.slots.get_mut(sid).and_then(|slot| slot.asked());
        let end = match asked.map(|asked| asked.position) {
            Some(position) if reason == EndReason::Closed => {
                match self.connection.fates().dropped.positions.contains(position) {
                    true => End::NotSent(NotSent::Closed),
                    false => End::Reason(reason),
                }
            }
            _ => End::Reason(reason),
        };
        if let Some(slot) = self.remove_slot(sid) {
            self.end_queue(sid, &slot, end, wakes);
        }
    }

    /// Ends a subscription by the client's own decision.
    fn end_now(&mut self, sid: Sid, end: End, wakes: &mut Wakes) {
        if let Some(slot) = self.remove_slot(sid) {
            self.connection.unsubscribe(sid, None);
            self.end_queue(sid, &slot, end, wakes);
        }
    }

    fn end_queue(&mut self, sid: Sid, slot: &Slot, end: End, wakes: &mut Wakes) {
        slot.queue.end(end, wakes);
        if !slot.queue.is_read_out() {
            self.unread.insert(sid.number(), slot.queue.clone());
        }
        if let Some(handler) = slot.handler() {
            // It is called with the rest, then it goes away.
            self.router.calls.push(Call::Handler(sid, handler.clone()));
        }
    }

    fn deadline_passed(&mut self, sid: Sid, wakes: &mut Wakes) {
        let Some(slot) = self.router.slots.get_mut(sid) else { return };
        if let Some(position) = slot.asked().map(|asked| asked.position) {
            let end = match self.connection.withdraw(position) {
                true => End::NotSent(NotSent::TimedOut),
                false => End::Deadline,
            };
            self.end_now(sid, end, wakes);
        } else if !slot.has_begun() {
            self.end_now(sid, End::Reason(EndReason::NoFirstMessage), wakes);
        }
    }

    fn stalled(&mut self, sid: Sid, wakes: &mut Wakes) {
        if let Some(slot) = self.router.slots.get_mut(sid) {
            slot.extra().stall = None;
            slot.queue.wake(wakes);
        }
    }

    /// Requests with an inbox of their own end with the connection that they were sent through,
    /// unless they are kept.
    fn questions_lost(&mut self, lost: &Disconnected, keep: bool, wakes: &mut Wakes) {
        self.end_questions(wakes, &|position| {
            if position >= lost.end {
                None
            } else if lost.dropped.positions.contains(position) {
                Some(End::NotSent(NotSent::Disconnected))
            } else {
                (!keep).then_some(End::Lost)
            }
        });
    }

    /// The next server does not take them.
    fn questions_refused(&mut self, dropped: &Fate, wakes: &mut Wakes) {
        self.end_questions(wakes, &|position| {
            let refused = dropped.positions.contains(position);
            refused.then_some(End::NotSent(NotSent::NotAllowed))
        });
    }

    fn end_questions(&mut self, wakes: &mut Wakes, end: &dyn Fn(Position) -> Option<End>) {
        let slots = &mut self.router.slots;
        let ends = self.inboxes.iter().filter_map(|sid| {
            let position = slots.get_mut(*sid)?.asked()?.position;
            Some((*sid, end(position)?))
        });
        for (sid, end) in ends.collect::<Vec<_>>() {
            self.end_now(sid, end, wakes);
        }
    }

    /// The report of the end, with what subscriptions have to say.
    fn report(&self, closed: &midge_proto::Closed) -> Closed {
        let unread = self.unread.iter().map(|queue| queue.unread().messages as u64).sum();
        Closed {
            why: closed.why.clone(),
            fates: closed.fates.clone(),
            delivered: self.router.taken.saturating_sub(unread + self.discarded),
            unread,
        }
    }

    /// The server does not let a request through, or not with its reply subject. The text names
    /// no request: it is the oldest with this subject.
    fn request_denied(&mut self, error: &ServerError, wakes: &mut Wakes) {
        let slots = &mut self.router.slots;
        let denied = self.inboxes.iter().copied().find(|sid| {
            slots.get_mut(*sid).is_some_and(|slot| match error {
                ServerError::PublishPermission { subject } => slot.asks(subject),
                ServerError::PublishReplyPermission { reply } => {
                    slot.queue.subject == reply.as_str()
                }
                _ => false,
            })
        });
        if let Some(sid) = denied {
            self.end_now(sid, End::Reason(EndReason::Denied(error.clone())), wakes);
        }
    }
}
