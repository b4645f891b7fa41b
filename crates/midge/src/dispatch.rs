//! What each event of the core changes for those who wait.

use std::sync::Arc;

use midge_proto::{EndReason, Instant, Sid, Sink};

use crate::Event;
use crate::router::Burst;
use crate::shared::{Inner, Room, Shared, lock};
use crate::timers::Owner;
use crate::waiters::Wakes;

impl Shared {
    /// Hands over what one call of the core's engine gave: messages to queues, responses to
    /// slots, and new bursts of slow subscriptions to everyone. True when reading was stopped or
    /// begun, so that what the core waits for may have changed.
    pub(crate) fn deliver(&self, inner: &mut Inner, now: Instant, wakes: &mut Wakes) -> bool {
        inner.router.deliver(wakes);
        if !inner.router.responses.is_empty() {
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
            if self.settings.slow_hold.is_zero() {
                slot.burst = Burst::Dropping;
            } else {
                inner.hold(sid, now + self.settings.slow_hold);
                changed = true;
            }
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
            Core::SubscriptionEnded(sid, reason) => return inner.ended(sid, reason, wakes),
            Core::Writable => return inner.wake_room(Room::Messages, wakes),
            Core::SubscriptionsDrained => {
                inner.draining = true;
                return inner.check_drained();
            }
            Core::Connected(connected) => Event::Connected(Arc::new(connected)),
            Core::Disconnected(disconnected) => Event::Disconnected(Arc::new(disconnected)),
            Core::AttemptFailed { server, cause } => Event::AttemptFailed { server, cause },
            Core::ServersChanged { added, removed, ignored } => {
                Event::ServersChanged { added, removed, ignored }
            }
            Core::LameDuck => Event::LameDuck,
            Core::ServerError(error) => Event::ServerError(error),
            Core::Oversized { sid, length } => Event::Oversized { sid, length },
            Core::Closed(closed) => Event::Closed(Arc::new(closed)),
            _ => return,
        };
        if let Event::Disconnected(_) | Event::Connected(_) | Event::Closed(_) = event {
            // Who waits for room while connected must look again: now other bounds hold.
            inner.wake_room(Room::Messages, wakes);
            inner.wake_room(Room::Control, wakes);
        }
        lock(&self.board).note(&event, wakes);
    }
}

impl Inner {
    fn ended(&mut self, sid: Sid, reason: EndReason, wakes: &mut Wakes) {
        let Some(slot) = self.remove_slot(sid) else { return };
        slot.queue.end(reason, wakes);
        if slot.queue.unread().messages > 0 {
            self.unread.insert(sid);
        }
    }
}
