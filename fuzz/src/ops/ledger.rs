//! What became of every message: what the servers read, held against what the connection reports.

use std::collections::BTreeSet;
use std::time::Duration;

use midge_proto::{Fate, Fates, Instant, Position, Statistics};

/// A fate that does not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Final {
    Confirmed,
    Unknown,
    Dropped,
}

/// The beginning of a frame that a server holds when its transport ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    Nothing,
    Message,
    /// A `P`, of PUB, PING or PONG.
    Maybe,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By position.
    fates: Vec<Option<Final>>,
    /// When each was accepted, and whether it is a request, which does not age.
    accepted: Vec<(Instant, bool)>,
    /// When there was a connection for the last time.
    pub(super) lost_at: Instant,
    /// Dropped as too old, and not reported yet.
    expired: BTreeSet<u64>,
    /// What the present server has read whole, in order.
    read: Vec<u64>,
    /// Requests that ended while a byte of them may have been on its way: if not, they are dropped
    /// and nobody is told, since nobody asks any more.
    withdrawn: BTreeSet<u64>,
    /// Messages below this were read before a PING whose PONG has reached the connection.
    answered: u64,
    /// No message below this may be begun any more.
    next: u64,
}

impl Ledger {
    pub(super) fn accepted(&mut self, now: Instant, request: bool) -> u64 {
        self.fates.push(None);
        self.accepted.push((now, request));
        self.published() - 1
    }

    pub(super) fn published(&self) -> u64 {
        self.fates.len() as u64
    }

    /// The present server has read the message.
    pub(super) fn read(&mut self, position: u64) {
        assert!(position < self.published(), "message {position} was never published");
        assert!(position >= self.next, "message {position} was sent again, or out of order");
        assert_eq!(self.fate(position), None, "message {position} was sent after its end");
        self.next = position + 1;
        self.read.push(position);
    }

    /// The position that a message must have to be the next one of the present server.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A PONG reached the connection: all below `next` is confirmed.
    pub(super) fn answered(&mut self, next: u64) {
        self.answered = self.answered.max(next);
    }

    /// It never left and never will.
    pub(super) fn dropped(&mut self, position: u64) {
        if self.fate(position) != Some(Final::Dropped) {
            assert!(!self.read.contains(&position), "message {position} was sent, then dropped");
            self.settle(position, Final::Dropped);
        }
    }

    /// A connection is up: what was too old for it, or does not fit, is dropped.
    pub(super) fn up(&mut self, dropped: &Fate, max_age: Option<Duration>, now: Instant) {
        for position in positions(dropped) {
            self.expired.remove(&position);
            self.dropped(position);
        }
        assert!(self.expired.is_empty(), "too old, and nobody is told: {:?}", self.expired);
        let Some(max) = max_age else { return };
        for position in 0..self.published() {
            let waits = self.fate(position).is_none() && !self.withdrawn.contains(&position);
            if waits && !self.accepted[position as usize].1 {
                assert!(self.age(position, now) < max, "message {position} is too old");
            }
        }
    }

    /// Finds the messages that were dropped as too old since the last time.
    pub(super) fn age_all(&mut self, dropped: &Fate, max_age: Option<Duration>, now: Instant) {
        for position in self.news(dropped) {
            if self.withdrawn.contains(&position) {
                continue;
            }
            let max = max_age.unwrap_or(Duration::MAX);
            let (age, request) = (self.age(position, now), self.accepted[position as usize].1);
            assert!(!request && age >= max - max / 32, "{position} is dropped, {age:?} old");
            self.dropped(position);
            self.expired.insert(position);
        }
    }

    fn age(&self, position: u64, now: Instant) -> Duration {
        now.saturating_since(self.accepted[position as usize].0.max(self.lost_at))
    }

    /// Takes back is bound to work: no byte of it was taken by any transport.
    pub(super) fn is_untouched(&self, position: u64) -> bool {
        let open = position >= self.next && self.fates.get(position as usize) == Some(&None);
        open && !self.withdrawn.contains(&position)
    }

    pub(super) fn withdrawn(&mut self, position: u64) {
        self.withdrawn.insert(position);
    }

    /// Withdrawn and not read by a server, so far.
    fn recalled(&self) -> impl Iterator<Item = u64> {
        let open =
            |position: &&u64| self.fate(**position).is_none() && !self.read.contains(position);
        self.withdrawn.iter().filter(open).copied()
    }

    /// What a report over the life of the connection adds to those before.
    pub(super) fn news(&self, fate: &Fate) -> Vec<u64> {
        positions(fate).filter(|position| self.fate(*position).is_none()).collect()
    }

