//! What was measured as a page of Markdown, with its plots beside it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::contestant::{self, Contestant, PAIRS};
use crate::record::{Line, Records};
use crate::run::Cost;
use crate::statistics::{Spread, nanoseconds, ratio};
use crate::workload::{Kind, Workload};
use crate::{Failure, chart, profile, promises};

const INTRODUCTION: &str = "\
# What Midge costs beside other clients

Written by `cargo xtask bench peers`. [benches/peers](../benches/peers/README.md) tells how it is
measured, and who has no part in what. The numbers are processor time of the client's process, user and
system, for each message or request: the median of the repetitions, and in parentheses the least and
the most.

**These numbers are provisional.** They come from a small virtual machine whose two cores other
programs used at the same time. A number alone says little; ratios are taken within a repetition,
whose runs of one workload follow each other.
";

/// Writes the page `performance.md` and its plots into a directory. Gives the bars that were missed and of
/// which `missed.md` says nothing.
pub(crate) fn write(records: &Records, directory: &Path) -> Result<Vec<String>, Failure> {
    let plots = directory.join("performance");
    fs::create_dir_all(&plots)?;
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n| | |\n|---|---|\n");
    for (number, line) in records.lines.iter().enumerate() {
        let later = &records.lines[number + 1..];
        if let Line::About(name, text) = line
            // Said again by a run that went on with another.
            && !later.iter().any(|line| matches!(line, Line::About(again, _) if again == name))
        {
            let _ = writeln!(page, "| {name} | {text} |");
        }
    }
    missing(&mut page, records);
    let wordless = promises::write(&mut page, records);
    page.push_str(&profile::section(directory));
    behind(&mut page, records);
    weights(&mut page, records);
    for kind in Kind::ALL {
        let workloads: Vec<Workload> = Workload::all()
            .into_iter()
            .filter(|workload| workload.kind == kind && has_runs(records, *workload))
            .collect();
        if workloads.is_empty() {
            continue;
        }
        let name = kind.name();
        fs::write(plots.join(format!("{name}.svg")), chart::chart(records, kind, &workloads))?;
        let title = kind.title();
        let _ = writeln!(page, "\n## {}{}\n", title[..1].to_uppercase(), &title[1..]);
        let _ = writeln!(page, "![{title}](performance/{name}.svg)\n");
        let each = kind.unit();
        let _ = writeln!(page, "Nanoseconds for each {each}:\n");
        table(&mut page, &workloads, |one, workload| {
            let spread = Spread::of(nanoseconds(records, one.name, workload).iter().map(|it| it.1));
            spread.map(|Spread { least, median, most }| {
                format!("{} ({}–{})", figure(median), figure(least), figure(most))
            })
        });
        let _ = writeln!(page, "\nRatios of Midge to others, within a repetition:\n");
        ratios(&mut page, records, &workloads);
        if kind.has_latency() {
            latencies(&mut page, records, &workloads);
        }
        if kind.is_memory() {
            let _ = writeln!(page, "\nBytes of memory for each {each}:\n");
            table(&mut page, &workloads, |one, workload| {
                let each = |cost: &Cost| cost.grown as f64 / cost.count as f64;
                median(records, one, workload, each).map(figure)
            });
        }
        if kind == Kind::Burst {
            let _ = writeln!(
                page,
                "\nMessages that were lost, of a million (nats.py: of a quarter), at the worst:\n"
            );
            table(&mut page, &workloads, |one, workload| {
                let costs = records.costs(one.name, workload);
                Spread::of(costs.map(|(_, cost)| cost.lost as f64)).map(|lost| figure(lost.most))
            });
        }
        let _ = writeln!(page, "\nThousand {each}s a second, as the wall clock has it:\n");
        table(&mut page, &workloads, |one, workload| {
            median(records, one, workload, |cost| cost.count as f64 / cost.wall / 1e3).map(figure)
        });
        let _ = writeln!(
            page,
            "\nSystem calls and context switches for a thousand {each}s, the former of a run under \
             strace, and MB of memory at the highest:\n"
        );
        table(&mut page, &workloads, |one, workload| {
            let per_thousand = |cost: &Cost| cost.switches as f64 * 1e3 / cost.count as f64;
            let switches = median(records, one, workload, per_thousand)?;
            let memory = median(records, one, workload, |cost| cost.memory as f64 / 1e6)?;
            let calls = records.calls(one.name, workload).map_or("–".to_owned(), figure);
            Some(format!("{calls}, {}, {}", figure(switches), figure(memory)))
        });
        let allocations = |one: &Contestant, workload| {
            records.allocations(one.name, workload).map(|count| format!("{count:.2}"))
        };
        let counted = |one| workloads.iter().any(|&workload| allocations(one, workload).is_some());
        if contestant::ALL.iter().any(counted) {
            let _ =
                writeln!(page, "\nAllocations for a {each}, of those that take them from libc:\n");
            table(&mut page, &workloads, allocations);
        }
    }
    fs::write(directory.join("performance.md"), page)?;
    Ok(wordless)
}

