//! All that a run consists of besides its tasks, and the steps of time.

use std::task::Waker;

use midge_proto::Instant;

use crate::Rng;
use crate::net::Net;
use crate::schedule::{Happening, Schedule};
use crate::trace::Trace;

pub(crate) struct State {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) net: Net,
    pub(crate) schedule: Schedule,
    pub(crate) trace: Trace,
    /// Woken once nobody holds this.
    pub(crate) woken: Vec<Waker>,
}

impl State {
    pub(crate) fn note(&mut self, what: &str, a: u64, b: u64, bytes: &[u8]) {
        self.trace.note(self.now, what, a, b, bytes);
    }

    /// When the next thing happens, if nobody does anything before.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.net.cluster.next(), self.schedule.next()].into_iter().flatten().min()
    }

    /// Lets the next thing happen, at its time. False when there is none up to `end`.
    pub(crate) fn advance(&mut self, end: Option<Instant>) -> bool {
        let scheduled = self.schedule.next();
        let Some(next) = self.next() else { return false };
        if end.is_some_and(|end| next > end) {
            return false;
        }
        self.now = self.now.max(next);
        if scheduled.is_some_and(|scheduled| scheduled <= next) {
            match self.schedule.take_first() {
                Some(Happening::Timer(waker)) => self.woken.push(waker),
                Some(Happening::Dialled(dial)) => self.answer_dial(dial),
                Some(Happening::Arrived(connection, direction)) => {
                    self.arrive(connection, direction)
                }
                Some(Happening::Do(planned)) => planned(self),
                None => {}
            }
        } else {
            self.net.cluster.poll(self.now);
        }
        self.pump_changed();
        true
    }
}
