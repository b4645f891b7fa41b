//! Runs of the simulator that take longer than a test may.

use crate::{Failure, cargo};

/// The reconnect storm of `crates/midge-sim/examples/herd.rs`, compiled for speed.
pub(crate) fn herd(arguments: &[&str]) -> Result<(), Failure> {
    let run = ["run", "--release", "--quiet", "-p", "midge-sim", "--example", "herd", "--"];
    cargo::run(&[&run[..], arguments].concat())
}
