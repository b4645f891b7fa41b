//! Storms, the same ones each time. `cargo xtask sim run` looks further.

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

/// Runs storms on all cores, and panics with the failure of the lowest seed, and its trace.
fn run(first: u64, last: u64) {
    let next = AtomicU64::new(first);
    let search = || {
        let (mut failed, mut received) = (Vec::new(), 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return (failed, received);
            }
            match storm(seed, 0) {
                Ok(outcome) => received += outcome.value.received,
                Err(_) => failed.push(seed),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let (failed, received) = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.fold((Vec::new(), 0), |(failed, received), (more, count)| {
            ([failed, more].concat(), received + count)
        })
    });
    if let Some(seed) = failed.iter().min() {
        let failure = storm(*seed, 200).unwrap_err();
        panic!("{} storms failed, the first one:\n{failure}", failed.len());
    }
    assert!(received > 100 * (last - first), "storms do something: {received} messages received");
}
