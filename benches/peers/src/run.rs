//! One run of one contestant, measured from outside: the processor time of its process between
//! `ready` and `done`, which is the same for every language and nothing that it could flatter.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use midge_testing::Link;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::profile::{Profiler, Sampler};
use crate::real::{Feeder, Real, Reals};
use crate::servers::{Seen, Server};
use crate::workload::{Kind, Layer, Said, Workload};

/// Where every one of them looks for certificates that it trusts.
const TRUSTED: &str = "SSL_CERT_FILE";
/// How long bytes travel to a server that is far away, and back.
const FAR: Duration = Duration::from_micros(500);
/// A contestant that takes longer is ended.
const LONGEST: Duration = Duration::from_secs(90);

/// What a run cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Messages or requests.
    pub(crate) count: u64,
    /// Seconds of user and system time of the process.
    pub(crate) cpu: f64,
    /// Seconds that passed.
    pub(crate) wall: f64,
    /// Context switches of the threads that lived to the end.
    pub(crate) switches: u64,
    /// Bytes of memory at the highest, from the start of the process on.
    pub(crate) memory: u64,
    /// Bytes of memory by which it grew in that time.
    #[serde(default)]
    pub(crate) grown: i64,
    /// Messages that never arrived, where that is no failure.
    #[serde(default)]
    pub(crate) lost: u64,
    /// System calls; only of a run under strace, whose times say nothing.
    pub(crate) calls: Option<u64>,
    /// Allocations, of such a run.
    #[serde(default)]
    pub(crate) allocations: Option<u64>,
    /// Nanoseconds within which 50, 99 and 99.9 % of the requests were answered.
    pub(crate) latency: Option<[f64; 3]>,
}

/// Whether more than time is looked at, which takes some.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trace<'a> {
    No,
    /// System calls are counted, and allocations, where they are seen.
    Calls(Option<&'a Counter>),
    /// Samples are taken.
    Profile(&'a Profiler),
}

/// Counts allocations: a library that is loaded into a program before all others, and the file in
/// which it counts.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) library: PathBuf,
    pub(crate) count: PathBuf,
}

impl Counter {
    fn reset(&self) -> Result<(), String> {
        fs::write(&self.count, 0_u64.to_ne_bytes()).map_err(|error| error.to_string())
    }

    fn read(&self) -> Option<u64> {
        Some(u64::from_ne_bytes(fs::read(&self.count).ok()?.try_into().ok()?))
    }
}

/// What a contestant is connected with.
enum Opposite<'a> {
    Own(Server),
    Real {
        server: &'a Real,
        layer: Layer,
        feeder: Option<Feeder>,
        before: u64,
        subscribed: u64,
    },
    /// The same, where it is about a stream or a bucket.
    Stored {
        server: &'a Real,
        link: Option<Link>,
        workload: Workload,
        count: u64,
    },
}

