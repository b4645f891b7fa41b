//! Looks for storms that fail: `storm FIRST LAST [MINUTES]`, or shows one: `storm SEED`.
//!
//! `cargo xtask sim run` compiles it for speed and remembers where the last search stopped.
#![expect(clippy::print_stdout, reason = "this is what it is for")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use midge_sim::storm;

/// The last lines of a trace that are shown.
const LINES: usize = 300;
/// Storms between two lines of progress.
const PROGRESS: u64 = 1000;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    match numbers[..] {
        [seed] => show(seed),
        [first, last] => search(first, last, Duration::MAX),
        [first, last, minutes] => search(first, last, Duration::from_secs(60 * minutes)),
        _ => {
            println!("storm SEED, or storm FIRST LAST [MINUTES]");
            ExitCode::FAILURE
        }
    }
}

fn show(seed: u64) -> ExitCode {
    let (trace, end) = match storm(seed, LINES) {
        Ok(outcome) => {
            let end = format!("seed {seed} is well after {:?}: {:?}", outcome.at, outcome.value);
            (outcome.trace, Ok(end))
        }
        Err(mut failure) => (std::mem::take(&mut failure.trace), Err(failure.to_string())),
    };
    for line in trace {
        println!("{line}");
    }
    println!("{}", end.as_ref().unwrap_or_else(|end| end));
    if end.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn search(first: u64, last: u64, time: Duration) -> ExitCode {
    let begun = Instant::now();
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let run = || {
        while begun.elapsed() < time {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                break;
            }
            if let Err(failure) = storm(seed, 0) {
                failed.store(true, Ordering::Relaxed);
                println!("{failure}");
            }
            let done = seed + 1 - first;
            if done.is_multiple_of(PROGRESS) {
                println!("{done} storms in {} s", begun.elapsed().as_secs());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(run);
        }
    });
    // The last line is for who goes on from there.
    println!("next {}", next.load(Ordering::Relaxed).min(last));
    if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
