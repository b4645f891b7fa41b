//! Looks for storms that fail: `storm search FILE MINUTES`, or shows one: `storm show SEED`.
//!
//! A search goes on with the seed in FILE, and leaves there the one to go on with. `cargo xtask sim
//! run` compiles it for speed.
#![expect(clippy::print_stdout, reason = "this is what it is for")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use midge_sim::storm;

/// The last lines of a trace that are shown.
const LINES: usize = 300;
/// Storms between two lines of progress.
const PROGRESS: u64 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match arguments[..] {
        ["show", seed] if let Some(seed) = number(seed) => show(seed),
        ["search", file, minutes] if let Some(minutes) = number(minutes) => {
            search(file.as_ref(), Duration::from_secs(60 * minutes))
        }
        _ => {
            println!("storm search FILE MINUTES, or storm show SEED");
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

fn search(file: &Path, time: Duration) -> ExitCode {
    let first = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    let first = first.unwrap_or(0);
    let begun = Instant::now();
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let running = Mutex::new(BTreeSet::new());
    // What is under way when this is ended from outside is run again.
    let remember = |next: u64| {
        if let Err(error) = fs::write(file, next.to_string()) {
            println!("{}: {error}", file.display());
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from) as u64;
    let run = || {
        while begun.elapsed() < time {
            let seed = {
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                let seed = next.fetch_add(1, Ordering::Relaxed);
                running.insert(seed);
                seed
            };
            if let Err(failure) = storm(seed, 0) {
                failed.store(true, Ordering::Relaxed);
                println!("{failure}");
            }
            let done = seed + 1 - first;
            if done.is_multiple_of(PROGRESS) {
                println!("{done} storms in {} s", begun.elapsed().as_secs());
                let least = {
                    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
                    running.first().copied()
                };
                remember(least.unwrap_or(seed));
            }
            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&seed);
        }
    };
    println!("storms from seed {first} on");
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    let next = next.load(Ordering::Relaxed);
    remember(next);
    println!("{} storms, the next seed is {next}", next - first);
    if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
