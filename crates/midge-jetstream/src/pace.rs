//! How many messages are asked for at a time: more of those that are small and read fast.

use core::time::Duration;

use midge_proto::Instant;

use crate::pull_config::PullConfig;

/// Bytes of small messages that are asked for and not read.
const SMALL: u64 = 1 << 20;

/// Messages that are to be asked for and not read, and what that goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    aim: u64,
    /// When it was last looked, and what had been delivered then.
    at: Instant,
    messages: u64,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(config: &PullConfig) -> Self {
        Self { aim: config.messages, at: Instant::ZERO, messages: 0, bytes: 0 }
    }

    pub(crate) fn aim(&self) -> u64 {
        self.aim
    }

    /// Back to what is usual, and no more than the configuration has.
    pub(crate) fn slow_down(&mut self, config: &PullConfig) {
        self.aim = config.messages;
    }

    /// So much was delivered, and what comes from now on counts.
    pub(crate) fn begin(&mut self, messages: u64, bytes: u64, now: Instant) {
        (self.at, self.messages, self.bytes) = (now, messages, bytes);
    }

    /// So much was delivered altogether. How large messages have been since the last look, and how
    /// fast they were read, tells how many to ask for.
    pub(crate) fn look(&mut self, config: &PullConfig, messages: u64, bytes: u64, now: Instant) {
        let (least, most) = (config.messages, config.most_messages());
        let count = messages - self.messages;
        // A few do not tell.
        if most <= least || count < least / 2 {
            return;
        }
        let mut aim = SMALL.saturating_mul(count) / (bytes - self.bytes).max(1);
        if let Some(within) = config.read_within {
            let took = micros(now.saturating_since(self.at)).max(1);
            let fast = count.saturating_mul(micros(within)) / took;
            aim = aim.min(fast).min(self.aim.saturating_mul(2));
        }
        self.aim = aim.clamp(least, most);
        self.begin(messages, bytes, now);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
