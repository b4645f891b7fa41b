//! Storms, the same ones each time. `cargo xtask sim run` looks further.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod search;

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

fn run(first: u64, last: u64) {
    let sum: Tally = search::run((first, last), storm, add);
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
        (sum.beside, 3),
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
    sum.beside += part.beside;
}
