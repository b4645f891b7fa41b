//! Counts what an operation costs in instructions, which does not move with the machine's load, and
//! compares it with what was recorded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::missing::{Missing, excuse};
use crate::targets::debian;
use crate::{Failure, cargo, hygiene};

const TABLE: &str = "benches/gates/gates.txt";
const PROGRAM: &str = "midge-gates";
/// Large copies by loops: else processors differ in how they copy, and of `rep movsb` each byte
/// counts as an instruction.
const LOOPS: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000";

/// A cost that is too high is counted so often before it is believed.
const TRIES: u32 = 5;

/// Compares with the table; the first line of a failure says how to change it.
pub(crate) fn check() -> Result<(), Failure> {
    excuse(compare())
}

/// Writes the numbers of this machine into the table.
pub(crate) fn record() -> Result<(), Failure> {
    let (path, mut table) = read()?;
    let counter = Counter::new()?;
    table.rust = release()?;
    for gate in table.gates() {
        gate.recorded = counter.cost(gate)?;
        println!("{gate}");
    }
    fs::write(path, table.to_string())?;
    Ok(())
}

fn compare() -> Result<(), Failure> {
    let (_, mut table) = read()?;
    let (rust, tolerance) = (release()?, table.tolerance);
    if rust != table.rust {
        return Err(Missing(format!(
            "{TABLE} was recorded with Rust {}, and this is {rust}: another compiler counts \
             otherwise; with the one that CI has, record it anew by `cargo xtask gates --record`",
            table.rust
        ))
        .into());
    }
    let counter = Counter::new()?;
    let mut wrong = Vec::new();
    for gate in table.gates() {
        let recorded = gate.recorded;
        let most = recorded * (1.0 + tolerance / 100.0);
        let mut cost = counter.cost(gate)?;
        // Whoever reads replies beside the driver does so for 100 ms at a time: of a slow machine, more
        // such times are in a run. What an operation costs is the least that it was seen to.
        for _ in 1..TRIES {
            if cost <= most {
                break;
            }
            cost = cost.min(counter.cost(gate)?);
        }
        let change = (cost / recorded - 1.0) * 100.0;
        gate.recorded = cost;
        println!("{gate}   {change:+.1} %");
        if change > tolerance {
            wrong.push(format!(
                "{} costs {cost:.1} instructions, and cost {recorded:.1}: find out why with \
                 `valgrind --tool=callgrind`, or record the new cost and say in the commit what it \
                 buys",
                gate.workload
            ));
        }
        if gate.bar.is_some_and(|bar| cost > bar && recorded <= bar) {
            wrong.push(format!("{} is above its bar", gate.workload));
        }
        if change < -tolerance {
            println!("  less than recorded: keep it, by `cargo xtask gates --record`");
        }
    }
    wrong.extend(table.steep());
    hygiene::verdict(&wrong)
}

fn read() -> Result<(PathBuf, Table), Failure> {
    let path = cargo::root().join(TABLE);
    let table = fs::read_to_string(&path)?.parse()?;
    Ok((path, table))
}

/// The compiler's.
fn release() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = String::from_utf8(Command::new(rustc).arg("--version").output()?.stdout)?;
    Ok(said.split_whitespace().nth(1).unwrap_or_default().to_owned())
}

/// Runs the program and counts its instructions, not those of its peer.
struct Counter {
    valgrind: PathBuf,
    program: PathBuf,
}

impl Counter {
    fn new() -> Result<Self, Failure> {
        let valgrind = debian::program("valgrind", "valgrind")?;
        // One unit for each crate: which functions are inlined does not change with their neighbours.
        cargo::run(&["build", "--quiet", "--profile", "bench", "-p", PROGRAM])?;
        let metadata = cargo::output(&["metadata", "--format-version", "1", "--no-deps"])?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        let target = metadata["target_directory"].as_str().ok_or("cargo has a target directory")?;
        Ok(Self { valgrind, program: Path::new(target).join("release").join(PROGRAM) })
    }

    /// Instructions for each operation: what as many operations more cost.
    fn cost(&self, gate: &Gate) -> Result<f64, Failure> {
        let once = self.count(&gate.workload, gate.operations)?;
        let twice = self.count(&gate.workload, 2 * gate.operations)?;
        Ok((twice as f64 - once as f64) / gate.operations as f64)
    }

    fn count(&self, workload: &str, operations: u64) -> Result<u64, Failure> {
        let output = Command::new(&self.valgrind)
            .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
            .arg(&self.program)
            .args([workload, &operations.to_string()])
            .env("GLIBC_TUNABLES", LOOPS)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let count = said.lines().find_map(|line| line.split_once("I   refs:"));
        match count.and_then(|(_, count)| count.trim().replace(',', "").parse().ok()) {
            Some(count) if output.status.success() => Ok(count),
            _ => Err(format!("{workload}: valgrind did not count:\n{said}").into()),
        }
    }
}

