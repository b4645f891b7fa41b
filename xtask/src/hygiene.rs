//! Rules on source files that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Failure, cargo};

/// A longer file under `crates/*/src` needs a reason in [`EXCUSES`].
const LONGEST: usize = 700;
const EXCUSES: &str = "xtask/long-files.txt";

/// Signs of unfinished work, written here so that this file has none.
const UNFINISHED: &[&str] =
    &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];

/// Where Rust files of the project are.
const PLACES: &[&str] = &["crates", "xtask", "examples", "benches", "fuzz"];

/// Checks all files, and lists every breach.
pub(crate) fn check() -> Result<(), Failure> {
    let root = cargo::root();
    let mut excuses = excuses(&fs::read_to_string(root.join(EXCUSES))?)?;
    let mut files = Vec::new();
    for place in PLACES {
        rust_files(&root.join(place), &mut files)?;
    }
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(root)?.display().to_string();
        for (number, line) in (1..).zip(text.lines()) {
            for sign in UNFINISHED.iter().filter(|sign| line.contains(**sign)) {
                wrong.push(format!("{name}:{number}: `{sign}` is unfinished work"));
            }
        }
        if !is_library_source(&name) {
            continue;
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: the first line must say (`//!`) what the file is for"));
        }
        let length = text.lines().count();
        let excused = excuses.remove(&name);
        if length > LONGEST && !excused {
            wrong.push(format!(
                "{name}: {length} lines are more than {LONGEST}; split it, or give a reason in {EXCUSES}"
            ));
        }
        if length <= LONGEST && excused {
            wrong.push(format!("{name}: no longer too long; take it out of {EXCUSES}"));
        }
    }
    wrong.extend(excuses.iter().map(|name| format!("{EXCUSES} names {name}, which is not there")));
    verdict(&wrong)
}

/// Turns a list of breaches into a failure that shows them.
pub(crate) fn verdict(wrong: &[String]) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} breaches:\n  {}", wrong.len(), wrong.join("\n  ")).into())
}

/// Files that may be long: a path and a reason a line, `#` for comments.
fn excuses(text: &str) -> Result<BTreeSet<String>, Failure> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_once(char::is_whitespace) {
            Some((name, _)) => Ok(name.to_owned()),
            None => Err(format!("{EXCUSES}: `{line}` has no reason").into()),
        })
        .collect()
}

fn is_library_source(name: &str) -> bool {
    let mut parts = name.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src")
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
