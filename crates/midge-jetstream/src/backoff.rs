//! Waits between attempts that have brought nothing.

use core::time::Duration;

const SHORTEST: Duration = Duration::from_millis(200);
/// With the way there and back, an attempt is answered within 5 s of the moment from which on it can be.
const LONGEST: Duration = Duration::from_millis(4500);

/// The first attempt comes at once; later ones wait for 100 ms to 4.5 s, the longer the more there
/// were, half of it random.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    random: u64,
}

impl Backoff {
    pub(crate) const LONGEST: Duration = LONGEST;

    pub(crate) fn new(seed: u64) -> Self {
        Self { attempts: 0, random: seed }
    }

    /// The wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let attempt = self.attempts;
        self.attempts = attempt.saturating_add(1);
        if attempt == 0 {
            return Duration::ZERO;
        }
        let base = SHORTEST.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST);
        let half = base / 2;
        half + half.mul_f64(self.unit())
    }

    /// The last attempt has brought something.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Attempts since then.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// From 0 to 1, by `SplitMix64`.
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0);
        f64::from(high) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_nothing_to_the_longest_and_differ() {
        let (mut one, mut two) = (Backoff::new(1), Backoff::new(2));
        assert_eq!((one.wait(), two.wait()), (Duration::ZERO, Duration::ZERO));
        let waits: alloc::vec::Vec<_> = (0..40).map(|_| (one.wait(), two.wait())).collect();
        let bounds = Duration::from_millis(100)..=LONGEST;
        assert!(waits.iter().all(|(a, b)| bounds.contains(a) && bounds.contains(b)));
        assert!(waits[0].0 <= SHORTEST && waits[39].0 >= LONGEST / 2);
        assert!(waits.iter().any(|(a, b)| a != b));
        one.reset();
        assert_eq!((one.attempts(), one.wait()), (0, Duration::ZERO));
    }
}
