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
const SOURCES: &str = "crates/midge-proto/src/connection";

/// What it ends with when the only mutants that no test failed on are those that hung.
const HUNG: i32 = 3;

/// `--wide [--resume] [FILE…]`: mutants of these files below `crates/midge-proto/src/connection`,
/// such as `pings.rs`, or of all. One that no test sees is a failure; one that hangs is seen.
///
/// `--resume` leaves out what the last run has seen, which may have been in another version.
pub(super) fn run(args: &[&str]) -> Result<(), Failure> {
    let (resume, files) = match *args {
        ["--resume", ref files @ ..] => (true, files),
        _ => (false, args),
    };
    let program = fetch()?;
    let work = cargo::root().join(WORK);
    let mut command = Command::new(program);
    command.arg("mutants").arg("--output").arg(&work).current_dir(cargo::root());
    if resume {
        command.arg("--iterate");
    }
    for file in if files.is_empty() { &["**/*.rs"] } else { files } {
        if !files.is_empty() && !cargo::root().join(SOURCES).join(file).is_file() {
            return Err(format!("there is no {file} in {SOURCES}").into());
        }
        // In the configuration, they would come on top of these.
        command.args(["--file", &format!("{SOURCES}/{file}")]);
    }
    let status = command
        .envs(RANDOM.iter().copied())
        // Nearly all are seen by a scenario.
        .env("PROPTEST_CASES", "64")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .status()?;
    if status.success() || status.code() == Some(HUNG) {
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
