//! The deadlines of a connection, one place for each reason.

use core::mem;
use core::time::Duration;

use crate::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// An attempt to connect takes too long.
    Attempt,
    /// The next attempt is due.
    Reconnect,
    /// The next keep-alive PING is due.
    Ping,
    /// The transport takes no bytes for too long.
    Write,
    /// Sent messages are to be confirmed by a PING.
    Confirm,
    /// The server, which is about to shut down, is to be left.
    LameDuck,
    /// A planned move to another server takes too long.
    Move,
    /// A drain takes too long.
    Drain,
    /// A close takes too long.
    Close,
    /// Messages are kept for too long.
    Kept,
    /// A request takes too long.
    Request,
}

const ALL: [Timer; 10] = [
    Timer::Attempt,
    Timer::Reconnect,
    Timer::Ping,
    Timer::Write,
    Timer::Confirm,
    Timer::LameDuck,
    Timer::Move,
    Timer::Drain,
    Timer::Close,
    Timer::Kept,
];

/// A deadline per reason. Requests have a structure of their own.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; ALL.len()],
    /// The earliest of them: it is asked for in every turn, and seldom another one.
    next: Option<(Instant, Timer)>,
    /// Set by a command, which knows no time; they run from the next poll on.
    asked: [Option<Duration>; ALL.len()],
    any_asked: bool,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.change(timer, Some(at));
    }

    /// Sets the timer once the time is known. An earlier deadline stays.
    pub(super) fn hasten(&mut self, timer: Timer, duration: Duration) {
        let asked = &mut self.asked[timer as usize];
        *asked = Some(asked.map_or(duration, |earlier| earlier.min(duration)));
        self.any_asked = true;
    }

    /// Some timer is to start once the time is known.
    pub(super) fn are_asked(&self) -> bool {
        self.any_asked
    }

    pub(super) fn start_asked(&mut self, now: Instant) {
        if !mem::take(&mut self.any_asked) {
            return;
        }
        for timer in ALL {
            if let Some(duration) = self.asked[timer as usize].take() {
                let at = now + duration;
                self.set(timer, self.get(timer).map_or(at, |earlier| earlier.min(at)));
            }
        }
    }

    /// Stops the timer. Returns when it would have run out.
    pub(super) fn take(&mut self, timer: Timer) -> Option<Instant> {
        self.change(timer, None)
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.change(timer, None);
        self.asked[timer as usize] = None;
    }

    pub(super) fn stop_all(&mut self) {
        *self = Self::default();
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize].is_some()
    }

    pub(super) fn next(&self) -> Option<(Instant, Timer)> {
        self.next
    }

    /// Removes and returns a deadline that is not later than `now`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.next?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }

    fn change(&mut self, timer: Timer, at: Option<Instant>) -> Option<Instant> {
        let before = mem::replace(&mut self.deadlines[timer as usize], at);
        if before != at {
            let set = ALL.into_iter().filter_map(|timer| Some((self.get(timer)?, timer)));
            self.next = set.min();
        }
        before
    }
}
