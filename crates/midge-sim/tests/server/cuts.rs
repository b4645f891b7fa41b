//! How the input is cut into reads changes nothing.

use std::collections::BTreeMap;

use midge_proto::Instant;
use midge_sim::Rng;
use midge_sim::server::{Cluster, Entry};

use crate::cases::{Case, cases};

const NOW: Instant = Instant::ZERO;

#[test]
fn every_cut_of_the_input_gives_the_same_bytes_and_the_same_journal() {
    for case in cases() {
        let whole = run(&case, |_| usize::MAX);
        assert_eq!(run(&case, |_| 1), whole, "{}, byte by byte", case.name);
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let cut = run(&case, |left| 1 + rng.index(left.min(9)));
            assert_eq!(cut, whole, "{}, cut by seed {seed}", case.name);
        }
    }
}

/// What each client reads, whether it is closed, and the journal; `cut` says how much of what is
/// left comes next.
fn run(case: &Case, mut cut: impl FnMut(usize) -> usize) -> (Vec<(String, bool)>, Vec<Entry>) {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(case.kind.options());
    let mut clients = BTreeMap::new();
    for (speaker, text) in &case.says {
        let &mut id = clients
            .entry(*speaker)
            .or_insert_with(|| cluster.accept(server, NOW).expect("the server runs"));
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(cut(rest.len()).min(rest.len()));
            cluster.received(id, piece, NOW);
            rest = behind;
        }
    }
    let read = clients.values().map(|&id| {
        let text = String::from_utf8_lossy(cluster.pending(id)).into_owned();
        (text, cluster.is_closing(id))
    });
    (read.collect(), cluster.journal().entries().to_vec())
}
