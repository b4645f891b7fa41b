//! What is told of a violation: the history of the key, and what was on the wire.

use std::fmt;

use super::{History, Operation, Violation, search};
use crate::recording::Passed;

/// Bytes of one operation that are shown.
const SHOWN: usize = 16 * 1024;

/// A violation with its evidence. Made by [`History::report`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong.
    pub violation: Violation,
    /// All operations on the keys that are concerned, in the order of the calls.
    pub operations: Vec<Operation>,
    /// Those whose answers contradict each other; none where nothing was decided.
    pub contradiction: Vec<Witness>,
}

/// An operation, and what passed between its client and the servers meanwhile.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Witness {
    /// What was asked for and told.
    pub operation: Operation,
    /// The bytes.
    pub wire: Vec<Passed>,
}

impl Report {
    /// Whether there is a contradiction, and of each answer in it something that passed in either
    /// direction.
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        let both = |witness: &Witness| {
            let first = witness.wire.first().map(|passed| passed.direction);
            witness.wire.iter().any(|passed| Some(passed.direction) != first)
        };
        !self.contradiction.is_empty() && self.contradiction.iter().all(both)
    }
}

impl History {
    /// The evidence for what [`check`](super::check) found in `operations`, which are those of this
    /// history, or were made of them.
    #[must_use]
    pub fn report(&self, operations: &[Operation], violation: Violation) -> Report {
        let (keys, contradiction) = match &violation {
            Violation::NotARegister { stuck } => {
                let key = stuck.rest.first().map_or(0, |operation| operation.key);
                let of_key = operations.iter().filter(|operation| operation.key == key);
                let mut of_key: Vec<Operation> = of_key.cloned().collect();
                of_key.sort_unstable_by_key(|operation| operation.called);
                (vec![key], search::contradiction(&of_key))
            }
            Violation::Order { known, later } => {
                let told = |operation: &&Operation| {
                    operation.answered < later.called && operation.told() == Some(*known)
                };
                let first = operations.iter().find(told).cloned();
                let both: Vec<Operation> = first.into_iter().chain([(**later).clone()]).collect();
                (both.iter().map(|operation| operation.key).collect(), both)
            }
            Violation::Twice { first, second, .. } => {
                (vec![first.key, second.key], vec![(**first).clone(), (**second).clone()])
            }
            Violation::TooMany { key, .. } | Violation::Undecided { key, .. } => {
                (vec![*key], Vec::new())
            }
        };
        let of_keys = operations.iter().filter(|operation| keys.contains(&operation.key));
        let witness = |operation: Operation| Witness { wire: self.wire(&operation), operation };
        Report {
            violation,
            operations: of_keys.cloned().collect(),
            contradiction: contradiction.into_iter().map(witness).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        writeln!(f, "all that was asked for of the key:")?;
        for operation in &self.operations {
            writeln!(f, "  {operation}")?;
        }
        writeln!(f, "these answers contradict each other, and passed over the wire so:")?;
        for Witness { operation, wire } in &self.contradiction {
            writeln!(f, "  {operation}")?;
            let mut shown = 0;
            for passed in wire {
                shown += passed.bytes.len();
                if shown > SHOWN {
                    writeln!(f, "    … and more")?;
                    break;
                }
                writeln!(f, "    {passed}")?;
            }
        }
        Ok(())
    }
}
