//! The copy of the workspace that mutants are put into, and the putting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::list::{Edit, Mutant};
use super::{WORK, read};
use crate::{Failure, cargo};

const SOURCES: &str = "crates/midge-proto/src";

/// A copy of every file of the repository, with a directory of its own for what is built of it.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// Makes the copy like the repository. What is alike already is left alone, so that only what
    /// changed is built again.
    pub(super) fn copy() -> Result<Self, Failure> {
        let tree = Self(cargo::root().join(WORK).join("tree"));
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(cargo::root())
            .output()?;
        if !listed.status.success() {
            let said = String::from_utf8_lossy(&listed.stderr);
            return Err(format!("`git ls-files` failed: {said}").into());
        }
        let listed = String::from_utf8(listed.stdout)?;
        let files: BTreeSet<&Path> = listed
            .split_terminator('\0')
            .map(Path::new)
            .filter(|file| cargo::root().join(file).is_file())
            .collect();
        tree.remove_all_but(&files)?;
        for file in files {
            let wanted = fs::read(cargo::root().join(file))?;
            let place = tree.0.join(file);
            if fs::read(&place).is_ok_and(|there| there == wanted) {
                continue;
            }
            fs::create_dir_all(place.parent().unwrap_or(&tree.0))?;
            fs::write(place, wanted)?;
        }
        Ok(tree)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    /// Removes what a former copy has and the repository has not.
    fn remove_all_but(&self, files: &BTreeSet<&Path>) -> Result<(), Failure> {
        let mut directories = vec![self.0.clone()];
        while let Some(directory) = directories.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries {
                let path = entry?.path();
                if path == self.0.join("target") {
                } else if path.is_dir() {
                    directories.push(path);
                } else if !files.contains(path.strip_prefix(&self.0)?) {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the mutant in.
    pub(super) fn apply(&self, mutant: &Mutant) -> Result<(), Failure> {
        for (file, text) in mutated(cargo::root(), mutant)? {
            fs::write(self.0.join(SOURCES).join(file), text)?;
        }
        Ok(())
    }

    /// Takes it out again.
    pub(super) fn restore(&self, mutant: &Mutant) -> Result<(), Failure> {
        for edit in mutant.edits {
            let file = Path::new(SOURCES).join(edit.file);
            // Not copied: the copy would be as old as the original, and cargo sees no change.
            fs::write(self.0.join(&file), read(&cargo::root().join(&file))?)?;
        }
        Ok(())
    }
}

/// The files that a mutant changes, each with the text that it then has.
pub(super) fn mutated(
    root: &Path,
    mutant: &Mutant,
) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut texts = BTreeMap::new();
    for edit in mutant.edits {
        let text = match texts.remove(edit.file) {
            Some(text) => text,
            None => read(&root.join(SOURCES).join(edit.file))?,
        };
        texts.insert(edit.file, replaced(&text, edit)?);
    }
    Ok(texts)
}

fn replaced(text: &str, edit: &Edit) -> Result<String, Failure> {
    let found: Vec<_> = text
        .char_indices()
        .filter_map(|(at, _)| Some((at, at + length(&text[at..], edit.find)?)))
        .collect();
    match found[..] {
        [(start, end)] => Ok([&text[..start], edit.replace, &text[end..]].concat()),
        [] => Err(format!(
            "{} has no `{}` any more: let the mutant follow the code",
            edit.file, edit.find
        )
        .into()),
        _ => Err(format!("{} has `{}` {} times", edit.file, edit.find, found.len()).into()),
    }
}

/// How many bytes at the start of `text` are `pattern`, whose blanks stand for any number of blanks
/// and line ends.
fn length(text: &str, pattern: &str) -> Option<usize> {
    let mut rest = text;
    for (index, word) in pattern.split_whitespace().enumerate() {
        let blanks = rest.len() - rest.trim_start().len();
        if (index > 0) != (blanks > 0) {
            return None;
        }
        rest = rest[blanks..].strip_prefix(word)?;
    }
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn edit(find: &'static str) -> Edit {
        Edit { file: "f.rs", find, replace: "z" }
    }

    #[test]
    fn blanks_of_an_edit_stand_for_any() {
        let text = "a {\n    b(1);\n    b(2);\n}\n";
        assert_eq!(replaced(text, &edit("a { b(1);")).unwrap(), "z\n    b(2);\n}\n");
        assert_eq!(replaced(text, &edit("b(2); }")).unwrap(), "a {\n    b(1);\n    z\n");
    }

    #[test]
    fn what_is_not_there_exactly_once_is_a_failure() {
        for find in ["c", "a{", "b", "b (1)"] {
            assert!(replaced("a {\n    b(1);\n    b(2);\n}\n", &edit(find)).is_err(), "{find}");
        }
    }
}
