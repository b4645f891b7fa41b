//! Storms, the same ones each time. `cargo xtask sim run` looks further.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use midge_sim::{Tally, storm};

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
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return Ok(sum);
            }
            match storm(seed, 0) {
                Ok(outcome) => add(&mut sum, outcome.value),
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
    let mut sum = Tally::default();
    for result in results {
        match result {
            Ok(part) => add(&mut sum, part),
            Err(seed) => panic!("{}", storm(seed, 200).unwrap_err()),
        }
    }
    // Storms do something, of every kind.
    let count = last - first;
    for (number, least) in [
        (sum.received, 1000),
        (sum.certain, 500),
        (sum.never, 50),
        (sum.unknown, 50),
        (sum.connections, 5),
        (sum.refused, 5),
        (sum.drained, 2),
        (sum.maxima, 2),
    ] {
        assert!(number >= least * count, "{count} storms came to {sum:?}");
    }
    assert!(sum.parted > 0, "{count} storms came to {sum:?}");
}

fn add(sum: &mut Tally, part: Tally) {
    sum.published += part.published;
    sum.arrived += part.arrived;
    sum.certain += part.certain;
    sum.never += part.never;
    sum.unknown += part.unknown;
    sum.received += part.received;
    sum.connections += part.connections;
    sum.refused += part.refused;
    sum.parted += part.parted;
    sum.drained += part.drained;
    sum.maxima += part.maxima;
}