fn has_runs(records: &Records, workload: Workload) -> bool {
    contestant::ALL.iter().any(|one| records.costs(one.name, workload).next().is_some())
}

/// Who has no part, and why.
fn missing(page: &mut String, records: &Records) {
    let mut lines = Vec::new();
    for line in &records.lines {
        if let Line::Missing(name, why) = line {
            let why = why.lines().next().unwrap_or_default();
            lines.push(format!("- {name} was left out: {why}"));
        }
    }
    for one in contestant::ALL {
        for workload in Workload::all() {
            let failures = records.failures(one.name, workload);
            if let Some(why) = failures.last() {
                let count = failures.len();
                let (name, what, size) = (one.name, workload.kind.title(), workload.size);
                let unit = workload.kind.dimension();
                lines.push(format!("- {name}, {what}, {size} {unit}: {count} runs failed; {why}"));
            }
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(page, "\n{}", lines.join("\n"));
    }
}

/// Where a client costs less than the Midge of its flavour.
fn behind(page: &mut String, records: &Records) {
    let mut lines = String::new();
    for workload in Workload::all() {
        for &(one, other) in PAIRS.iter().filter(|pair| pair.1 != contestant::LIMIT) {
            if let Some(spread) = ratio(records, (one, other), workload)
                && spread.median > 1.0
            {
                let _ = writeln!(
                    lines,
                    "| {}, {} {} | {one} to {other} | {} |",
                    workload.kind.title(),
                    workload.size,
                    workload.kind.dimension(),
                    ratio_text(spread)
                );
            }
        }
    }
    if !lines.is_empty() {
        let _ = write!(
            page,
            "\n## Where Midge is behind\n\n| workload | ratio of | measured |\n|---|---|---|\n{lines}"
        );
    }
}

/// Crates, builds and sizes.
fn weights(page: &mut String, records: &Records) {
    let all = records.weights();
    if all.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "\n## Weight\n\nA program that connects, publishes once and flushes: the packages that are built \
         for it, seconds of processor time of a release build from nothing, and bytes of the stripped \
         program.\n\n| | crates | build | size |\n|---|---|---|---|\n"
    );
    for weight in all {
        let (name, crates) = (&weight.name, weight.crates);
        let (cpu, bytes) = (figure(weight.cpu), figure(weight.bytes as f64));
        let _ = writeln!(page, "| {name} | {crates} | {cpu} | {bytes} |");
    }
}

fn ratios(page: &mut String, records: &Records, workloads: &[Workload]) {
    head(page, workloads);
    for &pair in PAIRS {
        let cells = workloads.iter().map(|workload| ratio(records, pair, *workload));
        let cells: Vec<_> = cells.map(|cell| cell.map(ratio_text)).collect();
        row(page, &format!("{} to {}", pair.0, pair.1), &cells);
    }
}

fn latencies(page: &mut String, records: &Records, workloads: &[Workload]) {
    let _ = writeln!(
        page,
        "\nMicroseconds within which 50, 99 and 99.9 % of the requests were answered, as the client \
         saw it; medians of the repetitions:\n"
    );
    table(page, workloads, |one, workload| {
        let at = |place: usize| {
            let costs = records.costs(one.name, workload);
            let values = costs.filter_map(|(_, cost)| Some(cost.latency?[place] / 1e3));
            Spread::of(values).map(|spread| figure(spread.median))
        };
        Some(format!("{}, {}, {}", at(0)?, at(1)?, at(2)?))
    });
}

// ---- tables ------------------------------------------------------------------------------

fn table(
    page: &mut String,
    workloads: &[Workload],
    cell: impl Fn(&Contestant, Workload) -> Option<String>,
) {
    head(page, workloads);
    for one in contestant::ALL {
        let cells: Vec<_> = workloads.iter().map(|workload| cell(one, *workload)).collect();
        row(page, one.name, &cells);
    }
}

fn head(page: &mut String, workloads: &[Workload]) {
    let sizes: Vec<String> =
        workloads.iter().map(|it| format!(" {} {} |", it.size, it.kind.dimension())).collect();
    let _ = writeln!(page, "| |{}\n|---|{}", sizes.concat(), "---|".repeat(workloads.len()));
}

/// A row, if there is anything in it.
fn row(page: &mut String, name: &str, cells: &[Option<String>]) {
    if cells.iter().all(Option::is_none) {
        return;
    }
    let cells: Vec<String> =
        cells.iter().map(|cell| format!(" {} |", cell.as_deref().unwrap_or("–"))).collect();
    let _ = writeln!(page, "| {name} |{}", cells.concat());
}

pub(crate) fn median(
    records: &Records,
    one: &Contestant,
    workload: Workload,
    value: impl Fn(&Cost) -> f64,
) -> Option<f64> {
    let costs = records.costs(one.name, workload);
    Spread::of(costs.map(|(_, cost)| value(cost))).map(|spread| spread.median)
}

pub(crate) fn ratio_text(Spread { least, median, most }: Spread) -> String {
    format!("{median:.2} ({least:.2}–{most:.2})")
}

/// Three digits, with commas between thousands.
pub(crate) fn figure(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
