//! The table of mutants and the tests that see them, in the repository.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use super::list::Mutant;
use super::read;
use crate::{Failure, cargo};

const TABLE: &str = "docs/mutants.md";

/// So many tests are named of those that see a mutant.
const NAMED: usize = 2;

const HEAD: &str = "\
# Mutants of the core

Each line is a fault that was put into a copy of `midge-proto` on purpose, and the tests that saw it. The
faults are in `xtask/src/mutants/list.rs`, each with tests that must see it, and `cargo xtask mutants` holds
them to it. `cargo xtask mutants --keep` runs all tests on each and writes this file. What cargo-mutants makes
of the connection must be seen too, unless `.cargo/mutants.toml` has a reason: `cargo xtask mutants --wide`.

| mutant | what breaks | seen in `midge-proto` by | seen in `midge-sim` by |
|---|---|---|---|
";

/// What a run over all tests found for one mutant. `None`: there is no such package.
pub(super) struct Row {
    pub(super) mutant: &'static Mutant,
    pub(super) proto: Option<Vec<String>>,
    pub(super) sim: Option<Vec<String>>,
}

impl Row {
    pub(super) fn is_missed(&self) -> bool {
        [&self.proto, &self.sim].into_iter().flatten().all(Vec::is_empty)
    }
}

pub(super) fn write(rows: &[Row]) -> Result<(), Failure> {
    let mut text = HEAD.to_owned();
    for Row { mutant, proto, sim } in rows {
        let (proto, sim) = (cell(proto.as_deref()), cell(sim.as_deref()));
        writeln!(text, "{}{proto} | {sim} |", line(mutant))?;
    }
    fs::write(cargo::root().join(TABLE), text)?;
    println!("{TABLE} is written");
    Ok(())
}

/// What the table says of a mutant, up to the tests.
fn line(mutant: &Mutant) -> String {
    format!("| `{}` | {} | ", mutant.name, mutant.breaks)
}

fn cell(tests: Option<&[String]>) -> String {
    let Some(tests) = tests else { return "-".to_owned() };
    if tests.is_empty() {
        return "none".to_owned();
    }
    let named: Vec<String> = tests.iter().take(NAMED).map(|test| format!("`{test}`")).collect();
    match tests.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Mutants that the table lacks or tells of in other words, and those that are gone.
pub(super) fn check(mutants: &[Mutant]) -> Result<Vec<String>, Failure> {
    let text = read(&cargo::root().join(TABLE))?;
    let is_mutant = |line: &&str| line.starts_with("| `");
    let name = |line: &str| line.split('`').nth(1).unwrap_or_default().to_owned();
    let mut lines: BTreeMap<String, &str> =
        text.lines().filter(is_mutant).map(|line| (name(line), line)).collect();
    let again = "run `cargo xtask mutants --keep`";
    let mut wrong = Vec::new();
    for mutant in mutants {
        match lines.remove(mutant.name) {
            Some(found) if found.starts_with(&line(mutant)) => {}
            Some(_) => {
                wrong.push(format!("{TABLE}: {} breaks something else: {again}", mutant.name))
            }
            None => wrong.push(format!("{TABLE} has no {}: {again}", mutant.name)),
        }
    }
    wrong.extend(lines.keys().map(|name| format!("{TABLE}: there is no mutant {name}: {again}")));
    Ok(wrong)
}
