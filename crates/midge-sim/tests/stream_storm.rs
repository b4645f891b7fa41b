//! Storms over streams, the same ones each time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod search;

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

fn run(first: u64, last: u64) {
    let sum: StreamTally = search::run((first, last), stream_storm, add);
    // Storms do something, of every kind.
    let count = last - first;
    for (number, least) in [
        (sum.stored, 200),
        (sum.removed, 20),
        (sum.purged, 5),
        (sum.refused, 5),
        (sum.confirmed, 5),
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
    sum.removed += part.removed;
    sum.purged += part.purged;
    sum.refused += part.refused;
    sum.moved += part.moved;
    sum.confirmed += part.confirmed;
    sum.acked += part.acked;
    sum.read += part.read;
    sum.again += part.again;
    sum.notices += part.notices;
    sum.recreated += part.recreated;
    sum.calls += part.calls;
    sum.most_calls = sum.most_calls.max(part.most_calls);
    sum.longest_wait = sum.longest_wait.max(part.longest_wait);
}
