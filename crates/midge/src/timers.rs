//! The client's own deadlines, which the driver waits for together with those of the core.

use midge_proto::{Deadlines, FlushId, Instant, Sid};

use crate::room::Room;
use crate::waiters::WaiterKey;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A publish, request or subscribe waits for room.
    Room(Room, WaiterKey),
    /// A flush waits for its PONG.
    Flush(FlushId),
    /// Reading has stopped for the sake of a slow subscription.
    Hold(Sid),
    /// A subscription waits for its first message, or a request for its replies.
    Deadline(Sid),
    /// A request waits for one more reply.
    Stall(Sid),
    /// A future waits for a moment.
    #[cfg(feature = "jetstream")]
    Alarm(WaiterKey),
}

/// The place of a deadline. It is only valid together with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey(usize);

/// Deadlines and their owners.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: Deadlines,
    owners: Vec<Option<Owner>>,
    free: Vec<usize>,
}

impl Timers {
    pub(crate) fn start(&mut self, owner: Owner, at: Instant) -> TimerKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.owners.push(None);
            self.owners.len() - 1
        });
        self.owners[index] = Some(owner);
        self.deadlines.set(index, at);
        TimerKey(index)
    }

    /// Forgets a deadline, unless it has passed.
    pub(crate) fn stop(&mut self, key: TimerKey, owner: Owner) {
        if self.owners[key.0] == Some(owner) {
            self.owners[key.0] = None;
            self.free.push(key.0);
            self.deadlines.remove(key.0);
        }
    }

    /// Whether the deadline is still to come.
    pub(crate) fn is_running(&self, key: TimerKey, owner: Owner) -> bool {
        self.owners[key.0] == Some(owner)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Removes a deadline that has passed, and returns its owner.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Owner> {
        let index = self.deadlines.expire(now)?;
        self.free.push(index);
        self.owners[index].take()
    }
}
