//! Storms of the simulator.

use midge_allocations::{PAYERS, live};

use crate::{PEAK, begin};

#[test]
fn storms_stay_within_bounds_and_leave_nothing() {
    // What a storm has at a time, and its largest message with its line and headers.
    begin(256, 10_000);
    for seed in 0..if cfg!(debug_assertions) { 24 } else { 100 } {
        midge_sim::storm(seed, 0).unwrap_or_else(|failure| panic!("{failure}"));
        for payer in 0..PAYERS {
            assert_eq!(live(payer), 0, "client {payer} of seed {seed}");
        }
    }
    assert!(PEAK.get() > 50_000, "{} bytes are no storm", PEAK.get());
}
