//! What was measured, as lines of JSON, so that a run can be gone on with and told again.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::run::Cost;
use crate::weight::Weight;
use crate::workload::Workload;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// Something about the whole: a name and a text.
    About(String, String),
    /// Who could not be built, and why.
    Missing(String, String),
    /// What a program weighs, beside the runs.
    Weight(Weight),
    /// A run.
    Run(Run),
}

/// One run, or why it failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// From 1 on; 0 where system calls were counted.
    pub(crate) repetition: u32,
    pub(crate) contestant: String,
    pub(crate) workload: Workload,
    pub(crate) outcome: Result<Cost, String>,
}

/// The file, and what it held.
#[derive(Debug)]
pub(crate) struct Records {
    file: PathBuf,
    pub(crate) lines: Vec<Line>,
}

impl Records {
    /// Starts a new file.
    pub(crate) fn create(file: &Path) -> Result<Self, Failure> {
        File::create(file)?;
        Ok(Self { file: file.to_owned(), lines: Vec::new() })
    }

    /// Reads what there is. A last line that was cut is left out.
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file).map_err(|error| {
            format!("{}: {error}; there is no run to go on with", file.display())
        })?;
        Ok(Self { file: file.to_owned(), lines: lines(&text) })
    }

    /// What such a file says, of which there is none.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Self {
        Self { file: PathBuf::new(), lines: lines(text) }
    }

    pub(crate) fn push(&mut self, line: Line) -> Result<(), Failure> {
        let mut file = OpenOptions::new().append(true).open(&self.file)?;
        file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
        self.lines.push(line);
        Ok(())
    }

    /// Whether there is something under this name.
    pub(crate) fn tells_of(&self, name: &str) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::About(known, _) if known == name))
    }

    /// What was weighed last, in the order of the programs.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        let mut all: Vec<&Weight> = Vec::new();
        for line in &self.lines {
            let Line::Weight(weight) = line else { continue };
            match all.iter_mut().find(|known| known.name == weight.name) {
                Some(known) => *known = weight,
                None => all.push(weight),
            }
        }
        all
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.lines.iter().filter_map(|line| match line {
            Line::Run(run) => Some(run),
            _ => None,
        })
    }

    /// The costs of the repetitions of a contestant.
    pub(crate) fn costs(
        &self,
        contestant: &str,
        workload: Workload,
    ) -> impl Iterator<Item = (u32, &Cost)> {
        let mine = self.runs().filter(move |run| {
            run.contestant == contestant && run.workload == workload && run.repetition > 0
        });
        mine.filter_map(|run| Some((run.repetition, run.outcome.as_ref().ok()?)))
    }

    /// Why runs failed.
    pub(crate) fn failures(&self, contestant: &str, workload: Workload) -> Vec<&str> {
        let mine = self.runs().filter(|run| run.contestant == contestant);
        let mine = mine.filter(|run| run.workload == workload && run.repetition > 0);
        mine.filter_map(|run| run.outcome.as_ref().err().map(String::as_str)).collect()
    }

    /// Allocations for a message.
    pub(crate) fn allocations(&self, contestant: &str, workload: Workload) -> Option<f64> {
        let cost = self.traced(contestant, workload)?;
        Some(cost.allocations? as f64 / cost.count as f64)
    }

    /// System calls for a thousand messages.
    pub(crate) fn calls(&self, contestant: &str, workload: Workload) -> Option<f64> {
        let cost = self.traced(contestant, workload)?;
        Some(cost.calls? as f64 * 1000.0 / cost.count as f64)
    }

    fn traced(&self, contestant: &str, workload: Workload) -> Option<&Cost> {
        let mine = self.runs().filter(|run| {
            run.contestant == contestant && run.workload == workload && run.repetition == 0
        });
        mine.last()?.outcome.as_ref().ok()
    }
}

fn lines(text: &str) -> Vec<Line> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
