//! Messages that the application works on, of which no subscription says when that is over.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Set once a drain waits for them.
const WAITED: usize = 1 << (usize::BITS - 1);

/// How many of them there are.
#[derive(Debug, Default)]
pub(crate) struct InHand(AtomicUsize);

impl InHand {
    pub(crate) fn take(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// True when it was the last one and a drain waits for it.
    pub(crate) fn put_down(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) == WAITED | 1
    }

    /// Whether there are none. If there are, a drain waits for them from now on.
    pub(crate) fn are_none(&self) -> bool {
        self.0.fetch_or(WAITED, Ordering::SeqCst) & !WAITED == 0
    }
}
