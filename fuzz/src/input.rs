//! The bytes of an input, read as choices. What is missing at the end reads as zero.

pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number up to 255, or up to 65535 when the first byte is above 191.
    pub(super) fn number(&mut self) -> usize {
        match self.byte() {
            low @ 0..=191 => low.into(),
            high => (usize::from(high - 192) << 8 | usize::from(self.byte())) * 4,
        }
    }

    /// The next `count` bytes, or those that are left.
    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    /// Bytes behind a byte that counts them.
    pub(super) fn counted(&mut self) -> &'a [u8] {
        let count = self.byte().into();
        self.bytes(count)
    }
}