/// The file, line by line, so that comments and blank lines stay.
struct Table {
    rust: String,
    tolerance: f64,
    lines: Vec<Line>,
}

enum Line {
    Text(String),
    Rust,
    Gate(Gate),
    Flat(Flat),
}

/// Workloads that cost the same, within so many percent of the cheapest.
struct Flat {
    text: String,
    percent: f64,
    workloads: Vec<String>,
}

struct Gate {
    workload: String,
    operations: u64,
    /// Instructions for each operation.
    recorded: f64,
    /// The most that they may ever be.
    bar: Option<f64>,
}

impl Table {
    fn gates(&mut self) -> impl Iterator<Item = &mut Gate> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Gate(gate) => Some(gate),
            _ => None,
        })
    }

    /// What costs more than its like, and may not.
    fn steep(&self) -> Vec<String> {
        let cost = |workload: &String| {
            self.lines.iter().find_map(|line| match line {
                Line::Gate(gate) if gate.workload == *workload => Some(gate.recorded),
                _ => None,
            })
        };
        let mut steep = Vec::new();
        for line in &self.lines {
            let Line::Flat(flat) = line else { continue };
            let costs: Option<Vec<f64>> = flat.workloads.iter().map(cost).collect();
            let Some(costs) = costs else {
                steep.push(format!("`{}` names a workload that is not in the table", flat.text));
                continue;
            };
            let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
            let most = costs.iter().copied().fold(0.0, f64::max);
            if most > least * (1.0 + flat.percent / 100.0) {
                steep.push(format!("`{}` does not hold: {least:.1} to {most:.1}", flat.text));
            }
        }
        steep
    }
}

impl std::str::FromStr for Table {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut table = Self { rust: String::new(), tolerance: 0.0, lines: Vec::new() };
        for text in text.lines() {
            let words: Vec<&str> = text.split_whitespace().collect();
            let wrong = || format!("{TABLE}: `{text}` is no gate");
            table.lines.push(match words[..] {
                [] | ["#", ..] => Line::Text(text.to_owned()),
                ["rust", release] => {
                    table.rust = release.to_owned();
                    Line::Rust
                }
                ["tolerance", percent, "%"] => {
                    table.tolerance = percent.parse().map_err(|_| wrong())?;
                    Line::Text(text.to_owned())
                }
                ["flat", percent, "%", ref workloads @ ..] => Line::Flat(Flat {
                    text: text.to_owned(),
                    percent: percent.parse().map_err(|_| wrong())?,
                    workloads: workloads.iter().map(|&workload| workload.to_owned()).collect(),
                }),
                [workload, operations, recorded, bar] => Line::Gate(Gate {
                    workload: workload.to_owned(),
                    operations: operations.parse().map_err(|_| wrong())?,
                    recorded: recorded.parse().map_err(|_| wrong())?,
                    bar: if bar == "-" { None } else { Some(bar.parse().map_err(|_| wrong())?) },
                }),
                _ => return Err(wrong().into()),
            });
        }
        Ok(table)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Text(text) => writeln!(f, "{text}"),
            Line::Rust => writeln!(f, "rust {}", self.rust),
            Line::Gate(gate) => writeln!(f, "{gate}"),
            Line::Flat(flat) => writeln!(f, "{}", flat.text),
        })
    }
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bar = self.bar.map_or_else(|| "-".to_owned(), |bar| bar.to_string());
        let Self { workload, operations, recorded, .. } = self;
        write!(f, "{workload:<22} {operations:>11} {recorded:>13.1} {bar:>6}")
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_table_is_written_as_it_is_read() {
        let text = include_str!("../../benches/gates/gates.txt");
        let table: Table = text.parse().unwrap();
        assert_eq!(table.to_string(), text);
        assert_eq!(table.steep(), Vec::<String>::new());
    }

    #[test]
    fn what_is_to_cost_the_same_may_differ_so_much_and_no_more() {
        let steep = |cost: &str| {
            let text = format!("a 1 100.0 -\nb 1 {cost} -\nflat 15 % a b\n");
            text.parse::<Table>().unwrap().steep().len()
        };
        assert_eq!([steep("114.9"), steep("87.0")], [0, 0]);
        assert_eq!([steep("115.1"), steep("86.9")], [1, 1]);
        let unknown: Table = "a 1 100.0 -\nflat 15 % a c\n".parse().unwrap();
        assert_eq!(unknown.steep().len(), 1);
    }
}
