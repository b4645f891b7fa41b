//! Every kept input of the fuzz targets that need a driver, as ordinary tests.
//! `fuzz/README.md` says how to find more; the targets of the core are replayed by midge-proto.
#![cfg(feature = "websocket")]

#[path = "../../../fuzz/src/websocket.rs"]
mod websocket;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");

fn replay(name: &str, target: fn(&[u8])) {
    let mut inputs: Vec<PathBuf> = Vec::new();
    for kind in ["corpus", "regressions"] {
        let Ok(entries) = fs::read_dir(Path::new(FUZZ).join(kind).join(name)) else { continue };
        inputs.extend(entries.map(|entry| entry.expect("a readable entry").path()));
    }
    assert!(!inputs.is_empty(), "there is no corpus for {name}");
    inputs.sort();
    let fails = |path: &&PathBuf| {
        let input = fs::read(path).expect("a readable file");
        catch_unwind(|| target(&input)).is_err()
    };
    let failed: Vec<_> = inputs.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{name} fails on {} of {}: {failed:#?}", failed.len(), inputs.len());
}

#[test]
fn websocket_frames() {
    replay("websocket_frames", websocket::websocket_frames);
}

#[test]
fn websocket_answer() {
    replay("websocket_answer", websocket::websocket_answer);
}
