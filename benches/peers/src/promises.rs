//! The bars of a report: what is met, by how much the others are missed, and what a person wrote of
//! those in `missed.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::bars::Bar;
use crate::contestant::LIMIT;
use crate::record::Records;
use crate::report::{figure, median, ratio_text};
use crate::run::Cost;
use crate::statistics::{Spread, held, nanoseconds};
use crate::workload::{Kind, Workload};
use crate::{bars, contestant};

/// Where words about bars that were missed are kept: `## ` and how the names of these bars begin, or
/// several, separated by `; `, then the text.
const MISSED: &str = include_str!("../missed.md");

/// Writes the bars. Gives the names of those that were missed and have no words.
pub(crate) fn write(page: &mut String, records: &Records) -> Vec<String> {
    let mut missed = Vec::new();
    let mut lines = String::new();
    let (mut met, mut all, mut below) = (0, 0, 0);
    for bar in bars::all() {
        let Some(spread) = held(records, &bar) else { continue };
        let is_met = spread.median <= bar.most;
        met += u32::from(is_met);
        all += 1;
        let limit = if is_met { None } else { limit_above(records, &bar) };
        below += u32::from(limit.is_some());
        let limit = limit.map_or(String::new(), |it| format!("; the limit itself is {it:.2}"));
        let _ = writeln!(
            lines,
            "| {}, {} {} | {} to {}, {} | {:.2} | {} | {}{limit} |",
            bar.workload.kind.title(),
            bar.workload.size,
            bar.workload.kind.dimension(),
            bar.one,
            bar.other,
            bar.measure.name(),
            bar.most,
            ratio_text(spread),
            verdict(spread.median, bar.most)
        );
        if !is_met {
            missed.push((bar.name(), spread.median / bar.most));
        }
    }
    if all > 0 {
        let _ = write!(
            page,
            "\n## Bars\n\nWhat Midge sets itself, as ratios; {met} of {all} are met.{} Bars in \
             instructions, and what is missed of them, are in [benches](../benches/README.md).\n\n\
             | workload | ratio of | at most | measured | |\n|---|---|---|---|---|\n{lines}",
            match below {
                0 => String::new(),
                _ => format!(
                    " Below what plain sockets cost: {below} of the others. Their rows say what the limit \
                     itself is, by the same measure."
                ),
            }
        );
    }
    let amounts = amounts(records);
    let mut lines = String::new();
    for Amount { what, most, measured } in &amounts {
        let verdict = verdict(*measured, *most);
        let _ =
            writeln!(lines, "| {what} | {} | {} | {verdict} |", figure(*most), figure(*measured));
        if measured > most {
            missed.push((what.clone(), measured / most));
        }
    }
    if !amounts.is_empty() {
        let _ = write!(
            page,
            "\nAnd in amounts:\n\n| what | at most | measured | |\n|---|---|---|---|\n{lines}"
        );
    }
    told(page, &missed)
}

/// What the limit is in terms of the peer, where that is more than the bar allows.
fn limit_above(records: &Records, bar: &Bar) -> Option<f64> {
    if bar.other == LIMIT {
        return None;
    }
    let limit = held(records, &Bar { one: LIMIT, ..*bar })?.median;
    (limit > bar.most).then_some(limit)
}

fn verdict(measured: f64, most: f64) -> String {
    if measured <= most {
        return "met".to_owned();
    }
    if most > 0.0 {
        return format!("**missed by {:.2}×**", measured / most);
    }
    "**missed**".to_owned()
}

/// What was tried, and what the profile shows, for each that was missed; those that have the same words
/// together.
fn told(page: &mut String, missed: &[(String, f64)]) -> Vec<String> {
    let mut wordless = Vec::new();
    let mut by_text: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let texts = texts();
    for (name, factor) in missed {
        let fitting = texts.iter().enumerate().filter_map(|(number, (names, _))| {
            let fits = names.iter().filter(|start| name.starts_with(*start));
            Some((fits.map(|start| start.len()).max()?, number))
        });
        // The closest words.
        match fitting.max() {
            Some((_, number)) => {
                by_text.entry(number).or_default().push(format!("{name} ({factor:.2}×)"));
            }
            None => wordless.push(name.clone()),
        }
    }
    if !missed.is_empty() {
        page.push_str("\n### What was missed, and why\n");
    }
    for (number, names) in by_text {
        let _ = write!(page, "\n- {}\n\n", names.join("\n- "));
        let _ = writeln!(page, "{}", texts[number].1);
    }
    if !wordless.is_empty() {
        let _ = writeln!(page, "\nNothing was written yet about:\n\n- {}", wordless.join("\n- "));
    }
    wordless
}

/// How names begin, and the words about these.
fn texts() -> Vec<(Vec<&'static str>, &'static str)> {
    let sections = MISSED.split("\n## ").skip(1);
    let section = |section: &'static str| {
        let (names, text) = section.split_once('\n')?;
        Some((names.split("; ").map(str::trim).collect(), text.trim()))
    };
    sections.filter_map(section).collect()
}

/// A promise that is no ratio of times, and what was measured.
struct Amount {
    what: String,
    most: f64,
    measured: f64,
}

