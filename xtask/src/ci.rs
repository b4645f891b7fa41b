//! Everything a submission must pass, step by step and timed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cargo::{self, Package};
use crate::{Failure, arrows, fuzz, gates, hygiene, mutants, no_std, targets};

/// Whether the last steps, the tests, belong to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    Run,
    Leave,
}

type Step = (&'static str, fn(&[Package]) -> Result<(), Failure>);

const BEFORE_TESTS: &[Step] = &[
    ("toolchain", toolchain),
    ("format", format),
    ("hygiene", |_| hygiene::check()),
    ("arrows", arrows::check),
    ("manifests", manifests),
    ("mutants", |_| mutants::check()),
    ("clippy", clippy),
    ("docs", docs),
    ("gates", |_| gates::check()),
    ("fuzz-smoke", |_| fuzz::smoke()),
];

/// Runs the steps up to the first that fails, and prints how long each took.
pub(crate) fn run(tests: Tests) -> Result<(), Failure> {
    let all: [Step; 2] = [("test", |_| crate::test()), ("targets", |_| targets::test())];
    let tests = if tests == Tests::Run { &all[..] } else { &[] };
    let packages = cargo::packages()?;
    let mut took = Vec::new();
    let mut outcome = Ok(());
    for (name, step) in BEFORE_TESTS.iter().chain(tests).copied() {
        println!("\n--- {name}");
        let start = Instant::now();
        outcome = step(&packages).map_err(|failure| format!("{name}: {failure}").into());
        took.push((name, start.elapsed(), outcome.is_ok()));
        if outcome.is_err() {
            break;
        }
    }
    print_table(&took);
    outcome
}

fn print_table(took: &[(&str, Duration, bool)]) {
    println!("\n{:<12} {:>8}", "step", "seconds");
    for (name, time, passed) in took {
        let verdict = if *passed { "" } else { "  FAILED" };
        println!("{name:<12} {:>8.1}{verdict}", time.as_secs_f64());
    }
    let total: Duration = took.iter().map(|(_, time, _)| *time).sum();
    println!("{:<12} {:>8.1}", "all", total.as_secs_f64());
}

/// The promised minimum is only worth something if it is the compiler that everything here was
/// checked with. So the two are the same, and move together.
fn toolchain(packages: &[Package]) -> Result<(), Failure> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("--version")
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    let release = said.split_whitespace().nth(1).unwrap_or_default();
    println!("{}", said.trim());
    for package in packages {
        let promised = package.rust_version.as_deref().unwrap_or("nothing");
        let same = release == promised || release.starts_with(&format!("{promised}."));
        if !same && cargo::in_ci() {
            return Err(format!(
                "{} promises to compile with Rust {promised}, and this is {release}: check with \
                 {promised}, or change `rust-version` in Cargo.toml",
                package.name
            )
            .into());
        }
    }
    Ok(())
}

/// `fuzz` and `no-std` are workspaces of their own.
fn format(_: &[Package]) -> Result<(), Failure> {
    cargo::run(&["fmt", "--all", "--check"])?;
    cargo::run(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
    cargo::run(&["fmt", "--manifest-path", no_std::MANIFEST, "--all", "--check"])
}

/// One package at a time: together, cargo would turn on the features that any of them asks for,
/// and hide a missing one.
fn clippy(packages: &[Package]) -> Result<(), Failure> {
    for package in packages {
        clippy_with(&package.name, &[])?;
        if package.features.is_empty() {
            continue;
        }
        clippy_with(&package.name, &["--no-default-features"])?;
        for feature in &package.features {
            clippy_with(&package.name, &["--no-default-features", "--features", feature])?;
        }
    }
    no_std::clippy()
}

fn clippy_with(package: &str, features: &[&str]) -> Result<(), Failure> {
    println!("clippy -p {package} {}", features.join(" "));
    let mut args = vec!["clippy", "--quiet", "-p", package, "--all-targets"];
    args.extend(features);
    args.extend(["--", "-D", "warnings"]);
    cargo::run(&args)
}

/// What is published says what it is, and brings the text of its licences.
fn manifests(packages: &[Package]) -> Result<(), Failure> {
    for package in packages.iter().filter(|package| package.published) {
        let name = &package.name;
        if !package.unsaid.is_empty() {
            return Err(
                format!("the manifest of {name} lacks: {}", package.unsaid.join(", ")).into()
            );
        }
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            if !cargo::root().join("crates").join(name).join(licence).is_file() {
                return Err(
                    format!("crates/{name} lacks {licence}: link it to that of the root").into()
                );
            }
        }
    }
    Ok(())
}

/// With all features, as they are published; and without any, where a link may lead nowhere.
fn docs(_: &[Package]) -> Result<(), Failure> {
    let strict = [("RUSTDOCFLAGS", "-D warnings")];
    cargo::run_with(&["doc", "--workspace", "--no-deps", "--all-features"], &strict)?;
    cargo::run_with(&["doc", "-p", "midge", "--no-deps", "--no-default-features"], &strict)
}

#[cfg(test)]
mod tests {
    use super::manifests;
    use crate::cargo;

    #[test]
    fn what_is_published_says_what_it_is() {
        let mut packages = cargo::packages().unwrap();
        manifests(&packages).unwrap();
        let core = packages.iter_mut().find(|package| package.name == "midge-proto").unwrap();
        core.unsaid = vec!["readme"];
        let said = manifests(&packages).unwrap_err().to_string();
        assert_eq!(said, "the manifest of midge-proto lacks: readme");
    }
}
