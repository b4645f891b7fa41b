//! How long messages have been kept for a next connection.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::Instant;

/// Times by which messages had been accepted: a mark per 32nd of the maximum age, so that their
/// number is bounded. A message is taken for older than it is by at most as much.
#[derive(Debug, Default)]
pub(super) struct Ages {
    max: Option<Duration>,
    /// When, and the position of the first message that came later.
    marks: VecDeque<(Instant, u64)>,
}

impl Ages {
    pub(super) fn new(max: Option<Duration>) -> Self {
        Self { max, marks: VecDeque::new() }
    }

    /// There is no connection now, and all messages below `position` have been accepted.
    pub(super) fn note(&mut self, now: Instant, position: u64) {
        let Some(max) = self.max else {
            return;
        };
        match self.marks.back_mut() {
            Some((_, below)) if *below == position => {}
            Some((at, below)) if now < *at + max / 32 => *below = position,
            _ => self.marks.push_back((now, position)),
        }
    }

    /// When the oldest is too old.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.marks.front()?.0 + self.max?)
    }

    /// All messages below this position are too old.
    pub(super) fn expire(&mut self, now: Instant) -> Option<u64> {
        let mut expired = None;
        while self.due().is_some_and(|due| due <= now) {
            expired = self.marks.pop_front().map(|(_, below)| below);
        }
        expired
    }

    /// There is a connection: nothing is kept.
    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_few_and_none_is_late() {
        let second = Duration::from_secs(1);
        let mut ages = Ages::new(Some(32 * second));
        for message in 0..100_000u64 {
            ages.note(Instant::ZERO + Duration::from_millis(message), message + 1);
        }
        assert!(ages.marks.len() <= 101, "{}", ages.marks.len());
        for message in 0..100_000u64 {
            let now = Instant::ZERO + 32 * second + Duration::from_millis(message);
            if let Some(below) = ages.expire(now) {
                assert!((message + 1..=message + 1001).contains(&below), "{message} {below}");
            }
        }
        assert_eq!(ages.due(), None);
    }

    #[test]
    fn where_nothing_is_added_there_is_nothing_to_mark() {
        let mut ages = Ages::new(Some(Duration::from_secs(32)));
        (0..30).for_each(|second| ages.note(Instant::ZERO + Duration::from_secs(second), 1));
        assert_eq!(ages.marks.len(), 1);
    }
}
