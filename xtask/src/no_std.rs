//! The proof that the core needs no std: a program without it, linked and run on this machine.

use std::process::Stdio;

use crate::{Failure, cargo};

/// The workspace of the programs without std.
pub(crate) const MANIFEST: &str = "no-std/Cargo.toml";

/// Builds the session without std and runs it, and shows that std would have been found.
///
/// The compiler itself finds it: a program cannot have two panic handlers, and it says which crate
/// brought the other one.
pub(crate) fn guard() -> Result<(), Failure> {
    println!("the core without std, on this machine");
    cargo::run(&in_workspace("build", &[])).map_err(|failure| {
        format!(
            "{failure}\nAbove, a duplicate `panic_impl` means that a crate below midge-proto needs \
             std, and the compiler names it; `cargo tree -p midge-proto -e normal,features -i \
             <crate>` tells who asks for that. A stale no-std/Cargo.lock is renewed by `cargo update \
             --workspace --manifest-path {MANIFEST}`"
        )
    })?;
    let program = cargo::root().join(TARGET_DIR).join("debug").join(HOST);
    let output = std::process::Command::new(&program).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{said}\n{HOST} ended with {}:\n{complaint}", output.status).into());
    }
    println!("  {}", said.lines().last().unwrap_or_default());
    std_is_found()
}

const HOST: &str = "midge-no-std-host";
const TARGET_DIR: &str = "target/no-std";

/// A guard that cannot fail is none: with a crate that needs std, the build must break and name it.
fn std_is_found() -> Result<(), Failure> {
    let args = in_workspace("check", &["--features", "std-creeps-in"]);
    let output = cargo::command(&args).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let named = said.lines().find(|line| line.contains("in crate `std` (which `"));
    let Some(named) = named.filter(|_| !output.status.success()) else {
        return Err(format!("std crept in, and nothing named who brought it:\n{said}").into());
    };
    println!("  a crate with std is found, here one that asks for it on purpose:");
    println!("  {}", named.trim_start_matches([' ', '=']));
    Ok(())
}

fn in_workspace<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![command, "--quiet", "--manifest-path", MANIFEST, "--locked"];
    args.extend(["--target-dir", TARGET_DIR, "-p", HOST]);
    args.extend(more);
    args
}

/// The packages that compile for this machine.
pub(crate) fn clippy() -> Result<(), Failure> {
    println!("clippy {MANIFEST}");
    let place = ["--manifest-path", MANIFEST, "--target-dir", TARGET_DIR];
    let args = [&["clippy", "--quiet"], &place[..], &["--", "-D", "warnings"]].concat();
    cargo::run(&args)
}
