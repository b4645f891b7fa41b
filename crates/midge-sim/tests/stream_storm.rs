//! Storms over streams, the same ones each time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use midge_sim::stream_storm;

#[test]
fn storms_over_streams_lose_nothing() {
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().unwrap();
        match stream_storm(seed, 1_000_000) {
            Ok(outcome) => println!("{}\n{:?}", outcome.trace.join("\n"), outcome.value),
            Err(failure) => println!("{failure}"),
        }
        return;
    }
    for seed in 0..200 {
        match stream_storm(seed, 0) {
            Ok(outcome) => println!("{seed} {} {:?}", outcome.steps, outcome.value),
            Err(failure) => println!("FAIL {failure}"),
        }
    }
}
