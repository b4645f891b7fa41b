//! Bytes on their way through a layer: initialised once, used from front to back.

use std::mem;

use super::WINDOW;

/// What is there is `unread`, what can be put behind it is `room`. Memory is initialised when it
/// is got, and not again for each use.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[cfg(feature = "tls")]
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// At least `least` bytes to put something into.
    pub(crate) fn room(&mut self, least: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < least && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= mem::take(&mut self.start);
        }
        if self.bytes.len() - self.end < least {
            self.bytes.resize((self.end + least).next_multiple_of(4096), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// What `room` last gave, without making any.
    pub(crate) fn spare(&self) -> &[u8] {
        &self.bytes[self.end..]
    }

    pub(crate) fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the room are filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// Room for a read: a window, and so much more that an unfinished record never fills it.
    pub(crate) fn room_for_read(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; WINDOW];
        }
        self.room(WINDOW / 4)
    }

    /// Room for a read that is filled elsewhere, in memory of `spare` as long as there are bytes
    /// here: these can still be used meanwhile.
    pub(crate) fn lend(&mut self, spare: &mut Self) -> Self {
        let mut lent = mem::take(if self.is_empty() { &mut *self } else { spare });
        lent.start = 0;
        lent.end = 0;
        let _ = lent.room(self.len() + WINDOW);
        lent.start = self.len();
        lent.end = self.len();
        lent
    }

    /// `count` bytes were put into what was lent. What is unread here goes before them. The memory
    /// that is left over is given back.
    pub(crate) fn take_back(&mut self, mut lent: Self, count: usize) -> Self {
        lent.filled(count);
        let start = lent.start - self.len();
        lent.bytes[start..lent.start].copy_from_slice(self.unread());
        lent.start = start;
        let mut left = mem::replace(self, lent);
        left.consume(left.len());
        left
    }

    /// Moves as much as fits into `room`.
    #[cfg(feature = "tls")]
    pub(crate) fn give(&mut self, room: &mut [u8]) -> usize {
        let count = self.len().min(room.len());
        room[..count].copy_from_slice(&self.unread()[..count]);
        self.consume(count);
        count
    }
}