fn amounts(records: &Records) -> Vec<Amount> {
    let mut all = Vec::new();
    let workload = |kind| Workload::all().into_iter().find(|workload| workload.kind == kind);
    let grown = |cost: &Cost| cost.grown as f64 / cost.count as f64;
    for &(kind, name, most) in bars::MEMORY {
        if let Some(measured) = of(records, name, workload(kind), grown) {
            let what = format!("{name}: bytes of memory of each {}", kind.unit());
            all.push(Amount { what, most, measured });
        }
    }
    for &(name, most) in bars::SUBSCRIBING {
        let Some(workload) = workload(Kind::Subscriptions) else { continue };
        let times = nanoseconds(records, name, workload);
        if let Some(spread) = Spread::of(times.into_iter().map(|(_, time)| time)) {
            let what = format!("{name}: processor nanoseconds of each subscription");
            all.push(Amount { what, most, measured: spread.median });
        }
    }
    let (names, bytes) = bars::BURST;
    for name in names {
        let Some(workload) = workload(Kind::Burst) else { continue };
        let costs = || records.costs(name, workload).map(|(_, cost)| cost);
        if let Some(lost) = Spread::of(costs().map(|cost| cost.lost as f64)) {
            let what = format!("{name}: messages of a burst that were lost, at the worst");
            all.push(Amount { what, most: 0.0, measured: lost.most });
        }
        if let Some(memory) = Spread::of(costs().map(|cost| cost.memory as f64)) {
            let what = format!("{name}: bytes of memory in a burst, at the worst");
            all.push(Amount { what, most: bytes, measured: memory.most });
        }
    }
    let weights = records.weights();
    let weight = |name: &str| weights.iter().find(|weight| weight.name == name).copied();
    for &(name, crates, bytes) in bars::WEIGHT {
        let Some(weight) = weight(name) else { continue };
        let what = format!("{name}: crates");
        all.push(Amount { what, most: crates as f64, measured: weight.crates as f64 });
        if let Some(bytes) = bytes {
            let what = format!("{name}: bytes of a stripped program");
            all.push(Amount { what, most: bytes as f64, measured: weight.bytes as f64 });
        }
    }
    for &(one, other) in bars::BUILDS {
        if let (Some(mine), Some(theirs)) = (weight(one), weight(other)) {
            let what = format!("{one}: a cold build, in terms of that of {other}");
            all.push(Amount { what, most: 0.5, measured: mine.cpu / theirs.cpu });
        }
    }
    all
}

fn of(
    records: &Records,
    name: &str,
    workload: Option<Workload>,
    value: impl Fn(&Cost) -> f64,
) -> Option<f64> {
    let one = contestant::ALL.iter().find(|one| one.name == name)?;
    median(records, one, workload?, value)
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::record::Records;

    /// One workload, in which Midge and async-nats on one thread and the limit had these costs.
    fn page(midge: &[f64], peer: &[f64], limit: &[f64]) -> String {
        let mut lines = String::new();
        for (name, costs) in [("midge-tokio-ct", midge), ("async-nats-ct", peer), ("limit", limit)]
        {
            for (number, cpu) in costs.iter().enumerate() {
                lines.push_str(&format!(
                    "{{\"run\":{{\"repetition\":{},\"contestant\":\"{name}\",\
                     \"workload\":{{\"kind\":\"js-consume\",\"size\":128}},\"outcome\":{{\"Ok\":{{\
                     \"count\":1,\"cpu\":{cpu},\"wall\":1,\"switches\":0,\"memory\":0,\
                     \"calls\":null,\"latency\":null}}}}}}}}\n",
                    number + 1
                ));
            }
        }
        let mut page = String::new();
        write(&mut page, &Records::parse(&lines));
        page
    }

    fn row(page: &str) -> &str {
        page.lines().find(|line| line.starts_with("| receive from a stream")).expect("a row")
    }

    #[test]
    fn a_bar_below_what_a_socket_costs_says_so() {
        // Ratios of the limit are 0.8, 0.74 and 0.5, each within its repetition.
        let page = page(&[9e-7, 9e-7, 9e-7], &[1e-6, 1e-6, 2e-6], &[8e-7, 7.4e-7, 1e-6]);
        let row = row(&page);
        assert!(row.ends_with("| **missed by 2.70×**; the limit itself is 0.74 |"), "{row}");
        assert!(
            page.contains("0 of 1 are met. Below what plain sockets cost: 1 of the others."),
            "{page}"
        );
    }

    #[test]
    fn a_bar_that_a_socket_meets_is_only_missed() {
        let page = page(&[9e-7], &[1e-6], &[3e-7]);
        let row = row(&page);
        assert!(row.ends_with("| **missed by 2.70×** |"), "{row}");
        assert!(page.contains("0 of 1 are met.\n"), "{page}");
    }

    #[test]
    fn a_bar_that_is_met_says_nothing_of_the_limit() {
        let page = page(&[3e-7], &[1e-6], &[4e-7]);
        let row = row(&page);
        assert!(row.ends_with("| met |"), "{row}");
    }
}
