//! Every kept input of the fuzz targets, as ordinary tests. `fuzz/README.md` says how to find more.

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    files.sort();
    files
}

fn replay(name: &str, target: fn(&[u8])) {
    let kept = ["corpus", "regressions"].map(|kind| files(&Path::new(FUZZ).join(kind).join(name)));
    assert!(!kept[0].is_empty(), "there is no corpus for {name}");
    let all = kept.concat();
    let failed: Vec<&PathBuf> = all
        .iter()
        .filter(|path| {
            let input = fs::read(path).expect("a readable file");
            catch_unwind(|| target(&input)).is_err()
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{name} fails on {} of {} inputs: {failed:#?}",
        failed.len(),
        all.len()
    );
}

macro_rules! targets {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                replay(stringify!($name), targets::$name);
            }
        )*
    };
}

targets! {
    client_bytes decoder_vs_grammar headers info ops server_bytes server_error url
}

/// These need a driver, or what stands on the core, and are replayed by midge and midge-jetstream.
const OF_OTHERS: &[&str] =
    &["consumers", "publishers", "reading", "websocket_answer", "websocket_frames"];

#[test]
fn every_directory_and_every_program_of_fuzz_is_replayed() {
    let known: BTreeSet<String> =
        NAMES.iter().chain(OF_OTHERS).map(|name| (*name).to_owned()).collect();
    let named = |path: PathBuf| {
        path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    };
    let listed = |kind: &str| files(&Path::new(FUZZ).join(kind)).into_iter().map(named).collect();
    let (corpora, programs): (BTreeSet<String>, BTreeSet<String>) =
        (listed("corpus"), listed("targets"));
    let regressions: BTreeSet<String> = listed("regressions");
    assert_eq!(corpora, known);
    assert_eq!(programs, known);
    assert!(regressions.is_subset(&known), "{regressions:?}");
}
