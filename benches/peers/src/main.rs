//! Measures Midge beside other clients and beside plain sockets. `README.md` tells how and what.

mod about;
mod bars;
mod chart;
mod contestant;
mod profile;
mod promises;
mod real;
mod record;
mod report;
mod run;
mod servers;
mod statistics;
mod stored;
mod weight;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contestant::{Contestant, Workshop};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use record::{Line, Records, Run};
use run::Trace;
use workload::Workload;

/// Something that did not work, in words.
type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
cargo xtask bench peers [options]

  --repetitions N     interleaved repetitions, each in an order of its own (5)
  --quick             two repetitions of a few workloads, a quarter as long
  --only NAME,…       these contestants alone
  --workloads NAME,…  these workloads alone, such as publish or receive-headers
  --weigh             weigh programs too, from cold builds, or alone: with --repetitions 0
  --nats-server PATH  a real server, for the workloads that have one; xtask says it
  --resume            go on with what was stopped, with the same options
  --report            write the report of what was measured last, and measure nothing
  --profile           where the time of Midge goes, by perf: writes docs/performance-profile.md, which
                      later reports take in, and measures nothing else
  --list              list contestants and workloads

A full run writes docs/performance.md and its plots; any other one writes target/peers/report.
";

#[derive(Debug, Default)]
struct Options {
    repetitions: Option<u32>,
    quick: bool,
    only: Vec<String>,
    workloads: Vec<String>,
    nats_server: Option<PathBuf>,
    weigh: bool,
    resume: bool,
    report: bool,
    profile: bool,
    list: bool,
    help: bool,
}

