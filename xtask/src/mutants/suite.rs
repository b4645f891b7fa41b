//! The tests that are run against a mutant: what they are, and how they are run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::list::Mutant;
use super::read;
use super::tree::Tree;
use crate::Failure;

/// The tests of one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) package: &'static str,
    /// Which of them, and how they are built.
    build: &'static [&'static str],
    /// A program that takes longer hangs, which is as good as a failure.
    longest: Duration,
}

pub(super) const PROTO: Suite = Suite {
    package: "midge-proto",
    build: &["--lib", "--test", "connection", "--test", "wire_decoder"],
    longest: Duration::from_secs(120),
};

pub(super) const SIM: Suite = Suite {
    package: "midge-sim",
    build: &["--profile", "storm", "--test", "storm"],
    longest: Duration::from_secs(900),
};

/// The memory of a program, in KiB: some mutants would take all there is.
const MEMORY: u32 = 4 << 20;

/// Random tests are to see the same mutants each time, to look for no smaller input, and to leave
/// nothing behind.
pub(super) const RANDOM: &[(&str, &str)] = &[
    ("PROPTEST_RNG_SEED", "7"),
    ("PROPTEST_MAX_SHRINK_ITERS", "0"),
    ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"),
];

const VARIABLES: &[(&str, &str)] = &[
    ("RUST_BACKTRACE", "0"),
    // The mutant is known, and nobody steps through it.
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_DEV_DEBUG", "false"),
    ("RUSTFLAGS", "--cap-lints=allow"),
];

/// What became of tests, each as `TARGET::TEST`.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) passed: BTreeSet<String>,
    pub(super) failed: BTreeSet<String>,
    /// Of programs that were ended, or ended themselves, before all was run.
    pub(super) unfinished: BTreeSet<String>,
}

impl Ran {
    pub(super) fn is_caught_by(&self, test: &str) -> bool {
        self.failed.contains(test) || self.unfinished.contains(test)
    }

    /// The tests that did not pass, those of `first` in front.
    pub(super) fn catchers(&self, first: &[&str]) -> Vec<String> {
        let all = || self.failed.iter().chain(&self.unfinished).cloned();
        let is_first = |test: &String| first.contains(&test.as_str());
        all().filter(is_first).chain(all().filter(|test| !is_first(test))).collect()
    }
}

/// A program with tests.
struct Program {
    target: String,
    path: PathBuf,
    /// Where cargo would start it.
    home: PathBuf,
}

impl Suite {
    /// The tests of this package that are named beside the mutant.
    pub(super) fn of(&self, mutant: &Mutant) -> &'static [&'static str] {
        if *self == SIM { mutant.sim } else { mutant.proto }
    }

    pub(super) fn is_there(&self, root: &Path) -> bool {
        root.join("crates").join(self.package).join("Cargo.toml").is_file()
    }

    /// The names of all functions of the package, tests among them.
    pub(super) fn functions(&self, root: &Path) -> Result<BTreeSet<String>, Failure> {
        let mut names = BTreeSet::new();
        let mut directories = vec![root.join("crates").join(self.package)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = read(&path)?;
                    let lines =
                        text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
                    names.extend(
                        lines.filter_map(|line| line.split(['(', '<']).next()).map(str::to_owned),
                    );
                }
            }
        }
        Ok(names)
    }

    /// Runs these tests in the copy, or all. A copy that does not compile, and a test that is not
    /// there, are failures of ours.
    pub(super) fn run(&self, tree: &Tree, tests: &[&str]) -> Result<Ran, Failure> {
        let mut ran = Ran::default();
        for program in self.programs(tree)? {
            let prefix = format!("{}::", program.target);
            let wanted: Vec<&str> =
                tests.iter().filter_map(|test| test.strip_prefix(&*prefix)).collect();
            if tests.is_empty() || !wanted.is_empty() {
                program.run(tree, &wanted, self.longest, &mut ran)?;
            }
        }
        let known = |test: &&&str| ran.passed.contains(**test) || ran.is_caught_by(test);
        match tests.iter().find(|test| !known(test)) {
            None => Ok(ran),
            Some(missing) => Err(format!("{} has no test {missing}", self.package).into()),
        }
    }

    fn programs(&self, tree: &Tree) -> Result<Vec<Program>, Failure> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"])
            .args(["--package", self.package])
            .args(self.build)
            .current_dir(tree.root())
            .env("CARGO_TARGET_DIR", tree.root().join("target"))
            .envs(VARIABLES.iter().copied())
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("it does not compile:\n{said}").into());
        }
        let mut programs = Vec::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let message: serde_json::Value = serde_json::from_str(line)?;
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            if message["profile"]["test"] != true {
                continue;
            }
            if let (Some(target), Some(path), Some(manifest)) = (
                text(&message["target"]["name"]),
                text(&message["executable"]),
                text(&message["manifest_path"]),
            ) {
                let home = Path::new(&manifest).parent().unwrap_or(tree.root()).to_owned();
                let target = target.replace('-', "_");
                programs.push(Program { target, path: path.into(), home });
            }
        }
        Ok(programs)
    }
}

impl Program {
    fn run(
        &self,
        tree: &Tree,
        tests: &[&str],
        longest: Duration,
        ran: &mut Ran,
    ) -> Result<(), Failure> {
        let log = tree.root().join("target").join(format!("{}.log", self.target));
        let out = File::create(&log)?;
        // A shell, as only it can bound memory without unsafe code; some have no such bound.
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY} 2>/dev/null; exec \"$0\" \"$@\"")])
            .arg(&self.path)
            .args(tests)
            .args(if tests.is_empty() { &[][..] } else { &["--exact"] })
            .arg("--include-ignored")
            .current_dir(&self.home)
            .env("CARGO_MANIFEST_DIR", &self.home)
            .envs(RANDOM.iter().chain(VARIABLES).copied())
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed() > longest {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let named = |test: &str| format!("{}::{test}", self.target);
        for line in said.lines() {
            let Some((test, result)) =
                line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "))
            else {
                continue;
            };
            let test = test.strip_suffix(" - should panic").unwrap_or(test);
            match result {
                "ok" => ran.passed.insert(named(test)),
                "FAILED" => ran.failed.insert(named(test)),
                _ => false,
            };
        }
        // Each test that is not in the summary of a program that ended as it should.
        if status.is_none_or(|status| status.code().is_none_or(|code| code != 0 && code != 101)) {
            let finished = |test: &String| ran.passed.contains(test) || ran.failed.contains(test);
            let open: Vec<String> = if tests.is_empty() {
                vec![format!("{} as a whole", self.target)]
            } else {
                tests.iter().map(|test| named(test)).filter(|test| !finished(test)).collect()
            };
            ran.unfinished.extend(open);
        }
        Ok(())
    }
}
