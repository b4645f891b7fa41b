//! What became of published messages: counts, bytes and the numbers of the messages.

use alloc::collections::VecDeque;
use core::fmt;
use core::ops::Range;

/// The number of a message among all that one [`Connection`](crate::Connection) accepted.
///
/// The first accepted publish or request has number 0. A refused one takes no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Messages that share a fate.
///
/// A message is *confirmed* when it was written before a PING that the server answered,
/// *unknown* when a byte of it was handed to the transport and no such PONG came, *kept* when
/// no byte of it was handed out and it will be sent on the next connection, *dropped* when a
/// bound, a limit or the end of the connection took it. The four are disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How many messages.
    pub messages: u64,
    /// Their size on the wire in bytes, control lines included.
    pub bytes: u64,
    /// Their numbers.
    pub positions: Positions,
}

impl Fate {
    /// True when no message has this fate.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(crate) fn push(&mut self, position: Position, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.positions.push(position);
    }

    pub(crate) fn append(&mut self, later: Fate) {
        self.messages += later.messages;
        self.bytes += later.bytes;
        for range in later.positions.0 {
            self.positions.push_range(range);
        }
    }
}

/// Numbers of messages as ascending ranges that neither touch nor overlap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Positions(VecDeque<Range<u64>>);

impl Positions {
    /// The ranges, ascending, ends excluded.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// True when `position` is one of the numbers. Takes time logarithmic in the ranges.
    pub fn contains(&self, position: Position) -> bool {
        let after = self.0.partition_point(|range| range.start <= position.0);
        after > 0 && position.0 < self.0[after - 1].end
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a number that is not below any other.
    pub(crate) fn push(&mut self, position: Position) {
        self.push_range(position.0..position.0 + 1);
    }

    fn push_range(&mut self, added: Range<u64>) {
        match self.0.back_mut() {
            Some(last) if last.end == added.start => last.end = added.end,
            _ => self.0.push_back(added),
        }
    }

    /// Forgets every number below `position`.
    pub(crate) fn forget_below(&mut self, position: Position) {
        while let Some(first) = self.0.front_mut() {
            if first.end > position.0 {
                first.start = first.start.max(position.0);
                return;
            }
            self.0.pop_front();
        }
    }
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_gaps_stay() {
        let mut fate = Fate::default();
        for position in [0, 1, 2, 5, 6, 9] {
            fate.push(Position(position), 10);
        }
        assert!(fate.positions.ranges().eq([0..3, 5..7, 9..10]));
        assert_eq!((fate.messages, fate.bytes, fate.positions.len()), (6, 60, 6));
        for (position, inside) in
            [(0, true), (2, true), (3, false), (6, true), (7, false), (9, true), (10, false)]
        {
            assert_eq!(fate.positions.contains(Position(position)), inside, "{position}");
        }
    }

    #[test]
    fn what_is_confirmed_is_forgotten_up_to_the_middle_of_a_range() {
        let mut positions = Positions::default();
        (0..10).for_each(|position| positions.push(Position(position)));
        positions.push(Position(20));
        positions.forget_below(Position(4));
        assert!(positions.ranges().eq([4..10, 20..21]));
        positions.forget_below(Position(15));
        assert!(positions.ranges().eq(core::iter::once(20..21)));
        positions.forget_below(Position(21));
        assert!(positions.is_empty());
    }
}
