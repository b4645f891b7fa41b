//! Every kept input of the fuzz targets of consumers and publishers, and many random ones, as ordinary
//! tests. `fuzz/README.md` says how to find more.

#[path = "../../../fuzz/src/choices.rs"]
mod choices;
#[path = "../../../fuzz/src/consumers.rs"]
mod consumers;
#[path = "../../../fuzz/src/publishers.rs"]
mod publishers;
#[path = "../../../fuzz/src/reading.rs"]
mod reading;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");

fn replay(target: &str, run: fn(&[u8])) {
    let mut inputs: Vec<PathBuf> = Vec::new();
    for kind in ["corpus", "regressions"] {
        let entries = fs::read_dir(Path::new(FUZZ).join(kind).join(target));
        let Ok(entries) = entries else { continue };
        inputs.extend(entries.map(|entry| entry.expect("a readable entry").path()));
    }
    assert!(!inputs.is_empty(), "there is no corpus");
    inputs.sort();
    let fails = |path: &&PathBuf| {
        let input = fs::read(path).expect("a readable file");
        catch_unwind(|| run(&input)).is_err()
    };
    let failed: Vec<_> = inputs.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{} of {} fail: {failed:#?}", failed.len(), inputs.len());
}

#[test]
fn consumers() {
    replay("consumers", consumers::consumers);
}

#[test]
fn publishers() {
    replay("publishers", publishers::publishers);
}

#[test]
fn reading() {
    replay("reading", reading::reading);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(input in prop::collection::vec(any::<u8>(), 0..300)) {
        consumers::consumers(&input);
        publishers::publishers(&input);
        reading::reading(&input);
    }
}
