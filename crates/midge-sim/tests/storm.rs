//! Storms, the same ones each time. `cargo xtask sim run` looks further.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use midge_sim::storm;

#[test]
fn storms_lose_nothing() {
    run(0, 20);
}

#[test]
#[ignore = "for a compiler that optimizes: `cargo xtask test` runs it so"]
fn a_thousand_storms_lose_nothing() {
    run(0, 1000);
}

/// Runs storms on all cores up to the first failure, and panics with it and its trace.
fn run(first: u64, last: u64) {
    let next = AtomicU64::new(first);
    let search = || {
        let mut received = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return Ok(received);
            }
            match storm(seed, 0) {
                Ok(outcome) => received += outcome.value.received,
                Err(_) => {
                    // The others stop too.
                    next.store(last, Ordering::Relaxed);
                    return Err(seed);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut received = 0;
    for result in results {
        match result {
            Ok(count) => received += count,
            Err(seed) => panic!("{}", storm(seed, 200).unwrap_err()),
        }
    }
    assert!(received > 100 * (last - first), "storms do something: {received} messages received");
}
