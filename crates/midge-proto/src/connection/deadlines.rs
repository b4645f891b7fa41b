//! One deadline per place of a slab, the earliest first.
//!
//! Most deadlines are set in ascending order, as with one time-out for all, and most are forgotten
//! before they pass: those stand in a queue, where both are done in constant time. One that is
//! earlier than the last of the queue goes to a binary heap that knows where each place stands.
//! There is never more than one entry for a place, however often it is used again, and what was
//! forgotten within the queue is at most as much as is left there, and a few more.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::Instant;

/// Has no deadline. In the queue: forgotten.
const ABSENT: u32 = u32::MAX;
/// Set in what stands for a place of the queue.
const QUEUED: u32 = 1 << 31;
/// Places of the queue are counted on from whatever was removed at its front, up to here, and from 0
/// again.
const COUNTED: u32 = (1 << 30) - 1;
/// So many forgotten ones are no reason to tidy the queue.
const FEW: usize = 32;

/// A set of deadlines, at most one per index.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// Ascending. The first and the last one are not forgotten.
    queue: VecDeque<(Instant, u32)>,
    /// The number of the first place of the queue.
    first: u32,
    /// Entries of the queue that are forgotten.
    forgotten: usize,
    heap: Vec<(Instant, u32)>,
    /// The earliest of both: it is asked for more often than it changes.
    next: Option<Instant>,
    /// Where each index stands.
    places: Vec<u32>,
}

