//! Runs of many seeds on all cores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use midge_sim::{Failure, Outcome};

/// Runs `storm` with these seeds up to the first failure, and panics with it and its trace. What
/// the runs came to is added up.
pub(crate) fn run<T: Default + Send>(
    (first, last): (u64, u64),
    storm: fn(u64, usize) -> Result<Outcome<T>, Failure>,
    add: fn(&mut T, T),
) -> T {
    let next = AtomicU64::new(first);
    let search = || {
        let mut sum = T::default();
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
    let mut sum = T::default();
    for result in results {
        match result {
            Ok(part) => add(&mut sum, part),
            Err(seed) => match storm(seed, 200) {
                Err(failure) => panic!("{failure}"),
                Ok(_) => panic!("seed {seed} fails, and not when it is run again"),
            },
        }
    }
    sum
}
