//! Mutants: faults put into a copy of the core on purpose, each of which a test must see.

mod list;
mod suite;
mod table;
mod tree;
mod wide;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use crate::{Failure, cargo, hygiene};
use list::{MUTANTS, Mutant};
use suite::{PROTO, Ran, SIM, Suite};
use table::Row;
use tree::Tree;

/// The copy, what is built of it, and logs.
const WORK: &str = "target/mutants";

/// `mutants [NAME…]`, `mutants --keep`, `mutants --check`, `mutants --list` and
/// `mutants --wide [FILE…]`.
pub(crate) fn run(args: &[&str]) -> Result<(), Failure> {
    match *args {
        ["--check"] => check(),
        ["--list"] => {
            MUTANTS.iter().for_each(|mutant| println!("{:<44} {}", mutant.name, mutant.breaks));
            Ok(())
        }
        ["--keep"] => keep(),
        ["--wide", ref files @ ..] => wide::run(files),
        _ => try_all(&chosen(args)?),
    }
}

/// Without compiling anything: every mutant applies, the tests named beside it are there, and the
/// table in the repository is of these mutants.
pub(crate) fn check() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for mutant in MUTANTS {
        let name = mutant.name;
        if !names.insert(name) {
            wrong.push(format!("{name}: there are two of this name"));
        }
        if let Err(failure) = tree::mutated(cargo::root(), mutant) {
            wrong.push(format!("{name}: {failure}"));
        }
        if mutant.proto.is_empty() && mutant.sim.is_empty() {
            wrong.push(format!("{name}: no test is named that must catch it"));
        }
    }
    for suite in [PROTO, SIM].iter().filter(|suite| suite.is_there(cargo::root())) {
        let known = suite.functions(cargo::root())?;
        for mutant in MUTANTS {
            for test in suite.of(mutant) {
                let function = test.rsplit("::").next().unwrap_or(test);
                if !known.contains(function) {
                    wrong.push(format!("{}: {} has no test {test}", mutant.name, suite.package));
                }
            }
        }
    }
    wrong.extend(table::check(MUTANTS)?);
    hygiene::verdict(&wrong)
}

fn chosen(names: &[&str]) -> Result<Vec<&'static Mutant>, Failure> {
    if names.is_empty() {
        return Ok(MUTANTS.iter().collect());
    }
    let find = |name: &&str| {
        let found = MUTANTS.iter().find(|mutant| mutant.name == *name);
        found.ok_or_else(|| format!("there is no mutant {name}; --list names them").into())
    };
    names.iter().map(find).collect()
}

/// Whether the tests that are named beside a mutant see it.
fn try_all(mutants: &[&'static Mutant]) -> Result<(), Failure> {
    check()?;
    let _lock = lock()?;
    let tree = Tree::copy()?;
    let suites: Vec<Suite> =
        [SIM, PROTO].into_iter().filter(|suite| suite.is_there(tree.root())).collect();
    for suite in &suites {
        let wanted: BTreeSet<&str> =
            mutants.iter().flat_map(|mutant| suite.of(mutant)).copied().collect();
        let wanted: Vec<&str> = wanted.into_iter().collect();
        sound(suite, &suite.run(&tree, &wanted)?)?;
    }
    let mut wrong = Vec::new();
    for mutant in mutants {
        let start = Instant::now();
        tree.apply(mutant)?;
        for suite in suites.iter().filter(|suite| !suite.of(mutant).is_empty()) {
            let ran = suite.run(&tree, suite.of(mutant)).map_err(|why| named(mutant, why))?;
            let seconds = start.elapsed().as_secs_f64();
            for test in suite.of(mutant) {
                let caught = ran.is_caught_by(test);
                let verdict = if caught { "caught" } else { "NOT CAUGHT" };
                println!("{:<44} {verdict:<10} {seconds:>6.1} s  {test}", mutant.name);
                if !caught {
                    wrong.push(format!("{}: not seen by {test} of {}", mutant.name, suite.package));
                }
            }
        }
        tree.restore(mutant)?;
    }
    hygiene::verdict(&wrong)?;
    println!("all {} mutants are caught", mutants.len());
    Ok(())
}

/// Runs every test on every mutant, and writes down which of them see it.
fn keep() -> Result<(), Failure> {
    let _lock = lock()?;
    let tree = Tree::copy()?;
    let suites: Vec<Suite> =
        [PROTO, SIM].into_iter().filter(|suite| suite.is_there(tree.root())).collect();
    for suite in &suites {
        sound(suite, &suite.run(&tree, &[])?)?;
    }
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for mutant in MUTANTS {
        tree.apply(mutant)?;
        let mut row = Row { mutant, proto: None, sim: None };
        for suite in &suites {
            let ran = suite.run(&tree, &[]).map_err(|why| named(mutant, why))?;
            let caught = ran.catchers(suite.of(mutant));
            println!("{:<44} {:>4} tests of {}", mutant.name, caught.len(), suite.package);
            *if *suite == SIM { &mut row.sim } else { &mut row.proto } = Some(caught);
        }
        tree.restore(mutant)?;
        if row.is_missed() {
            wrong.push(format!("{}: no test sees it", mutant.name));
        }
        rows.push(row);
    }
    hygiene::verdict(&wrong)?;
    table::write(&rows)
}

/// A test that fails without a mutant catches none.
fn sound(suite: &Suite, ran: &Ran) -> Result<(), Failure> {
    if ran.failed.is_empty() && ran.unfinished.is_empty() {
        return Ok(());
    }
    let failed: Vec<&str> = ran.failed.iter().chain(&ran.unfinished).map(String::as_str).collect();
    Err(format!("without any mutant, these tests of {} fail: {failed:?}", suite.package).into())
}

fn named(mutant: &Mutant, why: Failure) -> Failure {
    format!("{}: {why}", mutant.name).into()
}

/// There is one copy.
fn lock() -> Result<File, Failure> {
    let work = cargo::root().join(WORK);
    fs::create_dir_all(&work)?;
    let lock = File::create(work.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// The text of a file, named where it cannot be read.
fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