impl Deadlines {
    /// No deadlines.
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            first: 0,
            forgotten: 0,
            heap: Vec::new(),
            next: None,
            places: Vec::new(),
        }
    }

    /// Sets the deadline of `index`, in place of the one that it had.
    ///
    /// # Panics
    ///
    /// Panics when `index` is not below `2^30`.
    pub fn set(&mut self, index: usize, at: Instant) {
        self.remove(index);
        if index >= self.places.len() {
            self.places.resize(index + 1, ABSENT);
        }
        let number = number(index);
        if self.queue.back().is_none_or(|(last, _)| *last <= at) {
            self.places[index] = self.queued(self.queue.len());
            self.queue.push_back((at, number));
        } else {
            self.heap.push((at, number));
            self.places[index] = self::number(self.heap.len() - 1);
            self.rise(self.heap.len() - 1);
        }
        if self.next.is_none_or(|next| at < next) {
            self.next = Some(at);
        }
    }

    /// Forgets the deadline of `index`, if it has one.
    pub fn remove(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        match core::mem::replace(place, ABSENT) {
            ABSENT => {}
            queued if queued & QUEUED != 0 => self.forget(queued),
            at => self.take(at as usize),
        }
    }

    /// The earliest deadline.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Removes and returns an index whose deadline is not later than `now`.
    pub fn expire(&mut self, now: Instant) -> Option<usize> {
        self.next.filter(|at| *at <= now)?;
        let (_, index) = self.earliest()?;
        self.remove(index as usize);
        Some(index as usize)
    }

    fn earliest(&self) -> Option<(Instant, u32)> {
        let (queued, other) = (self.queue.front().copied(), self.heap.first().copied());
        match (queued, other) {
            (Some(queued), Some(other)) => Some(queued.min(other)),
            _ => queued.or(other),
        }
    }

    /// What stands for the place `at` of the queue.
    fn queued(&self, at: usize) -> u32 {
        (self.first + number(at)) & COUNTED | QUEUED
    }

    fn forget(&mut self, place: u32) {
        let at = (place.wrapping_sub(self.first) & COUNTED) as usize;
        if at == 0 {
            self.pass();
            return;
        }
        self.queue[at].1 = ABSENT;
        self.forgotten += 1;
        while self.queue.back().is_some_and(|(_, index)| *index == ABSENT) {
            self.queue.pop_back();
            self.forgotten -= 1;
        }
        if self.forgotten > FEW + self.queue.len() / 2 {
            self.tidy();
        }
    }

    /// Lets go of the front of the queue, and of what is forgotten behind it.
    fn pass(&mut self) {
        self.queue.pop_front();
        self.first = (self.first + 1) & COUNTED;
        while self.queue.front().is_some_and(|(_, index)| *index == ABSENT) {
            self.queue.pop_front();
            self.first = (self.first + 1) & COUNTED;
            self.forgotten -= 1;
        }
        self.next = self.earliest().map(|(at, _)| at);
    }

    /// Lets go of what is forgotten.
    fn tidy(&mut self) {
        self.queue.retain(|(_, index)| *index != ABSENT);
        self.forgotten = 0;
        for at in 0..self.queue.len() {
            self.places[self.queue[at].1 as usize] = self.queued(at);
        }
    }

    /// Takes what stands at this place of the heap.
    fn take(&mut self, at: usize) {
        let last = self.heap.len() - 1;
        self.heap.swap_remove(at);
        if at < last {
            self.places[self.heap[at].1 as usize] = number(at);
            self.sink(at);
            self.rise(at);
        }
        if at == 0 {
            self.next = self.earliest().map(|(at, _)| at);
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.heap[at].0 < self.heap[(at - 1) / 2].0 {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let Some(mut least) = self.heap.get(left).map(|_| left) else {
                return;
            };
            if self.heap.get(left + 1).is_some_and(|right| right.0 < self.heap[left].0) {
                least = left + 1;
            }
            if self.heap[at].0 <= self.heap[least].0 {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.places[self.heap[one].1 as usize] = number(one);
        self.places[self.heap[other].1 as usize] = number(other);
    }
}

/// An index, or a place of the heap or the queue, of which there are not many more.
fn number(at: usize) -> u32 {
    u32::try_from(at).ok().filter(|at| *at <= COUNTED).expect("an index of a slab is below 2^24")
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn deadlines_agree_with_a_sorted_map(
            steps in proptest::collection::vec((0usize..200, 0u64..50, 0u8..9), 1..800),
            pace in 0u64..3,
            before_the_count_begins_again in 0u32..20,
        ) {
            let first = COUNTED - before_the_count_begins_again;
            let mut deadlines = Deadlines { first, ..Deadlines::new() };
            let mut model = BTreeMap::new();
            let mut now = 0;
            for (index, after, what) in steps {
                now += pace;
                match what {
                    0..5 => {
                        deadlines.set(index, Instant::from_nanos(now + after));
                        model.insert(index, now + after);
                    }
                    5..8 => {
                        deadlines.remove(index);
                        model.remove(&index);
                    }
                    _ => {
                        let due = model.values().filter(|due| **due <= now).count();
                        let mut expired = 0;
                        while let Some(index) = deadlines.expire(Instant::from_nanos(now)) {
                            prop_assert!(model.remove(&index).is_some_and(|due| due <= now));
                            expired += 1;
                        }
                        prop_assert_eq!(due, expired);
                    }
                }
                prop_assert_eq!(deadlines.next().map(Instant::as_nanos), model.values().min().copied());
                let held = deadlines.heap.len() + deadlines.queue.len() - deadlines.forgotten;
                prop_assert_eq!(held, model.len());
            }
        }
    }

    #[test]
    fn what_is_forgotten_behind_one_that_stays_does_not_pile_up() {
        let mut deadlines = Deadlines::new();
        deadlines.set(0, Instant::from_nanos(7));
        for step in 0..10_000 {
            let (one, other) = (1 + step % 5, 1 + (step + 4) % 5);
            deadlines.set(one, Instant::from_nanos(10 + step as u64));
            deadlines.remove(other);
            assert!(deadlines.queue.len() <= 2 * (FEW + 6), "{}", deadlines.queue.len());
        }
        assert!(deadlines.heap.is_empty());
        assert_eq!(deadlines.expire(Instant::from_nanos(9)), Some(0));
        assert_eq!(deadlines.next(), Some(Instant::from_nanos(10 + 9_999)));
        assert_eq!((deadlines.queue.len(), deadlines.forgotten), (1, 0));
    }
}
