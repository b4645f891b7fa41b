//! Where the processor time of Midge goes, by layer: samples that perf takes of a contestant between
//! `ready` and `done`, told apart by the library that they fell into, or the file that the line of code
//! under them came from, with what was inlined where it belongs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::unistd::Pid;

use crate::about;
use crate::contestant::{Contestant, Workshop};
use crate::real::Reals;
use crate::report::figure;
use crate::run::{self, Trace};
use crate::workload::{Kind, Workload};
use crate::{Failure, contestant};

/// The file of the profile, beside `performance.md`, which takes it in.
pub(crate) const FILE: &str = "performance-profile.md";
/// Whose time it is.
pub(crate) const WHO: &str = "midge-tokio-ct";
/// Samples for each second of processor time.
const RATE: &str = "4000";
/// Runs whose samples are added up.
const RUNS: u64 = 5;

const WORKLOADS: &[(Kind, usize)] = &[
    (Kind::Publish, 128),
    (Kind::Receive, 128),
    (Kind::Request, 128),
    (Kind::PublishTls, 128),
    (Kind::PublishTls, 8192),
    (Kind::ReceiveTls, 128),
    (Kind::ReceiveTls, 8192),
    (Kind::PublishWs, 128),
    (Kind::PublishWs, 8192),
    (Kind::ReceiveWs, 128),
    (Kind::ReceiveWs, 8192),
    (Kind::JsConsume, 128),
    (Kind::KvPut, 128),
    (Kind::KvWatch, 128),
];

/// What time is spent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Writing,
    Reading,
    Waiting,
    Kernel,
    Tls,
    WebSocket,
    Core,
    JetStream,
    Midge,
    Tokio,
    Allocator,
    Library,
    Program,
    Other,
}

impl Layer {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Writing, "kernel: writing"),
        (Self::Reading, "kernel: reading"),
        (Self::Waiting, "kernel: waiting"),
        (Self::Kernel, "kernel: else"),
        (Self::Tls, "rustls, ring"),
        (Self::WebSocket, "WebSocket"),
        (Self::Core, "midge-proto"),
        (Self::JetStream, "midge-jetstream"),
        (Self::Midge, "midge, midge-tokio"),
        (Self::Tokio, "tokio"),
        (Self::Allocator, "allocator"),
        (Self::Library, "C library"),
        (Self::Program, "program"),
        (Self::Other, "std, others"),
    ];
}

/// Takes profiles, and writes them into a directory.
pub(crate) fn profile(
    shop: &Workshop,
    real: Option<&Reals>,
    wanted: impl Fn(Kind) -> bool,
    directory: &Path,
) -> Result<(), Failure> {
    let perf = Command::new("perf").arg("--version").output();
    let perf = perf.map_err(|error| {
        format!("perf cannot be run: {error}; without it there is no profile, and none was written")
    })?;
    let perf = String::from_utf8_lossy(&perf.stdout).trim().to_owned();
    let one = contestant::ALL.iter().find(|one| one.name == WHO).ok_or("nobody to look at")?;
    println!("building {WHO} with lines of code");
    let program = shop.with_lines(one)?;
    let profiler = Profiler::new(shop.target().join("perf.data"), program)?;
    let mut rows = String::new();
    for &(kind, size) in WORKLOADS.iter().filter(|(kind, _)| wanted(*kind)) {
        let workload = Workload { kind, size };
        let what = format!("{} {size} {}", kind.name(), kind.dimension());
        let (shares, time) = profiler.shares(one, real, workload)?;
        let samples: u64 = shares.values().sum();
        println!("{what:24} {samples:6} samples {time:9.0} ns");
        let _ = write!(rows, "| {what} | {} | {samples} |", figure(time));
        for (layer, _) in Layer::ALL {
            let share = shares.get(&layer).map(|count| *count as f64 * 100.0 / samples as f64);
            let share = share.filter(|share| *share >= 0.05);
            let _ = write!(rows, " {} |", share.map_or("–".to_owned(), |it| format!("{it:.1}")));
        }
        rows.push('\n');
    }
    fs::create_dir_all(directory)?;
    let file = directory.join(FILE);
    fs::write(&file, page(&perf, &rows))?;
    println!("wrote {}", file.display());
    Ok(())
}

