//! When a server that should be heard counts as silent.

use core::time::Duration;

use midge_proto::Instant;

/// The wait for two heartbeats.
///
/// A look that comes late says nothing of the server: whoever kept the reader from looking may have
/// kept the driver from reading too. So the first late look of a silence is excused, and there is
/// another one, at least an eighth of a heartbeat and at most one heartbeat later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    heartbeat: Duration,
    until: Instant,
    excused: bool,
}

impl Silence {
    /// From now on. A heartbeat is longer than nothing.
    pub(crate) fn new(heartbeat: Duration, now: Instant) -> Self {
        let until = now + heartbeat.saturating_mul(2);
        Self { heartbeat, until, excused: false }
    }

    /// Something came, or nobody has listened: it begins anew.
    pub(crate) fn begin(&mut self, now: Instant) {
        *self = Self::new(self.heartbeat, now);
    }

    /// When to look.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Looks whether two heartbeats are missed. If not, [`until`](Self::until) is later than `now`.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if now < self.until {
            return false;
        }
        let late = now.saturating_since(self.until);
        if self.excused || late.is_zero() {
            return true;
        }
        self.excused = true;
        self.until = now + late.clamp(self.heartbeat / 8, self.heartbeat);
        false
    }
}