    /// All messages below `end` are with the server, or lost and reported.
    pub(super) fn is_flushed(&self, end: u64) -> bool {
        (0..end).all(|position| {
            let read = position < self.answered && self.read.contains(&position);
            read || self.fate(position).is_some() || self.withdrawn.contains(&position)
        })
    }

    /// The transport has ended, and these are the reports. `trusted`: the server sent no PONG
    /// that answers nothing.
    pub(super) fn lost(
        &mut self,
        unknown: &[u64],
        kept: Option<&Fate>,
        dropped: &[u64],
        begun: Begun,
        trusted: bool,
    ) {
        let read = std::mem::take(&mut self.read);
        let mut cut = 0;
        for &position in unknown {
            if !read.contains(&position) {
                assert!(position >= self.next, "message {position} is unknown and was not begun");
                cut += 1;
                self.next = position + 1;
            }
            self.settle(position, Final::Unknown);
        }
        match begun {
            Begun::Nothing => assert_eq!(cut, 0, "unknown, and not a byte of it was written"),
            Begun::Message => assert_eq!(cut, 1, "the message that was cut is unknown"),
            Begun::Maybe => assert!(cut <= 1, "unknown, and not a byte of it was written"),
        }
        for position in read {
            if self.fate(position).is_none() {
                let answered = position < self.answered;
                assert!(answered || !trusted, "message {position} is confirmed without a PONG");
                self.settle(position, Final::Confirmed);
            }
        }
        for &position in dropped {
            self.dropped(position);
        }
        for position in self.recalled().collect::<Vec<_>>() {
            self.settle(position, Final::Dropped);
        }
        let mut waiting = (0..self.published()).filter(|position| self.fate(*position).is_none());
        match kept {
            Some(kept) => assert!(waiting.eq(positions(kept)), "kept is what has no other fate"),
            None => assert_eq!(waiting.next(), None, "a message without a fate at the end"),
        }
        self.answered = 0;
    }

    /// Holds the counters, and the report over the whole life, to the reports on the way. `exact`:
    /// all that the server answered has been processed.
    pub(super) fn check(&self, statistics: &Statistics, fates: &Fates, exact: bool, trusted: bool) {
        assert_eq!(statistics.out_messages, self.published());
        let Fates { confirmed, unknown, kept, dropped, .. } = fates;
        assert_eq!(statistics.confirmed, confirmed.messages);
        assert_eq!(statistics.unknown, unknown.messages);
        assert_eq!(statistics.dropped, dropped.messages + kept.messages);
        assert!(self.all(Final::Unknown).eq(positions(unknown)), "unknown: {fates:?}");
        let mut gone: Vec<u64> = positions(dropped).chain(positions(kept)).collect();
        gone.sort_unstable();
        let recalled: Vec<u64> = self.recalled().collect();
        gone.retain(|position| !recalled.contains(position));
        assert!(self.all(Final::Dropped).eq(gone), "dropped: {fates:?}");
        if !trusted {
            return;
        }
        let answered = self.read.iter().filter(|position| **position < self.answered).copied();
        let may_be: BTreeSet<u64> = self.all(Final::Confirmed).chain(answered).collect();
        let found: BTreeSet<u64> = positions(confirmed).collect();
        assert!(found.is_subset(&may_be), "confirmed: {fates:?}");
        assert!(!exact || found == may_be, "confirmed: {fates:?}");
    }

    fn all(&self, fate: Final) -> impl Iterator<Item = u64> {
        (0..self.published()).filter(move |position| self.fate(*position) == Some(fate))
    }

    fn fate(&self, position: u64) -> Option<Final> {
        self.fates[position as usize]
    }

    fn settle(&mut self, position: u64, fate: Final) {
        let old = self.fates[position as usize].replace(fate);
        assert_eq!(old, None, "message {position} has two fates, the later is {fate:?}");
    }
}

/// The numbers of `fate`, after a look at whether it is what it says.
fn positions(fate: &Fate) -> impl Iterator<Item = u64> {
    let ranges: Vec<_> = fate.positions.ranges().collect();
    let count: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert!(ranges.iter().all(|range| range.start < range.end), "{fate:?}");
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{fate:?}");
    assert!(ranges.iter().all(|range| fate.positions.contains(Position(range.start))));
    assert_eq!((fate.messages, fate.positions.len()), (count, count), "{fate:?}");
    assert!(fate.bytes >= 10 * count, "{fate:?}");
    ranges.into_iter().flatten()
}
