//! What became of every message: what the servers read, held against what the connection reports.

use std::collections::BTreeSet;

use midge_proto::{Fate, Position, Statistics};

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
    pub(super) fn accepted(&mut self) -> u64 {
        self.fates.push(None);
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

    pub(super) fn all_dropped(&mut self, fate: &Fate) {
        for position in positions(fate) {
            self.dropped(position);
        }
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

    /// Holds the counters to what was reported. `exact`: all that the server answered has been
    /// processed.
    pub(super) fn check(&self, statistics: &Statistics, exact: bool, trusted: bool) {
        assert_eq!(statistics.out_messages, self.published());
        assert_eq!(statistics.unknown, self.count(Final::Unknown), "unknown: {statistics:?}");
        let dropped = self.count(Final::Dropped);
        let recalled = self.recalled().count() as u64;
        let may_be = dropped..=dropped + recalled;
        assert!(may_be.contains(&statistics.dropped), "dropped: {statistics:?} {may_be:?}");
        let before = self.count(Final::Confirmed);
        let answered = self.read.iter().filter(|position| **position < self.answered).count();
        let confirmed = before + answered as u64;
        if exact {
            assert_eq!(statistics.confirmed, confirmed, "confirmed: {statistics:?}");
        } else if trusted {
            assert!(statistics.confirmed <= confirmed, "confirmed: {statistics:?} {confirmed}");
        }
    }

    fn count(&self, fate: Final) -> u64 {
        self.fates.iter().filter(|other| **other == Some(fate)).count() as u64
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
