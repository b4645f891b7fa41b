//! Storms over streams, the same ones each time, and an outage.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use midge_sim::{StreamTally, stream_storm};

#[test]
fn storms_over_streams_lose_nothing() {
    run(0, 40);
}

#[test]
#[ignore = "for a compiler that optimizes: `cargo xtask test` runs it so"]
fn a_thousand_storms_over_streams_lose_nothing() {
    run(0, 1000);
}

/// Runs storms on all cores up to the first failure, and panics with it and its trace.
fn run(first: u64, last: u64) {
    let next = AtomicU64::new(first);
    let search = || {
        let mut sum = StreamTally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return Ok(sum);
            }
            match stream_storm(seed, 0) {
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
    let mut sum = StreamTally::default();
    for result in results {
        match result {
            Ok(part) => add(&mut sum, part),
            Err(seed) => panic!("{}", stream_storm(seed, 200).unwrap_err()),
        }
    }
    // Storms do something, of every kind.
    let count = last - first;
    for (number, least) in [
        (sum.stored, 200),
        (sum.acked, 200),
        (sum.read, 500),
        (sum.again, 10),
        (sum.notices, 10),
        (sum.calls, 100),
    ] {
        assert!(number >= least * count, "{count} storms came to {sum:?}");
    }
    assert!(sum.longest_wait > Duration::from_secs(1), "{count} storms came to {sum:?}");
}

fn add(sum: &mut StreamTally, part: StreamTally) {
    sum.stored += part.stored;
    sum.acked += part.acked;
    sum.read += part.read;
    sum.again += part.again;
    sum.notices += part.notices;
    sum.recreated += part.recreated;
    sum.calls += part.calls;
    sum.most_calls = sum.most_calls.max(part.most_calls);
    sum.longest_wait = sum.longest_wait.max(part.longest_wait);
}
