//! What a run is measured by.

use std::time::Duration;

/// How long a [`Sample`] is.
pub const SAMPLE: Duration = Duration::from_millis(100);

/// What happened in a tenth of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Attempts that began.
    pub attempts: u32,
    /// Clients that were connected again.
    pub connected: u32,
    /// Attempts that were refused.
    pub refused: u32,
    /// Attempts that nobody answered in time.
    pub timed_out: u32,
}

/// What became of a herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened, from the loss on.
    pub samples: Vec<Sample>,
    /// Clients that lost their connection.
    pub lost: u32,
    /// When half of them were connected again.
    pub half: Option<Duration>,
    /// When 99 of 100 were.
    pub most: Option<Duration>,
    /// When all were.
    pub all: Option<Duration>,
    /// The time without a connection of all of them together, up to the end of the run.
    pub downtime: Duration,
    /// Handshakes that servers did for clients that had given up.
    pub in_vain: u64,
}

impl Outcome {
    /// The most attempts in a second: those of the worst sample, times ten.
    pub fn peak(&self) -> u32 {
        self.peak_from(Duration::ZERO)
    }

    /// The same, of the samples that begin at `from` or later.
    pub fn peak_from(&self, from: Duration) -> u32 {
        let skip = usize::try_from(from.as_nanos() / SAMPLE.as_nanos()).unwrap_or(usize::MAX);
        let attempts = self.samples.iter().skip(skip).map(|sample| sample.attempts);
        attempts.max().unwrap_or(0).saturating_mul(10)
    }

    /// All attempts.
    pub fn attempts(&self) -> u64 {
        self.sum(|sample| sample.attempts)
    }

    /// Attempts that led to nothing, for each client that lost its connection.
    pub fn wasted(&self) -> f64 {
        let wasted = self.attempts() - self.sum(|sample| sample.connected);
        wasted as f64 / f64::from(self.lost.max(1))
    }

    /// The mean time that a client was without a connection.
    pub fn mean_downtime(&self) -> Duration {
        self.downtime / self.lost.max(1)
    }

    pub(super) fn sum(&self, of: impl Fn(&Sample) -> u32) -> u64 {
        self.samples.iter().map(|sample| u64::from(of(sample))).sum()
    }
}
