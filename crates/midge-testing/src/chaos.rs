//! Faults of a wire at random places: where, and which, is decided by a seed.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::{Direction, Random};

/// Bytes that one trickle lasts, the bytes of each of its pieces, and the wait behind a piece.
const TRICKLE: RangeInclusive<u64> = 20..=400;
const DROPS: RangeInclusive<u64> = 1..=9;
const PAUSE_MICROS: RangeInclusive<u64> = 50..=500;

/// Faults of a [`Link`](crate::Link), in each direction of each connection by itself: the
/// connection is cut (reset at both ends), one direction is ended, nothing passes for a while, or
/// bytes pass a few at a time.
///
/// After how many bytes a fault comes, which one, and how long it lasts depend on the seed, the
/// number of the connection, and the direction alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chaos {
    seed: u64,
    spacing: u64,
    longest_stall: Duration,
}

/// How often each fault of [`Chaos`] has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Connections that were reset.
    pub cuts: u64,
    /// Directions that were ended.
    pub half_closes: u64,
    /// Times when nothing passed.
    pub stalls: u64,
    /// Times when bytes passed a few at a time.
    pub trickles: u64,
}

impl Chaos {
    /// Faults that `seed` decides.
    pub fn new(seed: u64) -> Chaos {
        Chaos { seed, spacing: 20_000, longest_stall: Duration::from_millis(500) }
    }

    /// Bytes that pass undisturbed before each fault, on average: any number up to twice that is
    /// as likely. Default: 20,000.
    #[must_use]
    pub fn spacing(mut self, bytes: u64) -> Chaos {
        self.spacing = bytes;
        self
    }

    /// The longest time in which nothing passes; shorter ones are as likely. Default: 500 ms.
    #[must_use]
    pub fn longest_stall(mut self, stall: Duration) -> Chaos {
        self.longest_stall = stall;
        self
    }
}

/// What the owner of a connection is to do behind the bytes that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Reset both ends.
    Cut,
    /// End this direction.
    HalfClose,
    /// Nothing: reading is held up by [`Course::held_until`].
    Stall,
    /// Nothing: reading is held up by [`Course::held_until`], and bounded by
    /// [`Course::allowance`].
    Trickle,
}

impl Faults {
    pub(crate) fn count(&mut self, fault: Fault) {
        *match fault {
            Fault::Cut => &mut self.cuts,
            Fault::HalfClose => &mut self.half_closes,
            Fault::Stall => &mut self.stalls,
            Fault::Trickle => &mut self.trickles,
        } += 1;
    }
}

/// The faults of one direction of one connection.
#[derive(Debug)]
pub(crate) struct Course {
    chaos: Chaos,
    /// Decides where faults come, and which.
    plan: Random,
    /// Decides the pieces of trickles, whose number depends on how bytes come.
    pieces: Random,
    /// Bytes before the next fault.
    calm: u64,
    /// Bytes that are still to pass a few at a time.
    trickling: u64,
    held_until: Option<Instant>,
}

impl Course {
    pub(crate) fn new(chaos: Chaos, connection: u64, direction: Direction) -> Course {
        let place = connection.wrapping_mul(2).wrapping_add(direction as u64);
        let mut plan = Random::new(chaos.seed ^ place.wrapping_mul(0xd134_2543_de82_ef95));
        let pieces = Random::new(plan.next());
        let calm = plan.draw(1..=chaos.spacing.saturating_mul(2));
        Course { chaos, plan, pieces, calm, trickling: 0, held_until: None }
    }

    /// Nothing may be read before.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| *until > now)
    }

    /// How many bytes may be read at most.
    pub(crate) fn allowance(&mut self) -> u64 {
        match self.trickling {
            0 => self.calm,
            trickling => self.pieces.draw(DROPS).min(trickling),
        }
    }

    /// So many bytes were read; the fault that begins behind them.
    pub(crate) fn passed(&mut self, bytes: u64, now: Instant) -> Option<Fault> {
        if self.trickling > 0 {
            self.trickling = self.trickling.saturating_sub(bytes);
            self.pause(now);
            return None;
        }
        self.calm = self.calm.saturating_sub(bytes);
        if self.calm > 0 {
            return None;
        }
        self.calm = self.plan.draw(1..=self.chaos.spacing.saturating_mul(2));
        Some(match self.plan.draw(0..=9) {
            0..=2 => Fault::Cut,
            3..=4 => Fault::HalfClose,
            5..=6 => {
                let longest = u64::try_from(self.chaos.longest_stall.as_micros());
                let stall = self.plan.draw(0..=longest.unwrap_or(u64::MAX));
                self.held_until = Some(now + Duration::from_micros(stall));
                Fault::Stall
            }
            _ => {
                self.trickling = self.plan.draw(TRICKLE);
                self.pause(now);
                Fault::Trickle
            }
        })
    }

    fn pause(&mut self, now: Instant) {
        let pause = self.pieces.draw(PAUSE_MICROS);
        self.held_until = Some(now + Duration::from_micros(pause));
    }
}
