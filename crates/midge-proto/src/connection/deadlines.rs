//! One deadline per place of a slab, the earliest first.
//!
//! A binary heap that knows where each place stands: setting and removing take logarithmic time,
//! and there is never more than one entry for a place, however often it is used again. Deadlines
//! that are set in ascending order, as with one time-out for all, are appended without a swap.

use alloc::vec::Vec;

use crate::Instant;

const ABSENT: u32 = u32::MAX;

/// A set of deadlines, at most one per index.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: Vec<(Instant, u32)>,
    /// Where each index stands in the heap.
    places: Vec<u32>,
}

impl Deadlines {
    /// No deadlines.
    pub const fn new() -> Self {
        Self { heap: Vec::new(), places: Vec::new() }
    }

    /// Sets the deadline of `index`, in place of the one that it had.
    ///
    /// # Panics
    ///
    /// Panics when `index` is not below `u32::MAX`.
    pub fn set(&mut self, index: usize, at: Instant) {
        self.remove(index);
        if index >= self.places.len() {
            self.places.resize(index + 1, ABSENT);
        }
        let number = u32::try_from(index).expect("an index of a slab is below 2^24");
        self.heap.push((at, number));
        self.places[index] = place(self.heap.len() - 1);
        self.rise(self.heap.len() - 1);
    }

    /// Forgets the deadline of `index`, if it has one.
    pub fn remove(&mut self, index: usize) {
        let Some(&at) = self.places.get(index).filter(|at| **at != ABSENT) else {
            return;
        };
        let at = at as usize;
        self.places[index] = ABSENT;
        let last = self.heap.len() - 1;
        self.heap.swap_remove(at);
        if at < last {
            self.places[self.heap[at].1 as usize] = place(at);
            self.sink(at);
            self.rise(at);
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Removes and returns an index whose deadline is not later than `now`.
    pub fn expire(&mut self, now: Instant) -> Option<usize> {
        let (at, index) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(index as usize);
        Some(index as usize)
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
        self.places[self.heap[one].1 as usize] = place(one);
        self.places[self.heap[other].1 as usize] = place(other);
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("the heap holds at most one entry per index")
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_heap_agrees_with_a_sorted_map(steps in proptest::collection::vec((0usize..20, 0u64..50, 0u8..3), 1..200)) {
            let mut deadlines = Deadlines::new();
            let mut model = BTreeMap::new();
            for (index, at, what) in steps {
                match what {
                    0 => { deadlines.set(index, Instant::from_nanos(at)); model.insert(index, at); }
                    1 => { deadlines.remove(index); model.remove(&index); }
                    _ => {
                        let due = model.values().filter(|due| **due <= at).count();
                        let mut expired = 0;
                        while let Some(index) = deadlines.expire(Instant::from_nanos(at)) {
                            prop_assert!(model.remove(&index).is_some_and(|due| due <= at));
                            expired += 1;
                        }
                        prop_assert_eq!(due, expired);
                    }
                }
                prop_assert_eq!(deadlines.next().map(Instant::as_nanos), model.values().min().copied());
                prop_assert_eq!(deadlines.heap.len(), model.len());
            }
        }
    }
}