impl Options {
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            let names = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
            match &*arg {
                "--repetitions" => options.repetitions = Some(value()?.parse()?),
                "--quick" => options.quick = true,
                "--only" => options.only = names(value()?),
                "--workloads" => options.workloads = names(value()?),
                "--nats-server" => options.nats_server = Some(value()?.into()),
                "--weigh" => options.weigh = true,
                "--resume" => options.resume = true,
                "--report" => options.report = true,
                "--profile" => options.profile = true,
                "--list" => options.list = true,
                "--help" => options.help = true,
                _ => return Err(format!("there is no `{arg}`\n\n{HELP}").into()),
            }
        }
        let known = |name: &String| contestant::ALL.iter().any(|one| one.name == name);
        if let Some(name) = options.only.iter().find(|name| !known(name)) {
            return Err(format!("there is no contestant `{name}`; see --list").into());
        }
        let known = |name: &String| workload::Kind::ALL.iter().any(|kind| kind.name() == name);
        if let Some(name) = options.workloads.iter().find(|name| !known(name)) {
            return Err(format!("there is no workload `{name}`; see --list").into());
        }
        Ok(options)
    }

    fn is_full(&self) -> bool {
        !self.quick && self.only.is_empty() && self.workloads.is_empty()
    }

    fn contestants(&self) -> Vec<&'static Contestant> {
        let all = contestant::ALL.iter();
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|one| one == name);
        all.filter(|contestant| wanted(contestant.name)).collect()
    }

    fn chosen_workloads(&self) -> Vec<Workload> {
        let mut all = Workload::all();
        all.retain(|workload| {
            (!self.quick || workload.is_quick())
                && (self.workloads.is_empty()
                    || self.workloads.iter().any(|name| name == workload.kind.name()))
        });
        all
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("peers: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<(), Failure> {
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    if options.list {
        for contestant in contestant::ALL {
            println!("{:16} {}", contestant.name, contestant.about);
        }
        for kind in workload::Kind::ALL {
            println!("{:16} {}", kind.name(), kind.title());
        }
        return Ok(());
    }
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize()?;
    let target = root.join("target/peers");
    fs::create_dir_all(&target)?;
    let directory = if options.is_full() { root.join("docs") } else { target.join("report") };
    if options.profile {
        let shop = Workshop::new(&target);
        let real = options.nats_server.as_deref().map(|program| shop.real(program)).transpose()?;
        let chosen = |kind| options.chosen_workloads().iter().any(|workload| workload.kind == kind);
        return profile::profile(&shop, real.as_ref(), chosen, &directory);
    }
    let file = target.join(if options.is_full() { "full.jsonl" } else { "part.jsonl" });
    let records = if options.resume || options.report {
        Records::open(&file)?
    } else {
        Records::create(&file)?
    };
    let records =
        if options.report { records } else { measure(options, &Workshop::new(&target), records)? };
    let wordless = report::write(&records, &directory)?;
    println!("wrote {}", directory.join("performance.md").display());
    if !wordless.is_empty() {
        println!(
            "bars that were missed, and of which benches/peers/missed.md says nothing:\n  {}",
            wordless.join("\n  ")
        );
    }
    Ok(())
}

/// Builds who takes part and runs all repetitions.
fn measure(options: &Options, shop: &Workshop, mut records: Records) -> Result<Records, Failure> {
    let mut ready = Vec::new();
    if !options.resume {
        for (name, text) in about::machine() {
            records.push(Line::About(name, text))?;
        }
    }
    for contestant in options.contestants() {
        println!("building {}", contestant.name);
        match shop.build(contestant) {
            Ok(command) => {
                ready.push((contestant, command));
                if let Some((name, text)) = shop.version(contestant)
                    && !records.tells_of(&name)
                {
                    records.push(Line::About(name, text))?;
                }
            }
            Err(failure) => {
                println!("  left out: {failure}");
                let failure = failure.to_string().replace(&shop.place(), "");
                records.push(Line::Missing(contestant.name.to_owned(), failure))?;
            }
        }
    }
    // A thousand connections have two ends, one of them here.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if options.weigh || (options.is_full() && records.weights().is_empty()) {
        for weighed in weight::weigh(&shop.source_root()?, shop.target()) {
            match weighed {
                Ok(weight) => {
                    let weight::Weight { crates, cpu, bytes, .. } = &weight;
                    println!("  {crates} crates, {cpu:.0} s, {bytes} bytes");
                    records.push(Line::Weight(weight))?;
                }
                Err((name, failure)) => {
                    println!("  left out: {failure}");
                    let failure = failure.replace(&shop.place(), "");
                    records.push(Line::Missing(name, failure))?;
                }
            }
        }
    }
    let real = options.nats_server.as_deref().map(|program| shop.real(program)).transpose()?;
    let counter = match shop.counter() {
        Ok(counter) => Some(counter),
        Err(failure) => {
            println!("allocations are not counted: {failure}");
            None
        }
    };
    let load = about::load();
    let repetitions = options.repetitions.unwrap_or(if options.quick { 2 } else { 5 });
    let share = if options.quick { 4 } else { 1 };
    let mut plan = Plan::new();
    for repetition in 1..=repetitions {
        plan.add(repetition, &ready, &options.chosen_workloads());
    }
    if repetitions > 0 {
        // The last round counts system calls, and takes no time.
        plan.add(0, &ready, &options.chosen_workloads());
    }
    let all = plan.steps.len();
    plan.steps.retain(|(repetition, workload, who)| {
        !records.runs().any(|run| {
            run.repetition == *repetition
                && run.workload == *workload
                && run.contestant == ready[*who].0.name
        })
    });
    let (start, mut done) = (Instant::now(), 0_u32);
    let left = plan.steps.len();
    for (number, (repetition, workload, who)) in (all - left + 1..).zip(plan.steps) {
        let (contestant, command) = &ready[who];
        let (share, trace) = if repetition == 0 {
            (share * 20, Trace::Calls(counter.as_ref().filter(|_| contestant.allocates_by_libc())))
        } else {
            (share, Trace::No)
        };
        let count = contestant.count(workload, share);
        let outcome = run::run(command, real.as_ref(), workload, count, trace)
            .map_err(|failure| failure.replace(&shop.place(), ""));
        done += 1;
        let rest = start.elapsed() / done * u32::try_from(left)?.saturating_sub(done);
        let what =
            format!("{} {} {}", workload.kind.name(), workload.size, workload.kind.dimension());
        print!("{number:5}/{all} {} left  {what:24} {:16}", clock(rest), contestant.name);
        match &outcome {
            Ok(cost) => match cost.calls {
                Some(calls) => {
                    println!("{:9.1} calls per 1,000", calls as f64 * 1000.0 / cost.count as f64);
                }
                None => println!(
                    "{:9.0} ns {:10.0} k/s",
                    cost.cpu * 1e9 / cost.count as f64,
                    cost.count as f64 / cost.wall / 1e3
                ),
            },
            Err(failure) => println!("   failed: {failure}"),
        }
        let contestant = contestant.name.to_owned();
        records.push(Line::Run(Run { repetition, contestant, workload, outcome }))?;
    }
    let load = format!("{load} at the start, {} at the end, its own work included", about::load());
    records.push(Line::About("load".into(), load))?;
    records.push(Line::About("repetitions".into(), repetitions.to_string()))?;
    Ok(records)
}

/// Runs in the order in which they are made: a workload at a time, for the load of the machine is
/// then much the same for all whose ratios are taken.
struct Plan {
    steps: Vec<(u32, Workload, usize)>,
    state: u64,
}

impl Plan {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { steps: Vec::new(), state: now.as_nanos() as u64 | 1 }
    }

    fn add(
        &mut self,
        repetition: u32,
        ready: &[(&Contestant, Vec<String>)],
        workloads: &[Workload],
    ) {
        let mut workloads = workloads.to_vec();
        self.shuffle(&mut workloads);
        for workload in workloads {
            let takes_part = |who: &usize| ready[*who].0.declines(workload).is_none();
            let mut who: Vec<usize> = (0..ready.len()).filter(takes_part).collect();
            self.shuffle(&mut who);
            self.steps.extend(who.into_iter().map(|who| (repetition, workload, who)));
        }
    }

    /// Fisher and Yates, over a generator that is good enough for an order.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            items.swap(last, (self.state % (last as u64 + 1)) as usize);
        }
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
