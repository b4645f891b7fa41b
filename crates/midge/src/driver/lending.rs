//! Who reads the replies to requests that come one at a time: the driver, or who waits for them.

use std::time::Duration;

use midge_proto::Instant;

/// How long the driver leaves reading to requests before it looks again.
const NAP: Duration = Duration::from_millis(100);
/// So many requests that were alone make it do so, at first,
const FIRST: u32 = 16;
/// and so many at most, once that was in vain.
const MOST: u32 = 1 << 16;
/// In vain is what brings fewer replies.
const FEW: u32 = 4;

/// A reply that the driver reads wakes two tasks, one after the other: the driver, and who has asked.
/// Where requests follow each other, and nothing else is expected, the driver steps aside: who asks
/// is woken by the socket, and reads for itself.
///
/// The driver looks after [`NAP`]. A request that waits then is answered by way of the driver, since
/// nothing says that the future of it is still polled; so whatever else comes is late by as much at
/// most. What a driver that is idle is woken for otherwise ends it at once.
#[derive(Debug)]
pub(super) struct Lending {
    /// Requests that were alone, since it was last in vain.
    seen: u32,
    /// As many make the driver step aside.
    enough: u32,
    /// Replies that others have read since it did.
    led: u32,
    lent: bool,
}

impl Default for Lending {
    fn default() -> Self {
        Self { seen: 0, enough: FIRST, led: 0, lent: false }
    }
}

impl Lending {
    /// The driver is about to wait: until when it leaves reading to requests, if it does. `before` is
    /// when the last such time ends, if nobody needed the driver meanwhile; `alone` and `led` are
    /// requests that were written, and replies that were read, beside the driver since the last call.
    /// `free`: nothing is waited for.
    pub(super) fn lends(
        &mut self,
        now: Instant,
        before: Option<Instant>,
        (alone, led): (u32, u32),
        free: bool,
    ) -> Option<Instant> {
        self.seen = self.seen.saturating_add(alone);
        self.led = self.led.saturating_add(led);
        if self.lent && free && before.is_some_and(|before| now < before) {
            return before;
        }
        if std::mem::take(&mut self.lent) {
            if self.led >= FEW {
                self.enough = (self.enough / 2).max(FIRST);
                self.seen = self.enough;
            } else {
                self.enough = (self.enough * 4).min(MOST);
                self.seen = 0;
            }
            self.led = 0;
        }
        self.lent = free && self.seen >= self.enough;
        self.lent.then(|| now + NAP)
    }
}
