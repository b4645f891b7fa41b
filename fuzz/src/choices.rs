//! The bytes of an input as choices of what happens to a reader or publisher of streams. What is missing at
//! the end reads as zero.

use std::time::Duration;

pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn counted(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    /// Mostly small, sometimes the largest there is.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX - 1,
            small => small.into(),
        }
    }

    pub(super) fn time(&mut self) -> Duration {
        Duration::from_millis(u64::from(self.byte()) * 37)
    }
}