fn page(perf: &str, rows: &str) -> String {
    let about = |name: &str| {
        let all = about::machine();
        all.into_iter().find(|(known, _)| known == name).map_or(String::new(), |(_, text)| text)
    };
    let names: Vec<String> = Layer::ALL.iter().map(|(_, name)| format!(" {name} |")).collect();
    format!(
        "# Where the time of Midge goes\n\nWritten by `cargo xtask bench peers --profile`: percents of the \
         processor time of {WHO}, by samples of the processor clock ({perf}, {RATE} a second, \
         {RUNS} runs of each workload; {}, {}). A sample belongs to the library that it fell into or, in the \
         program, to the crate that its line of code is of; inlined code counts where it was written, that of \
         std and of bytes where it was called from. Time in the kernel is told apart by the system call: writing \
         over the loopback device includes what the kernel does to deliver the bytes and to wake the \
         other end. The program is what the bench itself does. A sample every quarter of a millisecond makes \
         a run somewhat slower than those that are compared; shares below 1 % are a few samples.\n\n\
         | | ns each | samples |{}\n|---|---|---|{}\n{rows}",
        about("processor"),
        about("kernel"),
        names.concat(),
        "---|".repeat(names.len()),
    )
}

/// What is in the file of a profile, for the page that takes it in; or that there is none.
pub(crate) fn section(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join(FILE)).unwrap_or_default();
    let body = text.split_once("\n\n").map_or(
        "No profile was taken: `cargo xtask bench peers --profile` does, where the machine has perf.\n",
        |(_, body)| body,
    );
    format!("\n## Where the time goes\n\n{body}")
}

// ---- taking samples ----------------------------------------------------------------------

/// Samples of one program.
#[derive(Debug)]
pub(crate) struct Profiler {
    data: PathBuf,
    program: PathBuf,
    /// Of each part of the file: where it begins, and its address as the linker gave it.
    parts: Vec<(u64, u64)>,
}

