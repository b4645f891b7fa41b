//! Runs every scenario of the herd with every setting, and writes charts and tables.
//! `cargo xtask sim herd` starts it, compiled for speed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use midge_sim::herd::{
    Herd, Outcome, SMALL, STORMS, Scenario, Setting, attempts_chart, connected_chart, settings,
    table,
};

type Failure = Box<dyn Error>;

/// What the page of documentation is about.
const DOCUMENTED: u32 = 1_000_000;
const SEED: u64 = 1;

/// The herd that shows what a setting costs those who are few.
const FEW: u32 = 1_000;

/// A client of the herd needs less than this, at the most.
const BYTES_EACH: u64 = 8 * 1024;

/// Between these lines of the page stands what this program wrote.
const BEGIN: &str = "<!-- cargo xtask sim herd -->\n";
const END: &str = "<!-- end -->\n";

fn main() -> Result<(), Failure> {
    let (herd, directory) = arguments()?;
    println!(
        "{} clients, seed {}, {} handshakes a second at each server",
        herd.clients, herd.seed, herd.handshakes
    );
    fs::create_dir_all(directory.join("herd"))?;
    let mut text = String::from(BEGIN);
    // The whole herd once; the others would take hours, and show no more than a tenth does.
    let tenth = herd.tenth();
    for (number, scenario) in STORMS.iter().enumerate() {
        let herd = if number == 0 { &herd } else { &tenth };
        text += &chapter(herd, scenario, &run(herd, scenario), &directory)?;
    }
    let few = Herd { clients: FEW, ..Herd::new(herd.seed) };
    for scenario in SMALL {
        text += &numbers(&few, scenario, &run(&few, scenario))?;
    }
    text.push_str(END);
    write_page(&directory.join("herd.md"), &text)?;
    println!("written to {}", directory.display());
    Ok(())
}

/// A scenario with its charts, which go into `directory`, and its numbers.
fn chapter(
    herd: &Herd,
    scenario: &Scenario,
    outcomes: &[(Setting, Outcome)],
    directory: &Path,
) -> Result<String, Failure> {
    let charts = [
        ("attempts", "Attempts per second over time", attempts_chart(herd, scenario, outcomes)),
        (
            "connected",
            "Clients connected again over time",
            connected_chart(herd, scenario, outcomes),
        ),
    ];
    let mut text = numbers(herd, scenario, outcomes)?;
    for (kind, says, chart) in charts {
        let name = format!("herd/{}-{kind}.svg", scenario.name);
        fs::write(directory.join(&name), chart)?;
        write!(text, "\n![{says}]({name})\n")?;
    }
    Ok(text)
}

fn numbers(
    herd: &Herd,
    scenario: &Scenario,
    outcomes: &[(Setting, Outcome)],
) -> Result<String, Failure> {
    let mut text = format!("\n### {}\n\n", scenario.title);
    writeln!(
        text,
        "{} clients, {} handshakes a second at each server.\n\n{}",
        herd.clients,
        herd.handshakes,
        table(outcomes).trim_end()
    )?;
    println!("{text}");
    Ok(text)
}

/// The herd that the command line asks for, and where its charts go to: into the documentation, if
/// it is the one that is documented.
fn arguments() -> Result<(Herd, PathBuf), Failure> {
    let mut herd = Herd { clients: DOCUMENTED, ..Herd::new(SEED) };
    let mut directory = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{name}` needs a value"))?;
        match name.as_str() {
            "--clients" => herd.clients = value.parse()?,
            "--seed" => herd.seed = value.parse()?,
            "--handshakes" => herd.handshakes = value.parse()?,
            "--backlog" => herd.backlog = value.parse()?,
            "--out" => directory = Some(PathBuf::from(value)),
            _ => {
                let known = "--clients, --seed, --handshakes, --backlog and --out";
                return Err(format!("there is no `{name}`, but {known}").into());
            }
        }
    }
    if let Some(bytes) = memory() {
        let fit = u32::try_from(bytes / BYTES_EACH).unwrap_or(u32::MAX);
        if fit < herd.clients {
            println!("{} clients do not fit into memory: {fit} do", herd.clients);
            herd.clients = fit;
        }
    }
    let documented = Herd { clients: DOCUMENTED, ..Herd::new(SEED) };
    let default = if herd == documented { "docs" } else { "target/herd" };
    Ok((herd, directory.unwrap_or_else(|| default.into())))
}

fn run(herd: &Herd, scenario: &Scenario) -> Vec<(Setting, Outcome)> {
    let mut outcomes = Vec::new();
    let live = std::io::stderr().is_terminal();
    for setting in settings() {
        let start = Instant::now();
        let mut said = String::new();
        let outcome = herd.run(scenario, &setting, &mut |(passed, missing)| {
            if passed.is_zero() {
                let bytes = resident().unwrap_or(0) / u64::from(herd.clients.max(1));
                said = format!("{bytes} bytes a client");
            }
            if live {
                eprint!("\r{}: {passed:?}, {missing} not connected    ", setting.name);
                let _ = std::io::stderr().flush();
            }
        });
        let took = Duration::from_millis(start.elapsed().as_millis() as u64);
        let attempts = outcome.attempts();
        eprintln!("\r{}: {attempts} attempts in {took:?}, {said}", setting.name);
        outcomes.push((setting, outcome));
    }
    outcomes
}

/// Puts what was found into the page, or makes one of it alone.
fn write_page(page: &Path, found: &str) -> Result<(), Failure> {
    let old = fs::read_to_string(page).unwrap_or_default();
    let new = match (old.split_once(BEGIN), old.split_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{found}{after}"),
        _ => found.to_owned(),
    };
    Ok(fs::write(page, new)?)
}

/// Bytes of memory that are free, where the system says so.
fn memory() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// Bytes of memory that this program has.
fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}
