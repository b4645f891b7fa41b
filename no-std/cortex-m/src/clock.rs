//! The time since the start, counted by the timer of the processor.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use midge_proto::Instant;

/// Of the board, in Hz.
const CLOCK: u32 = 25_000_000;
const TICKS_PER_SECOND: u32 = 1000;

/// Since the start. After 49 days it begins anew; a real device counts in 64 bits.
static TICKS: AtomicU32 = AtomicU32::new(0);

#[cortex_m_rt::exception]
fn SysTick() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// A clock that runs.
#[derive(Debug)]
pub struct Clock(());

impl Clock {
    /// Starts it.
    pub fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(CLOCK / TICKS_PER_SECOND - 1);
        timer.clear_current();
        timer.enable_counter();
        timer.enable_interrupt();
        Self(())
    }

    /// The time.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::from(TICKS.load(Ordering::Relaxed)) * 1_000_000)
    }
}