impl<'a> Opposite<'a> {
    fn start(workload: Workload, count: u64, real: Option<&'a Reals>) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let Some(layer) = workload.kind.real() else {
            return Ok(Self::Own(Server::start(workload.role(count)).map_err(failed)?));
        };
        let real = real.ok_or("there is no nats-server; xtask finds or fetches one")?;
        let server = real.with(layer, workload.kind.is_fed());
        if workload.kind.is_stored() {
            server.storage().and_then(|mut it| it.prepare(workload, count)).map_err(failed)?;
            let link = || Link::to(&server.address(layer)).latency(FAR).start();
            let link = workload.kind.is_far().then(link).transpose().map_err(failed)?;
            return Ok(Self::Stored { server, link, workload, count });
        }
        let feeder = match workload.kind.is_fed() {
            true => Some(server.feed(workload.blast(count)).map_err(failed)?),
            false => None,
        };
        let subscribed = server.subscriptions().map_err(failed)?;
        let before = server.received().map_err(failed)?;
        Ok(Self::Real { server, layer, feeder, before, subscribed })
    }

    fn address(&self) -> String {
        match self {
            Self::Own(server) => server.address(),
            Self::Real { server, layer, .. } => server.address(*layer),
            Self::Stored { link: Some(link), .. } => format!("127.0.0.1:{}", link.port()),
            Self::Stored { server, .. } => server.address(Layer::None),
        }
    }

    /// Waits until the contestant is subscribed: not each has asked the server whether it is.
    fn settle(&self) {
        let Self::Real { server, feeder: Some(_), subscribed, .. } = self else { return };
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until && server.subscriptions().is_ok_and(|now| now <= *subscribed) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn release(&self) {
        match self {
            Self::Own(server) => server.release(),
            Self::Real { feeder, .. } => feeder.iter().for_each(Feeder::release),
            Self::Stored { .. } => {}
        }
    }

    /// What had come when the contestant had gone.
    fn finish(self) -> Seen {
        match self {
            Self::Own(server) => server.finish(),
            Self::Real { server, feeder, before, .. } => {
                feeder.into_iter().for_each(Feeder::stop);
                // Counted when read, which may be after the last byte was written.
                let mut messages = None;
                for _ in 0..5 {
                    let now = server.received().ok().map(|received| received - before);
                    if now.is_some() && now == messages {
                        break;
                    }
                    messages = now;
                    thread::sleep(Duration::from_millis(20));
                }
                Seen { bytes: None, messages }
            }
            Self::Stored { server, workload, count, .. } => {
                let seen = server.storage().and_then(|mut it| it.seen(workload, count));
                Seen { bytes: None, messages: seen.ok() }
            }
        }
    }
}

