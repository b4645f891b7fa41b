//! Runs of the simulator that take longer than a test may.

use std::fs;
use std::path::Path;

use crate::{Failure, cargo};

/// Holds the seed with which the next search for storms begins.
const NEXT: &str = "target/sim/next";

/// The reconnect storm of `crates/midge-sim/examples/herd.rs`, compiled for speed.
pub(crate) fn herd(arguments: &[&str]) -> Result<(), Failure> {
    let run = ["run", "--release", "--quiet", "-p", "midge-sim", "--example", "herd", "--"];
    cargo::run(&[&run[..], arguments].concat())
}

/// Storms for some minutes, from where the last search stopped; or the trace of one.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let arguments = match *arguments {
        [] => vec!["search", NEXT, "10"],
        ["--minutes", minutes] => vec!["search", NEXT, minutes],
        ["--seed", seed] => vec!["show", seed],
        _ => return Err("sim run [--minutes N | --seed S]".into()),
    };
    fs::create_dir_all(Path::new(NEXT).with_file_name(""))?;
    let run = ["run", "--release", "--quiet", "-p", "midge-sim", "--example", "storm", "--"];
    cargo::run(&[&run[..], &arguments].concat())
}

/// The fixed storms, with the checks of a debug build and compiled for speed.
pub(crate) fn test() -> Result<(), Failure> {
    let test = ["test", "--profile", "storm", "-p", "midge-sim", "--test", "storm"];
    let streams = ["--test", "stream_storm", "--", "--ignored"];
    cargo::run(&[&test[..], &streams].concat())
}
