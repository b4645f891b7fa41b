//! Whether a driver lets publishers add more before it writes.

/// So many bytes are worth a write of their own.
const ENOUGH: usize = 32 * 1024;
/// So often the driver gives way before a write.
const MOST: u32 = 32;

/// Publishers on other threads add to what waits while the driver writes. Written at once, it would
/// be little each time, and a driver that then sleeps has to be woken for the next message. So
/// after a write it gives way and looks again, for as long as there is more each time. What comes
/// to a driver that was idle is written at once.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// The transport took all of the last write, and the driver has not been idle since.
    wrote: bool,
    /// What waited when it was last looked at.
    seen: usize,
    looks: u32,
}

impl Gathering {
    /// A write came back, with all that it was to take or not.
    pub(super) fn wrote(&mut self, all: bool) {
        *self = Self { wrote: all, ..Self::default() };
    }

    /// The driver has nothing to do but to write, if there is anything: true when it gives way
    /// first.
    pub(super) fn goes_on(&mut self, write: bool, waiting: usize) -> bool {
        if !write {
            self.wrote = false;
        }
        let more = self.wrote && waiting > self.seen && waiting < ENOUGH && self.looks < MOST;
        self.seen = waiting;
        self.looks += u32::from(more);
        more
    }
}