/// Runs a program on a workload.
pub(crate) fn run(
    command: &[String],
    real: Option<&Reals>,
    workload: Workload,
    count: u64,
    trace: Trace<'_>,
) -> Result<Cost, String> {
    let before = ended_children();
    let server = Opposite::start(workload, count, real)?;
    let mut program = Command::new(&command[0]);
    if let Trace::Calls(Some(counter)) = trace {
        counter.reset()?;
        program.env("LD_PRELOAD", &counter.library).env("PEERS_ALLOCATIONS", &counter.count);
    }
    let child = program
        .args(&command[1..])
        .args([workload.kind.command(), &server.address()])
        .args([count.to_string(), workload.size.to_string()])
        .envs(real.map(|real| (TRUSTED, real.certificate())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", command[0]))?;
    let mut running = Running::new(child);
    let outcome = running.measure(&server, trace);
    let complaint = running.end();
    let whole = ended_children().saturating_sub(before).as_secs_f64();
    let seen = server.finish();
    let (mut cost, said) = outcome.map_err(|error| format!("{error}{complaint}"))?;
    cost.count = count;
    // Another clock for the same: of the whole life of the process. It is finer than a tick.
    if cost.cpu > whole + 0.02 {
        return Err(format!("the clocks disagree: {} s of {whole} s in all", cost.cpu));
    }
    if workload.kind == Kind::Burst {
        cost.lost = count.saturating_sub(said.received);
    }
    workload.verify(count, &said, seen)?;
    Ok(cost)
}

/// The processor time of all processes that this one started and that have ended.
pub(crate) fn ended_children() -> Duration {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(Duration::ZERO, |usage| {
        let micros = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
        Duration::from_micros(micros.iter().sum::<i64>().unsigned_abs())
    })
}

struct Running {
    child: Child,
    pid: Pid,
    lines: Receiver<String>,
    complaint: Option<thread::JoinHandle<String>>,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let (sender, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(out).lines().map_while(Result::ok);
                lines.for_each(|line| drop(sender.send(line)));
            });
        }
        let complaint = child.stderr.take().map(|mut err| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = err.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let pid = Pid::from_raw(child.id().cast_signed());
        Self { child, pid, lines, complaint }
    }

    fn measure(&mut self, server: &Opposite<'_>, trace: Trace<'_>) -> Result<(Cost, Said), String> {
        self.wait_for("ready", Duration::from_secs(20))?;
        server.settle();
        let tracer = match trace {
            Trace::Calls(_) => Some(Tracer::attach(self.pid)?),
            _ => None,
        };
        let sampler = match trace {
            Trace::Profile(profiler) => Some(profiler.attach(self.pid)?),
            _ => None,
        };
        let allocations = || match trace {
            Trace::Calls(Some(counter)) => counter.read(),
            _ => None,
        };
        let before = allocations();
        let clock = ClockId::pid_cpu_clock_id(self.pid).map_err(|error| error.to_string())?;
        let time = || clock.now().map(Duration::from).map_err(|error| error.to_string());
        let (switches, memory) = (self.switches(), self.memory("VmRSS:"));
        let (cpu, wall) = (time()?, Instant::now());
        let input = self.child.stdin.as_mut().ok_or("no standard input")?;
        input.write_all(b"go\n").map_err(|error| error.to_string())?;
        server.release();
        let done = self.wait_for("done", LONGEST)?;
        let (wall, cpu) = (wall.elapsed(), time()? - cpu);
        sampler.map_or(Ok(()), Sampler::finish)?;
        let allocated = allocations().zip(before).map(|(now, before)| now - before);
        let said = Said::parse(&done);
        let cost = Cost {
            count: 0,
            cpu: cpu.as_secs_f64(),
            wall: wall.as_secs_f64(),
            switches: self.switches().saturating_sub(switches),
            memory: self.memory("VmHWM:"),
            grown: self.memory("VmRSS:").cast_signed() - memory.cast_signed(),
            lost: 0,
            calls: tracer.map(Tracer::detach).transpose()?,
            allocations: allocated,
            latency: said.latency,
        };
        Ok((cost, said))
    }

    fn wait_for(&self, word: &str, longest: Duration) -> Result<String, String> {
        let until = Instant::now() + longest;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(word) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("not `{word}` after {} s", longest.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("ended before `{word}`"));
                }
            }
        }
    }

    fn switches(&self) -> u64 {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return 0 };
        let status =
            threads.flatten().map(|thread| fs::read_to_string(thread.path().join("status")));
        let each = status.flatten().map(|status| {
            numbers(&status, "voluntary_ctxt_switches:")
                + numbers(&status, "nonvoluntary_ctxt_switches:")
        });
        each.sum()
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
        1024 * status.map_or(0, |status| numbers(&status, name))
    }

    /// Lets the process end, or ends it. What it complained of.
    fn end(&mut self) -> String {
        drop(self.child.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(4).collect();
        last.iter().rev().fold(String::new(), |text, line| format!("{text}; {line}"))
    }
}

/// The number behind a name at the start of a line.
fn numbers(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// strace, attached to a process that runs.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: Pid) -> Result<Self, String> {
        let mut child = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace cannot be run: {error}"))?;
        // It says so when it has come to all threads.
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        said.read_line(&mut line).map_err(|error| error.to_string())?;
        if !line.contains("attached") {
            return Err(line.trim().to_owned());
        }
        child.stderr = Some(said.into_inner());
        Ok(Self(child))
    }

    /// The number of calls since.
    fn detach(mut self) -> Result<u64, String> {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        kill(pid, Signal::SIGINT).map_err(|error| error.to_string())?;
        let mut said = String::new();
        let out = self.0.stderr.as_mut().ok_or("no standard error")?;
        out.read_to_string(&mut said).map_err(|error| error.to_string())?;
        let _ = self.0.wait();
        let total = said.lines().rev().find(|line| line.ends_with("total"));
        let total = total.and_then(|line| line.split_whitespace().next()?.parse().ok());
        total.ok_or_else(|| format!("strace counted nothing: {said}"))
    }
}
