//! The wider run: cargo-mutants changes every function of the connection, one by one.
//!
//! What it may leave alone, and why, is in `.cargo/mutants.toml`, which it reads itself.

use std::path::PathBuf;
use std::process::Command;

use super::WORK;
use super::suite::RANDOM;
use crate::{Failure, cargo};

/// The release of cargo-mutants.
const RELEASE: &str = "27.1.0";

/// Mutants of these files below `crates/midge-proto/src/connection`, such as `pings.rs`, or of all.
/// A mutant that no test sees is a failure.
pub(super) fn run(files: &[&str]) -> Result<(), Failure> {
    let program = fetch()?;
    let work = cargo::root().join(WORK);
    let mut command = Command::new(program);
    command.arg("mutants").arg("--output").arg(&work).current_dir(cargo::root());
    for file in files {
        command.args(["--file", &format!("crates/midge-proto/src/connection/{file}")]);
    }
    let status =
        command.envs(RANDOM.iter().copied()).env("CARGO_PROFILE_DEV_DEBUG", "false").status()?;
    if status.success() {
        return Ok(());
    }
    let missed = work.join("mutants.out/missed.txt");
    Err(format!(
        "cargo-mutants ended with {status}; what no test sees is in {}: write a test, or give a \
         reason in .cargo/mutants.toml",
        missed.display()
    )
    .into())
}

/// Builds the pinned cargo-mutants, which takes some minutes, unless it is there.
fn fetch() -> Result<PathBuf, Failure> {
    let home = cargo::root().join("target/tools/cargo-mutants").join(RELEASE);
    let program = home.join("bin/cargo-mutants");
    if !program.is_file() {
        let home = home.display().to_string();
        cargo::run(&[
            "install",
            "--locked",
            "cargo-mutants",
            "--version",
            RELEASE,
            "--root",
            &home,
        ])?;
    }
    Ok(program)
}
