//! Futures that wait for the same thing, and the wakers that are due once no lock is held.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;
use std::{iter, thread};

/// What is due once no lock is held: wakers to be woken, and events to be traced.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    /// Mostly there is one, which needs no memory of the allocator's.
    first: Option<Waker>,
    more: Vec<Waker>,
    #[cfg(feature = "tracing")]
    events: Vec<crate::Event>,
}

impl Wakes {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        match &mut self.first {
            Some(_) => self.more.push(waker),
            first => *first = Some(waker),
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn trace(&mut self, event: &crate::Event) {
        self.events.push(event.clone());
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn trace(&mut self, _: &crate::Event) {}

    /// Wakes and traces all. To be called with no lock held.
    pub(crate) fn wake(&mut self) {
        self.trace_all();
        if let Some(first) = self.first.take() {
            if self.more.is_empty() {
                first.wake();
            } else {
                wake_each(first, &mut self.more);
            }
        }
    }

    /// The same for a drop, which may be one of a panic: another one does not add to it.
    pub(crate) fn wake_at_last(&mut self) {
        self.trace_all();
        if let Some(first) = self.first.take() {
            wake_each(first, &mut self.more);
        }
    }

    #[inline]
    fn trace_all(&mut self) {
        #[cfg(feature = "tracing")]
        for event in self.events.drain(..) {
            tracing::debug!(target: "midge", ?event);
        }
    }
}

/// Wakes all of them though some panic, and goes on with the first such panic. Within another one, that
/// one is enough.
fn wake_each(first: Waker, more: &mut Vec<Waker>) {
    let mut wakers = iter::once(first).chain(more.drain(..));
    let mut panic = None;
    while let Err(thrown) = catch_unwind(AssertUnwindSafe(|| wakers.by_ref().for_each(Waker::wake)))
    {
        panic.get_or_insert(thrown);
    }
    if let Some(panic) = panic.filter(|_| !thread::panicking()) {
        resume_unwind(panic);
    }
}

/// The place of one future among [`Waiters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterKey {
    index: u32,
    generation: u32,
}

#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    waker: Option<Waker>,
}

/// Futures that wait for the same thing, in the order in which they came. Each looks again for
/// itself when it is woken, and keeps its place until it leaves.
///
/// A future that ends or is dropped gives its place back, so there are never more places than
/// there were futures at a time.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Those that wait, and some that have left.
    order: VecDeque<WaiterKey>,
}

impl Waiters {
    /// Sets the waker of a future that waits, and gives it a place if it has none. The waker
    /// that is returned is out of use: drop it without a lock.
    pub(crate) fn wait(&mut self, key: &mut Option<WaiterKey>, waker: &Waker) -> Option<Waker> {
        let key = key.get_or_insert_with(|| self.place());
        set_waker(&mut self.entries[key.index as usize].waker, waker)
    }

    fn place(&mut self) -> WaiterKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            u32::try_from(self.entries.len() - 1).expect("fewer futures than 2^32 wait at a time")
        });
        let key = WaiterKey { index, generation: self.entries[index as usize].generation };
        if self.order.len() > 2 * (self.entries.len() - self.free.len()) + 16 {
            let entries = &self.entries;
            self.order.retain(|key| entries[key.index as usize].generation == key.generation);
        }
        self.order.push_back(key);
        key
    }

    /// Gives the place back. Drop what is returned without a lock.
    pub(crate) fn leave(&mut self, key: &mut Option<WaiterKey>) -> Option<Waker> {
        let key = key.take()?;
        let entry = &mut self.entries[key.index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        if self.order.front() == Some(&key) {
            self.order.pop_front();
        }
        self.free.push(key.index);
        entry.waker.take()
    }

    pub(crate) fn wake_one(&mut self, key: WaiterKey, wakes: &mut Wakes) {
        if let Some(entry) = self.entries.get_mut(key.index as usize)
            && entry.generation == key.generation
        {
            wakes.add(entry.waker.take());
        }
    }

    #[inline]
    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        if !self.order.is_empty() {
            self.wake_first(usize::MAX, wakes);
        }
    }

    /// Wakes so many of those that were not woken since they last looked, the earliest first, and
    /// returns how many there were.
    pub(crate) fn wake_first(&mut self, most: usize, wakes: &mut Wakes) -> usize {
        let mut woken = 0;
        for key in &self.order {
            if woken == most {
                break;
            }
            let entry = &mut self.entries[key.index as usize];
            if entry.generation == key.generation
                && let Some(waker) = entry.waker.take()
            {
                wakes.add(Some(waker));
                woken += 1;
            }
        }
        woken
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }
}

#[cfg(test)]
impl Waiters {
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

/// Makes `slot` hold `waker`; returns the one that it held, to be dropped without a lock.
pub(crate) fn set_waker(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(old) if old.will_wake(waker) => None,
        _ => slot.replace(waker.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futures_that_come_and_go_use_the_same_place() {
        let mut waiters = Waiters::default();
        for _ in 0..100 {
            let mut key = None;
            waiters.wait(&mut key, Waker::noop());
            waiters.leave(&mut key);
            assert_eq!(key, None);
        }
        assert_eq!(waiters.entries.len(), 1);
    }

    #[test]
    fn a_place_that_was_given_back_wakes_nobody_else() {
        let mut waiters = Waiters::default();
        let (mut first, mut second) = (None, None);
        waiters.wait(&mut first, Waker::noop());
        let stale = first.unwrap();
        waiters.leave(&mut first);
        waiters.wait(&mut second, Waker::noop());
        let mut wakes = Wakes::default();
        waiters.wake_one(stale, &mut wakes);
        assert!(wakes.first.is_none() && wakes.more.is_empty());
        waiters.wake_one(second.unwrap(), &mut wakes);
        waiters.wake_all(&mut wakes);
        assert!(wakes.first.is_some() && wakes.more.is_empty());
    }
}
