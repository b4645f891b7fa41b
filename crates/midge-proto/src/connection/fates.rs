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

    /// Adds messages that are not below any other: their positions, and their bytes.
    pub(crate) fn push(&mut self, positions: Range<u64>, bytes: usize) {
        self.messages += positions.end - positions.start;
        self.bytes += bytes as u64;
        self.positions.push_range(positions);
    }

    /// As `push`, and forgets the oldest ranges past `most`.
    pub(crate) fn push_latest(&mut self, positions: Range<u64>, bytes: usize, most: usize) {
        self.push(positions, bytes);
        self.positions.keep_latest(most);
    }

    /// Adds what may lie between what is here.
    pub(crate) fn merge(&mut self, other: &Fate) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        for range in other.positions.ranges() {
            self.positions.insert(range);
        }
    }

    /// Adds some that may lie between what is here, and forgets the oldest ranges past `most`.
    pub(crate) fn insert(&mut self, positions: Range<u64>, bytes: usize, most: usize) {
        self.messages += positions.end - positions.start;
        self.bytes += bytes as u64;
        self.positions.insert(positions);
        self.positions.keep_latest(most);
    }

    /// Moves the `messages` with `bytes` below `position`, all that are below it, to `to`, which
    /// forgets its oldest ranges past `most`.
    pub(crate) fn settle_below(
        &mut self,
        position: Position,
        messages: u64,
        bytes: u64,
        to: &mut Fate,
        most: usize,
    ) {
        self.messages -= messages;
        self.bytes -= bytes;
        to.messages += messages;
        to.bytes += bytes;
        self.positions.split_below(position, |range| to.positions.insert(range));
        to.positions.keep_latest(most);
    }
}

/// What became of all messages that a connection accepted, over its whole life.
///
/// Disjoint; what is in none of them is still on its way. Counts and bytes are exact. Of the
/// numbers, each keeps its latest [`Config::max_ranges`](crate::Config::max_ranges) ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fates {
    /// The server has processed them: it answered a PING behind them.
    pub confirmed: Fate,
    /// They may or may not have arrived, and are not sent again: a byte of them was handed out,
    /// and the connection was lost before such an answer.
    pub unknown: Fate,
    /// They were never sent for want of a connection. Filled only at the end, in
    /// [`Closed`](crate::Closed): until then they are on their way.
    pub kept: Fate,
    /// They were never sent: no room in `reconnect_buffer`, older than `max_kept_age`, too large
    /// for the next server, or a request that was taken back.
    pub dropped: Fate,
}

impl Fates {
    /// Adds to one of them, and forgets the oldest ranges past `most`.
    pub(crate) fn settle(fate: &mut Fate, more: &Fate, most: usize) {
        fate.merge(more);
        fate.positions.keep_latest(most);
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

    /// Adds numbers that are not below any other.
    fn push_range(&mut self, added: Range<u64>) {
        match self.0.back_mut() {
            Some(last) if last.end == added.start => last.end = added.end,
            _ => self.0.push_back(added),
        }
    }

    /// Adds numbers of which none is here yet, wherever they belong.
    fn insert(&mut self, added: Range<u64>) {
        let at = self.0.partition_point(|range| range.end < added.start);
        match self.0.get_mut(at) {
            Some(range) if range.end == added.start => {
                range.end = added.end;
                if self.0.get(at + 1).is_some_and(|next| next.start == added.end)
                    && let Some(next) = self.0.remove(at + 1)
                {
                    self.0[at].end = next.end;
                }
            }
            Some(range) if range.start == added.end => range.start = added.start,
            _ => self.0.insert(at, added),
        }
    }

    /// Takes out every number below `position`.
    fn split_below(&mut self, position: Position, mut below: impl FnMut(Range<u64>)) {
        while let Some(first) = self.0.front_mut() {
            if first.end > position.0 {
                if first.start < position.0 {
                    below(first.start..position.0);
                    first.start = position.0;
                }
                return;
            }
            below(first.clone());
            self.0.pop_front();
        }
    }

    fn keep_latest(&mut self, ranges: usize) {
        let excess = self.0.len().saturating_sub(ranges);
        self.0.drain(..excess);
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
            fate.push(position..position + 1, 10);
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
    fn numbers_are_split_in_the_middle_of_a_range() {
        let mut positions = Positions::default();
        positions.push_range(0..10);
        positions.push_range(20..21);
        let mut split = |below| {
            let mut ranges = alloc::vec::Vec::new();
            positions.split_below(Position(below), |range| ranges.push(range));
            ranges.into_iter()
        };
        assert!(split(4).eq(core::iter::once(0..4)));
        assert!(split(15).eq(core::iter::once(4..10)));
        assert!(split(20).eq([]));
        assert!(split(21).eq(core::iter::once(20..21)));
        assert!(positions.is_empty());
    }

    #[test]
    fn late_numbers_join_their_neighbours() {
        let mut positions = Positions::default();
        for (range, expected) in [
            (10..12, "[10..12]"),
            (0..1, "[0..1, 10..12]"),
            (5..6, "[0..1, 5..6, 10..12]"),
            (6..7, "[0..1, 5..7, 10..12]"),
            (4..5, "[0..1, 4..7, 10..12]"),
            (1..4, "[0..7, 10..12]"),
            (7..10, "[0..12]"),
            (12..13, "[0..13]"),
        ] {
            positions.insert(range);
            assert_eq!(alloc::format!("{positions:?}"), expected);
        }
    }

    #[test]
    fn a_report_keeps_its_latest_ranges_and_every_count() {
        let mut fate = Fate::default();
        for position in 0..2000 {
            let mut one = Fate::default();
            one.push(position * 2..position * 2 + 1, 10);
            Fates::settle(&mut fate, &one, 1024);
        }
        assert_eq!((fate.messages, fate.bytes, fate.positions.len()), (2000, 20_000, 1024));
        assert!(!fate.positions.contains(Position(0)));
        assert!(fate.positions.contains(Position(3998)));
    }
}
