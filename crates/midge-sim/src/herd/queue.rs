//! What is still to come, by time and then in the order in which it was put in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use midge_proto::Instant;

/// Sorting is put off until a slot is reached: most entries lie seconds ahead, and many are out of
/// date by then.
const SLOT: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Queue<T> {
    /// The slots before this one are sorted.
    sorted_below: u64,
    sorted: BinaryHeap<Reverse<Entry<T>>>,
    later: BTreeMap<u64, Vec<Entry<T>>>,
    order: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<T> {
    at: Instant,
    order: u64,
    what: T,
}

impl<T: Ord> Queue<T> {
    pub(super) fn new() -> Self {
        Self { sorted_below: 0, sorted: BinaryHeap::new(), later: BTreeMap::new(), order: 0 }
    }

    pub(super) fn push(&mut self, at: Instant, what: T) {
        self.order += 1;
        let entry = Entry { at, order: self.order, what };
        let slot = at.as_nanos() / SLOT;
        if slot < self.sorted_below {
            self.sorted.push(Reverse(entry));
        } else {
            self.later.entry(slot).or_default().push(entry);
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, T)> {
        if self.sorted.is_empty() {
            let (slot, entries) = self.later.pop_first()?;
            self.sorted_below = slot + 1;
            self.sorted = entries.into_iter().map(Reverse).collect();
        }
        self.sorted.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}
