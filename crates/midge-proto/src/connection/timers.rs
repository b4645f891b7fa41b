//! The deadlines of a connection, one place for each reason.

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
    /// Set by a command, which knows no time; they run from the next poll on.
    asked: [Option<Duration>; ALL.len()],
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Sets the timer once the time is known. An earlier deadline stays.
    pub(super) fn hasten(&mut self, timer: Timer, duration: Duration) {
        let asked = &mut self.asked[timer as usize];
        *asked = Some(asked.map_or(duration, |earlier| earlier.min(duration)));
    }

    pub(super) fn start_asked(&mut self, now: Instant) {
        for (deadline, asked) in self.deadlines.iter_mut().zip(&mut self.asked) {
            if let Some(duration) = asked.take() {
                let at = now + duration;
                *deadline = Some(deadline.map_or(at, |earlier| earlier.min(at)));
            }
        }
    }

    /// Stops the timer. Returns when it would have run out.
    pub(super) fn take(&mut self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize].take()
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
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
        ALL.into_iter().filter_map(|timer| Some((self.deadlines[timer as usize]?, timer))).min()
    }

    /// Removes and returns a deadline that is not later than `now`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
