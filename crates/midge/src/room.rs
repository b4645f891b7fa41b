//! Waiting for room: for messages, for what else is said to the server, and behind a driver that has
//! much to write.

use std::task::{Context, Poll, Waker};

use midge_proto::{Instant, Position, PublishError};

use crate::shared::{Inner, Shared, lock};
use crate::timers::{Owner, TimerKey};
use crate::waiters::{WaiterKey, Wakes};

/// Bytes that wait for the driver, from which on a publish that may wait does: with the message that
/// goes beyond it they are one write, as a rule, and in the processor's caches until then.
pub(crate) const HIGH_WATER: usize = 256 * 1024;
/// Who has waited goes on below this.
const LOW_WATER: usize = HIGH_WATER / 2;
/// So many are woken at a time: the first may well leave no room for others.
const WAKES: usize = 16;

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Messages,
    Control,
    /// There is room, but the driver is to write first.
    Backlog,
}

/// A future's wait for room.
#[derive(Debug)]
pub(crate) struct RoomWait {
    room: Room,
    key: Option<WaiterKey>,
    timer: Option<TimerKey>,
    /// The wait ends here, with the refusal.
    pub(crate) deadline: Option<Instant>,
}

impl RoomWait {
    pub(crate) fn new(room: Room) -> Self {
        Self { room, key: None, timer: None, deadline: None }
    }

    /// A wait that ends at `deadline`.
    pub(crate) fn until(room: Room, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::new(room) }
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.key.is_some()
    }

    /// Must be called when the future that waits is dropped.
    #[inline]
    pub(crate) fn abandon(&mut self, shared: &Shared) {
        if self.key.is_some() {
            self.leave(shared);
        }
    }

    #[cold]
    fn leave(&mut self, shared: &Shared) {
        let old = lock(&shared.inner).leave_room(self);
        drop(old);
    }
}

impl Shared {
    /// Publishes, and waits while the driver has much to write, or there is no room while connected.
    #[cold]
    pub(crate) fn poll_publish(
        &self,
        wait: &mut RoomWait,
        context: &Context<'_>,
        publish: impl FnOnce(&mut Inner) -> Result<Position, PublishError>,
    ) -> Poll<Result<Position, PublishError>> {
        let in_time = self.in_time(wait);
        let mut old = [None, None];
        let poll = self.command_if(|inner| {
            let (room, result) = match in_time && inner.connection.backlog() >= HIGH_WATER {
                true => (Room::Backlog, Err(PublishError::Full)),
                false => (Room::Messages, publish(inner)),
            };
            if wait.room != room {
                old[0] = inner.leave_room(wait);
                wait.room = room;
            }
            if result == Err(PublishError::Full) && in_time && inner.connection.is_connected() {
                let timed = wait.timer;
                old[1] = inner.enter_room(wait, context.waker());
                // A driver that waits for the transport is to hear of a new deadline, and of nothing
                // else. The publisher that writes goes on with what waits, or wakes the driver.
                let work = match inner.hands_over {
                    Some(_) => room != Room::Backlog || !inner.connection.is_writing(),
                    None => !inner.stuck,
                };
                return (Poll::Pending, work || wait.timer != timed);
            }
            old[1] = inner.leave_room(wait);
            (Poll::Ready(result), !inner.stuck)
        });
        drop(old);
        poll
    }

    /// Runs `run`; when that finds no room while connected, waits and is to be polled again.
    #[inline]
    pub(crate) fn poll_with_room<T, E>(
        &self,
        wait: &mut RoomWait,
        context: &Context<'_>,
        is_full: impl FnOnce(&E) -> bool,
        run: impl FnOnce(&mut Inner) -> Result<T, E>,
    ) -> Poll<Result<T, E>> {
        let mut old = None;
        let poll = self.command(|inner| {
            let result = run(inner);
            self.settle_room(inner, wait, context, is_full, result, &mut old)
        });
        drop(old);
        poll
    }

    /// As [`poll_with_room`](Self::poll_with_room), for what only sometimes leaves the driver
    /// something to do.
    #[inline]
    pub(crate) fn poll_with_room_if<T, E>(
        &self,
        wait: &mut RoomWait,
        context: &Context<'_>,
        is_full: impl FnOnce(&E) -> bool,
        run: impl FnOnce(&mut Inner) -> (Result<T, E>, bool),
    ) -> Poll<Result<T, E>> {
        let mut old = None;
        let poll = self.command_if(|inner| {
            let (result, work) = run(inner);
            (self.settle_room(inner, wait, context, is_full, result, &mut old), work)
        });
        drop(old);
        poll
    }

    /// Waits for room, or does so no more.
    #[inline]
    fn settle_room<T, E>(
        &self,
        inner: &mut Inner,
        wait: &mut RoomWait,
        context: &Context<'_>,
        is_full: impl FnOnce(&E) -> bool,
        result: Result<T, E>,
        old: &mut Option<Waker>,
    ) -> Poll<Result<T, E>> {
        match &result {
            Err(error) if is_full(error) && self.may_wait(inner, wait) => {
                *old = inner.enter_room(wait, context.waker());
                Poll::Pending
            }
            _ => {
                *old = inner.leave_room(wait);
                Poll::Ready(result)
            }
        }
    }

    fn may_wait(&self, inner: &Inner, wait: &RoomWait) -> bool {
        inner.connection.is_connected() && self.in_time(wait)
    }

    /// The deadline of the wait, if it has one, has not passed.
    #[inline]
    fn in_time(&self, wait: &RoomWait) -> bool {
        wait.deadline.is_none_or(|deadline| deadline > self.clock.now())
    }
}

impl Inner {
    fn enter_room(&mut self, wait: &mut RoomWait, waker: &Waker) -> Option<Waker> {
        let old = self.rooms[wait.room as usize].wait(&mut wait.key, waker);
        if let (Some(key), Some(deadline)) = (wait.key, wait.deadline) {
            let owner = Owner::Room(wait.room, key);
            if !wait.timer.is_some_and(|timer| self.timers.is_running(timer, owner)) {
                wait.timer = Some(self.timers.start(owner, deadline));
            }
        }
        old
    }

    #[inline]
    fn leave_room(&mut self, wait: &mut RoomWait) -> Option<Waker> {
        let key = wait.key?;
        self.leave_room_as(wait, key)
    }

    #[cold]
    fn leave_room_as(&mut self, wait: &mut RoomWait, key: WaiterKey) -> Option<Waker> {
        if let Some(timer) = wait.timer.take() {
            self.timers.stop(timer, Owner::Room(wait.room, key));
        }
        self.rooms[wait.room as usize].leave(&mut wait.key)
    }

    pub(crate) fn wake_room(&mut self, room: Room, wakes: &mut Wakes) {
        self.rooms[room as usize].wake_all(wakes);
    }

    /// Those who let the driver write first may go on, a few at a time. True when some were woken: if
    /// they do not come, others are to be.
    pub(crate) fn wake_publishers(&mut self, wakes: &mut Wakes) -> bool {
        let room = &mut self.rooms[Room::Backlog as usize];
        !room.is_empty()
            && self.connection.backlog() < LOW_WATER
            && room.wake_first(WAKES, wakes) > 0
    }

    pub(crate) fn wake_in_room(&mut self, room: Room, key: WaiterKey, wakes: &mut Wakes) {
        self.rooms[room as usize].wake_one(key, wakes);
    }
}
