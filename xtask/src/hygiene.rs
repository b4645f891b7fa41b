//! Rules on files that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{Failure, cargo, fuzz};

/// A longer file under `crates/*/src` needs a reason in [`EXCUSES`].
const LONGEST: usize = 700;
const EXCUSES: &str = "xtask/long-files.txt";

/// What adapters share belongs into `midge`: each of these has at most so many lines of code, which
/// are those that are neither blank, nor comments, nor tests.
const ADAPTERS: [&str; 3] = ["crates/midge-tokio/", "crates/midge-smol/", "crates/midge-std/"];
const ADAPTER_LINES: usize = 280;

/// Signs of unfinished work, written here so that this file has none.
const UNFINISHED: &[&str] =
    &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];

/// Where Rust files of the project are.
const PLACES: &[&str] = &["crates", "xtask", "examples", "benches", "fuzz", "no-std"];

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
    let mut adapters = [0; ADAPTERS.len()];
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
        if let Some(adapter) = ADAPTERS.iter().position(|adapter| name.starts_with(adapter)) {
            adapters[adapter] += code_lines(&text);
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
    for (adapter, lines) in ADAPTERS.iter().zip(adapters) {
        if lines > ADAPTER_LINES {
            wrong.push(format!(
                "{adapter}: {lines} lines of code are more than {ADAPTER_LINES}; what is no matter \
                 of its runtime alone belongs into crates/midge/src/driver"
            ));
        }
    }
    wrong.extend(excuses.iter().map(|name| format!("{EXCUSES} names {name}, which is not there")));
    wrong.extend(corpora(&root.join("fuzz/corpus"))?);
    // Also a file; but not in an unpacked archive.
    if root.join(".git").exists() {
        wrong.extend(untracked(root)?);
    }
    verdict(&wrong)
}

/// Corpora that are larger than a clone and a run of the tests should bear.
fn corpora(directory: &Path) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(directory)? {
        let corpus = entry?;
        let name = corpus.file_name().display().to_string();
        let mut count = 0;
        for input in fs::read_dir(corpus.path())? {
            let input = input?;
            count += 1;
            if input.metadata()?.len() > fuzz::LONGEST as u64 {
                let input = input.file_name().display().to_string();
                wrong.push(format!(
                    "fuzz/corpus/{name}/{input}: an input has at most {} bytes",
                    fuzz::LONGEST
                ));
            }
        }
        if count > fuzz::MOST {
            wrong.push(format!(
                "fuzz/corpus/{name}: {count} inputs are more than {}; `cargo xtask fuzz --keep \
                 {name}` makes them fewer",
                fuzz::MOST
            ));
        }
    }
    Ok(wrong)
}

/// Packages of the workspace, and targets of links, that a clone would not have.
fn untracked(root: &Path) -> Result<Vec<String>, Failure> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`git ls-files` failed: {said}").into());
    }
    let listed = String::from_utf8(output.stdout)?;
    let files: BTreeSet<&str> = listed.split_terminator('\0').collect();
    let directories: BTreeSet<&Path> =
        files.iter().flat_map(|file| Path::new(file).ancestors().skip(1)).collect();
    let mut wrong = Vec::new();

    let metadata = cargo::output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let manifest = Path::new(manifest).strip_prefix(root)?.display().to_string();
        if !files.contains(&*manifest) {
            wrong.push(format!("{manifest}: a package of the workspace that git does not track"));
        }
    }

    for file in files.iter().filter(|file| file.ends_with(".md")) {
        // One that was just removed has no links.
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        let place = Path::new(file).parent().unwrap_or(Path::new(""));
        for (number, link) in links(&text) {
            let target = resolve(place, link);
            let tracked = target.as_ref().is_some_and(|target| {
                target.to_str().is_some_and(|target| files.contains(target))
                    || directories.contains(&**target)
            });
            if !tracked {
                wrong
                    .push(format!("{file}:{number}: a link to `{link}`, which git does not track"));
            }
        }
    }
    Ok(wrong)
}

/// The relative links of a Markdown text, `[…](link)` and `[…]: link`, with their line numbers
/// and without what follows `#`. Fenced code has none.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let defined = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        let defined = defined.and_then(|(_, rest)| rest.split_whitespace().next());
        for link in inline.chain(defined) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number, target));
            }
        }
    }
    found
}

/// The path from the root that `link` means in a file in `place`. `None` outside the root.
fn resolve(place: &Path, link: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in place.join(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => path.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
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

fn code_lines(text: &str) -> usize {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
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

#[cfg(test)]
mod tests {
    use super::{code_lines, links, resolve};
    use std::path::Path;

    #[test]
    fn relative_links_are_found_outside_of_code() {
        let text = "a [b](c.md#d) and [e](../f \"g\") [h](https://i/j) [k](#l)\n\
                    [m]: n/o.md\n```\n[p](q)\n```\n[r](mailto:s) [t](u)";
        assert_eq!(links(text), [(1, "c.md"), (1, "../f"), (2, "n/o.md"), (6, "u")]);
    }

    #[test]
    fn blank_lines_comments_and_tests_are_no_code() {
        let text = "//! A\n\nuse b;\n\n/// C.\nfn d() {\n    // e\n    f(); // g\n}\n\n\
                    #[cfg(test)]\nmod tests {\n    use h;\n}\n";
        assert_eq!(code_lines(text), 4);
    }

    #[test]
    fn a_link_counts_from_its_file() {
        let resolved = |link| resolve(Path::new("a/b"), link);
        assert_eq!(resolved("c.md").as_deref(), Some(Path::new("a/b/c.md")));
        assert_eq!(resolved("./../c/").as_deref(), Some(Path::new("a/c")));
        assert_eq!(resolved("../..").as_deref(), Some(Path::new("")));
        assert_eq!(resolved("../../../c"), None);
        assert_eq!(resolved("/c"), None);
    }
}