impl Profiler {
    fn new(data: PathBuf, program: PathBuf) -> Result<Self, Failure> {
        let output =
            tool(Command::new("readelf").args(["--program-headers", "--wide"]).arg(&program))?;
        let mut parts = Vec::new();
        for line in output.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("LOAD") {
                let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
                parts.extend(number().zip(number()));
            }
        }
        Ok(Self { data, program, parts })
    }

    /// The samples of some runs, by layer, and nanoseconds for each message.
    fn shares(
        &self,
        one: &Contestant,
        real: Option<&Reals>,
        workload: Workload,
    ) -> Result<(BTreeMap<Layer, u64>, f64), Failure> {
        let command = [self.program.display().to_string()];
        let count = one.count(workload, 1);
        let (mut shares, mut inside, mut time) = (BTreeMap::new(), BTreeMap::new(), 0.0);
        for _ in 0..RUNS {
            let cost = run::run(&command, real, workload, count, Trace::Profile(self))?;
            time += cost.cpu * 1e9 / (count * RUNS) as f64;
            self.read(&mut shares, &mut inside)?;
        }
        for (address, frames) in self.lines(inside.keys().copied())? {
            let samples = inside.get(&address).copied().unwrap_or_default();
            *shares.entry(written(&frames)).or_default() += samples;
        }
        Ok((shares, time))
    }

    /// Begins to take samples of a process that runs.
    pub(crate) fn attach(&self, pid: Pid) -> Result<Sampler, String> {
        Sampler::start(pid, &self.data)
    }

    /// Adds the samples that were taken last: by layer, and by address those inside of the program.
    fn read(
        &self,
        layers: &mut BTreeMap<Layer, u64>,
        inside: &mut BTreeMap<u64, u64>,
    ) -> Result<(), Failure> {
        let mut script = Command::new("perf");
        script.args(["script", "--fields", "ip,sym,dso", "--input"]).arg(&self.data);
        let output = script.stderr(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let program = format!("({})", self.program.display());
        // The innermost frame first, each by its place in the file, and an empty line behind the last.
        for sample in text.split("\n\n") {
            let mut frames = sample.lines().map(str::trim).filter(|line| !line.is_empty());
            let Some(leaf) = frames.next() else { continue };
            if leaf.ends_with(&program) {
                let address = leaf.split(' ').next().unwrap_or_default();
                *inside.entry(self.address(u64::from_str_radix(address, 16)?)).or_default() += 1;
            } else {
                *layers.entry(outside(leaf, frames)).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Of a place in the file.
    fn address(&self, place: u64) -> u64 {
        let part = self.parts.iter().rfind(|(start, _)| *start <= place);
        part.map_or(place, |(start, address)| place - start + address)
    }

    /// The functions and files of the lines under addresses of the program, each behind the other, from
    /// what was inlined outwards.
    fn lines(
        &self,
        addresses: impl Iterator<Item = u64>,
    ) -> Result<Vec<(u64, Vec<String>)>, Failure> {
        let asked = self.data.with_extension("addresses");
        fs::write(&asked, addresses.map(|it| format!("{it:#x}\n")).collect::<String>())?;
        let mut command = Command::new("addr2line");
        command.args(["--addresses", "--inlines", "--functions", "--exe"]).arg(&self.program);
        let output = tool(command.stdin(File::open(&asked)?))?;
        let mut all: Vec<(u64, Vec<String>)> = Vec::new();
        for line in output.lines() {
            if let Some(address) = line.strip_prefix("0x") {
                all.push((u64::from_str_radix(address, 16)?, Vec::new()));
            } else if let Some((_, frames)) = all.last_mut() {
                frames.push(line.to_owned());
            }
        }
        Ok(all)
    }
}

/// What one of the binutils says.
fn tool(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| {
        let name = command.get_program().display();
        format!("{name} cannot be run: {error}; it is one of the binutils")
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// perf, attached to a process that runs.
#[derive(Debug)]
pub(crate) struct Sampler {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Sampler {
    fn start(pid: Pid, data: &Path) -> Result<Self, String> {
        let mut child = Command::new("perf")
            .args(["record", "--quiet", "--event", "cpu-clock", "--freq", RATE, "-g"])
            // It is told when to begin by its standard input, and says by its output that it has.
            .args(["--delay", "-1", "--control", "fd:0,1", "--pid", &pid.to_string(), "--output"])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("perf cannot be run: {error}"))?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut sampler = Self { child, answers };
        sampler.tell("enable")?;
        Ok(sampler)
    }

    /// Ends it, with all samples in the file.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.tell("disable")?;
        self.tell("stop")?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("perf ended with {status}")) }
    }

    fn tell(&mut self, word: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or("no standard input")?;
        writeln!(input, "{word}").map_err(|error| format!("perf: {error}"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| format!("perf: {error}"))?;
        if answer.contains("ack") { Ok(()) } else { Err("perf takes no samples here".to_owned()) }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- whose they are ----------------------------------------------------------------------

/// The layer of a sample outside of the program, by the frame itself and those that called it.
fn outside<'a>(leaf: &'a str, callers: impl Iterator<Item = &'a str>) -> Layer {
    let symbol = leaf.split(' ').nth(1).unwrap_or_default();
    if leaf.ends_with("([kernel.kallsyms])") {
        let call = std::iter::once(leaf).chain(callers).find_map(|frame| {
            let symbol = frame.split(' ').nth(1)?;
            symbol.strip_prefix("__x64_sys_").or_else(|| symbol.strip_prefix("__arm64_sys_"))
        });
        return match call {
            Some("write" | "writev" | "sendto" | "sendmsg") => Layer::Writing,
            Some("read" | "readv" | "recvfrom" | "recvmsg") => Layer::Reading,
            Some("epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "futex" | "poll") => {
                Layer::Waiting
            }
            _ => Layer::Kernel,
        };
    }
    let allocates = ["malloc", "free", "calloc", "realloc", "unlink_chunk", "tcache"];
    if allocates.iter().any(|part| symbol.contains(part)) {
        return Layer::Allocator;
    }
    Layer::Library
}

/// The layer of a line of code, by functions and files, each behind the other, from the innermost of
/// what was inlined.
fn written(frames: &[String]) -> Layer {
    for frame in frames.chunks(2) {
        let [function, file] = frame else { continue };
        let registry =
            file.split_once("/registry/src/").and_then(|(_, rest)| rest.split('/').nth(1));
        let of = |names: &[&str]| {
            registry.is_some_and(|it| names.iter().any(|name| it.starts_with(&format!("{name}-"))))
        };
        let layer = match file {
            // Assembly, of which there are no lines.
            _ if function.starts_with("ring_core") || function.starts_with("gcm_") => Layer::Tls,
            _ if of(&["rustls", "ring"]) => Layer::Tls,
            _ if of(&["tokio", "mio", "socket2"]) => Layer::Tokio,
            _ if of(&["bytes"]) => continue,
            file if file.contains("/benches/peers/") => Layer::Program,
            file if file.contains("/crates/midge-proto/") => Layer::Core,
            file if file.contains("/crates/midge-jetstream/") => Layer::JetStream,
            file if file.contains("/crates/midge/src/layers/websocket/") => Layer::WebSocket,
            file if file.contains("/crates/midge") => Layer::Midge,
            file if file.contains("/library/") => continue,
            _ => Layer::Other,
        };
        return layer;
    }
    Layer::Other
}
